//! The load over gRPC: one call at a time on each of several connections.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use axum::{
    body::Bytes,
    http::{Method, Request},
};
use futures_util::future::join_all;

use crate::load::{Cost, cpu_time};

/// Asks a model of one matrix again and again over so many connections, for so long.
pub(super) fn run_for(
    server: u32,
    port: u16,
    model: &str,
    row: &[f32],
    connections: usize,
    lasting: Duration,
) -> Result<Cost> {
    let message = message(model, row);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(1).build()?;
    runtime.block_on(async {
        // Like the load over HTTP it never sleeps: to wake it would cost the server.
        tokio::spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        let open = (0..connections).map(|_| async {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            stream.set_nodelay(true)?;
            let (send, connection) = h2::client::handshake(stream).await?;
            // It ends with its last handle.
            tokio::spawn(connection);
            Ok::<_, anyhow::Error>(send)
        });
        let open = join_all(open).await.into_iter().collect::<Result<Vec<_>>>()?;
        let before = cpu_time(server)?;
        let start = Instant::now();
        let asked = open.into_iter().map(|mut send| {
            let message = message.clone();
            async move {
                let mut times = Vec::new();
                while start.elapsed() < lasting {
                    let asked = Instant::now();
                    send = send.ready().await?;
                    call(&mut send, port, message.clone()).await?;
                    times.push(asked.elapsed());
                }
                Ok::<_, anyhow::Error>(times)
            }
        });
        let times = join_all(asked).await.into_iter().collect::<Result<Vec<_>>>()?.concat();
        let wall = start.elapsed();
        Ok(Cost::of(times, cpu_time(server)? - before, wall))
    })
}

async fn call(send: &mut h2::client::SendRequest<Bytes>, port: u16, message: Bytes) -> Result<()> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://127.0.0.1:{port}/inference.GRPCInferenceService/ModelInfer"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let (answer, mut stream) = send.send_request(request, false)?;
    stream.send_data(message, true)?;
    let answer = answer.await?;
    let status = answer.headers().get("grpc-status").cloned();
    let mut body = answer.into_body();
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        bytes += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    let trailers = body.trailers().await?;
    let status = status.or_else(|| trailers?.get("grpc-status").cloned()).context("no grpc-status")?;
    ensure!(status == "0" && bytes > 5, "grpc-status {status:?} after {bytes} bytes");
    Ok(())
}

/// `ModelInferRequest` with its prefix: a name (1), and one input (5) of a name (1), a datatype (2) and a shape (3),
/// whose values come raw (7).
fn message(model: &str, row: &[f32]) -> Bytes {
    let shape: Vec<u8> = vec![1, u8::try_from(row.len()).expect("a short row")];
    let mut input = Vec::new();
    field(&mut input, 1, b"X");
    field(&mut input, 2, b"FP32");
    field(&mut input, 3, &shape);
    let mut whole = Vec::new();
    field(&mut whole, 1, model.as_bytes());
    field(&mut whole, 5, &input);
    field(&mut whole, 7, &row.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
    let mut framed = vec![0];
    framed.extend(u32::try_from(whole.len()).expect("a short message").to_be_bytes());
    framed.extend(whole);
    framed.into()
}

/// A field of bytes, fewer than 128 of them, so that their length is one byte.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    let length = u8::try_from(bytes.len()).ok().filter(|length| *length < 128).expect("a short field");
    out.extend([number << 3 | 2, length]);
    out.extend(bytes);
}
