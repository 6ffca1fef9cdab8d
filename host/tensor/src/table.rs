//! A model over the columns of a table: numbers in, label, probabilities or predictions out.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use ort::value::DynValue;
use plinth_ext::{Batch, DType, Data, ExtError, Field, Kind, Model, Numbers, Schema, Tensor, metadata, transposed};

use crate::{Device, Runtime, Session, SessionOptions, TensorError, tensor};

/// An ONNX model of one float input `[rows, features]`, seen as columns in and columns out.
///
/// A model of ours names its features and classes in its metadata. One from elsewhere gets `feature_0`, `feature_1`
/// and so on, unless names are given. Each output becomes one column of its name, or one for each class
/// (`probability_CLASS`), or numbered ones if it is wide and the classes are unknown.
#[derive(Debug)]
pub struct OnnxModel {
    session: Session,
    input: Schema,
    output: Schema,
    columns: Vec<OutputColumns>,
    task: Option<String>,
    classes: Vec<String>,
    missing_allowed: bool,
}

/// One output of the model, as columns of the table.
#[derive(Debug)]
struct OutputColumns {
    index: usize,
    width: usize,
    names: Vec<String>,
    kind: Kind,
}

impl OnnxModel {
    /// Reads a model, and runs it once on a row of zeros to learn what it returns.
    ///
    /// # Errors
    /// As [`Session::load`]; [`TensorError::NotTabular`] if it does not take one float matrix and return columns.
    pub fn load(runtime: &Runtime, model: &[u8], options: &SessionOptions) -> Result<Self, TensorError> {
        Self::new(Session::load(runtime, model, options)?, None)
    }

    /// The same from a loaded session; `features` names the columns of a model that does not do so itself.
    ///
    /// # Errors
    /// [`TensorError::NotTabular`]; [`TensorError::BadModel`] if it cannot run on a row of zeros.
    pub fn new(session: Session, features: Option<&[String]>) -> Result<Self, TensorError> {
        let names = feature_names(&session, features)?;
        let notes = session.metadata();
        let missing_allowed = notes.get(metadata::MISSING).is_none_or(|noted| noted == "allowed");
        let task = notes.get(metadata::TASK).cloned();
        let classes = match notes.get(metadata::CLASSES) {
            Some(json) => read_list(json, metadata::CLASSES)?,
            None => Vec::new(),
        };
        let fields = names.into_iter().map(|name| Field::new(name, Kind::Float32, missing_allowed)).collect();
        let input = Schema::new(fields)?;
        let zeros = vec![0.0; input.len()];
        let columns =
            session.run_matrix(1, input.len(), &zeros, |outputs| plan(&session, outputs, task.as_deref(), &classes))?;
        let fields = columns
            .iter()
            .flat_map(|output| output.names.iter().map(|name| Field::new(name, output.kind, false)))
            .collect();
        let output = Schema::new(fields)?;
        Ok(Self { session, input, output, columns, task, classes, missing_allowed })
    }

    /// `classification`, `regression` or `clustering`, if the model says so.
    pub fn task(&self) -> Option<&str> {
        self.task.as_deref()
    }

    /// The classes as text, in the order of the probabilities; empty if the model names none.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Where it runs.
    pub const fn device(&self) -> Device {
        self.session.device()
    }

    /// The model beneath, for those who have tensors.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Scores rows of numeric columns, which must be the model's features in order. 64-bit numbers are rounded to the
    /// 32 bits that the model takes; a null is NaN to a model that allows it.
    ///
    /// # Errors
    /// [`TensorError::Features`] names the first column that differs; [`TensorError::NotFinite`] names row and column.
    pub fn score(&self, rows: &RecordBatch) -> Result<Batch, TensorError> {
        self.run(&self.gather(rows)?, rows.num_rows())
    }

    fn run(&self, matrix: &[f32], count: usize) -> Result<Batch, TensorError> {
        if count == 0 {
            return Ok(Batch::empty(self.output.clone()));
        }
        self.session.run_matrix(count, self.input.len(), matrix, |outputs| {
            let mut columns = Vec::with_capacity(self.output.len());
            for output in &self.columns {
                output.read(outputs, count, &mut columns)?;
            }
            Ok(Batch::new(self.output.clone(), columns, count)?)
        })
    }

    /// The features, row by row, as the model's input tensor wants them.
    fn gather(&self, rows: &RecordBatch) -> Result<Vec<f32>, TensorError> {
        let width = self.input.len();
        let schema = rows.schema_ref();
        for (index, field) in self.input.fields().iter().enumerate() {
            let found = match schema.fields().get(index) {
                None => "no column".to_owned(),
                Some(found) if *found.name() != field.name => format!("`{}`", found.name()),
                Some(_) => continue,
            };
            return Err(TensorError::Features { index, expected: format!("`{}`", field.name), found });
        }
        if let Some(extra) = schema.fields().get(width) {
            let found = format!("`{}`", extra.name());
            return Err(TensorError::Features { index: width, expected: "no column".into(), found });
        }
        let mut matrix = vec![0.0_f32; width * rows.num_rows()];
        for (index, column) in rows.columns().iter().enumerate() {
            self.scatter(index, column, &mut matrix)?;
        }
        Ok(matrix)
    }

    /// The same of features that lie column by column in one piece; none if the model does not take one of them.
    fn transpose<'a>(&self, columns: &'a [f32], rows: usize) -> Option<Cow<'a, [f32]>> {
        if !columns.iter().all(|cell| self.allows(*cell)) {
            return None;
        }
        if rows == 1 || self.input.len() == 1 {
            return Some(Cow::Borrowed(columns));
        }
        Some(Cow::Owned(transposed(columns, rows)))
    }

    fn allows(&self, cell: f32) -> bool {
        cell.is_finite() || (self.missing_allowed && cell.is_nan())
    }

    /// Writes one column into every `width`-th place of the matrix.
    fn scatter(&self, index: usize, column: &ArrayRef, matrix: &mut [f32]) -> Result<(), TensorError> {
        let any = column.as_any();
        let width = self.input.len();
        let mut cells = matrix.iter_mut().skip(index).step_by(width);
        // The compiler turns each arm into one tight loop.
        if let Some(values) = any.downcast_ref::<Float64Array>() {
            cells.zip(values.values()).for_each(|(cell, v)| *cell = *v as f32);
        } else if let Some(values) = any.downcast_ref::<Float32Array>() {
            cells.zip(values.values()).for_each(|(cell, v)| *cell = *v);
        } else if let Some(values) = any.downcast_ref::<Int64Array>() {
            cells.zip(values.values()).for_each(|(cell, v)| *cell = *v as f32);
        } else if let Some(values) = any.downcast_ref::<Int32Array>() {
            cells.zip(values.values()).for_each(|(cell, v)| *cell = *v as f32);
        } else if let Some(values) = any.downcast_ref::<BooleanArray>() {
            values.values().iter().for_each(|v| {
                if let Some(cell) = cells.next() {
                    *cell = f32::from(u8::from(v));
                }
            });
        } else {
            return Err(TensorError::Features {
                index,
                expected: format!("`{}`, a number", self.input.fields()[index].name),
                found: column.data_type().to_string(),
            });
        }
        if let Some(nulls) = column.nulls().filter(|nulls| nulls.null_count() > 0) {
            let rows = matrix.iter_mut().skip(index).step_by(width);
            rows.enumerate().filter(|(row, _)| nulls.is_null(*row)).for_each(|(_, cell)| *cell = f32::NAN);
        }
        match matrix.iter().skip(index).step_by(width).position(|cell| !self.allows(*cell)) {
            None => Ok(()),
            Some(row) => {
                let cell = matrix[row * width + index];
                let value = if column.is_null(row) { "null".into() } else { cell.to_string() };
                Err(TensorError::NotFinite { column: self.input.fields()[index].name.clone(), row, value })
            }
        }
    }
}

impl Model for OnnxModel {
    fn input(&self) -> &Schema {
        &self.input
    }

    fn output(&self) -> &Schema {
        &self.output
    }

    fn predict(&self, features: &Batch) -> Result<Batch, ExtError> {
        let rows = features.num_rows();
        if let Some(Numbers::F32(columns)) = features.numbers().filter(|_| *features.schema() == self.input)
            && let Some(matrix) = self.transpose(columns, rows)
        {
            return Ok(self.run(&matrix, rows)?);
        }
        Ok(self.score(features.arrow())?)
    }
}

impl OutputColumns {
    /// Splits the output into columns.
    fn read(&self, outputs: &[DynValue], rows: usize, into: &mut Vec<ArrayRef>) -> Result<(), TensorError> {
        let tensor: Tensor = tensor::copy(&outputs[self.index])?;
        if tensor.data().len() != rows * self.width {
            return Err(TensorError::run(format!("{rows} rows went in and {:?} came out", tensor.shape())));
        }
        let width = self.width;
        match tensor.into_data() {
            Data::F32(v) if width == 1 => into.push(Arc::new(Float32Array::from(v))),
            Data::F32(v) => into.extend((0..width).map(|c| -> ArrayRef {
                Arc::new(Float32Array::from_iter_values(v.iter().skip(c).step_by(width).copied()))
            })),
            Data::F64(v) => into.extend((0..width).map(|c| -> ArrayRef {
                Arc::new(Float64Array::from_iter_values(v.iter().skip(c).step_by(width).copied()))
            })),
            Data::I64(v) => into.extend((0..width).map(|c| -> ArrayRef {
                Arc::new(Int64Array::from_iter_values(v.iter().skip(c).step_by(width).copied()))
            })),
            Data::I32(v) => into.extend((0..width).map(|c| -> ArrayRef {
                Arc::new(Int64Array::from_iter_values(v.iter().skip(c).step_by(width).map(|v| i64::from(*v))))
            })),
            Data::Bool(v) => into.extend((0..width).map(|c| -> ArrayRef {
                Arc::new(BooleanArray::from_iter(v.iter().skip(c).step_by(width).map(|v| Some(*v))))
            })),
            Data::Text(v) => into.extend(
                (0..width)
                    .map(|c| -> ArrayRef { Arc::new(StringArray::from_iter_values(v.iter().skip(c).step_by(width))) }),
            ),
            // Turned away when the model was loaded.
            other => return Err(TensorError::NotTabular(format!("an output is {}", other.dtype()))),
        }
        Ok(())
    }
}

fn feature_names(session: &Session, given: Option<&[String]>) -> Result<Vec<String>, TensorError> {
    let input = match session.inputs() {
        [input] => input,
        inputs => return Err(TensorError::NotTabular(format!("it has {} inputs", inputs.len()))),
    };
    if input.dtype != Some(DType::F32) || input.shape.len() != 2 {
        let dtype = input.dtype.map_or("another type", DType::name);
        let shape = input.shape_text();
        return Err(TensorError::NotTabular(format!("its input `{}` is {dtype} of shape {shape}", input.name)));
    }
    let width = input.shape[1];
    let names = match (given, session.metadata().get(metadata::FEATURES), width) {
        (Some(names), _, _) => names.to_vec(),
        (None, Some(json), _) => read_list(json, metadata::FEATURES)?,
        (None, None, Some(width)) => (0..width).map(|i| format!("feature_{i}")).collect(),
        (None, None, None) => {
            return Err(TensorError::NotTabular(format!("its input `{}` does not say how many features", input.name)));
        }
    };
    match width {
        Some(width) if width != names.len() => {
            Err(TensorError::NotTabular(format!("it takes {width} features and {} are named", names.len())))
        }
        _ => Ok(names),
    }
}

/// Decides which columns the outputs become, from what they were for one row.
fn plan(
    session: &Session,
    outputs: &[DynValue],
    task: Option<&str>,
    classes: &[String],
) -> Result<Vec<OutputColumns>, TensorError> {
    let slots = session.outputs();
    let mut columns = Vec::with_capacity(slots.len());
    for (index, slot) in slots.iter().enumerate() {
        // The distances to the centres are there to check the export; the cluster is the answer.
        if task == Some("clustering") && slot.name == "distances" {
            continue;
        }
        let Some(dtype) = slot.dtype else {
            return Err(TensorError::NotTabular(format!(
                "its output `{}` is not a tensor of numbers or text",
                slot.name
            )));
        };
        let one_row = tensor::copy(&outputs[index])?;
        let width = one_row.data().len();
        if width == 0 || one_row.shape().len() > 2 || one_row.shape().first().is_none_or(|rows| *rows != 1) {
            let shape = one_row.shape();
            return Err(TensorError::NotTabular(format!("its output `{}` is {shape:?} for one row", slot.name)));
        }
        let names = if width == classes.len() && width > 1 {
            classes.iter().map(|class| format!("probability_{class}")).collect()
        } else if width > 1 {
            (0..width).map(|i| format!("{}_{i}", slot.name)).collect()
        } else if slots.len() == 1 && matches!(dtype, DType::F32 | DType::F64) {
            vec!["prediction".to_owned()]
        } else {
            vec![slot.name.clone()]
        };
        let kind = match dtype {
            DType::F32 => Kind::Float32,
            DType::F64 => Kind::Float64,
            DType::I32 | DType::I64 => Kind::Int64,
            DType::Bool => Kind::Boolean,
            DType::Text => Kind::Utf8,
            other => return Err(TensorError::NotTabular(format!("its output `{}` is {other}", slot.name))),
        };
        columns.push(OutputColumns { index, width, names, kind });
    }
    Ok(columns)
}

/// A JSON list of texts or integers, as texts.
fn read_list(json: &str, key: &str) -> Result<Vec<String>, TensorError> {
    let list: Vec<serde_json::Value> =
        serde_json::from_str(json).map_err(|error| TensorError::load(format!("its `{key}` is not a list: {error}")))?;
    Ok(list.into_iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect())
}
