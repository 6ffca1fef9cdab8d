//! A server without a network, with models written here.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, Instant},
};

use arrow_array::{ArrayRef, Float64Array, Int64Array, cast::AsArray, types::Float64Type};
use plinth_core::{Coded, FixedClock, ServeLimits, codes};
use plinth_ext::{Batch, ExtError, Field, Kind, Model, Schema};
use plinth_score::ScoreError;
use plinth_score::{Explainer, Sampling, Scorer, Signature};
use plinth_serve::{
    Attributions, Batching, Capacity, CaptureSink, Captured, Deployment, DeploymentPlan, EndpointPlan, Generation,
    Input, Keep, KeySource, Options, Output, Rest, Routing, Rule, ServeError, Server, Source, SwapStats, Work,
};

fn schema(name: &str, kind: Kind) -> Schema {
    Schema::new(vec![Field::new(name, kind, false)]).unwrap()
}

fn rows(values: &[f64]) -> Batch {
    let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    Batch::new(schema("x", Kind::Float64), vec![column], values.len()).unwrap()
}

/// Answers `factor * x`; a factor of 0 is a model that cannot answer.
struct Times {
    factor: f64,
    input: Schema,
    output: Schema,
}

impl Model for Times {
    fn input(&self) -> &Schema {
        &self.input
    }
    fn output(&self) -> &Schema {
        &self.output
    }
    fn predict(&self, features: &Batch) -> Result<Batch, ExtError> {
        let values = features.column(0).as_primitive::<Float64Type>().values();
        assert!(!values.contains(&667.0), "on purpose");
        if self.factor == 0.0 || values.contains(&666.0) {
            return Err(ExtError::fault("times", codes::BAD_MODEL, "a factor of 0"));
        }
        let answer = features.column(0).as_primitive::<Float64Type>().unary::<_, Float64Type>(|x| x * self.factor);
        Ok(Batch::new(self.output.clone(), vec![Arc::new(answer)], features.num_rows())?)
    }
}

/// Serves the version that the test sets; version 13 cannot be loaded, version 0 cannot answer.
#[derive(Default)]
struct Shelf(AtomicU64);

impl Source for Shelf {
    fn current(&self) -> Result<Generation, ServeError> {
        Ok(Generation(self.0.load(SeqCst)))
    }
    fn plan(&self) -> Result<Vec<EndpointPlan>, ServeError> {
        let version = self.0.load(SeqCst);
        Ok(vec![endpoint("times", version, &[("main", version, 100, 0)])])
    }
    fn load(&self, what: &DeploymentPlan) -> Result<Deployment, ServeError> {
        load(what.version)
    }
}

fn endpoint(name: &str, revision: u64, deployments: &[(&str, u64, u32, u32)]) -> EndpointPlan {
    let deployment = |&(name, version, weight, shadow): &(&str, u64, u32, u32)| DeploymentPlan {
        name: name.into(),
        model: "times".into(),
        version,
        device: None,
        capacity: Capacity::default(),
        lookup: None,
        weight,
        shadow,
    };
    let deployments = deployments.iter().map(deployment).collect();
    EndpointPlan { name: name.into(), revision, deployments, routing: Routing::default() }
}

fn load(version: u64) -> Result<Deployment, ServeError> {
    if version == 13 {
        return Err(ServeError::outside(&ExtError::fault("shelf", codes::BLOB_CORRUPT, "version 13 is damaged")));
    }
    let model = Times {
        factor: version as f64,
        input: schema("x", Kind::Float64),
        output: schema("prediction", Kind::Float64),
    };
    let scorer = Scorer::new(Signature::new(model.input.clone()), vec![], Arc::new(model)).unwrap();
    let explained = |scorer: &Scorer| {
        let sampling = Sampling { coalitions: 16, seed: 0 };
        Explainer::new(scorer, &rows(&[1.0, 3.0]), 2, None, sampling).map_err(|error| ServeError::outside(&error))
    };
    Ok(Deployment::new("times", version, scorer, vec![]).explained_by(Box::new(explained)))
}

/// The one deployment there is.
fn deployment(server: &Server) -> Arc<Deployment> {
    server.endpoint(None).unwrap().main().deployment().clone()
}

#[derive(Default)]
struct Drawer(Mutex<Vec<Captured>>);

impl CaptureSink for Drawer {
    fn write(&self, captured: Vec<Captured>, _: &mut Rest<'_>) -> Result<(), ServeError> {
        self.0.lock().unwrap().extend(captured);
        Ok(())
    }
}

fn shelf(version: u64) -> Arc<Shelf> {
    Arc::new(Shelf(AtomicU64::new(version)))
}

/// Polls only when a test says so.
fn still() -> ServeLimits {
    ServeLimits { source_poll_ms: 3_600_000, scoring_threads: 2, ..ServeLimits::default() }
}

fn score(server: &Server, x: f64) -> f64 {
    let deployment = deployment(server);
    let scored = deployment.scorer().unwrap().score(&rows(&[x])).unwrap();
    scored.column(0).as_primitive::<Float64Type>().value(0)
}

#[test]
fn a_new_version_is_swapped_in_and_a_bad_one_leaves_the_old_in_service() {
    let shelf = shelf(2);
    let server = Server::start(Arc::clone(&shelf) as _, Options { limits: still(), ..Options::default() }).unwrap();
    assert!(!server.refresh().unwrap());
    let held = deployment(&server);
    shelf.0.store(3, SeqCst);
    assert!(server.refresh().unwrap());
    assert_eq!((score(&server, 5.0), &**held.version()), (15.0, "2"));
    for bad in [13, 0] {
        shelf.0.store(bad, SeqCst);
        assert!(server.refresh().is_err());
        assert!(!server.refresh().unwrap(), "not tried again at once");
        assert_eq!(score(&server, 5.0), 15.0);
    }
    assert_eq!(server.swap_stats(), SwapStats { swapped: 1, failed: 2 });
    shelf.0.store(4, SeqCst);
    assert!(server.refresh().unwrap());
    assert_eq!(score(&server, 5.0), 20.0);
}

#[test]
fn the_watching_thread_swaps_by_itself() {
    let shelf = shelf(2);
    let limits = ServeLimits { source_poll_ms: 1, ..still() };
    let server = Server::start(Arc::clone(&shelf) as _, Options { limits, ..Options::default() }).unwrap();
    shelf.0.store(3, SeqCst);
    while score(&server, 1.0) != 3.0 {
        std::thread::yield_now();
    }
    server.shutdown();
    server.shutdown();
}

#[test]
fn a_stop_right_after_the_start_is_not_missed() {
    for _ in 0..200 {
        Server::start(shelf(2), Options { limits: still(), ..Options::default() }).unwrap().shutdown();
    }
}

#[test]
fn a_server_whose_first_version_is_bad_does_not_start() {
    for (version, code) in [(13, codes::BLOB_CORRUPT), (0, codes::BAD_MODEL)] {
        assert_eq!(Server::start(shelf(version), Options::default()).unwrap_err().code(), code);
    }
}

#[test]
fn requests_past_the_limit_are_turned_away_and_counted() {
    let limits = ServeLimits { requests_in_flight_max: 2, ..still() };
    let server = Server::start(shelf(2), Options { limits, ..Options::default() }).unwrap();
    let first = server.admit().unwrap();
    let _second = server.admit().unwrap();
    assert_eq!(server.admit().unwrap_err().code(), codes::OVERLOADED);
    drop(first);
    assert!(server.admit().is_ok());
    assert_eq!((server.in_flight(), server.shed()), (1, 1));
}

#[test]
fn of_a_part_of_the_requests_all_is_kept_but_what_is_redacted() {
    let drawer = Arc::new(Drawer::default());
    let options = Options {
        limits: still(),
        capture: Some(Arc::clone(&drawer) as _),
        keep: Keep { part: 0.25, redacted: vec!["x".into(), "nobody".into()], ..Keep::default() },
        ..Options::default()
    };
    let server = Server::start(shelf(2), options).unwrap();
    let (deployment, inputs) = (server.endpoint(None).unwrap().main().deployment().clone(), rows(&[1.0]));
    let outputs = deployment.scorer().unwrap().score(&inputs).unwrap();
    let keep = |from: u32| {
        (from..from + 1_000).for_each(|id| server.capture(&deployment, &format!("{id}").into(), &inputs, &outputs));
        server.flush_capture();
        std::mem::take(&mut *drawer.0.lock().unwrap())
    };
    let ids = |kept: &[Captured]| -> Vec<String> {
        let ids = kept.iter().flat_map(|kept| kept.requests.column(0).as_string::<i32>().iter().flatten());
        ids.map(str::to_owned).collect()
    };
    let kept = keep(0);
    // 250 expected; four standard deviations are 55.
    assert!((195..=305).contains(&ids(&kept).len()), "{}", ids(&kept).len());
    assert_eq!((kept[0].inputs.num_columns(), kept[0].outputs.num_columns()), (0, 1));
    assert_eq!(kept[0].table().schema().index_of("input.x"), None);
    assert_eq!(ids(&keep(0)), ids(&kept), "the same ids are kept again");
    assert_eq!(server.capture_stats().unwrap().dropped, 0, "what is not asked for is not dropped");
}

#[test]
fn captured_rows_reach_the_sink_in_order_with_ids_and_times_split_by_version() {
    let (shelf, drawer) = (shelf(2), Arc::new(Drawer::default()));
    let clock = Arc::new(FixedClock::at(1_000));
    let options = Options {
        limits: still(),
        capture: Some(Arc::clone(&drawer) as _),
        clock: Arc::clone(&clock) as _,
        ..Options::default()
    };
    let server = Server::start(Arc::clone(&shelf) as _, options).unwrap();
    for (id, version, values) in [("a", 2, &[1.0, 2.0][..]), ("b", 2, &[3.0]), ("c", 3, &[4.0])] {
        clock.advance(if id == "b" { 500 } else { 0 });
        shelf.0.store(version, SeqCst);
        server.refresh().unwrap();
        let deployment = self::deployment(&server);
        let inputs = rows(values);
        server.capture(&deployment, &id.into(), &inputs, &deployment.scorer().unwrap().score(&inputs).unwrap());
    }
    server.flush_capture();
    let mut captured = drawer.0.lock().unwrap();
    captured.sort_by(|a, b| a.version.cmp(&b.version));
    assert_eq!(captured.len(), 2);
    assert_eq!((captured[0].inputs.clone(), captured[1].inputs.clone()), (rows(&[1.0, 2.0, 3.0]), rows(&[4.0])));
    let ids: Vec<_> = captured[0].requests.column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(ids, ["a", "a", "b"]);
    let numbers = captured[0].requests.column(2).as_primitive::<arrow_array::types::Int64Type>();
    assert_eq!(numbers.values().to_vec(), [0, 1, 0]);
    let table = captured[0].table();
    let names: Vec<&str> = table.schema().fields().iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["request_id", "at", "row", "input.x", "output.prediction"]);
    assert_eq!(Captured::part(&table, Captured::INPUT), captured[0].inputs);
    assert_eq!(Captured::part(&table, Captured::OUTPUT), captured[0].outputs);
    assert_eq!((captured[0].first_at, captured[0].last_at), (1_000, 1_500));
    let since = |moment| Captured::part(&Captured::since(&table, moment), Captured::INPUT);
    assert_eq!((since(1_000), since(1_001), since(1_501)), (rows(&[1.0, 2.0, 3.0]), rows(&[3.0]), rows(&[])));
    let stats = server.capture_stats().unwrap();
    assert_eq!((stats.stored, stats.dropped, stats.failed, stats.waiting), (4, 0, 0, 0));
}

/// Waits for a word before it takes anything.
struct Slow {
    began: mpsc::SyncSender<()>,
    go: Mutex<mpsc::Receiver<()>>,
}

impl CaptureSink for Slow {
    fn write(&self, _: Vec<Captured>, _: &mut Rest<'_>) -> Result<(), ServeError> {
        self.began.send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
        Err(ServeError::outside(&ExtError::fault("sink", codes::DISK_FULL, "no room")))
    }
}

#[test]
fn a_slow_sink_makes_rows_drop_and_a_failing_one_is_counted_but_nobody_waits() {
    let (began, begun) = mpsc::sync_channel(8);
    let (go, gone) = mpsc::channel();
    let limits = ServeLimits { capture_queue_rows_max: 10, capture_file_rows_max: 1, ..still() };
    let sink = Arc::new(Slow { began, go: Mutex::new(gone) });
    let server = Server::start(shelf(2), Options { limits, capture: Some(sink), ..Options::default() }).unwrap();
    let deployment = self::deployment(&server);
    let push = |n: usize| {
        let inputs = rows(&vec![1.0; n]);
        let outputs = deployment.scorer().unwrap().score(&inputs).unwrap();
        server.capture(&deployment, &"id".into(), &inputs, &outputs);
    };
    let stats = || {
        let s = server.capture_stats().unwrap();
        (s.stored, s.dropped, s.failed, s.waiting)
    };
    push(4);
    std::thread::scope(|scope| {
        scope.spawn(|| server.flush_capture());
        begun.recv().unwrap();
        push(6);
        push(1);
        push(100);
        assert_eq!(stats(), (0, 101, 0, 10));
        go.send(()).unwrap();
        go.send(()).unwrap();
    });
    server.shutdown();
    assert_eq!(stats(), (0, 101, 10, 0));
}

/// Keeps the parts of each table apart from those of others.
#[derive(Default)]
struct Tables(Mutex<Vec<Vec<Captured>>>);

impl CaptureSink for Tables {
    fn write(&self, captured: Vec<Captured>, _: &mut Rest<'_>) -> Result<(), ServeError> {
        self.0.lock().unwrap().push(captured);
        Ok(())
    }
}

#[test]
fn a_short_queue_is_emptied_before_it_is_full() {
    let limits =
        ServeLimits { capture_queue_rows_max: 500, capture_file_rows_max: 256, capture_flush_ms: 3_600_000, ..still() };
    let options = Options { limits, capture: Some(Arc::new(Tables::default()) as _), ..Options::default() };
    let server = Server::start(shelf(2), options).unwrap();
    let deployment = self::deployment(&server);
    let inputs = rows(&[1.0; 32]);
    for n in 1..=60 {
        server.capture(&deployment, &"id".into(), &inputs, &inputs_as_outputs(&inputs));
        let until = Instant::now() + Duration::from_secs(10);
        while server.capture_stats().unwrap().waiting > 400 {
            assert!(Instant::now() < until, "nothing is stored of {n} requests: {:?}", server.capture_stats());
            std::thread::yield_now();
        }
    }
    assert_eq!(server.capture_stats().unwrap().dropped, 0);
}

#[test]
fn many_small_requests_become_one_table() {
    let tables = Arc::new(Tables::default());
    let options = Options { limits: still(), capture: Some(Arc::clone(&tables) as _), ..Options::default() };
    let server = Server::start(shelf(2), options).unwrap();
    let deployment = self::deployment(&server);
    for n in 0..5_000 {
        let inputs = rows(&[f64::from(n)]);
        server.capture(&deployment, &"id".into(), &inputs, &inputs_as_outputs(&inputs));
    }
    server.shutdown();
    let tables = tables.0.lock().unwrap();
    assert!(tables.len() < 5, "{} tables", tables.len());
    let parts: Vec<&Captured> = tables.iter().flatten().collect();
    assert_eq!(parts.iter().map(|c| c.inputs.num_rows()).sum::<usize>(), 5_000);
    // As many parts as rows would be as slow as what they come from.
    assert!(parts.len() < 100, "{} parts", parts.len());
    let first: Vec<f64> =
        parts.iter().flat_map(|c| c.inputs.column(0).as_primitive::<Float64Type>().values().to_vec()).collect();
    assert!(first.is_sorted());
}

fn inputs_as_outputs(inputs: &Batch) -> Batch {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![0; inputs.num_rows()]));
    Batch::new(schema("y", Kind::Int64), vec![column], inputs.num_rows()).unwrap()
}

/// Serves what the test says.
#[derive(Default)]
struct Plans(Mutex<(u64, Vec<EndpointPlan>)>);

impl Plans {
    fn set(&self, plans: Vec<EndpointPlan>) {
        let mut held = self.0.lock().unwrap();
        *held = (held.0 + 1, plans);
    }
}

impl Source for Plans {
    fn current(&self) -> Result<Generation, ServeError> {
        Ok(Generation(self.0.lock().unwrap().0))
    }
    fn plan(&self) -> Result<Vec<EndpointPlan>, ServeError> {
        Ok(self.0.lock().unwrap().1.clone())
    }
    fn load(&self, what: &DeploymentPlan) -> Result<Deployment, ServeError> {
        load(what.version)
    }
}

fn planned(plans: Vec<EndpointPlan>) -> (Arc<Plans>, Arc<Server>) {
    let source = Arc::new(Plans::default());
    source.set(plans);
    let server = Server::start(Arc::clone(&source) as _, Options { limits: still(), ..Options::default() }).unwrap();
    (source, server)
}

#[test]
fn a_bad_endpoint_does_not_keep_the_others_from_their_callers() {
    let good = endpoint("good", 1, &[("main", 2, 100, 0)]);
    let (source, server) = planned(vec![good.clone(), endpoint("bad", 1, &[("main", 13, 100, 0)])]);
    assert_eq!(server.routes().endpoints().len(), 1);
    assert_eq!(server.failures()[0].1.code(), codes::BLOB_CORRUPT);
    let error = server.endpoint(Some("bda")).unwrap_err();
    assert_eq!((error.code(), error.hint().unwrap()), (codes::ENDPOINT_NOT_FOUND, "known: good".into()));
    let held = server.endpoint(Some("good")).unwrap().main().deployment().clone();
    // What did not change is not loaded again, and what is gone is gone.
    source.set(vec![good, endpoint("bad", 2, &[("main", 3, 100, 0)])]);
    assert!(server.refresh().unwrap());
    assert!(Arc::ptr_eq(&held, server.endpoint(Some("good")).unwrap().main().deployment()));
    assert!(server.failures().is_empty());
    assert_eq!(server.endpoint(None).unwrap_err().code(), codes::ENDPOINT_NOT_FOUND);
    source.set(vec![endpoint("bad", 2, &[("main", 3, 100, 0)])]);
    assert!(server.refresh().unwrap());
    assert_eq!(&**server.endpoint(None).unwrap().name(), "bad");
}

#[test]
fn an_endpoint_changes_as_a_whole_or_not_at_all() {
    let (source, server) = planned(vec![endpoint("e", 1, &[("old", 2, 100, 0)])]);
    source.set(vec![endpoint("e", 2, &[("old", 2, 50, 0), ("new", 13, 50, 0)])]);
    assert!(server.refresh().is_err());
    assert_eq!(server.endpoint(Some("e")).unwrap().targets().len(), 1);
    assert_eq!(server.endpoint(Some("e")).unwrap().plan().revision, 1);
}

#[test]
fn weights_share_callers_out_and_a_growing_canary_keeps_its_own() {
    let shares = |canary: u32| {
        let (_, server) =
            planned(vec![endpoint("e", 1, &[("champion", 2, 100 - canary, 0), ("canary", 3, canary, 0)])]);
        let endpoint = server.endpoint(None).unwrap();
        let chosen = |n: u32| endpoint.choose(|_| None, &n.to_le_bytes()).name().to_string();
        (0..10_000).map(|n| chosen(n) == "canary").collect::<Vec<bool>>()
    };
    let (ten, thirty) = (shares(10), shares(30));
    let count = |shares: &[bool]| shares.iter().filter(|canary| **canary).count() as f64;
    // Five standard deviations of a binomial.
    for (shares, p) in [(&ten, 0.1_f64), (&thirty, 0.3)] {
        let bound = 5.0 * (10_000.0 * p * (1.0 - p)).sqrt();
        assert!((count(shares) - 10_000.0 * p).abs() < bound, "{} of {p}", count(shares));
    }
    assert!(ten.iter().zip(&thirty).all(|(before, after)| !before || *after), "who had the canary lost it");
    assert!(count(&shares(0)) == 0.0 && count(&shares(100)) == 10_000.0);
}

#[test]
fn rules_come_before_weights_and_shadows_get_their_part() {
    let mut plan = endpoint("e", 1, &[("champion", 2, 100, 0), ("beta", 3, 0, 0), ("shadow", 4, 0, 2_500)]);
    plan.routing.rules = vec![
        Rule { header: "x-beta".into(), equals: Some("yes".into()), deployment: "beta".into() },
        Rule { header: "x-any".into(), equals: None, deployment: "beta".into() },
    ];
    plan.routing.key = KeySource::Header("x-user".into());
    let (_, server) = planned(vec![plan]);
    let endpoint = server.endpoint(None).unwrap();
    let with = |name: &'static str, value: &'static str| {
        endpoint.choose(move |asked| (asked == name).then_some(value), b"k").name().to_string()
    };
    assert_eq!(with("x-beta", "yes"), "beta");
    assert_eq!(with("x-beta", "no"), "champion");
    assert_eq!(with("x-any", ""), "beta");
    let copied = (0..10_000_u32).filter(|n| endpoint.shadows(&n.to_le_bytes()).count() == 1).count();
    assert!((2_200..2_800).contains(&copied), "{copied}");
}

/// A request of one row, and what became of it: the answer and with how many rows it was scored.
struct Ask {
    x: f64,
    tell: mpsc::Sender<(f64, Option<f64>, usize)>,
}

impl Work for Ask {
    fn abandoned(&self) -> bool {
        self.x < 0.0
    }
    fn bytes(&self) -> Option<usize> {
        Some(8)
    }

    fn input(&mut self) -> Option<Input> {
        Some(Input::Rows(rows(&[self.x])))
    }
    fn answer(self: Box<Self>, scored: Result<Output, ScoreError>, _: std::time::Duration, together: usize) {
        let answer = scored.ok().map(|scored| match scored {
            Output::Rows(scored) => scored.predictions.column(0).as_primitive::<Float64Type>().value(0),
            Output::Tensors { .. } => panic!("it is over rows"),
        });
        self.tell.send((self.x, answer, together)).unwrap();
    }
}

/// What becomes of these requests when they have all come before the one thread is free.
fn at_once(xs: &[f64], batching: Batching) -> (Vec<(f64, Option<f64>, usize)>, u64) {
    let source = Arc::new(Plans::default());
    let mut plan = endpoint("e", 1, &[("main", 2, 100, 0)]);
    plan.deployments[0].capacity.batching = batching;
    source.set(vec![plan]);
    let limits = ServeLimits { scoring_threads: 1, ..still() };
    let server = Server::start(source, Options { limits, ..Options::default() }).unwrap();
    let (release, held) = mpsc::channel::<()>();
    let (began, begun) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let deployment = self::deployment(&server);
    let busy = Arc::clone(&server);
    let holder = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(busy.run(move || {
            began.send(()).unwrap();
            held.recv().unwrap();
        }))
    });
    begun.recv().unwrap();
    for &x in xs {
        drop(server.score(Arc::clone(&deployment), Box::new(Ask { x, tell: tell.clone() })).unwrap());
    }
    drop(tell);
    release.send(()).unwrap();
    holder.join().unwrap().unwrap();
    (told.iter().collect(), deployment.stats().snapshot().batches)
}

#[test]
fn what_waits_for_a_deployment_is_scored_together_and_each_gets_its_own_answer() {
    let xs: Vec<f64> = (0..100).map(f64::from).collect();
    let (told, batches) = at_once(&xs, Batching::default());
    assert_eq!(told, xs.iter().map(|x| (*x, Some(2.0 * x), 100)).collect::<Vec<_>>());
    assert_eq!(batches, 1);
    let (told, batches) = at_once(&xs, Batching { rows_max: 30, wait_us: 0 });
    assert!(told.iter().all(|(x, answer, together)| *answer == Some(2.0 * x) && *together <= 30));
    assert_eq!(batches, 4);
    let (_, batches) = at_once(&xs, Batching { rows_max: 1, wait_us: 0 });
    assert_eq!(batches, 100);
}

#[test]
fn a_row_that_cannot_be_scored_costs_only_its_own_request_and_nobody_scores_for_those_who_left() {
    let (told, _) = at_once(&[1.0, 666.0, -1.0, 3.0], Batching::default());
    assert_eq!(told, [(1.0, Some(2.0), 1), (666.0, None, 1), (3.0, Some(6.0), 1)]);
    // One that makes the model panic is told nothing, and is the only one.
    let (told, _) = at_once(&[1.0, 667.0, 3.0], Batching::default());
    assert_eq!(told, [(1.0, Some(2.0), 1), (3.0, Some(6.0), 1)]);
}

/// Keeps attributions, and no rows.
#[derive(Default)]
struct Reasons(Mutex<Vec<Attributions>>);

impl CaptureSink for Reasons {
    fn write(&self, _: Vec<Captured>, _: &mut Rest<'_>) -> Result<(), ServeError> {
        Ok(())
    }
    fn write_attributions(&self, attributions: Attributions, _: &mut Rest<'_>) -> Result<(), ServeError> {
        self.0.lock().unwrap().push(attributions);
        Ok(())
    }
}

#[test]
fn requests_are_explained_when_a_thread_has_nothing_to_do_and_what_has_no_room_is_dropped() {
    let reasons = Arc::new(Reasons::default());
    let limits = ServeLimits { scoring_threads: 1, explain_queue_rows_max: 5, ..still() };
    let options = Options {
        limits,
        capture: Some(Arc::clone(&reasons) as _),
        keep: Keep { explained: 1.0, ..Keep::default() },
        clock: Arc::new(FixedClock::at(7_000)),
        ..Options::default()
    };
    let server = Server::start(shelf(2), options).unwrap();
    let deployment = self::deployment(&server);
    let capture = |id: &str, values: &[f64]| {
        let inputs = rows(values);
        let outputs = deployment.scorer().unwrap().score(&inputs).unwrap();
        server.capture(&deployment, &id.into(), &inputs, &outputs);
    };
    let stats = || server.capture_stats().unwrap().explained.unwrap();
    let (release, held) = mpsc::channel::<()>();
    let (began, begun) = mpsc::channel();
    let busy = Arc::clone(&server);
    let holder = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(busy.run(move || {
            began.send(()).unwrap();
            held.recv().unwrap();
        }))
    });
    begun.recv().unwrap();
    capture("a", &[1.0, 5.0]);
    capture("b", &[2.0]);
    capture("large", &[0.0; 3]);
    capture("c", &[4.0, 4.0]);
    // The only thread is busy, so all of them wait; there is room for five rows.
    assert_eq!((stats().waiting, stats().dropped, stats().stored), (5, 3, 0));
    release.send(()).unwrap();
    holder.join().unwrap().unwrap();
    server.flush_capture();
    assert_eq!((stats().waiting, stats().dropped, stats().failed, stats().stored), (0, 3, 0, 5));
    let kept = std::mem::take(&mut *reasons.0.lock().unwrap());
    let [only] = &kept[..] else { panic!("{} tables", kept.len()) };
    assert_eq!((&*only.model, &*only.version, only.first_at, only.last_at), ("times", "2", 7_000, 7_000));
    let column = |name: &str| only.table.column(only.table.schema().index_of(name).unwrap());
    let ids: Vec<&str> = column("request_id").as_string::<i32>().iter().flatten().collect();
    assert_eq!(ids, ["a", "a", "b", "c", "c"]);
    let numbers = column("row").as_primitive::<arrow_array::types::Int64Type>().values().to_vec();
    assert_eq!(numbers, [0, 1, 0, 0, 1]);
    // It answers 2x, and the mean of the reference rows is 2.
    assert_eq!(column("base").as_primitive::<Float64Type>().values().to_vec(), [4.0; 5]);
    assert_eq!(column("part_x").as_primitive::<Float64Type>().values().to_vec(), [-2.0, 6.0, 0.0, 4.0, 4.0]);

    // A model that fails on a row is told of, and left alone for a while.
    capture("bad", &[1.0]);
    // Held until it was looked at: what waits to be explained keeps no model in memory.
    let failing = Arc::new(load(0).unwrap());
    server.capture(&failing, &"bad".into(), &rows(&[1.0]), &rows(&[1.0]));
    server.flush_capture();
    assert_eq!((stats().failed, stats().stored), (1, 6));
    server.shutdown();
    capture("late", &[1.0]);
    assert_eq!(stats().dropped, 4);
}
