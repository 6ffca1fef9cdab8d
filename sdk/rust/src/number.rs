//! Numbers as texts that are the same in every language.

/// A number in the fewest digits that read back as the same, laid out as JavaScript does: `0.1`, `3`, `1e-7`, `1.5e+21`,
/// `NaN`, `-Infinity`; zero of either sign is `0`.
pub fn number_text(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        // Rust's own layout has no exponent.
        1e-6..1e21 => format!("{value}"),
        ..1e-6 => format!("{value:e}"),
        f64::INFINITY => (if value > 0.0 { "Infinity" } else { "-Infinity" }).to_owned(),
        1e21.. => format!("{value:e}").replace('e', "e+"),
        _ => "NaN".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_javascript() {
        let shown = [
            (0.1, "0.1"),
            (-3.0, "-3"),
            (-0.0, "0"),
            (1_234_567.125, "1234567.125"),
            (1e20, "100000000000000000000"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (-1.5e21, "-1.5e+21"),
            (1e-6, "0.000001"),
            (1.5e-7, "1.5e-7"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, text) in shown {
            assert_eq!(number_text(value), text);
        }
    }
}
