//! Whatever a guest does with a host import, the answer is exact, nothing stays open, and the next good call works.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use plinth_core::PluginLimits;
use plinth_ext::{Batch, Evidence, ExtError, LentTable, NoTables, Problem, Tables};
use plinth_plugin::{
    FileKeyValues, Grants, Graph, Graphs, HttpRequest, HttpResponse, HttpRules, HttpSend, ObjectRead, ObjectSource,
    Plugin, Services, Tensor, TensorInfo,
};

use crate::{
    common::{self, TestHost, host, leaves_nothing, plugin, table, told},
    logged::logged,
};

const SECRET: &str = "s3cret-Value";

fn limits() -> PluginLimits {
    PluginLimits {
        call_ms_max: 2_000,
        memory_bytes_max: 192 << 20,
        breaker_faults_max: 1_000,
        kv_keys_max: 100,
        open_readers_max: 16,
        ..PluginLimits::default()
    }
}

/// What a guest holds open, counted by those who lend it.
#[derive(Default)]
struct Open(AtomicI64);

struct Opened(Arc<Open>);

impl Open {
    fn one_more(self: &Arc<Self>) -> Opened {
        self.0.fetch_add(1, Ordering::SeqCst);
        Opened(self.clone())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Answers every request and remembers where it led.
#[derive(Default)]
struct Web {
    seen: Mutex<Vec<String>>,
    requests: AtomicU64,
}

impl HttpSend for Web {
    fn send(&self, request: HttpRequest) -> Result<HttpResponse, Problem> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.seen.lock().unwrap().push(format!("{} {}:{}", request.method.name(), request.host, request.port));
        if request.url.ends_with("/slow") {
            // As the real client does: it waits as long as it may, and no longer.
            std::thread::sleep(request.timeout);
            return Err(Problem { code: "http-timeout".into(), message: "too slow".into(), ..Problem::default() });
        }
        let body = if request.url.ends_with("/big") { vec![b'x'; 9 << 20] } else { b"hello".to_vec() };
        Ok(HttpResponse { status: 200, headers: vec![], body })
    }
}

/// The model `m`, which answers what it was asked.
struct Model(Arc<Open>);

struct Loaded(#[expect(dead_code, reason = "counts while it lives")] Opened);

impl Graphs for Model {
    fn load(&self, name: &str) -> Result<Arc<dyn Graph>, Problem> {
        match name {
            "m" => Ok(Arc::new(Loaded(self.0.one_more()))),
            _ => Err(Problem { code: "denied".into(), message: "no such model".into(), ..Problem::default() }),
        }
    }
}

impl Graph for Loaded {
    fn inputs(&self) -> Vec<TensorInfo> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<TensorInfo> {
        Vec::new()
    }

    fn compute(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Problem> {
        Ok(inputs)
    }
}

/// Lends the table `data`.
struct Lender(Batch, Arc<Open>);

impl Tables for Lender {
    fn names(&self) -> Vec<String> {
        vec!["data".into()]
    }

    fn open(&self, name: &str) -> Result<Option<LentTable>, ExtError> {
        let (rows, opened) = (self.0.clone(), self.1.one_more());
        let batches = std::iter::once_with(move || {
            let _kept = &opened;
            Ok(rows)
        });
        Ok((name == "data").then(|| (self.0.schema().clone(), Box::new(batches) as _)))
    }
}

/// Lends the source `/data`, ten bytes.
struct Shelf(Arc<Open>);

struct Book(#[expect(dead_code, reason = "counts while it lives")] Opened);

impl ObjectSource for Shelf {
    fn open(&self, uri: &str) -> Result<Arc<dyn ObjectRead>, Problem> {
        match uri {
            "/data" => Ok(Arc::new(Book(self.0.one_more()))),
            _ => Err(Problem { code: "denied".into(), message: "not granted".into(), ..Problem::default() }),
        }
    }

    fn list(&self, _prefix: &str, after: Option<&str>, max: usize) -> Result<Vec<String>, Problem> {
        assert!(max <= 10_000, "the guest gets {max} at once");
        let start = after.map_or(0, |after| after[1..].parse::<usize>().unwrap() + 1);
        Ok((start..200_000.min(start + max)).map(|number| format!("/{number:06}")).collect())
    }
}

impl ObjectRead for Book {
    fn size(&self) -> u64 {
        10
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Problem> {
        assert!(offset + buffer.len() as u64 <= 10, "the host asks beyond the end");
        Ok(buffer.len())
    }
}

/// The guest, and everything that it is granted.
struct Abuse {
    host: TestHost,
    plugin: Plugin,
    web: Arc<Web>,
    open: Arc<Open>,
    kv: Arc<FileKeyValues>,
}

#[expect(clippy::needless_pass_by_value, reason = "limits are made where they are given")]
fn abuse(limits: PluginLimits) -> Abuse {
    let host = host(limits.clone());
    let (web, open) = (Arc::new(Web::default()), Arc::new(Open::default()));
    let kv = Arc::new(FileKeyValues::new("evil-imports", host.dir.path().join("keys"), 1 << 20, &limits));
    let rules = HttpRules { hosts: vec!["granted.example".into()], ..HttpRules::default() };
    let services = Services {
        kv: Some(kv.clone()),
        http: Some((web.clone(), rules)),
        nn: Some(Arc::new(Model(open.clone()))),
        secrets: Arc::new([("key".to_owned(), SECRET.to_owned())].into()),
        ..Services::default()
    };
    let all = ["objects", "tables", "kv", "http", "nn", "clock", "random", "secrets"];
    let plugin = plugin(&host, "evil-imports", &Grants::of(all).served_by(services));
    Abuse { host, plugin, web, open, kv }
}

impl Abuse {
    /// What a misdeed was answered, or the error that it ended in. Whichever it was, a neighbour works afterwards and
    /// nothing is open.
    fn with(&self, item: &str, options: &str) -> String {
        let gate = self.plugin.gate().unwrap();
        let tables = || Arc::new(Lender(table(3), self.open.clone()));
        let answer = gate.evaluate(item, &Evidence::default(), options, tables());
        assert_eq!(gate.evaluate("good", &Evidence::default(), "{}", tables()).unwrap().len(), 1);
        assert_eq!(self.open.0.load(Ordering::SeqCst), 0, "{item} left something open");
        drop(gate);
        self.gone();
        answer.map_or_else(|error| told(&error), |checks| checks[0].observed.clone())
    }

    /// No instance is left, and no memory of one.
    fn gone(&self) {
        let left = self.host.host.usage();
        assert_eq!((left.instances, left.memory_bytes), (0, 0));
    }

    fn of(&self, item: &str) -> String {
        self.with(item, "{}")
    }

    fn ask(&self, item: &str, url: &str) -> String {
        self.with(item, &format!("{{\"url\": \"{url}\"}}"))
    }

    /// The same for a misdeed that needs a source.
    fn plan(&self, item: &str) -> String {
        let loader = self.plugin.loader(Arc::new(Shelf(self.open.clone()))).unwrap();
        let answer = loader.plan(item, "/data", "{}");
        drop(loader);
        assert_eq!(self.of("good"), "nothing");
        answer.map_or_else(
            |error| told(&error),
            |plan| String::from_utf8(plan.partitions[0].token.clone()).expect("a text"),
        )
    }
}

const DEFECT: &str = "hint: this is a defect of the plugin: report it to its author";

fn broke(item: &str, func: &str, what: &str) -> String {
    format!("plugin-output: evil-imports/{item}: `{func}` broke the calling convention: {what}\n{DEFECT}")
}

fn stopped(item: &str, what: &str, limit: &str) -> String {
    format!(
        "limit-exceeded: evil-imports/{item}: `evaluate` stopped: {what}\n\
         hint: if the plugin needs it, raise [limits.plugin] {limit} in plinth.toml"
    )
}

fn too_late(item: &str, ms: u64) -> String {
    format!(
        "plugin-deadline: evil-imports/{item}: `evaluate` did not finish within {ms} ms\n\
         hint: if the plugin needs it, raise [limits.plugin] call-ms-max in plinth.toml"
    )
}

#[test]
fn settings_are_asked_for_within_bounds() {
    let abuse = abuse(limits());
    assert_eq!(
        abuse.of("config-huge-key"),
        broke("config-huge-key", "evaluate", "a name of 1048576 bytes, more than 4096")
    );
    assert_eq!(abuse.of("config-flood"), "0 of 100000");
}

#[test]
fn a_loop_of_host_calls_ends_at_the_rate_or_at_the_deadline() {
    let rated = abuse(PluginLimits { host_calls_per_second_max: 10_000, call_ms_max: 60_000, ..limits() });
    let what = "10001 host calls in one second, more than the limit of 10000";
    assert_eq!(rated.of("config-endless"), stopped("config-endless", what, "host-calls-per-second-max"));
    assert_eq!(rated.of("tables-reopened"), stopped("tables-reopened", what, "host-calls-per-second-max"));
    let free = abuse(PluginLimits { host_calls_per_second_max: u64::MAX, call_ms_max: 200, ..limits() });
    for item in ["config-endless", "random-flood", "nn-endless"] {
        assert_eq!(free.of(item), too_late(item, 200));
    }
    assert_eq!(free.ask("http-endless", "https://granted.example/"), too_late("http-endless", 200));
}

#[test]
fn keys_are_no_paths_and_bounded_in_length() {
    let abuse = abuse(limits());
    assert_eq!(abuse.of("kv-odd-keys"), "12 read, 12 listed, 0 left");
    let folder = abuse.host.dir.path();
    let names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["keys"], "no key is a path");
    assert_eq!(abuse.of("kv-bad-keys"), broke("kv-bad-keys", "evaluate", "a name of 65536 bytes, more than 4096"));
    assert_eq!(abuse.of("kv-long-key"), "kv-bad-key kv-bad-key kv-bad-key kv-bad-key kv-bad-key");
    assert_eq!(abuse.of("kv-huge-value"), "kv-too-large kv-too-large false");
    assert_eq!(
        abuse.of("kv-long-prefix"),
        broke("kv-long-prefix", "evaluate", "a name of 1048576 bytes, more than 4096")
    );
}

#[test]
fn keys_and_their_bytes_end_at_the_quota() {
    let flooded = abuse(limits());
    let too_many_keys = "plugin-problem: evil-imports/kv-key-flood: more than 100 keys; if the plugin needs it, raise \
        [limits.plugin] kv-keys-max in plinth.toml (kv-quota)\nhint: ";
    assert_eq!(flooded.of("kv-key-flood"), too_many_keys);
    assert_eq!(flooded.of("kv-list-all"), "100 listed");
    let listed = abuse(PluginLimits { list_items_max: 50, ..limits() });
    assert_eq!(listed.of("kv-key-flood"), too_many_keys);
    assert_eq!(listed.of("kv-list-all"), "50 listed");
    let filled = abuse(PluginLimits { kv_keys_max: 10_000, ..limits() });
    assert_eq!(
        filled.of("kv-fill"),
        "plugin-problem: evil-imports/kv-fill: 1055331 bytes of keys and values, more than the quota of 1048576; if the \
         plugin needs it, write in plinth.toml under [plugins.\"evil-imports\"]: kv.bytes = 2097152 (kv-quota)\nhint: "
    );
}

#[test]
fn many_instances_together_do_not_pass_the_quota() {
    use plinth_plugin::KeyValues;
    let abuse = abuse(PluginLimits { kv_keys_max: 10_000, call_ms_max: 60_000, ..limits() });
    let gate = abuse.plugin.gate().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| gate.evaluate("kv-fill", &Evidence::default(), "{}", Arc::new(NoTables)).unwrap_err());
        }
    });
    let keys = abuse.kv.list("", None, usize::MAX).unwrap();
    let bytes: usize = keys.iter().map(|key| key.len() + abuse.kv.get(key).unwrap().unwrap().len()).sum();
    assert!(bytes <= 1 << 20 && bytes > (1 << 20) - (11 << 10), "{bytes} bytes");
}

#[test]
fn requests_lead_to_the_granted_host_alone() {
    let abuse = abuse(limits());
    let told = abuse.of("http-urls");
    let answers: Vec<&str> = told.split(' ').collect();
    assert_eq!(answers.len(), 26);
    for (index, answer) in answers.iter().enumerate() {
        assert!(["denied", "http-bad-request"].contains(answer), "URL {index}: {answer}");
    }
    assert_eq!(abuse.of("http-methods"), "denied denied denied denied");
    assert_eq!(abuse.of("http-bad-headers"), ["http-bad-request"; 10].join(" "));
    assert_eq!(abuse.of("http-many-headers"), "http-too-large");
    assert_eq!(abuse.of("http-huge-header"), "http-too-large");
    assert_eq!(abuse.of("http-huge-body"), "http-bad-request http-too-large");
    assert!(abuse.web.seen.lock().unwrap().is_empty(), "{:?}", abuse.web.seen);
    assert_eq!(abuse.ask("http-get", "https://granted.example/"), "200, 5 bytes");
    assert_eq!(*abuse.web.seen.lock().unwrap(), ["GET granted.example:443"]);
}

#[test]
fn answers_are_bounded_and_requests_are_counted() {
    let abuse = abuse(limits());
    assert_eq!(
        leaves_nothing(&abuse.host.host, || abuse.ask("http-get", "https://granted.example/big")),
        "plugin-problem: evil-imports/http-get: an answer of 9437184 bytes, more than the limit of 8388608; if the \
         plugin needs it, raise [limits.plugin] http-response-bytes-max in plinth.toml (http-too-large)\nhint: "
    );
    let before = abuse.web.requests.load(Ordering::SeqCst);
    assert_eq!(
        abuse.ask("http-flood", "https://granted.example/"),
        "plugin-problem: evil-imports/http-flood: more than 50 requests in one second; if the plugin needs it, raise \
         [limits.plugin] http-requests-per-second-max in plinth.toml (http-rate)\nhint: "
    );
    assert_eq!(abuse.web.requests.load(Ordering::SeqCst) - before, 50);
}

#[test]
fn waiting_for_a_slow_server_ends_with_the_call() {
    let abuse = abuse(PluginLimits { call_ms_max: 300, ..limits() });
    let start = Instant::now();
    let told = abuse.ask("http-endless", "https://granted.example/slow");
    assert_eq!(told, too_late("http-endless", 300));
    // One wait of 300 ms; not the ten seconds that a request may take by itself.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn models_take_only_what_fits_and_are_let_go() {
    let abuse = abuse(limits());
    assert_eq!(abuse.of("nn-unknown"), "denied denied denied denied denied");
    assert_eq!(abuse.of("nn-lying-shapes"), ["bad-tensor"; 9].join(" "));
    // All that crosses in one call is bounded before anything looks at it.
    assert_eq!(
        abuse.of("nn-huge-inputs"),
        "plugin-output: evil-imports/nn-huge-inputs: `evaluate` handed more than 67108864 bytes to a function of the host\n\
         hint: if the plugin needs it, raise [limits.plugin] state-bytes-max in plinth.toml"
    );
    let wide = self::abuse(PluginLimits { state_bytes_max: 128 << 20, ..limits() });
    assert_eq!(wide.of("nn-huge-inputs"), "nn-too-large");
    let what = "17 open objects and tables, more than the limit of 16";
    assert_eq!(abuse.of("nn-hoard"), stopped("nn-hoard", what, "open-readers-max"));
    assert_eq!(abuse.of("nn-after-drop"), broke("nn-after-drop", "evaluate", "unknown handle index 1"));
    assert_eq!(abuse.of("nn-drop-twice"), broke("nn-drop-twice", "evaluate", "unknown handle index 1"));
    let what = "handle index 1 used with the wrong type, expected guest-defined resource but found a different \
        guest-defined resource";
    assert_eq!(abuse.of("nn-of-a-table"), broke("nn-of-a-table", "evaluate", what));
}

#[test]
fn clocks_never_fall_and_random_bytes_are_bounded() {
    let abuse = abuse(limits());
    assert_eq!(abuse.of("clock-flood"), "0 falls");
    let what = "a wish for 4294967295 random bytes, more than the limit of 65536";
    assert_eq!(abuse.of("random-huge"), stopped("random-huge", what, "random-bytes-max"));
}

#[test]
fn secrets_reach_neither_log_nor_errors() {
    let abuse = abuse(limits());
    assert_eq!(
        abuse.of("secret-ungranted"),
        "plugin-problem: evil-imports/secret-ungranted: the secret `of-somebody-else` was not granted; if that is wanted, \
         write in plinth.toml under [plugins.\"evil-imports\"]: secrets.\"of-somebody-else\" = \"env:NAME\" (denied)\n\
         hint: "
    );
    let (told, log) =
        logged(|| ["secret-logged", "secret-told", "secret-panic", "secret-observed"].map(|item| abuse.of(item)));
    assert!(log.iter().any(|line| line.contains("Bearer [secret key]")), "{log:?}");
    for text in log.iter().chain(&told) {
        assert!(!text.contains(SECRET), "{text}");
    }
    assert_eq!(told[0], "logged");
    let problem = "plugin-problem: evil-imports/secret-told: the key is [secret key]! ([secret key])\nhint: ";
    assert_eq!(told[1], problem);
    let (place, words) =
        ("evil_imports::offered::give_up", "evil-imports/src/offered.rs:71:5: the key is [secret key]");
    assert_eq!(told[2], common::panicked("evil-imports/secret-panic", "evaluate", place, words));
    assert_eq!(told[3], "[secret key]");
    // What a guest takes apart first the host cannot know: whoever grants a secret trusts the plugin not to tell it.
    let (told, log) = logged(|| abuse.of("secret-disguised"));
    assert_eq!(told, "logged");
    assert!(log.iter().all(|line| !line.contains(SECRET)));
}

#[test]
fn every_part_of_a_problem_is_without_secrets() {
    let abuse = abuse(limits());
    let gate = abuse.plugin.gate().unwrap();
    match gate.evaluate("secret-told", &Evidence::default(), "{}", Arc::new(NoTables)).unwrap_err() {
        ExtError::Problem { problem, .. } => {
            assert_eq!(problem.code, "[secret key]");
            assert_eq!(problem.column.as_deref(), Some("[secret key]"));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn tables_are_read_to_their_end_and_no_further() {
    let abuse = abuse(limits());
    assert_eq!(
        abuse.of("table-unknown"),
        "plugin-problem: evil-imports/table-unknown: no table `../data` is lent; there are: data (no-such-table)\nhint: "
    );
    assert_eq!(abuse.of("table-odd-reads"), "1 2 0 0 0");
    assert_eq!(abuse.of("table-after-drop"), broke("table-after-drop", "evaluate", "unknown handle index 1"));
}

#[test]
fn sources_are_read_to_their_end_and_no_further() {
    let abuse = abuse(PluginLimits { host_calls_per_second_max: 10_000, list_items_max: 10_000, ..limits() });
    assert_eq!(abuse.plan("object-far-reads"), "10 0 0 0 0 0");
    assert_eq!(abuse.plan("object-others"), ["denied"; 9].join(" "));
    assert_eq!(abuse.plan("object-after-drop"), broke("object-after-drop", "plan", "unknown handle index 1"));
    assert_eq!(abuse.plan("objects-listed"), "200000 listed");
    assert_eq!(
        abuse.plan("objects-reopened"),
        "limit-exceeded: evil-imports/objects-reopened: `plan` stopped: 10001 host calls in one second, more than the \
         limit of 10000\n\
         hint: if the plugin needs it, raise [limits.plugin] host-calls-per-second-max in plinth.toml"
    );
}

#[test]
fn texts_beyond_memory_and_levels_beyond_the_last_end_the_instance() {
    let abuse = abuse(limits());
    assert_eq!(
        abuse.of("far-pointer"),
        broke("far-pointer", "evaluate", "string pointer/length out of bounds of memory")
    );
    assert_eq!(abuse.of("bad-utf8"), broke("bad-utf8", "evaluate", "invalid utf-8 sequence of 1 bytes from index 0"));
    assert_eq!(abuse.of("bad-level"), broke("bad-level", "evaluate", "unexpected discriminant: 99"));
}
