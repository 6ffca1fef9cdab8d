//! Artifacts of 200 MB, against the least that a file server could do.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path as Name, State},
    http::StatusCode,
    routing::get,
};
use futures_util::StreamExt;

use super::servers;
use crate::{
    Place,
    figures::{Figures, Target},
};

const BYTES: usize = 200_000_000;

/// Upload and download, the median of three each.
pub(super) fn measure(place: &Place, figures: &mut Figures) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut bare =
        Command::new(std::env::current_exe()?).arg("file-server").arg(folder.path()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(bare.stdout.take().context("stdout")?), &mut line)?;
    let theirs = speeds(line.trim().parse()?, "");
    let _ = bare.kill();
    let _ = bare.wait();
    let (up, down) = theirs?;
    let server = servers::plinth(&place.plinth)?;
    let (our_up, our_down) = speeds(server.port, "/api/2.0/mlflow-artifacts/artifacts")?;
    figures.add("bare axum, upload of 200 MB", up, "MB/s", Target::None);
    figures.add("plinth, upload of 200 MB", our_up, "MB/s", Target::None);
    figures.add("plinth / bare axum, upload", our_up / up, "x", Target::AtLeast(0.6));
    figures.add("bare axum, download of 200 MB", down, "MB/s", Target::None);
    figures.add("plinth, download of 200 MB", our_down, "MB/s", Target::None);
    figures.add("plinth / bare axum, download", our_down / down, "x", Target::AtLeast(0.6));
    Ok(())
}

fn speeds(port: u16, root: &str) -> Result<(f64, f64)> {
    let mut body = vec![0_u8; BYTES];
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for round in 0..3_u64 {
        // Another content each time: the same would be stored already.
        let mut state = round + 1;
        for chunk in body.chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        let path = format!("{root}/file{round}.bin");
        ups.push(timed(port, &format!("PUT {path} HTTP/1.1"), &body, None)?);
        downs.push(timed(port, &format!("GET {path} HTTP/1.1"), &[], Some(BYTES))?);
    }
    let speed = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        BYTES as f64 / 1e6 / times[1].as_secs_f64()
    };
    Ok((speed(&mut ups), speed(&mut downs)))
}

fn timed(port: u16, line: &str, body: &[u8], expected: Option<usize>) -> Result<Duration> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let start = Instant::now();
    write!(stream, "{line}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    let (mut buffer, mut head, mut total) = (vec![0_u8; 1 << 18], Vec::new(), 0);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        if head.len() < 12 {
            head.extend_from_slice(&buffer[..read.min(12)]);
        }
        total += read;
    }
    ensure!(head.starts_with(b"HTTP/1.1 200"), "{line}: {}", String::from_utf8_lossy(&head));
    ensure!(expected.is_none_or(|bytes| total >= bytes), "{line}: {total} bytes came");
    Ok(start.elapsed())
}

/// A server that writes files to a folder, synced before it answers, and reads them back; it prints its port.
pub(crate) fn serve(folder: &Path) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?.port());
        let app = Router::new()
            .route("/{name}", get(read).put(write))
            .layer(DefaultBodyLimit::disable())
            .with_state(folder.to_owned());
        Ok(axum::serve(listener, app).await?)
    })
}

async fn write(State(folder): State<PathBuf>, Name(name): Name<String>, body: Body) -> Result<(), StatusCode> {
    let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
    // Straight to the file: nothing that keeps a page cache waits for it, but the sync at the end does.
    let mut file = std::fs::File::create(folder.join(name)).map_err(failed)?;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| StatusCode::BAD_REQUEST)?;
        file.write_all(&piece).map_err(failed)?;
    }
    file.sync_all().map_err(failed)
}

async fn read(State(folder): State<PathBuf>, Name(name): Name<String>) -> Result<Body, StatusCode> {
    let file = tokio::fs::File::open(folder.join(name)).await.map_err(|_| StatusCode::NOT_FOUND)?;
    Ok(Body::from_stream(tokio_util::io::ReaderStream::with_capacity(file, 256 << 10)))
}
