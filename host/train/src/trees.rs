//! Trees as every trainer hands them to the export: `x < threshold` goes left, leaves hold one number for each target.

/// Trees whose leaves add up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ensemble {
    /// Numbers in each leaf.
    pub(crate) targets: usize,
    pub(crate) trees: Vec<Tree>,
}

/// One tree; its root is node 0, children come after their parent.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    /// `targets` numbers for each leaf, in the order of [`Node::Leaf`]'s index.
    pub(crate) leaves: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Node {
    Split {
        feature: u32,
        /// Left if the value is less.
        threshold: f32,
        left: u32,
        right: u32,
        /// Where a missing value goes.
        missing_left: bool,
    },
    Leaf(u32),
}

impl Ensemble {
    /// Adds the leaves that a row reaches to `sums`, which has one place for each target.
    pub(crate) fn add_to(&self, row: &[f32], sums: &mut [f64]) {
        for tree in &self.trees {
            let at = tree.leaf(row) * self.targets;
            for (sum, value) in sums.iter_mut().zip(&tree.leaves[at..at + self.targets]) {
                *sum += value;
            }
        }
    }

    /// Number of nodes of all trees.
    pub(crate) fn nodes(&self) -> usize {
        self.trees.iter().map(|tree| tree.nodes.len()).sum()
    }
}

impl Tree {
    fn leaf(&self, row: &[f32]) -> usize {
        let mut at = 0;
        loop {
            match self.nodes[at] {
                Node::Leaf(leaf) => return leaf as usize,
                Node::Split { feature, threshold, left, right, missing_left } => {
                    let value = row[feature as usize];
                    let go_left = if value.is_nan() { missing_left } else { value < threshold };
                    at = if go_left { left } else { right } as usize;
                }
            }
        }
    }
}

/// The 32-bit threshold that splits 32-bit values exactly as a 64-bit one does: the smallest that is not below it.
///
/// For a 32-bit `x`: `x < t` holds for the 64-bit `t` if and only if it holds for the result.
pub(crate) fn threshold_of(t: f64) -> f32 {
    let nearest = t as f32;
    if f64::from(nearest) < t { nearest.next_up() } else { nearest }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_rounded_threshold_takes_the_same_branch(
            t in prop_oneof![-10.0..10.0_f64, prop::num::f64::NORMAL | prop::num::f64::ZERO],
            steps in -3..4_i32,
        ) {
            let threshold = threshold_of(t);
            // The values that could go wrong are those next to the threshold.
            let mut x = t as f32;
            for _ in 0..steps.abs() {
                x = if steps < 0 { x.next_down() } else { x.next_up() };
            }
            prop_assume!(!x.is_nan());
            prop_assert_eq!(f64::from(x) < t, x < threshold, "{} {} {}", x, t, threshold);
        }
    }

    #[test]
    fn a_row_adds_the_leaves_it_reaches() {
        let split = Node::Split { feature: 1, threshold: 2.0, left: 1, right: 2, missing_left: true };
        let tree = Tree { nodes: vec![split, Node::Leaf(0), Node::Leaf(1)], leaves: vec![1.0, 10.0, 2.0, 20.0] };
        let ensemble = Ensemble { targets: 2, trees: vec![tree.clone(), tree] };
        for (value, expected) in [(1.9, [2.0, 20.0]), (2.0, [4.0, 40.0]), (f32::NAN, [2.0, 20.0])] {
            let mut sums = [0.0; 2];
            ensemble.add_to(&[0.0, value], &mut sums);
            assert_eq!(sums, expected);
        }
    }
}
