//! The bytes of a source from first to last, a window at a time, plain or gzip.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use plinth_sdk::{Problem, objects};

use crate::Span;

/// Bytes asked of the host at once.
const RANGE_BYTES: u32 = 1 << 20;

/// Bytes of a source in order.
pub struct Input {
    source: String,
    bytes: Bytes,
}

enum Bytes {
    Plain(Ranges),
    Gzip(Box<MultiGzDecoder<Ranges>>),
}

/// Ranges of an object, one after another.
struct Ranges {
    object: objects::Object,
    at: u64,
    end: u64,
    /// The range last read, for readers that take less than one.
    range: Vec<u8>,
    taken: usize,
}

impl Input {
    /// The bytes of a partition.
    pub fn open(source: &str, object: objects::Object, span: Span) -> Self {
        let (at, end) = if span.gzip { (0, object.size()) } else { (span.start, span.end) };
        let ranges = Ranges { object, at, end, range: Vec::new(), taken: 0 };
        let bytes = if span.gzip { Bytes::Gzip(Box::new(MultiGzDecoder::new(ranges))) } else { Bytes::Plain(ranges) };
        Self { source: source.to_owned(), bytes }
    }

    /// Whether a source starts as gzip does.
    ///
    /// # Errors
    /// The host's problem.
    pub fn is_gzip(object: &objects::Object) -> Result<bool, Problem> {
        Ok(object.read(0, 2)? == [0x1f, 0x8b])
    }

    /// Appends the next bytes, at most 1 MiB of them; `false` at the end.
    ///
    /// # Errors
    /// The host's problem; `bad-gzip` where a compressed source is damaged or cut short.
    pub fn read_more(&mut self, window: &mut Vec<u8>) -> Result<bool, Problem> {
        match &mut self.bytes {
            Bytes::Plain(ranges) => {
                let Some(range) = ranges.next_range()? else { return Ok(false) };
                if window.is_empty() {
                    *window = range;
                } else {
                    window.extend_from_slice(&range);
                }
                Ok(true)
            }
            Bytes::Gzip(decoder) => {
                let before = window.len();
                let wanted = u64::from(RANGE_BYTES);
                decoder.by_ref().take(wanted).read_to_end(window).map_err(|error| {
                    match error.get_ref().and_then(|inner| inner.downcast_ref::<Problem>()) {
                        Some(problem) => problem.clone(),
                        None => Problem::bad_input(
                            "bad-gzip",
                            format!("{}: the gzip data is damaged or cut short: {error}", self.source),
                        ),
                    }
                })?;
                Ok(window.len() > before)
            }
        }
    }
}

impl Ranges {
    fn next_range(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        let left = self.end.saturating_sub(self.at);
        if left == 0 {
            return Ok(None);
        }
        let wanted = u32::try_from(left).map_or(RANGE_BYTES, |left| left.min(RANGE_BYTES));
        let range = self.object.read(self.at, wanted)?;
        if range.is_empty() {
            return Ok(None);
        }
        self.at += range.len() as u64;
        Ok(Some(range))
    }
}

impl Read for Ranges {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.taken == self.range.len() {
            self.range = self.next_range().map_err(std::io::Error::other)?.unwrap_or_default();
            self.taken = 0;
        }
        let n = out.len().min(self.range.len() - self.taken);
        out[..n].copy_from_slice(&self.range[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }
}
