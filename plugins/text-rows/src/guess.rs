//! The type of a column, from a sample of its cells.

use plinth_sdk::Kind;

use crate::cell;

/// The narrowest type that holds every cell seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guess {
    /// No cell with a value yet.
    #[default]
    Nothing,
    /// Every cell is of this type.
    Kind(Kind),
}

impl Guess {
    /// The type of one cell of text.
    pub fn of(text: &[u8]) -> Self {
        let kind = if cell::boolean(text).is_some() {
            Kind::Boolean
        } else if leading_zero(text) {
            // 007 is a code, not a number: its zeros would be lost.
            Kind::Utf8
        } else if cell::int(text).is_some() {
            Kind::Int64
        } else if all_digits(text) {
            // Too long for an int64; as a float it would lose digits.
            Kind::Utf8
        } else if cell::float(text).is_some() {
            Kind::Float64
        } else if cell::timestamp(text).is_some() {
            Kind::TimestampUs
        } else {
            Kind::Utf8
        };
        Self::Kind(kind)
    }

    /// The type that holds both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, guess) | (guess, Self::Nothing) => guess,
            (Self::Kind(a), Self::Kind(b)) if a == b => self,
            (Self::Kind(Kind::Int64 | Kind::Float64), Self::Kind(Kind::Int64 | Kind::Float64)) => {
                Self::Kind(Kind::Float64)
            }
            _ => Self::Kind(Kind::Utf8),
        }
    }

    /// The type of the column; text where no cell had a value.
    pub fn kind(self) -> Kind {
        match self {
            Self::Nothing => Kind::Utf8,
            Self::Kind(kind) => kind,
        }
    }
}

fn leading_zero(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    digits.len() > 1 && digits[0] == b'0' && digits[1].is_ascii_digit()
}

fn all_digits(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_narrowest_type() {
        for (text, kind) in [
            ("true", Kind::Boolean),
            ("12", Kind::Int64),
            ("0", Kind::Int64),
            ("0.5", Kind::Float64),
            ("1e-3", Kind::Float64),
            ("00501", Kind::Utf8),
            ("99999999999999999999", Kind::Utf8),
            ("2024-01-01", Kind::TimestampUs),
            ("yes", Kind::Utf8),
            ("1", Kind::Int64),
        ] {
            assert_eq!(Guess::of(text.as_bytes()), Guess::Kind(kind), "{text}");
        }
    }

    #[test]
    fn mixed_cells_widen_as_little_as_they_can() {
        let of = |texts: &[&str]| {
            texts.iter().map(|text| Guess::of(text.as_bytes())).fold(Guess::Nothing, Guess::and).kind()
        };
        assert_eq!(of(&["1", "2.5", "3"]), Kind::Float64);
        assert_eq!(of(&["1", "true"]), Kind::Utf8);
        assert_eq!(of(&["2024-01-01", "2024-01-01T10:00:00Z"]), Kind::TimestampUs);
        assert_eq!(of(&[]), Kind::Utf8);
    }
}
