//! Text into statements, within bounds: what is nested too deep is refused before anything walks down it.

use datafusion::{
    common::DataFusionError,
    sql::{
        parser::DFParserBuilder,
        sqlparser::{
            dialect::GenericDialect,
            keywords::Keyword,
            parser::ParserError,
            tokenizer::{Token, TokenWithSpan, Tokenizer, Word},
        },
    },
};
use plinth_core::{SqlLimits, codes};

use crate::{SqlError, error::line};

/// One statement.
#[derive(Debug, Clone)]
pub struct Statement(pub(crate) datafusion::sql::parser::Statement);

/// The alias that stands for `.*` behind a call, which the parser does not know: see [`expand_stars`].
pub(crate) const STAR: &str = "\u{1}*";

/// Reads the statements of a text; they are separated by semicolons.
///
/// # Errors
/// [`SqlError`]: says what was expected and where, or which limit the text is beyond.
pub fn parse(text: &str, limits: &SqlLimits) -> Result<Vec<Statement>, SqlError> {
    if text.len() as u64 > limits.text_bytes_max {
        let message = format!("the text has {} bytes, more than the limit of {}", text.len(), limits.text_bytes_max);
        return Err(SqlError::new(codes::LIMIT_EXCEEDED, message)
            .with_hint("put long lists of values into a file and join with it, or raise limits.sql.text-bytes-max"));
    }
    let dialect = GenericDialect {};
    let mut tokens = Vec::new();
    Tokenizer::new(&dialect, text).tokenize_with_location_into_buf(&mut tokens).map_err(|error| {
        SqlError::bad(format!("{} at line {}, column {}", error.message, error.location.line, error.location.column))
    })?;
    bounded(&tokens, limits)?;
    let tokens = expand_stars(tokens);
    let parsed = DFParserBuilder::new(tokens)
        .with_dialect(&dialect)
        .with_recursion_limit(limits.nesting_max as usize)
        .build()
        .and_then(|mut parser| parser.parse_statements());
    match parsed {
        Ok(statements) => Ok(statements.into_iter().map(Statement).collect()),
        Err(error) => Err(refused(&error, text, limits)),
    }
}

/// Terms that stand side by side (`a + b + c`, `x or y or z`) become a tree as deep as there are terms; commas do not.
/// A chain of `not` is nested as deep as it is long, and where the parser meets its bound within one, it says that the
/// statement ends there: such a chain may have half of the bound, which leaves the rest for what is around it.
fn bounded(tokens: &[TokenWithSpan], limits: &SqlLimits) -> Result<(), SqlError> {
    let (mut run, mut longest) = (0_u64, 0_u64);
    let mut nots = 0_u32;
    for token in tokens {
        match &token.token {
            Token::Word(word) if word.keyword == Keyword::NOT => nots += 1,
            Token::Whitespace(_) => {}
            _ => nots = 0,
        }
        if nots > limits.nesting_max / 2 {
            return Err(too_deep(limits));
        }
        match token.token {
            Token::Comma | Token::SemiColon => run = 0,
            Token::Whitespace(_) => {}
            _ => run += 1,
        }
        longest = longest.max(run);
    }
    if longest > limits.terms_max {
        let message =
            format!("{longest} words stand side by side without a comma, more than the limit of {}", limits.terms_max);
        return Err(SqlError::new(codes::LIMIT_EXCEEDED, message)
            .with_hint("write long conditions as x in (…), or raise limits.sql.terms-max in plinth.toml"));
    }
    Ok(())
}

/// `f(x).*` becomes `f(x) AS "STAR"`, which `rewrite` makes columns of.
fn expand_stars(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let after_call = out.last().is_some_and(|last| last.token == Token::RParen);
        let star = tokens.peek().is_some_and(|next| next.token == Token::Mul);
        if token.token == Token::Period && after_call && star {
            tokens.next();
            let word = |value: &str, quote| Word {
                value: value.to_owned(),
                quote_style: quote,
                keyword: match quote {
                    Some(_) => Keyword::NoKeyword,
                    None => Keyword::AS,
                },
            };
            out.push(TokenWithSpan { token: Token::Word(word("AS", None)), span: token.span });
            out.push(TokenWithSpan { token: Token::Word(word(STAR, Some('"'))), span: token.span });
        } else {
            out.push(token);
        }
    }
    out
}

/// What the parser said, with the line that it stumbled over.
fn refused(error: &DataFusionError, text: &str, limits: &SqlLimits) -> SqlError {
    let parser = match error {
        DataFusionError::SQL(parser, _) => &**parser,
        DataFusionError::Diagnostic(_, inner) => return refused(inner, text, limits),
        other => return SqlError::bad(line(&other.strip_backtrace())),
    };
    let said = match parser {
        ParserError::RecursionLimitExceeded => return too_deep(limits),
        ParserError::TokenizerError(said) | ParserError::ParserError(said) => line(said),
    };
    let near = place(&said).and_then(|(row, column)| {
        let line = text.lines().nth(row.checked_sub(1)?)?;
        let rest: String = line.chars().skip(column.saturating_sub(1)).take(40).collect();
        (!rest.trim().is_empty()).then(|| format!(", near `{}`", rest.trim()))
    });
    let said = said.replace(" at Line: ", " at line ").replace(", Column: ", ", column ");
    let said = said.replacen("Expected:", "expected", 1).replacen(", found:", ", found", 1);
    SqlError::bad(format!("{said}{}", near.unwrap_or_default()))
}

fn too_deep(limits: &SqlLimits) -> SqlError {
    let message = format!("the statement is nested deeper than the limit of {}", limits.nesting_max);
    SqlError::new(codes::LIMIT_EXCEEDED, message)
        .with_hint("name its parts in a with clause, or raise limits.sql.nesting-max in plinth.toml")
}

/// The line and column that a message of the parser names.
fn place(said: &str) -> Option<(usize, usize)> {
    let (_, rest) = said.rsplit_once("Line: ")?;
    let (row, column) = rest.split_once(", Column: ")?;
    let digits = column.bytes().take_while(u8::is_ascii_digit).count();
    Some((row.parse().ok()?, column[..digits].parse().ok()?))
}
