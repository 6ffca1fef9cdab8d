//! Sources, abused.

use plinth_sdk::{
    Field, Item, Kind, Loaders, NO_OPTIONS, Problem, Schema,
    loader::{Partition, ReadPlan, Reader},
    objects,
};

use crate::{code, unknown};

/// The misdeeds of the loader.
pub const ITEMS: [&str; 5] =
    ["object-far-reads", "object-others", "object-after-drop", "objects-reopened", "objects-listed"];

/// The component's loaders.
pub struct Evil;

impl Loaders for Evil {
    fn describe() -> Vec<Item> {
        ITEMS.iter().map(|name| Item::new(*name, "Misbehaves on command", NO_OPTIONS)).collect()
    }

    fn plan(name: &str, source: &str, _options: &str) -> Result<ReadPlan, Problem> {
        let token = commit(name, source)?.into_bytes();
        let fields = vec![Field::new("x", Kind::Float64, false)];
        Ok(ReadPlan { schema: Schema { fields }, partitions: vec![Partition { token, ..Partition::default() }] })
    }

    fn open(name: &str, _: &str, _: &str, _: Schema, _: Vec<u8>) -> Result<Box<dyn Reader>, Problem> {
        Err(unknown(name))
    }
}

fn commit(name: &str, source: &str) -> Result<String, Problem> {
    Ok(match name {
        "object-far-reads" => {
            let object = objects::open(source)?;
            let size = object.size();
            let mut read = Vec::new();
            for offset in [0, size, size + 1, u64::MAX - 1, u64::MAX] {
                read.push(object.read(offset, u32::MAX)?.len().to_string());
            }
            read.push(object.read(0, 0)?.len().to_string());
            read.join(" ")
        }
        "object-others" => [
            "/etc/passwd".to_owned(),
            "/proc/self/mem".to_owned(),
            "file:///etc/passwd".to_owned(),
            "s3://bucket/key".to_owned(),
            "http://127.0.0.1/".to_owned(),
            String::new(),
            format!("{source}\0"),
            format!("{source}/../other"),
            format!("{source}/../../../../../../etc/passwd"),
        ]
        .map(|uri| code(objects::open(&uri)))
        .join(" "),
        #[cfg(target_arch = "wasm32")]
        "object-after-drop" => {
            drop(objects::open(source)?);
            crate::raw::size_of(1)
        }
        "objects-reopened" => {
            for _ in 0..1_000_000 {
                drop(objects::open(source)?);
            }
            "1000000 sources".into()
        }
        "objects-listed" => {
            objects::list("/").map_or_else(|problem| problem.code, |all| format!("{} listed", all.len()))
        }
        _ => return Err(unknown(name)),
    })
}
