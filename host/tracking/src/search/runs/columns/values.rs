//! What the runs have of one field, in memory: a value for each run, in stretches that share their memory with the
//! states of the field before and after.

use std::{collections::HashMap, sync::Arc};

use super::super::sets::Pattern;

/// Runs of a stretch: whole words of [`Hits`].
pub(super) const STRETCH: usize = if cfg!(test) { 64 } else { 4_096 };
/// Words of a stretch of a set.
pub(super) const WORDS: usize = STRETCH / 64;
/// A metric that a run does not have: a NaN unlike the one that stands for NaN. Told apart by its bits.
pub(super) const NO_NUMBER: f64 = f64::from_bits(0x7ff8_0000_0000_0001);
/// A time that a run does not have.
pub(super) const NO_TIME: i64 = i64::MIN;
/// A text that a run does not have.
pub(super) const NO_TEXT: u32 = 0;
/// Texts that may come to a field before it is read anew, with all of them in order.
const NEW_TEXTS_MAX: usize = if cfg!(test) { 4 } else { 256 };

/// Runs of a stretch, a bit for each.
pub(super) type Hits = [u64; WORDS];

/// Values by the number of their run.
#[derive(Debug, Clone)]
pub(super) struct Stretches<T> {
    list: Vec<Option<Arc<[T; STRETCH]>>>,
    missing: T,
}

impl<T: Copy> Stretches<T> {
    pub(super) const fn new(missing: T) -> Self {
        Self { list: Vec::new(), missing }
    }

    pub(super) fn get(&self, rid: usize) -> T {
        match self.list.get(rid / STRETCH) {
            Some(Some(stretch)) => stretch[rid % STRETCH],
            _ => self.missing,
        }
    }

    pub(super) fn set(&mut self, rid: usize, value: T) {
        let at = rid / STRETCH;
        if at >= self.list.len() {
            self.list.resize(at + 1, None);
        }
        let missing = self.missing;
        let stretch = self.list[at].get_or_insert_with(|| Arc::new([missing; STRETCH]));
        Arc::make_mut(stretch)[rid % STRETCH] = value;
    }

    pub(super) const fn len(&self) -> usize {
        self.list.len()
    }

    /// Keeps those of a stretch for whose values a test holds.
    pub(super) fn keep(&self, at: usize, hits: &mut Hits, test: impl Fn(T) -> bool) {
        let Some(Some(stretch)) = self.list.get(at) else {
            if !test(self.missing) {
                hits.fill(0);
            }
            return;
        };
        for (word, values) in hits.iter_mut().zip(stretch.chunks_exact(64)) {
            if *word != 0 {
                let mut found = 0;
                for (bit, value) in values.iter().enumerate() {
                    found |= u64::from(test(*value)) << bit;
                }
                *word &= found;
            }
        }
    }

    fn bytes(&self) -> usize {
        self.list.iter().flatten().count() * size_of::<[T; STRETCH]>() + self.list.len() * size_of::<usize>()
    }
}

/// Texts by the codes that stand for them, from 1: those that were there at first in their order, then new ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts {
    sorted: Arc<Sorted>,
    new: Vec<Arc<str>>,
}

#[derive(Debug, Default)]
struct Sorted {
    text: String,
    ends: Vec<u32>,
}

impl Sorted {
    fn get(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.text[start..self.ends[at] as usize]
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len() as u32);
    }
}

impl Texts {
    /// The text of a code that stands for one.
    pub(super) fn get(&self, code: u32) -> &str {
        let at = code as usize - 1;
        if at < self.sorted.ends.len() { self.sorted.get(at) } else { &self.new[at - self.sorted.ends.len()] }
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.ends.len() + self.new.len()
    }

    pub(super) fn find(&self, text: &str) -> Option<u32> {
        let sorted = self.sorted.ends.len();
        let (mut low, mut high) = (0, sorted);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.sorted.get(middle) < text { low = middle + 1 } else { high = middle }
        }
        if low < sorted && self.sorted.get(low) == text {
            return Some(low as u32 + 1);
        }
        self.new.iter().position(|new| **new == *text).map(|at| (sorted + at) as u32 + 1)
    }

    /// The codes up to this one are in the order of their texts.
    pub(super) fn in_order(&self) -> u32 {
        self.sorted.ends.len() as u32
    }

    /// Shows the codes of all texts that are like a pattern. What every such text contains is looked for in all of them
    /// at once.
    pub(super) fn each_like(&self, pattern: &mut Pattern, mut show: impl FnMut(u32)) {
        let Sorted { text: all, ends } = &*self.sorted;
        let small;
        let (within, part) = (
            if pattern.any_case() {
                small = all.to_ascii_lowercase();
                &small
            } else {
                all
            },
            pattern.longest_part().to_owned(),
        );
        let (mut at, mut from) = (0, 0);
        while at < ends.len() {
            let Some(found) = within[from..].find(&part).map(|found| from + found) else { break };
            // A text that ends where the part starts does not hold it, unless both are empty.
            at += ends[at..].partition_point(|end| (*end as usize) < found + part.len());
            let Some(end) = ends.get(at).map(|end| *end as usize) else { break };
            let start = if at == 0 { 0 } else { ends[at - 1] as usize };
            if found < start {
                // It goes from one text into the next.
                from = start;
                continue;
            }
            if pattern.matches(&all[start..end]) {
                show(at as u32 + 1);
            }
            (at, from) = (at + 1, end);
        }
        let new = self.in_order() + 1..=self.len() as u32;
        new.filter(|code| pattern.matches(self.get(*code))).for_each(show);
    }

    /// The code of a text, which may be new; nothing if there are too many new ones.
    pub(super) fn code(&mut self, text: &str) -> Option<u32> {
        if let Some(code) = self.find(text) {
            return Some(code);
        }
        if self.new.len() >= NEW_TEXTS_MAX {
            return None;
        }
        self.new.push(text.into());
        Some(self.len() as u32)
    }

    /// How the texts of two codes follow each other.
    pub(super) fn compare(&self, a: u32, b: u32) -> std::cmp::Ordering {
        if a == b {
            return std::cmp::Ordering::Equal;
        }
        if a.max(b) as usize <= self.sorted.ends.len() { a.cmp(&b) } else { self.get(a).cmp(self.get(b)) }
    }
}

/// Codes and texts in the making, from texts in any order.
#[derive(Debug)]
pub(super) struct Coding {
    codes: Stretches<u32>,
    texts: Sorted,
    /// Needed once a text came that is not behind all others.
    known: Option<HashMap<Box<str>, u32>>,
    last: u32,
}

impl Coding {
    pub(super) fn new() -> Self {
        Self { codes: Stretches::new(NO_TEXT), texts: Sorted::default(), known: None, last: NO_TEXT }
    }

    pub(super) fn set(&mut self, rid: usize, text: &str) {
        let code = self.code(text);
        self.last = code;
        self.codes.set(rid, code);
    }

    fn code(&mut self, text: &str) -> u32 {
        let count = self.texts.ends.len();
        if self.last != NO_TEXT && self.texts.get(self.last as usize - 1) == text {
            return self.last;
        }
        let next = count as u32 + 1;
        if self.known.is_none() {
            if count == 0 || self.texts.get(count - 1) < text {
                self.texts.push(text);
                return next;
            }
            self.known = Some((0..count).map(|at| (self.texts.get(at).into(), at as u32 + 1)).collect());
        }
        let known = self.known.get_or_insert_default();
        if let Some(code) = known.get(text) {
            return *code;
        }
        known.insert(text.into(), next);
        self.texts.push(text);
        next
    }

    /// Bytes of the texts until now.
    pub(super) const fn text_bytes(&self) -> usize {
        self.texts.text.len()
    }

    pub(super) fn finish(self) -> (Stretches<u32>, Texts) {
        let Self { mut codes, texts, known, .. } = self;
        let Some(known) = known else { return (codes, Texts { sorted: Arc::new(texts), new: Vec::new() }) };
        drop(known);
        let mut order: Vec<u32> = (0..texts.ends.len() as u32).collect();
        order.sort_unstable_by(|a, b| texts.get(*a as usize).cmp(texts.get(*b as usize)));
        let mut renamed = vec![NO_TEXT; order.len() + 1];
        let mut sorted =
            Sorted { text: String::with_capacity(texts.text.len()), ends: Vec::with_capacity(order.len()) };
        for (at, old) in order.iter().enumerate() {
            renamed[*old as usize + 1] = at as u32 + 1;
            sorted.push(texts.get(*old as usize));
        }
        for stretch in codes.list.iter_mut().flatten() {
            Arc::make_mut(stretch).iter_mut().for_each(|code| *code = renamed[*code as usize]);
        }
        (codes, Texts { sorted: Arc::new(sorted), new: Vec::new() })
    }
}

/// What all runs have of a field, in one state of the catalog.
#[derive(Debug, Clone)]
pub(super) enum Values {
    Numbers(Stretches<f64>),
    Times(Stretches<i64>),
    Texts(Stretches<u32>, Texts),
}

impl Values {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Numbers(stretches) => stretches.bytes(),
            Self::Times(stretches) => stretches.bytes(),
            Self::Texts(stretches, texts) => {
                let new: usize = texts.new.iter().map(|text| text.len() + size_of::<Arc<str>>()).sum();
                stretches.bytes() + texts.sorted.text.capacity() + texts.sorted.ends.capacity() * size_of::<u32>() + new
            }
        }
    }

    /// Takes a run's value away.
    pub(super) fn forget(&mut self, rid: usize) {
        match self {
            Self::Numbers(stretches) => stretches.set(rid, NO_NUMBER),
            Self::Times(stretches) => stretches.set(rid, NO_TIME),
            Self::Texts(stretches, _) => stretches.set(rid, NO_TEXT),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_codes_in_their_order_whatever_the_order_they_come_in() {
        for words in [vec!["a", "a", "b", "c"], vec!["c", "a", "c", "b", "a"], vec![]] {
            let mut coding = Coding::new();
            words.iter().enumerate().for_each(|(rid, word)| coding.set(rid * 50, word));
            let (codes, mut texts) = coding.finish();
            for (rid, word) in words.iter().enumerate() {
                let code = codes.get(rid * 50);
                assert_eq!((texts.get(code), texts.find(word)), (*word, Some(code)));
            }
            assert_eq!(codes.get(1), NO_TEXT);
            assert_eq!(texts.find("bb"), None);
            let new = texts.code("bb").unwrap();
            assert_eq!((texts.find("bb"), texts.get(new)), (Some(new), "bb"));
            for (a, b) in [("a", "bb"), ("bb", "c"), ("a", "c")] {
                if let (Some(a), Some(b)) = (texts.find(a), texts.find(b)) {
                    assert!(texts.compare(a, b).is_lt() && texts.compare(b, a).is_gt());
                }
            }
            let more: Vec<_> = (0..10).map(|n| texts.code(&format!("new {n}"))).collect();
            assert!(more[0].is_some() && more[9].is_none());
        }
    }

    #[test]
    fn a_changed_value_leaves_the_state_before_as_it_was() {
        let mut before = Stretches::new(NO_NUMBER);
        before.set(3, 1.0);
        let mut after = before.clone();
        after.set(3, 2.0);
        after.set(1_000, 3.0);
        assert_eq!((before.get(3), after.get(3), after.get(1_000)), (1.0, 2.0, 3.0));
        assert_eq!(before.get(1_000).to_bits(), NO_NUMBER.to_bits());
        let mut hits = [u64::MAX; WORDS];
        after.keep(0, &mut hits, |value| value > 1.5);
        assert_eq!(hits[0], 1 << 3);
        after.keep(5, &mut hits, f64::is_nan);
        assert_eq!(hits[0], 1 << 3);
    }
}
