//! What can go wrong with a plugin, and how wasmtime's errors become codes that a user can look up.

use std::path::PathBuf;

use plinth_core::{Code, Coded, Place, PluginLimits, codes};
use plinth_ext::{ExtError, Problem};
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace, component::ResourceTableError};

use crate::{
    state::State,
    version::{self, WitVersion},
    wire::WireProblem,
};

/// A plugin that cannot be loaded.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// There is no such file.
    #[error("the plugin file `{}` does not exist", path.display())]
    NotFound {
        /// As it was given.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read the plugin file `{}`: {reason}", path.display())]
    Unreadable {
        /// As it was given.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The bytes are something else.
    #[error("plugin `{plugin}` is not a WebAssembly component: {found}")]
    NotAComponent {
        /// Name of the plugin.
        plugin: String,
        /// What it is instead.
        found: String,
        /// How to make a component of it.
        hint: String,
    },
    /// The component is larger than the limit.
    #[error("plugin `{plugin}` has {bytes} bytes, more than the limit of {max}")]
    TooLarge {
        /// Name of the plugin.
        plugin: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Compiling took too long.
    #[error("plugin `{plugin}` did not compile within {ms} ms")]
    CompileTime {
        /// Name of the plugin.
        plugin: String,
        /// The limit.
        ms: u64,
    },
    /// Compiling took too much memory.
    #[error("plugin `{plugin}` did not compile within {max} bytes of memory")]
    CompileMemory {
        /// Name of the plugin.
        plugin: String,
        /// The limit.
        max: u64,
    },
    /// It is nested deeper than can be compiled.
    #[error("plugin `{plugin}` is nested too deep to be compiled")]
    CompileDepth {
        /// Name of the plugin.
        plugin: String,
    },
    /// What it was compiled to is larger than the limit.
    #[error("plugin `{plugin}` was compiled to {bytes} bytes, more than the limit of {max}")]
    CompiledSize {
        /// Name of the plugin.
        plugin: String,
        /// The size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// An instance of it would need more than one may have.
    #[error("plugin `{plugin}` needs {what}, more than the limit of {max}")]
    Needs {
        /// Name of the plugin.
        plugin: String,
        /// What it needs, with the amount.
        what: String,
        /// The limit.
        max: u64,
        /// Its name in `[limits.plugin]`.
        limit: &'static str,
        /// Its code.
        code: Code,
    },
    /// It exports something else than what is needed.
    #[error("plugin `{plugin}` does not export `{wanted}`; it exports {exports}")]
    WrongWorld {
        /// Name of the plugin.
        plugin: String,
        /// The interface that is needed.
        wanted: String,
        /// What it exports.
        exports: String,
    },
    /// It wants a capability that the operator did not grant.
    #[error("plugin `{plugin}` wants the capability `{capability}`, which it was not granted")]
    Denied {
        /// Name of the plugin.
        plugin: String,
        /// The capability.
        capability: String,
        /// Where in `plinth.toml` to write which line to grant what it has and this.
        line: String,
    },
    /// It uses a capability that its manifest does not ask for.
    #[error("plugin `{plugin}` uses the capability `{capability}`, which its manifest does not ask for")]
    NotAsked {
        /// Name of the plugin.
        plugin: String,
        /// The capability.
        capability: String,
    },
    /// It imports something that no host offers.
    #[error("plugin `{plugin}` imports `{import}`, which this host does not offer")]
    UnknownImport {
        /// Name of the plugin.
        plugin: String,
        /// The import.
        import: String,
        /// What to do.
        hint: String,
    },
    /// It was built against WIT packages of a version that this host does not speak.
    #[error(
        "plugin `{plugin}` was built against {wanted} of Plinth's WIT packages (`{interface}`); this host speaks {}",
        version::spoken()
    )]
    Version {
        /// Name of the plugin.
        plugin: String,
        /// The first interface of that version.
        interface: String,
        /// The version.
        wanted: String,
        /// Whether it is newer than all that this host speaks.
        newer: bool,
    },
    /// The engine cannot run it, or cannot be made.
    #[error("plugin `{plugin}` cannot be prepared: {reason}")]
    Engine {
        /// Name of the plugin.
        plugin: String,
        /// What the engine said.
        reason: String,
    },
    /// It failed while it was asked what it offers.
    #[error(transparent)]
    Guest(#[from] ExtError),
}

impl Coded for PluginError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => codes::PLUGIN_NOT_FOUND,
            Self::Unreadable { .. } => codes::FILE_UNREADABLE,
            Self::NotAComponent { .. } => codes::NOT_A_COMPONENT,
            Self::TooLarge { .. }
            | Self::CompileTime { .. }
            | Self::CompileMemory { .. }
            | Self::CompileDepth { .. }
            | Self::CompiledSize { .. } => codes::PLUGIN_TOO_LARGE,
            Self::Needs { code, .. } => *code,
            Self::WrongWorld { .. } | Self::UnknownImport { .. } => codes::PLUGIN_WRONG_WORLD,
            Self::Version { .. } => codes::PLUGIN_VERSION,
            Self::Denied { .. } | Self::NotAsked { .. } => codes::PLUGIN_DENIED,
            Self::Engine { .. } => codes::INTERNAL,
            Self::Guest(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound { .. } => {
                "check the path, or build the first-party plugins with `cargo xtask plugins`".into()
            }
            Self::Unreadable { .. } => "check the file's permissions".into(),
            Self::NotAComponent { hint, .. } | Self::UnknownImport { hint, .. } => hint.clone(),
            Self::TooLarge { .. } => {
                "strip its debug information, or raise [limits.plugin] component-bytes-max in plinth.toml".into()
            }
            Self::CompileTime { .. } => raise("compile-ms-max"),
            Self::CompileMemory { .. } => raise("compile-memory-bytes-max"),
            Self::CompiledSize { .. } => raise("compiled-bytes-max"),
            Self::CompileDepth { .. } => "no compiler nests code so deep: report it to its author".into(),
            Self::Needs { limit, .. } => raise(limit),
            Self::WrongWorld { .. } => "name a plugin that offers what the stage needs".into(),
            Self::Version { newer: true, .. } => {
                format!("update Plinth, or build the plugin with this version's SDK: {}", WitVersion::LATEST.full())
            }
            Self::Version { .. } => {
                format!("build the plugin with an SDK of this version: {}", WitVersion::LATEST.full())
            }
            Self::Denied { line, .. } => format!("if that is wanted, write in plinth.toml {line}"),
            Self::NotAsked { capability, .. } => {
                format!("its author must add \"{capability}\" to `capabilities` in the plugin's manifest")
            }
            Self::Engine { .. } => return None,
            Self::Guest(error) => return error.hint(),
        })
    }

    fn place(&self) -> Place {
        match self {
            Self::Guest(error) => error.place(),
            _ => Place::default(),
        }
    }
}

/// What to do about a limit.
fn raise(limit: &str) -> String {
    format!("if the plugin needs it, raise [limits.plugin] {limit} in plinth.toml")
}

/// A guest returned something that breaks the contract.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OutputFault(pub(crate) String);

/// Makes an [`OutputFault`] as the error that wasmtime's traits want.
pub(crate) fn bad_output(text: impl Into<String>) -> wasmtime::Error {
    wasmtime::Error::from(OutputFault(text.into()))
}

/// More bytes came back than may cross in one call.
#[derive(Debug, thiserror::Error)]
#[error("more bytes than may cross in one call")]
pub(crate) struct TooManyBytes;

/// A guest went over a limit that the host counts.
#[derive(Debug, thiserror::Error)]
#[error("{what}, more than the limit of {max}")]
pub(crate) struct OverLimit {
    pub(crate) what: String,
    pub(crate) max: u64,
    /// Its name in `[limits.plugin]`.
    pub(crate) limit: &'static str,
    pub(crate) code: Code,
}

/// How long a call may take, and which limit says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    pub(crate) ms: u64,
    pub(crate) limit: &'static str,
}

impl Deadline {
    /// That of calls in stages.
    pub(crate) fn ordinary(limits: &PluginLimits) -> Self {
        Self { ms: limits.call_ms_max, limit: "call-ms-max" }
    }

    /// That of calls which answer requests.
    pub(crate) fn online(limits: &PluginLimits) -> Self {
        Self { ms: limits.online_call_ms_max, limit: "online-call-ms-max" }
    }
}

/// Which call failed, for messages.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) item: &'a str,
    pub(crate) func: &'static str,
}

impl Call<'_> {
    /// `plugin/item`, or the name alone where both are the same.
    pub(crate) fn who(&self) -> String {
        if self.item.is_empty() || self.item == self.plugin {
            self.plugin.to_owned()
        } else {
            format!("{}/{}", self.plugin, self.item)
        }
    }

    /// Whether it only prepares others: that it went well says nothing about them.
    pub(crate) fn prepares(&self) -> bool {
        matches!(
            self.func,
            "describe"
                | "fitting.start"
                | "fitted.load"
                | "fitted.output"
                | "model.load"
                | "model.output"
                | "reader.open"
        )
    }

    /// The guest broke the contract.
    pub(crate) fn output_fault(&self, text: &str) -> ExtError {
        ExtError::fault(
            self.who(),
            codes::PLUGIN_OUTPUT,
            format!("`{}` returned a malformed result: {text}", self.func),
        )
        .with_hint("this is a defect of the plugin: report it to its author")
    }

    /// The guest said no in an orderly way; what it said is cut to size.
    pub(crate) fn problem(&self, problem: WireProblem, bytes_max: u32) -> ExtError {
        let max = bytes_max as usize;
        ExtError::Problem {
            who: self.who(),
            problem: Problem {
                code: cut(problem.code, 64),
                message: cut(problem.message, max),
                retryable: problem.retryable,
                row: problem.row,
                column: problem.column.map(|name| cut(name, max)),
            },
        }
    }
}

/// Control characters out, and at most `max` bytes: what a guest says reaches terminals and logs.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = text.floor_char_boundary(max);
        text.truncate(end);
        text.push('…');
        // A guest's text may have been sixty megabytes, and an error is kept for as long as somebody reads it.
        text.shrink_to_fit();
    }
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        text = text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect();
    }
    text
}

/// More bytes would come back than may.
pub(crate) fn too_many_bytes(call: Call<'_>, max: u64, limit: &str) -> ExtError {
    ExtError::fault(call.who(), codes::PLUGIN_OUTPUT, returned_too_much(call.func, max)).with_hint(raise(limit))
}

fn returned_too_much(func: &str, max: u64) -> String {
    format!("`{func}` returned more than {max} bytes")
}

/// What happened to a call that wasmtime ended.
pub(crate) fn classify(call: Call<'_>, error: &wasmtime::Error, state: &State, deadline: Deadline) -> ExtError {
    let func = call.func;
    let (code, mut message, hint) = kind(func, error, state, deadline);
    if let Some(words) = state.log.last_words() {
        message.push_str(&format!("; its last message: {words}"));
    }
    ExtError::fault(call.who(), code, message).with_hint(hint)
}

fn kind(func: &str, error: &wasmtime::Error, state: &State, deadline: Deadline) -> (Code, String, String) {
    const DEFECT: &str = "this is a defect of the plugin: report it to its author";
    if let Some(fault) = find::<OutputFault>(error) {
        return (codes::PLUGIN_OUTPUT, format!("`{func}` returned a malformed result: {fault}"), DEFECT.into());
    }
    if let Some(over) = find::<OverLimit>(error) {
        return (over.code, format!("`{func}` stopped: {over}"), raise(over.limit));
    }
    if let Some(denied) = state.budget.denied() {
        let (scope, limit) = if denied.total {
            ("of all plugins together", "memory-total-bytes-max")
        } else {
            ("of one instance", "memory-bytes-max")
        };
        let message =
            format!("`{func}` wanted {} bytes of memory, more than the limit {scope}, {}", denied.wanted, denied.max);
        return (codes::PLUGIN_MEMORY, message, raise(limit));
    }
    let text = format!("{error:#}");
    if text.contains("fuel allocated for hostcalls") || find::<TooManyBytes>(error).is_some() {
        let (max, limit) = state.crossing;
        // Only what ends a guest's own code has a trace of its calls; what it returned is read when it is done.
        let message = match error.downcast_ref::<WasmBacktrace>() {
            Some(_) => format!("`{func}` handed more than {max} bytes to a function of the host"),
            None => returned_too_much(func, max),
        };
        return (codes::PLUGIN_OUTPUT, message, raise(limit));
    }
    if let Some(full) = find::<PoolConcurrencyLimitError>(error) {
        let hint = "try again, or raise [limits.plugin] instances-max in plinth.toml";
        return (codes::PLUGIN_UNAVAILABLE, format!("`{func}` found no place among the others: {full}"), hint.into());
    }
    let full = matches!(find::<ResourceTableError>(error), Some(ResourceTableError::Full));
    if full || text.contains("store handle limit exceeded") {
        return (codes::LIMIT_EXCEEDED, format!("`{func}` holds too many handles"), raise("handles-max"));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => {
            let message = format!("`{func}` did not finish within {} ms", deadline.ms);
            (codes::PLUGIN_DEADLINE, message, raise(deadline.limit))
        }
        Some(Trap::StackOverflow) => (codes::PLUGIN_STACK, format!("`{func}` overflowed its stack"), DEFECT.into()),
        // Rust's and C's own stack lies at the bottom of linear memory: running off it is an access out of bounds,
        // and the trace of wasm calls is as long as we keep.
        Some(Trap::MemoryOutOfBounds) if is_deep(error) => {
            (codes::PLUGIN_STACK, format!("`{func}` overflowed its stack"), DEFECT.into())
        }
        Some(trap) => (codes::PLUGIN_TRAP, format!("`{func}` trapped: {trap}{}", place(error)), DEFECT.into()),
        // The canonical ABI found pointers, lengths, text or variants that cannot be.
        None => {
            (codes::PLUGIN_OUTPUT, format!("`{func}` broke the calling convention: {}", root(error)), DEFECT.into())
        }
    }
}

/// Frames that are kept of a trap.
pub(crate) const FRAMES: usize = 24;

fn is_deep(error: &wasmtime::Error) -> bool {
    error.downcast_ref::<WasmBacktrace>().is_some_and(|trace| trace.frames().len() >= FRAMES)
}

/// Where it trapped: the innermost function that has a name.
fn place(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let names = trace.frames().iter().filter_map(|frame| frame.func_name());
    let mut names = names.map(plain_name).filter(|name| !is_dull(name));
    names.next().map(|name| format!(" in `{}`", cut(name, 120))).unwrap_or_default()
}

/// Whether a function is of what panicking itself consists of, which says nothing. An author's own may do something for a
/// trait of the standard library.
fn is_dull(name: &str) -> bool {
    let path = name.trim_start_matches('<');
    ["core::", "std::", "alloc::", "__rust", "rust_begin_unwind"].iter().any(|start| path.starts_with(start))
        || ["abort", "panic", "unreachable"].iter().any(|word| name.contains(word))
}

/// As its author wrote it: Rust's mangling is undone, and the hash that ends it is left out.
fn plain_name(raw: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(raw))
}

fn root(error: &wasmtime::Error) -> String {
    cut(error.root_cause().to_string(), 300)
}

fn find<E: std::error::Error + Send + Sync + 'static>(error: &wasmtime::Error) -> Option<&E> {
    error.downcast_ref::<E>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_as_their_authors_wrote_them() {
        assert_eq!(plain_name("_ZN4evil5deeds6commit17h8242eb9f2623f046E"), "evil::deeds::commit");
        assert_eq!(plain_name("main.Misdeeds.Evaluate"), "main.Misdeeds.Evaluate");
        assert!(
            is_dull("core::panicking::panic_fmt") && is_dull("<alloc::string::String as core::fmt::Write>::write_str")
        );
        assert!(!is_dull("<evil::Deed as core::fmt::Display>::fmt") && !is_dull("evil::deeds::commit"));
    }

    #[test]
    fn a_text_that_is_cut_keeps_no_room() {
        let text = cut("é".repeat(1 << 20), 101);
        assert_eq!(text, format!("{}…", "é".repeat(50)));
        assert!(text.capacity() < 1_000, "{}", text.capacity());
    }
}
