//! Weighted least squares under one constraint: parts that add up to a given total.

/// What the parts explain: coalitions with their weights, and for each what was seen of each output.
pub(crate) struct Seen<'a> {
    pub(crate) players: usize,
    pub(crate) outputs: usize,
    /// For each coalition, for each player whether it is in it.
    pub(crate) members: &'a [bool],
    pub(crate) weights: &'a [f64],
    /// For each coalition, each output less its base.
    pub(crate) values: &'a [f64],
    /// For each output, what the parts must add up to.
    pub(crate) totals: &'a [f64],
}

/// The parts, for each player for each output. The last player's follow from the total.
///
/// The coalitions must contain each player alone: then the equations have one solution.
pub(crate) fn parts(seen: &Seen<'_>) -> Vec<f64> {
    let (players, outputs) = (seen.players, seen.outputs);
    let free = players - 1;
    let mut normal = vec![0.0; free * free];
    let mut right = vec![0.0; free * outputs];
    let mut row = vec![0.0; free];
    for (at, members) in seen.members.chunks_exact(players).enumerate() {
        let weight = seen.weights[at];
        let last = f64::from(u8::from(members[free]));
        row.iter_mut().zip(members).for_each(|(cell, member)| *cell = f64::from(u8::from(*member)) - last);
        let values = &seen.values[at * outputs..(at + 1) * outputs];
        for i in 0..free {
            if row[i] == 0.0 {
                continue;
            }
            let scaled = weight * row[i];
            for j in 0..=i {
                normal[i * free + j] += scaled * row[j];
            }
            for output in 0..outputs {
                right[i * outputs + output] += scaled * (values[output] - last * seen.totals[output]);
            }
        }
    }
    cholesky(&mut normal, free);
    substitute(&normal, free, &mut right, outputs);
    for output in 0..outputs {
        let sum: f64 = (0..free).map(|player| right[player * outputs + output]).sum();
        right.push(seen.totals[output] - sum);
    }
    right
}

/// Turns the lower half of a symmetric positive definite matrix into the lower factor of itself.
fn cholesky(matrix: &mut [f64], size: usize) {
    for i in 0..size {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| matrix[i * size + k] * matrix[j * size + k]).sum();
            let left = matrix[i * size + j] - dot;
            matrix[i * size + j] = if i == j { left.sqrt() } else { left / matrix[j * size + j] };
        }
    }
}

/// Solves for all right sides at once, in place.
fn substitute(factor: &[f64], size: usize, right: &mut [f64], sides: usize) {
    for side in 0..sides {
        for i in 0..size {
            let dot: f64 = (0..i).map(|k| factor[i * size + k] * right[k * sides + side]).sum();
            right[i * sides + side] = (right[i * sides + side] - dot) / factor[i * size + i];
        }
        for i in (0..size).rev() {
            let dot: f64 = (i + 1..size).map(|k| factor[k * size + i] * right[k * sides + side]).sum();
            right[i * sides + side] = (right[i * sides + side] - dot) / factor[i * size + i];
        }
    }
}
