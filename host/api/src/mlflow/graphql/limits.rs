//! How large a query may be: MLflow's limits, and one on nesting that holds before the text is parsed.

use std::collections::{HashMap, HashSet};

use async_graphql_parser::{
    Positioned,
    types::{ExecutableDocument, Field, FragmentDefinition, Selection, SelectionSet},
};
use async_graphql_value::Name;

type Fragments = HashMap<Name, Positioned<FragmentDefinition>>;

/// Levels of fields.
const DEPTH_MAX: usize = 10;
/// Fields of all levels together.
const SELECTIONS_MAX: usize = 1_000;
/// Fields of the roots.
const ROOT_FIELDS_MAX: usize = 10;
/// Aliases of one level.
const ALIASES_MAX: usize = 10;
/// Brackets within brackets. The parser calls itself for each, so this is checked before it runs.
const NESTING_MAX: usize = 64;

/// Whether a text nests so deeply that it may not be given to the parser.
pub(super) fn nests_too_deeply(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' | b'(' => {
                depth += 1;
                if depth > NESTING_MAX {
                    return true;
                }
            }
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            b'#' => at += bytes[at..].iter().take_while(|byte| !matches!(byte, b'\n' | b'\r')).count(),
            b'"' if bytes[at..].starts_with(b"\"\"\"") => at = block_string(bytes, at + 3),
            b'"' => at = string(bytes, at + 1),
            _ => {}
        }
        at += 1;
    }
    false
}

/// The last byte of a string that began before `at`.
fn string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' | b'\n' | b'\r' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

fn block_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        if bytes[at..].starts_with(b"\\\"\"\"") {
            at += 4;
        } else if bytes[at..].starts_with(b"\"\"\"") {
            return at + 2;
        } else {
            at += 1;
        }
    }
    at
}

/// Refuses, with MLflow's words, a document that asks for too much at once.
pub(super) fn check(document: &ExecutableDocument) -> Result<(), String> {
    let (mut roots, mut aliases, mut total) = (0, 0, 0);
    for (_, operation) in document.operations.iter() {
        let mut left = vec![(&operation.node.selection_set.node, 1)];
        while let Some((set, depth)) = left.pop() {
            if depth > DEPTH_MAX {
                return Err(too_deep());
            }
            let fields = fields(set, &document.fragments);
            aliases = aliases.max(fields.iter().filter(|field| field.alias.is_some()).count());
            total += fields.len();
            if total > SELECTIONS_MAX {
                return Err(format!("Query exceeds maximum total selections of {SELECTIONS_MAX}"));
            }
            if depth == 1 {
                roots += fields.len();
            }
            let deeper = fields.iter().map(|field| &field.selection_set.node).filter(|set| !set.items.is_empty());
            left.extend(deeper.map(|set| (set, depth + 1)));
        }
    }
    let over = |most: usize, what: &str, found: usize, variable: &str| {
        format!(
            "GraphQL queries should have at most {most} {what}, got {found} {what}. To increase the limit, set the \
             {variable} environment variable."
        )
    };
    if roots > ROOT_FIELDS_MAX {
        return Err(over(ROOT_FIELDS_MAX, "root fields", roots, "MLFLOW_SERVER_GRAPHQL_MAX_ROOT_FIELDS"));
    }
    if aliases > ALIASES_MAX {
        return Err(over(ALIASES_MAX, "aliases", aliases, "MLFLOW_SERVER_GRAPHQL_MAX_ALIASES"));
    }
    Ok(())
}

pub(super) fn too_deep() -> String {
    format!("Query exceeds maximum depth of {DEPTH_MAX}")
}

/// The fields of one level, those in fragments among them; each fragment once.
fn fields<'a>(set: &'a SelectionSet, fragments: &'a Fragments) -> Vec<&'a Field> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    let mut left: Vec<&Selection> = set.items.iter().map(|item| &item.node).collect();
    while let Some(selection) = left.pop() {
        let inner = match selection {
            Selection::Field(field) => {
                found.push(&field.node);
                continue;
            }
            Selection::InlineFragment(fragment) => &fragment.node.selection_set.node,
            Selection::FragmentSpread(spread) => {
                let name = &spread.node.fragment_name.node;
                match fragments.get(name).filter(|_| seen.insert(name)) {
                    Some(fragment) => &fragment.node.selection_set.node,
                    None => continue,
                }
            }
        };
        left.extend(inner.items.iter().map(|item| &item.node));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        check(&async_graphql_parser::parse_query(text).unwrap()).unwrap_err()
    }

    #[test]
    fn what_asks_for_too_much_is_refused_with_mlflows_words() {
        let aliased = |count: usize| (0..count).map(|at| format!("a{at}: x ")).collect::<String>();
        assert!(check(&async_graphql_parser::parse_query(format!("{{{}}}", aliased(10))).unwrap()).is_ok());
        assert!(refused(&format!("{{{}}}", aliased(11))).starts_with(
            "GraphQL queries should have at most 10 root fields, got 11 root fields. To increase the limit"
        ));
        // Spread over fragments and operations, it is no less.
        let split = format!("query A {{x {{...F ... on T {{{}}}}}}} fragment F on T {{{}}}", aliased(6), aliased(5));
        assert!(refused(&split).starts_with("GraphQL queries should have at most 10 aliases, got 11 aliases."));
        let nested = |levels: usize| "{a".repeat(levels) + &"}".repeat(levels);
        assert!(check(&async_graphql_parser::parse_query(nested(10)).unwrap()).is_ok());
        assert_eq!(refused(&nested(11)), "Query exceeds maximum depth of 10");
        // A fragment that spreads itself below a field is no deeper than that.
        assert_eq!(refused("{...F} fragment F on T {a {...F}}"), "Query exceeds maximum depth of 10");
        let wide = "x ".repeat(300);
        assert_eq!(
            refused(&format!("{{a{{b{{{wide}}} c{{{wide}}} d{{{wide}}} e{{{wide}}}}}}}")),
            "Query exceeds maximum total selections of 1000"
        );
    }

    #[test]
    fn nesting_is_counted_as_the_parser_sees_it() {
        assert!(!nests_too_deeply(&"{a}".repeat(1_000)));
        assert!(nests_too_deeply(&"{a".repeat(65)) && nests_too_deeply(&format!("{{a(b: {}", "[".repeat(63))));
        // Brackets that close nothing do not hide what nests.
        for hiding in ["{a(b: \"}\\\"}\") ", "{a(b: \"\"\"} \\\"\"\" \" }\"\"\") ", "{a # }}\n "] {
            assert!(nests_too_deeply(&hiding.repeat(65)), "{hiding}");
        }
        assert!(!nests_too_deeply(&format!("{{a(b: \"{}\")}} # {}", "{".repeat(100), "[".repeat(100))));
    }
}
