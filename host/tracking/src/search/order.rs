//! Orders: `metrics.f1 DESC`, one field each.

use super::{
    SyntaxError,
    lexer::{Name, Token, tokens},
};

/// One field to sort by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    /// What stands before the dot, such as `metrics`.
    pub(crate) entity: Option<String>,
    pub(crate) key: String,
    pub(crate) ascending: bool,
}

/// Reads an order.
pub(crate) fn parse(text: &str) -> Result<Order, SyntaxError> {
    let bad = || SyntaxError(format!("Invalid order_by clause '{text}'. Could not be parsed."));
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(bad());
    }
    let tokens = tokens(text).map_err(|_| bad())?;
    let (entity, key) = match tokens.first() {
        Some(Token::Name(name)) => (name.entity.clone(), name.key.clone()),
        Some(Token::Text { text, double: true }) => (None, text.clone()),
        _ => return Err(bad()),
    };
    let ascending = match &tokens[1..] {
        [] => true,
        [Token::Name(Name { entity: None, key, quoted: false })] => match key.to_ascii_lowercase().as_str() {
            "asc" => true,
            "desc" => false,
            _ => return Err(SyntaxError(format!("Invalid ordering key in order_by clause '{text}'."))),
        },
        _ => return Err(bad()),
    };
    Ok(Order { entity, key, ascending })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_and_perhaps_a_direction() {
        let order = |entity: Option<&str>, key: &str, ascending| Order {
            entity: entity.map(str::to_owned),
            key: key.into(),
            ascending,
        };
        assert_eq!(parse("metrics.f1"), Ok(order(Some("metrics"), "f1", true)));
        assert_eq!(parse("metrics.`a b` dEsC"), Ok(order(Some("metrics"), "a b", false)));
        assert_eq!(parse("start_time ASC"), Ok(order(None, "start_time", true)));
        for bad in ["", " a", "a ", "a b", "a DESC x", "a, b", "a DESC, b ASC", "1", "'a'", "a; b", "(a)"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
