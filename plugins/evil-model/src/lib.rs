//! A model that misbehaves on command: the name of an item is the misdeed. Its output is the column `prediction`
//! (float64, nullable), the number of the row, unless the misdeed is another one. The artifact is of no account.
//!
//! The misdeeds of every extension point are committed at `predict`, or where the option `at` says: `load`, `output` or
//! `predict`. With the option `when`, a misdeed waits for a block whose first float64 is that number, and all other
//! blocks are predicted as they should be: a request that brings a model down among others that do not.
//!
//! | item | does |
//! |---|---|
//! | `good` | nothing wrong |
//! | `infinite-loop`, `memory-bomb`, `panic`, `stack-overflow`, `log-flood`, `log-huge`, `problem`, `huge-problem` | as in `evil` |
//! | `more-rows`, `fewer-rows` | one row more, one fewer than came in, all lists fit the lie |
//! | `huge-rows` | `rows` is 2^32 - 1, with all lists empty |
//! | `no-rows` | no rows, whatever came in |
//! | `short-f64s`, `long-f64s` | the float64 list holds one value too few, one too many |
//! | `input-back` | the rows that came in, which are not of the output's schema |
//! | `short-bitmap` | the validity list is one byte too short |
//! | `long-bitmap` | the validity list is one byte too long |
//! | `bad-utf8` | the output is text, with the byte 0xFF in each row |
//! | `falling-offsets` | the output is text whose offsets fall |
//! | `nan-payload` | every prediction is a NaN with the payload 0xBADBAD and its sign set |
//! | `no-output` | `output` has no column |
//! | `same-names` | `output` has `prediction` twice |
//! | `many-columns` | `output` has 100,000 columns |
//! | `huge-name` | the name of `output`'s column is 1 MiB |

#[path = "../../evil/src/deeds.rs"]
pub mod deeds;

use plinth_sdk::{Block, Field, Item, Kind, Models, Predictor, Problem, Schema, bitmap, options};

/// Misdeeds of models alone.
const OWN: [&str; 17] = [
    "good",
    "more-rows",
    "fewer-rows",
    "huge-rows",
    "no-rows",
    "short-f64s",
    "long-f64s",
    "input-back",
    "short-bitmap",
    "long-bitmap",
    "bad-utf8",
    "falling-offsets",
    "nan-payload",
    "no-output",
    "same-names",
    "many-columns",
    "huge-name",
];

const OPTIONS: &str = r#"{"type":"object","properties":{"at":{"enum":["load","output","predict"]},"when":{"type":"number"}},"additionalProperties":false}"#;

/// The component's models.
pub struct Evil;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    at: Option<String>,
    when: Option<f64>,
}

struct EvilModel {
    name: String,
    options: Options,
}

impl Models for Evil {
    fn describe() -> Vec<Item> {
        deeds::items(&OWN, OPTIONS)
    }

    fn load(name: &str, _artifact: Vec<u8>, _input: Schema, options: &str) -> Result<Box<dyn Predictor>, Problem> {
        deeds::check(name, &OWN)?;
        let model = EvilModel { name: name.to_owned(), options: options::parse(options)? };
        model.at("load")?;
        Ok(Box::new(model))
    }
}

impl EvilModel {
    fn at(&self, place: &str) -> Result<(), Problem> {
        if self.options.at.as_deref().unwrap_or("predict") == place { deeds::commit(&self.name) } else { Ok(()) }
    }
}

impl Predictor for EvilModel {
    fn output(&self) -> Schema {
        if self.at("output").is_err() {
            return Schema::default();
        }
        let number = |name: String| Field::new(name, Kind::Float64, true);
        let one = || number("prediction".into());
        Schema::new(match self.name.as_str() {
            "bad-utf8" | "falling-offsets" => vec![Field::new("prediction", Kind::Utf8, false)],
            "no-output" => Vec::new(),
            "same-names" => vec![one(), one()],
            "many-columns" => (0..100_000).map(|index| number(format!("c{index}"))).collect(),
            "huge-name" => vec![number("x".repeat(1 << 20))],
            _ => vec![one()],
        })
    }

    fn predict(&self, rows: Block) -> Result<Block, Problem> {
        let n = rows.rows;
        if self.options.when.is_some_and(|when| rows.f64s.first() != Some(&when)) {
            return Ok(counted(n));
        }
        self.at("predict")?;
        let mut block = counted(n);
        match self.name.as_str() {
            "more-rows" => block = counted(n + 1),
            "fewer-rows" => block = counted(n.saturating_sub(1)),
            "no-rows" => block = counted(0),
            "huge-rows" => block = Block { rows: u32::MAX, ..Block::default() },
            "short-f64s" => {
                block.f64s.pop();
            }
            "long-f64s" => block.f64s.push(1.0),
            "input-back" => block = rows,
            "short-bitmap" => {
                block.validity = bitmap((0..n).map(|row| row > 0));
                block.validity.pop();
            }
            "long-bitmap" => {
                block.validity = bitmap((0..n).map(|row| row > 0));
                block.validity.push(0);
            }
            "bad-utf8" => block = texts(n, 0xff),
            "falling-offsets" => {
                block = texts(n, b'a');
                if n > 1 {
                    block.offsets[1] = n + 1;
                }
            }
            "nan-payload" => block.f64s.fill(f64::from_bits(0xfff8_0000_00ba_dbad)),
            _ => {}
        }
        Ok(block)
    }
}

/// The rows' numbers.
fn counted(rows: u32) -> Block {
    Block { rows, f64s: (0..rows).map(f64::from).collect(), ..Block::default() }
}

/// One byte in each row.
fn texts(rows: u32, byte: u8) -> Block {
    Block { rows, offsets: (0..=rows).collect(), bytes: vec![byte; rows as usize], ..Block::default() }
}

plinth_sdk::export_predict_component!(crate::Evil);
