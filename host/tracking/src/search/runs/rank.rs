//! How runs are sorted: by fields, each with a direction, and where a run stands by each of them.

use std::cmp::Ordering;

use plinth_core::ContentHash;
use plinth_store::{Cell, StoreError};
use serde::{Deserialize, Serialize};

use super::super::{SyntaxError, order::Order};
use super::condition::{Column, Entity, TEXTS, unknown_attribute};

/// A field to sort by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum SortKey {
    Metric(String),
    /// Of `params` or `run_tags`.
    Pair(&'static str, String),
    Column(Column),
}

/// A field, and whether small values come first.
pub(super) type Key = (SortKey, bool);

impl SortKey {
    pub(super) fn of(order: &Order) -> Result<Self, SyntaxError> {
        match Entity::of(order.entity.as_deref())? {
            Entity::Metric => Ok(Self::Metric(order.key.clone())),
            Entity::Param => Ok(Self::Pair("params", order.key.clone())),
            Entity::Tag => Ok(Self::Pair("run_tags", order.key.clone())),
            Entity::Attribute => Ok(Self::Column(match order.key.as_str() {
                "start_time" | "created" | "Created" => Column::Start,
                "end_time" => Column::End,
                key => TEXTS.iter().find(|(name, _)| *name == key).ok_or_else(|| unknown_attribute(&order.key))?.1,
            })),
            Entity::Dataset => Err(SyntaxError(format!("Invalid identifier type '{}'", order.key))),
        }
    }
}

/// The whole order: what was asked for, then the newest first, then by id. What comes after an id decides nothing.
pub(super) fn complete(mut keys: Vec<Key>, experiments: usize) -> Vec<Key> {
    for (key, _) in &mut keys {
        // Within one experiment, artifacts lie side by side, each run's by its id.
        if experiments == 1 && *key == SortKey::Column(Column::Uri) {
            *key = SortKey::Column(Column::RunId);
        }
    }
    for (column, ascending) in [(Column::Start, false), (Column::RunId, true)] {
        if !keys.iter().any(|(key, _)| *key == SortKey::Column(column)) {
            keys.push((SortKey::Column(column), ascending));
        }
    }
    if let Some(at) = keys.iter().position(|(key, _)| *key == SortKey::Column(Column::RunId)) {
        keys.truncate(at + 1);
    }
    keys
}

/// Where a run stands by one field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rank {
    Int(i64),
    Real(f64),
    Text(String),
    /// After every number, whatever the direction.
    Nan,
    /// After everything, whatever the direction.
    Missing,
}

impl Rank {
    /// What a column holds.
    pub(super) fn of(cell: Cell<'_>) -> Result<Self, StoreError> {
        Ok(match cell {
            Cell::Int(int) => Self::Int(int),
            Cell::Real(real) => Self::Real(real),
            Cell::Text(text) => Self::Text(text.to_owned()),
            Cell::Null | Cell::Bytes(_) => Self::Missing,
        })
    }

    pub(super) fn compare(&self, other: &Self, ascending: bool) -> Ordering {
        let found = match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Real(a), Self::Real(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => return self.class().cmp(&other.class()),
        };
        if ascending { found } else { found.reverse() }
    }

    const fn class(&self) -> u8 {
        match self {
            Self::Nan => 1,
            Self::Missing => 2,
            _ => 0,
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Int(int) => format!("i{int}"),
            // Every bit of it: JSON has no infinities.
            Self::Real(real) => format!("r{:x}", real.to_bits()),
            Self::Text(text) => format!("t{text}"),
            Self::Nan => "n".to_owned(),
            Self::Missing => "m".to_owned(),
        }
    }

    /// What was written, if it can be a rank of this field.
    fn read(text: &str, key: &SortKey) -> Option<Self> {
        let (kind, rest) = text.split_at_checked(1)?;
        let time = matches!(key, SortKey::Column(Column::Start | Column::End));
        match (kind, key) {
            ("i", _) if time => rest.parse().ok().map(Self::Int),
            ("r", SortKey::Metric(_)) => {
                let real = f64::from_bits(u64::from_str_radix(rest, 16).ok()?);
                (!real.is_nan()).then_some(Self::Real(real))
            }
            ("t", SortKey::Pair(..)) => Some(Self::Text(rest.to_owned())),
            ("t", SortKey::Column(_)) if !time => Some(Self::Text(rest.to_owned())),
            ("n", SortKey::Metric(_)) if rest.is_empty() => Some(Self::Nan),
            ("m", SortKey::Metric(_) | SortKey::Pair(..) | SortKey::Column(Column::End)) if rest.is_empty() => {
                Some(Self::Missing)
            }
            _ => None,
        }
    }
}

/// A run among others: its number, and where it stands by each field.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) rid: i64,
    pub(super) ranks: Vec<Rank>,
}

/// How two runs follow each other.
pub(super) fn compare(a: &[Rank], b: &[Rank], keys: &[Key]) -> Ordering {
    let pairs = a.iter().zip(b).zip(keys);
    pairs.map(|((a, b), (_, ascending))| a.compare(b, *ascending)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

/// Where a page of runs starts: behind a run, wherever that stands by now, so that runs that come or go meanwhile
/// neither repeat nor hide others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageStart {
    /// How many runs come before the page; counts if `after` does not read.
    #[serde(rename = "offset")]
    pub skip: u64,
    /// The order it is about, and where in it the run before the page stands. Not to be read by others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
}

impl PageStart {
    pub(super) fn behind(skip: u64, ranks: &[Rank], keys: &[Key]) -> Self {
        Self { skip, after: std::iter::once(name(keys)).chain(ranks.iter().map(Rank::write)).collect() }
    }

    /// The ranks of the run before the page, if this was made for the same order.
    pub(super) fn ranks(&self, keys: &[Key]) -> Option<Vec<Rank>> {
        let (order, ranks) = self.after.split_first()?;
        if *order != name(keys) || ranks.len() != keys.len() {
            return None;
        }
        ranks.iter().zip(keys).map(|(rank, (key, _))| Rank::read(rank, key)).collect()
    }
}

/// A short name of an order.
fn name(keys: &[Key]) -> String {
    let mut name = ContentHash::of(format!("{keys:?}").as_bytes()).to_hex();
    name.truncate(8);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_only_for_its_order() {
        let keys =
            complete(vec![(SortKey::Metric("f1".into()), false), (SortKey::Pair("params", "p".into()), true)], 2);
        let start = Rank::Int(-5);
        let id = Rank::Text("täst".into());
        for real in [Rank::Real(f64::NEG_INFINITY), Rank::Real(0.1), Rank::Nan, Rank::Missing] {
            for pair in [Rank::Text(String::new()), Rank::Missing] {
                let ranks = vec![real.clone(), pair, start.clone(), id.clone()];
                let written = serde_json::to_string(&PageStart::behind(7, &ranks, &keys)).unwrap();
                let read: PageStart = serde_json::from_str(&written).unwrap();
                assert_eq!((read.skip, read.ranks(&keys)), (7, Some(ranks)));
                assert_eq!(read.ranks(&complete(vec![], 2)), None);
            }
        }
        let wrong =
            [vec!["x"], vec!["", "", ""], vec!["rzz", "m", "i1", "tx"], vec!["r7ff8000000000000", "m", "i1", "tx"]];
        for ranks in wrong {
            let after = std::iter::once(name(&keys)).chain(ranks.iter().map(|rank| (*rank).to_owned())).collect();
            assert_eq!(PageStart { skip: 0, after }.ranks(&keys), None);
        }
    }
}
