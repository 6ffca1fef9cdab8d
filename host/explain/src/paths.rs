//! Exact attributions along the trees' own paths (Lundberg et al. 2018, algorithm 2 of "Consistent individualized
//! feature attribution for tree ensembles").

use crate::{Players, Shares, Trees, trees::Node};

/// One player on the way from the root.
#[derive(Debug, Clone, Copy)]
struct Step {
    player: usize,
    /// The share of ways that go on here if the player is missing.
    missing: f64,
    /// Whether the row goes on here: one or zero.
    known: f64,
    /// Sum of the weights of all coalitions with as many players as this step's place says.
    weight: f64,
}

struct Walk<'a> {
    trees: &'a Trees,
    covers: &'a [f64],
    row: &'a [f64],
    players: &'a Players,
    shares: Shares,
}

/// Stands for no player: the first step of each way.
const NOBODY: usize = usize::MAX;

pub(crate) fn shares(trees: &Trees, covers: &[f64], row: &[f64], players: &Players) -> Shares {
    let mut shares = Shares::zero(players.count(), trees.outputs);
    for root in &trees.roots {
        expect(trees, covers, *root, 1.0, &mut shares.base);
    }
    shares.base.iter_mut().zip(&trees.base).for_each(|(sum, base)| *sum += base);
    let mut walk = Walk { trees, covers, row, players, shares };
    for root in &trees.roots {
        walk.at(*root, Vec::new(), 1.0, 1.0, NOBODY);
    }
    walk.shares
}

/// The share of a node's rows that go on to a child. Where no row came by, both children are as likely.
fn part(covers: &[f64], child: u32, other: u32) -> f64 {
    let (child, other) = (covers[child as usize], covers[other as usize]);
    if child + other > 0.0 { child / (child + other) } else { 0.5 }
}

/// Adds what a tree gives when nothing is known.
fn expect(trees: &Trees, covers: &[f64], node: u32, weight: f64, sums: &mut [f64]) {
    match &trees.nodes[node as usize] {
        Node::Leaf(leaf) => sums.iter_mut().zip(trees.leaf(*leaf)).for_each(|(sum, value)| *sum += weight * value),
        Node::Split(split) => {
            expect(trees, covers, split.yes, weight * part(covers, split.yes, split.no), sums);
            expect(trees, covers, split.no, weight * part(covers, split.no, split.yes), sums);
        }
    }
}

impl Walk<'_> {
    fn at(&mut self, node: u32, mut way: Vec<Step>, missing: f64, known: f64, player: usize) {
        extend(&mut way, missing, known, player);
        let split = match &self.trees.nodes[node as usize] {
            Node::Leaf(leaf) => return self.leaf(*leaf, &way),
            Node::Split(split) => *split,
        };
        let to = split.next(self.row);
        let other = if to == split.yes { split.no } else { split.yes };
        let player = self.players.of(split.feature);
        // A player met again counts once: what was known of it is taken back and comes in with the new step.
        let (mut missing, mut known) = (1.0, 1.0);
        if let Some(place) = way.iter().position(|step| step.player == player) {
            (missing, known) = (way[place].missing, way[place].known);
            unwind(&mut way, place);
        }
        let (to_part, other_part) = (part(self.covers, to, other), part(self.covers, other, to));
        // Where neither the row nor any share of rows goes, there is nothing to give.
        if known != 0.0 || missing * to_part != 0.0 {
            self.at(to, way.clone(), missing * to_part, known, player);
        }
        if missing * other_part != 0.0 {
            self.at(other, way, missing * other_part, 0.0, player);
        }
    }

    fn leaf(&mut self, leaf: u32, way: &[Step]) {
        let values = self.trees.leaf(leaf);
        for (place, step) in way.iter().enumerate().skip(1) {
            let weight = unwound(way, place) * (step.known - step.missing);
            self.shares.of_mut(step.player).iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
        }
    }
}

/// Adds a player to all coalitions on the way.
fn extend(way: &mut Vec<Step>, missing: f64, known: f64, player: usize) {
    let length = way.len();
    way.push(Step { player, missing, known, weight: if length == 0 { 1.0 } else { 0.0 } });
    let all = (length + 1) as f64;
    for place in (0..length).rev() {
        way[place + 1].weight += known * way[place].weight * (place + 1) as f64 / all;
        way[place].weight = missing * way[place].weight * (length - place) as f64 / all;
    }
}

/// Takes the player at a place out of all coalitions: undoes [`extend`].
fn unwind(way: &mut Vec<Step>, place: usize) {
    let last = way.len() - 1;
    let all = (last + 1) as f64;
    let Step { missing, known, .. } = way[place];
    let mut next = way[last].weight;
    for at in (0..last).rev() {
        if known != 0.0 {
            let before = way[at].weight;
            way[at].weight = next * all / ((at + 1) as f64 * known);
            next = before - way[at].weight * missing * (last - at) as f64 / all;
        } else {
            way[at].weight = way[at].weight * all / (missing * (last - at) as f64);
        }
    }
    for at in place..last {
        let Step { player, missing, known, .. } = way[at + 1];
        way[at] = Step { player, missing, known, weight: way[at].weight };
    }
    way.pop();
}

/// The sum of the weights that [`unwind`] would leave.
fn unwound(way: &[Step], place: usize) -> f64 {
    let last = way.len() - 1;
    let all = (last + 1) as f64;
    let Step { missing, known, .. } = way[place];
    let mut next = way[last].weight;
    let mut total = 0.0;
    for at in (0..last).rev() {
        if known != 0.0 {
            let weight = next * all / ((at + 1) as f64 * known);
            total += weight;
            next = way[at].weight - weight * missing * (last - at) as f64 / all;
        } else if missing != 0.0 {
            total += way[at].weight * all / (missing * (last - at) as f64);
        }
    }
    total
}
