//! Where fields and records end.

use text_rows::{Follow, count};

use crate::dialect::Dialect;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// One record, field by field; for headers and samples.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The cells, and whether each was quoted.
    pub(crate) cells: Vec<(Vec<u8>, bool)>,
    /// First byte of the next record.
    pub(crate) end: usize,
    /// Line breaks up to there.
    pub(crate) lines: u64,
}

/// Splits the record at the start of `bytes`, which end with a line break or with the file. `None` where the record
/// does not end within them, or has text behind a closing quote.
pub(crate) fn split(bytes: &[u8], dialect: &Dialect) -> Option<Record> {
    let mut cells = Vec::new();
    let mut at = 0;
    let mut lines = 0;
    loop {
        let mut cell = Vec::new();
        let quoted = dialect.quote.is_some() && bytes.get(at).copied() == dialect.quote;
        if quoted {
            let quote = dialect.quote?;
            at += 1;
            loop {
                let end = at + bytes[at..].iter().position(|&byte| byte == quote)?;
                cell.extend_from_slice(&bytes[at..end]);
                at = end + 1;
                if bytes.get(at) != Some(&quote) {
                    break;
                }
                cell.push(quote);
                at += 1;
            }
            lines += cell.iter().filter(|&&byte| byte == b'\n').count() as u64;
        } else {
            let end = bytes[at..].iter().position(|&byte| byte == dialect.delimiter || byte == b'\n');
            let end = end.map_or(bytes.len(), |end| at + end);
            cell.extend_from_slice(&bytes[at..end]);
            at = end;
            if bytes.get(at).is_none_or(|&byte| byte == b'\n') && cell.last() == Some(&b'\r') {
                cell.pop();
            }
        }
        cells.push((cell, quoted));
        if bytes.get(at) == Some(&b'\r') && quoted {
            at += 1;
        }
        match bytes.get(at) {
            Some(&byte) if byte == dialect.delimiter => at += 1,
            Some(b'\n') => return Some(Record { cells, end: at + 1, lines: lines + 1 }),
            None => return Some(Record { cells, end: at, lines: lines + 1 }),
            Some(_) => return None,
        }
    }
}

/// The first delimiter or line feed at or after `from`; `bytes.len()` where there is none.
#[inline]
pub(crate) fn find_end(bytes: &[u8], from: usize, delimiter: u8) -> usize {
    let delimiters = u64::from(delimiter) * LOW;
    let feeds = u64::from(b'\n') * LOW;
    let mut at = from;
    // Eight bytes at a time: a byte that is zero after the xor borrows from the one above; the lowest hit is true.
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*eight);
        let (d, f) = (word ^ delimiters, word ^ feeds);
        let hits = ((d.wrapping_sub(LOW) & !d) | (f.wrapping_sub(LOW) & !f)) & HIGH;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < bytes.len() && bytes[at] != delimiter && bytes[at] != b'\n' {
        at += 1;
    }
    at
}

/// Follows a file and tells where records end. It keeps count of lines, and only looks at single bytes where there
/// are quotes.
#[derive(Debug)]
pub(crate) struct Follower {
    delimiter: u8,
    quote: Option<u8>,
    state: State,
    lines: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start of a field: a quote here opens.
    Start,
    /// Within a field without quotes, where a quote is an ordinary character, or behind a closing one.
    Plain,
    /// Within quotes.
    Quoted,
    /// Behind a quote within quotes: closing, or the first of a doubled one.
    AfterQuote,
}

impl Follower {
    /// At the start of a record.
    pub(crate) fn new(dialect: &Dialect) -> Self {
        Self { delimiter: dialect.delimiter, quote: dialect.quote, state: State::Start, lines: 0 }
    }

    fn after(&self, byte: u8) -> State {
        let is_quote = Some(byte) == self.quote;
        match self.state {
            State::Quoted => {
                if is_quote {
                    State::AfterQuote
                } else {
                    State::Quoted
                }
            }
            State::AfterQuote | State::Start if is_quote => State::Quoted,
            _ if byte == self.delimiter || byte == b'\n' => State::Start,
            _ => State::Plain,
        }
    }
}

impl Follow for Follower {
    fn follow(&mut self, bytes: &[u8], wanted: usize) -> (usize, bool) {
        let has_quotes = self.quote.is_some_and(|quote| count(bytes, quote) > 0);
        if !has_quotes && !matches!(self.state, State::Quoted | State::AfterQuote) {
            let end = match bytes.get(wanted..) {
                Some(rest) => rest.iter().position(|&byte| byte == b'\n').map(|at| wanted + at + 1),
                None => None,
            };
            let followed = &bytes[..end.unwrap_or(bytes.len())];
            self.lines += count(followed, b'\n') as u64;
            if let Some(&last) = followed.last() {
                self.state = if last == b'\n' || last == self.delimiter { State::Start } else { State::Plain };
            }
            return (followed.len(), end.is_some());
        }
        for (at, &byte) in bytes.iter().enumerate() {
            self.lines += u64::from(byte == b'\n');
            self.state = self.after(byte);
            if byte == b'\n' && at >= wanted && self.state == State::Start {
                return (at + 1, true);
            }
        }
        (bytes.len(), false)
    }

    fn lines(&self) -> u64 {
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Options;

    fn dialect() -> Dialect {
        Dialect::of(&Options::default()).unwrap()
    }

    #[test]
    fn records_are_split_with_their_quotes_undone() {
        let record = split(b"a,\"b \"\"x\"\",\r\nc\",,d\r\nnext", &dialect()).unwrap();
        let cells: Vec<_> = record.cells.iter().map(|(cell, quoted)| (&cell[..], *quoted)).collect();
        assert_eq!(cells, [(&b"a"[..], false), (b"b \"x\",\r\nc", true), (b"", false), (b"d", false)]);
        assert_eq!((record.end, record.lines), (20, 2));
        assert_eq!(split(b"\"open", &dialect()), None);
        assert_eq!(split(b"\"a\"b", &dialect()), None);
    }

    #[test]
    fn the_end_of_a_field_is_found_wherever_it_lies() {
        for length in 0..40 {
            let mut bytes = vec![b'x'; length];
            assert_eq!(find_end(&bytes, 0, b','), length);
            for (at, end) in [(length, b','), (length, b'\n')] {
                bytes.push(end);
                bytes.extend_from_slice(b"yy,");
                assert_eq!(find_end(&bytes, length / 2, b','), at);
                bytes.truncate(length);
            }
        }
    }

    proptest! {
        #[test]
        fn following_in_pieces_is_following_whole(
            text in "[a\",\n]{0,80}",
            pieces in prop::collection::vec(1_usize..9, 1..80),
        ) {
            let mut whole = Follower::new(&dialect());
            whole.follow(text.as_bytes(), usize::MAX);
            let mut pieced = Follower::new(&dialect());
            let mut at = 0;
            for piece in pieces.iter().cycle() {
                let end = (at + piece).min(text.len());
                pieced.follow(&text.as_bytes()[at..end], usize::MAX);
                at = end;
                if at == text.len() {
                    break;
                }
            }
            prop_assert_eq!((whole.state, whole.lines), (pieced.state, pieced.lines));
        }
    }
}
