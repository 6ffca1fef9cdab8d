//! Fitting a chain, in as few passes as its steps allow.
//!
//! A step can be fitted in the same pass as the steps before it as long as none of those that are still being fitted
//! touches its columns. So a chain falls into groups: in each pass the steps fitted before are applied, the steps of
//! the group watch their columns, and at the end of the pass the group is fitted.
//!
//! What a partial carries is the steps fitted so far and the counts of this pass. Merging a partial of the same pass
//! adds its counts; merging one of a later pass catches up with it. A coordinator that ended a pass can thus bring
//! the other fits along by merging its own (empty) partial into them.

use plinth_sdk::{Block, Problem, Schema, Step};
use serde::{Deserialize, Serialize};

use crate::fitted::{self, bind_all};
use crate::frame::Frame;
use crate::learn::{self, Learner, StoredLearner};
use crate::options::{self, Columns, Group, Spec};

use crate::step::{Bound, Col, Learned, without_learning};

const PARTIAL_VERSION: u8 = 1;

/// A fit in progress.
pub struct Fit {
    item: String,
    input: Schema,
    specs: Vec<Spec>,
    /// Steps fitted in earlier passes, and bound to the input.
    learned: Vec<Learned>,
    bound: Vec<Bound>,
    /// Columns after those steps.
    cols: Vec<Col>,
    group: Vec<Member>,
    rows: u64,
}

/// A step of the group of this pass.
enum Member {
    /// Needs no fitting.
    Ready(Learned, Bound),
    /// Watches columns at these positions.
    Watching { at: Vec<usize>, cols: Vec<Col>, learners: Vec<Learner> },
}

#[derive(Serialize, Deserialize)]
struct Partial {
    version: u8,
    rows: u64,
    learned: Vec<Learned>,
    counts: Vec<Vec<StoredLearner>>,
}

impl Fit {
    /// Starts a fit of an item with its options on rows of a schema.
    ///
    /// # Errors
    /// `unknown-item`, `bad-options`, and what the first group's steps have against their columns.
    pub fn start(item: &str, input: &Schema, options: &str) -> Result<Self, Problem> {
        let specs = options::parse(item, options)?;
        let cols = fitted::cols_of(input);
        let mut fit = Self {
            item: item.to_owned(),
            input: input.clone(),
            specs,
            learned: Vec::new(),
            bound: Vec::new(),
            cols,
            group: Vec::new(),
            rows: 0,
        };
        fit.plan_group()?;
        Ok(fit)
    }

    /// Takes the next rows of this pass.
    ///
    /// # Errors
    /// What a step has against a value, with its column and row.
    pub fn update(&mut self, block: &Block) -> Result<(), Problem> {
        self.rows += u64::from(block.rows);
        if !self.is_watching() {
            return Ok(());
        }
        let mut frame = Frame::from_block(&self.input.fields, block)?;
        for step in &self.bound {
            step.apply(&mut frame)?;
        }
        for member in &mut self.group {
            match member {
                Member::Ready(_, bound) => bound.apply(&mut frame)?,
                Member::Watching { at, cols, learners } => {
                    for ((at, col), learner) in at.iter().zip(cols).zip(learners) {
                        learner.observe(&frame.columns[*at], frame.rows, &col.field.name)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What this fit learned in this pass.
    ///
    /// # Errors
    /// `internal` where it cannot be written down.
    pub fn partial(&mut self) -> Result<Vec<u8>, Problem> {
        let counts = self
            .group
            .iter_mut()
            .map(|member| match member {
                Member::Ready(..) => Vec::new(),
                Member::Watching { learners, .. } => learners.iter_mut().map(Learner::store).collect(),
            })
            .collect();
        let partial = Partial { version: PARTIAL_VERSION, rows: self.rows, learned: self.learned.clone(), counts };
        postcard::to_allocvec(&partial).map_err(|e| Problem::bad_input("internal", e.to_string()))
    }

    /// Takes in a partial of a fit that was started with the same arguments.
    ///
    /// # Errors
    /// `bad-partial` where it is not one, or of an earlier pass.
    pub fn merge(&mut self, partial: &[u8]) -> Result<(), Problem> {
        let bad = |why: &str| Problem::bad_input("bad-partial", format!("the partial {why}"));
        let (partial, rest): (Partial, _) =
            postcard::take_from_bytes(partial).map_err(|e| bad(&format!("cannot be read: {e}")))?;
        if !rest.is_empty() || partial.version != PARTIAL_VERSION {
            return Err(bad("was written by another version of this component"));
        }
        if partial.learned.len() < self.learned.len() {
            return Err(bad("is of an earlier pass"));
        }
        if partial.learned.len() > self.learned.len() {
            if partial.learned.len() >= self.specs.len() || !partial.learned.iter().all(Learned::is_sound) {
                return Err(bad("does not belong to these options"));
            }
            self.learned.clone_from(&partial.learned);
            self.rebind()?;
            self.rows = 0;
            self.plan_group()?;
        } else if partial.learned != self.learned {
            return Err(bad("followed other earlier passes"));
        }
        if partial.counts.len() != self.group.len() {
            return Err(bad("does not belong to these options"));
        }
        for (member, counts) in self.group.iter_mut().zip(partial.counts) {
            let (cols, learners): (&[Col], &mut [Learner]) = match member {
                Member::Ready(..) => (&[], &mut []),
                Member::Watching { cols, learners, .. } => (cols, learners),
            };
            if counts.len() != learners.len() {
                return Err(bad("does not belong to these options"));
            }
            for ((col, learner), stored) in cols.iter().zip(learners).zip(counts) {
                learner.merge(stored, &col.field.name)?;
            }
        }
        self.rows += partial.rows;
        Ok(())
    }

    /// Ends the pass.
    ///
    /// # Errors
    /// `no-rows`, `no-values`, `not-finite`, and what the next group's steps have against their columns.
    pub fn end_pass(&mut self) -> Result<Step, Problem> {
        if self.is_watching() && self.rows == 0 {
            return Err(Problem::bad_input("no-rows", "there is no row to learn from"));
        }
        loop {
            self.finish_group()?;
            if self.learned.len() == self.specs.len() {
                return fitted::encode_state(&self.item, &self.input, &self.learned).map(Step::Done);
            }
            self.rows = 0;
            self.plan_group()?;
            if self.is_watching() {
                return Ok(Step::AnotherPass);
            }
        }
    }

    /// Whether a step of this pass wants to see rows.
    fn is_watching(&self) -> bool {
        self.group.iter().any(|member| matches!(member, Member::Watching { .. }))
    }

    fn finish_group(&mut self) -> Result<(), Problem> {
        for member in std::mem::take(&mut self.group) {
            let learned = match member {
                Member::Ready(learned, _) => learned,
                Member::Watching { cols, mut learners, .. } => {
                    learn::finish(&self.specs[self.learned.len()], &cols, &mut learners)?
                }
            };
            self.learned.push(learned);
        }
        self.rebind()
    }

    fn rebind(&mut self) -> Result<(), Problem> {
        (self.bound, self.cols) = bind_all(&self.learned, fitted::cols_of(&self.input))?;
        Ok(())
    }

    /// Takes as many of the steps to come as can be fitted in one pass.
    fn plan_group(&mut self) -> Result<(), Problem> {
        self.group.clear();
        let mut cols = self.cols.clone();
        // Names that a step of this group is being fitted on, and whether it will change which columns there are.
        let mut watched: Vec<String> = Vec::new();
        let mut reshapes = false;
        for spec in &self.specs[self.learned.len()..] {
            if !watched.is_empty() && must_wait(spec, &cols, &watched, reshapes) {
                break;
            }
            if let Some(learned) = without_learning(spec, &cols)? {
                let (bound, after) = learned.bind(&cols)?;
                cols = after;
                self.group.push(Member::Ready(learned, bound));
                continue;
            }
            let at = spec.target().resolve(spec.name(), &cols)?;
            let watching: Vec<Col> = at.iter().map(|&at| cols[at].clone()).collect();
            let learners = watching.iter().map(|col| Learner::new(spec, col)).collect::<Result<Vec<_>, _>>()?;
            watched.extend(watching.iter().map(|col| col.field.name.clone()));
            reshapes |= matches!(spec, Spec::OneHot { .. } | Spec::Ordinal { .. } | Spec::QuantileBin { .. });
            self.group.push(Member::Watching { at, cols: watching, learners });
        }
        Ok(())
    }
}

/// Whether a step needs to see what the watching steps of the group will do.
fn must_wait(spec: &Spec, cols: &[Col], watched: &[String], reshapes: bool) -> bool {
    let target = spec.target();
    let everything = matches!(target.columns, Columns::Group(Group::All)) || matches!(spec, Spec::Select { .. });
    if reshapes && everything {
        return true;
    }
    match target.resolve(spec.name(), cols) {
        Ok(found) => found.iter().any(|&at| watched.contains(&cols[at].field.name)),
        // A column that is not there yet may be one that an encoder is about to make.
        Err(_) => reshapes,
    }
}
