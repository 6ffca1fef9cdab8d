//! What moves traffic: shadows, and rollouts as a server drives them.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};

use arrow_array::{ArrayRef, Float64Array, cast::AsArray, types::Float64Type};
use plinth_core::{Clock, FixedClock, ServeLimits, codes};
use plinth_ext::{Batch, Check, CheckOutcome, ExtError, Field, Kind, Model, Schema};
use plinth_score::{Scorer, Signature};
use plinth_serve::{
    Batching, Capacity, CaptureSink, Captured, Deployment, DeploymentPlan, Endpoint, EndpointPlan, Generation, Guards,
    Next, Options, Outcome, Rest, RolloutEvidence, RolloutPlan, Routing, Rule, ServeError, Server, ShadowSnapshot,
    Source, Steward, Transition,
};

fn schema(name: &str) -> Schema {
    Schema::new(vec![Field::new(name, Kind::Float64, false)]).unwrap()
}

fn rows(values: &[f64]) -> Batch {
    let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    Batch::new(schema("x"), vec![column], values.len()).unwrap()
}

fn answers(values: &[f64]) -> Batch {
    let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    Batch::new(schema("prediction"), vec![column], values.len()).unwrap()
}

/// Closed until it is opened.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn pass(&self) {
        let open = self.0.lock().unwrap();
        drop(self.1.wait_while(open, |open| !*open).unwrap());
    }
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

/// Answers `version * x`. At 666 it panics, at 665 it fails, at 999 it hangs until the gate opens.
struct Times {
    version: u64,
    input: Schema,
    output: Schema,
    gate: Arc<Gate>,
    /// Told of every run.
    ran: mpsc::Sender<u64>,
}

impl Model for Times {
    fn input(&self) -> &Schema {
        &self.input
    }
    fn output(&self) -> &Schema {
        &self.output
    }
    fn predict(&self, features: &Batch) -> Result<Batch, ExtError> {
        let x = features.column(0).as_primitive::<Float64Type>();
        // Only as a shadow: version 1 answers.
        if self.version > 1 {
            let has = |number: f64| x.values().contains(&number);
            if has(999.0) {
                let _ = self.ran.send(self.version);
                self.gate.pass();
            }
            assert!(!has(666.0), "on purpose");
            if has(665.0) {
                return Err(ExtError::fault("times", codes::BAD_MODEL, "on purpose"));
            }
        }
        let answer = x.unary::<_, Float64Type>(|x| x * self.version as f64);
        let _ = self.ran.send(self.version);
        Ok(Batch::new(self.output.clone(), vec![Arc::new(answer)], features.num_rows())?)
    }
}

/// Serves the plan that a test sets.
struct Shelf {
    number: AtomicU64,
    plan: Mutex<EndpointPlan>,
    gate: Arc<Gate>,
    ran: mpsc::Sender<u64>,
}

impl Shelf {
    fn set(&self, change: impl FnOnce(&mut EndpointPlan)) {
        let mut plan = self.plan.lock().unwrap();
        change(&mut plan);
        plan.revision += 1;
        self.number.fetch_add(1, SeqCst);
    }
}

impl Source for Shelf {
    fn current(&self) -> Result<Generation, ServeError> {
        Ok(Generation(self.number.load(SeqCst)))
    }
    fn plan(&self) -> Result<Vec<EndpointPlan>, ServeError> {
        Ok(vec![self.plan.lock().unwrap().clone()])
    }
    fn load(&self, what: &DeploymentPlan) -> Result<Deployment, ServeError> {
        let model = Times {
            version: what.version,
            input: schema("x"),
            output: schema("prediction"),
            gate: Arc::clone(&self.gate),
            ran: self.ran.clone(),
        };
        let scorer = Scorer::new(Signature::new(schema("x")), vec![], Arc::new(model)).unwrap();
        Ok(Deployment::new("times", what.version, scorer, vec![]))
    }
}

#[derive(Default)]
struct Drawer(Mutex<Vec<Captured>>);

impl CaptureSink for Drawer {
    fn write(&self, captured: Vec<Captured>, _: &mut Rest<'_>) -> Result<(), ServeError> {
        self.0.lock().unwrap().extend(captured);
        Ok(())
    }
}

fn deployment(name: &str, version: u64, weight: u32, shadow: u32) -> DeploymentPlan {
    let batching = Batching { rows_max: 1, wait_us: 0 };
    let capacity = Capacity { batching, ..Capacity::default() };
    DeploymentPlan {
        name: name.into(),
        model: "times".into(),
        version,
        device: None,
        capacity,
        lookup: None,
        weight,
        shadow,
    }
}

struct Bench {
    server: Arc<Server>,
    shelf: Arc<Shelf>,
    drawer: Arc<Drawer>,
    clock: Arc<FixedClock>,
    ran: mpsc::Receiver<u64>,
}

fn bench(deployments: Vec<DeploymentPlan>, rollout: Option<RolloutPlan>, limits: ServeLimits) -> Bench {
    let (ran, told) = mpsc::channel();
    let routing = Routing { rollout, ..Routing::default() };
    let plan = EndpointPlan { name: "times".into(), revision: 1, deployments, routing };
    let shelf = Arc::new(Shelf { number: AtomicU64::new(1), plan: Mutex::new(plan), gate: Arc::default(), ran });
    let (drawer, clock) = (Arc::new(Drawer::default()), Arc::new(FixedClock::at(1_000_000)));
    let options = Options {
        // Tests say when to look.
        limits: ServeLimits { source_poll_ms: 3_600_000, scoring_threads: 2, ..limits },
        capture: Some(Arc::clone(&drawer) as _),
        clock: Arc::clone(&clock) as _,
        ..Options::default()
    };
    let server = Server::start(Arc::clone(&shelf) as _, options).unwrap();
    Bench { server, shelf, drawer, clock, ran: told }
}

impl Bench {
    fn endpoint(&self) -> Arc<Endpoint> {
        self.server.endpoint(None).unwrap()
    }

    /// What is done once the champion, which answers what it is asked, has answered.
    fn answered(&self, id: &str, values: &[f64]) {
        let endpoint = self.endpoint();
        self.server.answered(
            &endpoint,
            endpoint.main(),
            id.as_bytes(),
            &id.into(),
            (&rows(values), None),
            &answers(values),
        );
    }

    /// The shadow's counters once everything it got is done.
    fn settled(&self, name: &str) -> ShadowSnapshot {
        loop {
            let shadow = self.endpoint().target(name).unwrap().traffic().shadow().unwrap();
            if shadow.waiting == 0 {
                return shadow;
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_shadow_is_compared_counted_and_captured_as_what_it_is() {
    let bench =
        bench(vec![deployment("main", 1, 100, 0), deployment("new", 3, 0, 10_000)], None, ServeLimits::default());
    for (id, x) in [("a", 0.0), ("b", 1.0), ("c", 2.5)] {
        bench.answered(id, &[x]);
    }
    let shadow = bench.settled("new");
    assert_eq!((shadow.compared, shadow.failed, shadow.dropped), (3, 0, 0));
    let output = &shadow.outputs[0];
    assert_eq!((output.rows, output.differing, output.mean(), output.max), (3, 2, Some(7.0 / 3.0), 5.0));
    bench.server.flush_capture();
    let captured = bench.drawer.0.lock().unwrap();
    assert!(captured.iter().all(|captured| captured.shadow && captured.version == "3"));
    assert_eq!(captured.iter().map(|captured| captured.requests.num_rows()).sum::<usize>(), 3);
    assert!(captured[0].table().schema().index_of(Captured::SHADOW).is_some());
    // Its counters stay when the routing changes, and go on.
    bench
        .shelf
        .set(|plan| plan.routing.rules = vec![Rule { header: "x".into(), equals: None, deployment: "main".into() }]);
    assert!(bench.server.refresh().unwrap());
    bench.answered("d", &[1.0]);
    assert_eq!(bench.settled("new").compared, 4);
}

#[test]
fn a_part_of_the_requests_is_copied_and_always_the_same() {
    let bench =
        bench(vec![deployment("main", 1, 100, 0), deployment("new", 3, 0, 2_000)], None, ServeLimits::default());
    let endpoint = bench.endpoint();
    let copied = |key: u32| endpoint.shadows(&key.to_le_bytes()).count();
    let copies = (0..10_000).filter(|key| copied(*key) == 1).count();
    // 2,000 expected; four standard deviations are 160.
    assert!((1_840..=2_160).contains(&copies), "{copies}");
    assert!((0..100).all(|key| copied(key) == copied(key)));
}

#[test]
fn a_shadow_that_fails_panics_or_hangs_harms_nobody_and_what_has_no_room_is_dropped() {
    let limits = ServeLimits { shadow_requests_max: 3, ..ServeLimits::default() };
    let deployments =
        vec![deployment("main", 1, 100, 0), deployment("new", 3, 0, 10_000), deployment("calm", 2, 0, 10_000)];
    let bench = bench(deployments, None, limits);
    bench.answered("bad", &[665.0]);
    assert_eq!(bench.settled("new").failed, 1);
    bench.answered("panic", &[666.0]);
    let shadow = bench.settled("new");
    assert_eq!((shadow.compared, shadow.failed), (0, 2));
    bench.settled("calm");
    bench.answered("good", &[1.0]);
    assert_eq!(bench.settled("new").compared, 1, "it goes on after a panic");
    assert_eq!(bench.settled("calm").compared, 1);
    // Both hang now.
    while bench.ran.try_recv().is_ok() {}
    bench.answered("hang", &[999.0]);
    let mut hung = [bench.ran.recv().unwrap(), bench.ran.recv().unwrap()];
    hung.sort_unstable();
    assert_eq!(hung, [2, 3]);
    for id in 0..50 {
        bench.answered(&id.to_string(), &[1.0]);
    }
    let shadow = bench.endpoint().target("new").unwrap().traffic().shadow().unwrap();
    assert_eq!((shadow.waiting, shadow.dropped), (3, 48));
    // Callers are answered all the same, by as many threads as before.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let one = Arc::clone(&bench.server);
    let done = runtime.block_on(async { one.run(|| 7).await });
    assert_eq!(done.unwrap(), 7);
    bench.shelf.gate.open();
    assert_eq!(bench.settled("new").compared, 4);
}

#[test]
fn a_server_goes_although_a_shadow_hangs() {
    let bench =
        bench(vec![deployment("main", 1, 100, 0), deployment("new", 3, 0, 10_000)], None, ServeLimits::default());
    while bench.ran.try_recv().is_ok() {}
    bench.answered("hang", &[999.0]);
    assert_eq!(bench.ran.recv().unwrap(), 3);
    bench.server.shutdown();
    let gate = Arc::clone(&bench.shelf.gate);
    drop(bench);
    gate.open();
}

/// Writes down what becomes of a rollout, for a shelf.
struct Scribe {
    shelf: Arc<Shelf>,
    clock: Arc<FixedClock>,
    wrote: Mutex<Vec<Transition>>,
    /// What the gate says; nothing where it cannot answer.
    says: Mutex<Option<CheckOutcome>>,
    broken: Mutex<bool>,
}

impl Steward for Scribe {
    fn ask_gate(&self, _: &EndpointPlan, _: &RolloutEvidence) -> Result<Vec<Check>, ServeError> {
        let outcome = self.says.lock().unwrap().expect("a gate that panics");
        let [name, observed, expected, reason] = ["fair", "so", "otherwise", ""].map(str::to_owned);
        Ok(vec![Check { name, outcome, observed, expected, reason }])
    }

    fn write(&self, plan: &EndpointPlan, transition: &Transition, _: &RolloutEvidence) -> Result<(), ServeError> {
        if *self.broken.lock().unwrap() {
            return Err(ServeError::outside(&ExtError::fault("scribe", codes::CATALOG, "away")));
        }
        if plan.revision != self.shelf.plan.lock().unwrap().revision {
            return Ok(());
        }
        self.wrote.lock().unwrap().push(transition.clone());
        let now = self.clock.now();
        self.shelf.set(|plan| {
            let rollout = plan.routing.rollout.as_mut().unwrap();
            let weight = match transition {
                Transition::Go(Next::Step(step)) => {
                    (rollout.step, rollout.since) = (*step, now);
                    rollout.percent() as u32
                }
                Transition::Go(_) => 100,
                Transition::RollBack(_) => 0,
            };
            if !matches!(transition, Transition::Go(Next::Step(_))) {
                plan.routing.rollout = None;
            }
            plan.deployments[0].weight = 100 - weight;
            plan.deployments[1].weight = weight;
        });
        Ok(())
    }
}

fn rolling(gate: bool) -> (Bench, Arc<Scribe>) {
    let rollout = RolloutPlan {
        canary: "new".into(),
        steps: vec![10.0, 50.0, 100.0],
        step: 0,
        since: 1_000_000,
        bake: Duration::ZERO,
        requests_min: 10,
        guards: Guards { error_rate: Some(0.05), p99: None, score_drift: None, gate },
        hold: None,
        approval: false,
    };
    let bench =
        bench(vec![deployment("main", 1, 90, 0), deployment("new", 3, 10, 0)], Some(rollout), ServeLimits::default());
    let scribe = Arc::new(Scribe {
        shelf: Arc::clone(&bench.shelf),
        clock: Arc::clone(&bench.clock),
        wrote: Mutex::default(),
        says: Mutex::new(Some(CheckOutcome::Pass)),
        broken: Mutex::new(false),
    });
    (bench, scribe)
}

impl Bench {
    fn count(&self, outcome: Outcome, requests: u32) {
        let endpoint = self.endpoint();
        let canary = endpoint.target("new").unwrap();
        (0..requests).for_each(|_| canary.traffic().count(outcome, Duration::from_millis(1)));
    }
    fn weights(&self) -> Vec<u32> {
        self.endpoint().targets().iter().map(|target| target.plan().weight).collect()
    }
}

#[test]
fn a_rollout_goes_step_by_step_by_what_each_step_saw() {
    let (bench, scribe) = rolling(true);
    bench.server.tend(&*scribe);
    assert!(scribe.wrote.lock().unwrap().is_empty(), "nothing was asked yet");
    assert!(bench.server.rollout("times").unwrap().doing.contains("0 of at least 10"));
    for step in 1..=2 {
        bench.count(Outcome::Answered, 10);
        bench.server.tend(&*scribe);
        assert_eq!(scribe.wrote.lock().unwrap().last(), Some(&Transition::Go(Next::Step(step))));
        bench.clock.advance(1_000);
        // What was seen before does not count again.
        bench.server.tend(&*scribe);
        assert_eq!(scribe.wrote.lock().unwrap().len(), step);
    }
    assert_eq!(bench.weights(), [0, 100]);
    bench.count(Outcome::Answered, 10);
    bench.server.tend(&*scribe);
    assert_eq!(scribe.wrote.lock().unwrap().last(), Some(&Transition::Go(Next::Promote)));
    bench.server.tend(&*scribe);
    assert_eq!(scribe.wrote.lock().unwrap().len(), 3);
    assert_eq!(bench.server.rollout("times"), None);
}

#[test]
fn a_canary_that_fails_gets_nothing_at_once_even_while_it_cannot_be_written_down() {
    let (bench, scribe) = rolling(false);
    *scribe.broken.lock().unwrap() = true;
    bench.server.tend(&*scribe);
    bench.count(Outcome::Answered, 9);
    bench.count(Outcome::Fault, 2);
    bench.server.tend(&*scribe);
    assert_eq!(bench.weights(), [90, 0]);
    assert!(scribe.wrote.lock().unwrap().is_empty());
    assert!(bench.server.rollout("times").unwrap().doing.contains("away"));
    // Whatever else is looked at or changes here, it stays so while the plan is the old one.
    bench.shelf.number.fetch_add(1, SeqCst);
    assert!(!bench.server.refresh().unwrap());
    assert_eq!(bench.weights(), [90, 0]);
    let chosen = |key: u32| bench.endpoint().choose(|_| None, &key.to_le_bytes()).name().to_string();
    assert!((0..1_000).all(|key| chosen(key) == "main"));
    *scribe.broken.lock().unwrap() = false;
    while scribe.wrote.lock().unwrap().is_empty() {
        bench.server.tend(&*scribe);
        std::thread::yield_now();
    }
    assert!(
        matches!(&scribe.wrote.lock().unwrap()[..], [Transition::RollBack(breach)] if breach.guard == "error rate")
    );
    assert_eq!(bench.weights(), [100, 0]);
    // A new plan that gives it requests counts again.
    bench.shelf.set(|plan| plan.deployments[1].weight = 50);
    bench.server.refresh().unwrap();
    assert_eq!(bench.weights(), [100, 50]);
}

#[test]
fn a_gate_that_says_no_or_nothing_takes_the_canary_back() {
    for says in [Some(CheckOutcome::Fail), None] {
        let (bench, scribe) = rolling(true);
        *scribe.says.lock().unwrap() = says;
        bench.server.tend(&*scribe);
        bench.count(Outcome::Answered, 10);
        bench.server.tend(&*scribe);
        let wrote = scribe.wrote.lock().unwrap().clone();
        assert!(matches!(&wrote[..], [Transition::RollBack(breach)] if breach.guard == "gate"), "{says:?}: {wrote:?}");
        assert_eq!(bench.weights(), [100, 0]);
    }
}

#[test]
fn of_two_servers_one_takes_the_step() {
    let (bench, scribe) = rolling(false);
    let other = Server::start(
        Arc::clone(&bench.shelf) as _,
        Options {
            limits: ServeLimits { source_poll_ms: 3_600_000, scoring_threads: 1, ..ServeLimits::default() },
            clock: Arc::clone(&bench.clock) as _,
            ..Options::default()
        },
    )
    .unwrap();
    for server in [&bench.server, &other] {
        server.tend(&*scribe);
        let endpoint = server.endpoint(None).unwrap();
        let canary = endpoint.target("new").unwrap();
        (0..10).for_each(|_| canary.traffic().count(Outcome::Answered, Duration::from_millis(1)));
    }
    bench.server.tend(&*scribe);
    other.tend(&*scribe);
    assert_eq!(*scribe.wrote.lock().unwrap(), [Transition::Go(Next::Step(1))]);
    assert_eq!(other.endpoint(None).unwrap().plan().routing.rollout.as_ref().unwrap().step, 1);
}

#[test]
fn a_clock_that_jumps_moves_no_rollout_and_loses_no_captured_row() {
    const YEAR: i64 = 365 * 86_400_000_000;
    let (bench, scribe) = rolling(false);
    let bakes = |bake: Duration| bench.shelf.set(|plan| plan.routing.rollout.as_mut().unwrap().bake = bake);
    bakes(Duration::from_secs(3_600));
    bench.server.refresh().unwrap();
    bench.server.tend(&*scribe);
    bench.count(Outcome::Answered, 100);
    for jump in [YEAR, -2 * YEAR, 2 * YEAR] {
        bench.clock.advance(jump);
        bench.server.tend(&*scribe);
        assert!(scribe.wrote.lock().unwrap().is_empty(), "an hour has not passed");
        assert!(bench.server.rollout("times").unwrap().doing.contains("bakes for"));
    }
    // Time that does pass counts, whatever the clock says of it.
    bakes(Duration::from_millis(20));
    bench.server.refresh().unwrap();
    let began = std::time::Instant::now();
    while scribe.wrote.lock().unwrap().is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", bench.server.rollout("times"));
        bench.clock.advance(-1_000_000);
        bench.server.tend(&*scribe);
        bench.count(Outcome::Answered, 1);
    }
    assert_eq!(scribe.wrote.lock().unwrap().first(), Some(&Transition::Go(Next::Step(1))));

    let main = bench.endpoint().main().deployment().clone();
    let mut wanted = Vec::new();
    for (turn, jump) in [0, YEAR, -2 * YEAR, 1, 3 * YEAR].into_iter().enumerate() {
        bench.clock.advance(jump);
        wanted.push(bench.clock.now());
        bench.server.capture(&main, &turn.to_string().as_str().into(), &rows(&[turn as f64]), &answers(&[turn as f64]));
    }
    bench.server.flush_capture();
    let captured = bench.drawer.0.lock().unwrap();
    let [only] = &captured[..] else { panic!("{} tables", captured.len()) };
    let at = only.requests.column(1).as_primitive::<arrow_array::types::TimestampMicrosecondType>();
    assert_eq!(at.values().to_vec(), wanted);
    // What a look for a time goes by: the first and the last there are, not those that came first and last.
    assert_eq!((only.first_at, only.last_at), (*wanted.iter().min().unwrap(), *wanted.iter().max().unwrap()));
    let middle = wanted[1];
    let since = Captured::since(&only.table(), middle);
    assert_eq!(since.num_rows(), wanted.iter().filter(|at| **at >= middle).count());
}
