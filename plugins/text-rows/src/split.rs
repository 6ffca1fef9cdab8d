//! A plain source as several partitions.

use plinth_sdk::loader::Partition;
use plinth_sdk::{Problem, objects};

use crate::Span;

/// Bytes read at once while partitions are planned.
const RANGE_BYTES: u32 = 1 << 20;
/// Partitions of one source, at most; larger sources get larger partitions.
const PARTITIONS_MAX: u64 = 4096;

/// Tells where records end.
pub trait Follow {
    /// Follows `bytes`, which lie behind those followed before, up to the end of the first record that ends behind the
    /// first `wanted` of them. Returns how many were followed, and whether a record ends there.
    fn follow(&mut self, bytes: &[u8], wanted: usize) -> (usize, bool);

    /// Line breaks followed so far.
    fn lines(&self) -> u64;
}

/// Splits a source into partitions of about `partition_bytes`, each of whole records. A source of more than one
/// partition is read once, to know where records end and how many lines lie before; the scan is cheap next to parsing.
/// A gzip source is one partition.
///
/// # Errors
/// The host's.
pub fn split<F: Follow>(
    object: &objects::Object,
    all: Span,
    partition_bytes: u64,
    mut follower: F,
) -> Result<Vec<Partition>, Problem> {
    let bytes = all.end.saturating_sub(all.start);
    let wanted = partition_bytes.max(bytes / PARTITIONS_MAX).max(1);
    if all.gzip || bytes <= wanted + wanted / 2 {
        return Ok(vec![partition(all, None)]);
    }
    let mut partitions = Vec::new();
    let mut span = Span { end: all.start, ..all };
    while span.end < all.end {
        let left = u32::try_from(all.end - span.end).map_or(RANGE_BYTES, |left| left.min(RANGE_BYTES));
        let range = object.read(span.end, left)?;
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
                let line = all.line + follower.lines();
                partitions.push(partition(span, Some(line - span.line)));
                span = Span { start: span.end, line, ..span };
            }
        }
    }
    if span.end > span.start || partitions.is_empty() {
        partitions.push(partition(span, Some(all.line + follower.lines() - span.line)));
    }
    Ok(partitions)
}

fn partition(span: Span, lines: Option<u64>) -> Partition {
    Partition { token: span.to_token(), rows_hint: lines, bytes_hint: Some(span.end - span.start) }
}

/// Follows a file in which every line is a record.
#[derive(Debug, Default)]
pub struct Lines {
    lines: u64,
}

impl Follow for Lines {
    fn follow(&mut self, bytes: &[u8], wanted: usize) -> (usize, bool) {
        let end = bytes.get(wanted..).and_then(|rest| rest.iter().position(|&byte| byte == b'\n'));
        let end = end.map(|at| wanted + at + 1);
        let followed = end.unwrap_or(bytes.len());
        self.lines += count(&bytes[..followed], b'\n') as u64;
        (followed, end.is_some())
    }

    fn lines(&self) -> u64 {
        self.lines
    }
}

/// How often a byte occurs, in runs short enough to be counted in bytes, which vector instructions do 16 at a time.
#[inline]
pub fn count(bytes: &[u8], wanted: u8) -> usize {
    bytes.chunks(240).map(|run| usize::from(run.iter().map(|&byte| u8::from(byte == wanted)).sum::<u8>())).sum()
}

/// The bytes of a source that types are inferred from.
#[derive(Debug)]
pub struct Sample {
    /// The first bytes, one window more or less than were asked for.
    pub head: Vec<u8>,
    /// Whether the head is the whole source.
    pub head_is_all: bool,
    /// Lines from the middle and the end of a large plain source: whole ones, as far as line breaks tell.
    pub pieces: Vec<Vec<u8>>,
}

/// Bytes of the pieces taken from the middle and the end.
const PIECE_BYTES: u32 = 64 << 10;

/// Takes a sample of a source.
///
/// # Errors
/// The host's; `bad-gzip`.
pub fn sample(source: &str, object: &objects::Object, span: Span, head_bytes: usize) -> Result<Sample, Problem> {
    let mut input = crate::Input::open(source, objects::open(source)?, span);
    let mut sample = Sample { head: Vec::new(), head_is_all: false, pieces: Vec::new() };
    while sample.head.len() <= head_bytes {
        if !input.read_more(&mut sample.head)? {
            sample.head_is_all = true;
            return Ok(sample);
        }
    }
    if !span.gzip {
        for at in [span.end / 2, span.end.saturating_sub(u64::from(PIECE_BYTES))] {
            if at < sample.head.len() as u64 {
                continue;
            }
            let mut piece = object.read(at, PIECE_BYTES)?;
            let feed = |byte: &u8| *byte == b'\n';
            piece.truncate(piece.iter().rposition(feed).map_or(0, |last| last + 1));
            piece.drain(..piece.iter().position(feed).map_or(0, |first| first + 1));
            sample.pieces.push(piece);
        }
    }
    Ok(sample)
}

/// Where the first record starts, its byte and line: behind a byte order mark and blank lines.
pub fn first_record(head: &[u8]) -> (usize, u64) {
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
