//! Transforms that misbehave.

use std::cell::Cell;

use plinth_sdk::{Block, Field, Fitted, Fitting, Item, Kind, Problem, Schema, Step, Transforms, options};

use crate::deeds;

/// Misdeeds of transforms alone.
pub const OWN: [&str; 22] = [
    "good",
    "lying-lengths",
    "long-f64s",
    "more-rows",
    "fewer-rows",
    "huge-rows",
    "huge-return",
    "bad-utf8",
    "split-utf8",
    "falling-offsets",
    "far-offsets",
    "short-offsets",
    "short-bitmap",
    "wide-text",
    "nan-payload",
    "impure",
    "wrong-schema",
    "huge-name",
    "many-columns",
    "most-columns",
    "same-names",
    "empty-name",
];
/// Misdeeds of fitting.
pub const OF_FITTING: [&str; 2] = ["big-state", "endless-passes"];

const OPTIONS: &str = r#"{"type":"object","properties":{"at":{"enum":["start","update","partial","merge","end-pass","load","output","apply"]}},"additionalProperties":false}"#;

/// The component's transforms.
pub struct Evil;

impl Transforms for Evil {
    fn describe() -> Vec<Item> {
        deeds::items(&own(), OPTIONS)
    }

    fn start(name: &str, _input: Schema, options: &str) -> Result<Box<dyn Fitting>, Problem> {
        deeds::check(name, &own())?;
        let deed = Deed { name: name.to_owned(), at: options::parse::<Options>(options)?.at };
        deed.at("start")?;
        Ok(Box::new(EvilFitting(deed)))
    }

    fn load(name: &str, state: Vec<u8>, input: Schema) -> Result<Box<dyn Fitted>, Problem> {
        deeds::check(name, &own())?;
        let at = String::from_utf8(state).ok().filter(|at| !at.is_empty());
        let deed = Deed { name: name.to_owned(), at };
        deed.at("load")?;
        Ok(Box::new(EvilFitted { deed, input, calls: Cell::new(0) }))
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    at: Option<String>,
}

/// What to do, and where.
struct Deed {
    name: String,
    at: Option<String>,
}

impl Deed {
    fn at(&self, place: &str) -> Result<(), Problem> {
        if self.at.as_deref().unwrap_or("apply") == place { deeds::commit(&self.name) } else { Ok(()) }
    }
}

struct EvilFitting(Deed);

impl Fitting for EvilFitting {
    fn update(&mut self, _rows: Block) -> Result<(), Problem> {
        self.0.at("update")
    }

    fn partial(&mut self) -> Result<Vec<u8>, Problem> {
        self.0.at("partial").map(|()| Vec::new())
    }

    fn merge(&mut self, _partial: Vec<u8>) -> Result<(), Problem> {
        self.0.at("merge")
    }

    fn end_pass(&mut self) -> Result<Step, Problem> {
        self.0.at("end-pass")?;
        Ok(match self.0.name.as_str() {
            "big-state" => Step::Done(vec![b'x'; 96 << 20]),
            "endless-passes" => Step::AnotherPass,
            _ => Step::Done(self.0.at.clone().unwrap_or_default().into_bytes()),
        })
    }
}

struct EvilFitted {
    deed: Deed,
    input: Schema,
    calls: Cell<u32>,
}

impl Fitted for EvilFitted {
    fn output(&self) -> Schema {
        if self.deed.at("output").is_err() {
            return Schema::default();
        }
        let mut fields = self.input.fields.clone();
        let float = |name: String| Field::new(name, Kind::Float64, false);
        match self.deed.name.as_str() {
            name if adds_text(name) => fields.push(Field::new("evil", Kind::Utf8, false)),
            "wrong-schema" => fields = vec![Field::new("evil", Kind::Int64, false)],
            "huge-name" => fields.push(float("x".repeat(1 << 20))),
            "many-columns" => fields = (0..100_000).map(|index| float(format!("c{index}"))).collect(),
            "most-columns" => fields = vec![float(String::new()); 10_000_000],
            "same-names" => fields.extend(self.input.fields.iter().cloned()),
            "empty-name" => fields.push(float(String::new())),
            _ => {}
        }
        Schema { fields }
    }

    fn apply(&self, mut rows: Block) -> Result<Block, Problem> {
        self.deed.at("apply")?;
        let name = self.deed.name.as_str();
        match name {
            "lying-lengths" => {
                rows.f64s.pop();
            }
            "long-f64s" => rows.f64s.push(1.0),
            "more-rows" => rows = self.of_rows(rows.rows + 1),
            "fewer-rows" => rows = self.of_rows(rows.rows.saturating_sub(1)),
            "huge-rows" => rows = Block { rows: u32::MAX, ..Block::default() },
            "short-bitmap" => rows.validity = vec![0xff],
            "nan-payload" => rows.f64s.fill(f64::from_bits(0xfff8_0000_00ba_dbad)),
            "impure" => {
                self.calls.set(self.calls.get() + 1);
                rows.f64s.iter_mut().for_each(|value| *value += f64::from(self.calls.get()));
            }
            name if adds_text(name) => add_text(name, &mut rows),
            _ => {}
        }
        Ok(rows)
    }
}

impl EvilFitted {
    /// A sound block of zeros with so many rows.
    fn of_rows(&self, rows: u32) -> Block {
        let count = |kinds: &[Kind]| self.input.fields.iter().filter(|field| kinds.contains(&field.kind)).count();
        let n = rows as usize;
        Block {
            rows,
            f64s: vec![0.0; count(&[Kind::Float64]) * n],
            f32s: vec![0.0; count(&[Kind::Float32]) * n],
            s64s: vec![0; count(&[Kind::Int64, Kind::TimestampUs]) * n],
            bits: vec![0; count(&[Kind::Boolean]) * n.div_ceil(8)],
            offsets: vec![0; count(&[Kind::Utf8, Kind::Binary]) * (n + 1)],
            bytes: Vec::new(),
            validity: Vec::new(),
        }
    }
}

fn adds_text(name: &str) -> bool {
    ["huge-return", "bad-utf8", "split-utf8", "falling-offsets", "far-offsets", "short-offsets", "wide-text"]
        .contains(&name)
}

/// Appends the column `evil`: `é` in every row, then the misdeed.
fn add_text(name: &str, rows: &mut Block) {
    let first = rows.offsets.len();
    let start = rows.bytes.len();
    rows.offsets.push(start as u32);
    for row in 0..rows.rows {
        match name {
            "huge-return" if row == 0 => rows.bytes.resize(start + (160 << 20), b'x'),
            "bad-utf8" => rows.bytes.push(0xff),
            "wide-text" => rows.bytes.resize(rows.bytes.len() + 1024, b'x'),
            _ => rows.bytes.extend_from_slice("é".as_bytes()),
        }
        rows.offsets.push(rows.bytes.len() as u32);
    }
    let last = rows.offsets.len() - 1;
    match name {
        "split-utf8" if last > first + 1 => rows.offsets[first + 1] += 1,
        "falling-offsets" if last > first + 1 => rows.offsets[first + 1] = rows.offsets[last] + 1,
        "far-offsets" => rows.offsets[last] += 1000,
        "short-offsets" => {
            rows.offsets.pop();
        }
        _ => {}
    }
}

fn own() -> Vec<&'static str> {
    OWN.iter().chain(&OF_FITTING).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str) -> (Schema, Result<Block, Problem>) {
        let schema = Schema::new([Field::new("x", Kind::Float64, true)]);
        let Step::Done(state) = Evil::start(name, schema.clone(), "{}").unwrap().end_pass().unwrap() else {
            panic!("one pass is enough for {name}")
        };
        let fitted = Evil::load(name, state, schema).unwrap();
        let rows = Block { rows: 3, f64s: vec![1.0, 2.0, 3.0], ..Block::default() };
        (fitted.output(), fitted.apply(rows))
    }

    #[test]
    fn the_good_one_changes_nothing_and_the_others_do() {
        let (schema, good) = run("good");
        let good = good.unwrap();
        assert_eq!(good.f64s, [1.0, 2.0, 3.0]);
        for name in OWN.iter().filter(|name| !["good", "huge-return"].contains(name)) {
            let (other_schema, other) = run(name);
            let other = other.unwrap();
            assert!(other != good || other_schema != schema, "{name} is harmless");
        }
    }

    #[test]
    fn every_item_says_what_it_does_in_the_documentation() {
        let page = include_str!("lib.rs");
        let items: Vec<Item> = [Evil::describe(), crate::loader::items(), crate::gate::items(), crate::drift::items()]
            .into_iter()
            .flatten()
            .collect();
        for item in items {
            assert!(page.contains(&format!("`{}`", item.name)), "{} is not described", item.name);
        }
    }

    #[test]
    fn a_misdeed_waits_for_its_place() {
        let schema = Schema::default();
        assert!(Evil::start("problem", schema.clone(), r#"{"at":"start"}"#).is_err());
        let mut fit = Evil::start("problem", schema, r#"{"at":"update"}"#).unwrap();
        assert_eq!(fit.update(Block::default()).unwrap_err().row, Some(7));
        assert!(fit.end_pass().is_ok());
    }
}
