//! What reaches the terminal: data on stdout, talk on stderr, errors with their code and their fix.

use std::{
    io::{self, IsTerminal, Write},
    sync::{LazyLock, OnceLock},
};

use comfy_table::{Cell, ContentArrangement, Table, TableComponent, presets};
use indicatif::{MultiProgress, ProgressDrawTarget};
use plinth_core::{Code, Coded, codes};
use serde_json::{Value, json};

use crate::args::{Global, When};

/// Where a command writes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Data as JSON.
    pub(crate) json: bool,
    /// Colour on stderr and in tables.
    pub(crate) color: bool,
    /// Whether progress bars make sense.
    pub(crate) live: bool,
}

impl Output {
    /// As the flags and the terminal say.
    pub(crate) fn new(global: &Global) -> Self {
        let terminal = io::stderr().is_terminal();
        let color = match global.color {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let live = terminal && !global.json;
        if !live {
            bars().set_draw_target(ProgressDrawTarget::hidden());
        }
        Self { json: global.json, color, live }
    }

    /// Writes data: `value` as JSON, or what `text` makes for a person.
    pub(crate) fn data(&self, value: &Value, text: impl FnOnce() -> String) -> io::Result<()> {
        let text = if self.json { format!("{value:#}\n") } else { text() };
        write_out(text.as_bytes())
    }

    /// Writes one line of talk to stderr; nothing with `--json`.
    pub(crate) fn say(&self, line: impl AsRef<str>) {
        if !self.json {
            // Talk that cannot be heard is no reason to stop.
            let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
        }
    }

    /// Writes an error to stderr, with its code and its fix.
    pub(crate) fn error(&self, error: &Failure) {
        let mut stderr = io::stderr().lock();
        let _ = if self.json {
            let mut value = json!({"error": {
                "code": error.code.name(),
                "message": error.message,
                "hint": error.hint,
                "retryable": error.retryable,
                "exit_code": error.code.class().exit_code(),
            }});
            if let Some(details) = &error.details {
                value["error"]["details"] = (**details).clone();
            }
            writeln!(stderr, "{value}")
        } else {
            let (red, bold, plain) = if self.color { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
            let hint = error.hint.as_ref().map(|hint| format!("\n  {bold}hint{plain}: {hint}")).unwrap_or_default();
            writeln!(stderr, "{red}error[{}]{plain}: {}{hint}", error.code, error.message)
        };
    }
}

/// The progress bars of this process, drawn one below the other.
pub(crate) fn bars() -> &'static MultiProgress {
    static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
    &BARS
}

/// Writes to stdout. A reader that went away (`plinth run list | head -1`) ends the command quietly.
pub(crate) fn write_out(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Rows on their way to stdout, some thousand bytes at once. A reader that goes away has seen enough, which is no error of
/// the command: what writes here ends with an error, and [`reader_left`] says why.
#[derive(Default)]
pub(crate) struct Stdout(Vec<u8>);

/// Bytes that wait to be written together.
const TOGETHER: usize = 16 << 10;

/// What the system said when who read [`Stdout`] had gone away.
static READER_LEFT: OnceLock<String> = OnceLock::new();

/// Whether a command failed because who read its [`Stdout`] went away (`plinth explain … | head -1`). One that failed
/// before may hear of it too, while what it holds is put down.
pub(crate) fn reader_left(failure: &Failure) -> bool {
    READER_LEFT.get().is_some_and(|said| failure.message.contains(said))
}

impl Stdout {
    fn hand_over(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let outcome = stdout.write_all(&self.0).and_then(|()| stdout.flush());
        self.0.clear();
        outcome
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if self.0.len() >= TOGETHER {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_over().inspect_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                READER_LEFT.get_or_init(|| error.to_string());
            }
        })
    }
}

impl Drop for Stdout {
    /// What is left where something else failed: that is what is told, whoever reads.
    fn drop(&mut self) {
        let _ = self.hand_over();
    }
}

/// A table for a person: a header, a line, rows; as wide as the terminal, and no wider than its content.
pub(crate) fn table<H: Into<Cell>, C: Into<Cell>>(
    header: impl IntoIterator<Item = H>,
    rows: impl IntoIterator<Item = Vec<C>>,
) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_style(TableComponent::HeaderLines, '-').set_style(TableComponent::MiddleHeaderIntersections, ' ');
    table.set_header(header.into_iter().map(Into::into));
    for row in rows {
        table.add_row(row.into_iter().map(Into::into));
    }
    // Cells are padded on both sides; what is left of the first column and right of the last is of no use.
    table.lines().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end())).collect()
}

/// How a command failed: what an error of any crate tells a user.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) retryable: bool,
    /// Shown by the command itself; part of the JSON form.
    pub(crate) details: Option<Box<Value>>,
}

impl Failure {
    /// A failure that no crate's error stands for.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, retryable: code.retryable(), details: None }
    }

    /// Adds the fix.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// From an error behind a pointer.
    pub(crate) fn of(error: &(impl Coded + ?Sized)) -> Self {
        let mut message = error.to_string();
        // Libraries' causes that the message does not quote are worth their words.
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = error.source();
        }
        let place = error.place();
        if let Some(words) = place.words() {
            message = format!("{message}, {words}");
        }
        let known = place != plinth_core::Place::default();
        let details = known.then(|| Box::new(json!({"row": place.row, "column": place.column})));
        Self { code: error.code(), message, hint: error.hint(), retryable: error.retryable(), details }
    }
}

impl<E: Coded> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}

/// An IO error of the command itself, such as a report that cannot be written.
pub(crate) fn io_failure(what: &str, error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge => codes::DISK_FULL,
        io::ErrorKind::NotFound => codes::FILE_NOT_FOUND,
        _ => codes::IO,
    };
    Failure::new(code, format!("{what}: {error}"))
}

/// The system refused to read a file that the user named.
pub(crate) fn read_failure(path: &std::path::Path, error: &io::Error) -> Failure {
    let failure = io_failure(&path.display().to_string(), error);
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure { code: codes::FILE_UNREADABLE, retryable: false, ..failure }
            .hint("let the user who runs plinth read it"),
        _ => failure,
    }
}
