//! Regular expressions as PostgreSQL writes them.
//!
//! Searches know one language of patterns, that of the engine which reads them first (`regex-lite`: no look-around, no
//! references back). PostgreSQL spells some of it otherwise, and its dot takes line ends unless it is told not to.

/// The same pattern in PostgreSQL's spelling. What it has no spelling for, such as flags in the middle, it refuses.
pub(super) fn for_postgres(pattern: &str) -> String {
    let (flags, rest) = leading_flags(pattern);
    // How line ends are taken: by the dot, and by `^` and `$`.
    let lines = match (flags.contains('s'), flags.contains('m')) {
        (false, false) => 'p',
        (true, false) => 's',
        (false, true) => 'n',
        (true, true) => 'w',
    };
    let mut out = format!("(?{lines}");
    out.extend(flags.chars().filter(|flag| matches!(flag, 'i' | 'x')));
    out.push(')');
    let mut rest = rest;
    while let Some(at) = rest.find(['\\', '(']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (from, to) = spelling(rest);
        out.push_str(to);
        rest = &rest[from..];
    }
    out.push_str(rest);
    out
}

/// `(?i)` and the like at the beginning, and what follows.
fn leading_flags(pattern: &str) -> (&str, &str) {
    let flags = pattern.strip_prefix("(?").and_then(|rest| rest.split_once(')'));
    flags.filter(|(flags, _)| flags.chars().all(|flag| "imsx".contains(flag))).unwrap_or(("", pattern))
}

/// What stands at the beginning of `text`, a backslash or a parenthesis: its length, and what PostgreSQL writes.
fn spelling(text: &str) -> (usize, &str) {
    for (ours, theirs) in [("\\b", "\\y"), ("\\B", "\\Y"), ("\\z", "\\Z")] {
        if text.starts_with(ours) {
            return (ours.len(), theirs);
        }
    }
    if let Some(escaped) = text.strip_prefix('\\').and_then(|rest| rest.chars().next()) {
        let length = 1 + escaped.len_utf8();
        return (length, &text[..length]);
    }
    // A group's name is for those who take matches apart.
    let named = text.strip_prefix("(?P<").or_else(|| text.strip_prefix("(?<"));
    match named.and_then(|rest| rest.find('>')) {
        Some(end) => (text.len() - named.unwrap_or_default().len() + end + 1, "("),
        None => (1, &text[..1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelled_otherwise_is_translated_and_nothing_else() {
        for (ours, theirs) in [
            ("^a.*b$", "(?p)^a.*b$"),
            ("(?i)foo", "(?pi)foo"),
            ("(?ims)foo", "(?wi)foo"),
            ("(?s).", "(?s)."),
            ("(?m)^x$", "(?n)^x$"),
            (r"\bw\B\\b\z", r"(?p)\yw\Y\\b\Z"),
            (r"(a|(?:b))(?P<n>c)(?<m>\d+)\(é\é", r"(?p)(a|(?:b))(c)(\d+)\(é\é"),
            ("\\", "(?p)\\"),
            ("", "(?p)"),
        ] {
            assert_eq!(for_postgres(ours), theirs, "{ours}");
        }
    }
}
