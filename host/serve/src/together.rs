//! Requests that are scored in one run of transforms and model, where they fit, and what each of them gets of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use arrow_array::Array;
use arrow_select::concat::concat;
use plinth_core::codes;
use plinth_ext::{Batch, ExtError, Tensor};
use plinth_score::{ScoreError, Scored, Scorer};

use crate::{Deployment, Input, Output, Served, TensorModel, Work};

/// Requests to one deployment, each with when it came.
pub(crate) type Taken = Vec<(Box<dyn Work>, Instant)>;

/// What `work` gives, or nothing if it panicked: a panic takes its own request with it, never the thread, and never
/// those that are scored beside it.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work));
    if done.is_err() {
        tracing::error!("the work of a request panicked");
    }
    done.ok()
}

/// Jobs that a thread has done.
pub(crate) struct Done {
    pub(crate) jobs: usize,
    /// How long all of them took.
    pub(crate) time: Duration,
}

/// Scores requests together where they fit, and answers each.
pub(crate) fn score(deployment: &Deployment, taken: Taken) -> Done {
    let (began, jobs) = (Instant::now(), taken.len());
    let bytes = taken.iter().map(|(work, _)| work.bytes()).sum::<Option<usize>>();
    match deployment.served() {
        Served::Rows(scorer) => score_rows(deployment, scorer, taken, began),
        Served::Tensors(model) => score_tensors(deployment, model, taken, began),
    }
    let time = began.elapsed();
    deployment.took(time, jobs, bytes);
    Done { jobs, time }
}

/// What no caller can bring about: a reader that does not read what its deployment takes.
fn unfit(work: Box<dyn Work>) {
    let error = ExtError::fault("the request", codes::INTERNAL, "was read as what the model does not take");
    work.answer(Err(error.into()), Duration::ZERO, 0);
}

fn score_rows(deployment: &Deployment, scorer: &Scorer, taken: Taken, began: Instant) {
    let rows_max = deployment.batching().rows_max as usize;
    let mut group: Vec<(Box<dyn Work>, Batch, Instant)> = Vec::with_capacity(taken.len());
    let mut total = 0;
    for (mut work, at) in taken {
        if work.abandoned() {
            continue;
        }
        let rows = match guarded(|| work.input()).flatten() {
            Some(Input::Rows(rows)) => rows,
            Some(Input::Tensors(_)) => {
                unfit(work);
                continue;
            }
            None => continue,
        };
        if total > 0 && total + rows.num_rows() > rows_max {
            together(deployment, scorer, std::mem::take(&mut group), began);
            total = 0;
        }
        total += rows.num_rows();
        group.push((work, rows, at));
    }
    if !group.is_empty() {
        together(deployment, scorer, group, began);
    }
}

/// The rows of all of them, one after the other.
fn join(group: &[(Box<dyn Work>, Batch, Instant)]) -> Option<Batch> {
    if let Some(whole) = Batch::join_numbers(&group.iter().map(|(_, rows, _)| rows).collect::<Vec<_>>()) {
        return Some(whole);
    }
    let first = &group[0].1;
    let columns = (0..first.num_columns()).map(|index| {
        let parts: Vec<&dyn Array> = group.iter().map(|(_, rows, _)| &**rows.column(index)).collect();
        concat(&parts)
    });
    let rows = group.iter().map(|(_, rows, _)| rows.num_rows()).sum();
    Batch::new(first.schema().clone(), columns.collect::<Result<_, _>>().ok()?, rows).ok()
}

fn together(deployment: &Deployment, scorer: &Scorer, group: Vec<(Box<dyn Work>, Batch, Instant)>, began: Instant) {
    let alone = |(work, rows, at): (Box<dyn Work>, Batch, Instant)| {
        guarded(|| {
            deployment.stats().ran(rows.num_rows());
            let scored = scorer.score_timed(&rows).map(Output::Rows);
            work.answer(scored, began.saturating_duration_since(at), rows.num_rows());
        });
    };
    if group.len() == 1 {
        return group.into_iter().for_each(alone);
    }
    let scored = join(&group).and_then(|rows| {
        deployment.stats().ran(rows.num_rows());
        guarded(|| scorer.score_timed(&rows).ok()).flatten()
    });
    // What one of them is to blame for is not the others' fault: each gets its own answer, or its own error.
    let Some(scored) = scored else { return group.into_iter().for_each(alone) };
    let together = scored.predictions.num_rows();
    let mut from = 0;
    for (work, rows, at) in group {
        let of = |whole: &Batch| whole.slice(from, rows.num_rows());
        let (predictions, joined) = (of(&scored.predictions), scored.joined.as_ref().map(of));
        let part = Scored { predictions, joined, ..scored };
        from += rows.num_rows();
        guarded(|| work.answer(Ok(Output::Rows(part)), began.saturating_duration_since(at), together));
    }
}

/// The same for a model of tensors: what fits has the same sizes but for the number of rows.
fn score_tensors(deployment: &Deployment, model: &TensorModel, taken: Taken, began: Instant) {
    let rows_max = deployment.batching().rows_max as usize;
    let mut group: Vec<Sent> = Vec::with_capacity(taken.len());
    for (mut work, at) in taken {
        if work.abandoned() {
            continue;
        }
        let tensors = match guarded(|| work.input()).flatten() {
            Some(Input::Tensors(tensors)) => tensors,
            Some(Input::Rows(_)) => {
                unfit(work);
                continue;
            }
            None => continue,
        };
        let rows = tensors.first().and_then(Tensor::rows).filter(|_| model.is_rowwise());
        let even = rows.is_some() && tensors.iter().all(|tensor| tensor.rows() == rows);
        let sent = Sent { rows: rows.filter(|_| even).unwrap_or(1), even, work, tensors, at };
        let fits = |first: &Sent| {
            let mut pairs = first.tensors.iter().zip(&sent.tensors);
            first.even && sent.even && pairs.all(|(a, b)| a.shape().get(1..) == b.shape().get(1..))
        };
        let total: usize = group.iter().map(|sent| sent.rows).sum();
        if group.first().is_some_and(|first| !fits(first)) || (total > 0 && total + sent.rows > rows_max) {
            run_together(deployment, model, std::mem::take(&mut group), began);
        }
        group.push(sent);
    }
    run_together(deployment, model, group, began);
}

/// A request for a model of tensors.
struct Sent {
    work: Box<dyn Work>,
    tensors: Vec<Tensor>,
    /// Everything counts as one where there are no rows.
    rows: usize,
    /// Whether all of its tensors have that many.
    even: bool,
    at: Instant,
}

fn run_together(deployment: &Deployment, model: &TensorModel, group: Vec<Sent>, began: Instant) {
    let run = |tensors: &[Tensor], rows: usize| {
        deployment.stats().ran(rows);
        let start = Instant::now();
        let tensors = model.run(tensors)?;
        Ok::<_, ExtError>((tensors, start, start.elapsed()))
    };
    let alone = |sent: Sent| {
        guarded(|| {
            let output = run(&sent.tensors, sent.rows);
            let output = output.map(|(tensors, began, model)| Output::Tensors { tensors, began, model });
            sent.work.answer(output.map_err(ScoreError::from), began.saturating_duration_since(sent.at), sent.rows);
        });
    };
    let together: usize = group.iter().map(|sent| sent.rows).sum();
    let joined = (group.len() > 1).then(|| {
        let column = |index: usize| Tensor::join(&group.iter().map(|sent| &sent.tensors[index]).collect::<Vec<_>>());
        (0..model.inputs().len()).map(column).collect::<Option<Vec<_>>>()
    });
    let output = joined.flatten().and_then(|joined| guarded(|| run(&joined, together).ok()).flatten());
    // What it was found to be when it was loaded holds for what it returned, or it is run again for each.
    let output = output.filter(|(tensors, ..)| tensors.iter().all(|tensor| tensor.rows() == Some(together)));
    let Some((whole, start, model)) = output else { return group.into_iter().for_each(alone) };
    let mut from = 0;
    for sent in group {
        let rows = from..from + sent.rows;
        from = rows.end;
        let waited = began.saturating_duration_since(sent.at);
        guarded(|| {
            let tensors = whole.iter().map(|tensor| tensor.slice(rows.clone())).collect();
            sent.work.answer(Ok(Output::Tensors { tensors, began: start, model }), waited, together);
        });
    }
}
