//! What guests are lent to abuse: a source, a table, keys, a host to ask, a model, a secret.

use std::{path::Path, sync::Arc};

use arrow_array::{ArrayRef, Float64Array, StringArray};
use plinth_core::PluginLimits;
use plinth_ext::{Batch, ExtError, Field, Kind, LentTable, Problem, Schema, Tables};
use plinth_plugin::{
    FileKeyValues, Graph, Graphs, HttpRequest, HttpResponse, HttpRules, HttpSend, Services, Tensor, TensorInfo,
};

/// The host that guests may ask.
pub(crate) const GRANTED_URL: &str = "https://granted.example/";

/// Everything that can be granted, with the keys in a folder.
pub(crate) fn services(folder: &Path, limits: &PluginLimits) -> Services {
    let rules = HttpRules { hosts: vec!["granted.example".into()], ..HttpRules::default() };
    Services {
        kv: Some(Arc::new(FileKeyValues::new("soak", folder.join("keys"), limits.kv_bytes_max, limits))),
        http: Some((Arc::new(Web), rules)),
        nn: Some(Arc::new(Echo)),
        secrets: Arc::new([("key".to_owned(), "s3cret-Value".to_owned())].into()),
        ..Services::default()
    }
}

/// Answers every request.
struct Web;

impl HttpSend for Web {
    fn send(&self, _request: HttpRequest) -> Result<HttpResponse, Problem> {
        Ok(HttpResponse { status: 200, headers: vec![], body: b"hello".to_vec() })
    }
}

/// The model `m`, which answers what it was asked.
struct Echo;

impl Graphs for Echo {
    fn load(&self, name: &str) -> Result<Arc<dyn Graph>, Problem> {
        match name {
            "m" => Ok(Arc::new(Self)),
            _ => Err(Problem { code: "denied".into(), message: format!("no model `{name}`"), ..Problem::default() }),
        }
    }
}

impl Graph for Echo {
    fn inputs(&self) -> Vec<TensorInfo> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<TensorInfo> {
        Vec::new()
    }

    fn compute(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Problem> {
        Ok(inputs)
    }
}

/// Lends one table, `data`.
pub(crate) struct OneTable(pub(crate) Batch);

impl Tables for OneTable {
    fn names(&self) -> Vec<String> {
        vec!["data".into()]
    }

    fn open(&self, name: &str) -> Result<Option<LentTable>, ExtError> {
        let rows = self.0.clone();
        Ok((name == "data").then(|| (rows.schema().clone(), Box::new(std::iter::once(Ok(rows))) as _)))
    }
}

/// Ten rows of a number with a null, a number and a text.
///
/// # Errors
/// Never, as the columns fit.
pub(crate) fn rows() -> anyhow::Result<Batch> {
    let schema = Schema::new(vec![
        Field::new("x", Kind::Float64, true),
        Field::new("y", Kind::Float64, false),
        Field::new("s", Kind::Utf8, false),
    ])?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from_iter((0..10).map(|row| (row != 1).then_some(f64::from(row))))),
        Arc::new(Float64Array::from_iter_values((0..10).map(|row| f64::from(row) * 0.5))),
        Arc::new(StringArray::from_iter_values((0..10).map(|row| ["red", "green", "blé"][row % 3]))),
    ];
    Ok(Batch::new(schema, columns, 10)?)
}
