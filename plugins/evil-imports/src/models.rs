//! Models, abused. The operator named one, `m`.

use std::hint::black_box;

use plinth_sdk::{
    Problem,
    nn::{self, Tensor, TensorType},
};

use crate::{code, unknown};

fn tensor(dimensions: &[u32], ty: TensorType, data: Vec<u8>) -> Tensor {
    Tensor { name: "x".into(), dimensions: dimensions.to_vec(), ty, data }
}

/// Commits a misdeed; says what the host answered.
///
/// # Errors
/// The host's problem, where that is the answer.
pub fn commit(name: &str) -> Result<String, Problem> {
    Ok(match name {
        "nn-unknown" => ["other", "", "../m", "m\0", "/etc/passwd"].map(|name| code(nn::load(name))).join(" "),
        "nn-lying-shapes" => {
            let model = nn::load("m")?;
            [
                tensor(&[2], TensorType::Fp32, vec![0; 4]),
                tensor(&[1], TensorType::Fp32, vec![0; 8]),
                tensor(&[u32::MAX], TensorType::Fp32, vec![]),
                tensor(&[u32::MAX, u32::MAX, u32::MAX], TensorType::Fp64, vec![]),
                // 2^64 bytes, which is 0 to a careless multiplication.
                tensor(&[1 << 31, 1 << 30], TensorType::Fp64, vec![]),
                tensor(&[1; 64], TensorType::Uint8, vec![0]),
                tensor(&vec![1; 100_000], TensorType::Uint8, vec![0]),
                tensor(&[1], TensorType::Utf8, vec![0xff, 0xff, 0xff, 0xff]),
                tensor(&[1], TensorType::Utf8, vec![1, 0, 0, 0, 0xff]),
            ]
            .map(|tensor| code(model.compute(vec![tensor])))
            .join(" ")
        }
        "nn-huge-inputs" => {
            code(nn::load("m")?.compute(vec![tensor(&[80 << 20], TensorType::Uint8, vec![0; 80 << 20])]))
        }
        "nn-hoard" => {
            let mut kept = Vec::new();
            for _ in 0..1_000 {
                kept.push(nn::load("m")?);
            }
            format!("{} models", kept.len())
        }
        "nn-endless" => {
            let model = nn::load("m")?;
            loop {
                let _ = black_box(model.compute(vec![tensor(&[1], TensorType::Uint8, vec![0])]));
            }
        }
        #[cfg(target_arch = "wasm32")]
        "nn-after-drop" => {
            drop(nn::load("m")?);
            crate::raw::inputs_of(1)
        }
        #[cfg(target_arch = "wasm32")]
        "nn-drop-twice" => {
            drop(nn::load("m")?);
            crate::raw::drop_graph(1)
        }
        #[cfg(target_arch = "wasm32")]
        "nn-of-a-table" => {
            let _table = plinth_sdk::tables::open("data")?;
            let _used = nn::load("m")?.inputs();
            crate::raw::inputs_of(1)
        }
        _ => return Err(unknown(name)),
    })
}
