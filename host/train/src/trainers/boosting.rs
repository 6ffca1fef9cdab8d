//! Gradient boosting by forust-ml: small trees, each of which corrects the sum of those before it.
//!
//! Why not perpetual: its releases need a nightly compiler, and its candidate for 3.0 sizes trees by the memory that
//! happens to be free, so the same rows would not give the same model.
//!
//! Two classes are one model of the log-odds; more are one model for each class against the rest, their probabilities
//! scaled to add up to 1. A fit is one call of the library, so progress and cancellation fall between fits.

use std::collections::BTreeMap;

use forust_ml::{
    GradientBooster, Matrix, gradientbooster::GrowPolicy, objective::ObjectiveType, sampler::SampleMethod,
};

use super::{Fitted, Job, NativeModel};
use crate::{
    Answers, Features, Label, TrainError,
    onnx::{Graph, Link},
    trees::{Ensemble, Node, Tree, threshold_of},
};

pub(super) fn fit(job: &Job<'_>) -> Result<Fitted, TrainError> {
    let columns = column_major(job.features);
    let matrix = Matrix::new(&columns, job.features.rows(), job.features.width());

    let (boosters, graph): (Vec<GradientBooster>, Graph) = match job.label {
        Some(Label::Class { classes, rows: of }) => {
            // With two classes the second is the positive one.
            let positives: Vec<u32> = if classes.len() == 2 { vec![1] } else { (0..classes.len() as u32).collect() };
            let mut boosters = Vec::with_capacity(positives.len());
            for (done, positive) in positives.iter().enumerate() {
                job.step(done, positives.len(), "fits")?;
                let target: Vec<f64> = of.iter().map(|class| f64::from(u8::from(class == positive))).collect();
                boosters.push(boost(job, &matrix, &target, ObjectiveType::LogLoss)?);
            }
            let ensemble = to_ensemble(&boosters, true);
            let link = if classes.len() == 2 { Link::LogOdds } else { Link::OneAgainstRest };
            (boosters, Graph::tree_classes(&ensemble, classes, Some(link)))
        }
        Some(Label::Value(values)) => {
            job.step(0, 1, "fits")?;
            let booster = boost(job, &matrix, values, ObjectiveType::SquaredLoss)?;
            let boosters = vec![booster];
            // A large base would eat the digits of the leaves, so it stays apart.
            let ensemble = to_ensemble(&boosters, false);
            let graph = Graph::tree_values(&ensemble, boosters[0].base_score);
            (boosters, graph)
        }
        None => return Err(job.failed("there is no label", "use k-means to group rows without one")),
    };
    let fits = boosters.len();
    job.step(fits, fits, "fits")?;
    let trees: usize = boosters.iter().map(|booster| booster.trees.len()).sum();
    let nodes: usize = boosters.iter().flat_map(|b| &b.trees).map(|tree| tree.nodes.len()).sum();
    let facts = BTreeMap::from([("trees".into(), trees as f64), ("nodes".into(), nodes as f64)]);
    let classes = match job.label {
        Some(Label::Class { classes, .. }) => Some(classes.len()),
        _ => None,
    };
    Ok(Fitted { native: Box::new(Boosted { boosters, classes }), graph, facts })
}

fn boost(
    job: &Job<'_>,
    matrix: &Matrix<'_, f64>,
    target: &[f64],
    objective_type: ObjectiveType,
) -> Result<GradientBooster, TrainError> {
    let options = job.options;
    let subsample = options.real("row-share") as f32;
    let mut booster = GradientBooster::default();
    booster.objective_type = objective_type;
    booster.iterations = options.count("trees");
    booster.learning_rate = options.real("learning-rate") as f32;
    booster.max_leaves = options.count("max-leaves");
    booster.max_depth = options.count("max-depth");
    booster.min_leaf_weight = options.real("min-leaf-weight") as f32;
    booster.l1 = options.real("l1") as f32;
    booster.l2 = options.real("l2") as f32;
    booster.nbins = options.count("bins") as u16;
    booster.subsample = subsample;
    booster.sample_method = if subsample < 1.0 { SampleMethod::Random } else { SampleMethod::None };
    booster.colsample_bytree = options.real("feature-share");
    // The leaf that gains most is split next, whatever its depth.
    booster.grow_policy = GrowPolicy::LossGuide;
    booster.initialize_base_score = true;
    booster.seed = job.seed;
    booster
        .fit_unweighted(matrix, target, None)
        .map_err(|error| job.failed(error.to_string(), "check the features for columns that are nearly empty"))?;
    Ok(booster)
}

struct Boosted {
    boosters: Vec<GradientBooster>,
    /// None for a regression.
    classes: Option<usize>,
}

impl NativeModel for Boosted {
    fn answers(&self, features: &Features) -> Answers {
        let columns = column_major(features);
        let matrix = Matrix::new(&columns, features.rows(), features.width());
        let scores: Vec<Vec<f64>> = self.boosters.iter().map(|booster| booster.predict(&matrix, true)).collect();
        let sigmoid = |score: f64| 1.0 / (1.0 + (-score).exp());
        match self.classes {
            None => Answers::Values(scores.into_iter().next().unwrap_or_default()),
            Some(2) => {
                let positive = scores.into_iter().next().unwrap_or_default();
                let both = positive.into_iter().map(sigmoid).flat_map(|p| [1.0 - p, p]);
                Answers::of_probabilities(2, both.collect())
            }
            Some(classes) => {
                let mut probabilities = Vec::with_capacity(features.rows() * classes);
                for row in 0..features.rows() {
                    let start = probabilities.len();
                    probabilities.extend(scores.iter().map(|of_class| sigmoid(of_class[row])));
                    let sum: f64 = probabilities[start..].iter().sum();
                    probabilities[start..].iter_mut().for_each(|p| *p /= sum);
                }
                Answers::of_probabilities(classes, probabilities)
            }
        }
    }
}

fn column_major(features: &Features) -> Vec<f64> {
    (0..features.width()).flat_map(|at| features.column(at).map(f64::from)).collect()
}

/// All boosters' trees, each adding to its own target. `with_base` puts the base scores into the leaves of each
/// booster's first tree: the classifier operator has a base of its own, but reads it oddly with two classes.
fn to_ensemble(boosters: &[GradientBooster], with_base: bool) -> Ensemble {
    let targets = boosters.len();
    let mut trees = Vec::new();
    for (target, booster) in boosters.iter().enumerate() {
        let first = trees.len();
        trees.extend(booster.trees.iter().map(|tree| to_tree(tree, target, targets)));
        if trees.len() == first {
            // Nothing was worth a split: the base score alone.
            trees.push(Tree { nodes: vec![Node::Leaf(0)], leaves: vec![0.0; targets] });
        }
        let base = if with_base { booster.base_score } else { 0.0 };
        trees[first].leaves.iter_mut().skip(target).step_by(targets).for_each(|leaf| *leaf += base);
    }
    Ensemble { targets, trees }
}

fn to_tree(tree: &forust_ml::tree::Tree, target: usize, targets: usize) -> Tree {
    let mut nodes = vec![Node::Leaf(0)];
    let mut leaves = Vec::new();
    // The library numbers nodes as it made them; ours come after their parent.
    let mut open = vec![(0_usize, 0_usize)];
    while let Some((from, to)) = open.pop() {
        let node = &tree.nodes[from];
        if node.is_leaf {
            nodes[to] = Node::Leaf((leaves.len() / targets) as u32);
            let at = leaves.len();
            leaves.resize(at + targets, 0.0);
            leaves[at + target] = f64::from(node.weight_value);
            continue;
        }
        let left = nodes.len();
        nodes.extend([Node::Leaf(0), Node::Leaf(0)]);
        nodes[to] = Node::Split {
            feature: node.split_feature as u32,
            threshold: threshold_of(node.split_value),
            left: left as u32,
            right: left as u32 + 1,
            missing_left: node.missing_node == node.left_child,
        };
        open.push((node.right_child, left + 1));
        open.push((node.left_child, left));
    }
    Tree { nodes, leaves }
}
