//! One page of a search.

/// A page of what was found, and how to get the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, N = u64> {
    /// What was found, in order.
    pub items: Vec<T>,
    /// Where the next page starts, such as how many come before it; nothing if this is the last.
    pub next: Option<N>,
}

impl<T> Page<T> {
    /// Of rows of which one more than wanted was asked for.
    pub(super) fn cut(mut items: Vec<T>, skip: u64, most: u64) -> Self {
        let more = items.len() as u64 > most;
        items.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        Self { items, next: more.then(|| skip + most) }
    }
}
