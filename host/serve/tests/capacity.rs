//! What deployments may take of a server: threads, places in the queue, memory.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    num::NonZeroU32,
    sync::{Arc, Condvar, Mutex, mpsc},
    time::Duration,
};

use arrow_array::{ArrayRef, Float64Array};
use plinth_core::{Coded, ServeLimits, codes};
use plinth_ext::{Batch, ExtError, Field, Kind, Model, Schema};
use plinth_score::{ScoreError, Scorer, Signature};
use plinth_serve::{
    Batching, Capacity, Deployment, DeploymentPlan, EndpointPlan, Generation, Input, Options, Outcome, Output, Queued,
    ServeError, Server, Source, Work,
};

fn rows(values: &[f64]) -> Batch {
    let schema = Schema::new(vec![Field::new("x", Kind::Float64, false)]).unwrap();
    let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    Batch::new(schema, vec![column], values.len()).unwrap()
}

/// Lets those through for whom there is a ticket, and tells of everyone who comes.
#[derive(Default)]
struct Turnstile(Mutex<usize>, Condvar);

impl Turnstile {
    fn pass(&self) {
        let mut tickets = self.1.wait_while(self.0.lock().unwrap(), |tickets| *tickets == 0).unwrap();
        *tickets -= 1;
    }
    fn admit(&self, tickets: usize) {
        *self.0.lock().unwrap() += tickets;
        self.1.notify_all();
    }
}

/// Says which of its models runs, and how many rows it got; `slow` then waits for a ticket, except when it is warmed up.
struct Told {
    name: &'static str,
    columns: Schema,
    turnstile: Arc<Turnstile>,
    tell: mpsc::Sender<(&'static str, usize)>,
}

impl Model for Told {
    fn input(&self) -> &Schema {
        &self.columns
    }
    fn output(&self) -> &Schema {
        &self.columns
    }
    fn predict(&self, features: &Batch) -> Result<Batch, ExtError> {
        let x: &Float64Array = features.column(0).as_any().downcast_ref().unwrap();
        // The trial row is a zero.
        if x.value(0) != 0.0 {
            let _ = self.tell.send((self.name, features.num_rows()));
            if self.name == "slow" {
                self.turnstile.pass();
            }
        }
        Ok(features.clone())
    }
}

/// Models by name, each an endpoint; their files have this many bytes.
struct Shelf {
    plans: Vec<EndpointPlan>,
    bytes: u64,
    turnstile: Arc<Turnstile>,
    tell: mpsc::Sender<(&'static str, usize)>,
    loaded: Mutex<Vec<String>>,
}

impl Source for Shelf {
    fn current(&self) -> Result<Generation, ServeError> {
        Ok(Generation(1))
    }
    fn plan(&self) -> Result<Vec<EndpointPlan>, ServeError> {
        Ok(self.plans.clone())
    }
    fn load(&self, what: &DeploymentPlan) -> Result<Deployment, ServeError> {
        self.loaded.lock().unwrap().push(what.model.to_string());
        let model = Told {
            name: if *what.model == *"slow" { "slow" } else { "quick" },
            columns: rows(&[]).schema().clone(),
            turnstile: Arc::clone(&self.turnstile),
            tell: self.tell.clone(),
        };
        let scorer = Scorer::new(Signature::new(model.columns.clone()), vec![], Arc::new(model)).unwrap();
        let bytes = if *what.model == *"giant" { 10 * self.bytes } else { self.bytes };
        Ok(Deployment::new(&what.model, what.version, scorer, vec![]).of_bytes(bytes))
    }
}

struct Bench {
    server: Arc<Server>,
    shelf: Arc<Shelf>,
    turnstile: Arc<Turnstile>,
    ran: mpsc::Receiver<(&'static str, usize)>,
}

fn bench(names: &[&str], capacity: Capacity, limits: ServeLimits) -> Bench {
    let (tell, ran) = mpsc::channel();
    let turnstile = Arc::<Turnstile>::default();
    let plan = |name: &&str| {
        let mut plan = EndpointPlan::single(name, 1);
        if **name == *"slow" {
            plan.deployments[0].capacity = capacity;
        }
        plan
    };
    let plans = names.iter().map(plan).collect();
    let shelf =
        Arc::new(Shelf { plans, bytes: 100, turnstile: Arc::clone(&turnstile), tell, loaded: Mutex::default() });
    // Tests say when to look.
    let scoring_threads = if limits.scoring_threads == 0 { 2 } else { limits.scoring_threads };
    let limits = ServeLimits { source_poll_ms: 3_600_000, scoring_threads, ..limits };
    let server = Server::start(Arc::clone(&shelf) as _, Options { limits, ..Options::default() }).unwrap();
    Bench { server, shelf, turnstile, ran }
}

/// With how many rows a request was scored, or why it was not.
type Answer = mpsc::Receiver<Result<usize, &'static str>>;

/// A request that says over a channel how it was answered.
struct Asked(mpsc::Sender<Result<usize, &'static str>>);

impl Work for Asked {
    fn abandoned(&self) -> bool {
        false
    }
    fn bytes(&self) -> Option<usize> {
        Some(8)
    }

    fn input(&mut self) -> Option<Input> {
        Some(Input::Rows(rows(&[1.0])))
    }
    fn answer(self: Box<Self>, scored: Result<Output, ScoreError>, _: Duration, together: usize) {
        let _ = self.0.send(scored.map(|_| together).map_err(|error| error.code().name()));
    }
}

impl Bench {
    fn ask(&self, name: &str) -> Result<Answer, ServeError> {
        Ok(self.queue(name)?.1)
    }

    /// The same, of which nobody is told yet unless those before it were.
    fn queue(&self, name: &str) -> Result<(Queued, Answer), ServeError> {
        let (tell, told) = mpsc::channel();
        let deployment = Arc::clone(self.server.endpoint(Some(name))?.main().deployment());
        Ok((self.server.score(deployment, Box::new(Asked(tell)))?, told))
    }

    /// The next model that runs.
    fn runs(&self) -> (&'static str, usize) {
        self.ran.recv_timeout(Duration::from_secs(10)).expect("something runs")
    }

    fn used(&self, name: &str) {
        let endpoint = self.server.endpoint(Some(name)).unwrap();
        endpoint.main().traffic().count(Outcome::Answered, Duration::ZERO);
        self.server.refresh().unwrap();
    }

    fn in_service(&self) -> Vec<String> {
        self.server.routes().endpoints().iter().map(|endpoint| endpoint.name().to_string()).collect()
    }

    fn asleep(&self) -> Vec<String> {
        self.server.asleep().iter().map(ToString::to_string).collect()
    }
}

const TEN_SECONDS: Duration = Duration::from_secs(10);

#[test]
fn one_that_may_score_once_at_a_time_leaves_the_other_threads_to_others() {
    let alone = Batching { rows_max: 1, wait_us: 0 };
    let capacity = Capacity { batching: alone, concurrency_max: NonZeroU32::new(1), ..Capacity::default() };
    let bench = bench(&["slow", "quick"], capacity, ServeLimits::default());
    let slow: Vec<_> = (0..5).map(|_| bench.ask("slow").unwrap()).collect();
    assert_eq!(bench.runs(), ("slow", 1));
    // Both threads would hang now if it could have them.
    for _ in 0..3 {
        assert_eq!(bench.ask("quick").unwrap().recv_timeout(TEN_SECONDS).unwrap(), Ok(1));
        assert_eq!(bench.runs(), ("quick", 1));
    }
    let deployment = Arc::clone(bench.server.endpoint(Some("slow")).unwrap().main().deployment());
    assert_eq!((deployment.waiting() + 1, bench.server.waiting()), (5, 4));
    for (index, told) in slow.iter().enumerate() {
        bench.turnstile.admit(1);
        assert_eq!(told.recv_timeout(TEN_SECONDS).unwrap(), Ok(1), "the request {index} in its turn");
    }
    assert_eq!((deployment.waiting(), bench.server.waiting()), (0, 0));
}

#[test]
fn what_waits_for_a_limited_deployment_is_scored_together() {
    let capacity = Capacity { concurrency_max: NonZeroU32::new(1), ..Capacity::default() };
    let bench = bench(&["slow", "quick"], capacity, ServeLimits::default());
    let first = bench.ask("slow").unwrap();
    assert_eq!(bench.runs(), ("slow", 1));
    let others: Vec<_> = (0..4).map(|_| bench.ask("slow").unwrap()).collect();
    // So that all of them have been looked at.
    assert_eq!(bench.ask("quick").unwrap().recv_timeout(TEN_SECONDS).unwrap(), Ok(1));
    bench.turnstile.admit(2);
    assert_eq!(first.recv_timeout(TEN_SECONDS).unwrap(), Ok(1));
    for told in others {
        assert_eq!(told.recv_timeout(TEN_SECONDS).unwrap(), Ok(4));
    }
}

#[test]
fn where_as_many_wait_as_may_the_next_is_refused() {
    let alone = Batching { rows_max: 1, wait_us: 0 };
    let capacity = Capacity {
        batching: alone,
        concurrency_max: NonZeroU32::new(1),
        waiting_max: NonZeroU32::new(2),
        ..Capacity::default()
    };
    let bench = bench(&["slow", "quick"], capacity, ServeLimits::default());
    let first = bench.ask("slow").unwrap();
    assert_eq!(bench.runs(), ("slow", 1));
    let waiting = [bench.ask("slow").unwrap(), bench.ask("slow").unwrap()];
    let error = bench.ask("slow").unwrap_err();
    assert_eq!(error.to_string(), "2 requests wait for version 1 of `slow`, which is its limit");
    assert_eq!((error.code(), bench.server.shed()), (codes::OVERLOADED, 1));
    assert_eq!(bench.ask("quick").unwrap().recv_timeout(TEN_SECONDS).unwrap(), Ok(1));
    bench.turnstile.admit(4);
    for told in waiting.iter().chain([&first]) {
        assert_eq!(told.recv_timeout(TEN_SECONDS).unwrap(), Ok(1));
    }
    assert_eq!(bench.ask("slow").unwrap().recv_timeout(TEN_SECONDS).unwrap(), Ok(1));
}

#[test]
fn who_came_too_late_keeps_nobody_out_once_the_queue_is_empty() {
    let limits = ServeLimits { scoring_threads: 1, queue_ms_max: 5, ..ServeLimits::default() };
    let bench = bench(&["slow"], Capacity::default(), limits);
    let first = bench.ask("slow").unwrap();
    assert_eq!(bench.runs(), ("slow", 1));
    let others: Vec<_> = (0..3).map(|_| bench.ask("slow").unwrap()).collect();
    std::thread::sleep(Duration::from_millis(50));
    bench.turnstile.admit(1);
    assert_eq!(first.recv_timeout(TEN_SECONDS).unwrap(), Ok(1));
    // All of them are taken at once, later than they may wait.
    assert_eq!(bench.runs(), ("slow", 3));
    bench.turnstile.admit(1);
    for told in others {
        assert_eq!(told.recv_timeout(TEN_SECONDS).unwrap(), Ok(3));
    }
    assert!(bench.server.admit().is_ok(), "nobody waits");
}

#[test]
fn who_would_wait_too_long_is_told_at_once() {
    let alone = Batching { rows_max: 1, wait_us: 0 };
    let limits = ServeLimits { scoring_threads: 1, queue_ms_max: 100, ..ServeLimits::default() };
    let capacity = Capacity { batching: alone, ..Capacity::default() };
    let bench = bench(&["slow"], capacity, limits);
    // One takes at least 60 ms.
    let first = bench.ask("slow").unwrap();
    assert_eq!(bench.runs(), ("slow", 1));
    std::thread::sleep(Duration::from_millis(60));
    bench.turnstile.admit(1);
    assert_eq!(first.recv_timeout(TEN_SECONDS).unwrap(), Ok(1));
    let others: Vec<_> = (0..11).map(|_| bench.ask("slow").unwrap()).collect();
    assert_eq!(bench.runs(), ("slow", 1));
    std::thread::sleep(Duration::from_millis(60));
    let error = bench.server.admit().unwrap_err();
    assert_eq!((error.code(), bench.server.shed()), (codes::OVERLOADED, 1));
    assert!(matches!(error, ServeError::Slow { wait_ms: 101.., max: 100 }), "{error}");
    bench.turnstile.admit(11);
    for told in others {
        assert_eq!(told.recv_timeout(TEN_SECONDS).unwrap(), Ok(1));
    }
    assert!(bench.server.admit().is_ok(), "nobody waits");
}

#[test]
fn one_call_for_all_that_came_together_reaches_as_many_threads_as_there_is_work_for() {
    let waits = Capacity { batching: Batching { rows_max: 64, wait_us: 30_000_000 }, ..Capacity::default() };
    // Behind one that hangs, and behind one that waits for company.
    for capacity in [Capacity::default(), waits] {
        let bench = bench(&["slow", "quick"], capacity, ServeLimits::default());
        for _ in 0..20 {
            assert_eq!(bench.ask("quick").unwrap().recv_timeout(TEN_SECONDS).unwrap(), Ok(1));
        }
        let (queued, slow) = bench.queue("slow").unwrap();
        let (seen, behind): (Vec<_>, Vec<_>) = (0..3).map(|_| bench.queue("quick").unwrap()).unzip();
        drop((queued, seen));
        for told in behind {
            assert!(told.recv_timeout(TEN_SECONDS).unwrap().is_ok(), "the other thread has nothing to do");
        }
        bench.turnstile.admit(1);
        if capacity == waits {
            // Nobody waits for the rest of half a minute.
            continue;
        }
        assert_eq!(slow.recv_timeout(TEN_SECONDS).unwrap(), Ok(1));
    }
}

#[test]
fn more_models_than_memory_is_there_for_sleep_until_they_are_asked() {
    let limits = ServeLimits { models_bytes_max: 250, ..ServeLimits::default() };
    let bench = bench(&["a", "b", "c", "d"], Capacity::default(), limits);
    assert_eq!((bench.in_service(), bench.asleep()), (vec!["a".into(), "b".into()], vec!["c".into(), "d".into()]));
    // Once there was no room, no other was even loaded.
    assert_eq!(*bench.shelf.loaded.lock().unwrap(), ["a", "b", "c"]);
    assert!(bench.server.endpoint(None).is_err() && bench.server.sleeps("c"));
    assert_eq!(bench.server.models(Some("d")).unwrap(), ["d".into()]);

    bench.used("a");
    assert_eq!(*bench.server.wake("d").unwrap().unwrap().name(), "d".into());
    assert_eq!((bench.in_service(), bench.asleep()), (vec!["a".into(), "d".into()], vec!["b".into(), "c".into()]));
    // Its size is known, so that who sleeps for it is gone before it comes.
    bench.used("d");
    bench.server.wake("c").unwrap();
    assert_eq!((bench.in_service(), bench.asleep()), (vec!["c".into(), "d".into()], vec!["a".into(), "b".into()]));
    assert_eq!((bench.server.models_bytes(), bench.server.put_to_sleep()), (200, 4));
    bench.server.refresh().unwrap();
    assert_eq!(bench.in_service(), ["c", "d"]);
    // Somebody loads it by hand, and another is unloaded by hand: that one does not come back.
    bench.server.load("a").unwrap();
    assert_eq!((bench.in_service(), bench.asleep()), (vec!["a".into(), "c".into()], vec!["b".into(), "d".into()]));
    bench.server.unload("d").unwrap();
    assert_eq!(bench.asleep(), ["b"]);
    assert!(bench.server.wake("d").unwrap().is_none());
    assert_eq!(bench.in_service(), ["a", "c"]);
    let index = bench.server.index();
    let why = |name: &str| index.iter().find(|one| *one.name == *name).unwrap().reason.clone().unwrap_or_default();
    assert_eq!((&*why("b"), &*why("d"), &*why("a")), ("asleep: it is loaded once it is asked", "unloaded", ""));
}

#[test]
fn one_that_is_larger_than_all_may_be_is_refused_and_the_others_stay() {
    let limits = ServeLimits { models_bytes_max: 250, ..ServeLimits::default() };
    let bench = bench(&["a", "giant", "z"], Capacity::default(), limits);
    assert_eq!((bench.in_service(), bench.asleep().len()), (vec!["a".into(), "z".into()], 0));
    let error = bench.server.load("giant").unwrap_err();
    assert_eq!(error.code(), codes::LIMIT_EXCEEDED);
    assert_eq!(error.to_string(), "endpoint `giant` takes 1 MiB, and all models together may take 1 MiB");
    assert_eq!(bench.in_service(), ["a", "z"]);
}

#[test]
fn what_is_asked_while_others_sleep_is_always_found() {
    let limits = ServeLimits { models_bytes_max: 250, ..ServeLimits::default() };
    let bench = bench(&["a", "b", "c", "d"], Capacity::default(), limits);
    std::thread::scope(|scope| {
        for names in [["a", "b"], ["c", "d"], ["b", "c"], ["d", "a"]] {
            let server = &bench.server;
            scope.spawn(move || {
                for name in names.iter().cycle().take(400) {
                    let found = || server.endpoint(Some(name)).ok();
                    // As a request does it.
                    let is_there = (0..8).any(|_| found().is_some() || server.wake(name).unwrap().is_some());
                    assert!(is_there, "{name}");
                }
            });
        }
    });
    assert!(bench.server.models_bytes() <= 250);
}
