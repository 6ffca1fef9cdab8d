//! Fields of all runs in memory, for searches that are asked again and again.
//!
//! A field that searches ask for a second time is read whole ([`read`]) and kept, as long as the fields that are kept
//! have room. A search whose fields are all there looks at memory alone ([`find`]); every other goes along the indexes
//! as if there were nothing here, and the two find the same.
//!
//! A field is kept together with the state of the catalog that it was read from, which is the number of commits that
//! had changed runs. A search reads that number in its own transaction. If the field is older, what was changed since is
//! read again, for the search's own state and no other; if it is not known what was changed, because another process did
//! it or it is too long ago, the field goes. If the field is newer, the search does without it. So whoever reads sees
//! what his transaction sees, whoever writes beside. Where nobody counts commits, which is on PostgreSQL, there are no
//! such fields.

mod find;
mod read;
mod values;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use plinth_store::{Catalog, Tx};

pub(super) use self::find::Top;
use self::{
    find::{field_of, field_of_key, top},
    values::Values,
};
use super::{
    Scope,
    condition::Condition,
    rank::{Key, Rank, SortKey},
};
use crate::TrackingError;

/// Fields that are asked for a second time within so long are worth reading, and those that were used within so long
/// are not given up for others.
const SOON: Duration = Duration::from_secs(60);
/// How often a field is asked for before it is read.
const ASKED_BEFORE: u32 = if cfg!(test) { 0 } else { 1 };
/// Fields of which it is known that they were asked for.
const KNOWN_MAX: usize = 1_000;
/// Changed runs that are read again; if they are more, all are.
const CHANGED_MAX: usize = if cfg!(test) { 20 } else { 2_000 };

/// What there is a value of for every run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Field {
    /// The experiment that it is in, and whether it is deleted.
    Scope,
    Key(SortKey),
}

/// The fields that are kept.
#[derive(Debug)]
pub(crate) struct Columns {
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    fields: HashMap<Field, Slot>,
    bytes: usize,
    /// Somebody reads a field; one at a time, so that those who wait for the processor do not wait for each other's.
    reading: bool,
    #[cfg(test)]
    answered: usize,
}

#[derive(Debug)]
struct Slot {
    kept: Option<Kept>,
    asked: u32,
    last: Instant,
    /// It had no room, or could not be kept.
    refused: Option<Instant>,
}

/// A field in one state of the catalog.
#[derive(Debug, Clone)]
struct Kept {
    values: Arc<Values>,
    version: i64,
    bytes: usize,
}

impl Kept {
    fn new(values: Arc<Values>, version: i64) -> Self {
        // Even a field that no run has is something to keep.
        Self { bytes: values.bytes() + 1_024, values, version }
    }
}

/// What a search may look at in memory.
pub(super) struct AtHand(HashMap<Field, Arc<Values>>);

impl AtHand {
    /// As [`Walker::top`](super::walk::Walker::top), from memory; nothing if it has to be found otherwise.
    pub(super) fn top(
        &self,
        tx: &mut dyn Tx,
        scope: &Scope,
        conditions: &[Condition],
        keys: &[Key],
        after: Option<&[Rank]>,
        need: usize,
    ) -> Result<Option<Top>, TrackingError> {
        top(tx, scope, conditions, keys, &self.0, after, need)
    }
}

impl Columns {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX), held: Mutex::default() }
    }

    /// The fields of a search as its transaction sees them, if all are there. If one is not, it may be read now.
    pub(super) fn at_hand(
        &self,
        tx: &mut dyn Tx,
        catalog: &Catalog,
        conditions: &[Condition],
        keys: &[Key],
    ) -> Result<Option<AtHand>, TrackingError> {
        // The last of an order is the id. What has no condition is found along the index of its order at once.
        let Some((_, keys)) = keys.split_last() else { return Ok(None) };
        if self.bytes_max == 0 || keys.is_empty() || (conditions.is_empty() && keys.len() < 2) {
            return Ok(None);
        }
        let asked = keys.iter().map(|(key, _)| field_of_key(key)).chain(conditions.iter().map(field_of));
        let Some(mut fields) = asked.collect::<Option<Vec<Field>>>() else { return Ok(None) };
        fields.push(Field::Scope);
        let Some(version) = tx.runs_version()? else { return Ok(None) };
        let mut found = HashMap::with_capacity(fields.len());
        let mut missing = Vec::new();
        for (field, kept) in self.look(&fields) {
            match kept {
                Some(kept) if kept.version == version => drop(found.insert(field, kept.values)),
                Some(kept) if kept.version > version => return Ok(None),
                Some(kept) => match self.renewed(tx, catalog, &field, &kept, version)? {
                    Some(values) => drop(found.insert(field, values)),
                    None => missing.push(field),
                },
                None => missing.push(field),
            }
        }
        if let Some(field) = self.worth_reading(&missing) {
            let reading = Reading(self);
            if let Some(values) = read::all(tx, &field, self.bytes_max / 2)? {
                let values = Arc::new(values);
                if self.keep(&field, Kept::new(Arc::clone(&values), version)) {
                    found.insert(field.clone(), values);
                    missing.retain(|other| *other != field);
                }
            } else {
                self.refuse(&field);
            }
            drop(reading);
        }
        if !missing.is_empty() {
            return Ok(None);
        }
        #[cfg(test)]
        {
            self.held().answered += 1;
        }
        Ok(Some(AtHand(found)))
    }

    /// What there is of some fields; notes that they were asked for.
    fn look(&self, fields: &[Field]) -> Vec<(Field, Option<Kept>)> {
        let now = Instant::now();
        let mut held = self.held();
        let mut found = Vec::with_capacity(fields.len());
        for field in fields {
            let slot = match held.fields.get_mut(field) {
                Some(slot) => slot,
                None => {
                    held.make_place(now);
                    let new = Slot { kept: None, asked: 0, last: now, refused: None };
                    held.fields.entry(field.clone()).or_insert(new)
                }
            };
            slot.asked = if now.duration_since(slot.last) < SOON { slot.asked.saturating_add(1) } else { 1 };
            slot.last = now;
            found.push((field.clone(), slot.kept.clone()));
        }
        found
    }

    /// The first of some fields that is to be read now.
    fn worth_reading(&self, missing: &[Field]) -> Option<Field> {
        let mut held = self.held();
        if held.reading {
            return None;
        }
        let slot = |field: &Field| held.fields.get(field);
        let refused = |field: &Field| slot(field).is_none_or(|slot| slot.refused.is_some_and(|at| at.elapsed() < SOON));
        // One that cannot be kept would make the others useless.
        if missing.iter().any(refused) {
            return None;
        }
        let field = missing.iter().find(|field| slot(field).is_some_and(|slot| slot.asked > ASKED_BEFORE)).cloned();
        held.reading = field.is_some();
        field
    }

    /// A field as it is in a later state; if what was changed is not known, or too much, it is kept no more.
    fn renewed(
        &self,
        tx: &mut dyn Tx,
        catalog: &Catalog,
        field: &Field,
        kept: &Kept,
        version: i64,
    ) -> Result<Option<Arc<Values>>, TrackingError> {
        let changed = catalog.runs_changed(kept.version, version).filter(|changed| changed.len() <= CHANGED_MAX);
        if let Some(changed) = changed {
            let mut values = Values::clone(&kept.values);
            if read::again(tx, field, &changed, &mut values)? {
                let values = Arc::new(values);
                self.keep(field, Kept::new(Arc::clone(&values), version));
                return Ok(Some(values));
            }
        }
        let mut held = self.held();
        if held.fields.get(field).and_then(|slot| slot.kept.as_ref()).is_some_and(|now| now.version <= kept.version) {
            held.drop_values(field);
        }
        Ok(None)
    }

    /// Keeps a field in a state, unless it is there in a later one; says whether there was room for it.
    fn keep(&self, field: &Field, kept: Kept) -> bool {
        let now = Instant::now();
        let mut held = self.held();
        let known = held.fields.get(field).and_then(|slot| slot.kept.as_ref());
        if known.is_some_and(|known| known.version >= kept.version) {
            return true;
        }
        held.drop_values(field);
        while held.bytes + kept.bytes > self.bytes_max {
            let unused = |slot: &Slot| slot.kept.is_some() && now.duration_since(slot.last) >= SOON;
            let longest = held.fields.iter().filter(|(_, slot)| unused(slot)).min_by_key(|(_, slot)| slot.last);
            let Some(longest) = longest.map(|(field, _)| field.clone()) else {
                drop(held);
                self.refuse(field);
                return false;
            };
            held.drop_values(&longest);
        }
        held.bytes += kept.bytes;
        let slot = Slot { kept: None, asked: 1, last: now, refused: None };
        held.fields.entry(field.clone()).or_insert(slot).kept = Some(kept);
        true
    }

    fn refuse(&self, field: &Field) {
        if let Some(slot) = self.held().fields.get_mut(field) {
            slot.refused = Some(Instant::now());
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many searches were answered from memory.
    #[cfg(test)]
    pub(super) fn answered(&self) -> usize {
        self.held().answered
    }
}

impl Held {
    fn drop_values(&mut self, field: &Field) {
        if let Some(kept) = self.fields.get_mut(field).and_then(|slot| slot.kept.take()) {
            self.bytes -= kept.bytes;
        }
    }

    /// Forgets fields that nobody asks for any more, before there are too many.
    fn make_place(&mut self, now: Instant) {
        if self.fields.len() >= KNOWN_MAX {
            self.fields.retain(|_, slot| slot.kept.is_some() || now.duration_since(slot.last) < SOON);
        }
        if self.fields.len() >= KNOWN_MAX {
            self.fields.retain(|_, slot| slot.kept.is_some());
        }
    }
}

/// The right to read a field, given back however the reading ends.
struct Reading<'a>(&'a Columns);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.held().reading = false;
    }
}
