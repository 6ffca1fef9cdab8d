//! What can be wrong with the library, the device, a model, or what is fed to it.

use std::path::PathBuf;

use plinth_core::{Code, Coded, codes};
use plinth_ext::{DType, ExtError, SchemaError, ShapeMismatch};

use crate::Device;

/// A model cannot be loaded or run.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// No place that is searched holds a library that can be used.
    #[error("the ONNX Runtime library was not found; looked in {}", list(looked))]
    RuntimeNotFound {
        /// Each place, and what was wrong with what was there.
        looked: Vec<String>,
    },
    /// The library that was named cannot be used.
    #[error("the ONNX Runtime library {path:?} cannot be used: {reason}")]
    RuntimeUnusable {
        /// The library.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A text does not name a device.
    #[error("`{0}` is not a device")]
    BadDevice(String),
    /// The device that was asked for is not there.
    #[error("the device {device} is not there: {reason}")]
    DeviceNotFound {
        /// The device.
        device: Device,
        /// How that shows.
        reason: String,
    },
    /// The bytes are not a model that the library can run, or it failed while running.
    #[error("the model cannot be {doing}: {reason}")]
    BadModel {
        /// `loaded` or `run`.
        doing: &'static str,
        /// What the library said.
        reason: String,
    },
    /// The device has no memory left.
    #[error("there is no memory left on {device} for the model to be {doing}{}", more(*wanted))]
    DeviceFull {
        /// The device.
        device: Device,
        /// `loaded` or `run`.
        doing: &'static str,
        /// How many bytes more were wanted, if the library said.
        wanted: Option<u64>,
    },
    /// The model is sound, but does not take and return columns of a table.
    #[error("the model is not one over the columns of a table: {0}")]
    NotTabular(String),
    /// The number of input tensors is not the model's.
    #[error("the model takes {expected} inputs and got {found}")]
    InputCount {
        /// How many it takes.
        expected: usize,
        /// How many it got.
        found: usize,
    },
    /// An input tensor has another element type than the model wants.
    #[error("input `{name}` is {expected} and got {found}")]
    InputType {
        /// The input.
        name: String,
        /// Its element type.
        expected: DType,
        /// What it got.
        found: DType,
    },
    /// An input tensor has another shape than the model wants.
    #[error("input `{name}` has the shape {expected} and got {found:?}")]
    InputShape {
        /// The input.
        name: String,
        /// Its shape, `?` for what is free.
        expected: String,
        /// What it got.
        found: Vec<usize>,
    },
    /// A tensor has not as many values as its shape says.
    #[error(transparent)]
    ShapeMismatch(#[from] ShapeMismatch),
    /// A feature is NaN, infinite or null, and the model was not trained to take that.
    #[error("row {row}, feature `{column}`: {value} where the model needs a finite number")]
    NotFinite {
        /// The feature.
        column: String,
        /// Row, from 0.
        row: usize,
        /// `null`, `NaN`, or the number.
        value: String,
    },
    /// The columns are not the model's features.
    #[error("feature {index} of the model is {expected}, found {found}")]
    Features {
        /// Position of the first that differs.
        index: usize,
        /// What the model wants there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Names that cannot be columns.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

impl TensorError {
    pub(crate) fn load(reason: impl std::fmt::Display) -> Self {
        Self::BadModel { doing: "loaded", reason: first_line(&reason.to_string()) }
    }

    pub(crate) fn run(reason: impl std::fmt::Display) -> Self {
        Self::BadModel { doing: "run", reason: first_line(&reason.to_string()) }
    }

    /// The same, told of a model on a device. The library has one kind of error for a model that is wrong and for a card
    /// that is full; only its words differ: those of its arena, of CUDA itself, of cuBLAS and cuDNN. On the CPU the same
    /// words mean that the model was asked for more than there is.
    pub(crate) fn on(self, device: Device) -> Self {
        const ARENA: &str = "Failed to allocate memory for requested buffer of size ";
        let (doing, said) = match &self {
            Self::BadModel { doing, reason } if matches!(device, Device::Cuda(_)) => (*doing, reason),
            _ => return self,
        };
        if let Some((_, size)) = said.split_once(ARENA) {
            let digits = size.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            return Self::DeviceFull { device, doing, wanted: digits.parse().ok() };
        }
        let full = ["out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED"];
        if full.iter().any(|words| said.contains(words)) {
            return Self::DeviceFull { device, doing, wanted: None };
        }
        self
    }
}

impl Coded for TensorError {
    fn code(&self) -> Code {
        match self {
            Self::RuntimeNotFound { .. } | Self::RuntimeUnusable { .. } => codes::RUNTIME_NOT_FOUND,
            Self::BadDevice(_) => codes::BAD_CONFIG,
            Self::DeviceNotFound { .. } => codes::DEVICE_NOT_FOUND,
            Self::BadModel { .. } | Self::NotTabular(_) => codes::BAD_MODEL,
            Self::DeviceFull { .. } => codes::DEVICE_FULL,
            Self::InputCount { .. }
            | Self::InputType { .. }
            | Self::InputShape { .. }
            | Self::ShapeMismatch(_)
            | Self::Features { .. } => codes::SCHEMA_MISMATCH,
            Self::NotFinite { .. } => codes::NOT_FINITE,
            Self::Schema(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::RuntimeNotFound { .. } => "run `cargo xtask setup`, or unpack libonnxruntime from the Python wheel \
                                             `onnxruntime` (1.24 or newer) and set PLINTH_ONNXRUNTIME to its path"
                .into(),
            Self::RuntimeUnusable { .. } => {
                "name the libonnxruntime file of ONNX Runtime 1.24 or newer, or leave it unset to search".into()
            }
            Self::BadDevice(_) => "write auto, cpu, or cuda:N with the number of the GPU, such as cuda:0".into(),
            Self::DeviceNotFound { .. } => {
                "use --device cpu or auto; for CUDA install a driver and the library of the wheel `onnxruntime-gpu`"
                    .into()
            }
            Self::DeviceFull { .. } => {
                "unload a model, send fewer rows at once, or run it elsewhere: --device cpu or another cuda:N".into()
            }
            Self::NotTabular(_) => {
                "a model needs one float input of the shape [rows, features] and tensor outputs; export from \
                 scikit-learn with zipmap=False"
                    .into()
            }
            Self::NotFinite { .. } => "impute the column before the model, or train with gradient-boosting".into(),
            Self::Schema(error) => return error.hint(),
            _ => return None,
        })
    }
}

impl From<TensorError> for ExtError {
    fn from(error: TensorError) -> Self {
        let fault = Self::fault("model", error.code(), error.to_string());
        match error.hint() {
            Some(hint) => fault.with_hint(hint),
            None => fault,
        }
    }
}

/// ONNX Runtime's messages may carry a stack trace; its first line says what is wrong.
fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    match line.char_indices().nth(500) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

fn list(looked: &[String]) -> String {
    if looked.is_empty() { "no place".into() } else { looked.join(", ") }
}

fn more(wanted: Option<u64>) -> String {
    wanted.map(|bytes| format!(": {bytes} bytes more were wanted")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_is_full_is_told_from_a_model_that_is_wrong() {
        let arena = "Exception during initialization: /src/core/framework/bfc_arena.cc:360 void* \
                     onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to allocate \
                     memory for requested buffer of size 67108864\n";
        let card = Device::Cuda(0);
        let error = TensorError::load(arena).on(card);
        assert_eq!(error.code(), codes::DEVICE_FULL);
        let said = "there is no memory left on cuda:0 for the model to be loaded: 67108864 bytes more were wanted";
        assert_eq!(error.to_string(), said);
        for said in ["CUDA failure 2: out of memory ; GPU=0", "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0"] {
            let error = TensorError::run(said).on(card);
            assert!(matches!(error, TensorError::DeviceFull { doing: "run", wanted: None, .. }), "{said}");
        }
        let wrong = TensorError::run("Got invalid dimensions for input: x").on(card);
        assert_eq!(wrong.to_string(), "the model cannot be run: Got invalid dimensions for input: x");
        // A request for more than the machine has is not the machine's fault.
        assert_eq!(TensorError::run(arena).on(Device::Cpu).code(), codes::BAD_MODEL);
    }
}
