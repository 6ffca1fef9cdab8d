//! MLflow's scoring protocol.

mod csv;
mod explained;
mod parquet;
mod payload;
mod tensors;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use plinth_core::codes;
use plinth_ext::Batch;
use plinth_serve::{Input, Output, Served};

use crate::{
    App,
    encode::{View, json, list},
    error::{ApiError, Surface},
    request::{Asked, Call, Protocol, Written, answer},
};
use explained::Explain;

type Named = Result<Path<String>, PathRejection>;

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
    Parquet,
}

pub(crate) async fn invocations(State(app): State<App>, request: Request) -> Response {
    run(&app, Asked::default(), request).await
}

pub(crate) async fn endpoint_invocations(State(app): State<App>, path: Named, request: Request) -> Response {
    match path {
        Ok(Path(endpoint)) => run(&app, Asked { endpoint: Some(endpoint), version: None }, request).await,
        Err(rejection) => ApiError::bad(format!("the path names no endpoint: {rejection}")).response(Surface::Mlflow),
    }
}

async fn run(app: &App, asked: Asked, request: Request) -> Response {
    let explain = match Explain::of(request.uri().query()) {
        Ok(explain) => explain,
        Err(error) => return error.response(Surface::Mlflow),
    };
    let check = |headers: &HeaderMap| format(headers).map(drop);
    answer(app, Surface::Mlflow, asked, request, check, Invocations { explain }).await
}

/// MLflow's way to send rows and to get predictions.
struct Invocations {
    explain: Option<Explain>,
}

impl Protocol for Invocations {
    /// The rows, if they are to be explained.
    type Kept = Option<Batch>;

    fn route(&self, asked: &Asked) -> &'static str {
        if asked.endpoint.is_some() { "/endpoints/{endpoint}/invocations" } else { "/invocations" }
    }

    fn bytes(&self, headers: &HeaderMap, body: &Bytes) -> Option<usize> {
        let plain = self.explain.is_none() && matches!(format(headers), Ok(Format::Json | Format::Csv));
        plain.then_some(body.len())
    }

    fn read(&mut self, call: &mut Call, headers: &HeaderMap, body: &Bytes) -> Result<(Input, Self::Kept), ApiError> {
        let format = format(headers)?;
        let scorer = match call.deployment().served() {
            Served::Rows(scorer) => scorer,
            Served::Tensors(model) if format == Format::Json => {
                if self.explain.is_some() {
                    return Err(ApiError::bad("this model takes tensors; what is explained are columns of a table"));
                }
                return Ok((Input::Tensors(tensors::read(model, body, call.rows_max())?), None));
            }
            Served::Tensors(_) => {
                let message = "this model takes tensors, which tables cannot say; send Content-Type: application/json";
                return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, codes::UNSUPPORTED_MEDIA_TYPE, message));
            }
        };
        let rows = match format {
            Format::Json => payload::read(scorer.signature(), body, call.rows_max())?,
            Format::Csv => csv::read(scorer.signature(), body, call.rows_max())?,
            Format::Parquet => parquet::read(scorer.signature(), body, call.rows_max(), call.body_bytes_max())?,
        };
        if self.explain.is_none() {
            return Ok((Input::Rows(rows), None));
        }
        Explain::expect_few(&rows, call.explain_rows_max())?;
        Ok((Input::Rows(rows.clone()), Some(rows)))
    }

    fn write(&self, call: &Call, _: &HeaderMap, kept: Self::Kept, scored: &Output) -> Result<Written, ApiError> {
        match (scored, call.deployment().tensors()) {
            (Output::Rows(scored), _) => {
                let predictions = predictions(&scored.predictions);
                match (self.explain, kept) {
                    (Some(explain), Some(rows)) => Ok(explain.add(predictions, call, &rows)?.into()),
                    _ => Ok(predictions.into()),
                }
            }
            (Output::Tensors { tensors, .. }, Some(model)) => Ok(tensors::write(model, tensors)?.into()),
            (Output::Tensors { .. }, None) => Err(ApiError::bad("the model gave tensors")),
        }
    }
}

pub(crate) async fn ping() -> impl IntoResponse {
    (StatusCode::OK, "\n")
}

pub(crate) async fn version() -> impl IntoResponse {
    (StatusCode::OK, env!("CARGO_PKG_VERSION"))
}

fn format(headers: &HeaderMap) -> Result<Format, ApiError> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" => Ok(Format::Json),
        "text/csv" => Ok(Format::Csv),
        "application/vnd.apache.parquet" | "application/x-parquet" => Ok(Format::Parquet),
        _ => {
            let found = if given.is_empty() { "no content type".into() } else { format!("content type `{given}`") };
            let message = format!(
                "{found} is not accepted; send Content-Type: application/json, text/csv or \
                 application/vnd.apache.parquet"
            );
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, codes::UNSUPPORTED_MEDIA_TYPE, message))
        }
    }
}

/// `{"predictions": …}`: bare values if the model has one output, else an object for each row, as pandas writes
/// records.
fn predictions(scored: &Batch) -> Vec<u8> {
    let views: Vec<View<'_>> = (0..scored.num_columns()).map(|index| View::of(scored, index)).collect();
    let mut out = Vec::with_capacity(32 + scored.num_rows() * scored.num_columns() * 24);
    out.extend_from_slice(b"{\"predictions\":");
    if let [only] = &views[..] {
        list(&mut out, b'[', b']', 0..scored.num_rows(), |out, row| only.write(out, row));
    } else {
        let keys: Vec<Vec<u8>> = scored
            .schema()
            .fields()
            .iter()
            .map(|field| {
                let mut key = Vec::new();
                json(&mut key, &field.name);
                key.push(b':');
                key
            })
            .collect();
        list(&mut out, b'[', b']', 0..scored.num_rows(), |out, row| {
            list(out, b'{', b'}', keys.iter().zip(&views), |out, (key, view)| {
                out.extend_from_slice(key);
                view.write(out, row);
            });
        });
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_of_plain_rows_do_bytes_say_how_long_they_take() {
        let body = Bytes::from_static(b"0123456789");
        let bytes = |explain, kind: &'static str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]);
            Invocations { explain }.bytes(&headers, &body)
        };
        assert_eq!([bytes(None, "application/json"), bytes(None, "text/csv")], [Some(10); 2]);
        assert_eq!(bytes(None, "application/vnd.apache.parquet"), None);
        assert_eq!(bytes(None, "text/plain"), None);
        assert_eq!(bytes(Some(Explain::Kernel), "application/json"), None);
        assert_eq!(bytes(Some(Explain::Best), "text/csv"), None);
    }
}
