//! Every misdeed ends in one exact error, the instance is gone, and the next good call works.

use std::sync::Arc;

use plinth_core::PluginLimits;
use plinth_ext::{Batch, Evidence, ExtError, Fitted, LentTable, NoTables, Step, Tables};
use plinth_plugin::FileObjects;

use crate::{
    common::{self, TestHost, host, host_with, leaves_nothing, table, told, without_wish},
    logged::logged,
};

/// Small enough that every misdeed meets its limit quickly, and no rest between misdeeds.
fn limits() -> PluginLimits {
    PluginLimits {
        call_ms_max: 2_000,
        online_call_ms_max: 100,
        memory_bytes_max: 192 << 20,
        state_bytes_max: 32 << 20,
        breaker_faults_max: 1_000,
        warm_instances_max: 1,
        ..PluginLimits::default()
    }
}

fn evil() -> (TestHost, plinth_plugin::Plugin) {
    let host = host(limits());
    let evil = common::evil(&host);
    (host, evil)
}

/// What `apply` of a misdeed answers, asked twice: the second call gets a fresh instance and must answer the same.
fn applied(name: &str) -> String {
    let (host, evil) = evil();
    let rows = table(10);
    let told = leaves_nothing(&host.host, || {
        let fitted = evil.online_transform().unwrap().load(name, b"", rows.schema()).unwrap();
        let first = told(&fitted.apply(&rows).unwrap_err());
        discarded(&host);
        let second = told(&fitted.apply(&rows).unwrap_err());
        assert_eq!(first, second);
        first
    });
    gone(&host, &evil);
    told
}

/// The instance that did it is gone, while what it was made for is still there.
fn discarded(host: &TestHost) {
    let left = host.host.usage();
    assert_eq!((left.instances, left.memory_bytes), (0, 0));
}

/// Whatever was done, a neighbour works, and then no instance is left and no memory of one.
fn gone(host: &TestHost, evil: &plinth_plugin::Plugin) {
    good_still_works(evil);
    let left = host.host.usage();
    assert_eq!((left.instances, left.memory_bytes), (0, 0));
}

fn good_still_works(evil: &plinth_plugin::Plugin) {
    let rows = table(10);
    let good = evil.transform().unwrap().load("good", b"", rows.schema()).unwrap();
    assert_eq!(good.apply(&rows).unwrap(), rows);
}

fn loaded(name: &str) -> String {
    let (host, evil) = evil();
    let told = leaves_nothing(&host.host, || {
        let answer = evil.transform().unwrap().load(name, b"", table(3).schema());
        told(&answer.err().expect("the output schema is refused"))
    });
    gone(&host, &evil);
    told
}

const DEFECT: &str = "hint: this is a defect of the plugin: report it to its author";

#[test]
fn a_loop_ends_at_the_deadline_of_an_online_call() {
    assert_eq!(
        applied("infinite-loop"),
        "plugin-deadline: evil/infinite-loop: `fitted.apply` did not finish within 100 ms\n\
         hint: if the plugin needs it, raise [limits.plugin] online-call-ms-max in plinth.toml"
    );
}

#[test]
fn memory_ends_at_the_limit_of_the_instance() {
    let host = host(PluginLimits { call_ms_max: 60_000, memory_bytes_max: 64 << 20, ..limits() });
    let evil = common::evil(&host);
    let rows = table(10);
    let bomb = evil.transform().unwrap().load("memory-bomb", b"", rows.schema()).unwrap();
    assert_eq!(
        without_wish(&told(&bomb.apply(&rows).unwrap_err())),
        "plugin-memory: evil/memory-bomb: `fitted.apply` wanted some bytes of memory, more than the limit of one \
         instance, 67108864\nhint: if the plugin needs it, raise [limits.plugin] memory-bytes-max in plinth.toml"
    );
    discarded(&host);
    drop(bomb);
    gone(&host, &evil);
}

#[test]
fn memory_of_all_instances_together_ends_at_its_limit() {
    let host = host(PluginLimits { memory_total_bytes_max: 8 << 20, call_ms_max: 60_000, ..limits() });
    let evil = common::evil(&host);
    let rows = table(10);
    let fitted = evil.transform().unwrap().load("memory-bomb", b"", rows.schema()).unwrap();
    let error = told(&fitted.apply(&rows).unwrap_err());
    discarded(&host);
    assert_eq!(
        without_wish(&error),
        "plugin-memory: evil/memory-bomb: `fitted.apply` wanted some bytes of memory, more than the limit of all plugins \
         together, 8388608\nhint: if the plugin needs it, raise [limits.plugin] memory-total-bytes-max in plinth.toml"
    );
    // What the bomb had taken is free again.
    drop(fitted);
    gone(&host, &evil);
}

fn panicked(func: &str) -> String {
    common::panicked("evil/panic", func, "evil::deeds::give_up", "evil/src/deeds.rs:62:5: evil panic on command")
}

#[test]
fn a_panic_is_told_with_its_words() {
    assert_eq!(applied("panic"), panicked("fitted.apply"));
}

#[test]
fn endless_recursion_is_told_as_such() {
    let told = applied("stack-overflow");
    assert_eq!(told, format!("plugin-stack: evil/stack-overflow: `fitted.apply` overflowed its stack\n{DEFECT}"));
}

#[test]
fn an_orderly_problem_is_passed_on_whole() {
    let (host, evil) = evil();
    let rows = table(10);
    let fitted = evil.transform().unwrap().load("problem", b"", rows.schema()).unwrap();
    match fitted.apply(&rows).unwrap_err() {
        ExtError::Problem { who, problem } => {
            assert_eq!((who.as_str(), problem.code.as_str()), ("evil/problem", "evil-problem"));
            assert_eq!((problem.row, problem.column.as_deref()), (Some(7), Some("evil")));
            assert_eq!((problem.message.as_str(), problem.retryable), ("a problem on command", false));
        }
        other => panic!("{other}"),
    }
    drop(fitted);
    gone(&host, &evil);
}

#[test]
fn floods_of_log_are_dropped_and_the_call_goes_on() {
    let max = limits().log_bytes_per_call_max;
    for (name, wrote) in [("log-flood", 100_000 * 1_026), ("log-huge", 16 << 20)] {
        let (host, evil) = evil();
        let rows = table(10);
        let fitted = evil.transform().unwrap().load(name, b"", rows.schema()).unwrap();
        let (applied, log) = logged(|| fitted.apply(&rows).unwrap());
        drop(fitted);
        gone(&host, &evil);
        assert_eq!(applied, rows, "{name}");
        let (told, kept): (Vec<_>, Vec<_>) =
            log.iter().partition(|line| line.contains("dropped bytes of the plugin's log"));
        let kept: u64 = kept.iter().map(|line| line.len() as u64).sum();
        // What belongs to a line counts as well, in what is kept and in what is dropped.
        assert!(kept <= max, "{name}: {kept} bytes of {max} were kept");
        let dropped: Vec<u64> =
            told.iter().filter_map(|line| line.split_once("dropped=")?.1.split(' ').next()?.parse().ok()).collect();
        assert!(matches!(dropped[..], [dropped] if dropped + max >= wrote), "{name}: {told:?}");
    }
}

#[test]
fn blocks_that_lie_are_refused_with_what_is_wrong() {
    let wrong = |name: &str, what: &str| {
        assert_eq!(
            applied(name),
            format!("plugin-output: evil/{name}: `fitted.apply` returned a malformed result: {what}\n{DEFECT}")
        );
    };
    wrong("lying-lengths", "`f64s` has 152 bytes where 2 columns of 10 rows have 160");
    wrong("long-f64s", "`f64s` has 168 bytes where 2 columns of 10 rows have 160");
    wrong("more-rows", "11 rows for 10 rows");
    wrong("fewer-rows", "9 rows for 10 rows");
    wrong("huge-rows", "4294967295 rows for 10 rows");
    wrong("bad-utf8", "the text of column `evil` is not UTF-8");
    wrong("split-utf8", "the text of column `evil` is not UTF-8");
    wrong("falling-offsets", "the text offsets of column `evil` decrease");
    wrong("far-offsets", "the text of column `evil` ends at 1059 of 59 bytes");
    wrong("short-offsets", "`offsets` has 84 bytes where 2 columns of 10 rows have 88");
    wrong("short-bitmap", "`validity` has 1 bytes where 1 columns of 10 rows have 2");
    wrong("wrong-schema", "`f64s` has 160 bytes where 0 columns of 10 rows have 0");
}

#[test]
fn more_bytes_than_may_cross_are_refused() {
    let more = |limit: u64, name: &str| {
        format!("hint: if the plugin needs it, raise [limits.plugin] {name} in plinth.toml")
            .replace("{}", &limit.to_string())
    };
    let host = host(PluginLimits { memory_bytes_max: 1 << 30, ..limits() });
    let evil = common::evil(&host);
    let rows = table(10);
    let returned = leaves_nothing(&host.host, || {
        let fitted = evil.transform().unwrap().load("huge-return", b"", rows.schema()).unwrap();
        told(&fitted.apply(&rows).unwrap_err())
    });
    assert_eq!(
        returned,
        format!(
            "plugin-output: evil/huge-return: `fitted.apply` returned more than 134217728 bytes\n{}",
            more(134_217_728, "output-bytes-max")
        )
    );
    let mut fitting = evil.transform().unwrap().start("big-state", rows.schema(), "{}").unwrap();
    fitting.update(&rows).unwrap();
    assert_eq!(
        told(&fitting.end_pass().unwrap_err()),
        format!(
            "plugin-output: evil/big-state: `fitting.end-pass` returned more than 33554432 bytes\n{}",
            more(33_554_432, "state-bytes-max")
        )
    );
    // After a fault the instance is not used again.
    assert_eq!(fitting.update(&rows).unwrap_err().to_string(), "evil/big-state: it failed in an earlier call");
    drop(fitting);
    gone(&host, &evil);
}

#[test]
fn the_bytes_of_several_blocks_count_together() {
    // Blocks of some hundred rows, each of them well below the limit.
    let host = host(PluginLimits { output_bytes_max: 4 << 20, block_bytes_target: 8 << 10, ..limits() });
    let rows = table(5_000);
    let wide = common::evil(&host).transform().unwrap().load("wide-text", b"", rows.schema()).unwrap();
    assert_eq!(wide.apply(&table(1_000)).unwrap().num_rows(), 1_000);
    assert_eq!(
        told(&wide.apply(&rows).unwrap_err()),
        "plugin-output: evil/wide-text: `fitted.apply` returned more than 4194304 bytes\n\
         hint: if the plugin needs it, raise [limits.plugin] output-bytes-max in plinth.toml"
    );
    drop(wide);
    gone(&host, &common::evil(&host));
}

#[test]
fn objects_and_tables_that_are_kept_open_are_bounded_in_number() {
    let host = host(PluginLimits { open_readers_max: 16, ..limits() });
    let evil = common::evil(&host);
    let file = host.dir.path().join("source");
    std::fs::write(&file, "x").unwrap();
    let loader = evil.loader(Arc::new(FileObjects::new([file.clone()]))).unwrap();
    let source = file.to_str().unwrap();
    let stopped = |item: &str, func: &str| {
        format!(
            "limit-exceeded: evil/{item}: `{func}` stopped: 17 open objects and tables, more than the limit of 16\n\
             hint: if the plugin needs it, raise [limits.plugin] open-readers-max in plinth.toml"
        )
    };
    assert_eq!(told(&loader.plan("hoard-objects", source, "{}").unwrap_err()), stopped("hoard-objects", "plan"));
    // What was closed again does not count.
    assert_eq!(loader.plan("reopen-objects", source, "{}").unwrap().partitions.len(), 1);
    let tables = Arc::new(OneTable(table(3)));
    let error = evil.gate().unwrap().evaluate("hoard-tables", &Evidence::default(), "{}", tables).unwrap_err();
    assert_eq!(told(&error), stopped("hoard-tables", "evaluate"));
    drop(loader);
    gone(&host, &evil);
}

#[test]
fn handles_are_bounded_in_number_whatever_they_are_of() {
    let host = host(PluginLimits { open_readers_max: 100_000, handles_max: 64, ..limits() });
    let evil = common::evil(&host);
    let file = host.dir.path().join("source");
    std::fs::write(&file, "x").unwrap();
    let source = file.to_str().unwrap();
    let told = leaves_nothing(&host.host, || {
        let loader = evil.loader(Arc::new(FileObjects::new([file.clone()]))).unwrap();
        told(&loader.plan("hoard-objects", source, "{}").unwrap_err())
    });
    assert_eq!(
        told,
        "limit-exceeded: evil/hoard-objects: `plan` holds too many handles\n\
         hint: if the plugin needs it, raise [limits.plugin] handles-max in plinth.toml"
    );
    gone(&host, &evil);
}

/// Lends one table, `data`.
struct OneTable(Batch);

impl Tables for OneTable {
    fn names(&self) -> Vec<String> {
        vec!["data".into()]
    }

    fn open(&self, name: &str) -> Result<Option<LentTable>, ExtError> {
        let rows = self.0.clone();
        Ok((name == "data").then(|| (rows.schema().clone(), Box::new(std::iter::once(Ok(rows))) as _)))
    }
}

#[test]
fn schemas_past_the_limits_are_refused_at_load() {
    let wrong = |name: &str, what: &str| {
        assert_eq!(
            loaded(name),
            format!("plugin-output: evil/{name}: `fitted.output` returned a malformed result: {what}\n{DEFECT}")
        );
    };
    wrong("many-columns", "a schema of 100000 columns, more than the limit of 10000");
    wrong("huge-name", "the name of column 4 has 1048576 bytes, more than the limit of 1024");
    wrong("same-names", "column `x` appears twice");
    wrong("empty-name", "column 4 has an empty name");
}

#[test]
fn ten_million_columns_end_in_the_guest_or_at_the_border() {
    let refused = |memory_bytes_max| {
        let patient = PluginLimits { online_call_ms_max: 60_000, memory_bytes_max, ..limits() };
        let host = common::host(patient);
        let evil = common::evil(&host);
        let told = leaves_nothing(&host.host, || {
            let answer = evil.transform().unwrap().load("most-columns", b"", table(3).schema());
            told(&answer.err().expect("the output schema is refused"))
        });
        gone(&host, &evil);
        told
    };
    assert_eq!(
        without_wish(&refused(256 << 20)),
        "plugin-memory: evil/most-columns: `fitted.output` wanted some bytes of memory, more than the limit of one \
         instance, 268435456\nhint: if the plugin needs it, raise [limits.plugin] memory-bytes-max in plinth.toml"
    );
    assert_eq!(
        refused(1 << 30),
        "plugin-output: evil/most-columns: `fitted.output` returned more than 134217728 bytes\n\
         hint: if the plugin needs it, raise [limits.plugin] output-bytes-max in plinth.toml"
    );
}

#[test]
fn every_call_of_a_fit_is_under_the_limits() {
    let (host, evil) = evil();
    let transform = evil.transform().unwrap();
    let rows = table(10);
    let start = |at: &str| transform.start("panic", rows.schema(), &format!("{{\"at\": \"{at}\"}}"));
    assert_eq!(told(&start("start").err().unwrap()), panicked("fitting.start"));
    let fails = |at: &'static str| {
        let mut fitting = start(at).unwrap();
        let error = match at {
            "update" => fitting.update(&rows).unwrap_err(),
            "partial" => fitting.partial().unwrap_err(),
            "merge" => fitting.merge(b"").unwrap_err(),
            _ => fitting.end_pass().unwrap_err(),
        };
        assert_eq!(told(&error), panicked(&format!("fitting.{at}")));
        assert!(fitting.update(&rows).is_err());
    };
    ["update", "partial", "merge", "end-pass"].into_iter().for_each(fails);
    let error = transform.load("panic", b"load", rows.schema()).err().unwrap();
    assert_eq!(told(&error), panicked("fitted.load"));
    let error = transform.start("panic", rows.schema(), "{\"at\": \"lunch\"}").err().unwrap();
    assert_eq!(
        told(&error),
        "bad-options: evil/panic: option `/at` is \"lunch\", which is not one of [\"start\",\"update\",\"partial\",\
         \"merge\",\"end-pass\",\"load\",\"output\",\"apply\"]\n\
         hint: known: start, update, partial, merge, end-pass, load, output, apply"
    );
    drop(transform);
    gone(&host, &evil);
}

#[test]
fn a_fit_that_never_ends_is_stopped() {
    let (host, evil) = evil();
    let rows = table(3);
    let mut fitting = evil.transform().unwrap().start("endless-passes", rows.schema(), "{}").unwrap();
    let mut passes = 0;
    let error = loop {
        fitting.update(&rows).unwrap();
        match fitting.end_pass() {
            Ok(Step::AnotherPass) => passes += 1,
            Ok(Step::Done(_)) => panic!("it never ends"),
            Err(error) => break error,
        }
    };
    assert_eq!(passes, 15);
    assert_eq!(
        told(&error),
        malformed("endless-passes", "fitting.end-pass", "a wish for pass 17 over the data, more than the limit of 16")
    );
    drop(fitting);
    gone(&host, &evil);
}

#[test]
fn nan_payloads_are_made_canonical_only_by_arithmetic_and_cross_as_they_are() {
    let (_host, evil) = evil();
    let rows = table(3);
    let fitted = evil.transform().unwrap().load("nan-payload", b"", rows.schema()).unwrap();
    let column = fitted.apply(&rows).unwrap();
    let values = arrow_array::cast::AsArray::as_primitive::<arrow_array::types::Float64Type>(column.column(1));
    assert!(values.values().iter().all(|value| value.to_bits() == 0xfff8_0000_00ba_dbad), "{values:x?}");
}

#[test]
fn a_plugin_that_keeps_failing_rests() {
    let host = host(PluginLimits { breaker_faults_max: 3, breaker_rest_ms: 3_600_000, ..limits() });
    let evil = common::evil(&host);
    let rows = table(3);
    let fitted = evil.transform().unwrap().load("lying-lengths", b"", rows.schema()).unwrap();
    let codes: Vec<String> =
        (0..4).map(|_| plinth_core::Coded::code(&fitted.apply(&rows).unwrap_err()).to_string()).collect();
    assert_eq!(codes, ["plugin-output", "plugin-output", "plugin-output", "plugin-unavailable"]);
}

#[test]
fn instances_are_bounded_in_number() {
    let host = host(PluginLimits { instances_max: 2, ..limits() });
    let evil = common::evil(&host);
    let transform = evil.transform().unwrap();
    let rows = table(3);
    let kept: Vec<Arc<dyn Fitted>> = (0..2).map(|_| transform.load("good", b"", rows.schema()).unwrap()).collect();
    let error = transform.load("good", b"", rows.schema()).err().unwrap();
    assert_eq!(
        told(&error),
        "plugin-unavailable: evil/good: all 2 instances are busy\n\
         hint: try again, or raise [limits.plugin] instances-max in plinth.toml"
    );
    assert_eq!(host.host.usage().instances, 2);
    drop(kept);
    assert!(transform.load("good", b"", rows.schema()).is_ok());
    let usage = host.host.usage();
    assert_eq!((usage.instances, usage.memory_bytes), (0, 0), "what was let go of is free again");
}

#[test]
fn callers_share_warm_instances() {
    let (_host, evil) = evil();
    let rows = table(100);
    let fitted = evil.transform().unwrap().load("good", b"", rows.schema()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..200).for_each(|_| assert_eq!(fitted.apply(&rows).unwrap(), rows)));
        }
    });
}

fn malformed(item: &str, func: &str, what: &str) -> String {
    format!("plugin-output: evil/{item}: `{func}` returned a malformed result: {what}\n{DEFECT}")
}

/// More than may cross at once where no rows do.
fn too_much(item: &str, func: &str) -> String {
    format!(
        "plugin-output: evil/{item}: `{func}` returned more than 33554432 bytes\n\
         hint: if the plugin needs it, raise [limits.plugin] state-bytes-max in plinth.toml"
    )
}

fn too_late(item: &str, func: &str) -> String {
    format!(
        "plugin-deadline: evil/{item}: `{func}` did not finish within 2000 ms\n\
         hint: if the plugin needs it, raise [limits.plugin] call-ms-max in plinth.toml"
    )
}

#[test]
fn loaders_are_held_to_their_contract() {
    let (host, evil) = evil();
    let loader = evil.loader(Arc::new(FileObjects::default())).unwrap();
    let plan_error = |name: &str| told(&loader.plan(name, "/x", "{}").unwrap_err());
    assert_eq!(plan_error("panic"), panicked("plan"));
    assert_eq!(plan_error("many-partitions"), too_much("many-partitions", "plan"));
    assert_eq!(plan_error("huge-token"), too_much("huge-token", "plan"));
    assert_eq!(plan_error("same-names"), malformed("same-names", "plan", "column `x` appears twice"));
    let read = |name: &str| {
        let plan = loader.plan(name, "/x", "{}").unwrap();
        loader.open(name, "/x", "{}", &plan.schema, &plan.partitions[0].token).unwrap()
    };
    let mut good = read("good");
    assert_eq!(good.next(10).unwrap().unwrap().num_rows(), 3);
    assert!(good.next(10).unwrap().is_none());
    assert!(good.next(10).unwrap().is_none());
    let error = read("too-many-rows").next(10).unwrap_err();
    let next = |item: &str, what: &str| malformed(item, "reader.next", what);
    assert_eq!(told(&error), next("too-many-rows", "20 rows, more than the 10 that were asked for"));
    let error = read("short-f64s").next(10).unwrap_err();
    assert_eq!(told(&error), next("short-f64s", "`f64s` has 16 bytes where 1 columns of 3 rows have 24"));
    let mut empty = read("empty-blocks");
    let error = (0..2_000).find_map(|_| empty.next(10).err()).expect("it is stopped");
    assert_eq!(told(&error), next("empty-blocks", "more than 1000 blocks without a row, one after another"));
    let options = "{\"at\": \"next\"}";
    let plan = loader.plan("infinite-loop", "/x", options).unwrap();
    let mut reader = loader.open("infinite-loop", "/x", options, &plan.schema, &plan.partitions[0].token).unwrap();
    assert_eq!(told(&reader.next(10).unwrap_err()), too_late("infinite-loop", "reader.next"));
    assert_eq!(reader.next(10).unwrap_err().to_string(), "evil/infinite-loop: it failed in an earlier call");
    drop((loader, good, empty, reader));
    gone(&host, &evil);
}

#[test]
fn gates_fail_closed() {
    let (host, evil) = evil();
    let gate = evil.gate().unwrap();
    let evaluate = |name: &str| gate.evaluate(name, &Evidence::default(), "{}", Arc::new(NoTables));
    let fails = |name: &str, how: String| assert_eq!(told(&evaluate(name).unwrap_err()), how);
    assert_eq!(evaluate("good").unwrap().len(), 1);
    fails("no-checks", malformed("no-checks", "evaluate", "no check at all"));
    fails("many-checks", too_much("many-checks", "evaluate"));
    fails("huge-text", too_much("huge-text", "evaluate"));
    fails("panic", panicked("evaluate"));
    fails("infinite-loop", too_late("infinite-loop", "evaluate"));
    fails("huge-problem", too_much("huge-problem", "evaluate"));
    assert_eq!(evaluate("good").unwrap().len(), 1);
    drop(gate);
    gone(&host, &evil);
}

#[test]
fn drift_tests_never_pass_on_nonsense() {
    let (host, evil) = evil();
    let drift = evil.drift_test().unwrap();
    let rows = table(5).project(&[1]);
    let test = |name: &str| drift.test(name, &rows, &rows, "{}");
    let fails = |name: &str, how: String| assert_eq!(told(&test(name).unwrap_err()), how);
    assert_eq!(test("good").unwrap().n_current, 5);
    fails("nan-statistic", malformed("nan-statistic", "test", "a verdict whose statistic is NaN"));
    fails("odd-p-value", malformed("odd-p-value", "test", "a p-value of 2"));
    fails("lying-n", malformed("lying-n", "test", "18446744073709551615 reference rows that counted, of 5"));
    fails("huge-note", too_much("huge-note", "test"));
    fails("panic", panicked("test"));
    assert_eq!(test("good").unwrap().n_current, 5);
    drop(drift);
    gone(&host, &evil);
}

#[test]
fn the_deterministic_profile_runs_the_same_components() {
    let host = host_with(limits(), true);
    good_still_works(&common::evil(&host));
}
