use std::{num::NonZeroU32, sync::mpsc};

use plinth_ext::{ExtError, Field, Kind, Model, Numbers, Schema};
use plinth_score::{Scorer, Signature};

use super::*;
use crate::Capacity;

const SOME: Option<usize> = Some(8);

fn columns() -> Schema {
    Schema::new(vec![Field::new("ms", Kind::Float64, false)]).unwrap()
}

/// Takes as many milliseconds as the first row says, and gives the rows back.
struct Takes(Schema);

impl Model for Takes {
    fn input(&self) -> &Schema {
        &self.0
    }
    fn output(&self) -> &Schema {
        &self.0
    }
    fn predict(&self, features: &Batch) -> Result<Batch, ExtError> {
        if let Some(Numbers::F64(ms)) = features.numbers()
            && ms[0] > 0.0
        {
            thread::sleep(Duration::from_secs_f64(ms[0] / 1e3));
        }
        Ok(features.clone())
    }
}

fn takes(capacity: Capacity) -> Deployment {
    let scorer = Scorer::new(Signature::new(columns()), vec![], Arc::new(Takes(columns()))).unwrap();
    Deployment::new("takes", 1, scorer, vec![]).with(capacity)
}

/// Tells which thread scored it, and with how many rows.
struct Told {
    ms: f64,
    bytes: Option<usize>,
    tell: mpsc::Sender<(String, usize)>,
}

impl Work for Told {
    fn abandoned(&self) -> bool {
        false
    }
    fn bytes(&self) -> Option<usize> {
        self.bytes
    }
    fn input(&mut self) -> Option<Input> {
        Some(Input::Rows(Batch::of_numbers(columns(), Numbers::F64(vec![self.ms].into()), 1).unwrap()))
    }
    fn answer(self: Box<Self>, scored: Result<Output, ScoreError>, _: Duration, together: usize) {
        scored.unwrap();
        self.tell.send((thread::current().name().unwrap_or_default().to_owned(), together)).unwrap();
    }
}

/// Who scored the requests that came together, once the pace is known, and in which company.
fn scored_by(deployment: Deployment, threads: usize, ms: f64, bytes: &[Option<usize>]) -> Vec<(String, usize)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pool = Arc::new(Pool::new(threads).unwrap());
    let deployment = Arc::new(deployment);
    let asleep = || {
        while pool.idle() < threads {
            thread::yield_now();
        }
    };
    let ask = |bytes: &[Option<usize>]| {
        asleep();
        let (tell, told) = mpsc::channel();
        let local = tokio::task::LocalSet::new();
        for &bytes in bytes {
            let (pool, deployment, tell) = (Arc::clone(&pool), Arc::clone(&deployment), tell.clone());
            local.spawn_local(async move {
                pool.score(deployment, Box::new(Told { ms, bytes, tell })).unwrap().told().await;
            });
        }
        drop(tell);
        let mut heard = Vec::new();
        runtime.block_on(async {
            local.await;
            // What is left is done by tasks of the runtime.
            loop {
                match told.try_recv() {
                    Ok(one) => heard.push(one),
                    Err(mpsc::TryRecvError::Empty) => tokio::task::yield_now().await,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
        });
        heard
    };
    let first = ask(&[SOME]);
    assert!(first[0].0.starts_with("plinth-score-"), "nothing is known of its pace yet: {first:?}");
    assert_eq!(deployment.waiting(), 0);
    // What the first one took, which is known once its thread sleeps, is more than what one takes later.
    asleep();
    let each = Duration::from_secs_f64(ms / 1e3).max(Duration::from_micros(4));
    (0..30).for_each(|_| deployment.took(each * 1_000, 1_000, Some(8_000)));
    let told = ask(bytes);
    asleep();
    assert_eq!(deployment.waiting(), 0);
    told
}

#[test]
fn what_is_soon_done_is_scored_where_it_came() {
    let here = thread::current().name().unwrap().to_owned();
    let native = || takes(Capacity::default()).native();
    let by = |told: &[(String, usize)]| told.iter().map(|(name, _)| *name == here).collect::<Vec<_>>();
    assert_eq!(scored_by(native(), 2, 0.0, &[SOME; 5]), vec![(here.clone(), 5); 5]);
    // One that is large, or of which nobody can tell, and what comes after it, is for a thread; what came before is
    // not. Of 8 bytes each, 50 are done in the time that there is with two threads.
    for other in [Some(SMALL_BYTES + 1), Some(50 * 8 - 2 * 8 + 1), None] {
        let told = scored_by(native(), 2, 0.0, &[SOME, SOME, other, SOME]);
        assert_eq!(by(&told).iter().filter(|here| **here).count(), 2, "{other:?}: {told:?}");
    }
    assert_eq!(by(&scored_by(native(), 2, 0.0, &[SOME, SOME, Some(50 * 8 - 3 * 8), SOME])), [true; 4]);
    // So is what takes long, and what enters a sandbox, waits for company, or for its turn.
    assert_eq!(by(&scored_by(native(), 1, 3.0, &[SOME; 2])), [false; 2]);
    assert_eq!(by(&scored_by(takes(Capacity::default()), 1, 0.0, &[SOME; 2])), [false; 2]);
    let batching = Batching { rows_max: 8, wait_us: 1_000 };
    let waits = takes(Capacity { batching, ..Capacity::default() }).native();
    assert_eq!(by(&scored_by(waits, 1, 0.0, &[SOME; 2])), [false; 2]);
    let turns = Capacity { concurrency_max: NonZeroU32::new(1), ..Capacity::default() };
    assert_eq!(by(&scored_by(takes(turns).native(), 1, 0.0, &[SOME; 2])), [false; 2]);
    // As many as are soon done; the others are not forgotten.
    let told = scored_by(native(), 2, 0.0, &[SOME; 100]);
    assert_eq!(told.len(), 100);
    assert_eq!(by(&told).iter().filter(|here| **here).count(), 50, "{told:?}");
    // With one thread nobody is woken for the others, either: a hundred, and then the rest. But for what is large.
    let told = scored_by(native(), 1, 0.0, &[SOME; 120].map(|bytes| bytes.map(|bytes| bytes + 2)));
    assert_eq!(by(&told), [true; 120], "{told:?}");
    assert_eq!((told[0].1, told[119].1), (100, 20));
    let told = scored_by(native(), 1, 0.0, &[SOME, Some(SMALL_BYTES + 1)]);
    assert_eq!(by(&told), [true, false], "{told:?}");
}

#[tokio::test]
async fn work_is_done_off_the_caller_and_a_panic_ends_only_its_own_request() {
    let pool = Pool::new(1).unwrap();
    let name = pool.run(|| thread::current().name().map(str::to_owned)).await.unwrap();
    assert_eq!(name.as_deref(), Some("plinth-score-0"));
    let error = pool.run(|| -> () { panic!("on purpose") }).await.unwrap_err();
    assert!(matches!(error, ServeError::GivenUp { .. }));
    assert_eq!(pool.run(|| 7).await.unwrap(), 7);
}

#[test]
fn one_call_is_enough_for_two_that_came_together() {
    let pool = Pool::new(2).unwrap();
    let (release, held) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let jobs: [Box<dyn FnOnce() + Send>; 2] =
        [Box::new(move || held.recv().unwrap()), Box::new(move || tell.send(()).unwrap())];
    // Both threads sleep by now, and would take what they find.
    while pool.idle() < 2 {
        thread::yield_now();
    }
    let queued = jobs.map(|job| pool.shared.push(Job::Other(job, Instant::now())).unwrap());
    drop(queued);
    told.recv_timeout(Duration::from_secs(10)).expect("the second thread does it while the first is held up");
    release.send(()).unwrap();
}

#[tokio::test]
async fn work_whose_caller_has_left_is_not_begun() {
    let pool = Arc::new(Pool::new(1).unwrap());
    let (release, held) = mpsc::channel::<()>();
    let (began, begun) = oneshot::channel();
    let holder = Arc::clone(&pool);
    let busy = tokio::spawn(async move {
        let hold = move || {
            began.send(()).unwrap();
            held.recv().unwrap();
        };
        holder.run(hold).await
    });
    begun.await.unwrap();
    let (told, tell) = mpsc::channel();
    {
        let mut left = Box::pin(pool.run(move || told.send(()).unwrap()));
        let poll = std::future::poll_fn(|context| std::task::Poll::Ready(left.as_mut().poll(context).is_pending()));
        assert!(poll.await);
    }
    release.send(()).unwrap();
    busy.await.unwrap().unwrap();
    pool.run(|| ()).await.unwrap();
    assert!(tell.recv().is_err(), "the sender was dropped unused");
}
