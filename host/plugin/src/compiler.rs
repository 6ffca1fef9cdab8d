//! Compiling in another process, under limits of time and memory.

use std::{
    io::{Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use plinth_core::{Code, PluginLimits};

use crate::{
    fault::PluginError,
    worker::{Answer, Order},
};

/// A command that ends up in [`compile_worker`](crate::compile_worker), in the same version of the program.
pub type CompilerCommand = Arc<dyn Fn() -> Command + Send + Sync>;

/// Told while a component is compiled.
pub type Progress = Arc<dyn Fn(&Compiling<'_>) + Send + Sync>;

/// A component that is being compiled.
#[derive(Debug, Clone, Copy)]
pub struct Compiling<'a> {
    /// Name of the plugin.
    pub plugin: &'a str,
    /// Size of the component.
    pub bytes: usize,
    /// Time spent so far.
    pub elapsed: Duration,
    /// Whether it is compiled, once it is or was refused: the last report.
    pub ended: Option<bool>,
}

/// Time between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(100);
/// Compiling processes at once: each uses all cores, and may take as much memory as it is allowed.
const AT_ONCE: u32 = 2;
/// Threads of one: each needs memory of its own, whatever the machine.
const THREADS: usize = 8;
/// Bytes that are kept of what one says on stderr.
const WORDS: u64 = 4 << 10;
/// How long a component is not tried again that took too long, which may have been the machine's fault.
const REST: Duration = Duration::from_secs(600);

/// Why a component does not become code that can be run. Without the plugin's name: the same bytes may have several.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// The compiler says what is wrong with it.
    Invalid(String),
    /// It took too long.
    Time,
    /// It took too much memory.
    Memory,
    /// It is nested deeper than the compiler's stack.
    Depth,
    /// It became so many bytes.
    Size(u64),
    /// It wants more of something than one instance may have.
    Needs { what: String, max: u64, limit: &'static str, code: Code },
    /// The compiler broke down over it.
    Broken(String),
    /// There was no compiler, which says nothing about the component.
    NoCompiler(String),
}

impl Refusal {
    /// As an error about that plugin.
    pub(crate) fn error(&self, plugin: &str, limits: &PluginLimits) -> PluginError {
        let plugin = plugin.to_owned();
        match self.clone() {
            Self::Invalid(reason) => PluginError::NotAComponent {
                plugin,
                found: format!("it is not valid: {reason}"),
                hint: "build it again with tools of the component model 1.0".into(),
            },
            Self::Time => PluginError::CompileTime { plugin, ms: limits.compile_ms_max },
            Self::Memory => PluginError::CompileMemory { plugin, max: limits.compile_memory_bytes_max },
            Self::Depth => PluginError::CompileDepth { plugin },
            Self::Size(bytes) => PluginError::CompiledSize { plugin, bytes, max: limits.compiled_bytes_max },
            Self::Needs { what, max, limit, code } => PluginError::Needs { plugin, what, max, limit, code },
            Self::Broken(reason) | Self::NoCompiler(reason) => PluginError::Engine { plugin, reason },
        }
    }

    /// Until when the answer stays; `None` is for ever.
    pub(crate) fn stands_until(&self) -> Option<Instant> {
        match self {
            Self::NoCompiler(_) => Some(Instant::now()),
            Self::Time | Self::Broken(_) => Some(Instant::now() + REST),
            _ => None,
        }
    }
}

/// Starts compiling processes.
pub(crate) struct Compiler {
    pub(crate) command: CompilerCommand,
    pub(crate) limits: Arc<PluginLimits>,
    pub(crate) deterministic: bool,
    pub(crate) progress: Option<Progress>,
    running: Mutex<u32>,
    ended: Condvar,
}

impl Compiler {
    pub(crate) fn new(
        command: CompilerCommand,
        limits: Arc<PluginLimits>,
        deterministic: bool,
        progress: Option<Progress>,
    ) -> Self {
        Self { command, limits, deterministic, progress, running: Mutex::new(0), ended: Condvar::new() }
    }

    /// Compiles a component.
    pub(crate) fn compile(&self, plugin: &str, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        let _turn = Turn::take(self);
        let start = Instant::now();
        let report = |ended| {
            if let Some(progress) = &self.progress {
                progress(&Compiling { plugin, bytes: bytes.len(), elapsed: start.elapsed(), ended });
            }
        };
        report(None);
        let compiled = self.run(bytes, start, &|| report(None));
        report(Some(compiled.is_ok()));
        tracing::debug!(plugin, ms = start.elapsed().as_millis() as u64, ok = compiled.is_ok(), "compiled");
        compiled
    }

    fn run(&self, bytes: &[u8], start: Instant, report: &dyn Fn()) -> Result<Vec<u8>, Refusal> {
        let limits = &*self.limits;
        let no_compiler = |error: &dyn std::fmt::Display| {
            Refusal::NoCompiler(format!("the process that compiles does not start: {error}"))
        };
        let deadline = Duration::from_millis(limits.compile_ms_max);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        let order = Order {
            limits: limits.clone(),
            deterministic: self.deterministic,
            bytes: bytes.len() as u64,
            cpu_seconds: (deadline.as_secs() + 10).saturating_mul(threads as u64),
        };
        let mut order = serde_json::to_vec(&order).map_err(|error| no_compiler(&error))?;
        order.push(b'\n');
        let mut command = (self.command)();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.env("RAYON_NUM_THREADS", threads.to_string()).spawn();
        let mut child = Running(child.map_err(|error| no_compiler(&error))?);
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take())
        else {
            unreachable!("all three are piped")
        };
        let answer_max = limits.compiled_bytes_max.saturating_add(1);
        thread::scope(|scope| {
            // What it says about an order that it does not read is on stderr.
            let asked = scope.spawn(move || {
                let _ = stdin.write_all(&order).and_then(|()| stdin.write_all(bytes)).and_then(|()| stdin.flush());
                stdin
            });
            let words = scope.spawn(move || {
                let (mut stderr, mut words) = (stderr, Vec::new());
                let _ = (&mut stderr).take(WORDS).read_to_end(&mut words);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
                String::from_utf8_lossy(&words).trim().to_owned()
            });
            let (tell, told) = mpsc::channel();
            scope.spawn(move || {
                let mut answer = Vec::new();
                // An answer that breaks off is one of a process that did not end well.
                let _ = stdout.take(answer_max).read_to_end(&mut answer);
                let _ = tell.send(answer);
            });
            let answer = loop {
                let left = deadline.saturating_sub(start.elapsed());
                match told.recv_timeout(left.min(REPORT_EVERY)) {
                    Ok(answer) => break answer,
                    Err(mpsc::RecvTimeoutError::Timeout) if start.elapsed() < deadline => report(),
                    Err(_) => {
                        child.end();
                        return Err(Refusal::Time);
                    }
                }
            };
            let status = child.0.wait().map_err(|error| no_compiler(&error))?;
            drop(asked.join());
            let words = words.join().unwrap_or_default();
            if status.success() { understood(answer) } else { Err(broke_down(status, &words)) }
        })
    }
}

/// What an answer that is there in full says.
fn understood(mut answer: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    let Some(kind) = answer.first().copied() else {
        return Err(Refusal::NoCompiler("the process that compiles answered nothing".into()));
    };
    if kind == Answer::CODE {
        answer.remove(0);
        return Ok(answer);
    }
    let text = String::from_utf8_lossy(&answer[1..]).into_owned();
    Err(match kind {
        Answer::INVALID => Refusal::Invalid(text),
        Answer::MEMORY => Refusal::Memory,
        Answer::SIZE => Refusal::Size(text.parse().unwrap_or_default()),
        _ => Refusal::NoCompiler("what was started to compile is something else".into()),
    })
}

/// Why a process did not end well, from how it ended and its last words.
fn broke_down(status: ExitStatus, words: &str) -> Refusal {
    // Rust's and the C library's, when there is no more; and rayon's, when it cannot start its threads.
    let memory = ["memory allocation of", "Cannot allocate memory", "Resource temporarily unavailable"];
    if memory.iter().any(|text| words.contains(text)) {
        return Refusal::Memory;
    }
    if words.contains("has overflowed its stack") {
        return Refusal::Depth;
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        if status.signal() == Some(rustix::process::Signal::XCPU.as_raw()) {
            return Refusal::Time;
        }
    }
    let last = words.lines().next_back().unwrap_or("nothing");
    Refusal::Broken(format!("the process that compiles broke down ({status}); it said: {last}"))
}

/// A process that is ended when nobody waits for it any more.
struct Running(Child);

impl Running {
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A place among the compiling processes.
struct Turn<'a>(&'a Compiler);

impl<'a> Turn<'a> {
    fn take(compiler: &'a Compiler) -> Self {
        let running = compiler.running.lock().unwrap_or_else(PoisonError::into_inner);
        let free = compiler.ended.wait_while(running, |running| *running >= AT_ONCE);
        *free.unwrap_or_else(PoisonError::into_inner) += 1;
        Self(compiler)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_one();
    }
}
