//! Starts the S3 server for tests that are written in other languages.
//!
//! It prints `NAME=VALUE` lines that clients need in their environment, `BUCKET=…` with the folder of its bucket, and an
//! empty line. It ends with its standard input, so that it never outlives who started it. Knows nothing of Plinth; the
//! server itself is the library beside it.

use std::io::{Read, Write};

use plinth_test_objects::{BUCKET, Server};

fn main() -> std::io::Result<()> {
    let server = Server::start();
    let mut out = std::io::stdout();
    for (name, value) in server.environment() {
        writeln!(out, "{name}={value}")?;
    }
    writeln!(out, "BUCKET={}\n", server.bucket(BUCKET).display())?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
