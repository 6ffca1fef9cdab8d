//! Linear models and centres of groups: scale, multiply, decide.

use super::{
    graph::{Graph, INPUT, int},
    proto::data_type,
};
use crate::{Classes, trainers::Linear};

impl Graph {
    /// A classifier of one output for each class: for two classes of opposite sign, each through a sigmoid; for more
    /// a softmax.
    pub(crate) fn linear_classes(linear: &Linear, classes: &Classes) -> Self {
        let mut graph = Self::default();
        graph.linear(linear, "scores");
        if classes.len() == 2 {
            graph.node("Sigmoid", &["scores"], "probabilities", vec![]);
        } else {
            graph.node("Softmax", &["scores"], "probabilities", vec![int("axis", 1)]);
        }
        graph.decide(classes);
        graph
    }

    /// A regression of one output.
    pub(crate) fn linear_values(linear: &Linear) -> Self {
        let mut graph = Self::default();
        graph.linear(linear, "prediction");
        graph.output("prediction", data_type::FLOAT, &[1]);
        graph
    }

    fn linear(&mut self, linear: &Linear, output: &str) {
        let (features, outputs) = (linear.scaling.mean.len(), linear.bias.len());
        self.floats("mean", &[features], linear.scaling.mean.clone());
        self.floats("scale", &[features], linear.scaling.scale.clone());
        self.floats("weights", &[features, outputs], linear.weights.clone());
        self.floats("bias", &[outputs], linear.bias.clone());
        self.node("Sub", &[INPUT, "mean"], "centred", vec![]);
        self.node("Div", &["centred", "scale"], "scaled", vec![]);
        self.node("Gemm", &["scaled", "weights", "bias"], output, vec![]);
    }

    /// The nearest of some centres. Differences are squared and summed as they are: the shorter form by dot products
    /// loses digits where a distance is small beside the values.
    pub(crate) fn centres(centres: &[f32], features: usize) -> Self {
        let count = centres.len() / features.max(1);
        let mut graph = Self::default();
        graph.floats("centres", &[1, count, features], centres.to_vec());
        graph.ints("row_axis", &[1], vec![1]);
        graph.ints("feature_axis", &[1], vec![2]);
        graph.node("Unsqueeze", &[INPUT, "row_axis"], "rows_apart", vec![]);
        graph.node("Sub", &["rows_apart", "centres"], "differences", vec![]);
        graph.node("Mul", &["differences", "differences"], "squares", vec![]);
        graph.node("ReduceSum", &["squares", "feature_axis"], "distances", vec![int("keepdims", 0)]);
        graph.node("ArgMin", &["distances"], "cluster", vec![int("axis", 1), int("keepdims", 0)]);
        graph.output("cluster", data_type::INT64, &[]);
        graph.output("distances", data_type::FLOAT, &[count]);
        graph
    }
}
