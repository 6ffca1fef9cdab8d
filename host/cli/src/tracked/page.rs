//! Pages of long answers. A token says how many rows come before the page that it asks for; one for runs also which run
//! the page comes after.

use plinth_core::codes;
use plinth_tracking::PageStart;
use serde_json::{Value, json};

use super::args::PageArgs;
use crate::output::{Failure, Output};

/// How many rows come before the page.
pub(super) fn skip(page: &PageArgs) -> Result<u64, Failure> {
    Ok(start(page)?.skip)
}

/// Where the page starts.
pub(super) fn start(page: &PageArgs) -> Result<PageStart, Failure> {
    let Some(token) = &page.page_token else { return Ok(PageStart::default()) };
    let read = || match token.strip_prefix('p')? {
        at if at.starts_with("7b") => serde_json::from_slice(&unhex(at)?).ok(),
        skip => Some(PageStart { skip: skip.parse().ok()?, ..PageStart::default() }),
    };
    read().ok_or_else(|| {
        Failure::new(codes::USAGE, format!("`{token}` is no page token"))
            .hint("copy the `next_page_token` that a call before this one ended with")
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Where a next page may start.
pub(super) trait Next {
    /// The token that leads there.
    fn token(&self) -> String;
}

impl Next for u64 {
    fn token(&self) -> String {
        format!("p{self}")
    }
}

impl Next for &PageStart {
    /// One that holds while runs come and go names the run before: JSON, so written that a shell leaves it alone.
    fn token(&self) -> String {
        let json = json!(self).to_string();
        json.bytes().fold("p".to_owned(), |token, byte| format!("{token}{byte:02x}"))
    }
}

/// A page as JSON.
pub(super) fn json(name: &str, items: impl IntoIterator<Item = Value>, next: Option<impl Next>) -> Value {
    let token = next.map(|next| next.token());
    json!({name: items.into_iter().collect::<Value>(), "next_page_token": token})
}

/// Tells a person that there is more.
pub(super) fn more(output: Output, next: Option<impl Next>) {
    if let Some(next) = next {
        output.say(format!("there is more: add --page-token {}, or a larger --limit", next.token()));
    }
}

/// Tells a person that a list was cut.
pub(super) fn cut(output: Output, more: bool, search: &str) {
    if more {
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
        assert_eq!(page(Some(40.token())).unwrap(), 40);
        let place = PageStart { skip: 7, ..PageStart::default() };
        assert_eq!(page(Some((&place).token())).unwrap(), 7);
        for bad in ["", "40", "p", "p-1", "px", "p7b", "p7b7d", "p99999999999999999999999"] {
            assert!(page(Some(bad.into())).is_err(), "{bad}");
        }
    }
}
