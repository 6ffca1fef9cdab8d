//! Trees out of an ONNX model: `TreeEnsembleClassifier`, `TreeEnsembleRegressor` (opsets 1 to 4 of `ai.onnx.ml`) and
//! `TreeEnsemble` (opset 5).
//!
//! What comes after the trees (a sigmoid, a choice of labels) is not read: whoever asks compares what the trees add up
//! to with the model's own answers, and knows then whether those are the sums or a function of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message;

use crate::{
    DEPTH_MAX, ExplainError, Trees,
    proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, data_type},
    trees::{Node, Split, Test},
};

/// How many numbers all nodes may have if each had one for each output: a small file can claim many outputs.
const LEAF_VALUES_MAX: usize = 1 << 26;

impl Trees {
    /// Reads the trees of an ONNX model.
    ///
    /// # Errors
    /// [`ExplainError::NotOnnx`]; [`ExplainError::NotTrees`] if the model's input does not go into one ensemble of
    /// trees; [`ExplainError::Unsound`] if that contradicts itself.
    pub fn read(model: &[u8]) -> Result<Self, ExplainError> {
        let model = ModelProto::decode(model).map_err(|error| ExplainError::NotOnnx(error.to_string()))?;
        let graph = model.graph.ok_or_else(|| ExplainError::NotOnnx("it has no graph".into()))?;
        let ensemble = ensemble(&graph)?;
        let attributes = Attributes::of(ensemble);
        match ensemble.op_type() {
            "TreeEnsemble" => Draft::since_5(&attributes)?.finish(),
            "TreeEnsembleClassifier" => Draft::classifier(&attributes)?.finish(),
            _ => Draft::regressor(&attributes)?.finish(),
        }
    }
}

/// The one node of trees, which must be fed with what the caller sends.
fn ensemble(graph: &GraphProto) -> Result<&NodeProto, ExplainError> {
    let mut found = graph.node.iter().filter(|node| node.op_type().starts_with("TreeEnsemble"));
    let Some(ensemble) = found.next() else {
        let kinds: Vec<&str> = graph.node.iter().map(NodeProto::op_type).take(5).collect();
        return Err(ExplainError::NotTrees(format!("it is made of {}", kinds.join(", "))));
    };
    if found.next().is_some() {
        return Err(ExplainError::NotTrees("it has several".into()));
    }
    let constants: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    let sent: Vec<&str> =
        graph.input.iter().filter_map(|input| input.name.as_deref()).filter(|name| !constants.contains(name)).collect();
    let &[input] = sent.as_slice() else {
        return Err(ExplainError::NotTrees(format!("it takes {} inputs", sent.len())));
    };
    let mut fed = ensemble.input.first().map_or("", String::as_str);
    // No longer than there are nodes, so that a circle ends.
    for _ in 0..graph.node.len() {
        if fed == input {
            break;
        }
        let before = graph.node.iter().find(|node| node.output.iter().any(|output| output == fed));
        match before {
            Some(node) if matches!(node.op_type(), "Identity" | "Cast") => {
                fed = node.input.first().map_or("", String::as_str);
            }
            Some(node) => return Err(ExplainError::NotTrees(format!("{} comes before them", node.op_type()))),
            None => break,
        }
    }
    if fed != input {
        return Err(ExplainError::NotTrees("they are not fed by the model's input".into()));
    }
    Ok(ensemble)
}

/// A node's attributes by name.
struct Attributes<'a>(HashMap<&'a str, &'a AttributeProto>);

impl<'a> Attributes<'a> {
    fn of(node: &'a NodeProto) -> Self {
        Self(node.attribute.iter().filter_map(|attribute| Some((attribute.name.as_deref()?, attribute))).collect())
    }

    fn ints(&self, name: &str) -> &'a [i64] {
        self.0.get(name).map_or(&[], |attribute| attribute.ints.as_slice())
    }

    fn int(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.i
    }

    fn text(&self, name: &str) -> Option<String> {
        Some(String::from_utf8_lossy(self.0.get(name)?.s.as_deref()?).into_owned())
    }

    fn texts(&self, name: &str) -> Vec<&'a [u8]> {
        self.0.get(name).map_or_else(Vec::new, |found| found.strings.iter().map(Vec::as_slice).collect())
    }

    /// Numbers as floats, as `NAME_as_tensor` (since opset 3), or as a tensor of that name (since opset 5).
    fn numbers(&self, name: &str) -> Result<Vec<f64>, ExplainError> {
        let as_tensor = format!("{name}_as_tensor");
        if let Some(tensor) = self.0.get(as_tensor.as_str()).or_else(|| self.0.get(name)).and_then(|a| a.t.as_ref()) {
            return read_tensor(name, tensor);
        }
        Ok(self.0.get(name).map_or_else(Vec::new, |found| found.floats.iter().copied().map(f64::from).collect()))
    }
}

fn read_tensor(name: &str, tensor: &TensorProto) -> Result<Vec<f64>, ExplainError> {
    let raw = tensor.raw_data.as_deref().unwrap_or_default();
    Ok(match tensor.data_type() {
        data_type::FLOAT if raw.is_empty() => tensor.float_data.iter().copied().map(f64::from).collect(),
        data_type::DOUBLE if raw.is_empty() => tensor.double_data.clone(),
        data_type::UINT8 if raw.is_empty() => tensor.int32_data.iter().copied().map(f64::from).collect(),
        data_type::FLOAT => raw.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect(),
        data_type::DOUBLE => raw.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
        data_type::UINT8 => raw.iter().copied().map(f64::from).collect(),
        other => return Err(ExplainError::Unsound(format!("`{name}` is a tensor of the type {other}"))),
    })
}

/// Trees as they are gathered, before anything of their shape is known.
struct Draft {
    outputs: usize,
    base: Vec<f64>,
    roots: Vec<usize>,
    nodes: Vec<DraftNode>,
    /// For each node, what it gives to each output, if it is a leaf with weights.
    weights: HashMap<usize, Vec<f64>>,
    covers: Vec<f64>,
    average: bool,
}

#[derive(Debug, Clone, Copy)]
enum DraftNode {
    Leaf,
    Split { feature: i64, test: Test, value: f64, yes: usize, no: usize, missing: bool },
}

impl Draft {
    fn classifier(attributes: &Attributes<'_>) -> Result<Self, ExplainError> {
        let classes = attributes.ints("classlabels_int64s").len().max(attributes.texts("classlabels_strings").len());
        let ids = attributes.ints("class_ids");
        let weighted: HashSet<i64> = ids.iter().copied().collect();
        let base = attributes.numbers("base_values")?;
        // With weights for one of two classes only, these decide between both.
        let one = classes == 2 && weighted.len() == 1;
        let outputs = if one { 1 } else { count(classes as i64)? };
        let base = match (one, base.as_slice()) {
            (_, []) => vec![0.0; outputs],
            (true, [.., last]) => vec![*last],
            (false, all) if all.len() == outputs => all.to_vec(),
            (false, all) => {
                return Err(ExplainError::NotTrees(format!("{} base values for {outputs} classes", all.len())));
            }
        };
        let mut draft = Self::until_4(attributes, outputs, base)?;
        let outputs_of: Vec<i64> = ids.iter().map(|id| if one { 0 } else { *id }).collect();
        draft.weigh(attributes, "class", &outputs_of)?;
        Ok(draft)
    }

    fn regressor(attributes: &Attributes<'_>) -> Result<Self, ExplainError> {
        let outputs = count(attributes.int("n_targets").unwrap_or(1))?;
        let base = attributes.numbers("base_values")?;
        let base = if base.is_empty() { vec![0.0; outputs] } else { base };
        if base.len() != outputs {
            return Err(ExplainError::Unsound(format!("{} base values for {outputs} targets", base.len())));
        }
        let mut draft = Self::until_4(attributes, outputs, base)?;
        draft.weigh(attributes, "target", attributes.ints("target_ids"))?;
        draft.average = match attributes.text("aggregate_function").as_deref() {
            None | Some("SUM") => false,
            Some("AVERAGE") => true,
            Some(other) => return Err(ExplainError::NotTrees(format!("they are joined by {other}"))),
        };
        Ok(draft)
    }

    /// The nodes of opsets 1 to 4, named by tree and number.
    fn until_4(attributes: &Attributes<'_>, outputs: usize, base: Vec<f64>) -> Result<Self, ExplainError> {
        let trees = attributes.ints("nodes_treeids");
        let ids = attributes.ints("nodes_nodeids");
        let features = attributes.ints("nodes_featureids");
        let modes = attributes.texts("nodes_modes");
        let values = attributes.numbers("nodes_values")?;
        let yes = attributes.ints("nodes_truenodeids");
        let no = attributes.ints("nodes_falsenodeids");
        let missing = attributes.ints("nodes_missing_value_tracks_true");
        let count = trees.len();
        for (name, length) in [
            ("nodes_nodeids", ids.len()),
            ("nodes_featureids", features.len()),
            ("nodes_modes", modes.len()),
            ("nodes_values", values.len()),
            ("nodes_truenodeids", yes.len()),
            ("nodes_falsenodeids", no.len()),
        ] {
            expect_length(name, length, count)?;
        }
        let places = places(trees, ids)?;
        let place = |tree: i64, id: i64| {
            let found = places.get(&(tree, id)).copied();
            found.ok_or_else(|| ExplainError::Unsound(format!("tree {tree} has no node {id}")))
        };
        let mut nodes = Vec::with_capacity(count);
        let mut children = vec![false; count];
        for at in 0..count {
            let test = match modes[at] {
                b"LEAF" => {
                    nodes.push(DraftNode::Leaf);
                    continue;
                }
                b"BRANCH_LEQ" => Test::AtMost,
                b"BRANCH_LT" => Test::Less,
                b"BRANCH_GTE" => Test::AtLeast,
                b"BRANCH_GT" => Test::More,
                b"BRANCH_EQ" => Test::Equal,
                b"BRANCH_NEQ" => Test::Other,
                other => {
                    let mode = String::from_utf8_lossy(other).into_owned();
                    return Err(ExplainError::NotTrees(format!("they have nodes of the mode {mode}")));
                }
            };
            let (yes, no) = (place(trees[at], yes[at])?, place(trees[at], no[at])?);
            children[yes] = true;
            children[no] = true;
            let missing = missing.get(at).is_some_and(|missing| *missing != 0);
            nodes.push(DraftNode::Split { feature: features[at], test, value: values[at], yes, no, missing });
        }
        // The root of a tree is the node that is nobody's child.
        let mut roots: BTreeMap<i64, usize> = BTreeMap::new();
        for at in (0..count).filter(|at| !children[*at]) {
            if roots.insert(trees[at], at).is_some() {
                return Err(ExplainError::Unsound(format!("tree {} has two roots", trees[at])));
            }
        }
        let known: HashSet<i64> = trees.iter().copied().collect();
        if let Some(tree) = known.iter().find(|tree| !roots.contains_key(tree)) {
            return Err(ExplainError::Unsound(format!("tree {tree} has no root")));
        }
        Ok(Self {
            outputs,
            base,
            roots: roots.into_values().collect(),
            nodes,
            weights: HashMap::new(),
            covers: attributes.numbers("nodes_hitrates")?,
            average: false,
        })
    }

    /// The leaves' weights of opsets 1 to 4.
    fn weigh(&mut self, attributes: &Attributes<'_>, kind: &str, outputs: &[i64]) -> Result<(), ExplainError> {
        let trees = attributes.ints(&format!("{kind}_treeids"));
        let ids = attributes.ints(&format!("{kind}_nodeids"));
        let weights = attributes.numbers(&format!("{kind}_weights"))?;
        for (name, length) in [("nodeids", ids.len()), ("ids", outputs.len()), ("weights", weights.len())] {
            expect_length(&format!("{kind}_{name}"), length, trees.len())?;
        }
        let places = places(attributes.ints("nodes_treeids"), attributes.ints("nodes_nodeids"))?;
        for at in 0..trees.len() {
            let Some(place) = places.get(&(trees[at], ids[at])) else {
                return Err(ExplainError::Unsound(format!("tree {} has no leaf {}", trees[at], ids[at])));
            };
            self.add_weight(*place, outputs[at], weights[at])?;
        }
        Ok(())
    }

    /// The node of opset 5, in which leaves have numbers of their own.
    fn since_5(attributes: &Attributes<'_>) -> Result<Self, ExplainError> {
        let features = attributes.ints("nodes_featureids");
        let modes = attributes.numbers("nodes_modes")?;
        let values = attributes.numbers("nodes_splits")?;
        let (yes, no) = (attributes.ints("nodes_truenodeids"), attributes.ints("nodes_falsenodeids"));
        let (yes_leaf, no_leaf) = (attributes.ints("nodes_trueleafs"), attributes.ints("nodes_falseleafs"));
        let missing = attributes.ints("nodes_missing_value_tracks_true");
        let splits = features.len();
        for (name, length) in [
            ("nodes_modes", modes.len()),
            ("nodes_splits", values.len()),
            ("nodes_truenodeids", yes.len()),
            ("nodes_falsenodeids", no.len()),
            ("nodes_trueleafs", yes_leaf.len()),
            ("nodes_falseleafs", no_leaf.len()),
        ] {
            expect_length(name, length, splits)?;
        }
        let targets = attributes.ints("leaf_targetids");
        let weights = attributes.numbers("leaf_weights")?;
        expect_length("leaf_weights", weights.len(), targets.len())?;
        // Leaves come after the splits. One may be named by several splits, and each gets its own.
        let mut nodes = vec![DraftNode::Leaf; splits];
        let mut leaves = Vec::new();
        let mut child = |leaf: i64, number: i64| -> Result<usize, ExplainError> {
            let bound = if leaf == 0 { splits } else { targets.len() };
            let found = usize::try_from(number).ok().filter(|number| *number < bound);
            let found =
                found.ok_or_else(|| ExplainError::Unsound(format!("no node or leaf has the number {number}")))?;
            if leaf == 0 {
                return Ok(found);
            }
            leaves.push(found);
            Ok(splits + leaves.len() - 1)
        };
        for at in 0..splits {
            let test = match modes[at] {
                0.0 => Test::AtMost,
                1.0 => Test::Less,
                2.0 => Test::AtLeast,
                3.0 => Test::More,
                4.0 => Test::Equal,
                5.0 => Test::Other,
                other => return Err(ExplainError::NotTrees(format!("they have nodes of the mode {other}"))),
            };
            let (yes, no) = (child(yes_leaf[at], yes[at])?, child(no_leaf[at], no[at])?);
            let missing = missing.get(at).is_some_and(|missing| *missing != 0);
            nodes[at] = DraftNode::Split { feature: features[at], test, value: values[at], yes, no, missing };
        }
        nodes.resize(splits + leaves.len(), DraftNode::Leaf);
        let roots = attributes.ints("tree_roots").iter().map(|root| {
            let found = usize::try_from(*root).ok().filter(|root| *root < splits);
            found.ok_or_else(|| ExplainError::Unsound(format!("no node has the number {root}")))
        });
        let outputs = count(attributes.int("n_targets").unwrap_or(1))?;
        let mut draft = Self {
            outputs,
            base: vec![0.0; outputs],
            roots: roots.collect::<Result<_, _>>()?,
            nodes,
            weights: HashMap::new(),
            covers: Vec::new(),
            average: match attributes.int("aggregate_function") {
                None | Some(1) => false,
                Some(0) => true,
                Some(other) => return Err(ExplainError::NotTrees(format!("they are joined by the function {other}"))),
            },
        };
        for (at, leaf) in leaves.iter().enumerate() {
            draft.add_weight(splits + at, targets[*leaf], weights[*leaf])?;
        }
        Ok(draft)
    }

    fn add_weight(&mut self, node: usize, output: i64, weight: f64) -> Result<(), ExplainError> {
        let outputs = self.outputs;
        let Some(output) = usize::try_from(output).ok().filter(|output| *output < outputs) else {
            return Err(ExplainError::Unsound(format!("a leaf gives to output {output} of {outputs}")));
        };
        if self.nodes.len().saturating_mul(outputs) > LEAF_VALUES_MAX {
            // `finish` refuses them; until then nothing is kept.
            return Ok(());
        }
        self.weights.entry(node).or_insert_with(|| vec![0.0; outputs])[output] += weight;
        Ok(())
    }

    /// Walks the trees from their roots, each node once, children after their parent.
    fn finish(self) -> Result<Trees, ExplainError> {
        if self.nodes.len().saturating_mul(self.outputs) > LEAF_VALUES_MAX {
            let message = format!("{} nodes of {} outputs are too many", self.nodes.len(), self.outputs);
            return Err(ExplainError::NotTrees(message));
        }
        let mut trees = Trees {
            outputs: self.outputs,
            base: self.base,
            roots: Vec::with_capacity(self.roots.len()),
            nodes: Vec::with_capacity(self.nodes.len()),
            leaves: Vec::new(),
            covers: None,
            depth: 0,
            features: 0,
        };
        let mut drafts = Vec::with_capacity(self.nodes.len());
        let mut seen = vec![false; self.nodes.len()];
        let share = if self.average { 1.0 / self.roots.len() as f64 } else { 1.0 };
        for root in &self.roots {
            trees.roots.push(trees.nodes.len() as u32);
            // A node's place in the draft, its depth, and which child of which node it is.
            let mut waiting = vec![(*root, 0, None::<(usize, bool)>)];
            while let Some((draft, depth, parent)) = waiting.pop() {
                if std::mem::replace(&mut seen[draft], true) {
                    return Err(ExplainError::Unsound("a node has two parents".into()));
                }
                if depth > DEPTH_MAX {
                    return Err(ExplainError::NotTrees(format!("they are deeper than {DEPTH_MAX}")));
                }
                let number = trees.nodes.len();
                trees.depth = trees.depth.max(depth);
                if let Some((parent, yes)) = parent
                    && let Node::Split(split) = &mut trees.nodes[parent]
                {
                    *(if yes { &mut split.yes } else { &mut split.no }) = number as u32;
                }
                drafts.push(draft);
                trees.nodes.push(match self.nodes[draft] {
                    DraftNode::Leaf => {
                        let leaf = trees.leaves.len() / trees.outputs;
                        match self.weights.get(&draft) {
                            Some(weights) => trees.leaves.extend(weights.iter().map(|weight| weight * share)),
                            None => trees.leaves.resize(trees.leaves.len() + trees.outputs, 0.0),
                        }
                        Node::Leaf(leaf as u32)
                    }
                    DraftNode::Split { feature, test, value, yes, no, missing } => {
                        let feature = u32::try_from(feature)
                            .map_err(|_| ExplainError::Unsound(format!("a node asks for feature {feature}")))?;
                        trees.features = trees.features.max(feature as usize + 1);
                        waiting.push((no, depth + 1, Some((number, false))));
                        waiting.push((yes, depth + 1, Some((number, true))));
                        Node::Split(Split { feature, test, value, yes: 0, no: 0, missing })
                    }
                });
            }
        }
        trees.covers = covers(&trees, &drafts, &self.covers);
        Ok(trees)
    }
}

/// Hit rates as covers, if they can be: finite and positive at the roots, and what comes to a node goes on to its children.
fn covers(trees: &Trees, drafts: &[usize], hit_rates: &[f64]) -> Option<Vec<f64>> {
    let covers = drafts.iter().map(|draft| hit_rates.get(*draft).copied()).collect::<Option<Vec<f64>>>()?;
    if covers.iter().any(|cover| !cover.is_finite() || *cover < 0.0) {
        return None;
    }
    let sound = trees.nodes.iter().zip(&covers).all(|(node, cover)| match node {
        Node::Leaf(_) => true,
        Node::Split(split) => {
            let children = covers[split.yes as usize] + covers[split.no as usize];
            *cover > 0.0 && (children - cover).abs() <= 1e-3 * cover
        }
    });
    sound.then_some(covers)
}

fn places(trees: &[i64], ids: &[i64]) -> Result<HashMap<(i64, i64), usize>, ExplainError> {
    let mut places = HashMap::with_capacity(trees.len());
    for (at, (tree, id)) in trees.iter().zip(ids).enumerate() {
        if places.insert((*tree, *id), at).is_some() {
            return Err(ExplainError::Unsound(format!("tree {tree} has node {id} twice")));
        }
    }
    Ok(places)
}

fn expect_length(name: &str, length: usize, expected: usize) -> Result<(), ExplainError> {
    if length == expected {
        return Ok(());
    }
    Err(ExplainError::Unsound(format!("`{name}` has {length} entries where there are {expected}")))
}

/// How many targets there are, within reason: each leaf has a number for each.
fn count(targets: i64) -> Result<usize, ExplainError> {
    let found = usize::try_from(targets).ok().filter(|targets| (1..=100_000).contains(targets));
    found.ok_or_else(|| ExplainError::Unsound(format!("they have {targets} targets")))
}
