//! One model version, ready to answer, and where it comes from.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arrow_array::UInt32Array;
use arrow_select::take::take;
use plinth_core::{Code, Coded, ContentHash, codes};
use plinth_ext::Batch;
use plinth_score::{Explainer, Scorer};

use crate::{Batching, Capacity, MakeExplainer, ServeError, Stats, TensorModel, explaining::Explaining, pace::Pace};

/// What answers: something over the columns of a table, or over tensors as they are.
#[derive(Debug)]
pub enum Served {
    /// Rows in, predictions out.
    Rows(Box<Scorer>),
    /// Tensors in, tensors out.
    Tensors(TensorModel),
}

impl From<Scorer> for Served {
    fn from(scorer: Scorer) -> Self {
        Self::Rows(Box::new(scorer))
    }
}

impl From<TensorModel> for Served {
    fn from(model: TensorModel) -> Self {
        Self::Tensors(model)
    }
}

/// A model version that can answer.
#[derive(Debug)]
pub struct Deployment {
    model: Arc<str>,
    version: Arc<str>,
    served: Served,
    hashes: Vec<(String, ContentHash)>,
    capacity: Capacity,
    /// Requests that wait to be scored.
    pub(crate) waiting: AtomicU32,
    pace: Mutex<Pace>,
    memory_bytes: AtomicU64,
    stats: Stats,
    explaining: Option<Explaining>,
    native: bool,
}

impl Deployment {
    /// A version of a registered model. `hashes` names every part by content, such as `model`, `transform`, `state`,
    /// in the order in which people want to read them.
    pub fn new(model: &str, version: u64, served: impl Into<Served>, hashes: Vec<(String, ContentHash)>) -> Self {
        let (model, version, served) = (model.into(), version.to_string().into(), served.into());
        Self {
            model,
            version,
            served,
            hashes,
            capacity: Capacity::default(),
            waiting: AtomicU32::new(0),
            pace: Mutex::default(),
            memory_bytes: AtomicU64::new(0),
            stats: Stats::default(),
            explaining: None,
            native: false,
        }
    }

    /// The same, of nothing but the host's own parts, in which nobody waits for others: no sandbox is entered to score a
    /// request, and no device is shared. For rows only: what a graph over tensors does may depend on a value.
    #[must_use]
    pub const fn native(mut self) -> Self {
        self.native = true;
        self
    }

    /// Whether an async thread may score a few of its requests: nothing that an author wrote can hold it there, and nobody
    /// has to wait for company or until others are done.
    pub(crate) const fn may_be_scored_on_the_spot(&self) -> bool {
        self.native
            && matches!(self.served, Served::Rows(_))
            && self.capacity.batching.wait_us == 0
            && self.capacity.concurrency_max.is_none()
    }

    /// The same with another part of the server.
    #[must_use]
    pub(crate) const fn with(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// The same with the size of the files that it was made of: the least that it takes of memory.
    #[must_use]
    pub fn of_bytes(self, bytes: u64) -> Self {
        self.takes(bytes);
        self
    }

    pub(crate) fn takes(&self, bytes: u64) {
        self.memory_bytes.store(bytes, Relaxed);
    }

    /// Memory that it takes, as far as that is known: what the process grew by when it was loaded, at least the size
    /// of its files.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Relaxed)
    }

    /// How fast its requests are scored.
    pub(crate) fn pace(&self) -> Pace {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many of its requests were scored in that time, and had so many bytes, if that says how long they take.
    pub(crate) fn took(&self, time: Duration, requests: usize, bytes: Option<usize>) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.took(time, requests);
        if let Some(bytes) = bytes {
            pace.had(bytes, requests);
        }
    }

    /// Requests that wait to be scored by it.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// The same with what explains its predictions: made when the first caller asks.
    #[must_use]
    pub fn explained_by(mut self, make: MakeExplainer) -> Self {
        self.explaining = Some(Explaining::new(make));
        self
    }

    /// Whether there is something that can explain its predictions.
    pub(crate) fn is_explained(&self) -> bool {
        self.explaining.is_some() && self.scorer().is_some()
    }

    /// What explains its predictions, and their scorer.
    ///
    /// # Errors
    /// [`ServeError::Outside`] if there is nothing that could, or it cannot be made.
    pub fn explainer(&self) -> Result<(Arc<Explainer>, &Scorer), ServeError> {
        let (Some(explaining), Some(scorer)) = (&self.explaining, self.scorer()) else {
            let message = format!("version {} of `{}` cannot be explained", self.version, self.model);
            let hint = "what is explained is a model over the columns of a table, with rows to compare with";
            return Err(ServeError::Outside { code: codes::NO_PROFILE, message, hint: Some(hint.into()) });
        };
        Ok((explaining.of(scorer)?, scorer))
    }

    /// How many requests are scored at once.
    pub const fn batching(&self) -> Batching {
        self.capacity.batching
    }

    /// How much of the server it may take.
    pub const fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// What it did since it was loaded.
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The registered model's name.
    pub const fn model(&self) -> &Arc<str> {
        &self.model
    }

    /// The version's number, as text because that is how every protocol writes it.
    pub const fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// What answers.
    pub const fn served(&self) -> &Served {
        &self.served
    }

    /// What turns rows into predictions; none if it is over tensors.
    pub fn scorer(&self) -> Option<&Scorer> {
        match &self.served {
            Served::Rows(scorer) => Some(scorer),
            Served::Tensors(_) => None,
        }
    }

    /// The model of tensors; none if it is over the columns of a table.
    pub const fn tensors(&self) -> Option<&TensorModel> {
        match &self.served {
            Served::Rows(_) => None,
            Served::Tensors(model) => Some(model),
        }
    }

    /// The content hash of every part.
    pub fn hashes(&self) -> &[(String, ContentHash)] {
        &self.hashes
    }

    /// Scores the signature's trial row, alone and in batches of every size that memory is laid out for, so that the
    /// first caller does not pay for first times.
    ///
    /// # Errors
    /// [`ServeError::Outside`] if the recorded example cannot be scored. Without an example the row is made up, so
    /// parts that dislike its values (an unknown category, say) are not at fault.
    pub(crate) fn warm_up(&self) -> Result<(), ServeError> {
        let scorer = match &self.served {
            Served::Rows(scorer) => scorer,
            Served::Tensors(model) => {
                model.warm_up(self.capacity.batching.rows_max);
                return Ok(());
            }
        };
        let row = scorer.signature().trial_row().map_err(|error| ServeError::outside(&error))?;
        match scorer.score(&row) {
            Err(error) if scorer.signature().example().is_some() || !is_about_values(error.code()) => {
                return Err(ServeError::outside(&error));
            }
            Err(_) => return Ok(()),
            Ok(_) => {}
        }
        for batch in buckets(self.capacity.batching.rows_max).map_while(|rows| repeated(&row, rows)) {
            if let Err(error) = scorer.score(&batch) {
                // Requests that cannot be scored together are scored one by one.
                tracing::debug!(%error, rows = batch.num_rows(), "a model could not be warmed up with a batch");
                break;
            }
        }
        Ok(())
    }
}

/// Sizes of the batches with which what is loaded is made warm: from a few rows to the most that requests make up.
pub(crate) fn buckets(rows_max: u32) -> impl Iterator<Item = usize> {
    let rows_max = rows_max as usize;
    let smaller = std::iter::successors(Some(8), |rows| Some(rows * 8)).take_while(move |rows| *rows < rows_max);
    smaller.chain(Some(rows_max).filter(|rows| *rows > 1))
}

/// A row, so many times.
fn repeated(row: &Batch, rows: usize) -> Option<Batch> {
    let first = UInt32Array::from(vec![0; rows]);
    let columns = (0..row.num_columns()).map(|index| take(&**row.column(index), &first, None));
    Batch::new(row.schema().clone(), columns.collect::<Result<_, _>>().ok()?, rows).ok()
}

/// Whether another row might have been scored.
fn is_about_values(code: Code) -> bool {
    [codes::PLUGIN_PROBLEM, codes::BAD_VALUE, codes::NOT_FINITE, codes::BAD_TABLE].contains(&code)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow_array::{ArrayRef, Float64Array};
    use plinth_ext::{ExtError, Field, Kind, Model, Schema};
    use plinth_score::Signature;

    use super::*;

    /// Keeps in mind how many rows it was asked for.
    struct Asked(Schema, Arc<Mutex<Vec<usize>>>);

    impl Model for Asked {
        fn input(&self) -> &Schema {
            &self.0
        }
        fn output(&self) -> &Schema {
            &self.0
        }
        fn predict(&self, features: &Batch) -> Result<Batch, ExtError> {
            let rows = features.num_rows();
            self.1.lock().unwrap().push(rows);
            if rows > 100 {
                return Err(ExtError::fault("asked", codes::BAD_MODEL, "no more than 100"));
            }
            let column: ArrayRef = Arc::new(Float64Array::from(vec![0.0; rows]));
            Ok(Batch::new(self.0.clone(), vec![column], rows)?)
        }
    }

    #[test]
    fn what_is_loaded_has_scored_batches_of_every_size_and_need_not_like_large_ones() {
        for (rows_max, wanted) in [(1, &[1][..]), (4, &[1, 4]), (64, &[1, 8, 64]), (256, &[1, 8, 64, 256])] {
            let columns = Schema::new(vec![Field::new("x", Kind::Float64, false)]).unwrap();
            let asked = Arc::new(Mutex::new(Vec::new()));
            let model = Asked(columns.clone(), Arc::clone(&asked));
            let scorer = Scorer::new(Signature::new(columns), vec![], Arc::new(model)).unwrap();
            let batching = Batching { rows_max, wait_us: 0 };
            let capacity = Capacity { batching, ..Capacity::default() };
            let deployment = Deployment::new("asked", 1, scorer, vec![]).with(capacity);
            deployment.warm_up().unwrap();
            assert_eq!(*asked.lock().unwrap(), wanted);
        }
    }
}
