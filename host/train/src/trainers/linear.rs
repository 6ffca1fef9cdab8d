//! Linear models by linfa, on features that are centred and scaled first: solvers converge then, and penalties treat
//! every feature alike.
//!
//! The exported model centres and scales too, in the same 32-bit arithmetic that made the training data, so the solver
//! saw exactly what the model will see.

use std::collections::BTreeMap;

use linfa::{
    Dataset,
    traits::{Fit, Predict},
};
use linfa_elasticnet::ElasticNet;
use linfa_logistic::{
    FittedLogisticRegression, LogisticRegression, MultiFittedLogisticRegression, MultiLogisticRegression,
};
use ndarray::{Array1, Array2};

use super::{Fitted, Job, NativeModel};
use crate::{Answers, Features, Label, TrainError, onnx::Graph};

/// Mean and standard deviation of each feature, in the 32 bits of the exported model.
#[derive(Debug, Clone)]
pub(crate) struct Scaling {
    pub(crate) mean: Vec<f32>,
    pub(crate) scale: Vec<f32>,
}

/// A matrix of a linear model: `scaled features × weights + bias`, one column for each output.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    pub(crate) scaling: Scaling,
    /// Features × outputs, row by row.
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

pub(super) fn logistic(job: &Job<'_>) -> Result<Fitted, TrainError> {
    let Some(Label::Class { classes, rows }) = job.label else {
        return Err(job.failed("the label has no classes", "use the task regression with elastic-net"));
    };
    job.step(0, 1, "solver")?;
    let scaling = Scaling::of(job.features);
    let records = scaling.apply(job.features);
    let targets: Array1<usize> = rows.iter().map(|class| *class as usize).collect();
    let data = Dataset::new(records, targets);
    let (l2, steps) = (job.options.real("l2"), job.options.count("max-iterations") as u64);
    let tolerance = job.options.real("tolerance");
    let stuck = |error: linfa_logistic::error::Error| {
        job.failed(error.to_string(), "raise l2, or look for features that separate the classes perfectly")
    };

    let width = job.features.width();
    let (native, weights, bias): (Box<dyn NativeModel>, Vec<f32>, Vec<f32>) = if classes.len() == 2 {
        let solver = LogisticRegression::default().alpha(l2).max_iterations(steps).gradient_tolerance(tolerance);
        let model = solver.fit(&data).map_err(stuck)?;
        // Two outputs of opposite sign, so that the sigmoid of each is the probability of its class.
        let sign = if model.labels().pos.class == 1 { 1.0 } else { -1.0 };
        let weights = model.params().iter().flat_map(|w| [(-sign * w) as f32, (sign * w) as f32]).collect();
        let bias = vec![(-sign * model.intercept()) as f32, (sign * model.intercept()) as f32];
        (Box::new(Binary { scaling: scaling.clone(), model }), weights, bias)
    } else {
        let solver = MultiLogisticRegression::default().alpha(l2).max_iterations(steps).gradient_tolerance(tolerance);
        let model = solver.fit(&data).map_err(stuck)?;
        let weights = model.params().iter().map(|w| *w as f32).collect();
        let bias = model.intercept().iter().map(|b| *b as f32).collect();
        (Box::new(Multinomial { scaling: scaling.clone(), model }), weights, bias)
    };
    let linear = Linear { scaling, weights, bias };
    if linear.weights.iter().chain(&linear.bias).any(|w| !w.is_finite()) {
        return Err(job.failed("the solver diverged", "raise l2"));
    }
    job.step(1, 1, "solver")?;
    let facts = BTreeMap::from([("coefficients".into(), (width * (classes.len() - 1)) as f64)]);
    Ok(Fitted { native, graph: Graph::linear_classes(&linear, classes), facts })
}

struct Binary {
    scaling: Scaling,
    model: FittedLogisticRegression<f64, usize>,
}

impl NativeModel for Binary {
    fn answers(&self, features: &Features) -> Answers {
        let positive = self.model.predict_probabilities(&self.scaling.apply(features));
        let swapped = self.model.labels().pos.class == 0;
        let probabilities = positive.iter().flat_map(|p| if swapped { [*p, 1.0 - p] } else { [1.0 - p, *p] }).collect();
        Answers::of_probabilities(2, probabilities)
    }
}

struct Multinomial {
    scaling: Scaling,
    model: MultiFittedLogisticRegression<f64, usize>,
}

impl NativeModel for Multinomial {
    fn answers(&self, features: &Features) -> Answers {
        let probabilities = self.model.predict_probabilities(&self.scaling.apply(features));
        Answers::of_probabilities(probabilities.ncols(), probabilities.iter().copied().collect())
    }
}

pub(super) fn elastic_net(job: &Job<'_>) -> Result<Fitted, TrainError> {
    let Some(Label::Value(values)) = job.label else {
        return Err(job.failed("the label is no number", "use the task classification with logistic-regression"));
    };
    job.step(0, 1, "solver")?;
    if job.features.rows() <= job.features.width() {
        let problem = format!("{} rows for {} features", job.features.rows(), job.features.width());
        return Err(job.failed(problem, "give more rows than features, or use gradient-boosting"));
    }
    let scaling = Scaling::of(job.features);
    let data = Dataset::new(scaling.apply(job.features), Array1::from(values.clone()));
    let model = ElasticNet::params()
        .penalty(job.options.real("penalty"))
        .l1_ratio(job.options.real("l1-ratio"))
        .max_iterations(job.options.count("max-iterations") as u32)
        .tolerance(job.options.real("tolerance"))
        .fit(&data)
        .map_err(|error| job.failed(error.to_string(), "raise the penalty"))?;
    let linear = Linear {
        scaling: scaling.clone(),
        weights: model.hyperplane().iter().map(|w| *w as f32).collect(),
        bias: vec![model.intercept() as f32],
    };
    let used = model.hyperplane().iter().filter(|w| **w != 0.0).count();
    let facts = BTreeMap::from([
        ("coefficients".into(), used as f64),
        ("iterations".into(), f64::from(model.n_steps())),
        ("duality_gap".into(), model.duality_gap()),
    ]);
    job.step(1, 1, "solver")?;
    Ok(Fitted { native: Box::new(Net { scaling, model }), graph: Graph::linear_values(&linear), facts })
}

struct Net {
    scaling: Scaling,
    model: ElasticNet<f64>,
}

impl NativeModel for Net {
    fn answers(&self, features: &Features) -> Answers {
        let predicted: Array1<f64> = self.model.predict(&self.scaling.apply(features));
        Answers::Values(predicted.to_vec())
    }
}

impl Scaling {
    fn of(features: &Features) -> Self {
        let rows = features.rows().max(1) as f64;
        let (mut mean, mut scale) = (Vec::new(), Vec::new());
        for at in 0..features.width() {
            let average = features.column(at).map(f64::from).sum::<f64>() / rows;
            let variance = features.column(at).map(|v| (f64::from(v) - average).powi(2)).sum::<f64>() / rows;
            let deviation = variance.sqrt() as f32;
            mean.push(average as f32);
            // A feature that hardly varies would be blown up noise.
            let steady = !deviation.is_normal() || f64::from(deviation) < average.abs() * 1e-7;
            scale.push(if steady { 1.0 } else { deviation });
        }
        Self { mean, scale }
    }

    /// As the exported model's `Sub` and `Div` do it.
    fn apply(&self, features: &Features) -> Array2<f64> {
        let width = features.width();
        let scaled = features.values().iter().enumerate().map(|(at, value)| {
            let feature = at % width;
            f64::from((value - self.mean[feature]) / self.scale[feature])
        });
        Array2::from_shape_vec((features.rows(), width), scaled.collect()).expect("rows × width values")
    }
}
