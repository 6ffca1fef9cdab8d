//! Pages of long answers. A token says how many rows come before the page that it asks for.

use plinth_core::codes;
use serde_json::{Value, json};

use super::args::PageArgs;
use crate::output::{Failure, Output};

/// How many rows come before the page.
pub(super) fn skip(page: &PageArgs) -> Result<u64, Failure> {
    let Some(token) = &page.page_token else { return Ok(0) };
    token.strip_prefix('p').and_then(|number| number.parse().ok()).ok_or_else(|| {
        Failure::new(codes::USAGE, format!("`{token}` is no page token"))
            .hint("copy the `next_page_token` that a call before this one ended with")
    })
}

fn token(next: u64) -> String {
    format!("p{next}")
}

/// A page as JSON.
pub(super) fn json(name: &str, items: impl IntoIterator<Item = Value>, next: Option<u64>) -> Value {
    json!({name: items.into_iter().collect::<Value>(), "next_page_token": next.map(token)})
}

/// Tells a person that there is more.
pub(super) fn more(output: Output, next: Option<u64>) {
    if let Some(next) = next {
        output.say(format!("there is more: add --page-token {}, or a larger --limit", token(next)));
    }
}

/// Tells a person that a list was cut.
pub(super) fn cut(output: Output, next: Option<u64>, search: &str) {
    if next.is_some() {
        output.say(format!("there is more: a larger --limit shows it, or page by page `{search}`"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_the_page_that_it_was_made_for() {
        let page = |token: Option<String>| skip(&PageArgs { limit: 1, page_token: token });
        assert_eq!(page(None).unwrap(), 0);
        assert_eq!(page(Some(token(40))).unwrap(), 40);
        for bad in ["", "40", "p", "p-1", "px", "p99999999999999999999999"] {
            assert!(page(Some(bad.into())).is_err(), "{bad}");
        }
    }
}
