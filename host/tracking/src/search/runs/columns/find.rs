//! Finds the first runs of an order that match, from what is in memory: conditions as sets of runs, a stretch of runs
//! after the other, and of those that are in all of them the first.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use plinth_store::{Dialect, Tx};

use super::{
    super::{
        super::{
            filter::{Literal, Op},
            sql::Query,
        },
        Scope,
        condition::{Column, Condition},
        rank::{Key, Rank, SortKey},
        sets::Pattern,
    },
    Field,
    read::scope_text,
    values::{Hits, NO_NUMBER, NO_TEXT, NO_TIME, STRETCH, Stretches, Texts, Values, WORDS},
};
use crate::{
    TrackingError,
    runs::{among, padded},
};

/// Runs that stand alike at the end of a page, or where the page before ended: only their ids tell them apart, which are
/// not in memory. If there are more, the indexes are the better way.
const TIED_MAX: usize = if cfg!(test) { 8 } else { 4_096 };
/// Runs that are taken at least before they are looked through for the first.
const TIED_MIN: usize = if cfg!(test) { 2 } else { 256 };
/// Ids that are read by one query.
const IDS_AT_ONCE: usize = 500;

/// The first runs that match.
#[derive(Debug, PartialEq)]
pub(in super::super) struct Top {
    pub(in super::super) rids: Vec<i64>,
    /// Where the last of them stands.
    pub(in super::super) last: Option<Vec<Rank>>,
    /// Whether others come after them.
    pub(in super::super) more: bool,
}

/// The field that a condition is about, if what is in memory can answer it.
pub(super) fn field_of(condition: &Condition) -> Option<Field> {
    let key = match condition {
        Condition::Metric { key, .. }
        | Condition::MetricNot { key, .. }
        | Condition::MetricNan { key }
        | Condition::MetricMissing { key } => SortKey::Metric(key.clone()),
        Condition::Pair { table, key, op, value } if answers(*op, value) => SortKey::Pair(table, key.clone()),
        Condition::Text { column, op, value } if answers(*op, value) => SortKey::Column(*column),
        Condition::Time { column, .. } | Condition::TimeMissing { column } => SortKey::Column(*column),
        _ => return None,
    };
    field_of_key(&key)
}

/// The field of an order, if it is one that is kept in memory. Ids and places of artifacts are as many as runs, and
/// long.
pub(super) fn field_of_key(key: &SortKey) -> Option<Field> {
    let kept = !matches!(key, SortKey::Column(Column::RunId | Column::Uri));
    kept.then(|| Field::Key(key.clone()))
}

fn answers(op: Op, value: &Literal) -> bool {
    match (op, value) {
        (Op::Eq | Op::Ne, Literal::Text(_)) | (Op::IsNull | Op::IsNotNull, _) => true,
        (Op::Like | Op::ILike, Literal::Text(pattern)) => Pattern::new(op, pattern).is_some(),
        _ => false,
    }
}

/// A condition with the values that it is about.
enum Test<'a> {
    Numbers(&'a Stretches<f64>, &'a [(Op, f64)]),
    /// A number that is there, and not this one.
    NumberNot(&'a Stretches<f64>, f64),
    Nan(&'a Stretches<f64>),
    NumberMissing(&'a Stretches<f64>),
    Within(&'a Stretches<i64>, i64, i64),
    Outside(&'a Stretches<i64>, i64, i64),
    TimeMissing(&'a Stretches<i64>),
    /// One text, or none.
    Is(&'a Stretches<u32>, u32),
    /// Texts by their codes; the first stands for none.
    Among(&'a Stretches<u32>, Vec<bool>),
}

fn is_missing(number: f64) -> bool {
    number.to_bits() == NO_NUMBER.to_bits()
}

impl<'a> Test<'a> {
    fn of(condition: &'a Condition, values: &'a Values) -> Option<Self> {
        Some(match (condition, values) {
            (Condition::Metric { tests, .. }, Values::Numbers(numbers)) => Self::Numbers(numbers, tests),
            (Condition::MetricNot { value, .. }, Values::Numbers(numbers)) => Self::NumberNot(numbers, *value),
            (Condition::MetricNan { .. }, Values::Numbers(numbers)) => Self::Nan(numbers),
            (Condition::MetricMissing { .. }, Values::Numbers(numbers)) => Self::NumberMissing(numbers),
            (Condition::Time { from, to, not: false, .. }, Values::Times(times)) => Self::Within(times, *from, *to),
            (Condition::Time { from, to, .. }, Values::Times(times)) => Self::Outside(times, *from, *to),
            (Condition::TimeMissing { .. }, Values::Times(times)) => Self::TimeMissing(times),
            (Condition::Pair { op, value, .. } | Condition::Text { op, value, .. }, Values::Texts(codes, texts)) => {
                Self::texts(codes, texts, *op, value)?
            }
            _ => return None,
        })
    }

    fn texts(codes: &'a Stretches<u32>, texts: &Texts, op: Op, value: &Literal) -> Option<Self> {
        let all = |test: &mut dyn FnMut(u32) -> bool| {
            let list = std::iter::once(false).chain((1..=texts.len() as u32).map(test));
            Self::Among(codes, list.collect())
        };
        Some(match (op, value) {
            (Op::IsNull, _) => Self::Is(codes, NO_TEXT),
            (Op::IsNotNull, _) => all(&mut |_| true),
            (Op::Eq, Literal::Text(text)) => {
                texts.find(text).map_or_else(|| Self::Among(codes, Vec::new()), |code| Self::Is(codes, code))
            }
            (Op::Ne, Literal::Text(text)) => {
                let found = texts.find(text);
                all(&mut |code| found != Some(code))
            }
            (_, Literal::Text(pattern)) => {
                let mut list = vec![false; texts.len() + 1];
                texts.each_like(&mut Pattern::new(op, pattern)?, |code| list[code as usize] = true);
                Self::Among(codes, list)
            }
            _ => return None,
        })
    }

    fn keep(&self, at: usize, hits: &mut Hits) {
        match self {
            Self::Numbers(numbers, tests) => {
                for (op, number) in *tests {
                    match op {
                        Op::Eq => numbers.keep(at, hits, |found| found == *number),
                        Op::Lt => numbers.keep(at, hits, |found| found < *number),
                        Op::Le => numbers.keep(at, hits, |found| found <= *number),
                        Op::Gt => numbers.keep(at, hits, |found| found > *number),
                        _ => numbers.keep(at, hits, |found| found >= *number),
                    }
                }
            }
            Self::NumberNot(numbers, number) => {
                numbers.keep(at, hits, |found| found != *number && !is_missing(found));
            }
            Self::Nan(numbers) => numbers.keep(at, hits, |found| found.is_nan() && !is_missing(found)),
            Self::NumberMissing(numbers) => numbers.keep(at, hits, is_missing),
            Self::Within(times, from, to) => {
                times.keep(at, hits, |time| time != NO_TIME && (*from..=*to).contains(&time));
            }
            Self::Outside(times, from, to) => {
                times.keep(at, hits, |time| time != NO_TIME && !(*from..=*to).contains(&time));
            }
            Self::TimeMissing(times) => times.keep(at, hits, |time| time == NO_TIME),
            Self::Is(codes, code) => codes.keep(at, hits, |found| found == *code),
            Self::Among(codes, list) => {
                codes.keep(at, hits, |found| list.get(found as usize).copied().unwrap_or(false));
            }
        }
    }
}

/// A field to sort by.
struct Sort<'a> {
    values: &'a Values,
    ascending: bool,
}

/// Numbers before NaN before nothing.
fn class(number: f64) -> u8 {
    if is_missing(number) { 2 } else { u8::from(number.is_nan()) }
}

impl Sort<'_> {
    fn compare(&self, a: usize, b: usize) -> Ordering {
        let way = |order: Ordering| if self.ascending { order } else { order.reverse() };
        match self.values {
            Values::Numbers(numbers) => {
                let (a, b) = (numbers.get(a), numbers.get(b));
                a.partial_cmp(&b).map_or_else(|| class(a).cmp(&class(b)), way)
            }
            Values::Times(times) => match (times.get(a), times.get(b)) {
                (a, b) if a == NO_TIME || b == NO_TIME => (a == NO_TIME).cmp(&(b == NO_TIME)),
                (a, b) => way(a.cmp(&b)),
            },
            Values::Texts(codes, texts) => match (codes.get(a), codes.get(b)) {
                (a, b) if a == NO_TEXT || b == NO_TEXT => (a == NO_TEXT).cmp(&(b == NO_TEXT)),
                (a, b) => way(texts.compare(a, b)),
            },
        }
    }

    /// Keeps those of a stretch that may come before some run, or stand like it.
    fn keep_until(&self, last: usize, at: usize, hits: &mut Hits) {
        match self.values {
            Values::Numbers(numbers) => match (numbers.get(last), self.ascending) {
                (last, _) if is_missing(last) => {}
                (last, _) if last.is_nan() => numbers.keep(at, hits, |number| !is_missing(number)),
                (last, true) => numbers.keep(at, hits, |number| number <= last),
                (last, false) => numbers.keep(at, hits, |number| number >= last),
            },
            Values::Times(times) => match (times.get(last), self.ascending) {
                (NO_TIME, _) => {}
                (last, true) => times.keep(at, hits, |time| time <= last && time != NO_TIME),
                (last, false) => times.keep(at, hits, |time| time >= last),
            },
            Values::Texts(codes, texts) => match (codes.get(last), texts.in_order()) {
                (last, in_order) if last == NO_TEXT || last > in_order => {}
                // New texts may be anywhere.
                (last, in_order) if self.ascending => {
                    codes.keep(at, hits, |code| code != NO_TEXT && (code <= last || code > in_order));
                }
                (last, _) => codes.keep(at, hits, |code| code >= last),
            },
        }
    }

    fn rank(&self, rid: usize) -> Rank {
        match self.values {
            Values::Numbers(numbers) => match numbers.get(rid) {
                number if is_missing(number) => Rank::Missing,
                number if number.is_nan() => Rank::Nan,
                number => Rank::Real(number),
            },
            Values::Times(times) => match times.get(rid) {
                NO_TIME => Rank::Missing,
                time => Rank::Int(time),
            },
            Values::Texts(codes, texts) => match codes.get(rid) {
                NO_TEXT => Rank::Missing,
                code => Rank::Text(texts.get(code).to_owned()),
            },
        }
    }

    /// How a run follows a place in the order.
    fn against(&self, rid: usize, place: &Rank) -> Ordering {
        if let (Values::Texts(codes, texts), Rank::Text(text)) = (self.values, place)
            && codes.get(rid) != NO_TEXT
        {
            let found = texts.get(codes.get(rid)).cmp(text.as_str());
            return if self.ascending { found } else { found.reverse() };
        }
        self.rank(rid).compare(place, self.ascending)
    }
}

/// The first of the runs that are shown to it, and those that stand like the last of them.
struct First<'a> {
    sorts: &'a [Sort<'a>],
    need: usize,
    runs: Vec<usize>,
    /// The last of the first, once there are enough.
    last: Option<usize>,
    /// So many are taken before those that come after the last are dropped.
    room: usize,
}

impl First<'_> {
    fn compare(&self, a: usize, b: usize) -> Ordering {
        self.sorts.iter().map(|sort| sort.compare(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// Says whether there is room for another.
    fn take(&mut self, rid: usize) -> bool {
        if self.last.is_some_and(|last| self.compare(rid, last).is_gt()) {
            return true;
        }
        self.runs.push(rid);
        if self.runs.len() <= self.room {
            return true;
        }
        self.drop_last();
        self.room = (2 * self.runs.len()).max(2 * self.need + TIED_MIN);
        self.runs.len() <= self.need + TIED_MAX
    }

    fn drop_last(&mut self) {
        if self.runs.len() > self.need {
            let mut runs = std::mem::take(&mut self.runs);
            let last = *runs.select_nth_unstable_by(self.need - 1, |a, b| self.compare(*a, *b)).1;
            runs.retain(|rid| self.compare(*rid, last).is_le());
            (self.runs, self.last) = (runs, Some(last));
        }
    }
}

/// The first `need` runs that match and come after some place in the order; nothing if too many stand alike.
pub(super) fn top(
    tx: &mut dyn Tx,
    scope: &Scope,
    conditions: &[Condition],
    keys: &[Key],
    values: &HashMap<Field, Arc<Values>>,
    after: Option<&[Rank]>,
    need: usize,
) -> Result<Option<Top>, TrackingError> {
    let Some(((_, ids_ascending), keys)) = keys.split_last() else { return Ok(None) };
    let sorts: Option<Vec<Sort<'_>>> = keys
        .iter()
        .map(|(key, ascending)| Some(Sort { values: values.get(&field_of_key(key)?)?, ascending: *ascending }))
        .collect();
    let tests: Option<Vec<Test<'_>>> =
        conditions.iter().map(|condition| Test::of(condition, values.get(&field_of(condition)?)?)).collect();
    let within = values.get(&Field::Scope).map(Arc::as_ref);
    let (Some(sorts), Some(tests), Some(Values::Texts(places, names))) = (sorts, tests, within) else {
        return Ok(None);
    };
    if sorts.is_empty() || need == 0 {
        return Ok(None);
    }
    let states = scope.view.states();
    let all = scope.experiment_ids.iter().flat_map(|id| states.iter().map(move |state| scope_text(state.name(), id)));
    let wanted: Vec<u32> = all.filter_map(|text| names.find(&text)).collect();
    let wanted = if let [only] = wanted[..] {
        Test::Is(places, only)
    } else {
        let mut list = vec![false; names.len() + 1];
        wanted.into_iter().for_each(|code| list[code as usize] = true);
        Test::Among(places, list)
    };
    let mut first = First { sorts: &sorts, need: need + 1, runs: Vec::new(), last: None, room: 2 * need + TIED_MIN };
    let mut alike = Vec::new();
    for at in leaps(places.len()) {
        let mut hits: Hits = [u64::MAX; WORDS];
        for test in std::iter::once(&wanted).chain(&tests) {
            test.keep(at, &mut hits);
        }
        if let Some(last) = first.last {
            sorts[0].keep_until(last, at, &mut hits);
        }
        for (word, hits) in hits.into_iter().enumerate() {
            let mut left = hits;
            while left != 0 {
                let rid = at * STRETCH + word * 64 + left.trailing_zeros() as usize;
                left &= left - 1;
                let order = after.map_or(Ordering::Greater, |after| {
                    let pairs = sorts.iter().zip(after);
                    pairs.map(|(sort, place)| sort.against(rid, place)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
                });
                match order {
                    Ordering::Less => {}
                    Ordering::Equal if alike.len() < TIED_MAX => alike.push(rid),
                    Ordering::Greater if first.take(rid) => {}
                    _ => return Ok(None),
                }
            }
        }
    }
    if let Some(Rank::Text(place)) = after.and_then(<[Rank]>::last) {
        let ids = ids(tx, &alike)?;
        let way = |order: Ordering| if *ids_ascending { order } else { order.reverse() };
        for rid in alike.into_iter().filter(|rid| ids.get(rid).is_some_and(|id| way(id.cmp(place)).is_gt())) {
            if !first.take(rid) {
                return Ok(None);
            }
        }
    }
    first.drop_last();
    let mut runs = std::mem::take(&mut first.runs);
    runs.sort_unstable_by(|a, b| first.compare(*a, *b));
    in_order_of_ids(tx, &mut runs, need + 1, *ids_ascending, |a, b| first.compare(a, b).is_eq())?;
    let more = runs.len() > need;
    runs.truncate(need);
    let last = match runs.last() {
        Some(rid) => {
            let id = ids(tx, &[*rid])?.remove(rid).unwrap_or_default();
            Some(sorts.iter().map(|sort| sort.rank(*rid)).chain([Rank::Text(id)]).collect())
        }
        None => None,
    };
    Ok(Some(Top { rids: runs.into_iter().map(|rid| rid as i64).collect(), last, more }))
}

/// Sorts runs that stand alike by their ids, as far as that decides which are the first.
fn in_order_of_ids(
    tx: &mut dyn Tx,
    runs: &mut [usize],
    need: usize,
    ascending: bool,
    alike: impl Fn(usize, usize) -> bool,
) -> Result<(), TrackingError> {
    let mut groups = Vec::new();
    let mut start = 0;
    for group in runs.chunk_by(|a, b| alike(*a, *b)) {
        if group.len() > 1 && start < need {
            groups.push(start..start + group.len());
        }
        start += group.len();
    }
    let tied: Vec<usize> = groups.iter().flat_map(|group| &runs[group.clone()]).copied().collect();
    let ids = ids(tx, &tied)?;
    for group in groups {
        runs[group].sort_unstable_by(|a, b| {
            let order = ids.get(a).cmp(&ids.get(b));
            if ascending { order } else { order.reverse() }
        });
    }
    Ok(())
}

/// All stretches, the newest first and then far from each other: wherever the first of an order lie, some are found soon,
/// and most of the rest are passed over.
fn leaps(count: usize) -> impl Iterator<Item = usize> {
    let coprime = |step: &usize| {
        let (mut a, mut b) = (count, *step);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    let step = (count * 5 / 8..count).find(coprime).unwrap_or(1);
    (0..count).map(move |n| (count - 1 + n * step) % count)
}

/// Ids of runs.
fn ids(tx: &mut dyn Tx, rids: &[usize]) -> Result<HashMap<usize, String>, TrackingError> {
    let mut ids = HashMap::with_capacity(rids.len());
    for part in rids.chunks(IDS_AT_ONCE) {
        let part: Vec<i64> = part.iter().map(|rid| *rid as i64).collect();
        let query = Query { dialect: Dialect::Sqlite, parameters: padded(&part) };
        let sql = format!("SELECT rid, run_id FROM runs WHERE rid IN {}", among(query.parameters.len()));
        tx.each(&sql, &query.parameters, &mut |row| {
            ids.insert(row.int_at(0)? as usize, row.text_at(1)?.to_owned());
            Ok(())
        })?;
    }
    Ok(ids)
}
