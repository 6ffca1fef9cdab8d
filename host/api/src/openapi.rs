//! What can be asked here, told to programs as OpenAPI 3.1 and to people as a page on which it can be tried.
//!
//! Made anew for every request from what is served at that moment, so it is never out of date.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{Html, IntoResponse, Response},
};
use plinth_ext::{DType, Field, Kind, Schema, Slot};
use plinth_serve::{Endpoint, Served, TensorModel};
use serde_json::{Map, Value, json};

use crate::{
    App,
    error::ApiError,
    error::Surface,
    oip::{datatype, datatype_of},
};

/// The page; it has everything in itself and asks nobody but this server.
const PAGE: &str = include_str!("openapi.html");

/// `GET /openapi.json`
pub(crate) async fn document(State(app): State<App>) -> Response {
    if app.hide_schema {
        return ApiError::nowhere("this server does not tell its models' columns").response(Surface::Mlflow);
    }
    let routes = app.server.routes();
    let mut paths = Map::new();
    for endpoint in routes.endpoints() {
        let name = endpoint.name();
        paths.insert(format!("/endpoints/{name}/invocations"), json!({"post": invocations(endpoint)}));
        paths.insert(format!("/v2/models/{name}/infer"), json!({"post": infer(endpoint)}));
        paths.insert(format!("/v2/models/{name}"), json!({"get": plain(name, "What the model takes and returns")}));
        paths.insert(format!("/v2/models/{name}/ready"), json!({"get": plain(name, "Whether the model answers")}));
    }
    if let Some(only) = routes.only() {
        paths.insert("/invocations".into(), json!({"post": invocations(only)}));
    }
    for (path, summary) in [
        ("/v2/health/live", "Whether the server runs"),
        ("/v2/health/ready", "Whether the server takes requests"),
        ("/metrics", "Metrics in the form that Prometheus reads"),
    ] {
        paths.insert(path.into(), json!({"get": plain("server", summary)}));
    }
    Json(json!({
        "openapi": "3.1.0",
        "info": {"title": "Plinth", "version": env!("CARGO_PKG_VERSION"),
            "description": "Predictions of the models that are served here."},
        "paths": paths,
    }))
    .into_response()
}

/// `GET /docs`
pub(crate) async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE))
}

fn plain(tag: &str, summary: &str) -> Value {
    json!({"tags": [tag], "summary": summary, "responses": {"200": {"description": summary}}})
}

fn invocations(endpoint: &Endpoint) -> Value {
    let scorer = match endpoint.main().deployment().served() {
        Served::Rows(scorer) => scorer,
        Served::Tensors(model) => return nested_invocations(endpoint, model),
    };
    let (columns, output) = (scorer.signature().columns(), scorer.output());
    let row = row(columns);
    let names: Vec<&str> = columns.fields().iter().map(|field| field.name.as_str()).collect();
    let cells: Vec<Value> = columns.fields().iter().map(value).collect();
    let mut body = json!({
        "application/json": {"schema": {"oneOf": [
            object("dataframe_records", &json!({"type": "array", "items": row})),
            object("dataframe_split", &json!({
                "type": "object", "required": ["columns", "data"], "properties": {
                    "columns": {"type": "array", "items": {"enum": names}},
                    "data": {"type": "array", "items": {"type": "array", "items": {"anyOf": unique(&cells)}}},
                },
            })),
            object("instances", &json!({"type": "array", "items": row})),
            object("inputs", &json!({"type": "object", "properties": columns.fields().iter().map(|field| {
                (field.name.clone(), json!({"type": "array", "items": value(field)}))
            }).collect::<Map<_, _>>()})),
        ]}},
        "text/csv": {"schema": {"type": "string"}},
        "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
    });
    if let Some(example) = scorer.signature().example() {
        body["application/json"]["example"] = json!({"dataframe_records": [example]});
    }
    let prediction = match output.fields() {
        [only] => value(only),
        _ => self::row(output),
    };
    let answer = json!({"type": "object", "properties": {"predictions": {"type": "array", "items": prediction}}});
    let mut told = operation(endpoint, "Predictions for raw rows, as MLflow asks for them", &body, &answer);
    told["parameters"] = json!([{
        "name": "explain", "in": "query", "schema": {"enum": ["true", "kernel", "false"]},
        "description": "Adds what each column had to do with each prediction; `kernel` asks with coalitions of columns",
    }, {
        "name": "timings", "in": "query", "schema": {"enum": ["true", "false"]},
        "description": "Adds the header Server-Timing: what the parts of the work took, in milliseconds",
    }]);
    told
}

fn infer(endpoint: &Endpoint) -> Value {
    let scorer = match endpoint.main().deployment().served() {
        Served::Rows(scorer) => scorer,
        Served::Tensors(model) => return tensor_infer(endpoint, model),
    };
    let tensor = |field: &Field| {
        json!({"type": "object", "required": ["name", "shape", "datatype", "data"], "properties": {
            "name": {"const": field.name},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"const": datatype(field.kind)},
            "data": {"type": "array", "items": value(field)},
        }})
    };
    let tensors = |schema: &Schema| -> Value {
        let kinds: Vec<Value> = schema.fields().iter().map(tensor).collect();
        json!({"type": "array", "items": {"anyOf": kinds}})
    };
    let mut body = json!({"application/json": {"schema": {
        "type": "object", "required": ["inputs"],
        "properties": {"id": {"type": "string"}, "inputs": tensors(scorer.signature().columns())},
    }}});
    if let Some(example) = scorer.signature().example() {
        let inputs = scorer.signature().columns().fields().iter().map(|field| {
            let data = example.get(&field.name).cloned().unwrap_or(Value::Null);
            json!({"name": field.name, "shape": [1], "datatype": datatype(field.kind), "data": [data]})
        });
        body["application/json"]["example"] = json!({"inputs": inputs.collect::<Vec<_>>()});
    }
    let answer = json!({"type": "object", "properties": {
        "model_name": {"type": "string"}, "model_version": {"type": "string"}, "id": {"type": "string"},
        "outputs": tensors(scorer.output()),
    }});
    operation(endpoint, "Predictions for tensors, as the Open Inference Protocol asks for them", &body, &answer)
}

/// A model of tensors asked with nested lists.
fn nested_invocations(endpoint: &Endpoint, model: &TensorModel) -> Value {
    let list = |slot: &Slot| (slot.name.clone(), json!({"type": "array", "description": slot.shape_text()}));
    let lists = |slots: &[Slot]| slots.iter().map(list).collect::<Map<_, _>>();
    let names: Vec<&str> = model.inputs().iter().map(|slot| slot.name.as_str()).collect();
    let body = json!({"application/json": {"schema": object("inputs", &json!({
        "type": "object", "required": names, "properties": lists(model.inputs()),
    }))}});
    let answer = json!({"type": "object", "properties": {"predictions": {}}});
    operation(endpoint, "Predictions for tensors, as nested lists", &body, &answer)
}

/// A model of tensors asked with them as they are.
fn tensor_infer(endpoint: &Endpoint, model: &TensorModel) -> Value {
    let tensors = |slots: &[Slot]| {
        let one = |slot: &Slot| {
            json!({"type": "object", "required": ["name", "shape", "datatype", "data"], "properties": {
                "name": {"const": slot.name},
                "shape": {"type": "array", "items": {"type": "integer"}, "description": slot.shape_text()},
                "datatype": {"const": datatype_of(slot.dtype.unwrap_or(DType::Text))},
                "data": {"type": "array"},
            }})
        };
        json!({"type": "array", "items": {"anyOf": slots.iter().map(one).collect::<Vec<_>>()}})
    };
    let body = json!({"application/json": {"schema": {
        "type": "object", "required": ["inputs"],
        "properties": {"id": {"type": "string"}, "inputs": tensors(model.inputs())},
    }}});
    let answer = json!({"type": "object", "properties": {
        "model_name": {"type": "string"}, "model_version": {"type": "string"}, "id": {"type": "string"},
        "outputs": tensors(model.outputs()),
    }});
    operation(endpoint, "Predictions for tensors, as the Open Inference Protocol asks for them", &body, &answer)
}

fn operation(endpoint: &Endpoint, summary: &str, body: &Value, answer: &Value) -> Value {
    json!({
        "tags": [&**endpoint.name()],
        "summary": summary,
        "requestBody": {"required": true, "content": body},
        "responses": {
            "200": {"description": "One prediction for each row", "content": {"application/json": {"schema": answer}}},
            "400": {"description": "The rows are not what the model takes; the message says where"},
            "413": {"description": "The body is larger than it may be"},
            "503": {"description": "Too many requests are in flight; Retry-After says when to try again"},
        },
    })
}

fn object(key: &str, value: &Value) -> Value {
    json!({"type": "object", "required": [key], "properties": {key: value}})
}

fn row(schema: &Schema) -> Value {
    let required: Vec<&str> = schema.fields().iter().map(|field| field.name.as_str()).collect();
    let properties: Map<_, _> = schema.fields().iter().map(|field| (field.name.clone(), value(field))).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

fn value(field: &Field) -> Value {
    let (kind, format) = match field.kind {
        Kind::Boolean => ("boolean", None),
        Kind::Int64 => ("integer", Some("int64")),
        Kind::Float32 => ("number", Some("float")),
        Kind::Float64 => ("number", Some("double")),
        Kind::TimestampUs => ("string", Some("date-time")),
        Kind::Utf8 => ("string", None),
        Kind::Binary => ("string", Some("byte")),
    };
    let mut schema = match field.nullable {
        true => json!({"type": [kind, "null"]}),
        false => json!({"type": kind}),
    };
    if let Some(format) = format {
        schema["format"] = json!(format);
    }
    schema
}

fn unique(values: &[Value]) -> Vec<&Value> {
    let mut seen: Vec<&Value> = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}
