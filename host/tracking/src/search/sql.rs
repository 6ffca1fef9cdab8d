//! Queries in the making: text and parameters that grow together.

use plinth_store::{Dialect, Value};

use super::{
    SyntaxError,
    filter::{Clause, Literal, Op},
};

/// Parameters of a query; their number is their place.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) dialect: Dialect,
    pub(super) parameters: Vec<Value>,
}

impl Query {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, parameters: Vec::new() }
    }

    /// Adds a parameter; returns its placeholder.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.parameters.push(value.into());
        format!("${}", self.parameters.len())
    }

    /// `(a, b, …)` of placeholders.
    pub(super) fn bind_all<'a>(&mut self, values: impl IntoIterator<Item = &'a String>) -> String {
        let mut list: Vec<String> = values.into_iter().map(|value| self.bind(value)).collect();
        if list.is_empty() {
            // Nothing is in it, in every dialect.
            list.push("NULL".to_owned());
        }
        format!("({})", list.join(", "))
    }

    /// A column that is looked at, but by whose indexes nothing is to be found.
    pub(super) fn unindexed(&self, column: &str) -> String {
        match self.dialect {
            Dialect::Sqlite => format!("+{column}"),
            Dialect::Postgres => column.to_owned(),
        }
    }

    /// A condition on a column of text.
    pub(super) fn text(&mut self, column: &str, op: Op, value: &Literal) -> Result<String, SyntaxError> {
        match (op, value) {
            (Op::Eq | Op::Ne, Literal::Text(text)) => {
                let sign = if op == Op::Eq { "=" } else { "<>" };
                Ok(format!("{column} {sign} {}", self.bind(text)))
            }
            (Op::Like, Literal::Text(pattern)) => {
                let pattern = self.bind(pattern);
                Ok(match self.dialect {
                    // Connections are set to tell cases apart, and nothing escapes.
                    Dialect::Sqlite => format!("{column} LIKE {pattern}"),
                    Dialect::Postgres => format!("{column} LIKE {pattern} ESCAPE ''"),
                })
            }
            (Op::ILike, Literal::Text(pattern)) => {
                let pattern = self.bind(pattern);
                Ok(match self.dialect {
                    Dialect::Sqlite => format!("LOWER({column}) LIKE LOWER({pattern})"),
                    Dialect::Postgres => format!("{column} ILIKE {pattern} ESCAPE ''"),
                })
            }
            (Op::RLike, Literal::Text(pattern)) => {
                if regex_lite::Regex::new(pattern).is_err() {
                    return Err(SyntaxError(format!("'{}' is not a regular expression", super::lexer::short(pattern))));
                }
                Ok(match self.dialect {
                    Dialect::Sqlite => format!("{column} REGEXP {}", self.bind(pattern)),
                    Dialect::Postgres => format!("{column} ~ {}", self.bind(super::pattern::for_postgres(pattern))),
                })
            }
            (Op::In | Op::NotIn, Literal::List(list)) => {
                let not = if op == Op::In { "" } else { "NOT " };
                Ok(format!("{column} {not}IN {}", self.bind_all(list)))
            }
            (_, Literal::Number(number)) => {
                Err(SyntaxError(format!("Expected a quoted string value (e.g. 'my-value'). Got value {number}")))
            }
            (op, _) => Err(SyntaxError(format!("Invalid comparator '{}'", op.name()))),
        }
    }

    /// A condition on an expression of whole numbers.
    pub(super) fn number(&mut self, column: &str, clause: &Clause) -> Result<String, SyntaxError> {
        let Literal::Number(text) = &clause.value else {
            return Err(SyntaxError(format!("Expected numeric value type for numeric attribute: {}.", clause.key)));
        };
        let value = match text.parse::<i64>() {
            Ok(int) => Value::Int(int),
            Err(_) => Value::Real(real(text)?),
        };
        let sign = if clause.op == Op::Ne { "<>" } else { clause.op.name() };
        Ok(format!("{column} {sign} {}", self.bind(value)))
    }
}

/// A number as it was written.
pub(super) fn real(text: &str) -> Result<f64, SyntaxError> {
    text.parse().map_err(|_| SyntaxError(format!("'{text}' is not a number")))
}

/// Refuses a comparison that a kind of field does not know.
pub(super) fn allowed(op: Op, known: &[Op]) -> Result<(), SyntaxError> {
    if known.contains(&op) {
        return Ok(());
    }
    let names: Vec<String> = known.iter().map(|op| format!("'{}'", op.name())).collect();
    Err(SyntaxError(format!("Invalid comparator '{}' not one of {{{}}}", op.name(), names.join(", "))))
}
