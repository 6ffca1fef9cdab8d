//! Trees as ONNX writes them: all nodes of all trees in parallel lists.

use super::{
    graph::{Graph, INPUT, float_list, int, int_list, text, text_list},
    proto::{AttributeProto, data_type},
};
use crate::{
    Classes,
    trees::{Ensemble, Node},
};

/// What the sums of a classifier's leaves are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// One target: the log-odds of the second of two classes.
    LogOdds,
    /// One target for each class: the log-odds of that class against all others.
    OneAgainstRest,
}

impl Graph {
    /// A classifier by trees. Without a link the sums are the probabilities.
    pub(crate) fn tree_classes(ensemble: &Ensemble, classes: &Classes, link: Option<Link>) -> Self {
        let mut graph = Self::default();
        let mut attributes = nodes_of(ensemble);
        attributes.extend(leaves_of(ensemble, "class", link == Some(Link::LogOdds)));
        attributes.push(text("post_transform", "NONE"));
        attributes.push(match classes {
            Classes::Int(list) => int_list("classlabels_int64s", list.clone()),
            Classes::Text(list) => {
                text_list("classlabels_strings", list.iter().map(|class| class.clone().into_bytes()).collect())
            }
        });
        let sums = if link.is_none() { "probabilities" } else { "scores" };
        graph.ml_node("TreeEnsembleClassifier", &[INPUT], &["unused_label", sums], attributes);
        match link {
            None => {}
            Some(Link::LogOdds) => graph.node("Sigmoid", &["scores"], "probabilities", vec![]),
            Some(Link::OneAgainstRest) => {
                graph.ints("class_axis", &[1], vec![1]);
                graph.node("Sigmoid", &["scores"], "odds", vec![]);
                graph.node("ReduceSum", &["odds", "class_axis"], "all_odds", vec![int("keepdims", 1)]);
                graph.node("Div", &["odds", "all_odds"], "probabilities", vec![]);
            }
        }
        graph.decide(classes);
        graph
    }

    /// A regression by trees of one target.
    pub(crate) fn tree_values(ensemble: &Ensemble, base: f64) -> Self {
        let mut graph = Self::default();
        let mut attributes = nodes_of(ensemble);
        attributes.extend(leaves_of(ensemble, "target", false));
        attributes.extend([
            int("n_targets", 1),
            text("aggregate_function", "SUM"),
            text("post_transform", "NONE"),
            float_list("base_values", vec![base as f32]),
        ]);
        graph.ml_node("TreeEnsembleRegressor", &[INPUT], &["prediction"], attributes);
        graph.output("prediction", data_type::FLOAT, &[1]);
        graph
    }
}

fn nodes_of(ensemble: &Ensemble) -> Vec<AttributeProto> {
    let count = ensemble.nodes();
    let mut trees = Vec::with_capacity(count);
    let mut ids = Vec::with_capacity(count);
    let mut features = Vec::with_capacity(count);
    let mut values = Vec::with_capacity(count);
    let mut modes = Vec::with_capacity(count);
    let mut lefts = Vec::with_capacity(count);
    let mut rights = Vec::with_capacity(count);
    let mut missing = Vec::with_capacity(count);
    for (number, tree) in ensemble.trees.iter().enumerate() {
        for (id, node) in tree.nodes.iter().enumerate() {
            trees.push(number as i64);
            ids.push(id as i64);
            let (feature, threshold, mode, left, right, missing_left) = match *node {
                Node::Split { feature, threshold, left, right, missing_left } => {
                    (feature, threshold, "BRANCH_LT", left, right, missing_left)
                }
                Node::Leaf(_) => (0, 0.0, "LEAF", 0, 0, false),
            };
            features.push(i64::from(feature));
            values.push(threshold);
            modes.push(mode.as_bytes().to_vec());
            lefts.push(i64::from(left));
            rights.push(i64::from(right));
            missing.push(i64::from(missing_left));
        }
    }
    vec![
        int_list("nodes_treeids", trees),
        int_list("nodes_nodeids", ids),
        int_list("nodes_featureids", features),
        float_list("nodes_values", values),
        text_list("nodes_modes", modes),
        int_list("nodes_truenodeids", lefts),
        int_list("nodes_falsenodeids", rights),
        int_list("nodes_missing_value_tracks_true", missing),
    ]
}

/// The leaves' weights, under `class_…` or `target_…`. `mirrored` writes one target as two classes of opposite sign.
fn leaves_of(ensemble: &Ensemble, kind: &str, mirrored: bool) -> Vec<AttributeProto> {
    let (mut trees, mut nodes, mut targets, mut weights) = (vec![], vec![], vec![], vec![]);
    // With two classes ONNX Runtime treats a class that got no weight at all as absent, so zeros are written.
    let sparse = ensemble.targets > 2;
    for (number, tree) in ensemble.trees.iter().enumerate() {
        for (id, node) in tree.nodes.iter().enumerate() {
            let Node::Leaf(leaf) = node else { continue };
            let mut push = |target: usize, weight: f64| {
                trees.push(number as i64);
                nodes.push(id as i64);
                targets.push(target as i64);
                weights.push(weight as f32);
            };
            let at = *leaf as usize * ensemble.targets;
            let values = &tree.leaves[at..at + ensemble.targets];
            if mirrored {
                push(0, -values[0]);
                push(1, values[0]);
            } else if sparse && values.iter().any(|v| *v != 0.0) {
                values.iter().enumerate().filter(|(_, v)| **v != 0.0).for_each(|(target, v)| push(target, *v));
            } else {
                values.iter().enumerate().for_each(|(target, v)| push(target, *v));
            }
        }
    }
    vec![
        int_list(&format!("{kind}_treeids"), trees),
        int_list(&format!("{kind}_nodeids"), nodes),
        int_list(&format!("{kind}_ids"), targets),
        float_list(&format!("{kind}_weights"), weights),
    ]
}
