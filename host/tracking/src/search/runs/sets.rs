//! Runs that a condition holds for, found from its own side: by an index, without a look at any run.

use plinth_store::Dialect;

use super::super::{
    SyntaxError,
    filter::{Literal, Op},
    sql::Query,
};
use super::{
    Scope,
    condition::{Column, Condition},
};

/// Longer values are not in the indexes by value.
pub(super) const INDEXED_CHARS: usize = 250;

/// A set of runs, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rids(Vec<u64>);

impl Rids {
    pub(super) fn insert(&mut self, rid: i64) {
        let (word, bit) = place(rid);
        if word >= self.0.len() {
            self.0.resize((word + 1).max(self.0.len() * 2), 0);
        }
        self.0[word] |= bit;
    }

    pub(super) fn contains(&self, rid: i64) -> bool {
        let (word, bit) = place(rid);
        self.0.get(word).is_some_and(|found| found & bit != 0)
    }

    /// How many of some runs it holds.
    pub(super) fn count(&self, of: &[i64]) -> usize {
        of.iter().filter(|rid| self.contains(**rid)).count()
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Keeps what is in another set, too.
    pub(super) fn keep(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    /// Takes out what is in another set.
    pub(super) fn remove(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(at, word)| (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| at as i64 * 64 + bit))
    }
}

/// The word and the bit of a run. Runs are numbered from 1, densely.
fn place(rid: i64) -> (usize, u64) {
    let rid = rid.max(0) as usize;
    (rid / 64, 1 << (rid % 64))
}

/// A query for numbers of runs.
pub(super) struct Source {
    pub(super) sql: String,
    /// Whether the condition holds for the runs that are *not* found.
    pub(super) inverted: bool,
    /// What the text in the second column has to be like, if the query leaves that open.
    pub(super) like: Option<Pattern>,
}

impl Scope {
    /// Conditions on columns of `runs r`, which its indexes start with, for the runs that a search is about.
    pub(super) fn sql(&self, query: &mut Query) -> String {
        let ids = query.bind_all(&self.experiment_ids);
        let states: Vec<String> = self.view.states().iter().map(|state| format!("'{}'", state.name())).collect();
        format!("r.experiment_id IN {ids} AND r.lifecycle IN ({})", states.join(", "))
    }

    pub(super) fn source(&self, query: &mut Query) -> String {
        format!("SELECT r.rid FROM runs r WHERE {}", self.sql(query))
    }
}

impl Condition {
    /// Finds its runs where an index holds them side by side, so that the first of them cost no more than they are.
    pub(super) fn probe(&self, query: &mut Query, scope: &Scope) -> Result<Option<String>, SyntaxError> {
        Ok(match self {
            Self::Metric { .. } | Self::MetricNan { .. } | Self::TimeMissing { .. } | Self::Time { not: false, .. } => {
                Some(self.source(query, scope)?.sql)
            }
            Self::Pair { op: Op::Eq, .. } => Some(self.source(query, scope)?.sql),
            Self::Text { column, op: Op::Eq, .. } if *column != Column::Uri => Some(self.source(query, scope)?.sql),
            Self::Text { column: Column::RunId, op: Op::In, .. } => Some(self.source(query, scope)?.sql),
            Self::Pair { op: Op::Like, value: Literal::Text(pattern), .. } if only_prefix(pattern) => {
                Some(self.source(query, scope)?.sql)
            }
            Self::Text { column, op: Op::Like, value: Literal::Text(pattern) }
                if *column != Column::Uri && only_prefix(pattern) =>
            {
                Some(self.source(query, scope)?.sql)
            }
            _ => None,
        })
    }

    /// Finds all its runs. Patterns are left to the one who reads, where that is quicker than a call for every text.
    pub(super) fn all(&self, query: &mut Query, scope: &Scope) -> Result<Source, SyntaxError> {
        let like = match self {
            Self::Pair { op, value: Literal::Text(pattern), .. }
            | Self::Text { op, value: Literal::Text(pattern), .. }
                if query.dialect == Dialect::Sqlite && !only_prefix(pattern) =>
            {
                Pattern::new(*op, pattern)
            }
            _ => None,
        };
        let sql = match self {
            Self::Pair { table, key, .. } if like.is_some() => {
                let key = query.bind(key);
                let part = |sign: &str| {
                    format!("SELECT rid, value FROM {table} WHERE key = {key} AND LENGTH(value) {sign} {INDEXED_CHARS}")
                };
                format!("{} UNION ALL {}", part("<="), part(">"))
            }
            Self::Text { column, .. } if like.is_some() && !matches!(column, Column::Uri | Column::RunId) => {
                format!("SELECT r.rid, {} FROM runs r WHERE {}", column.sql(), scope.sql(query))
            }
            _ => return self.source(query, scope),
        };
        Ok(Source { sql, inverted: false, like })
    }

    /// Finds all its runs by a query alone.
    fn source(&self, query: &mut Query, scope: &Scope) -> Result<Source, SyntaxError> {
        let found = |sql: String| Source { sql, inverted: false, like: None };
        Ok(match self {
            Self::Metric { key, tests } => {
                let mut all = vec![format!("key = {} AND is_nan = 0", query.bind(key))];
                all.extend(tests.iter().map(|(op, value)| format!("value {} {}", op.name(), query.bind(*value))));
                found(format!("SELECT rid FROM latest_metrics WHERE {}", all.join(" AND ")))
            }
            Self::MetricNot { key, value } => {
                let (key, value) = (query.bind(key), query.bind(*value));
                found(format!("SELECT rid FROM latest_metrics WHERE key = {key} AND (is_nan = 1 OR value <> {value})"))
            }
            Self::MetricNan { key } => {
                found(format!("SELECT rid FROM latest_metrics WHERE key = {} AND is_nan = 1", query.bind(key)))
            }
            Self::MetricMissing { key } => {
                let sql = format!("SELECT rid FROM latest_metrics WHERE key = {}", query.bind(key));
                Source { sql, inverted: true, like: None }
            }
            Self::Pair { table, key, op, value } => {
                let mut all = vec![format!("key = {}", query.bind(key))];
                if !matches!(op, Op::IsNull | Op::IsNotNull) {
                    all.push(compared(query, "value", *op, value)?);
                }
                let all = all.join(" AND ");
                // An index holds the short values, another knows where the long ones are.
                let part = |sign: &str| {
                    format!("SELECT rid FROM {table} WHERE {all} AND LENGTH(value) {sign} {INDEXED_CHARS}")
                };
                let sql = match (op, value) {
                    (Op::Eq, Literal::Text(text)) if text.chars().count() <= INDEXED_CHARS => part("<="),
                    (Op::Eq, _) => part(">"),
                    _ => format!("{} UNION ALL {}", part("<="), part(">")),
                };
                Source { sql, inverted: *op == Op::IsNull, like: None }
            }
            Self::Text { column: Column::RunId, op, value } => {
                found(format!("SELECT rid FROM runs WHERE {}", compared(query, "run_id", *op, value)?))
            }
            Self::Text { column: Column::Uri, .. } => {
                let (scope, test) = (scope.sql(query), self.sql(query)?);
                let from = "runs r JOIN experiments e ON e.experiment_id = r.experiment_id";
                found(format!("SELECT r.rid FROM {from} WHERE {scope} AND {test}"))
            }
            Self::Text { column, op, value } => {
                let (scope, test) = (scope.sql(query), compared(query, column.sql(), *op, value)?);
                found(format!("SELECT r.rid FROM runs r WHERE {scope} AND {test}"))
            }
            Self::Time { .. } | Self::TimeMissing { .. } => {
                let (scope, test) = (scope.sql(query), self.sql(query)?);
                found(format!("SELECT r.rid FROM runs r WHERE {scope} AND {test}"))
            }
            Self::Dataset { column, op, value } => {
                let test = query.text(column, *op, value)?;
                let from = "datasets d JOIN run_datasets u ON u.dataset_id = d.dataset_id";
                found(format!("SELECT u.rid FROM {from} WHERE {test}"))
            }
        })
    }
}

/// A pattern of `LIKE`: texts in this order, with anything between them.
pub(super) struct Pattern {
    parts: Vec<String>,
    any_case: bool,
    /// A text in small letters.
    lower: String,
}

impl Pattern {
    /// Nothing if it is no such comparison, or says of single characters that they may be any.
    pub(super) fn new(op: Op, pattern: &str) -> Option<Self> {
        let any_case = op == Op::ILike;
        if pattern.contains('_') || !(any_case || op == Op::Like) {
            return None;
        }
        // As SQLite's LOWER: letters of ASCII.
        let pattern = if any_case { pattern.to_ascii_lowercase() } else { pattern.to_owned() };
        Some(Self { parts: pattern.split('%').map(str::to_owned).collect(), any_case, lower: String::new() })
    }

    /// Whether capital letters are like small ones; then [`Pattern::longest_part`] is in small letters.
    pub(super) const fn any_case(&self) -> bool {
        self.any_case
    }

    /// What a text has to contain to be like it.
    pub(super) fn longest_part(&self) -> &str {
        self.parts.iter().max_by_key(|part| part.len()).map_or("", String::as_str)
    }

    pub(super) fn matches(&mut self, text: &str) -> bool {
        let text = if self.any_case {
            self.lower.clear();
            self.lower.push_str(text);
            self.lower.make_ascii_lowercase();
            &self.lower
        } else {
            text
        };
        let Some((first, rest)) = self.parts.split_first() else { return false };
        let Some((last, between)) = rest.split_last() else { return text == first };
        let inner = text.strip_prefix(first.as_str()).and_then(|text| text.strip_suffix(last.as_str()));
        let Some(mut left) = inner else { return false };
        between.iter().all(|part| match left.find(part.as_str()) {
            Some(at) => {
                left = &left[at + part.len()..];
                true
            }
            None => false,
        })
    }
}

/// A comparison, with the range of an index that it stays in.
fn compared(query: &mut Query, column: &str, op: Op, value: &Literal) -> Result<String, SyntaxError> {
    let test = query.text(column, op, value)?;
    let (Op::Like, Literal::Text(pattern)) = (op, value) else { return Ok(test) };
    let prefix = &pattern[..pattern.find(['%', '_']).unwrap_or(pattern.len())];
    if prefix.is_empty() {
        return Ok(test);
    }
    let mut range = format!("{test} AND {column} >= {}", query.bind(prefix));
    if let Some(end) = after_prefix(prefix) {
        range.push_str(&format!(" AND {column} < {}", query.bind(end)));
    }
    Ok(range)
}

/// Whether a pattern says how a text starts, and nothing else.
fn only_prefix(pattern: &str) -> bool {
    let rest = pattern.trim_start_matches(|c| c != '%' && c != '_');
    rest.len() < pattern.len() && matches!(rest, "" | "%")
}

/// The first text that comes after all that start so.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Over the gap of the surrogates, which are no characters.
        if let Some(next) = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let mut a = Rids::default();
        let mut b = Rids::default();
        for rid in [1, 63, 64, 1_000] {
            a.insert(rid);
        }
        for rid in [64, 5_000, 1] {
            b.insert(rid);
        }
        assert!(a.contains(63) && !a.contains(2) && !a.contains(1 << 40) && a.len() == 4);
        let mut both = a.clone();
        both.keep(&b);
        a.remove(&b);
        assert_eq!((both.iter().collect::<Vec<_>>(), a.iter().collect::<Vec<_>>()), (vec![1, 64], vec![63, 1_000]));
    }

    #[test]
    fn patterns_match_as_in_sql() {
        let matches = |op, pattern: &str, text: &str| Pattern::new(op, pattern).unwrap().matches(text);
        for (pattern, text, expected) in [
            ("%b%", "abc", true),
            ("%", "", true),
            ("", "", true),
            ("", "a", false),
            ("a%", "a", true),
            ("a%a", "a", false),
            ("a%a", "aba", true),
            ("%a%b", "xaxb", true),
            ("%b%a%", "ab", false),
            ("%aa%a%", "aa", false),
            ("A%", "a", false),
        ] {
            assert_eq!(matches(Op::Like, pattern, text), expected, "{pattern} {text}");
        }
        assert!(matches(Op::ILike, "%B%", "aBc") && matches(Op::ILike, "%b%", "aBc") && !matches(Op::ILike, "É", "é"));
        assert!(Pattern::new(Op::Like, "a_").is_none() && Pattern::new(Op::Eq, "a").is_none());
    }

    #[test]
    fn the_end_of_a_prefix_comes_after_all_that_have_it() {
        for (prefix, end) in [("ab", Some("ac")), ("a\u{d7ff}", Some("a\u{e000}")), ("a\u{10ffff}", Some("b"))] {
            assert_eq!(after_prefix(prefix).as_deref(), end);
        }
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert!(only_prefix("a%") && only_prefix("ab") && !only_prefix("%") && !only_prefix("a_%") && !only_prefix(""));
    }
}
