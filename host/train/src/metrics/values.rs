//! How far predicted numbers are off.

/// Root of the mean squared error.
pub fn rmse(truth: &[f64], said: &[f64]) -> f64 {
    mean(truth.iter().zip(said).map(|(t, s)| (t - s).powi(2))).sqrt()
}

/// Mean absolute error.
pub fn mae(truth: &[f64], said: &[f64]) -> f64 {
    mean(truth.iter().zip(said).map(|(t, s)| (t - s).abs()))
}

/// Share of the variance that is explained; below 0 if worse than the mean. None if the truth does not vary.
pub fn r2(truth: &[f64], said: &[f64]) -> Option<f64> {
    let centre = mean(truth.iter().copied());
    let left: f64 = truth.iter().zip(said).map(|(t, s)| (t - s).powi(2)).sum();
    let all: f64 = truth.iter().map(|t| (t - centre).powi(2)).sum();
    (all > 0.0).then(|| 1.0 - left / all)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len();
    if count == 0 { 0.0 } else { values.sum::<f64>() / count as f64 }
}
