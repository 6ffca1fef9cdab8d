//! What a file holds: its columns, their types, and its partitions.

use plinth_sdk::loader::{Partition, ReadPlan};
use plinth_sdk::{Field, Kind, Problem, Schema, objects, options::nearest};
use text_rows::{Guess, Input, Span};

use crate::dialect::{Dialect, Options};
use crate::record::{Follower, split};

/// Bytes of the samples taken from the middle and the end of a large file.
const PIECE_BYTES: u32 = 64 << 10;
/// Bytes read at once while partitions are planned.
const RANGE_BYTES: u32 = 1 << 20;
/// Partitions of one file, at most; larger files get larger partitions.
const PARTITIONS_MAX: u64 = 4096;

/// Looks at a file.
///
/// # Errors
/// `empty-file`, `duplicate-column`, `unknown-column`, `bad-header`, `bad-options`, and the host's.
pub(crate) fn plan(source: &str, options: &Options) -> Result<ReadPlan, Problem> {
    let dialect = Dialect::of(options)?;
    let object = objects::open(source)?;
    let size = object.size();
    let empty = || {
        let message = format!("{source}: the file is empty; a CSV file has at least a header");
        Problem::bad_input("empty-file", message)
    };
    if size == 0 {
        return Err(empty());
    }
    let gzip = Input::is_gzip(&object)?;
    let span = Span { start: 0, end: size, line: 1, gzip };
    let (head, head_is_all) = read_head(source, span, options.sample_bytes)?;
    let start = data_start(&head);
    if head[start.0..].is_empty() {
        return Err(empty());
    }
    let (names, data) = read_names(source, &head, head_is_all, start, options, &dialect)?;
    check_names(source, &names, options)?;

    let mut guesses = vec![Guess::Nothing; names.len()];
    let sample = &head[data.0..head.len().min(options.sample_bytes.max(data.0))];
    let sample_is_all = head_is_all && data.0 + sample.len() == head.len();
    look_at(sample, sample_is_all, &dialect, &mut guesses);
    if !gzip {
        for at in [size / 2, size.saturating_sub(u64::from(PIECE_BYTES))] {
            if at >= head.len() as u64 {
                look_at_piece(&object.read(at, PIECE_BYTES)?, &dialect, &mut guesses);
            }
        }
    }
    let fields = names.into_iter().zip(guesses).map(|(name, guess)| {
        let kind = options.types.get(&name).copied().unwrap_or_else(|| guess.kind());
        // Later rows may hold nulls that the sample does not show.
        Field { name, kind, nullable: true }
    });
    let schema = Schema { fields: fields.collect() };
    let spans = if gzip {
        vec![(Span { start: data.0 as u64, end: size, line: data.1, gzip }, None)]
    } else {
        partition(&object, Span { start: data.0 as u64, end: size, line: data.1, gzip }, options, &dialect)?
    };
    let partitions = spans.into_iter().map(|(span, rows_hint)| Partition {
        token: span.to_token(),
        rows_hint,
        bytes_hint: Some(span.end - span.start),
    });
    Ok(ReadPlan { schema, partitions: partitions.collect() })
}

/// The first bytes of a file, and whether these are all.
fn read_head(source: &str, span: Span, bytes: usize) -> Result<(Vec<u8>, bool), Problem> {
    let mut input = Input::open(source, objects::open(source)?, span);
    let mut head = Vec::new();
    while input.read_more(&mut head)? {
        if head.len() > bytes {
            return Ok((head, false));
        }
    }
    Ok((head, true))
}

/// Where the first record starts: its byte and line, behind a byte order mark and blank lines.
fn data_start(head: &[u8]) -> (usize, u64) {
    let mut at = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut line = 1;
    loop {
        match head[at..] {
            [b'\n', ..] => at += 1,
            [b'\r', b'\n', ..] => at += 2,
            _ => return (at, line),
        }
        line += 1;
    }
}

/// The names of the columns, and where the records with data start.
fn read_names(
    source: &str,
    head: &[u8],
    head_is_all: bool,
    start: (usize, u64),
    options: &Options,
    dialect: &Dialect,
) -> Result<(Vec<String>, (usize, u64)), Problem> {
    let bad =
        |why: &str| Problem::bad_input("bad-header", format!("{source}: line {}: the first record {why}", start.1));
    let first =
        split(&head[start.0..], dialect).ok_or_else(|| bad("has a quote that does not close, or text behind one"))?;
    if start.0 + first.end == head.len() && !head_is_all {
        return Err(bad("does not end within a mebibyte; is this a CSV file?"));
    }
    let data = if options.header { (start.0 + first.end, start.1 + first.lines) } else { start };
    let names = match &options.names {
        Some(names) if names.len() != first.cells.len() => {
            return Err(bad(&format!("has {} fields, and names gives {}", first.cells.len(), names.len())));
        }
        Some(names) => names.clone(),
        None => {
            let mut names = Vec::with_capacity(first.cells.len());
            for (index, (cell, _)) in first.cells.iter().enumerate() {
                let name = std::str::from_utf8(cell).map_err(|_| {
                    let column = format!("column {}", index + 1);
                    text_rows::invalid_utf8(source, start.1, &column)
                })?;
                let name = if options.header { name.trim() } else { "" };
                names.push(if name.is_empty() { format!("column_{}", index + 1) } else { name.to_owned() });
            }
            names
        }
    };
    Ok((names, data))
}

fn check_names(source: &str, names: &[String], options: &Options) -> Result<(), Problem> {
    for (index, name) in names.iter().enumerate() {
        if let Some(first) = names[..index].iter().position(|there| there == name) {
            let message = format!(
                "{source}: columns {} and {} are both named `{name}`; rename one in the header, or set names",
                first + 1,
                index + 1
            );
            return Err(Problem::bad_input("duplicate-column", message).in_column(name));
        }
    }
    for (name, kind) in &options.types {
        if !names.contains(name) {
            let near = nearest(name, names.iter().map(String::as_str));
            let message = format!("{source}: types names a column `{name}` that is not there{near}");
            return Err(Problem::bad_input("unknown-column", message).in_column(name));
        }
        if *kind == Kind::Binary {
            let message = format!("types: column `{name}` cannot be binary; a CSV file holds text, so use utf8");
            return Err(Problem::bad_input("bad-options", message).in_column(name));
        }
    }
    Ok(())
}

/// Takes records into the guesses; the last one only where it is known to be whole. What is wrong with a record is
/// told when it is read.
fn look_at(mut bytes: &[u8], last_is_whole: bool, dialect: &Dialect, guesses: &mut [Guess]) {
    while let Some(record) = (!bytes.is_empty()).then(|| split(bytes, dialect)).flatten() {
        bytes = &bytes[record.end..];
        if record.cells.len() != guesses.len() || (bytes.is_empty() && !last_is_whole) {
            continue;
        }
        for ((cell, quoted), guess) in record.cells.iter().zip(&mut *guesses) {
            let null = if *quoted { cell.is_empty() } else { dialect.is_null(cell) };
            if !null {
                *guess = guess.and(Guess::of(cell));
            }
        }
    }
}

/// A sample from within a file, where nobody knows whether it starts in a quoted cell: looked at only without quotes.
fn look_at_piece(piece: &[u8], dialect: &Dialect, guesses: &mut [Guess]) {
    if dialect.quote.is_some_and(|quote| piece.contains(&quote)) {
        return;
    }
    let feed = |byte: &u8| *byte == b'\n';
    let (Some(first), Some(last)) = (piece.iter().position(feed), piece.iter().rposition(feed)) else { return };
    look_at(&piece[first + 1..(last + 1).max(first + 1)], true, dialect, guesses);
}

/// Spans of whole records and, where a record is a line, their number.
type Spans = Vec<(Span, Option<u64>)>;

/// Splits a plain file at record boundaries. It reads a file of more than one partition once, to know which line
/// breaks are within quotes and how many lines lie before.
fn partition(object: &objects::Object, all: Span, options: &Options, dialect: &Dialect) -> Result<Spans, Problem> {
    let bytes = all.end - all.start;
    let wanted = options.partition_bytes.max(bytes / PARTITIONS_MAX).max(1);
    if bytes <= wanted + wanted / 2 {
        return Ok(vec![(all, None)]);
    }
    let mut follower = Follower::new(dialect);
    let mut spans = Spans::new();
    let mut span = Span { end: all.start, ..all };
    while span.end < all.end {
        let wanted_bytes = u32::try_from(all.end - span.end).map_or(RANGE_BYTES, |left| left.min(RANGE_BYTES));
        let range = object.read(span.end, wanted_bytes)?;
        if range.is_empty() {
            break;
        }
        let mut rest = &range[..];
        while !rest.is_empty() {
            let missing = (span.start + wanted).saturating_sub(span.end + 1);
            let (followed, ends) = follower.follow(rest, usize::try_from(missing).unwrap_or(usize::MAX));
            rest = &rest[followed..];
            span.end += followed as u64;
            if ends {
                spans.push((span, None));
                span = Span { start: span.end, line: all.line + follower.lines, ..span };
            }
        }
    }
    if span.end > span.start || spans.is_empty() {
        spans.push((span, None));
    }
    let mut lines: Vec<u64> = spans.iter().map(|(span, _)| span.line).collect();
    lines.push(all.line + follower.lines);
    for ((_, rows), pair) in spans.iter_mut().zip(lines.windows(2)) {
        *rows = Some(pair[1] - pair[0]);
    }
    Ok(spans)
}
