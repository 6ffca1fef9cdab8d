//! Filters as conditions that are all to hold. What a name may be and what it compares with is the business of whoever
//! searches; this is only what the text says.

use super::{
    SyntaxError,
    lexer::{Name, Token, short, tokens},
};

/// How a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Like,
    ILike,
    /// Contains what a regular expression finds.
    RLike,
    In,
    NotIn,
    IsNull,
    IsNotNull,
}

impl Op {
    /// As it is written.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Like => "LIKE",
            Self::ILike => "ILIKE",
            Self::RLike => "RLIKE",
            Self::In => "IN",
            Self::NotIn => "NOT IN",
            Self::IsNull => "IS NULL",
            Self::IsNotNull => "IS NOT NULL",
        }
    }

    pub(crate) const NUMERIC: &[Self] = &[Self::Eq, Self::Ne, Self::Lt, Self::Le, Self::Gt, Self::Ge];
    pub(crate) const TEXT: &[Self] = &[Self::Eq, Self::Ne, Self::Like, Self::ILike];
    pub(crate) const TEXT_OR_NULL: &[Self] =
        &[Self::Eq, Self::Ne, Self::Like, Self::ILike, Self::IsNull, Self::IsNotNull];
    pub(crate) const TRACE_TEXT: &[Self] =
        &[Self::Eq, Self::Ne, Self::In, Self::NotIn, Self::Like, Self::ILike, Self::RLike];
    pub(crate) const TRACE_PAIR: &[Self] =
        &[Self::Eq, Self::Ne, Self::Like, Self::ILike, Self::RLike, Self::IsNull, Self::IsNotNull];
    pub(crate) const ASSESSMENT: &[Self] = &[
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::Like,
        Self::ILike,
        Self::RLike,
        Self::IsNull,
        Self::IsNotNull,
    ];
    pub(crate) const TEXT_OR_LIST: &[Self] = &[Self::Eq, Self::Ne, Self::Like, Self::ILike, Self::In, Self::NotIn];
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    /// As it was written.
    Number(String),
    Text(String),
    /// At least one.
    List(Vec<String>),
    /// With `IS NULL`.
    Nothing,
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Clause {
    /// What stands before the dot, such as `metrics`.
    pub(crate) entity: Option<String>,
    pub(crate) key: String,
    pub(crate) op: Op,
    pub(crate) value: Literal,
}

/// Reads a filter.
pub(crate) fn parse(text: &str, clauses_max: u32) -> Result<Vec<Clause>, SyntaxError> {
    if !text.is_empty() && text.trim().is_empty() {
        return Err(SyntaxError(format!("Invalid filter '{}'. Could not be parsed.", short(text))));
    }
    let tokens = tokens(text)?;
    let mut reader = Reader { tokens: &tokens, at: 0 };
    let mut clauses = Vec::new();
    while reader.at < tokens.len() {
        // One AND too many is forgiven, and one too few.
        if reader.keyword("AND") {
            continue;
        }
        if clauses.len() >= clauses_max as usize {
            return Err(SyntaxError(format!("the filter has more than {clauses_max} conditions")));
        }
        clauses.push(reader.clause()?);
    }
    Ok(clauses)
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Reader<'_> {
    fn keyword(&mut self, word: &str) -> bool {
        let found = match self.tokens.get(self.at) {
            Some(Token::Name(Name { entity: None, key, quoted: false })) => key.eq_ignore_ascii_case(word),
            _ => false,
        };
        self.at += usize::from(found);
        found
    }

    fn clause(&mut self) -> Result<Clause, SyntaxError> {
        let (entity, key) = match self.tokens.get(self.at) {
            Some(Token::Name(name)) => (name.entity.clone(), name.key.clone()),
            Some(Token::Text { text, double: true }) => (None, text.clone()),
            _ => return Err(SyntaxError(format!("Invalid clause(s) in filter string: '{}'", self.shown()))),
        };
        self.at += 1;
        let op = self.op()?;
        let value = match op {
            Op::IsNull | Op::IsNotNull => Literal::Nothing,
            Op::In | Op::NotIn => self.list()?,
            _ => self.value()?,
        };
        Ok(Clause { entity, key, op, value })
    }

    fn op(&mut self) -> Result<Op, SyntaxError> {
        if let Some(Token::Comparison(comparison)) = self.tokens.get(self.at) {
            self.at += 1;
            return Ok(match *comparison {
                "=" => Op::Eq,
                "!=" => Op::Ne,
                "<" => Op::Lt,
                "<=" => Op::Le,
                ">" => Op::Gt,
                _ => Op::Ge,
            });
        }
        if self.keyword("LIKE") {
            return Ok(Op::Like);
        }
        if self.keyword("ILIKE") {
            return Ok(Op::ILike);
        }
        if self.keyword("RLIKE") {
            return Ok(Op::RLike);
        }
        if self.keyword("IN") {
            return Ok(Op::In);
        }
        if self.keyword("NOT") {
            return if self.keyword("IN") { Ok(Op::NotIn) } else { Err(self.invalid_comparison()) };
        }
        if self.keyword("IS") {
            let not = self.keyword("NOT");
            return match (self.keyword("NULL"), not) {
                (true, true) => Ok(Op::IsNotNull),
                (true, false) => Ok(Op::IsNull),
                (false, _) => Err(self.invalid_comparison()),
            };
        }
        Err(self.invalid_comparison())
    }

    fn value(&mut self) -> Result<Literal, SyntaxError> {
        let value = match self.tokens.get(self.at) {
            Some(Token::Number(number)) => Literal::Number(number.clone()),
            Some(Token::Text { text, .. }) => Literal::Text(text.clone()),
            Some(Token::Name(name)) => {
                return Err(SyntaxError(format!(
                    "Parameter value is either not quoted or unidentified quote types used for string value {}. Use \
                     either single or double quotes.",
                    short(&name.key)
                )));
            }
            _ => return Err(self.invalid_comparison()),
        };
        self.at += 1;
        Ok(value)
    }

    fn list(&mut self) -> Result<Literal, SyntaxError> {
        let ill_formed = || {
            SyntaxError(
                "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed \
                 list."
                    .into(),
            )
        };
        if self.tokens.get(self.at) != Some(&Token::Mark('(')) {
            return Err(self.invalid_comparison());
        }
        self.at += 1;
        let mut list = Vec::new();
        loop {
            match self.tokens.get(self.at) {
                Some(Token::Text { text, .. }) => {
                    let mut item = text.clone();
                    // Texts side by side are one.
                    while let Some(Token::Text { text, .. }) = self.tokens.get(self.at + 1) {
                        item.push_str(text);
                        self.at += 1;
                    }
                    list.push(item);
                }
                Some(Token::Mark(')')) if !list.is_empty() => break,
                Some(Token::Number(_)) => {
                    return Err(SyntaxError(
                        "While parsing a list in the query, expected string value, punctuation, or whitespace, but got \
                         different type in list"
                            .into(),
                    ));
                }
                _ => return Err(ill_formed()),
            }
            self.at += 1;
            match self.tokens.get(self.at) {
                Some(Token::Mark(',')) => self.at += 1,
                Some(Token::Mark(')')) => break,
                _ => return Err(ill_formed()),
            }
        }
        self.at += 1;
        Ok(Literal::List(list))
    }

    fn invalid_comparison(&self) -> SyntaxError {
        SyntaxError(format!("Invalid comparison clause near '{}'", self.shown()))
    }

    /// What stands at the place that could not be read.
    fn shown(&self) -> String {
        match self.tokens.get(self.at) {
            None => "the end".to_owned(),
            Some(Token::Name(name)) => short(&name.key),
            Some(Token::Text { text, .. } | Token::Number(text)) => short(text),
            Some(Token::Comparison(comparison)) => (*comparison).to_owned(),
            Some(Token::Mark(mark)) => mark.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clause(entity: Option<&str>, key: &str, op: Op, value: Literal) -> Clause {
        Clause { entity: entity.map(str::to_owned), key: key.to_owned(), op, value }
    }

    #[test]
    fn filters_are_read_as_mlflow_reads_them() {
        let text = |text: &str| Literal::Text(text.into());
        let number = |text: &str| Literal::Number(text.into());
        let cases = [
            ("metrics.f1 > 0.5", vec![clause(Some("metrics"), "f1", Op::Gt, number("0.5"))]),
            ("metrics.`a b`>=-.5e-1", vec![clause(Some("metrics"), "a b", Op::Ge, number("-.5e-1"))]),
            ("tags.\"x.y\" = \"it's\"", vec![clause(Some("tags"), "x.y", Op::Eq, text("it's"))]),
            ("params.a.b.c LIKE '%\\_'", vec![clause(Some("params"), "a.b.c", Op::Like, text("%\\_"))]),
            ("\"run name\" ilike 'x'", vec![clause(None, "run name", Op::ILike, text("x"))]),
            (
                "run_id not in ('a', \"b\",)",
                vec![clause(None, "run_id", Op::NotIn, Literal::List(vec!["a".into(), "b".into()]))],
            ),
            ("tags.k is not null", vec![clause(Some("tags"), "k", Op::IsNotNull, Literal::Nothing)]),
            (
                "AND status = 'A' and AND start_time < 5 AND",
                vec![clause(None, "status", Op::Eq, text("A")), clause(None, "start_time", Op::Lt, number("5"))],
            ),
            ("", vec![]),
            (
                "a = 'it''s' b = 'it\\'s' c = 'x\\'",
                vec![
                    clause(None, "a", Op::Eq, text("it''s")),
                    clause(None, "b", Op::Eq, text("it\\'s")),
                    clause(None, "c", Op::Eq, text("x\\")),
                ],
            ),
            ("a in ('x' 'y')", vec![clause(None, "a", Op::In, Literal::List(vec!["xy".into()]))]),
        ];
        for (filter, expected) in cases {
            assert_eq!(parse(filter, 10).unwrap(), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for filter in [
            "metrics.f1 == 1",
            "metrics.f1 <> 1",
            "a = 1 OR b = 2",
            "(a = 1)",
            "a = 1; b = 2",
            "a = 1 -- c",
            "a",
            "a =",
            "= 1",
            "'a' = 1",
            "a = +1",
            "a = 1/2",
            "a = b",
            "a = 'x",
            "a in ()",
            "a in (1)",
            "a in 'x'",
            "a not like 'x'",
            "a is 1",
            "  ",
            "params.1 = 'x'",
            "a BETWEEN 1 AND 2",
            "NOT a = 1",
        ] {
            assert!(parse(filter, 10).is_err(), "{filter}");
        }
        assert!(parse("a=1 AND b=2 AND c=3", 2).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = parse(&text, 100);
        }

        #[test]
        fn no_row_of_pieces_makes_it_panic(pieces in proptest::collection::vec(
            proptest::sample::select(vec!["a", ".", "'", "\"", "`", "=", "!=", "<", "(", ")", ",", "1", "-", "AND", "IN", "NOT", "IS", "NULL", " ", "ä"]), 0..30)
        ) {
            let _ = parse(&pieces.concat(), 100);
        }

        #[test]
        fn what_is_written_is_read(key in "[a-z][a-z_.0-9]{0,8}[a-z]", value in "[^']{0,20}") {
            prop_assume!(!key.contains(".."));
            let read = parse(&format!("tags.`{key}` = '{value}'"), 10).unwrap();
            prop_assert_eq!(read, vec![clause(Some("tags"), &key, Op::Eq, Literal::Text(value))]);
        }
    }
}
