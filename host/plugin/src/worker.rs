//! The process that compiles: what it is told, how it bounds itself, what it answers.
//!
//! A component is a stranger's file, and a small one may take any time and any memory to compile. Neither can be taken
//! back from a thread, so a process does it, which the host ends when its time is over; the kernel holds it to its
//! memory. It runs nothing of the component, and nobody but the host writes what it made anywhere.

use std::{
    io::{self, BufRead, Read, Write},
    process::ExitCode,
};

use plinth_core::PluginLimits;
use serde::{Deserialize, Serialize};
use wasmtime::OutOfMemory;

use crate::engine;

/// The first line on its stdin; the component follows, and the pipe stays open for as long as the answer is wanted.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) limits: PluginLimits,
    pub(crate) deterministic: bool,
    /// Bytes of the component.
    pub(crate) bytes: u64,
    /// Seconds of all its processors together: what ends it if its host cannot.
    pub(crate) cpu_seconds: u64,
}

/// The first byte of its answer on stdout.
pub(crate) enum Answer {}

impl Answer {
    /// Compiled code follows.
    pub(crate) const CODE: u8 = b'c';
    /// It is not valid; why follows as text.
    pub(crate) const INVALID: u8 = b'i';
    /// There was not enough memory.
    pub(crate) const MEMORY: u8 = b'm';
    /// It became too large; how large follows as text.
    pub(crate) const SIZE: u8 = b's';
}

/// Compiles one component for a [`Host`](crate::Host) in another process: takes the order on stdin and answers on
/// stdout. What [`HostConfig::compiler`](crate::HostConfig::compiler) starts has to end up here, early, and with
/// nothing else written to stdout.
pub fn compile_worker() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> io::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut line = String::new();
    (&mut stdin).take(64 << 10).read_line(&mut line)?;
    let order: Order = serde_json::from_str(&line)?;
    bound(&order)?;
    let mut component = Vec::new();
    (&mut stdin).take(order.bytes).read_to_end(&mut component)?;
    drop(stdin);
    if component.len() as u64 != order.bytes {
        return Err(io::Error::other("the component ended early"));
    }
    // When its host is gone nobody wants the answer.
    std::thread::Builder::new().name("plugin-host".into()).spawn(|| {
        let _ = io::stdin().lock().read(&mut [0]);
        std::process::abort();
    })?;
    let engine = engine::compiling(&order.limits, order.deterministic).map_err(io::Error::other)?;
    let max = order.limits.compiled_bytes_max;
    let (kind, said) = match engine.precompile_component(&component) {
        Ok(code) if code.len() as u64 > max => (Answer::SIZE, code.len().to_string().into_bytes()),
        Ok(code) => (Answer::CODE, code),
        Err(error) if lacks_memory(&error) => (Answer::MEMORY, vec![]),
        Err(error) => (Answer::INVALID, format!("{error:#}").into_bytes()),
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&[kind])?;
    stdout.write_all(&said)?;
    stdout.flush()
}

fn lacks_memory(error: &wasmtime::Error) -> bool {
    let os = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::OutOfMemory)
    };
    error.is::<OutOfMemory>() || error.chain().any(os)
}

/// Memory that is written to counts, not address space, which allocators reserve more of than they use.
#[cfg(unix)]
fn bound(order: &Order) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let lower = |resource, to: u64| {
        let now = getrlimit(resource);
        let to = now.maximum.map_or(to, |max| to.min(max));
        setrlimit(resource, Rlimit { current: Some(to), maximum: Some(to) })
    };
    lower(Resource::Data, order.limits.compile_memory_bytes_max)?;
    lower(Resource::Cpu, order.cpu_seconds)?;
    // One that is ended for its memory would leave all of it on disk.
    lower(Resource::Core, 0)?;
    Ok(())
}

#[cfg(not(unix))]
fn bound(_order: &Order) -> io::Result<()> {
    Ok(())
}
