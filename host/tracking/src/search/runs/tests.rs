//! Searches against their definition: what a plain look at every run finds, in the order that plain sorting gives.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use plinth_core::{FixedClock, TrackingLimits, UuidIds};
use plinth_store::{Access, Store, StoreError, Value};

use super::*;
use crate::{Batch, Metric, NewRun, RunUpdate};

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }
}

#[derive(Debug, Clone, Default)]
struct Plain {
    id: String,
    experiment: String,
    deleted: bool,
    name: String,
    status: String,
    user: String,
    start: i64,
    end: Option<i64>,
    params: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    metrics: BTreeMap<String, f64>,
    datasets: Vec<(String, String)>,
}

impl Plain {
    fn uri(&self) -> String {
        format!("mlflow-artifacts:/{}/{}/artifacts", self.experiment, self.id)
    }

    fn text(&self, attribute: &str) -> String {
        match attribute {
            "run_id" => self.id.clone(),
            "run_name" => self.name.clone(),
            "status" => self.status.clone(),
            "user_id" => self.user.clone(),
            _ => self.uri(),
        }
    }
}

const METRICS: [&str; 3] = ["m0", "m1", "m2"];
const NUMBERS: [f64; 9] = [f64::NEG_INFINITY, -1.5, -0.0, 0.0, 0.5, 1.0, 2.0, f64::INFINITY, f64::NAN];
const TEXTS: [&str; 4] = ["run_name", "status", "user_id", "artifact_uri"];

fn words() -> Vec<String> {
    let mut words: Vec<String> = ["", "a", "A", "ab", "b%", "B_", "c", "é"].map(str::to_owned).to_vec();
    words.extend([format!("b{}", "x".repeat(300)), format!("a{}", "é".repeat(250))]);
    words
}

fn tracking() -> (tempfile::TempDir, Tracking) {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(dir.path(), Access::Shared).unwrap());
    (dir, Tracking::new(store, Arc::new(FixedClock::at(7)), Arc::new(UuidIds), TrackingLimits::default()))
}

fn fill(tracking: &Tracking, dice: &mut Dice, count: usize, long: bool) -> Vec<Plain> {
    let words: Vec<String> = words().into_iter().filter(|word| long || word.len() < 9).collect();
    let runs: Vec<Plain> = (0..count)
        .map(|_| {
            let mut run = Plain {
                id: format!("{:08x}{:024x}", dice.roll(1 << 31), dice.roll(1 << 31)),
                experiment: dice.pick(&["1", "1", "1", "2", "3"]).to_owned(),
                deleted: dice.roll(6) == 0,
                name: dice.pick(&words[..7]),
                status: dice.pick(&["RUNNING", "FINISHED", "FINISHED", "FAILED"]).to_owned(),
                user: dice.pick(&["", "ann", "bob"]).to_owned(),
                start: dice.pick(&[0, 999, 1_000, 5_500, 5_999, 9_000]),
                end: dice.pick(&[None, Some(0), Some(4_000), Some(4_001), Some(8_000)]),
                ..Plain::default()
            };
            for key in METRICS {
                if dice.roll(5) > 0 {
                    run.metrics.insert(key.to_owned(), dice.pick(&NUMBERS));
                }
            }
            for key in ["p", "q"] {
                if dice.roll(4) > 0 {
                    run.params.insert(key.to_owned(), dice.pick(&words));
                }
                if dice.roll(3) > 0 {
                    run.tags.insert(key.to_owned(), dice.pick(&words));
                }
            }
            for name in ["d", "e"] {
                if dice.roll(3) == 0 {
                    run.datasets.push((name.to_owned(), dice.pick(&["train", "eval"]).to_owned()));
                }
            }
            run
        })
        .collect();
    let writing = |tx: &mut dyn plinth_store::Tx| {
        for id in ["1", "2", "3"] {
            let sql =
                "INSERT INTO experiments (experiment_id, name, created_us, updated_us) VALUES ($1, 'e' || $1, 1, 1)
                       ON CONFLICT DO NOTHING";
            tx.execute(sql, &[id.into()])?;
            for name in ["d", "e"] {
                let sql = "INSERT INTO datasets (dataset_id, experiment_id, name, digest, source_type, source)
                           VALUES ($1 || $2, $1, $2, 'x', 'local', '') ON CONFLICT DO NOTHING";
                tx.execute(sql, &[id.into(), name.into()])?;
            }
        }
        for run in &runs {
            let sql =
                "INSERT INTO runs (run_id, experiment_id, name, status, source, user_name, start_us, end_us, lifecycle)
                       VALUES ($1, $2, $3, $4, '', $5, $6, $7, $8) RETURNING rid";
            let lifecycle = if run.deleted { "deleted" } else { "active" };
            let head = [&run.id, &run.experiment, &run.name, &run.status, &run.user].map(Value::from);
            let tail = [Value::Int(run.start), run.end.map_or(Value::Null, Value::Int), lifecycle.into()];
            let rid = tx.query_one(sql, &[&head[..], &tail[..]].concat())?.unwrap().int(0)?;
            tx.run_changed(rid);
            for (table, pairs) in [("params", &run.params), ("run_tags", &run.tags)] {
                for (key, value) in pairs {
                    let sql = format!("INSERT INTO {table} (rid, key, value) VALUES ($1, $2, $3)");
                    tx.execute(&sql, &[Value::Int(rid), key.into(), value.into()])?;
                }
            }
            for (key, value) in &run.metrics {
                let sql =
                    "INSERT INTO latest_metrics (rid, key, value, is_nan, step, time_us) VALUES ($1, $2, $3, $4, 0, 0)";
                let (value, nan) = if value.is_nan() { (0.0, true) } else { (*value, false) };
                tx.execute(sql, &[Value::Int(rid), key.into(), Value::Real(value), nan.into()])?;
            }
            for (name, context) in &run.datasets {
                let sql = "INSERT INTO run_datasets (rid, dataset_id, context) VALUES ($1, $2 || $3, $4)";
                let dataset = [Value::from(&run.experiment), name.into(), context.into()];
                tx.execute(sql, &[&[Value::Int(rid)], &dataset[..]].concat())?;
            }
        }
        Ok::<_, StoreError>(())
    };
    tracking.store.catalog().write(writing).unwrap();
    runs
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|at| like(&text[at..], rest)),
        Some(('_', rest)) => !text.is_empty() && like(&text[1..], rest),
        Some((c, rest)) => text.first() == Some(c) && like(&text[1..], rest),
    }
}

type Test = Box<dyn Fn(&Plain) -> bool>;

fn text_test(op: &'static str, value: String) -> Box<dyn Fn(&str) -> bool> {
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    Box::new(move |text| match op {
        "=" => text == value,
        "!=" => text != value,
        "LIKE" => like(&chars(text), &chars(&value)),
        _ => like(&chars(&text.to_ascii_lowercase()), &chars(&value.to_ascii_lowercase())),
    })
}

fn number_test(op: &str, a: f64, b: f64) -> bool {
    match op {
        "=" => a == b,
        "!=" => a != b,
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        _ => a >= b,
    }
}

/// A clause and what it means.
fn clause(dice: &mut Dice, runs: &[Plain]) -> (String, Test) {
    let comparison = dice.pick(&["=", "!=", "<", "<=", ">", ">="]);
    let op = dice.pick(&["=", "!=", "LIKE", "ILIKE"]);
    let mut patterns = words();
    patterns.extend(["%", "a%", "A%", "%x", "b%x", "_", "a_", "%b%", "_b%", ""].map(str::to_owned));
    let pattern = dice.pick(&patterns);
    match dice.roll(8) {
        0 | 1 => {
            let (key, value) = (dice.pick(&METRICS), dice.pick(&[-2.0, -1.5, 0.0, 0.5, 1.0, 1.5, 9.0]));
            let test =
                move |run: &Plain| run.metrics.get(key).is_some_and(|found| number_test(comparison, *found, value));
            (format!("metrics.{key} {comparison} {value}"), Box::new(test))
        }
        2 | 3 => {
            let (entity, key) = (dice.pick(&["params", "tags"]), dice.pick(&["p", "q"]));
            let of =
                move |run: &Plain| if entity == "params" { run.params.get(key) } else { run.tags.get(key) }.cloned();
            match dice.roll(6) {
                0 => (format!("{entity}.{key} IS NULL"), Box::new(move |run| of(run).is_none())),
                1 => (format!("{entity}.{key} IS NOT NULL"), Box::new(move |run| of(run).is_some())),
                _ => {
                    let test = text_test(op, pattern.clone());
                    let test = move |run: &Plain| of(run).is_some_and(|text| test(&text));
                    (format!("{entity}.{key} {op} '{pattern}'"), Box::new(test))
                }
            }
        }
        4 => {
            let attribute = dice.pick(&["start_time", "end_time"]);
            let (text, value) = dice.pick(&[("0", 0.0), ("1", 1.0), ("4", 4.0), ("5", 5.0), ("4.5", 4.5), ("9", 9.0)]);
            let test = move |run: &Plain| {
                let time = if attribute == "start_time" { Some(run.start) } else { run.end };
                time.is_some_and(|time| number_test(comparison, time.div_euclid(1_000) as f64, value))
            };
            (format!("{attribute} {comparison} {text}"), Box::new(test))
        }
        5 => {
            let attribute = dice.pick(&TEXTS);
            let value = match dice.roll(3) {
                0 => dice.pick(runs).text(attribute),
                1 => format!("{}%", dice.pick(runs).text(attribute).chars().take(2).collect::<String>()),
                _ => pattern,
            };
            let test = text_test(op, value.clone());
            (format!("{attribute} {op} '{value}'"), Box::new(move |run| test(&run.text(attribute))))
        }
        6 => {
            let ids: Vec<String> = (0..1 + dice.roll(9)).map(|_| dice.pick(runs).id).collect();
            let not = dice.roll(2) == 0;
            let list = ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
            let sign = if not { "NOT IN" } else { "IN" };
            (format!("run_id {sign} ({list})"), Box::new(move |run| ids.contains(&run.id) != not))
        }
        _ => {
            let (part, value) = dice.pick(&[("name", "d"), ("name", "e"), ("context", "train"), ("digest", "x")]);
            let test = text_test(op, value.to_owned());
            let test = move |run: &Plain| {
                run.datasets.iter().any(|(name, context)| match part {
                    "name" => test(name),
                    "context" => test(context),
                    _ => test("x"),
                })
            };
            (format!("dataset.{part} {op} '{value}'"), Box::new(test))
        }
    }
}

/// Numbers before NaN before nothing, whatever the direction.
fn numbers(a: Option<f64>, b: Option<f64>, ascending: bool) -> Ordering {
    let class = |value: Option<f64>| value.map_or(2, |value| u8::from(value.is_nan()));
    let way = |order: Ordering| if ascending { order } else { order.reverse() };
    class(a).cmp(&class(b)).then_with(|| way(a.partial_cmp(&b).unwrap_or(Ordering::Equal)))
}

fn texts<T: Ord>(a: &Option<T>, b: &Option<T>, ascending: bool) -> Ordering {
    let way = |order: Ordering| if ascending { order } else { order.reverse() };
    a.is_none().cmp(&b.is_none()).then_with(|| way(a.cmp(b)))
}

type Sort = Box<dyn Fn(&Plain, &Plain) -> Ordering>;

fn sort(dice: &mut Dice) -> (String, Sort) {
    let ascending = dice.roll(2) == 0;
    let way = if ascending { "ASC" } else { "DESC" };
    match dice.roll(4) {
        0 => {
            let key = dice.pick(&METRICS);
            let of = move |run: &Plain| run.metrics.get(key).copied();
            (format!("metrics.{key} {way}"), Box::new(move |a, b| numbers(of(a), of(b), ascending)))
        }
        1 => {
            let (entity, key) = (dice.pick(&["params", "tags"]), dice.pick(&["p", "q"]));
            let of =
                move |run: &Plain| if entity == "params" { run.params.get(key) } else { run.tags.get(key) }.cloned();
            (format!("{entity}.{key} {way}"), Box::new(move |a, b| texts(&of(a), &of(b), ascending)))
        }
        2 => {
            let start = dice.roll(2) == 0;
            let of = move |run: &Plain| if start { Some(run.start) } else { run.end };
            let name = if start { "start_time" } else { "end_time" };
            (format!("{name} {way}"), Box::new(move |a, b| texts(&of(a), &of(b), ascending)))
        }
        _ => {
            let attribute = dice.pick(&["run_name", "status", "user_id", "artifact_uri", "run_id"]);
            let of = move |run: &Plain| Some(run.text(attribute));
            (format!("attributes.{attribute} {way}"), Box::new(move |a, b| texts(&of(a), &of(b), ascending)))
        }
    }
}

fn ids(page: &Page<Run, PageStart>) -> Vec<String> {
    page.items.iter().map(|run| run.summary.run_id.clone()).collect()
}

#[test]
fn every_way_to_search_finds_what_a_plain_look_at_all_runs_finds() {
    for (seed, count, long) in [(1, 0, false), (2, 12, true), (3, 70, false), (4, 90, true)] {
        let mut dice = Dice(seed);
        let (_dir, tracking) = tracking();
        let mut runs = fill(&tracking, &mut dice, count, long);
        let known = if runs.is_empty() { vec![Plain::default()] } else { runs.clone() };
        for turn in 0..250 {
            let clauses: Vec<(String, Test)> = (0..dice.roll(4)).map(|_| clause(&mut dice, &known)).collect();
            let mut sorts: Vec<(String, Sort)> = Vec::new();
            for _ in 0..dice.roll(3) {
                let new = sort(&mut dice);
                let field = |sort: &(String, Sort)| sort.0.split(' ').next().unwrap().to_owned();
                if sorts.iter().all(|known| field(known) != field(&new)) {
                    sorts.push(new);
                }
            }
            let view = dice.pick(&[View::Active, View::Active, View::Deleted, View::All]);
            let experiments = dice.pick(&[&["1"][..], &["1"], &["2", "1", "2"], &["3"], &["1", "2", "3"], &["9"]]);
            let mut expected: Vec<&Plain> = runs
                .iter()
                .filter(|run| experiments.contains(&run.experiment.as_str()))
                .filter(|run| view == View::All || run.deleted == (view == View::Deleted))
                .filter(|run| clauses.iter().all(|(_, test)| test(run)))
                .collect();
            expected.sort_by(|a, b| {
                let asked = sorts.iter().map(|(_, sort)| sort(a, b)).find(|order| order.is_ne());
                asked.unwrap_or_else(|| b.start.cmp(&a.start).then_with(|| a.id.cmp(&b.id)))
            });
            let expected: Vec<String> = expected.into_iter().map(|run| run.id.clone()).collect();
            let mut search = RunSearch {
                experiment_ids: experiments.iter().map(|id| (*id).to_owned()).collect(),
                filter: clauses.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(" AND "),
                order_by: sorts.iter().map(|(text, _)| text.clone()).collect(),
                view,
                start: PageStart::default(),
                most: [1, 3, 7, 200, 200][dice.roll(5)],
            };
            let mut found = Vec::new();
            loop {
                let page = tracking.search_runs(&search).unwrap();
                found.extend(ids(&page));
                let Some(next) = page.next else { break };
                assert_eq!(next.skip, found.len() as u64);
                // Where a place does not read, its number does.
                search.start = if dice.roll(3) == 0 { PageStart { after: vec!["?".into()], ..next } } else { next };
                assert!(found.len() < expected.len(), "seed {seed}, turn {turn}: {search:?} does not end");
            }
            assert_eq!(found, expected, "seed {seed}, turn {turn}: {search:?}");
            // What is in memory follows what is written.
            if !runs.is_empty() && turn % 10 == 0 {
                runs.extend(fill(&tracking, &mut dice, 1, long));
            }
        }
        let answered = tracking.columns.answered();
        assert!(count == 0 || answered > 50, "seed {seed}: only {answered} searches were answered from memory");
    }
}

/// A search for a run of a metric, a param, a tag and a name, which are all of a number.
fn search_for(number: usize, most: u64) -> RunSearch {
    RunSearch {
        experiment_ids: vec!["0".into()],
        filter: format!(
            "metrics.n = {number} AND params.n = 'p{number}' AND tags.n LIKE '%{number}' AND run_name = 'r{number}'"
        ),
        order_by: vec!["metrics.n DESC".into(), "params.n".into(), "end_time".into()],
        most,
        ..RunSearch::default()
    }
}

#[test]
fn what_was_written_is_found_at_once_whoever_wrote_it() {
    let (dir, mine) = tracking();
    let store = Arc::new(Store::open(dir.path(), Access::Shared).unwrap());
    let other = Tracking::new(store, Arc::new(FixedClock::at(7)), Arc::new(UuidIds), TrackingLimits::default());
    let found = |number: usize| {
        // Asked often enough that all fields come to be in memory.
        let pages: Vec<_> = (0..8).map(|_| ids(&mine.search_runs(&search_for(number, 9)).unwrap())).collect();
        assert!(pages.iter().all(|page| *page == pages[0]), "{pages:?}");
        pages[0].clone()
    };
    let write = |tracking: &Tracking, number: usize| {
        let new = NewRun { name: format!("r{number}"), ..NewRun::default() };
        let id = tracking.start_run("0", &new).unwrap();
        let metric = Metric { key: "n".into(), value: number as f64, time: 1, step: 1, model: None };
        let batch = Batch {
            metrics: vec![metric],
            params: vec![("n".into(), format!("p{number}"))],
            tags: vec![("n".into(), format!("t{number}"))],
        };
        tracking.log(&id, &batch).unwrap();
        id
    };
    for number in 0..60 {
        let id = write(if number % 7 == 3 { &other } else { &mine }, number);
        assert_eq!(found(number), std::slice::from_ref(&id));
        let by = if number % 5 == 2 { &other } else { &mine };
        let again = |changed: &dyn Fn()| {
            changed();
            assert_eq!(found(number), [] as [String; 0]);
        };
        match number % 6 {
            0 => again(&|| by.delete_run(&id).unwrap()),
            1 => again(&|| by.delete_tag(&id, "n").unwrap()),
            2 => again(&|| {
                let metric = Metric { key: "n".into(), value: f64::NAN, time: 1, step: 2, model: None };
                by.log(&id, &Batch { metrics: vec![metric], ..Batch::default() }).unwrap();
            }),
            3 => again(&|| {
                let update = RunUpdate { name: Some("another".into()), ..RunUpdate::default() };
                drop(by.update_run(&id, &update).unwrap());
            }),
            4 => {
                by.delete_run(&id).unwrap();
                by.restore_run(&id).unwrap();
                assert_eq!(found(number), [id]);
            }
            _ => again(&|| {
                by.delete_run(&id).unwrap();
                let retired = by.retired(i64::MAX, None).unwrap();
                by.remove_retired(&retired, i64::MAX).unwrap();
            }),
        }
    }
    assert!(mine.columns.answered() > 100, "{}", mine.columns.answered());
}

#[test]
fn a_search_sees_one_state_whoever_writes_beside_it() {
    const KEYS: usize = 6;
    let (dir, mine) = tracking();
    let store = Arc::new(Store::open(dir.path(), Access::Shared).unwrap());
    let other = Tracking::new(store, Arc::new(FixedClock::at(7)), Arc::new(UuidIds), TrackingLimits::default());
    let runs: Vec<String> = (0..80).map(|_| mine.start_run("0", &NewRun::default()).unwrap()).collect();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3_u64)
            .map(|thread| {
                let (mine, other, runs) = (&mine, &other, &runs);
                scope.spawn(move || {
                    let mut dice = Dice(thread);
                    for turn in 0..150 {
                        let (by, id) = (if turn % 50 == 49 { other } else { mine }, dice.pick(runs));
                        // All of a batch or nothing of it: every key the same value.
                        let value = dice.roll(10) as f64;
                        let metric = |key| Metric { key: format!("k{key}"), value, time: 1, step: turn, model: None };
                        let tags = vec![("t".to_owned(), format!("{value}"))];
                        let batch = Batch { metrics: (0..KEYS).map(metric).collect(), tags, ..Batch::default() };
                        by.log(&id, &batch).unwrap();
                    }
                })
            })
            .collect();
        let mut dice = Dice(77);
        // Every search compares what it finds in memory with what it finds along the indexes.
        while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let (a, b, value) = (dice.roll(KEYS), dice.roll(KEYS), dice.roll(10));
            let search = RunSearch {
                experiment_ids: vec!["0".into()],
                filter: format!("metrics.k{a} >= {value} AND tags.t != '{value}'"),
                order_by: vec![format!("metrics.k{b} DESC"), "tags.t".into()],
                most: 20,
                ..RunSearch::default()
            };
            for run in mine.search_runs(&search).unwrap().items {
                let of = |key: usize| run.metrics.iter().find(|m| m.key == format!("k{key}")).map(|m| m.value);
                assert!(of(a).is_some_and(|found| found >= value as f64) && of(b).is_some(), "{run:?}");
            }
        }
    });
    assert!(mine.columns.answered() > 20, "{}", mine.columns.answered());
}

#[test]
fn pages_neither_repeat_nor_miss_runs_when_others_come_and_go() {
    let mut dice = Dice(9);
    let (_dir, tracking) = tracking();
    let before = fill(&tracking, &mut dice, 60, false);
    for order in ["start_time DESC", "metrics.m0 ASC", "params.p DESC", "end_time ASC", "user_id", "run_id DESC"] {
        let mut search = RunSearch {
            experiment_ids: vec!["1".into()],
            order_by: vec![order.into()],
            view: View::All,
            most: 7,
            ..RunSearch::default()
        };
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = tracking.search_runs(&search).unwrap();
            found.extend(ids(&page));
            // The run that the next page starts behind need not be there any more.
            if let Some(last) = found.last().filter(|_| page.next.is_some()) {
                tracking
                    .store
                    .catalog()
                    .write(|tx| {
                        tx.all_runs_changed();
                        tx.execute("UPDATE runs SET experiment_id = '2' WHERE run_id = $1", &[last.into()])
                    })
                    .map(drop)
                    .map_err(|e: StoreError| e)
                    .unwrap();
            }
            fill(&tracking, &mut dice, 5, false);
            let Some(next) = page.next else { break };
            search.start = next;
        }
        let mut once = found.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), found.len(), "{order} repeats runs");
        let gone = tracking
            .search_runs(&RunSearch {
                experiment_ids: vec!["2".into()],
                view: View::All,
                most: 50_000,
                ..RunSearch::default()
            })
            .unwrap();
        let gone = ids(&gone);
        let missed = before
            .iter()
            .filter(|run| run.experiment == "1" && !once.contains(&run.id) && !gone.contains(&run.id))
            .count();
        assert_eq!(missed, 0, "{order} misses runs");
    }
}
