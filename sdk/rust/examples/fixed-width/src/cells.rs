//! Cells: from bytes to the values of a column.

use plinth_sdk::{BlockBuilder, Field, Kind, Problem, bitmap};

/// The cells of one column so far.
pub(crate) struct Cells<'a> {
    kind: Kind,
    nullable: bool,
    valid: Vec<bool>,
    values: Values<'a>,
}

enum Values<'a> {
    Int64s(Vec<i64>),
    Float64s(Vec<f64>),
    Booleans(Vec<bool>),
    Texts(Vec<&'a str>),
}

/// A number of this many bytes is none.
const NUMBER_LEN: usize = 512;

impl<'a> Cells<'a> {
    /// A column without cells.
    pub(crate) fn of(field: &Field) -> Self {
        let values = match field.kind {
            Kind::Int64 => Values::Int64s(Vec::new()),
            Kind::Float64 => Values::Float64s(Vec::new()),
            Kind::Boolean => Values::Booleans(Vec::new()),
            _ => Values::Texts(Vec::new()),
        };
        Self { kind: field.kind, nullable: field.nullable, valid: Vec::new(), values }
    }

    /// Takes the cell of the next record.
    pub(crate) fn push(&mut self, cell: &'a [u8]) -> Result<(), Problem> {
        let cell = trimmed(cell);
        let null = cell.is_empty() && self.nullable;
        self.valid.push(!null);
        if cell.is_empty() && !null && self.kind != Kind::Utf8 {
            return Err(Problem::bad_input("null-value", "the cell is empty, and the column is not nullable"));
        }
        let text = std::str::from_utf8(cell).ok();
        let read = match &mut self.values {
            _ if null => self.values.push_zero(),
            Values::Int64s(values) => text.and_then(int64).map(|value| values.push(value)),
            Values::Float64s(values) => text.and_then(float64).map(|value| values.push(value)),
            Values::Booleans(values) => text.and_then(|text| text.parse().ok()).map(|value| values.push(value)),
            Values::Texts(values) => text.map(|value| values.push(value)),
        };
        read.ok_or_else(|| {
            Problem::bad_input("bad-value", format!("`{}` is no {}", String::from_utf8_lossy(cell), self.kind))
        })
    }

    /// Hands the column over.
    pub(crate) fn build(self, builder: &mut BlockBuilder<'_>) -> Result<(), Problem> {
        let valid = bitmap(self.valid.into_iter());
        let valid = Some(&valid[..]);
        match self.values {
            Values::Int64s(values) => builder.s64s(values, valid),
            Values::Float64s(values) => builder.f64s(values, valid),
            Values::Booleans(values) => builder.bools(&values, valid),
            Values::Texts(values) => builder.texts(values.into_iter(), valid),
        }
        .map(|_| ())
    }
}

impl Values<'_> {
    /// What stands in the slot of a null.
    fn push_zero(&mut self) -> Option<()> {
        match self {
            Self::Int64s(values) => values.push(0),
            Self::Float64s(values) => values.push(0.0),
            Self::Booleans(values) => values.push(false),
            Self::Texts(values) => values.push(""),
        }
        Some(())
    }
}

/// Without the spaces at both ends, and no other white space.
fn trimmed(mut cell: &[u8]) -> &[u8] {
    while let [b' ', rest @ ..] | [rest @ .., b' '] = cell {
        cell = rest;
    }
    cell
}

/// `-?[0-9]+`
fn int64(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let shaped = after_digits(digits) == Some("") && text.len() < NUMBER_LEN;
    shaped.then(|| text.parse().ok()).flatten()
}

/// `-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?`, not beyond what float64 holds.
fn float64(text: &str) -> Option<f64> {
    let mut rest = after_digits(text.strip_prefix('-').unwrap_or(text))?;
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = after_digits(fraction)?;
    }
    if let Some(exponent) = rest.strip_prefix('e') {
        rest = after_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))?;
    }
    let shaped = rest.is_empty() && text.len() < NUMBER_LEN;
    shaped.then(|| text.parse().ok()).flatten().filter(|value: &f64| value.is_finite())
}

/// What follows one digit or more.
fn after_digits(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|byte: char| byte.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_their_grammar_says() {
        assert_eq!(["0", "-0", "007", "-9223372036854775808"].map(int64), [Some(0), Some(0), Some(7), Some(i64::MIN)]);
        for bad in ["", "-", "+1", "1.0", "9223372036854775808", "1_0", "0x1", "--1", &"0".repeat(512)] {
            assert_eq!(int64(bad), None, "{bad}");
        }
        assert_eq!(int64(&"0".repeat(511)), Some(0));
        assert_eq!(["1", "-2.5", "1e-7", "0.5e+3", "5e-324"].map(float64), [1.0, -2.5, 1e-7, 500.0, 5e-324].map(Some));
        assert_eq!(["1e-999", "-0"].map(|text| float64(text).map(f64::to_bits)), [0, 1 << 63].map(Some));
        for bad in ["", ".5", "5.", "1e", "1e+", "1E5", "nan", "inf", "1e999", "-1e309", "1 e5", &"1".repeat(512)] {
            assert_eq!(float64(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_spaces_are_trimmed() {
        assert_eq!([&b"  a b "[..], b"   ", b"\ta"].map(trimmed), [&b"a b"[..], b"", b"\ta"]);
    }
}
