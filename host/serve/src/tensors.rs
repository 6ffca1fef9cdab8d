//! A model of tensors in service: what it takes, and whether requests can share a run of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use plinth_core::codes;
use plinth_ext::{Data, ExtError, Graph, Slot, Tensor};

use crate::deployment::buckets;

/// A model that takes tensors as they are and returns tensors.
#[derive(Debug)]
pub struct TensorModel {
    graph: Arc<dyn Graph>,
    /// Whether rows (the first dimension of everything) do not look at each other.
    rowwise: AtomicBool,
}

/// Values that differ from row to row, so that a model that mixes rows shows it.
const TRIAL_ROWS: usize = 3;

/// Most values of an input of a batch of which nothing is wanted but that it has been run.
const WARM_VALUES_MAX: usize = 1 << 20;

/// How far the same row's answers may lie apart, relative to their size, when it is scored alone and in company.
const TOLERANCE: f64 = 1e-3;

impl TensorModel {
    /// A model about which nothing is known but what it says.
    pub fn new(graph: Arc<dyn Graph>) -> Self {
        Self { graph, rowwise: AtomicBool::new(false) }
    }

    /// What it takes, in order.
    pub fn inputs(&self) -> &[Slot] {
        self.graph.inputs()
    }

    /// What it returns, in order.
    pub fn outputs(&self) -> &[Slot] {
        self.graph.outputs()
    }

    /// How its file says that it is to be run, such as `onnx`.
    pub fn format(&self) -> &'static str {
        self.graph.format()
    }

    /// Whether several requests may be run as one, row after row.
    pub fn is_rowwise(&self) -> bool {
        self.rowwise.load(Relaxed)
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`ExtError`]: the tensors are not those it takes, or it fails on their values.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExtError> {
        if let Some(slot) = self.inputs().iter().zip(inputs).find(|(_, t)| t.data().is_empty()).map(|(slot, _)| slot) {
            let message = format!("input `{}` is empty", slot.name);
            return Err(ExtError::fault("model", codes::SCHEMA_MISMATCH, message));
        }
        self.graph.run(inputs)
    }

    /// Runs it on made-up tensors, so that the first caller does not pay for first times, and finds out whether rows
    /// can be run together: alone and in company they have to get the same answers.
    pub(crate) fn warm_up(&self, rows_max: u32) {
        let free = |slots: &[Slot]| slots.iter().all(|slot| slot.shape.first() == Some(&None));
        let rows: Vec<Vec<Tensor>> = (0..TRIAL_ROWS).map(|row| self.trial(row)).collect();
        let alone: Result<Vec<_>, _> = rows.iter().map(|inputs| self.run(inputs)).collect();
        let alone = match alone {
            Ok(alone) => alone,
            // Made-up values need not suit a model that is sound: texts it does not know, sizes that must agree.
            Err(error) => return tracing::debug!(%error, "a model could not be warmed up with made-up values"),
        };
        if !free(self.inputs()) || !free(self.outputs()) {
            return;
        }
        let joined: Option<Vec<Tensor>> =
            (0..self.inputs().len()).map(|n| Tensor::join(&rows.iter().map(|r| &r[n]).collect::<Vec<_>>())).collect();
        let Some(together) = joined.and_then(|joined| self.run(&joined).ok()) else { return };
        let same = together.iter().enumerate().all(|(n, whole)| {
            whole.rows() == Some(TRIAL_ROWS)
                && alone.iter().enumerate().all(|(row, outputs)| close(&outputs[n], &whole.slice(row..row + 1)))
        });
        self.rowwise.store(same, Relaxed);
        if same {
            self.warm_up_batches(rows_max);
        }
    }

    /// Runs it on batches of every size that memory is laid out for, as long as they are not too large for that.
    fn warm_up_batches(&self, rows_max: u32) {
        let rows_of = |slot: &Slot, rows| {
            let shape: Vec<usize> =
                std::iter::once(rows).chain(slot.shape[1..].iter().map(|dim| dim.unwrap_or(1))).collect();
            let values = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
            let values = values.filter(|values| *values <= WARM_VALUES_MAX)?;
            Tensor::new(shape, Data::zeros(slot.dtype.unwrap_or(plinth_ext::DType::F32), values)).ok()
        };
        for rows in buckets(rows_max) {
            let batch: Option<Vec<Tensor>> = self.inputs().iter().map(|slot| rows_of(slot, rows)).collect();
            let Some(batch) = batch else { return };
            if let Err(error) = self.run(&batch) {
                return tracing::debug!(%error, rows, "a model could not be warmed up with a batch");
            }
        }
    }

    /// One row of each input; what may have any size has size one.
    fn trial(&self, row: usize) -> Vec<Tensor> {
        let one = |slot: &Slot| {
            let shape: Vec<usize> = slot.shape.iter().map(|dim| dim.unwrap_or(1)).collect();
            let count = shape.iter().product();
            let dtype = slot.dtype.unwrap_or(plinth_ext::DType::F32);
            let data = match Data::zeros(dtype, count) {
                // Others stay zero: they may be categories, or places in a table.
                Data::F32(v) => Data::F32((0..v.len()).map(|n| ((n * 7 + row * 3) % 5) as f32 * 0.25).collect()),
                Data::F64(v) => Data::F64((0..v.len()).map(|n| ((n * 7 + row * 3) % 5) as f64 * 0.25).collect()),
                zeros => zeros,
            };
            Tensor::new(shape, data).expect("as many values as the shape says")
        };
        self.inputs().iter().map(one).collect()
    }
}

/// Whether two tensors are the same but for rounding.
fn close(a: &Tensor, b: &Tensor) -> bool {
    let near = |x: f64, y: f64| x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= TOLERANCE * (1.0 + y.abs());
    a.shape() == b.shape()
        && match (a.data(), b.data()) {
            (Data::F32(v), Data::F32(w)) => v.iter().zip(w).all(|(x, y)| near(f64::from(*x), f64::from(*y))),
            (Data::F64(v), Data::F64(w)) => v.iter().zip(w).all(|(x, y)| near(*x, *y)),
            (v, w) => v == w,
        }
}

#[cfg(test)]
pub(crate) mod tests {
    use plinth_ext::DType;

    use super::*;

    /// Doubles its rows, or adds them up over all rows and says so on each.
    #[derive(Debug)]
    pub(crate) struct Doubler {
        pub(crate) slots: Vec<Slot>,
        pub(crate) mixes: bool,
    }

    impl Doubler {
        pub(crate) fn new(mixes: bool) -> Self {
            Self { slots: vec![Slot { name: "x".into(), dtype: Some(DType::F32), shape: vec![None, Some(2)] }], mixes }
        }
    }

    impl Graph for Doubler {
        fn inputs(&self) -> &[Slot] {
            &self.slots
        }
        fn outputs(&self) -> &[Slot] {
            &self.slots
        }
        fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, ExtError> {
            let Data::F32(v) = inputs[0].data() else { unreachable!("the only type it takes") };
            let sum: f32 = v.iter().sum();
            let out = v.iter().map(|v| if self.mixes { v + sum } else { v * 2.0 }).collect();
            Ok(vec![Tensor::new(inputs[0].shape().to_vec(), Data::F32(out)).unwrap()])
        }
        fn format(&self) -> &'static str {
            "test"
        }
    }

    #[test]
    fn only_a_model_whose_rows_do_not_look_at_each_other_shares_runs() {
        for mixes in [false, true] {
            let model = TensorModel::new(Arc::new(Doubler::new(mixes)));
            assert!(!model.is_rowwise(), "not known yet");
            model.warm_up(8);
            assert_eq!(model.is_rowwise(), !mixes);
        }
    }

    #[test]
    fn an_empty_input_is_told_by_name() {
        let model = TensorModel::new(Arc::new(Doubler::new(false)));
        let error = model.run(&[Tensor::new(vec![0, 2], Data::F32(vec![])).unwrap()]).unwrap_err();
        assert_eq!(error.to_string(), "model: input `x` is empty");
    }
}
