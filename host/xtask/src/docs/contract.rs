//! What `wit/` cannot say of itself: who calls what and when, what the host checks, how a capability is granted, which
//! limits bound it and how it ends. The reference page joins these with the WIT; names in them are checked against the
//! code by the tests below.

use plinth_core::{Code, codes};

/// An extension point, as its caller sees it.
pub(super) struct Point {
    /// Such as `plinth:gate/gate`.
    pub(super) interface: &'static str,
    /// What uses it.
    pub(super) used_by: &'static str,
    /// The calls, in their order.
    pub(super) calls: &'static [(&'static str, &'static str)],
    /// What the host promises.
    pub(super) promises: &'static [&'static str],
    /// What it checks of each answer. A breach is `plugin-output`.
    pub(super) checks: &'static [&'static str],
    /// What a fault leads to.
    pub(super) fault: &'static str,
    /// The limits that bound it, beside those of every call.
    pub(super) limits: &'static [&'static str],
}

const ITEMS: &str = "`describe`: no more items than `list-items-max`, no name twice, names within `name-bytes-max`; the \
                     options schema of each is a JSON Schema.";
const ROWS: &str = "Blocks: the length of each list is what the schema and `rows` ask for; offsets begin at 0, never \
                    fall and end within `bytes`; text is UTF-8; a column that is not nullable has no null.";
const SCHEMA: &str = "Schemas: no more columns than `output-columns-max`, no name empty or twice, names within \
                      `name-bytes-max`.";

pub(super) const POINTS: &[Point] = &[
    Point {
        interface: "plinth:loader/loader",
        used_by: "The `load` stage of a pipeline, `plinth plugin run`, and every command that reads rows from a file by a plugin.",
        calls: &[
            ("describe", "Once for each process, on an instance of its own, with nothing lent."),
            ("plan", "Once for each source, on an instance of its own."),
            (
                "reader.open",
                "Once for each partition, on an instance of its own: what `plan` kept in memory is gone, and only the \
                 token carries over.",
            ),
            ("reader.next", "Until it answers none. After that the instance is dropped."),
        ],
        promises: &[
            "Options fit the item's options schema before any call; no options are `{}`.",
            "`objects` opens the source of the call, what lies below it, and the folders of `read` in `plinth.toml`.",
            "Partitions are read in parallel; their rows are put together in the order of the plan.",
            "`max-rows` is at least 1 and at most `output-rows-max`.",
        ],
        checks: &[
            ITEMS,
            SCHEMA,
            "Plans: no more partitions than `list-items-max`, their tokens together within `state-bytes-max`.",
            ROWS,
            "At most `max-rows` rows in a block, and at most 1,000 blocks without a row one after another.",
        ],
        fault: "The stage fails with the code of the fault; nothing is recorded.",
        limits: &[
            "list-items-max",
            "state-bytes-max",
            "output-rows-max",
            "output-columns-max",
            "output-bytes-max",
            "partition-bytes-max",
        ],
    },
    Point {
        interface: "plinth:transform/transform",
        used_by: "The `features` stage (fit and apply), evaluation and batch prediction (apply), and serving (apply, under `online-call-ms-max`).",
        calls: &[
            ("describe", "Once for each process, on an instance of its own."),
            ("fitting.start", "Once for each fit, on an instance of its own."),
            ("fitting.update", "For each block of the training rows, in order."),
            (
                "fitting.partial",
                "By callers that fit parts of the data apart, on the fits of all parts but one at the end of a pass; its bytes go to `merge`. The `features` stage fits in one; `plinth plugin test` in several.",
            ),
            ("fitting.merge", "On the fit that goes on, once for each partial."),
            (
                "fitting.end-pass",
                "Once for each pass. After `another-pass` the same rows come again; after `done` the instance is dropped.",
            ),
            (
                "fitted.load",
                "Whenever an instance is needed: a fresh process, months later, several at once. The state's bytes are \
                 those of `done`, and the model version records their hash and the component's.",
            ),
            ("fitted.output", "After the first load of a state; the others answer the same or break the promise."),
            (
                "fitted.apply",
                "For each block, in any order, on any instance that has the state loaded, and the blocks of a large table on \
                 several at once.",
            ),
        ],
        promises: &[
            "Options fit the item's options schema before any call; no options are `{}`.",
            "Blocks of a fit have the schema of `start`, blocks of `apply` that of `load`.",
            "A block is about `block-bytes-target` bytes; an empty one may come.",
            "An instance answers one call at a time.",
        ],
        checks: &[
            ITEMS,
            SCHEMA,
            "States and partials: within `state-bytes-max`.",
            "Passes: no more than `fit-passes-max`.",
            ROWS,
            "`apply` gives as many rows as it got.",
        ],
        fault: "A stage fails with the code of the fault. A prediction is answered with the code's HTTP status; the \
                instance is dropped and the next call gets another.",
        limits: &[
            "online-call-ms-max",
            "block-bytes-target",
            "state-bytes-max",
            "fit-passes-max",
            "output-columns-max",
            "output-bytes-max",
            "warm-instances-max",
            "table-threads-max",
        ],
    },
    Point {
        interface: "plinth:gate/gate",
        used_by: "The `gate` stage, with the metrics of the candidate and of the version that it would replace, and the tables `data` and `predictions`; the `validate` stage, with the rows as the table `data`.",
        calls: &[
            ("describe", "Once for each process, on an instance of its own."),
            ("evaluate", "Once for each judgement, on an instance of its own."),
        ],
        promises: &[
            "Options fit the item's options schema before any call; no options are `{}`.",
            "Candidate and baseline are measured on the same rows; the first time there is no baseline.",
            "Lent tables are readable during the call, each from its start.",
        ],
        checks: &[
            ITEMS,
            "At least one check, no more than `list-items-max`, names within `name-bytes-max`.",
            "What is for a person (observed, expected, reason) is cut to `message-bytes-max`.",
        ],
        fault: "Gates fail closed: a problem, a trap and a timeout count as a failed check, and nothing is registered.",
        limits: &["list-items-max", "name-bytes-max", "message-bytes-max", "open-readers-max", "block-bytes-target"],
    },
    Point {
        interface: "plinth:drift/drift",
        used_by: "`plinth monitor check`.",
        calls: &[
            ("describe", "Once for each process, on an instance of its own."),
            (
                "test",
                "Once for each column, or once for all columns of a multivariate test, on an instance of its own.",
            ),
        ],
        promises: &[
            "Options fit the item's options schema before any call; no options are `{}`.",
            "Both blocks have the same schema, whose kinds are among those that the item compares; one column, unless \
             the item is multivariate.",
            "The host corrects for the number of tests; a test need not.",
        ],
        checks: &[
            ITEMS,
            "Each item compares at least one kind of column.",
            "A verdict other than inconclusive has a statistic and a threshold that are not NaN; a p-value lies in \
             [0, 1]; an effect size is not NaN; no more rows counted than there were.",
            "The note is cut to `message-bytes-max`.",
        ],
        fault: "The test is inconclusive: never \"no drift\".",
        limits: &["list-items-max", "message-bytes-max"],
    },
    Point {
        interface: "plinth:predict/predict",
        used_by: "Model versions whose artifact is a component.",
        calls: &[
            ("describe", "Once for each process, on an instance of its own."),
            ("model.load", "Whenever an instance is needed."),
            ("model.output", "After a load."),
            (
                "model.predict",
                "For each block of rows, on any instance that has the model loaded, and the blocks of a large table on several \
                 at once.",
            ),
        ],
        promises: &["Blocks have the schema of `load`.", "An instance answers one call at a time."],
        checks: &[ITEMS, SCHEMA, ROWS, "`predict` gives as many rows as it got."],
        fault: "A prediction is answered with the code's HTTP status; the instance is dropped.",
        limits: &[
            "online-call-ms-max",
            "state-bytes-max",
            "output-columns-max",
            "output-bytes-max",
            "warm-instances-max",
            "table-threads-max",
        ],
    },
];

/// A host interface: a capability.
pub(super) struct Capability {
    /// Such as `kv`, of `plinth:host/kv`.
    pub(super) name: &'static str,
    /// How it is granted.
    pub(super) granted: &'static str,
    /// The lines of `plinth.toml` for a plugin called `embed`; empty where there are none.
    pub(super) lines: &'static str,
    /// The limits that bound it.
    pub(super) limits: &'static [&'static str],
    /// The problems that its functions answer, by their codes.
    pub(super) problems: &'static [(&'static str, &'static str)],
    /// What ends the call instead of answering.
    pub(super) faults: &'static [&'static str],
}

/// What any interface with names behind it answers for others.
const READERS: &str = "`limit-exceeded`: more open than `open-readers-max`, or more handles than `handles-max`.";

pub(super) const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "log",
        granted: "Always.",
        lines: "",
        limits: &["log-bytes-per-call-max"],
        problems: &[],
        faults: &[],
    },
    Capability {
        name: "config",
        granted: "Always; empty where the operator wrote nothing.",
        lines: "config = { batch = 32, language = \"en\" }",
        limits: &[],
        problems: &[],
        faults: &[],
    },
    Capability {
        name: "objects",
        granted: "By a stage that loads, for its own source. Further folders by `read`, and outside of a loading stage by \
                  `grant`.",
        lines: "grant = [\"objects\"]\nread = [\"data/lookup\"]",
        limits: &["object-read-bytes-max", "open-readers-max", "handles-max", "list-items-max"],
        problems: &[
            ("denied", "The URI is not among the sources that were granted, or its scheme is not one of files."),
            ("file-not-found", "There is no such file."),
            ("file-unreadable", "It may not be read, or is no file."),
            (
                "too-many-objects",
                "`list-objects` of version 0.1 found more than `list-items-max`; since 0.2 it gives pages.",
            ),
            ("io", "The system failed to read; the same may work later."),
        ],
        faults: &[READERS],
    },
    Capability {
        name: "tables",
        granted: "By the `gate` and `validate` stages, for the tables of the call.",
        lines: "grant = [\"tables\"]",
        limits: &["open-readers-max", "handles-max", "block-bytes-target"],
        problems: &[
            ("denied", "The call lends no tables."),
            ("no-such-table", "No table of that name is lent; the message names those that are."),
            ("bad-table", "A table's rows cannot be read."),
        ],
        faults: &[READERS],
    },
    Capability {
        name: "kv",
        granted: "By `grant`.",
        lines: "grant = [\"kv\"]\nkv.bytes = 4_194_304",
        limits: &["kv-key-bytes-max", "kv-value-bytes-max", "kv-keys-max", "kv-bytes-max", "list-items-max"],
        problems: &[
            ("kv-bad-key", "The key is empty or longer than `kv-key-bytes-max`."),
            ("kv-too-large", "The value is larger than `kv-value-bytes-max`."),
            (
                "kv-quota",
                "More bytes than `kv.bytes` of the plugin (or `kv-bytes-max`), or more keys than `kv-keys-max`; the old value stays.",
            ),
            ("io", "The system failed to read or write; the same may work later."),
        ],
        faults: &[],
    },
    Capability {
        name: "http",
        granted: "By `grant`, with the hosts, and with methods beside GET and HEAD.",
        lines: "grant = [\"http\"]\nhttp.hosts = [\"api.example.com\", \"*.example.org\"]\nhttp.private = [\"models.corp.example:8443\"]\nhttp.methods = [\"POST\"]",
        limits: &[
            "http-requests-per-second-max",
            "http-ms-max",
            "http-request-bytes-max",
            "http-response-bytes-max",
            "http-header-bytes-max",
        ],
        problems: &[
            ("denied", "The host, its address or the method was not granted; the message says what to write."),
            ("http-bad-request", "The URL or a header cannot be, or is the host's to set."),
            ("http-rate", "More than `http-requests-per-second-max`; the same may work later."),
            ("http-too-large", "The request or the answer is over its limit."),
            (
                "http-timeout",
                "No whole answer within `http-ms-max`, or within what is left of the call; the same may work later.",
            ),
            ("http-failed", "No connection, or no answer that can be read; the same may work later."),
        ],
        faults: &[],
    },
    Capability {
        name: "nn",
        granted: "By `grant`, with a file for each name.",
        lines: "grant = [\"nn\"]\nnn.models = { encoder = \"models/encoder.onnx\" }",
        limits: &["nn-input-bytes-max", "nn-output-bytes-max", "open-readers-max", "handles-max"],
        problems: &[
            ("denied", "No model of that name was granted."),
            ("bad-tensor", "A tensor's bytes are not what its type and shape say, or the host does not run its type."),
            ("nn-too-large", "Inputs or outputs are over their limit."),
            ("nn-failed", "The model cannot be loaded or run; the message says why."),
        ],
        faults: &[READERS],
    },
    Capability {
        name: "clock",
        granted: "By `grant`. Without it, and in the deterministic profile, the clock of WASI stands still.",
        lines: "grant = [\"clock\"]",
        limits: &[],
        problems: &[],
        faults: &[],
    },
    Capability {
        name: "random",
        granted: "By `grant`. Without it, and in the deterministic profile, the random numbers of WASI are seeded.",
        lines: "grant = [\"random\"]",
        limits: &["random-bytes-max"],
        problems: &[],
        faults: &["`limit-exceeded`: more bytes at once than `random-bytes-max`."],
    },
    Capability {
        name: "secrets",
        granted: "By `grant`, with the place of each secret.",
        lines: "grant = [\"secrets\"]\nsecrets = { api-key = \"env:ACME_KEY\", token = \"file:secrets/token\" }",
        limits: &[],
        problems: &[("denied", "No secret of that name was granted.")],
        faults: &[],
    },
];

/// Problems of a plugin's own that the host knows, and the code it makes of them.
pub(super) const PROBLEMS: &[(&[&str], Code)] = &[
    (&["empty-file", "empty-input"], codes::EMPTY_INPUT),
    (&["bad-value"], codes::BAD_VALUE),
    (&["infinite-value"], codes::NOT_FINITE),
    (&["unknown-column"], codes::UNKNOWN_COLUMN),
    (&["ragged-row", "duplicate-column", "invalid-utf8", "unterminated-quote", "bad-table"], codes::BAD_TABLE),
    (&["bad-options"], codes::BAD_OPTIONS),
    (&["file-not-found"], codes::FILE_NOT_FOUND),
    (&["file-unreadable"], codes::FILE_UNREADABLE),
];

/// How loading a plugin or a call of it ends when it does not end well, and what its author does about it.
pub(super) const ENDINGS: &[(Code, &[&str], &str)] = &[
    (
        codes::PLUGIN_NOT_FOUND,
        &[],
        "Give the file's path, such as `./my-scale.wasm`, or put the file into a plugin folder; `plinth plugin list` shows what is found.",
    ),
    (codes::PLUGIN_ITEM_NOT_FOUND, &[], "`plinth plugin inspect` lists the items; choose one with `--item`."),
    (codes::NOT_A_COMPONENT, &[], "It is a core module or something else: build it with `plinth plugin build`."),
    (
        codes::PLUGIN_WRONG_WORLD,
        &[],
        "Export the extension point that the stage needs, and import nothing but `plinth:host` and WASI 0.2.",
    ),
    (
        codes::PLUGIN_VERSION,
        &[],
        "Build it with an SDK of a version that the host speaks; the message names them. A newer host speaks older versions too.",
    ),
    (
        codes::PLUGIN_TOO_LARGE,
        &["component-bytes-max", "compile-ms-max", "compile-memory-bytes-max", "compiled-bytes-max"],
        "Leave out libraries and debug information; split a function that a generator made very large.",
    ),
    (
        codes::PLUGIN_DENIED,
        &[],
        "Not granted: the operator writes the line that the hint names. Not asked for: add the capability to `capabilities` in the manifest and build again.",
    ),
    (
        codes::PLUGIN_CHANGED,
        &[],
        "The operator pinned another build: write the new hash under the plugin's `hash` in `plinth.toml`.",
    ),
    (
        codes::PLUGIN_UNTRUSTED,
        &[],
        "The operator runs only what certain people signed: sign the component with `plinth plugin sign`, and give the operator your public key.",
    ),
    (codes::BAD_OPTIONS, &[], "The options do not fit the item's options schema; the message names the place."),
    (
        codes::SCHEMA_MISMATCH,
        &[],
        "The rows do not have the columns that were agreed on, or kinds that a drift test does not compare.",
    ),
    (
        codes::PLUGIN_PROBLEM,
        &[],
        "The plugin answered a problem with a code of its own. It is the plugin's word about its input.",
    ),
    (
        codes::PLUGIN_OUTPUT,
        &[
            "output-bytes-max",
            "output-rows-max",
            "output-columns-max",
            "name-bytes-max",
            "list-items-max",
            "state-bytes-max",
            "fit-passes-max",
        ],
        "The answer breaks the contract; the message says where. `plinth plugin test` finds most of these before anyone else.",
    ),
    (
        codes::PLUGIN_TRAP,
        &[],
        "It panicked: the message has its last words from the log and the function. Answer a problem where the input is at fault.",
    ),
    (codes::PLUGIN_STACK, &[], "Recursion without end, or too much on the stack: make the recursion a loop."),
    (
        codes::PLUGIN_DEADLINE,
        &["call-ms-max", "online-call-ms-max"],
        "Do less in one call (a loader returns smaller blocks), or let the operator raise the limit.",
    ),
    (
        codes::PLUGIN_MEMORY,
        &["memory-bytes-max", "memory-total-bytes-max"],
        "Keep less: work on a block and let it go, or let the operator raise the limit.",
    ),
    (
        codes::LIMIT_EXCEEDED,
        &[
            "handles-max",
            "open-readers-max",
            "host-calls-per-second-max",
            "random-bytes-max",
            "core-instances-max",
            "memories-max",
            "tables-max",
            "table-elements-max",
            "instance-bytes-max",
        ],
        "Drop what is not needed any more; read more with each call; be composed of fewer components.",
    ),
    (
        codes::PLUGIN_UNAVAILABLE,
        &["breaker-faults-max", "breaker-rest-ms", "instances-max", "warm-instances-max"],
        "It had too many faults in a row and rests, or all its instances are busy: mend the fault, or try again.",
    ),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use plinth_core::PluginLimits;

    use super::*;

    fn source(path: &str) -> String {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
    }

    #[test]
    fn every_limit_that_is_named_exists_and_bounds_something() {
        let limits = serde_json::to_value(PluginLimits::default()).unwrap();
        let named = POINTS.iter().flat_map(|point| point.limits);
        let named = named.chain(CAPABILITIES.iter().flat_map(|capability| capability.limits));
        let named: Vec<&&str> = named.chain(ENDINGS.iter().flat_map(|(_, limits, _)| *limits)).collect();
        for name in &named {
            assert!(limits.get(**name).is_some(), "there is no limit `{name}`");
        }
        for name in limits.as_object().unwrap().keys() {
            // One only cuts what is too long, what the other takes away is compiled again.
            assert!(
                ["message-bytes-max", "compiled-cache-bytes-max"].contains(&name.as_str())
                    || named.iter().any(|named| **named == name),
                "`{name}` bounds nothing"
            );
        }
    }

    #[test]
    fn every_problem_that_is_named_is_answered_somewhere() {
        let files = ["imports", "keys", "objects", "offered", "outward", "since_v0_1"]
            .map(|name| format!("plugin/src/{name}.rs"));
        let host: String = files.iter().map(|path| source(path)).chain([source("cli/src/services.rs")]).collect();
        for capability in CAPABILITIES {
            for (code, _) in capability.problems {
                assert!(host.contains(&format!("\"{code}\"")), "{}: nothing answers `{code}`", capability.name);
            }
        }
        let known = source("ext/src/error.rs");
        for code in PROBLEMS.iter().flat_map(|(codes, _)| *codes) {
            assert!(known.contains(&format!("\"{code}\"")), "`{code}` is no code that the host knows");
        }
    }

    #[test]
    fn every_code_of_plugins_has_its_advice() {
        for code in codes::ALL.iter().filter(|code| code.name().starts_with("plugin-")) {
            // Those of the author's own commands are in their messages.
            let of_commands = ["plugin-test-failed", "plugin-build-failed"].contains(&code.name());
            assert!(of_commands || ENDINGS.iter().any(|(ending, ..)| ending == code), "{code}");
        }
    }
}
