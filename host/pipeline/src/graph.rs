//! The stage graph: references resolved, circles refused, an order found.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::{algo::tarjan_scc, graph::DiGraph, graph::NodeIndex};
use plinth_core::did_you_mean;

use crate::{Handlers, Pipeline, PipelineError, StageHandler, StagePlan, StageSpec};

/// A pipeline whose stages are understood and can be run in [`Graph::order`].
pub struct Graph<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// Its stages, in the order of the file.
    pub(crate) nodes: Vec<Node<'a>>,
    /// Indices of stages; each comes after those it needs.
    pub(crate) order: Vec<usize>,
}

/// A stage that is understood.
pub(crate) struct Node<'a> {
    pub(crate) spec: &'a StageSpec,
    pub(crate) handler: &'a dyn StageHandler,
    pub(crate) plan: StagePlan,
    /// Input name → stage and output.
    pub(crate) inputs: BTreeMap<&'static str, (usize, &'static str)>,
    /// Stages that must come first, inputs included.
    pub(crate) needs: BTreeSet<usize>,
}

impl<'a> Graph<'a> {
    /// Understands every stage by its handler and orders them.
    ///
    /// # Errors
    /// [`PipelineError`]: unknown kinds, keys, stages, outputs; a circle.
    pub fn new(pipeline: &'a Pipeline, handlers: &'a Handlers) -> Result<Self, PipelineError> {
        let mut nodes = Vec::with_capacity(pipeline.stages.len());
        for spec in &pipeline.stages {
            let handler = handlers.get(&spec.kind).ok_or_else(|| PipelineError::UnknownKind {
                place: spec.place(&["kind"]),
                stage: spec.name.clone(),
                kind: spec.kind.clone(),
                hint: did_you_mean(&spec.kind, handlers.kinds()),
            })?;
            let plan = handler.plan(spec)?;
            nodes.push(Node { spec, handler, plan, inputs: BTreeMap::new(), needs: BTreeSet::new() });
        }
        for index in 0..nodes.len() {
            resolve(pipeline, &mut nodes, index)?;
        }
        let order = order(&nodes)?;
        Ok(Self { pipeline, nodes, order })
    }

    /// The names of all stages, each after those it needs.
    pub fn order(&self) -> impl Iterator<Item = &str> {
        self.order.iter().map(|&index| self.nodes[index].spec.name.as_str())
    }

    /// The stage of that name and all that it needs; every stage without a name.
    ///
    /// # Errors
    /// [`PipelineError::UnknownStage`].
    pub(crate) fn select(&self, only: Option<&str>) -> Result<BTreeSet<usize>, PipelineError> {
        let Some(name) = only else { return Ok((0..self.nodes.len()).collect()) };
        let names: Vec<&str> = self.nodes.iter().map(|node| node.spec.name.as_str()).collect();
        let index = names.iter().position(|n| *n == name).ok_or_else(|| PipelineError::UnknownStage {
            place: crate::Place::Argument(format!("--stage {name}")),
            user: String::new(),
            name: name.to_owned(),
            hint: did_you_mean(name, names.iter().copied()),
        })?;
        let mut selected = BTreeSet::new();
        let mut open = vec![index];
        while let Some(index) = open.pop() {
            if selected.insert(index) {
                open.extend(&self.nodes[index].needs);
            }
        }
        Ok(selected)
    }
}

/// Turns a stage's references into indices.
fn resolve(pipeline: &Pipeline, nodes: &mut [Node<'_>], index: usize) -> Result<(), PipelineError> {
    let spec = nodes[index].spec;
    let find = |reference: &str, key: &str| {
        let names = pipeline.stages.iter().map(|stage| stage.name.as_str());
        names.clone().position(|name| name == reference).ok_or_else(|| PipelineError::UnknownStage {
            place: spec.place(&[key]),
            user: spec.name.clone(),
            name: reference.to_owned(),
            hint: did_you_mean(reference, names.filter(|name| *name != spec.name)),
        })
    };
    for input in nodes[index].plan.inputs.clone() {
        let (name, output) = match input.reference.split_once('.') {
            Some((name, output)) => (name, Some(output)),
            None => (input.reference.as_str(), None),
        };
        let from = find(name, input.key)?;
        let known = &nodes[from].plan.outputs;
        let found = match output {
            None => known.first(),
            Some(output) => known.iter().find(|known| **known == output),
        };
        let output = *found.ok_or_else(|| PipelineError::UnknownOutput {
            place: spec.place(&[input.key]),
            stage: name.to_owned(),
            output: output.unwrap_or("its first").to_owned(),
            hint: did_you_mean(output.unwrap_or_default(), known.iter().copied()),
        })?;
        nodes[index].inputs.insert(input.name, (from, output));
        nodes[index].needs.insert(from);
    }
    for name in &spec.after {
        let before = find(name, "after")?;
        nodes[index].needs.insert(before);
    }
    Ok(())
}

/// An order in which each stage comes after those it needs; among free ones, the order of the file.
fn order(nodes: &[Node<'_>]) -> Result<Vec<usize>, PipelineError> {
    let mut order = Vec::with_capacity(nodes.len());
    let mut done = BTreeSet::new();
    while order.len() < nodes.len() {
        let next = (0..nodes.len()).find(|index| !done.contains(index) && nodes[*index].needs.is_subset(&done));
        let Some(next) = next else { return Err(circle(nodes)) };
        done.insert(next);
        order.push(next);
    }
    Ok(order)
}

/// Names a circle, from the stage of it that comes first in the file.
fn circle(nodes: &[Node<'_>]) -> PipelineError {
    let mut graph = DiGraph::<(), ()>::new();
    for _ in nodes {
        graph.add_node(());
    }
    for (index, node) in nodes.iter().enumerate() {
        for need in &node.needs {
            graph.add_edge(NodeIndex::new(*need), NodeIndex::new(index), ());
        }
    }
    let group: BTreeSet<usize> = tarjan_scc(&graph)
        .into_iter()
        .map(|group| group.into_iter().map(NodeIndex::index).collect::<BTreeSet<_>>())
        .find(|group| group.len() > 1 || group.iter().all(|&index| nodes[index].needs.contains(&index)))
        .expect("stages that cannot be ordered contain a circle");
    // Walking backwards along needs within the group must meet a stage again.
    let mut walk = vec![*group.first().expect("a circle has a stage")];
    let start = loop {
        let last = walk[walk.len() - 1];
        let next = *nodes[last].needs.intersection(&group).next().expect("a stage of a circle needs another of it");
        if let Some(position) = walk.iter().position(|&index| index == next) {
            break position;
        }
        walk.push(next);
    };
    let mut names: Vec<String> = walk[start..].iter().rev().map(|&i| nodes[i].spec.name.clone()).collect();
    let first =
        (0..names.len()).min_by_key(|&i| nodes.iter().position(|n| n.spec.name == names[i])).unwrap_or_default();
    names.rotate_left(first);
    let place = nodes.iter().find(|n| n.spec.name == names[0]).expect("it is one of them").spec.place(&[]);
    names.push(names[0].clone());
    PipelineError::Cycle { place, stages: names }
}
