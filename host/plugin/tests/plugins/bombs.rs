//! Small files that want much: time and memory to compile them, or to make an instance of them.

use std::{
    fs::{self, File},
    io::Write,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use plinth_core::{Coded, PluginLimits, codes};
use plinth_ext::Fitted;
use plinth_plugin::{Grants, Host, HostConfig};

use crate::common::{self, TestHost, component, host_with_own_cache, leaves_nothing, table, told};

/// A gate around core modules and instances of them. Its functions are not those of a gate, which is found out when
/// everything else went well.
fn gate(modules: &str) -> Vec<u8> {
    let text = format!(
        r#"(component {modules}
        (core module $main (func (export "f")))
        (core instance $main (instantiate $main))
        (func $f (canon lift (core func $main "f")))
        (instance $i (export "describe" (func $f)) (export "evaluate" (func $f)))
        (export "plinth:gate/gate@0.1.0" (instance $i)))"#
    );
    wat::parse_str(text).unwrap()
}

/// A host that knows its compiling processes.
struct Watched {
    test: TestHost,
    /// An argument of the processes; they do not look at it.
    mark: String,
    started: Arc<AtomicU32>,
    /// Loaded before any bomb; it changes nothing.
    neighbour: Arc<dyn Fitted>,
}

impl Watched {
    fn new(limits: &PluginLimits) -> Self {
        static MARKS: AtomicU32 = AtomicU32::new(0);
        let mark = format!("bomb-{}-{}", std::process::id(), MARKS.fetch_add(1, Ordering::SeqCst));
        let started = Arc::new(AtomicU32::new(0));
        let dir = tempfile::tempdir().unwrap();
        let (counted, marked, plain) = (started.clone(), mark.clone(), common::compiler());
        // The neighbour is compiled under limits that are not too narrow for it.
        let first = Host::new(HostConfig {
            cache_dir: dir.path().join("cache"),
            limits: PluginLimits::default(),
            deterministic: false,
            compiler: common::compiler(),
            progress: None,
        });
        first.load_file(&component("evil"), &common::evil_grants()).unwrap().transform().unwrap();
        let host = Host::new(HostConfig {
            cache_dir: dir.path().join("cache"),
            limits: PluginLimits { breaker_faults_max: 1_000, ..limits.clone() },
            deterministic: false,
            compiler: Arc::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut command = plain();
                command.arg(&marked);
                command
            }),
            progress: None,
        });
        let test = TestHost { host, dir };
        let neighbour = common::evil(&test).transform().unwrap().load("good", b"", table(3).schema()).unwrap();
        // It was compiled already.
        started.store(0, Ordering::SeqCst);
        Self { test, mark, started, neighbour }
    }

    /// What loading and running a component is answered, that nobody saw before; a neighbour works as before, no process
    /// and no memory is left.
    fn answer(&self, component: &[u8]) -> String {
        let mut times = 0_u32;
        self.answer_of(move || {
            times += 1;
            // A section that says nothing, so that it is another component and not what is known to be refused.
            [component, &section(0, &[&[4], &times.to_le_bytes()[..], &times.to_le_bytes()[..]].concat())].concat()
        })
    }

    /// The same for one that was seen before, from its second time on.
    fn answer_again(&self, component: &[u8]) -> String {
        self.answer_of(|| component.to_vec())
    }

    fn answer_of(&self, mut component: impl FnMut() -> Vec<u8>) -> String {
        let told = leaves_nothing(&self.test.host, || {
            let plugin = self.test.host.load("bomb", component(), &Grants::none());
            told(&plugin.and_then(|plugin| plugin.gate()).err().expect("it is refused"))
        });
        assert_eq!(self.running(), 0, "no process goes on");
        assert_eq!(self.neighbour.apply(&table(3)).unwrap(), table(3));
        told
    }

    fn started(&self) -> u32 {
        self.started.load(Ordering::SeqCst)
    }

    /// Its compiling processes that are there.
    fn running(&self) -> usize {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(&self.mark)).count()
    }
}

fn answer(component: &[u8], limits: &PluginLimits) -> String {
    Watched::new(limits).answer(component)
}

/// A function of so many blocks, one in the other.
fn blocks(depth: usize) -> Vec<u8> {
    let blocks = format!("{}{}", "block ".repeat(depth), "end ".repeat(depth));
    gate(&format!("(core module $m (func {blocks})) (core instance (instantiate $m))"))
}

/// A section of a binary: its number, its length, its bytes.
fn section(id: u8, bytes: &[u8]) -> Vec<u8> {
    let mut section = vec![id];
    leb(&mut section, bytes.len());
    section.extend_from_slice(bytes);
    section
}

fn leb(to: &mut Vec<u8>, mut number: usize) {
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        to.push(if number == 0 { byte } else { byte | 0x80 });
        if number == 0 {
            break;
        }
    }
}

/// A gate with a module behind it that has so many functions of one body.
fn functions(count: usize, body: &[u8]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    module.extend(section(1, &[1, 0x60, 0, 0]));
    let (mut types, mut bodies) = (Vec::new(), Vec::new());
    leb(&mut types, count);
    types.extend(std::iter::repeat_n(0, count));
    leb(&mut bodies, count);
    for _ in 0..count {
        leb(&mut bodies, body.len());
        bodies.extend_from_slice(body);
    }
    module.extend(section(3, &types));
    module.extend(section(10, &bodies));
    let mut component = gate("");
    component.extend(section(1, &module));
    component
}

/// A body with so many locals that it does not use.
fn locals(count: usize) -> Vec<u8> {
    let mut body = vec![1];
    leb(&mut body, count);
    body.extend([0x7e, 0x0b]);
    body
}

/// A body that jumps so many times to one of so many places.
fn jumps(times: usize, places: usize) -> Vec<u8> {
    let mut body = vec![0];
    for _ in 0..times {
        body.extend([0x02, 0x40, 0x41, 0, 0x0e]);
        leb(&mut body, places);
        body.resize(body.len() + places + 1, 0);
        body.push(0x0b);
    }
    body.push(0x0b);
    body
}

/// A body of so many conditions.
fn conditions(count: usize) -> Vec<u8> {
    [vec![0], [0x41, 0, 0x04, 0x40, 0x0b].repeat(count), vec![0x0b]].concat()
}

const WRONG_WORLD: &str = "plugin-wrong-world: bomb: `describe` is not the function that this host calls: failed to \
    convert function to given type: type mismatch with results: expected 1-tuple, found 0-tuple\n\
    hint: build the plugin against the WIT packages of this version";

#[test]
fn a_file_of_100_megabytes_is_not_even_read() {
    let host = host_with_own_cache(PluginLimits::default());
    let path = host.dir.path().join("big.wasm");
    File::create(&path).unwrap().set_len(100 << 20).unwrap();
    let neighbour = common::evil(&host).transform().unwrap().load("good", b"", table(3).schema()).unwrap();
    let refused = leaves_nothing(&host.host, || told(&host.host.load_file(&path, &Grants::none()).unwrap_err()));
    assert_eq!(
        refused,
        "plugin-too-large: plugin `big` has 104857600 bytes, more than the limit of 67108864\n\
         hint: strip its debug information, or raise [limits.plugin] component-bytes-max in plinth.toml"
    );
    let given = || told(&host.host.load("big", vec![0; 100 << 20], &Grants::none()).unwrap_err());
    assert_eq!(leaves_nothing(&host.host, given), refused);
    assert_eq!(neighbour.apply(&table(3)).unwrap(), table(3));
}

#[test]
fn compiling_ends_at_its_deadline_and_is_not_begun_again() {
    let watched = Watched::new(&PluginLimits { compile_ms_max: 1_500, ..PluginLimits::default() });
    let bomb = blocks(200_000);
    let cached = || fs::read_dir(watched.test.dir.path().join("cache")).unwrap().count();
    let (start, cached_before) = (Instant::now(), cached());
    let told = watched.answer_again(&bomb);
    assert_eq!(
        told,
        "plugin-too-large: plugin `bomb` did not compile within 1500 ms\n\
         hint: if the plugin needs it, raise [limits.plugin] compile-ms-max in plinth.toml"
    );
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    for _ in 0..3 {
        assert_eq!(watched.answer_again(&bomb), told);
    }
    assert_eq!(watched.started(), 1, "who asks again is told what is known");
    assert_eq!(cached(), cached_before);
}

#[test]
fn compiling_ends_at_its_memory() {
    let limits = PluginLimits { compile_memory_bytes_max: 64 << 20, ..PluginLimits::default() };
    for bomb in [functions(1, &jumps(50, 60_000)), functions(1, &conditions(500_000))] {
        let watched = Watched::new(&limits);
        let told = watched.answer(&bomb);
        assert_eq!(
            told,
            "plugin-too-large: plugin `bomb` did not compile within 67108864 bytes of memory\n\
             hint: if the plugin needs it, raise [limits.plugin] compile-memory-bytes-max in plinth.toml"
        );
        assert!(watched.started() >= 2, "each of them is compiled");
    }
}

#[test]
fn locals_that_a_few_bytes_declare_end_at_the_deadline() {
    let limits = PluginLimits { compile_ms_max: 1_500, ..PluginLimits::default() };
    let bomb = functions(100_000, &locals(50_000));
    assert!(bomb.len() < 1 << 20);
    assert_eq!(
        answer(&bomb, &limits),
        "plugin-too-large: plugin `bomb` did not compile within 1500 ms\n\
         hint: if the plugin needs it, raise [limits.plugin] compile-ms-max in plinth.toml"
    );
}

#[test]
fn what_is_compiled_is_bounded_in_size() {
    let limits = PluginLimits { compiled_bytes_max: 1_000_000, ..PluginLimits::default() };
    let told = answer(&functions(20_000, &[0, 0x0b]), &limits);
    let (start, end) = told.split_once(" bytes, ").unwrap();
    assert!(start.starts_with("plugin-too-large: plugin `bomb` was compiled to "), "{told}");
    assert_eq!(
        end,
        "more than the limit of 1000000\n\
         hint: if the plugin needs it, raise [limits.plugin] compiled-bytes-max in plinth.toml"
    );
}

#[test]
fn who_comes_while_a_component_is_compiled_waits_for_the_same_answer() {
    let watched = Watched::new(&PluginLimits::default());
    let bytes = fs::read(component("clip")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let clip = watched.test.host.load("clip", bytes.clone(), &Grants::none()).unwrap();
                assert_eq!(clip.transform().unwrap().items()[0].name, "clip");
            });
        }
    });
    assert_eq!(watched.started(), 1);
    let bomb = blocks(200_000);
    let watched = Watched::new(&PluginLimits { compile_ms_max: 500, ..PluginLimits::default() });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let plugin = watched.test.host.load("bomb", bomb.clone(), &Grants::none()).unwrap();
                assert_eq!(plugin.gate().err().unwrap().code(), codes::PLUGIN_TOO_LARGE);
            });
        }
    });
    assert_eq!((watched.started(), watched.running()), (1, 0));
}

#[test]
fn a_process_whose_host_is_gone_ends() {
    let bomb = blocks(200_000);
    let order = serde_json::json!({
        "limits": PluginLimits::default(), "deterministic": false, "bytes": bomb.len(), "cpu_seconds": 600
    });
    let mut command = (common::compiler())();
    let mut worker = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = worker.stdin.take().unwrap();
    writeln!(stdin, "{order}").unwrap();
    stdin.write_all(&bomb).unwrap();
    stdin.flush().unwrap();
    assert!(worker.try_wait().unwrap().is_none());
    let start = Instant::now();
    drop(stdin);
    // Compiling it takes most of a minute.
    assert!(!worker.wait().unwrap().success());
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[test]
fn a_compiler_that_is_something_else_is_told() {
    let with = |program: &'static str, argument: &'static str| {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(HostConfig {
            cache_dir: dir.path().join("cache"),
            limits: PluginLimits::default(),
            deterministic: false,
            compiler: Arc::new(move || {
                let mut command = Command::new(program);
                command.arg(argument);
                command
            }),
            progress: None,
        });
        told(&host.load("x", gate(""), &Grants::none()).unwrap().gate().err().unwrap())
    };
    let start = "internal: plugin `x` cannot be prepared: ";
    let is = |program, argument, what: &str| assert_eq!(with(program, argument), format!("{start}{what}\nhint: "));
    is("/no/such/program", "", "the process that compiles does not start: No such file or directory (os error 2)");
    is("true", "", "the process that compiles answered nothing");
    is("echo", "hello", "what was started to compile is something else");
    // The rest are the words of the system's `ls`.
    let failed = with("ls", "/no/such/folder");
    assert!(failed.starts_with(&format!("{start}the process that compiles broke down (exit status: 2); it said: ls")));
}

fn needs(what: &str, max: u64, limit: &str, code: &str) -> String {
    format!(
        "{code}: plugin `bomb` needs {what}, more than the limit of {max}\n\
         hint: if the plugin needs it, raise [limits.plugin] {limit} in plinth.toml"
    )
}

#[test]
fn memories_tables_and_instances_beyond_the_limits_are_refused() {
    let limits = PluginLimits::default();
    let module = |what: &str| gate(&format!("(core module $m {what}) (core instance (instantiate $m))"));
    let told = |what: &str| answer(&module(what), &PluginLimits::default());
    let memory = |bytes: u64| {
        needs(&format!("a memory of {bytes} bytes"), limits.memory_bytes_max, "memory-bytes-max", "plugin-memory")
    };
    assert_eq!(told("(memory 65536)"), memory(1 << 32));
    assert_eq!(told("(memory 5000)"), memory(5_000 << 16));
    assert_eq!(told("(memory i64 0x1000000)"), memory(1 << 40));
    let (max, limit) = (limits.table_elements_max, "table-elements-max");
    assert_eq!(told("(table 10000000 funcref)"), needs("a table of 10000000 elements", max, limit, "limit-exceeded"));
    assert_eq!(told(&"(memory 1)".repeat(99)), needs("99 memories", 8, "memories-max", "limit-exceeded"));
    assert_eq!(told(&"(table 1 funcref)".repeat(99)), needs("99 tables", 64, "tables-max", "limit-exceeded"));
    let globals = told(&"(global i64 (i64.const 0))".repeat(500_000));
    let beside = "8000176 bytes for what an instance has beside its memories";
    assert_eq!(globals, needs(beside, 4 << 20, "instance-bytes-max", "limit-exceeded"));
    // Each of them is small.
    let many = |what: &str, count: usize| {
        let instances = "(core instance (instantiate $m))".repeat(count);
        answer(&gate(&format!("(core module $m {what}) {instances}")), &PluginLimits::default())
    };
    assert_eq!(many("", 900), needs("901 core instances", 64, "core-instances-max", "limit-exceeded"));
    assert_eq!(many("(memory 1)", 20), needs("20 memories", 8, "memories-max", "limit-exceeded"));
    let (one, two) = ("(table 1 funcref)".repeat(30), 3);
    assert_eq!(many(&one, two), needs("90 tables", 64, "tables-max", "limit-exceeded"));
    assert_eq!(
        many("(memory 1000)", 8),
        "plugin-memory: bomb: `instantiate` wanted 327680000 bytes of memory, more than the limit of one instance, \
         268435456\nhint: if the plugin needs it, raise [limits.plugin] memory-bytes-max in plinth.toml"
    );
    assert_eq!(many("(memory 100) (table 10 funcref)", 8), WRONG_WORLD);
    // Far apart, so that what lies between would be much.
    let data = r#"(memory 4000) (data (i32.const 0) "x") (data (i32.const 260000000) "x")"#;
    assert_eq!(told(data), WRONG_WORLD);
}

#[test]
fn components_that_multiply_are_refused() {
    // Each level makes ten of the one below: 10^8 instances, and 2 KB.
    let mut text = "(component $c0 (core module $m (memory 1)) (core instance (instantiate $m)))".to_owned();
    for level in 1..9 {
        let ten = format!("(instance (instantiate $c{}))", level - 1).repeat(10);
        text = format!("(component $c{level} {text} {ten})");
    }
    let bomb = gate(&format!("{text} (instance (instantiate $c8))"));
    assert!(bomb.len() < 3_000, "{}", bomb.len());
    let limits =
        PluginLimits { compile_ms_max: 300_000, compile_memory_bytes_max: 256 << 20, ..PluginLimits::default() };
    assert_eq!(
        answer(&bomb, &limits),
        "plugin-too-large: plugin `bomb` did not compile within 268435456 bytes of memory\n\
         hint: if the plugin needs it, raise [limits.plugin] compile-memory-bytes-max in plinth.toml"
    );
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| {
        let mut inner = wat::parse_str("(component)").unwrap();
        for _ in 1..depth {
            let mut outer = inner[..8].to_vec();
            outer.extend(section(4, &inner));
            inner = outer;
        }
        let mut gate = gate("");
        gate.extend(section(4, &inner));
        gate
    };
    assert_eq!(answer(&nested(100), &PluginLimits::default()), WRONG_WORLD);
    let watched = Watched::new(&PluginLimits::default());
    for depth in [101, 5_000, 50_000] {
        let bomb = nested(depth);
        let start = Instant::now();
        assert_eq!(
            watched.answer(&bomb),
            "plugin-too-large: plugin `bomb` is nested too deep to be compiled\n\
             hint: no compiler nests code so deep: report it to its author"
        );
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
    assert_eq!(watched.started(), 0);
}
