//! Starts the server for tests of other languages: prints `NAME=VALUE` lines that its clients need in their
//! environment, `BUCKET=…` with the folder of its bucket, an empty line, and ends with its standard input.

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
