//! `plinth sql`: statements over files, with transforms and models as functions, and their rows on the way out.

pub(crate) mod args;
mod names;
mod show;

use std::{
    io::{self, BufWriter, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use plinth_core::codes;
use plinth_sql::{Format, Outcome, Rows, Session, Writer};

use args::RowFormat;
pub(crate) use args::SqlArgs;
use names::CommandNames;
use show::Grid;

use crate::{
    config::Settings,
    outfile::beside,
    output::{Failure, Output, Stdout, io_failure, read_failure},
    stages::thousands,
};

/// Threads that may wait for files at once.
const BLOCKING_THREADS: usize = 32;

/// `plinth sql`
pub(crate) fn sql(args: &SqlArgs, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let text = text(args)?;
    let statements = plinth_sql::parse(&text, &settings.config.limits.sql)?;
    if statements.is_empty() {
        return Err(Failure::new(codes::USAGE, "there is no statement").hint("write plinth sql \"select …\""));
    }
    let names = Arc::new(CommandNames::new(args, settings)?);
    names.check()?;
    let tables = args.table.iter().map(|text| match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_lowercase(), file.to_owned())),
        _ => {
            Err(Failure::new(codes::USAGE, format!("--table: `{text}` names no file")).hint("write --table NAME=FILE"))
        }
    });
    let tables = tables.collect::<Result<Vec<_>, _>>()?;
    let sink = Sink::of(args, output)?;
    let session = Session::new(names, &settings.config.limits, usize::from(args.threads))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(args.threads).max(1) + 1)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(plinth_sql::STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|error| io_failure("threads", &error))?;
    let target = sink.partial.clone();
    let work = runtime.spawn(async move {
        for (name, file) in tables {
            session.table(&name, &file).await?;
        }
        let several = statements.len() > 1;
        let mut sink = sink;
        for (nth, statement) in statements.into_iter().enumerate() {
            let done = match session.run(statement).await {
                Ok(Outcome::Rows(rows)) => sink.write(rows).await,
                Ok(Outcome::Done(words)) => {
                    sink.output.say(words);
                    Ok(())
                }
                Err(error) => Err(Failure::from(error)),
            };
            done.map_err(|failure| match several {
                true => Failure { message: format!("statement {}: {}", nth + 1, failure.message), ..failure },
                false => failure,
            })?;
        }
        sink.finish()
    });
    let outcome = runtime.block_on(async {
        tokio::select! {
            done = work => done.unwrap_or_else(|error| Err(panicked(error))),
            () = stopped() => Err(Failure::new(codes::INTERRUPTED, "stopped")),
        }
    });
    // A guest or a thread that reads a file may still be at work; nobody waits for it.
    runtime.shutdown_background();
    match outcome {
        Err(failure) => {
            if let Some(target) = target {
                let _ = std::fs::remove_file(target);
            }
            Err(failure)
        }
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// A defect of the engine, or of ours, told as one.
fn panicked(error: tokio::task::JoinError) -> Failure {
    let said = match error.try_into_panic() {
        Ok(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        }
        Err(error) => Some(error.to_string()),
    };
    Failure::new(codes::INTERNAL, format!("the engine gave up: {}", said.unwrap_or_default()))
}

/// Until the user, or the system, wants an end.
async fn stopped() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// The statements: from the command line, from a file, or from stdin.
fn text(args: &SqlArgs) -> Result<String, Failure> {
    let stdin = || {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map_err(|error| io_failure("stdin", &error))?;
        Ok(text)
    };
    match &args.file {
        Some(file) if file == Path::new("-") => stdin(),
        Some(file) => std::fs::read_to_string(file).map_err(|error| read_failure(file, &error)),
        None if !args.statements.is_empty() => Ok(args.statements.join(";\n")),
        None if io::stdin().is_terminal() => {
            Err(Failure::new(codes::USAGE, "there is no statement").hint("write plinth sql \"select …\", or -f FILE"))
        }
        None => stdin(),
    }
}

/// Where rows go.
struct Sink {
    output: Output,
    format: RowFormat,
    path: Option<PathBuf>,
    /// Where a file is written until it is whole.
    partial: Option<PathBuf>,
    max_rows: Option<usize>,
    /// Results so far.
    results: usize,
    rows: u64,
}

impl Sink {
    fn of(args: &SqlArgs, output: Output) -> Result<Self, Failure> {
        let format = match (args.format, &args.output) {
            (Some(format), _) => format,
            (None, Some(path)) => of_name(path)?,
            (None, None) if output.json => RowFormat::Jsonl,
            (None, None) => RowFormat::Table,
        };
        if format == RowFormat::Parquet && args.output.is_none() && io::stdout().is_terminal() {
            return Err(Failure::new(codes::USAGE, "a terminal cannot show Parquet").hint("add --output FILE"));
        }
        let shown = args.output.is_none() && io::stdout().is_terminal() && args.max_rows > 0;
        Ok(Self {
            output,
            format,
            path: args.output.clone(),
            partial: args.output.as_deref().map(beside),
            max_rows: shown.then_some(args.max_rows),
            results: 0,
            rows: 0,
        })
    }

    async fn write(&mut self, mut rows: Rows) -> Result<(), Failure> {
        self.results += 1;
        let one_file = self.path.is_some() || self.format == RowFormat::Parquet;
        if one_file && self.results > 1 {
            return Err(Failure::new(codes::USAGE, "several statements give rows, and one file is to hold them")
                .hint("run them one by one, or write copy (select …) to 'FILE' in the text"));
        }
        let to: Box<dyn Write + Send> = match &self.partial {
            Some(path) => {
                let file =
                    std::fs::File::create(path).map_err(|error| io_failure(&path.display().to_string(), &error))?;
                Box::new(BufWriter::new(file))
            }
            None => Box::new(Stdout::default()),
        };
        let format = match self.format {
            RowFormat::Table => return self.show(rows, to).await,
            RowFormat::Csv => Format::Csv,
            RowFormat::Json => Format::Json,
            RowFormat::Jsonl => Format::JsonLines,
            RowFormat::Parquet => Format::Parquet,
        };
        let mut writer = Writer::new(format, to, rows.schema())?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            self.rows += batch.num_rows() as u64;
            writer.write(&batch)?;
        }
        Ok(writer.finish()?)
    }

    async fn show(&mut self, mut rows: Rows, to: Box<dyn Write + Send>) -> Result<(), Failure> {
        let failed = |error: io::Error| io_failure("stdout", &error);
        let (header, numbers) = plinth_sql::columns(rows.schema());
        let mut grid = Grid::new(to, header, numbers, self.max_rows);
        if self.results > 1 && self.path.is_none() {
            grid.separate().map_err(failed)?;
        }
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let room = grid.room(batch.num_rows());
            grid.add(plinth_sql::cells(&batch.slice(0, room))?, batch.num_rows()).map_err(failed)?;
        }
        let (all, shown) = grid.finish().map_err(failed)?;
        self.rows += all;
        if self.max_rows.is_some() {
            let noun = if all == 1 { "row" } else { "rows" };
            self.output.say(match all == shown {
                true => format!("{} {noun}", thousands(all)),
                false => format!("{shown} of {} {noun}; --max-rows 0 shows all", thousands(all)),
            });
        }
        Ok(())
    }

    /// Puts a file in its place when it is whole.
    fn finish(self) -> Result<(), Failure> {
        if let (Some(partial), Some(path)) = (&self.partial, &self.path) {
            if self.results == 0 {
                return Err(Failure::new(codes::USAGE, "no statement gave rows, so there is nothing to write")
                    .hint("leave --output out"));
            }
            std::fs::rename(partial, path).map_err(|error| io_failure(&path.display().to_string(), &error))?;
            self.output.say(format!("{} rows written to {}", thousands(self.rows), path.display()));
        }
        Ok(())
    }
}

/// The format that the name of a file ends with.
fn of_name(path: &Path) -> Result<RowFormat, Failure> {
    let end = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match end.as_str() {
        "csv" => Ok(RowFormat::Csv),
        "json" => Ok(RowFormat::Json),
        "jsonl" | "ndjson" => Ok(RowFormat::Jsonl),
        "parquet" | "pq" => Ok(RowFormat::Parquet),
        "txt" => Ok(RowFormat::Table),
        _ => Err(Failure::new(codes::USAGE, format!("the format of `{}` is not known", path.display()))
            .hint("name a file that ends in .csv, .json, .jsonl or .parquet, or add --format")),
    }
}
