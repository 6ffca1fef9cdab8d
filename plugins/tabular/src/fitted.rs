//! A fitted chain: its state as bytes, and its application to blocks.

use plinth_sdk::{Block, Field, Problem, Schema};
use serde::{Deserialize, Serialize};

use crate::apply::InPlace;
use crate::frame::Frame;
use crate::options::STEPS;

use crate::step::{Bound, Col, Learned};

const MAGIC: &[u8; 4] = b"PTAB";
const STATE_VERSION: u8 = 1;

/// A fitted chain bound to an input schema.
pub struct Fitted {
    input: Vec<Field>,
    output: Schema,
    steps: Vec<Bound>,
    in_place: Option<InPlace>,
}

#[derive(Serialize, Deserialize)]
struct State {
    item: String,
    /// The columns it was fitted on.
    input: Vec<Field>,
    steps: Vec<Learned>,
}

impl Fitted {
    /// Binds a state to the schema of the rows to come. Columns are found by name: they may come in another order, and
    /// one that no step works on may be missing. A column that the fit did not see, or saw with another type, is
    /// refused.
    ///
    /// # Errors
    /// `bad-state`, `wrong-item`, `unexpected-column`, `type-mismatch`, `unknown-column`.
    pub fn load(item: &str, state: &[u8], input: &Schema) -> Result<Self, Problem> {
        let state = decode_state(item, state)?;
        for field in &input.fields {
            let Some(fitted) = state.input.iter().find(|fitted| fitted.name == field.name) else {
                let message = format!("column {} was not there when the transform was fitted", field.name);
                return Err(Problem::bad_input("unexpected-column", message).in_column(&field.name));
            };
            if fitted.kind != field.kind {
                let message =
                    format!("column {} is {}, and the transform was fitted on {}", field.name, field.kind, fitted.kind);
                return Err(Problem::bad_input("type-mismatch", message).in_column(&field.name));
            }
        }
        let (steps, cols) = bind_all(&state.steps, cols_of(input))?;
        Ok(Self {
            in_place: InPlace::of(&input.fields, &steps),
            input: input.fields.clone(),
            output: Schema { fields: cols.into_iter().map(|col| col.field).collect() },
            steps,
        })
    }

    /// The schema of what [`apply`](Self::apply) returns.
    pub fn output(&self) -> &Schema {
        &self.output
    }

    /// Transforms rows.
    ///
    /// # Errors
    /// `bad-block`, `unknown-category`, `bad-value`.
    pub fn apply(&self, mut block: Block) -> Result<Block, Problem> {
        if let Some(in_place) = &self.in_place {
            in_place.apply(block.rows as usize, &mut block.f64s, &block.validity)?;
            return Ok(block);
        }
        let mut frame = Frame::from_block(&self.input, &block)?;
        drop(block);
        for step in &self.steps {
            step.apply(&mut frame)?;
        }
        Ok(frame.into_block(&self.output.fields))
    }
}

/// A schema as the start of a chain.
pub(crate) fn cols_of(schema: &Schema) -> Vec<Col> {
    schema.fields.iter().map(|field| Col { field: field.clone(), encoded: false }).collect()
}

/// Binds steps one after another.
///
/// # Errors
/// As [`Learned::bind`].
pub(crate) fn bind_all(learned: &[Learned], mut cols: Vec<Col>) -> Result<(Vec<Bound>, Vec<Col>), Problem> {
    let mut steps = Vec::with_capacity(learned.len());
    for step in learned {
        let (bound, after) = step.bind(&cols)?;
        cols = after;
        steps.push(bound);
    }
    Ok((steps, cols))
}

/// Writes a state down: magic, version, then the steps.
///
/// # Errors
/// `internal`.
pub(crate) fn encode_state(item: &str, input: &Schema, steps: &[Learned]) -> Result<Vec<u8>, Problem> {
    let state = State { item: item.to_owned(), input: input.fields.clone(), steps: steps.to_vec() };
    let mut bytes = MAGIC.to_vec();
    bytes.push(STATE_VERSION);
    postcard::to_extend(&state, bytes).map_err(|e| Problem::bad_input("internal", e.to_string()))
}

fn decode_state(item: &str, bytes: &[u8]) -> Result<State, Problem> {
    let bad = |why: String| Problem::bad_input("bad-state", format!("the fitted state {why}"));
    let Some(([b'P', b'T', b'A', b'B', version], rest)) = bytes.split_first_chunk::<5>() else {
        return Err(bad("was not made by this component".to_owned()));
    };
    if *version != STATE_VERSION {
        return Err(bad(format!("has version {version}, and this component reads version {STATE_VERSION}")));
    }
    let (state, rest): (State, _) = postcard::take_from_bytes(rest).map_err(|e| bad(format!("cannot be read: {e}")))?;
    if !rest.is_empty() || !state.steps.iter().all(Learned::is_sound) {
        return Err(bad("holds values that no fit leads to".to_owned()));
    }
    if item != "chain" && !STEPS.contains(&item) {
        return Err(Problem::bad_input("unknown-item", format!("no transform is named {item}")));
    }
    if state.item != item {
        return Err(Problem::bad_input(
            "wrong-item",
            format!("the fitted state is one of {}, not of {item}", state.item),
        ));
    }
    Ok(state)
}
