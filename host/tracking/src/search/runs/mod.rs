//! Searches over runs.
//!
//! A filter is read into conditions ([`condition`]), an order into fields ([`rank`]). Then the runs of a page are found
//! by their numbers ([`walk`]): along the index of the order while enough of what it passes matches, or from the few
//! runs that a condition's own index names, or from the sets of all runs that each condition holds for ([`sets`]). What is
//! asked for again and again is found in memory ([`columns`]). Only what a page shows is read whole.

mod columns;
mod condition;
mod rank;
mod sets;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashSet;

use plinth_store::Tx;

pub(crate) use self::columns::Columns;
pub use self::rank::PageStart;
use self::{
    columns::{AtHand, Top},
    condition::Condition,
    rank::{Key, Rank, SortKey},
    walk::{Filter, Walker},
};
use super::{Page, filter, order};
use crate::{
    Run, Tracking, TrackingError, View,
    names::{check_length, cut},
    runs::load,
};

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct RunSearch {
    /// Experiments to look in; none finds nothing.
    pub experiment_ids: Vec<String>,
    /// MLflow's grammar; empty for everything.
    pub filter: String,
    /// Fields to sort by, first things first; then newest first.
    pub order_by: Vec<String>,
    /// Active runs, deleted ones, or both.
    pub view: View,
    /// Where the page starts.
    pub start: PageStart,
    /// Runs of the page.
    pub most: u64,
}

/// The runs that a search is about, before any condition.
struct Scope {
    experiment_ids: Vec<String>,
    view: View,
}

/// Runs that are passed over at once where a page is asked for by a number.
const SKIP_AT_ONCE: u64 = 10_000;

impl Tracking {
    /// Runs that match, with everything they logged.
    ///
    /// # Errors
    /// [`TrackingError::Invalid`] if filter or order do not read; [`TrackingError::TooLong`].
    pub fn search_runs(&self, search: &RunSearch) -> Result<Page<Run, PageStart>, TrackingError> {
        let mut items = Vec::new();
        let next = self.each_run(search, &mut |run| items.push(run))?;
        Ok(Page { items, next })
    }

    /// Shows the runs that match one by one, in order, with everything they logged; returns where the next page
    /// starts, if there is one.
    ///
    /// # Errors
    /// Those of [`Tracking::search_runs`].
    pub fn each_run(&self, search: &RunSearch, visit: &mut dyn FnMut(Run)) -> Result<Option<PageStart>, TrackingError> {
        let (conditions, keys) = self.plan(search)?;
        if let Some(id) = search.experiment_ids.iter().find(|id| id.parse::<i64>().is_err()) {
            let message = format!("Invalid experiment ID '{}'. Experiment ID must be a valid integer.", cut(id));
            return Err(TrackingError::Invalid(message));
        }
        let mut seen = HashSet::new();
        let experiment_ids: Vec<String> =
            search.experiment_ids.iter().filter(|id| seen.insert(id.as_str())).cloned().collect();
        if experiment_ids.is_empty() {
            return Ok(None);
        }
        let most = search.most.min(u64::from(self.limits.page_rows_max));
        let keys = rank::complete(keys, experiment_ids.len());
        let scope = Scope { experiment_ids, view: search.view };
        self.store.catalog().read(|tx| {
            let at_hand = self.columns.at_hand(tx, self.store.catalog(), &conditions, &keys)?;
            let filter = Filter::new(conditions);
            let mut after = search.start.ranks(&keys);
            let mut skip = if after.is_some() { 0 } else { search.start.skip };
            while skip > 0 {
                let step = skip.min(SKIP_AT_ONCE);
                let passed = first(tx, &scope, at_hand.as_ref(), &filter, &keys, after.as_deref(), step as usize)?;
                if (passed.rids.len() as u64) < step {
                    return Ok(None);
                }
                after = passed.last;
                skip -= step;
            }
            let most = most as usize;
            let page = first(tx, &scope, at_hand.as_ref(), &filter, &keys, after.as_deref(), most)?;
            load(tx, &page.rids, visit)?;
            let last = page.last.filter(|_| page.more);
            Ok(last.map(|last| PageStart::behind(search.start.skip.saturating_add(most as u64), &last, &keys)))
        })
    }

    fn plan(&self, search: &RunSearch) -> Result<(Vec<Condition>, Vec<Key>), TrackingError> {
        check_length(&search.filter, self.limits.filter_chars_max, || "filter".into())?;
        let conditions = condition::read(filter::parse(&search.filter, self.limits.filter_clauses_max)?)?;
        let mut seen = HashSet::new();
        let mut keys = Vec::new();
        for text in &search.order_by {
            let order = order::parse(text)?;
            let key = SortKey::of(&order)?;
            if !seen.insert(key.clone()) {
                return Err(TrackingError::Invalid(format!(
                    "`order_by` contains duplicate fields: {:?}",
                    search.order_by
                )));
            }
            keys.push((key, order.ascending));
        }
        Ok((conditions, keys))
    }
}

/// The first `need` runs that match and come after some place in the order: from memory, or else along the indexes.
fn first(
    tx: &mut dyn Tx,
    scope: &Scope,
    at_hand: Option<&AtHand>,
    filter: &Filter,
    keys: &[Key],
    after: Option<&[Rank]>,
    need: usize,
) -> Result<Top, TrackingError> {
    if let Some(at_hand) = at_hand
        && let Some(top) = at_hand.top(tx, scope, filter.conditions(), keys, after, need)?
    {
        // Whatever else a test looks at: both ways find the same.
        #[cfg(test)]
        assert_eq!(top, walk(tx, scope, filter, keys, after, need)?, "{filter:?} {keys:?} {after:?}");
        return Ok(top);
    }
    walk(tx, scope, filter, keys, after, need)
}

fn walk(
    tx: &mut dyn Tx,
    scope: &Scope,
    filter: &Filter,
    keys: &[Key],
    after: Option<&[Rank]>,
    need: usize,
) -> Result<Top, TrackingError> {
    let mut items = Walker::new(tx, scope).top(filter, keys, after, need + 1)?;
    let more = items.len() > need;
    items.truncate(need);
    let rids = items.iter().map(|item| item.rid).collect();
    Ok(Top { rids, last: items.pop().map(|item| item.ranks), more })
}
