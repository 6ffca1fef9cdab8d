//! Finds the first runs of an order that match.
//!
//! An order's first field has an index that gives runs by its value. The walker takes a stretch of it, tests the runs
//! in it, sorts what matches by the whole order, and goes on until it has enough. If many would have to be tested, it
//! reads the sets of those conditions that hold for few runs, and tests only what is in them. If too little of what it
//! passes matches, it turns to the conditions: a handful of runs that one of them names, or else the set of all runs
//! that match, with which it may walk on without testing. Runs that share a value, or have none, are a search of their
//! own, with one condition more and one field less.

use std::{ops::Range, rc::Rc};

use plinth_store::{Tx, Value};

use super::super::{
    filter::{Literal, Op},
    sql::Query,
};
use super::{
    Scope,
    condition::{Column, Condition},
    rank::{Item, Key, Rank, SortKey, compare},
    sets::{INDEXED_CHARS, Pattern, Rids},
};
use crate::{
    TrackingError,
    runs::{among, padded},
};

/// So few runs are looked at one by one without further ado. Bounds are small in tests, where few runs take every way.
const FEW: usize = if cfg!(test) { 3 } else { 300 };
/// So many are looked at before sets are made.
const SOME: usize = if cfg!(test) { 6 } else { 3_000 };
/// Runs of an index that are passed at once, at least and at most.
const STRETCH: Range<usize> = if cfg!(test) { 2..8 } else { 200..8_192 };
/// Runs that are passed before a walk is given up, unless a page is larger.
const WALK_MAX: usize = if cfg!(test) { 8 } else { 12_000 };
/// Runs that are tested by one query.
const TEST_AT_ONCE: usize = if cfg!(test) { 4 } else { 250 };
/// Entries of an index that are read in the time in which one run is tested.
const READS_PER_TEST: usize = if cfg!(test) { 4 } else { 8 };
/// Runs that stand for all of a set.
const SAMPLE: usize = if cfg!(test) { 4 } else { 100 };
/// Parts of an index (an experiment's active runs, say) that are walked side by side.
const PARTS_MAX: usize = if cfg!(test) { 3 } else { 20 };

/// What a search asks of runs.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    conditions: Vec<Condition>,
    /// The runs for which the first so many of the conditions hold; of the others nothing is known.
    known: Option<(Rc<Rids>, usize)>,
}

impl Filter {
    pub(super) const fn new(conditions: Vec<Condition>) -> Self {
        Self { conditions, known: None }
    }

    pub(super) fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn with(&self, condition: Condition) -> Self {
        let mut filter = self.clone();
        filter.conditions.push(condition);
        filter
    }

    /// Conditions that have to be tested.
    fn open(&self) -> &[Condition] {
        &self.conditions[self.known.as_ref().map_or(0, |(_, known)| *known)..]
    }

    fn may_hold(&self, rid: i64) -> bool {
        self.known.as_ref().is_none_or(|(rids, _)| rids.contains(rid))
    }

    /// Whether a run may match that has the value NaN for a field, or none.
    fn lets_nan_and_missing(&self, key: &SortKey) -> (bool, bool) {
        let (mut nan, mut missing) = (matches!(key, SortKey::Metric(_)), *key != SortKey::Column(Column::Start));
        for condition in &self.conditions {
            match (condition, key) {
                (Condition::Metric { key: of, .. }, SortKey::Metric(key)) if of == key => {
                    (nan, missing) = (false, false);
                }
                (Condition::MetricNot { key: of, .. }, SortKey::Metric(key)) if of == key => missing = false,
                (Condition::Pair { table: place, key: of, op, .. }, SortKey::Pair(table, key))
                    if place == table && of == key && *op != Op::IsNull =>
                {
                    missing = false;
                }
                (Condition::Time { column, .. }, SortKey::Column(key)) if column == key => missing = false,
                _ => {}
            }
        }
        match key {
            SortKey::Column(column) => (false, missing && *column == Column::End),
            _ => (nan, missing),
        }
    }
}

/// Where in an index a stretch starts.
#[derive(Debug, Clone)]
enum From {
    Start,
    At(Rank),
    After(Rank),
}

/// How a walk ended.
enum Walked {
    Found(Vec<Item>),
    /// It would take too long; the filter knows what was found out.
    TooLong(Filter),
}

/// Finds runs within one reading transaction.
pub(super) struct Walker<'a> {
    tx: &'a mut dyn Tx,
    scope: &'a Scope,
}

impl<'a> Walker<'a> {
    pub(super) fn new(tx: &'a mut dyn Tx, scope: &'a Scope) -> Self {
        Self { tx, scope }
    }

    /// The first `need` runs that match and come after some place in the order.
    pub(super) fn top(
        &mut self,
        filter: &Filter,
        keys: &[Key],
        after: Option<&[Rank]>,
        need: usize,
    ) -> Result<Vec<Item>, TrackingError> {
        if let Some(rids) = self.named(filter, FEW)? {
            return self.choose(rids.into_iter(), filter, keys, after, need);
        }
        let along = match keys.first() {
            Some((key, _)) => self.has_index(key)?,
            None => false,
        };
        let mut filter = filter.clone();
        if along {
            match self.walk(filter, keys, after, need, true)? {
                Walked::Found(found) => return Ok(found),
                Walked::TooLong(narrowed) => filter = narrowed,
            }
            if filter.known.is_none()
                && let Some(rids) = self.named(&filter, SOME)?
            {
                return self.choose(rids.into_iter(), &filter, keys, after, need);
            }
        }
        let filter = self.settle(&filter)?;
        let rids = filter.known.as_ref().map(|(rids, _)| Rc::clone(rids)).unwrap_or_default();
        if along
            && rids.len() > SOME
            && let Walked::Found(found) = self.walk(filter.clone(), keys, after, need, false)?
        {
            return Ok(found);
        }
        self.choose(rids.iter(), &filter, keys, after, need)
    }

    /// The runs that one of the conditions names, if those are at most so many.
    fn named(&mut self, filter: &Filter, most: usize) -> Result<Option<Vec<i64>>, TrackingError> {
        let mut best: Option<Vec<i64>> = None;
        let conditions = filter.open().iter().map(Some).chain(filter.known.is_none().then_some(None));
        for condition in conditions {
            let mut query = Query::new(self.tx.dialect());
            let sql = match condition {
                Some(condition) => condition.probe(&mut query, self.scope)?,
                None => Some(self.scope.source(&mut query)),
            };
            let Some(sql) = sql else { continue };
            let limit = most + 1;
            let mut rids = Vec::new();
            self.tx.each(
                &format!("SELECT rid FROM ({sql}) AS named LIMIT {limit}"),
                &query.parameters,
                &mut |row| {
                    rids.push(row.int_at(0)?);
                    Ok(())
                },
            )?;
            if rids.len() <= most && best.as_ref().is_none_or(|best| rids.len() < best.len()) {
                let found = rids.len();
                best = Some(rids);
                if found <= FEW {
                    break;
                }
            }
        }
        Ok(best)
    }

    /// The filter with the runs for which some of its conditions hold: those whose runs are read sooner than so many
    /// are tested. Of the runs in the sample, as large a part will need no test as of all.
    fn narrow(&mut self, filter: &Filter, sample: &[i64], tests: usize) -> Result<Filter, TrackingError> {
        let (mut set, mut known) = match &filter.known {
            Some((rids, known)) => (Some(Rids::clone(rids)), *known),
            None => (None, 0),
        };
        let mut conditions = filter.conditions.clone();
        // One value of many is more likely to be had by few than a range is.
        conditions[known..]
            .sort_by_key(|condition| !matches!(condition, Condition::Pair { .. } | Condition::Text { .. }));
        let mut left = tests;
        let open = known..conditions.len();
        for at in open {
            if left <= FEW {
                break;
            }
            let mut query = Query::new(self.tx.dialect());
            let Some(sql) = conditions[at].probe(&mut query, self.scope)? else { continue };
            let most = left.saturating_mul(READS_PER_TEST);
            let limit = query.bind(most as u64 + 1);
            let sql = format!("SELECT rid FROM ({sql}) AS named LIMIT {limit}");
            let (mut found, mut count) = (Rids::default(), 0);
            self.tx.each(&sql, &query.parameters, &mut |row| {
                count += 1;
                found.insert(row.int_at(0)?);
                Ok(())
            })?;
            if count > most {
                continue;
            }
            match &mut set {
                Some(set) => set.keep(&found),
                None => set = Some(found),
            }
            conditions[known..=at].rotate_right(1);
            known += 1;
            left = set.as_ref().map_or(left, |set| tests.saturating_mul(set.count(sample)) / sample.len().max(1));
        }
        Ok(Filter { conditions, known: set.map(|set| (Rc::new(set), known)) })
    }

    /// The filter with the runs for which its conditions hold: all of them, or so many that few runs are left.
    fn settle(&mut self, filter: &Filter) -> Result<Filter, TrackingError> {
        let (mut set, known) = match &filter.known {
            Some((rids, known)) => (Some(Rids::clone(rids)), *known),
            None => (None, 0),
        };
        let mut conditions = filter.conditions.clone();
        // Ranges of an index are read quickly, texts have to be looked at.
        conditions[known..].sort_by_key(|condition| match condition {
            Condition::Metric { .. } | Condition::MetricNan { .. } | Condition::Time { .. } => 0,
            Condition::Pair { op: Op::Eq, .. } => 1,
            Condition::Text { .. } | Condition::Dataset { .. } => 2,
            _ => 3,
        });
        let mut settled = known;
        for condition in &conditions[known..] {
            if set.as_ref().is_some_and(|set| set.len() <= SOME) {
                break;
            }
            let mut query = Query::new(self.tx.dialect());
            let mut source = condition.all(&mut query, self.scope)?;
            let found = self.rids(&source.sql, &query.parameters, source.like.as_mut())?;
            match (&mut set, source.inverted) {
                (Some(set), false) => set.keep(&found),
                (Some(set), true) => set.remove(&found),
                (None, false) => set = Some(found),
                (None, true) => {
                    let mut others = self.in_scope()?;
                    others.remove(&found);
                    set = Some(others);
                }
            }
            settled += 1;
        }
        // Whoever is tested is tested for its scope, too; but many should not be tested in vain.
        let set = match set {
            Some(mut set) => {
                if set.len() > SOME && self.mostly_out_of_scope(&set)? {
                    set.keep(&self.in_scope()?);
                }
                set
            }
            None => self.in_scope()?,
        };
        Ok(Filter { conditions, known: Some((Rc::new(set), settled)) })
    }

    fn in_scope(&mut self) -> Result<Rids, TrackingError> {
        let mut query = Query::new(self.tx.dialect());
        let sql = self.scope.source(&mut query);
        self.rids(&sql, &query.parameters, None)
    }

    /// Whether of some runs, spread over all of a set, more are out of scope than in it.
    fn mostly_out_of_scope(&mut self, set: &Rids) -> Result<bool, TrackingError> {
        let sample: Vec<i64> = set.iter().step_by(set.len().div_ceil(SAMPLE).max(1)).collect();
        let mut query = Query { dialect: self.tx.dialect(), parameters: padded(&sample) };
        let among = among(query.parameters.len());
        let (ids, state) = (query.bind_all(&self.scope.experiment_ids), self.scope.view.condition("r.lifecycle"));
        let sql =
            format!("SELECT COUNT(*) FROM runs r WHERE r.rid IN {among} AND r.experiment_id IN {ids} AND {state}");
        let within = self.tx.query_one(&sql, &query.parameters)?.map_or(Ok(0), |row| row.int(0))?;
        Ok((within as usize) < sample.len() / 2)
    }

    fn rids(&mut self, sql: &str, parameters: &[Value], mut like: Option<&mut Pattern>) -> Result<Rids, TrackingError> {
        let mut rids = Rids::default();
        self.tx.each(sql, parameters, &mut |row| {
            let fits = match &mut like {
                Some(pattern) => pattern.matches(row.text_at(1)?),
                None => true,
            };
            if fits {
                rids.insert(row.int_at(0)?);
            }
            Ok(())
        })?;
        Ok(rids)
    }

    /// The first runs of some that are tested one by one.
    fn choose(
        &mut self,
        rids: impl Iterator<Item = i64>,
        filter: &Filter,
        keys: &[Key],
        after: Option<&[Rank]>,
        need: usize,
    ) -> Result<Vec<Item>, TrackingError> {
        let mut rids = rids.filter(|rid| filter.may_hold(*rid));
        let mut items: Vec<Item> = Vec::new();
        loop {
            let part: Vec<i64> = rids.by_ref().take(TEST_AT_ONCE).collect();
            if part.is_empty() {
                break;
            }
            let found = self.test(&part, filter, keys)?;
            items.extend(
                found.into_iter().filter(|item| after.is_none_or(|after| compare(&item.ranks, after, keys).is_gt())),
            );
            if items.len() > 2 * need + TEST_AT_ONCE {
                items.sort_unstable_by(|a, b| compare(&a.ranks, &b.ranks, keys));
                items.truncate(need);
            }
        }
        items.sort_unstable_by(|a, b| compare(&a.ranks, &b.ranks, keys));
        items.truncate(need);
        Ok(items)
    }

    /// Of some runs those that match, and where they stand by each field.
    fn test(&mut self, rids: &[i64], filter: &Filter, keys: &[Key]) -> Result<Vec<Item>, TrackingError> {
        let mut items = Vec::new();
        for part in rids.chunks(TEST_AT_ONCE) {
            let mut query = Query { dialect: self.tx.dialect(), parameters: padded(part) };
            let among = among(query.parameters.len());
            // Most of those that do not match are found out by one look at the table of one condition.
            let first = filter.open().iter().position(Condition::is_of_a_row);
            let (from, mut conditions) = match first.map(|at| filter.open()[at].row("c", &mut query)).transpose()? {
                Some((table, row)) => {
                    let conditions = vec![format!("c.rid IN {among}"), row, "r.rid = c.rid".to_owned()];
                    // SQLite reads tables that are joined so in this order.
                    (format!("{table} c CROSS JOIN runs r"), conditions)
                }
                None => ("runs r".to_owned(), vec![format!("r.rid IN {among}")]),
            };
            let ids = query.bind_all(&self.scope.experiment_ids);
            conditions.push(format!("{} IN {ids}", query.unindexed("r.experiment_id")));
            conditions.push(self.scope.view.condition(&query.unindexed("r.lifecycle")));
            for (_, condition) in filter.open().iter().enumerate().filter(|(at, _)| Some(*at) != first) {
                conditions.push(condition.sql(&mut query)?);
            }
            let (mut columns, mut joins) = (vec!["r.rid".to_owned()], String::new());
            let by_uri = keys.iter().any(|(key, _)| *key == SortKey::Column(Column::Uri));
            if by_uri || filter.open().iter().any(Condition::needs_experiment) {
                let of = query.unindexed("r.experiment_id");
                joins.push_str(&format!(" JOIN experiments e ON e.experiment_id = {of}"));
            }
            for (at, (key, _)) in keys.iter().enumerate() {
                match key {
                    SortKey::Metric(key) => {
                        let key = query.bind(key);
                        joins.push_str(&format!(
                            " LEFT JOIN latest_metrics s{at} ON s{at}.rid = r.rid AND s{at}.key = {key}"
                        ));
                        // A NaN's value is 0; what is not a NaN has a value or is missing.
                        columns.push(format!("CASE WHEN s{at}.is_nan = 1 THEN 'nan' END, s{at}.value"));
                    }
                    SortKey::Pair(table, key) => {
                        let key = query.bind(key);
                        joins.push_str(&format!(" LEFT JOIN {table} s{at} ON s{at}.rid = r.rid AND s{at}.key = {key}"));
                        columns.push(format!("s{at}.value"));
                    }
                    SortKey::Column(column) => columns.push(column.sql().to_owned()),
                }
            }
            let sql = format!("SELECT {} FROM {from}{joins} WHERE {}", columns.join(", "), conditions.join(" AND "));
            self.tx.each(&sql, &query.parameters, &mut |row| {
                let mut ranks = Vec::with_capacity(keys.len());
                let mut column = 1;
                for (key, _) in keys {
                    let nan = matches!(key, SortKey::Metric(_)) && {
                        column += 1;
                        Rank::of(row.cell(column - 1)?)? != Rank::Missing
                    };
                    ranks.push(if nan { Rank::Nan } else { Rank::of(row.cell(column)?)? });
                    column += 1;
                }
                items.push(Item { rid: row.int_at(0)?, ranks });
                Ok(())
            })?;
        }
        Ok(items)
    }

    /// Whether an index gives runs by a field.
    fn has_index(&mut self, key: &SortKey) -> Result<bool, TrackingError> {
        match key {
            SortKey::Column(column) => Ok(*column != Column::Uri),
            SortKey::Metric(_) => Ok(true),
            SortKey::Pair(table, key) => {
                // Long values are not in it: it is good for keys that have none.
                let sql = format!("SELECT 1 FROM {table} WHERE key = $1 AND LENGTH(value) > {INDEXED_CHARS} LIMIT 1");
                Ok(self.tx.query_one(&sql, &[key.into()])?.is_none())
            }
        }
    }

    /// Goes along the index of the first field.
    fn walk(
        &mut self,
        mut filter: Filter,
        keys: &[Key],
        after: Option<&[Rank]>,
        need: usize,
        may_give_up: bool,
    ) -> Result<Walked, TrackingError> {
        let Some(((key, ascending), rest)) = keys.split_first() else { return Ok(Walked::TooLong(filter)) };
        let mut found = Vec::new();
        let mut from = From::Start;
        let mut values = true;
        let (mut nan, mut missing) = filter.lets_nan_and_missing(key);
        if let Some((first, behind)) = after.and_then(<[Rank]>::split_first) {
            found = self.sharing(&filter, key, first, rest, Some(behind), need)?;
            (values, nan) =
                (!matches!(first, Rank::Nan | Rank::Missing), nan && !matches!(first, Rank::Nan | Rank::Missing));
            missing &= *first != Rank::Missing;
            from = From::After(first.clone());
        }
        let mut narrowed = !may_give_up;
        let (mut passed, mut tested, mut groups, mut stretch) = (0, 0, 0, need.clamp(STRETCH.start, STRETCH.end));
        while values && found.len() < need {
            let mut part = self.stretch(&filter, key, *ascending, &from, stretch)?;
            values = part.len() == stretch;
            passed += part.len();
            if let Some((last, _)) = part.last().filter(|_| values).cloned() {
                // How many more share the last value is not known yet.
                let whole = part.iter().position(|(rank, _)| *rank == last).unwrap_or(0);
                if whole == 0 {
                    found.extend(self.sharing(&filter, key, &last, rest, None, need - found.len())?);
                    groups += 1;
                    if may_give_up && groups > 1 && found.len() < need {
                        return Ok(Walked::TooLong(filter));
                    }
                    from = From::After(last);
                    continue;
                }
                part.truncate(whole);
                from = From::At(last);
            }
            part.retain(|(_, rid)| filter.may_hold(*rid));
            let mut untested = &part[..];
            while !untested.is_empty() && found.len() < need {
                // Whoever shares a value with the last of them is tested with it: only the whole order sorts them.
                let edge = &untested[untested.len().min(TEST_AT_ONCE) - 1].0;
                let end = untested.len().min(TEST_AT_ONCE)
                    + untested[untested.len().min(TEST_AT_ONCE)..].iter().take_while(|(rank, _)| rank == edge).count();
                let rids: Vec<i64> = untested[..end].iter().map(|(_, rid)| *rid).collect();
                let mut matching = self.test(&rids, &filter, keys)?;
                matching.sort_unstable_by(|a, b| compare(&a.ranks, &b.ranks, keys));
                found.extend(matching);
                untested = &untested[end..];
            }
            tested += part.len();
            let expected = passed.saturating_mul(need) / found.len().max(1);
            if values && found.len() < need {
                let tests = |tested: usize| expected.saturating_mul(tested) / passed;
                if !narrowed && tests(tested) - tested > FEW {
                    narrowed = true;
                    let sample: Vec<i64> = part.iter().map(|(_, rid)| *rid).collect();
                    filter = self.narrow(&filter, &sample, tests(tested) - tested)?;
                    if let Some((named, _)) = &filter.known {
                        // What is left of what was passed stands for what is to come.
                        tested = tested * named.count(&sample) / sample.len().max(1);
                        let named = Rc::clone(named);
                        if named.len() <= FEW.max(tests(tested)) {
                            return self.choose(named.iter(), &filter, keys, after, need).map(Walked::Found);
                        }
                    }
                }
                let cost = tests(tested).saturating_add(expected / READS_PER_TEST);
                if may_give_up && cost > WALK_MAX.max(4 * need) {
                    return Ok(Walked::TooLong(filter));
                }
            }
            stretch = (expected.saturating_sub(passed) * 5 / 4).clamp(STRETCH.start, STRETCH.end);
        }
        for (rank, may) in [(Rank::Nan, nan), (Rank::Missing, missing)] {
            if may && found.len() < need {
                found.extend(self.sharing(&filter, key, &rank, rest, None, need - found.len())?);
            }
        }
        found.truncate(need);
        Ok(Walked::Found(found))
    }

    /// Runs that stand alike by a field, in the order of the other fields.
    fn sharing(
        &mut self,
        filter: &Filter,
        key: &SortKey,
        rank: &Rank,
        rest: &[Key],
        after: Option<&[Rank]>,
        need: usize,
    ) -> Result<Vec<Item>, TrackingError> {
        if rest.is_empty() || need == 0 {
            // Ids are unlike each other.
            return Ok(Vec::new());
        }
        let condition = match (key, rank) {
            (SortKey::Metric(key), Rank::Real(value)) => {
                Condition::Metric { key: key.clone(), tests: vec![(Op::Eq, *value)] }
            }
            (SortKey::Metric(key), Rank::Nan) => Condition::MetricNan { key: key.clone() },
            (SortKey::Metric(key), _) => Condition::MetricMissing { key: key.clone() },
            (SortKey::Pair(table, key), Rank::Text(text)) => {
                Condition::Pair { table, key: key.clone(), op: Op::Eq, value: Literal::Text(text.clone()) }
            }
            (SortKey::Pair(table, key), _) => {
                Condition::Pair { table, key: key.clone(), op: Op::IsNull, value: Literal::Nothing }
            }
            (SortKey::Column(column), Rank::Text(text)) => {
                Condition::Text { column: *column, op: Op::Eq, value: Literal::Text(text.clone()) }
            }
            (SortKey::Column(column), Rank::Int(time)) => {
                Condition::Time { column: *column, from: *time, to: *time, not: false }
            }
            (SortKey::Column(column), _) => Condition::TimeMissing { column: *column },
        };
        let mut items = self.top(&filter.with(condition), rest, after, need)?;
        items.iter_mut().for_each(|item| item.ranks.insert(0, rank.clone()));
        Ok(items)
    }

    /// Some runs of an index, by value.
    fn stretch(
        &mut self,
        filter: &Filter,
        key: &SortKey,
        ascending: bool,
        from: &From,
        most: usize,
    ) -> Result<Vec<(Rank, i64)>, TrackingError> {
        let mut query = Query::new(self.tx.dialect());
        let way = if ascending { "ASC" } else { "DESC" };
        let sql = match key {
            SortKey::Metric(key) => {
                let mut conditions = vec![format!("key = {} AND is_nan = 0", query.bind(key))];
                for condition in &filter.conditions {
                    if let Condition::Metric { key: of, tests } = condition
                        && of == key
                    {
                        let tests =
                            tests.iter().map(|(op, value)| format!("value {} {}", op.name(), query.bind(*value)));
                        conditions.extend(tests.collect::<Vec<_>>());
                    }
                }
                conditions.extend(start(&mut query, from, "value", ascending));
                let (conditions, most) = (conditions.join(" AND "), query.bind(most as u64));
                format!("SELECT value, rid FROM latest_metrics WHERE {conditions} ORDER BY value {way} LIMIT {most}")
            }
            SortKey::Pair(table, key) => {
                let mut conditions = vec![format!("key = {} AND LENGTH(value) <= {INDEXED_CHARS}", query.bind(key))];
                conditions.extend(start(&mut query, from, "value", ascending));
                let (conditions, most) = (conditions.join(" AND "), query.bind(most as u64));
                format!("SELECT value, rid FROM {table} WHERE {conditions} ORDER BY value {way} LIMIT {most}")
            }
            SortKey::Column(Column::RunId) => {
                let conditions = start(&mut query, from, "run_id", ascending).unwrap_or_else(|| "1 = 1".to_owned());
                let most = query.bind(most as u64);
                format!("SELECT run_id, rid FROM runs WHERE {conditions} ORDER BY run_id {way} LIMIT {most}")
            }
            SortKey::Column(column) => self.parts_of_runs(&mut query, filter, *column, way, from, most),
        };
        let mut found = Vec::new();
        self.tx.each(&sql, &query.parameters, &mut |row| {
            found.push((Rank::of(row.cell(0)?)?, row.int_at(1)?));
            Ok(())
        })?;
        Ok(found)
    }

    /// Indexes on columns of `runs` have a part for each experiment, with its active and its deleted runs: the first of
    /// each part hold the first of all.
    fn parts_of_runs(
        &self,
        query: &mut Query,
        filter: &Filter,
        column: Column,
        way: &str,
        from: &From,
        most: usize,
    ) -> String {
        let name = column.sql();
        let mut conditions = vec![format!("{name} IS NOT NULL")];
        for condition in &filter.conditions {
            if let Condition::Time { column: of, from, to, not: false } = condition
                && *of == column
            {
                conditions.push(format!("{name} BETWEEN {} AND {}", query.bind(*from), query.bind(*to)));
            }
        }
        conditions.extend(start(query, from, name, way == "ASC"));
        let (conditions, most) = (conditions.join(" AND "), query.bind(most as u64));
        let states = self.scope.view.states();
        let one = |scope: String| {
            format!(
                "SELECT {name} AS value, r.rid AS rid FROM runs r WHERE {scope} AND {conditions}
                 ORDER BY {name} {way} LIMIT {most}"
            )
        };
        let parts = self.scope.experiment_ids.len() * states.len();
        if parts > PARTS_MAX {
            let scope = self.scope.sql(query);
            return one(scope);
        }
        let mut list = Vec::with_capacity(parts);
        for id in &self.scope.experiment_ids {
            let id = query.bind(id);
            let parts =
                states.iter().map(|state| one(format!("r.experiment_id = {id} AND r.lifecycle = '{}'", state.name())));
            list.extend(parts);
        }
        if let [only] = &mut list[..] {
            return std::mem::take(only);
        }
        let list: Vec<String> = list.iter().map(|part| format!("SELECT * FROM ({part}) AS part")).collect();
        format!("SELECT value, rid FROM ({}) AS parts ORDER BY value {way} LIMIT {most}", list.join(" UNION ALL "))
    }
}

fn start(query: &mut Query, from: &From, column: &str, ascending: bool) -> Option<String> {
    let (rank, sign) = match (from, ascending) {
        (From::Start, _) => return None,
        (From::At(rank), true) => (rank, ">="),
        (From::At(rank), false) => (rank, "<="),
        (From::After(rank), true) => (rank, ">"),
        (From::After(rank), false) => (rank, "<"),
    };
    let value = match rank {
        Rank::Int(int) => Value::Int(*int),
        Rank::Real(real) => Value::Real(*real),
        Rank::Text(text) => Value::from(text),
        Rank::Nan | Rank::Missing => return None,
    };
    Some(format!("{column} {sign} {}", query.bind(value)))
}
