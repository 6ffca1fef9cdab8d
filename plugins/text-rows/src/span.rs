//! Which bytes of a source a partition has.

use plinth_sdk::Problem;

/// A run of whole records. In a gzip source it is the whole source, and the bytes are not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u64,
    /// First byte that is no longer part of it.
    pub end: u64,
    /// Line, from 1, that the first byte lies on.
    pub line: u64,
    /// Whether the source is gzip.
    pub gzip: bool,
}

impl Span {
    /// As the token of a partition.
    pub fn to_token(self) -> Vec<u8> {
        let mut token = vec![1, u8::from(self.gzip)];
        for number in [self.start, self.end, self.line] {
            token.extend_from_slice(&number.to_le_bytes());
        }
        token
    }

    /// From the token of a partition of a source of `size` bytes.
    ///
    /// # Errors
    /// `bad-token` where it is none of ours, or of a source of another size.
    pub fn from_token(token: &[u8], size: u64) -> Result<Self, Problem> {
        let bad = || Problem::bad_input("bad-token", "the partition does not belong to this source; plan it again");
        let ([1, gzip @ (0 | 1)], numbers) = token.split_first_chunk::<2>().ok_or_else(bad)? else {
            return Err(bad());
        };
        let (numbers, []) = numbers.as_chunks::<8>() else { return Err(bad()) };
        let &[start, end, line] = numbers else { return Err(bad()) };
        let [start, end, line] = [start, end, line].map(u64::from_le_bytes);
        if start > end || end > size {
            return Err(bad());
        }
        Ok(Self { start, end, line, gzip: *gzip == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_others_are_refused() {
        let span = Span { start: 10, end: 90, line: 3, gzip: false };
        assert_eq!(Span::from_token(&span.to_token(), 90), Ok(span));
        assert_eq!(Span::from_token(&span.to_token(), 89).unwrap_err().code, "bad-token");
        for end in 0..span.to_token().len() {
            assert_eq!(Span::from_token(&span.to_token()[..end], 90).unwrap_err().code, "bad-token");
        }
    }
}
