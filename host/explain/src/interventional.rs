//! Exact attributions against reference rows (Lundberg et al. 2020, the interventional form).
//!
//! For one row and one reference row, a coalition decides for each player whose values count. A walk through a tree
//! needs to ask only where the two would go different ways; each leaf that can be reached has then some players that
//! must come from the row and some that must come from the reference, and what it gives to each follows from how many.

use crate::{Players, Shares, Trees, trees::Node};

/// Whose values of a player count on the way to where the walk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Open,
    Row,
    Reference,
}

struct Walk<'a> {
    trees: &'a Trees,
    players: &'a Players,
    row: &'a [f64],
    reference: &'a [f64],
    weights: &'a Weights,
    sides: Vec<Side>,
    /// Players whose side is decided, in the order of the way.
    decided: Vec<usize>,
    of_row: usize,
    shares: Shares,
}

pub(crate) fn shares(trees: &Trees, row: &[f64], reference: &[Vec<f64>], players: &Players) -> Shares {
    let weights = Weights::new(trees.depth.min(players.count()));
    let mut walk = Walk {
        trees,
        players,
        row,
        reference: &[],
        weights: &weights,
        sides: vec![Side::Open; players.count()],
        decided: Vec::with_capacity(trees.depth),
        of_row: 0,
        shares: Shares::zero(players.count(), trees.outputs),
    };
    for reference in reference {
        walk.reference = reference;
        trees.roots.iter().for_each(|root| walk.at(*root));
    }
    let mut shares = walk.shares;
    let count = reference.len() as f64;
    shares.parts.iter_mut().for_each(|part| *part /= count);
    for (sum, base) in shares.base.iter_mut().zip(&trees.base) {
        *sum = *sum / count + base;
    }
    shares
}

impl Walk<'_> {
    fn at(&mut self, node: u32) {
        let split = match &self.trees.nodes[node as usize] {
            Node::Leaf(leaf) => return self.leaf(*leaf),
            Node::Split(split) => split,
        };
        let (to, from) = (split.next(self.row), split.next(self.reference));
        if to == from {
            return self.at(to);
        }
        let player = self.players.of(split.feature);
        match self.sides[player] {
            Side::Row => self.at(to),
            Side::Reference => self.at(from),
            Side::Open => {
                self.decided.push(player);
                self.sides[player] = Side::Row;
                self.of_row += 1;
                self.at(to);
                self.sides[player] = Side::Reference;
                self.of_row -= 1;
                self.at(from);
                self.sides[player] = Side::Open;
                self.decided.pop();
            }
        }
    }

    fn leaf(&mut self, leaf: u32) {
        let values = self.trees.leaf(leaf);
        let (of_row, of_reference) = (self.of_row, self.decided.len() - self.of_row);
        if of_row == 0 {
            // The reference row alone ends here.
            self.shares.base.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
        for player in &self.decided {
            let weight = match self.sides[*player] {
                Side::Row => self.weights.of(of_row, of_reference),
                _ => -self.weights.of(of_reference, of_row),
            };
            self.shares.of_mut(*player).iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
        }
    }
}

/// `(a-1)! b! / (a+b)!` for all a and b on one way: the share of orders in which one player of a comes after the
/// others of a and before all of b.
struct Weights {
    width: usize,
    values: Vec<f64>,
}

impl Weights {
    fn new(most: usize) -> Self {
        let width = most + 1;
        let mut values = vec![0.0; width * width];
        for a in 1..width {
            values[a * width] = 1.0 / a as f64;
            for b in 1..width - a {
                values[a * width + b] = values[a * width + b - 1] * b as f64 / (a + b) as f64;
            }
        }
        Self { width, values }
    }

    #[inline]
    fn of(&self, a: usize, b: usize) -> f64 {
        self.values[a * self.width + b]
    }
}
