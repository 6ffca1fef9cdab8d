//! A filter's text as tokens. MLflow's filters look like SQL's conditions but have no escapes in quotes, no comments
//! and no arithmetic.

use super::SyntaxError;

/// A piece of a filter.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A name: parts that dots join, such as `metrics` and `f1`, or a bare word.
    Name(Name),
    /// Text in single quotes, or a double-quoted text that stands alone and may be a name as well.
    Text { text: String, double: bool },
    /// A number as it was written.
    Number(String),
    /// `=`, `!=`, `<`, `<=`, `>` or `>=`.
    Comparison(&'static str),
    /// `(`, `)` or `,`.
    Mark(char),
}

/// A name before it is looked up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Name {
    /// What stands before the first dot, if there is a dot.
    pub(super) entity: Option<String>,
    /// The rest, without quotes around it.
    pub(super) key: String,
    /// Whether any part was quoted: then it is no keyword.
    pub(super) quoted: bool,
}

/// Longest first: `<=` is not `<` and `=`.
const COMPARISONS: [&str; 6] = ["!=", "<=", ">=", "=", "<", ">"];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (token, after) = if let Some(number) = number(rest) {
            (Token::Number(number.to_owned()), &rest[number.len()..])
        } else if first.is_alphabetic() || matches!(first, '_' | '`' | '"' | '\'') {
            name_or_text(rest)?
        } else if let Some(comparison) = COMPARISONS.iter().find(|comparison| rest.starts_with(**comparison)) {
            (Token::Comparison(comparison), &rest[comparison.len()..])
        } else if matches!(first, '(' | ')' | ',') {
            (Token::Mark(first), &rest[1..])
        } else {
            return Err(unreadable(rest));
        };
        // `==`, `<>` and `=>` are comparisons of other languages.
        if matches!(token, Token::Comparison(_)) && after.starts_with(['=', '<', '>', '!']) {
            return Err(SyntaxError(format!("Invalid comparator in filter string: '{}'", short(rest))));
        }
        tokens.push(token);
        rest = after;
    }
}

/// `5`, `-5`, `.5`, `5.5`, `5e-1`; a sign may only be a minus.
fn number(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let start = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(start);
    let mut end = start + whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        if whole + fraction > 0 {
            end += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    // `5x` is neither a number nor a name.
    let next = text[end..].chars().next();
    (!next.is_some_and(|c| c.is_alphanumeric() || c == '_')).then(|| &text[..end])
}

fn name_or_text(text: &str) -> Result<(Token, &str), SyntaxError> {
    let (first, quote, mut rest) = part(text)?;
    let mut key: Option<String> = None;
    let mut quoted = quote.is_some();
    while let Some(after) = rest.strip_prefix('.') {
        // What stands before the dot may only be quoted as SQL quotes names.
        if key.is_none() && matches!(quote, Some('\'' | '"')) {
            return Err(SyntaxError(format!("Invalid entity type '{}'", short(first))));
        }
        let (next, quote, after) = match part(after) {
            Ok((next, None, _)) if next.bytes().all(|byte| byte.is_ascii_digit()) => return Err(unreadable(text)),
            Ok(next) => next,
            // `metrics.` has the empty key, which nothing has.
            Err(_) if after.is_empty() || after.starts_with(|c: char| c.is_whitespace()) => ("", None, after),
            Err(error) => return Err(error),
        };
        key = Some(key.map_or_else(|| next.to_owned(), |key| format!("{key}.{next}")));
        quoted |= quote.is_some();
        rest = after;
    }
    let token = match (key, quote) {
        (None, Some(mark @ ('\'' | '"'))) => Token::Text { text: first.to_owned(), double: mark == '"' },
        (None, _) => Token::Name(Name { entity: None, key: first.to_owned(), quoted }),
        (Some(key), _) => Token::Name(Name { entity: Some(first.to_owned()), key, quoted }),
    };
    Ok((token, rest))
}

/// One part of a name, its quote if it has one, and what follows.
fn part(text: &str) -> Result<(&str, Option<char>, &str), SyntaxError> {
    match text.chars().next() {
        Some(quote @ ('`' | '"' | '\'')) => {
            let body = &text[1..];
            let end = closing(body, quote).ok_or_else(|| unreadable(text))?;
            Ok((&body[..end], Some(quote), &body[end + 1..]))
        }
        _ => {
            let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
            if end == 0 { Err(unreadable(text)) } else { Ok((&text[..end], None, &text[end..])) }
        }
    }
}

/// Where a quoted text ends. A doubled quote, or one behind a back-slash, does not end it, unless nothing else does;
/// both stay in the text as they are.
fn closing(body: &str, quote: char) -> Option<usize> {
    let bytes = body.as_bytes();
    let (quote, mut at, mut last_resort) = (quote as u8, 0, None);
    while at < bytes.len() {
        let next = bytes.get(at + 1) == Some(&quote);
        match bytes[at] {
            b'\\' if next && quote != b'`' => {
                last_resort = Some(at + 1);
                at += 2;
            }
            byte if byte == quote && next => {
                last_resort = Some(at);
                at += 2;
            }
            byte if byte == quote => return Some(at),
            _ => at += 1,
        }
    }
    last_resort
}

fn unreadable(text: &str) -> SyntaxError {
    SyntaxError(format!("Invalid clause(s) in filter string: '{}'", short(text)))
}

pub(super) fn short(text: &str) -> String {
    text.chars().take(100).collect()
}
