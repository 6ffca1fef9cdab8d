//! Trees as they are asked: one flat list of nodes, leaves with a number for each output.

use crate::{ExplainError, Shares, interventional, paths};

/// How deep a tree may be. Work on the stack grows with it, and no trainer makes deeper ones on purpose.
pub const DEPTH_MAX: usize = 512;

/// Trees whose leaves add up, read from a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Trees {
    pub(crate) outputs: usize,
    /// For each output, what is added to the leaves.
    pub(crate) base: Vec<f64>,
    /// Each tree's root.
    pub(crate) roots: Vec<u32>,
    pub(crate) nodes: Vec<Node>,
    /// `outputs` numbers for each leaf.
    pub(crate) leaves: Vec<f64>,
    /// For each node, how many rows came by, if that is known.
    pub(crate) covers: Option<Vec<f64>>,
    /// The longest way from a root to a leaf.
    pub(crate) depth: usize,
    /// One more than the highest feature.
    pub(crate) features: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Node {
    Split(Split),
    /// Its number among the leaves.
    Leaf(u32),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Split {
    pub(crate) feature: u32,
    pub(crate) test: Test,
    pub(crate) value: f64,
    pub(crate) yes: u32,
    pub(crate) no: u32,
    /// Whether a missing value passes the test.
    pub(crate) missing: bool,
}

/// What is asked of a feature and the split's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    AtMost,
    Less,
    AtLeast,
    More,
    Equal,
    Other,
}

impl Split {
    /// The child to which a row goes.
    #[inline]
    pub(crate) fn next(&self, row: &[f64]) -> u32 {
        let found = row[self.feature as usize];
        let passes = match self.test {
            Test::AtMost => found <= self.value,
            Test::Less => found < self.value,
            Test::AtLeast => found >= self.value,
            Test::More => found > self.value,
            Test::Equal => found == self.value,
            Test::Other => found != self.value,
        };
        if passes || (self.missing && found.is_nan()) { self.yes } else { self.no }
    }
}

/// Which features belong together: all features of a player are known or missing at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Players {
    /// For each feature its player.
    of: Vec<usize>,
    count: usize,
}

impl Players {
    /// Each feature for itself.
    pub fn features(count: usize) -> Self {
        Self { of: (0..count).collect(), count }
    }

    /// For each feature its player, from 0. A player may have no feature, and then gets nothing.
    ///
    /// # Panics
    /// If a player is not below `count`.
    pub fn groups(of: Vec<usize>, count: usize) -> Self {
        assert!(of.iter().all(|player| *player < count), "a player's number is not below {count}");
        Self { of, count }
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.count
    }

    #[inline]
    pub(crate) fn of(&self, feature: u32) -> usize {
        self.of[feature as usize]
    }
}

impl Trees {
    /// How many numbers the trees give: one for a regression or two classes, else one for each target or class.
    pub const fn outputs(&self) -> usize {
        self.outputs
    }

    /// How many features a row must have at least.
    pub const fn features(&self) -> usize {
        self.features
    }

    /// How many trees there are.
    pub const fn len(&self) -> usize {
        self.roots.len()
    }

    /// Whether there is no tree.
    pub const fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// Whether it is known how many rows came by each node.
    pub const fn has_covers(&self) -> bool {
        self.covers.is_some()
    }

    /// What the trees add up to for a row, for each output.
    ///
    /// # Errors
    /// [`ExplainError::TooFewFeatures`] if the row is too short.
    pub fn sums(&self, row: &[f64]) -> Result<Vec<f64>, ExplainError> {
        self.expect_features(row.len())?;
        let mut sums = self.base.clone();
        for root in &self.roots {
            let mut at = *root;
            loop {
                match &self.nodes[at as usize] {
                    Node::Split(split) => at = split.next(row),
                    Node::Leaf(leaf) => {
                        break sums.iter_mut().zip(self.leaf(*leaf)).for_each(|(sum, part)| *sum += part);
                    }
                }
            }
        }
        Ok(sums)
    }

    /// The same trees with covers counted on these rows.
    ///
    /// # Errors
    /// [`ExplainError::NoReference`], [`ExplainError::TooFewFeatures`].
    pub fn with_covers_of(mut self, rows: &[Vec<f64>]) -> Result<Self, ExplainError> {
        self.expect_rows(rows)?;
        let mut covers = vec![0.0; self.nodes.len()];
        for row in rows {
            for root in &self.roots {
                let mut at = *root;
                loop {
                    covers[at as usize] += 1.0;
                    match &self.nodes[at as usize] {
                        Node::Split(split) => at = split.next(row),
                        Node::Leaf(_) => break,
                    }
                }
            }
        }
        self.covers = Some(covers);
        Ok(self)
    }

    /// Attributions of a row against a reference set: what a coalition lacks takes its values from each reference row
    /// in turn. Exact; base and parts add up to [`Trees::sums`].
    ///
    /// # Errors
    /// [`ExplainError::NoReference`], [`ExplainError::TooFewFeatures`].
    pub fn against(&self, row: &[f64], reference: &[Vec<f64>], players: &Players) -> Result<Shares, ExplainError> {
        self.expect_features(row.len())?;
        self.expect_features(players.of.len())?;
        self.expect_rows(reference)?;
        Ok(interventional::shares(self, row, reference, players))
    }

    /// Attributions of a row along the trees' paths: what a coalition lacks follows both branches, weighted by the
    /// rows that came by. Exact; base and parts add up to [`Trees::sums`].
    ///
    /// # Errors
    /// [`ExplainError::NoCovers`], [`ExplainError::TooFewFeatures`].
    pub fn along_paths(&self, row: &[f64], players: &Players) -> Result<Shares, ExplainError> {
        self.expect_features(row.len())?;
        self.expect_features(players.of.len())?;
        let covers = self.covers.as_deref().ok_or(ExplainError::NoCovers)?;
        Ok(paths::shares(self, covers, row, players))
    }

    pub(crate) fn leaf(&self, leaf: u32) -> &[f64] {
        let at = leaf as usize * self.outputs;
        &self.leaves[at..at + self.outputs]
    }

    fn expect_features(&self, given: usize) -> Result<(), ExplainError> {
        if given < self.features {
            return Err(ExplainError::TooFewFeatures { feature: self.features - 1, given });
        }
        Ok(())
    }

    fn expect_rows(&self, rows: &[Vec<f64>]) -> Result<(), ExplainError> {
        if rows.is_empty() {
            return Err(ExplainError::NoReference);
        }
        rows.iter().try_for_each(|row| self.expect_features(row.len()))
    }
}
