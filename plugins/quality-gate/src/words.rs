//! Numbers and lists as a person reads them.

/// A number, at most six decimals, without trailing zeros; more decimals where six would round it to zero.
pub(crate) fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    let short = format!("{value:.6}");
    let short = short.trim_end_matches('0').trim_end_matches('.');
    if (short == "0" || short == "-0") && value != 0.0 || value.abs() >= 1e15 {
        return format!("{value:e}");
    }
    grouped(short)
}

/// A number that must not look like `bound` unless it is: full precision where rounding would hide the difference.
pub(crate) fn number_beside(value: f64, bound: f64) -> String {
    let short = number(value);
    if value != bound && short == number(bound) { value.to_string() } else { short }
}

/// A count with thousands set apart.
pub(crate) fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// "1 row", "2 rows".
pub(crate) fn rows(value: u64) -> String {
    format!("{} row{}", count(value), if value == 1 { "" } else { "s" })
}

/// A share in per cent; never "0 %" or "100 %" unless it is.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let share = 100.0 * part as f64 / whole as f64;
    match format!("{share:.2}").trim_end_matches('0').trim_end_matches('.') {
        "0" if part > 0 => "under 0.01 %".into(),
        "100" if part < whole => "over 99.99 %".into(),
        text => format!("{text} %"),
    }
}

/// `a`, `b` and `c`, at most five of them.
pub(crate) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<String> = names.iter().take(5).map(|name| format!("`{}`", name.as_ref())).collect();
    match (names.len().saturating_sub(5), shown.as_slice()) {
        (0, []) => "none".into(),
        (0, [one]) => one.clone(),
        (0, [first @ .., last]) => format!("{} and {last}", first.join(", ")),
        (more, _) => format!("{} and {more} more", shown.join(", ")),
    }
}

fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    if whole.len() <= 4 {
        return format!("{sign}{digits}");
    }
    let mut text = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_never_hide_a_difference() {
        assert_eq!(number(0.8), "0.8");
        assert_eq!(number(0.123_456_789), "0.123457");
        assert_eq!(number(1e-9), "1e-9");
        assert_eq!(number(-1_234_567.5), "-1,234,567.5");
        assert_eq!(number(4096.0), "4096");
        assert_eq!(number_beside(0.799_999_999, 0.8), "0.799999999");
        assert_eq!(number_beside(0.8, 0.8), "0.8");
        assert_eq!(count(3333), "3333");
        assert_eq!(count(33_333), "33,333");
    }

    #[test]
    fn shares_are_honest_at_the_ends() {
        assert_eq!(percent(1, 1_000_000), "under 0.01 %");
        assert_eq!(percent(999_999, 1_000_000), "over 99.99 %");
        assert_eq!(percent(0, 10), "0 %");
        assert_eq!(percent(1, 8), "12.5 %");
    }

    #[test]
    fn lists_read_like_a_sentence() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
        assert_eq!(list(&["a"; 8]), "`a`, `a`, `a`, `a`, `a` and 3 more");
    }
}
