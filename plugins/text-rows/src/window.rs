//! The bytes at hand while records are read one after another.

use plinth_sdk::Problem;

use crate::Input;

/// A record has at most this many bytes: an open quote or a missing line break must not read a whole file into memory.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// Part of an input. What lies before `at` was read, what lies before `whole` ends with a line break.
pub struct Window {
    input: Input,
    /// The bytes at hand.
    pub bytes: Vec<u8>,
    /// First byte of the next record.
    pub at: usize,
    /// Behind the last line break at hand.
    pub whole: usize,
    ended: bool,
}

impl Window {
    /// Nothing at hand yet.
    pub fn new(input: Input) -> Self {
        Self { input, bytes: Vec::new(), at: 0, whole: 0, ended: false }
    }

    /// Whether all bytes of the input are at hand.
    pub fn is_last(&self) -> bool {
        self.ended
    }

    /// Reads more bytes behind those that are left; `false` where there are none left at all. The last record gets a
    /// line break if it has none.
    ///
    /// # Errors
    /// The input's; `record-too-long`, naming `line`.
    pub fn refill(&mut self, source: &str, line: u64) -> Result<bool, Problem> {
        if self.ended {
            return Ok(false);
        }
        self.bytes.drain(..self.at);
        self.at = 0;
        if self.bytes.len() > RECORD_BYTES_MAX {
            let message = format!(
                "{source}: line {line}: the record is longer than {} MiB; is a quote left open, or a line break missing?",
                RECORD_BYTES_MAX >> 20
            );
            return Err(Problem::bad_input("record-too-long", message));
        }
        if !self.input.read_more(&mut self.bytes)? {
            self.ended = true;
            if self.bytes.last().is_some_and(|&last| last != b'\n') {
                self.bytes.push(b'\n');
            }
        }
        self.find_whole();
        Ok(self.whole > 0 || !self.ended)
    }

    /// Passes over the first bytes of an input; they are few.
    ///
    /// # Errors
    /// The input's.
    pub fn skip(&mut self, bytes: u64) -> Result<(), Problem> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        while self.bytes.len() < bytes && self.input.read_more(&mut self.bytes)? {}
        self.at = bytes.min(self.bytes.len());
        self.find_whole();
        Ok(())
    }

    fn find_whole(&mut self) {
        let feed = self.bytes[self.at..].iter().rposition(|&byte| byte == b'\n');
        self.whole = feed.map_or(self.at, |feed| self.at + feed + 1);
    }
}
