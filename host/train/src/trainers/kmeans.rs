//! K-means by linfa: centres of groups, the best of several starts.
//!
//! Distances are in the features' own units, so features of different units should be scaled before.

use std::collections::BTreeMap;

use linfa::{
    DatasetBase,
    traits::{Fit, Predict},
};
use linfa_clustering::KMeans;
use linfa_nn::distance::L2Dist;
use ndarray::Array1;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256Plus;

use super::{Fitted, Job, NativeModel};
use crate::{Answers, Features, TrainError, onnx::Graph};

pub(super) fn fit(job: &Job<'_>) -> Result<Fitted, TrainError> {
    let clusters = job.options.count("clusters");
    let rows = job.features.rows();
    if rows < clusters {
        return Err(job.failed(format!("{rows} rows for {clusters} clusters"), "ask for fewer clusters"));
    }
    let data = DatasetBase::from(job.features.to_f64());
    let runs = job.options.count("runs");
    let mut best: Option<KMeans<f64, L2Dist>> = None;
    for run in 0..runs {
        job.step(run, runs, "runs")?;
        // One start at a time, each with a seed of its own: so it can be watched and stopped.
        let random = Xoshiro256Plus::seed_from_u64(job.seed.wrapping_add(run as u64));
        let model = KMeans::params_with(clusters, random, L2Dist)
            .n_runs(1)
            .max_n_iterations(job.options.count("max-iterations") as u64)
            .tolerance(job.options.real("tolerance"))
            .fit(&data)
            .map_err(|error| job.failed(error.to_string(), "ask for fewer clusters"))?;
        if best.as_ref().is_none_or(|best| model.inertia() < best.inertia()) {
            best = Some(model);
        }
    }
    job.step(runs, runs, "runs")?;
    let model = best.ok_or_else(|| job.failed("no run ended", "ask for at least one run"))?;
    let facts = BTreeMap::from([
        ("clusters".into(), clusters as f64),
        // Mean squared distance of a row to its centre.
        ("inertia".into(), model.inertia()),
    ]);
    let centres: Vec<f32> = model.centroids().iter().map(|v| *v as f32).collect();
    let graph = Graph::centres(&centres, job.features.width());
    Ok(Fitted { native: Box::new(Centres { model }), graph, facts })
}

struct Centres {
    model: KMeans<f64, L2Dist>,
}

impl NativeModel for Centres {
    fn answers(&self, features: &Features) -> Answers {
        let records = features.to_f64();
        let nearest: Array1<usize> = self.model.predict(&records);
        let centres = self.model.centroids();
        let distances = records
            .rows()
            .into_iter()
            .flat_map(|row| {
                centres
                    .rows()
                    .into_iter()
                    .map(move |centre| row.iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum::<f64>())
            })
            .collect();
        let clusters = nearest.iter().map(|cluster| *cluster as u32).collect();
        Answers::Clusters { clusters, centres: centres.nrows(), distances }
    }
}
