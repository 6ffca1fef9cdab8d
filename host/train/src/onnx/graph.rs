//! A graph in the making, and the model around it.

use plinth_ext::metadata;
use prost::Message;

use super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type, data_type,
};
use crate::{Classes, Task, Trainer};

/// Name of every model's input.
pub(crate) const INPUT: &str = "features";

/// The domain of tree ensembles.
pub(crate) const ML: &str = "ai.onnx.ml";

/// Supported by every ONNX Runtime since 1.12, and by other runtimes.
const OPSET: i64 = 17;
const ML_OPSET: i64 = 3;
const IR_VERSION: i64 = 8;

/// Nodes from the input to a task's outputs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    outputs: Vec<ValueInfoProto>,
}

/// What a model says of itself.
pub(crate) struct Notes<'a> {
    pub(crate) task: Task,
    pub(crate) trainer: Trainer,
    pub(crate) features: &'a [String],
    pub(crate) classes: Option<&'a Classes>,
    pub(crate) missing_allowed: bool,
}

impl Graph {
    /// The model's bytes. The same graph and notes give the same bytes.
    pub(crate) fn into_model(self, notes: &Notes<'_>) -> Vec<u8> {
        let mut properties = vec![
            (metadata::TASK, notes.task.name().to_owned()),
            (metadata::TRAINER, notes.trainer.name().to_owned()),
            (metadata::FEATURES, json(&notes.features)),
            (metadata::MISSING, if notes.missing_allowed { "allowed" } else { "refused" }.to_owned()),
        ];
        properties.extend(notes.classes.map(|classes| (metadata::CLASSES, json(classes))));
        let opset = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
        let model = ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("plinth".into()),
            producer_version: Some(env!("CARGO_PKG_VERSION").into()),
            graph: Some(GraphProto {
                node: self.nodes,
                name: Some(notes.trainer.name().into()),
                initializer: self.constants,
                input: vec![tensor_info(INPUT, data_type::FLOAT, &[notes.features.len()])],
                output: self.outputs,
            }),
            opset_import: vec![opset("", OPSET), opset(ML, ML_OPSET)],
            metadata_props: properties
                .into_iter()
                .map(|(key, value)| StringStringEntryProto { key: Some(key.into()), value: Some(value) })
                .collect(),
        };
        model.encode_to_vec()
    }

    /// A node of the standard operators.
    pub(crate) fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        self.push(op, "", inputs, &[output], attributes);
    }

    /// A node of the machine-learning operators.
    pub(crate) fn ml_node(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) {
        self.push(op, ML, inputs, outputs, attributes);
    }

    fn push(&mut self, op: &str, domain: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        self.nodes.push(NodeProto {
            input: own(inputs),
            output: own(outputs),
            name: Some(format!("{op}_{}", self.nodes.len())),
            op_type: Some(op.into()),
            attribute: attributes,
            domain: Some(domain.into()),
        });
    }

    pub(crate) fn floats(&mut self, name: &str, dims: &[usize], values: Vec<f32>) {
        let mut tensor = constant(name, data_type::FLOAT, dims);
        tensor.float_data = values;
        self.constants.push(tensor);
    }

    pub(crate) fn ints(&mut self, name: &str, dims: &[usize], values: Vec<i64>) {
        let mut tensor = constant(name, data_type::INT64, dims);
        tensor.int64_data = values;
        self.constants.push(tensor);
    }

    /// An output of any number of rows; `dims` are those after the rows.
    pub(crate) fn output(&mut self, name: &str, data_type: i32, dims: &[usize]) {
        self.outputs.push(tensor_info(name, data_type, dims));
    }

    /// From `probabilities` to `label`; declares both outputs.
    pub(crate) fn decide(&mut self, classes: &Classes) {
        let kind = match classes {
            Classes::Int(list) => {
                self.ints("classes", &[list.len()], list.clone());
                data_type::INT64
            }
            Classes::Text(list) => {
                let mut tensor = constant("classes", data_type::STRING, &[list.len()]);
                tensor.string_data = list.iter().map(|class| class.clone().into_bytes()).collect();
                self.constants.push(tensor);
                data_type::STRING
            }
        };
        self.node("ArgMax", &["probabilities"], "class", vec![int("axis", 1), int("keepdims", 0)]);
        self.node("Gather", &["classes", "class"], "label", vec![int("axis", 0)]);
        self.output("label", kind, &[]);
        self.output("probabilities", data_type::FLOAT, &[classes.len()]);
    }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, attribute_type::INT) }
}

pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..attribute(name, attribute_type::STRING) }
}

pub(crate) fn float_list(name: &str, values: Vec<f32>) -> AttributeProto {
    AttributeProto { floats: values, ..attribute(name, attribute_type::FLOATS) }
}

pub(crate) fn int_list(name: &str, values: Vec<i64>) -> AttributeProto {
    AttributeProto { ints: values, ..attribute(name, attribute_type::INTS) }
}

pub(crate) fn text_list(name: &str, values: Vec<Vec<u8>>) -> AttributeProto {
    AttributeProto { strings: values, ..attribute(name, attribute_type::STRINGS) }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(kind), ..AttributeProto::default() }
}

fn constant(name: &str, data_type: i32, dims: &[usize]) -> TensorProto {
    TensorProto {
        dims: dims.iter().map(|dim| *dim as i64).collect(),
        data_type: Some(data_type),
        name: Some(name.into()),
        ..TensorProto::default()
    }
}

fn tensor_info(name: &str, data_type: i32, dims: &[usize]) -> ValueInfoProto {
    let rows = DimensionProto { dim_value: None, dim_param: Some("rows".into()) };
    let others = dims.iter().map(|dim| DimensionProto { dim_value: Some(*dim as i64), dim_param: None });
    let shape = TensorShapeProto { dim: std::iter::once(rows).chain(others).collect() };
    let tensor_type = TensorTypeProto { elem_type: Some(data_type), shape: Some(shape) };
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("lists of text and integers are JSON")
}
