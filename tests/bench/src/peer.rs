//! The peer of the served prediction: the least that an axum server around one ONNX session can do. It takes feature
//! vectors, not raw rows; it has no transforms, no capture, no metrics.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use ort::{session::Session, value::TensorRef};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Serves a model on a free port, which it prints, until the process ends. The library is given, because looking for
/// it would make an environment, of which a process has one.
pub(crate) fn serve(model: &str, library: &str) -> Result<()> {
    let state = session(model, library)?;
    // As many threads as there are processors.
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        let app = Router::new().route("/predict", post(predict)).with_state(state);
        Ok(axum::serve(listener, app).await?)
    })
}

fn session(model: &str, library: &str) -> Result<Arc<Mutex<Session>>> {
    let environment = ort::init_from(library)?.with_name("peer").build()?;
    let session = Session::builder(&environment)
        .and_then(|builder| Ok(builder.with_intra_threads(1)?))
        .and_then(|mut builder| builder.commit_from_file(model))
        .context("the peer's session")?;
    Ok(Arc::new(Mutex::new(session)))
}

/// Less than any server: runs the model on the same `row` whatever comes, and answers with the same bytes. What it costs is
/// the way of a request and its answer through the system, and the model.
pub(crate) fn answer_anything(model: &str, library: &str, row: &[f32]) -> Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let session = session(model, library)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        loop {
            let (mut connection, _) = listener.accept().await?;
            connection.set_nodelay(true)?;
            let (session, row) = (Arc::clone(&session), row.to_vec());
            tokio::spawn(async move {
                let mut request = [0; 8 << 10];
                while connection.read(&mut request).await.is_ok_and(|bytes| bytes > 0) {
                    let tensor = TensorRef::from_array_view(([1, row.len()], &row[..]));
                    let ran = tensor.and_then(|tensor| {
                        let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
                        session.run(ort::inputs![tensor]).map(drop)
                    });
                    if ran.is_err() || connection.write_all(ANSWER).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}

async fn predict(
    State(session): State<Arc<Mutex<Session>>>,
    Json(body): Json<Value>,
) -> Result<Json<Value>, (StatusCode, String)> {
    let bad = |reason: &str| (StatusCode::BAD_REQUEST, reason.to_owned());
    let row = body["inputs"][0].as_array().ok_or_else(|| bad("no inputs"))?;
    let features: Vec<f32> = row.iter().map(|v| v.as_f64().unwrap_or(f64::NAN) as f32).collect();
    let tensor = TensorRef::from_array_view(([1, features.len()], &features[..])).map_err(|e| bad(&e.to_string()))?;
    let mut session = session.lock().map_err(|_| bad("poisoned"))?;
    let outputs = session.run(ort::inputs![tensor]).map_err(|e| bad(&e.to_string()))?;
    let (_, probabilities) = outputs[1].try_extract_tensor::<f32>().map_err(|e| bad(&e.to_string()))?;
    Ok(Json(json!({ "probabilities": probabilities })))
}
