//! Loaders that misbehave.

use plinth_sdk::{
    Block, Field, Item, Kind, Loaders, Problem, Schema,
    loader::{Partition, ReadPlan, Reader},
    objects, options,
};

use crate::deeds;

/// Misdeeds of loaders alone.
pub const OWN: [&str; 10] = [
    "good",
    "endless",
    "empty-blocks",
    "too-many-rows",
    "short-f64s",
    "many-partitions",
    "huge-token",
    "same-names",
    "hoard-objects",
    "reopen-objects",
];

const OPTIONS: &str =
    r#"{"type":"object","properties":{"at":{"enum":["plan","open","next"]}},"additionalProperties":false}"#;

/// The component's loaders.
pub struct Evil;

impl Loaders for Evil {
    fn describe() -> Vec<Item> {
        items()
    }

    fn plan(name: &str, source: &str, options: &str) -> Result<ReadPlan, Problem> {
        deeds::check(name, &OWN)?;
        commit_at("plan", name, options)?;
        match name {
            "hoard-objects" => {
                let mut kept = Vec::new();
                for _ in 0..deeds::HOARD {
                    kept.push(objects::open(source)?);
                }
            }
            "reopen-objects" => (0..deeds::HOARD).try_for_each(|_| objects::open(source).map(drop))?,
            _ => {}
        }
        let x = Field::new("x", Kind::Float64, false);
        let fields = if name == "same-names" { vec![x.clone(), x] } else { vec![x] };
        let partitions = match name {
            "many-partitions" => vec![Partition::default(); 1_000_000],
            "huge-token" => vec![Partition { token: vec![b'x'; 64 << 20], ..Partition::default() }],
            _ => vec![Partition::default()],
        };
        Ok(ReadPlan { schema: Schema { fields }, partitions })
    }

    fn open(
        name: &str,
        _source: &str,
        options: &str,
        _schema: Schema,
        _token: Vec<u8>,
    ) -> Result<Box<dyn Reader>, Problem> {
        deeds::check(name, &OWN)?;
        commit_at("open", name, options)?;
        Ok(Box::new(EvilReader { name: name.to_owned(), options: options.to_owned(), blocks: 0 }))
    }
}

/// List entries.
pub fn items() -> Vec<Item> {
    deeds::items(&OWN, OPTIONS)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    at: Option<String>,
}

fn commit_at(place: &str, name: &str, options: &str) -> Result<(), Problem> {
    let at = options::parse::<Options>(options)?.at;
    if at.as_deref().unwrap_or("plan") == place { deeds::commit(name) } else { Ok(()) }
}

struct EvilReader {
    name: String,
    options: String,
    blocks: u32,
}

impl Reader for EvilReader {
    fn next(&mut self, max_rows: u32) -> Result<Option<Block>, Problem> {
        commit_at("next", &self.name, &self.options)?;
        self.blocks += 1;
        let of = |rows: u32, values: u32| Block { rows, f64s: vec![1.0; values as usize], ..Block::default() };
        Ok(match self.name.as_str() {
            "endless" => Some(of(1, 1)),
            "empty-blocks" => Some(of(0, 0)),
            _ if self.blocks > 1 => None,
            "too-many-rows" => Some(of(max_rows.saturating_mul(2), max_rows.saturating_mul(2))),
            "short-f64s" => Some(of(3, 2)),
            _ => Some(of(3, 3)),
        })
    }
}
