//! Components made by hand, which no compiler of an SDK would make: what they return lies about their memory, or calls
//! the host while it is being returned.

use std::sync::Arc;

use plinth_core::PluginLimits;
use plinth_ext::{Evidence, NoTables};
use plinth_plugin::Grants;

use crate::common::{self, TestHost, host, leaves_nothing, table, told};

/// A gate whose `describe` is `describe`, whose post-return is `after` and whose allocator is `allocate`; all of them
/// are bodies of core functions, and may call `$log` and `$settings`.
fn gate(pages: u32, data: &str, describe: &str, after: &str, allocate: &str) -> Vec<u8> {
    let text = format!(
        r#"(component
        (import "plinth:host/log@0.1.0" (instance $log
            (type $plain (enum "trace" "debug" "info" "warn" "error"))
            (export "level" (type $level (eq $plain)))
            (export "log" (func (param "level" $level) (param "message" string)))))
        (import "plinth:host/config@0.1.0" (instance $config
            (export "get-all" (func (result (list (tuple string string)))))))
        (core module $memory (memory (export "memory") {pages}) {data})
        (core instance $memory (instantiate $memory))
        (alias core export $memory "memory" (core memory $mem))
        (core func $log (canon lower (func $log "log") (memory $mem)))
        (core module $allocator
            (import "h" "log" (func $log (param i32 i32 i32)))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) {allocate}))
        (core instance $allocator (instantiate $allocator (with "h" (instance (export "log" (func $log))))))
        (alias core export $allocator "realloc" (core func $realloc))
        (core func $settings (canon lower (func $config "get-all") (memory $mem) (realloc $realloc)))
        (core module $main
            (import "h" "log" (func $log (param i32 i32 i32)))
            (import "h" "settings" (func $settings (param i32)))
            (import "h" "memory" (memory 1))
            (func (export "describe") (result i32) {describe})
            (func (export "after") (param i32) {after}))
        (core instance $main (instantiate $main (with "h" (instance
            (export "log" (func $log)) (export "settings" (func $settings)) (export "memory" (memory $mem))))))
        (type $item (record (field "name" string) (field "summary" string) (field "options-schema" string)))
        (alias core export $main "describe" (core func $describe))
        (alias core export $main "after" (core func $after))
        (func $describe (result (list $item))
            (canon lift (core func $describe) (memory $mem) (post-return $after)))
        ;; A record that is exported wants a name of its own, which a component within gives it.
        (component $gate
            (type $plain (record (field "name" string) (field "summary" string) (field "options-schema" string)))
            (import "item" (type $item (eq $plain)))
            (import "describe" (func $describe (result (list $item))))
            (export $named "item" (type $plain))
            (export "describe" (func $describe) (func (result (list $named))))
            (export "evaluate" (func $describe) (func (result (list $named)))))
        (instance $i (instantiate $gate (with "item" (type $item)) (with "describe" (func $describe))))
        (export "plinth:gate/gate@0.1.0" (instance $i)))"#
    );
    wat::parse_str(text).unwrap()
}

/// Sets the list that `describe` returns: so many items from an address.
fn list(at: u32, items: u32) -> String {
    format!("(i32.store (i32.const 8) (i32.const {at})) (i32.store (i32.const 12) (i32.const {items})) (i32.const 8)")
}

const ONE_ITEM: &str = r#"(data (i32.const 64) "\80\00\00\00\01\00\00\00\81\00\00\00\01\00\00\00\90\00\00\00\02\00\00\00")
    (data (i32.const 128) "xs") (data (i32.const 144) "{}")"#;

/// The host's answer to such a gate, asked twice; a neighbour works afterwards.
fn answer(component: Vec<u8>) -> String {
    answer_of(component, PluginLimits::default())
}

#[expect(clippy::needless_pass_by_value, reason = "made where they are given")]
fn answer_of(component: Vec<u8>, limits: PluginLimits) -> String {
    let host = host(PluginLimits { breaker_faults_max: 1_000, ..limits });
    let ask = || match host.host.load("sample", component.clone(), &Grants::none()).unwrap().gate() {
        Ok(gate) => match gate.evaluate("x", &Evidence::default(), "{}", Arc::new(NoTables)) {
            Ok(_) => "passed".into(),
            Err(error) => told(&error),
        },
        Err(error) => told(&error),
    };
    beside_a_neighbour(&host, ask)
}

/// The answer to a misdeed; a neighbour that was there before works afterwards as it did, and nothing is left.
fn beside_a_neighbour(host: &TestHost, ask: impl FnMut() -> String) -> String {
    let good = common::evil(host).transform().unwrap().load("good", b"", table(3).schema()).unwrap();
    assert_eq!(good.apply(&table(3)).unwrap(), table(3));
    let told = leaves_nothing(&host.host, ask);
    assert_eq!(good.apply(&table(3)).unwrap(), table(3));
    told
}

const DEFECT: &str = "hint: this is a defect of the plugin: report it to its author";

fn broke(what: &str) -> String {
    format!("plugin-output: sample: `describe` broke the calling convention: {what}\n{DEFECT}")
}

const TOO_MUCH: &str = "plugin-output: sample: `describe` returned more than 67108864 bytes\n\
    hint: if the plugin needs it, raise [limits.plugin] state-bytes-max in plinth.toml";

const NO_EVALUATE: &str = "plugin-wrong-world: sample/x: `evaluate` is not the function that this host calls: failed to \
    convert function to given type: type mismatch with parameters: expected 3-tuple, found 0-tuple\n\
    hint: build the plugin against the WIT packages of this version";

#[test]
fn a_sound_one_made_by_hand_is_understood() {
    // It has no `evaluate` of its own, so this is as far as it comes.
    assert_eq!(answer(gate(1, ONE_ITEM, &list(64, 1), "", "unreachable")), NO_EVALUATE);
}

#[test]
fn lists_and_texts_are_bounded_however_little_memory_they_take() {
    // Ten million items of zeros: 240 MB in the guest, and more in the host.
    assert_eq!(answer(gate(3_700, "", &list(16, 10_000_000), "", "unreachable")), TOO_MUCH);
    // One item whose name is a gigabyte of zeros.
    let data = r#"(data (i32.const 64) "\10\00\00\00\00\00\00\40\10\00\00\00\00\00\00\00\10\00\00\00\00\00\00\00")"#;
    let limits = PluginLimits { memory_bytes_max: 2 << 30, memory_total_bytes_max: 4 << 30, ..PluginLimits::default() };
    assert_eq!(answer_of(gate(16_400, data, &list(64, 1), "", "unreachable"), limits), TOO_MUCH);
    // A hundred items, every text of which is the same 32 MiB: 10 GB.
    let items = "\\00\\00\\10\\00\\00\\00\\00\\02".repeat(300);
    let data = format!("(data (i32.const 64) \"{items}\")");
    assert_eq!(answer(gate(600, &data, &list(64, 100), "", "unreachable")), TOO_MUCH);
}

#[test]
fn what_was_returned_and_refused_is_given_back_as_who_is_alone_sees() {
    common::alone(&["returns::", "bombs::", "evil::", "evil_imports::answers", "predict::"], 47);
}

#[test]
fn arguments_that_are_too_large_are_not_called_results() {
    // The URL of a request is its whole memory, which is zeros.
    let text = r#"(component
        (import "plinth:host/http@0.1.0" (instance $http
            (type $m (enum "get" "head" "post" "put" "patch" "delete"))
            (export "method" (type $method (eq $m)))
            (type $h (list (tuple string string)))
            (type $q (record (field "method" $method) (field "url" string) (field "headers" $h) (field "body" (list u8))))
            (export "request" (type $request (eq $q)))
            (type $s (record (field "status" u16) (field "headers" $h) (field "body" (list u8))))
            (export "response" (type $response (eq $s)))
            (type $p (record (field "code" string) (field "message" string) (field "retryable" bool)
                (field "row" (option u64)) (field "column" (option string))))
            (export "problem" (type $problem (eq $p)))
            (export "send" (func (param "request" $request) (result (result $response (error $problem)))))))
        (core module $memory (memory (export "memory") 2000))
        (core instance $memory (instantiate $memory))
        (alias core export $memory "memory" (core memory $mem))
        (core module $allocator (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
        (core instance $allocator (instantiate $allocator))
        (alias core export $allocator "realloc" (core func $realloc))
        (core func $send (canon lower (func $http "send") (memory $mem) (realloc $realloc)))
        (core module $main
            (import "h" "send" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32)))
            (func $start (call $send (i32.const 0) (i32.const 16) (i32.const 100000000) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 1024)))
            (start $start) (func (export "f")))
        (core instance $main (instantiate $main (with "h" (instance (export "send" (func $send))))))
        (func $f (canon lift (core func $main "f")))
        (instance $i (export "describe" (func $f)) (export "evaluate" (func $f)))
        (export "plinth:gate/gate@0.1.0" (instance $i)))"#;
    let told = answer_within(wat::parse_str(text).unwrap(), Grants::of(["http"]));
    assert_eq!(
        told,
        "plugin-output: sample: `instantiate` handed more than 67108864 bytes to a function of the host\n\
         hint: if the plugin needs it, raise [limits.plugin] state-bytes-max in plinth.toml"
    );
}

#[test]
fn pointers_that_lead_nowhere_are_refused() {
    let told = |at, items| answer(gate(1, ONE_ITEM, &list(at, items), "", "unreachable"));
    assert_eq!(told(0xffff_fff0, 1), broke("list pointer/length out of bounds of memory"));
    assert_eq!(told(64, 1 << 20), broke("list pointer/length out of bounds of memory"));
    assert_eq!(told(65, 1), broke("list pointer is not aligned"));
    assert_eq!(
        answer(gate(1, ONE_ITEM, "(i32.const -4)", "", "unreachable")),
        broke("pointer out of bounds of memory")
    );
    assert_eq!(answer(gate(1, ONE_ITEM, "(i32.const 3)", "", "unreachable")), broke("return pointer not aligned"));
}

fn trapped(why: &str) -> String {
    format!("plugin-trap: sample: `describe` trapped: wasm trap: {why}\n{DEFECT}")
}

#[test]
fn the_host_is_not_called_while_something_is_returned() {
    let call = "(call $log (i32.const 2) (i32.const 128) (i32.const 1))";
    let leave = trapped("cannot leave component instance");
    assert_eq!(answer(gate(1, ONE_ITEM, &list(64, 1), call, "unreachable")), leave);
    // While the host's own answer is put into the guest's memory, too.
    let describe = format!("(call $settings (i32.const 32)) {}", list(64, 1));
    let settings = gate(1, ONE_ITEM, &describe, "", &format!("{call} (i32.const 256)"));
    assert_eq!(with_settings(settings), leave);
}

#[test]
fn an_allocator_that_lies_is_found_out() {
    let describe = format!("(call $settings (i32.const 32)) {}", list(64, 1));
    let told = |allocate: &str| with_settings(gate(1, ONE_ITEM, &describe, "", allocate));
    assert_eq!(told("(i32.const -16)"), broke("realloc return: beyond end of memory"));
    assert_eq!(told("(i32.const 257)"), broke("realloc return: result not aligned"));
    assert_eq!(told("unreachable"), trapped("wasm `unreachable` instruction executed"));
    let too_late = "plugin-deadline: sample: `describe` did not finish within 500 ms\n\
        hint: if the plugin needs it, raise [limits.plugin] call-ms-max in plinth.toml";
    assert_eq!(told("(loop $l (br $l)) unreachable"), too_late);
    let endless = gate(1, ONE_ITEM, &list(64, 1), "(loop $l (br $l))", "unreachable");
    assert_eq!(answer_within(endless, Grants::none()), too_late);
}

/// The answer of a gate that is given a setting, so that its allocator is called.
fn with_settings(component: Vec<u8>) -> String {
    let services = plinth_plugin::Services {
        config: Arc::new([("key".to_owned(), "value".to_owned())].into()),
        ..plinth_plugin::Services::default()
    };
    answer_within(component, Grants::none().served_by(services))
}

#[expect(clippy::needless_pass_by_value, reason = "made where they are given")]
fn answer_within(component: Vec<u8>, grants: Grants) -> String {
    let host = host(PluginLimits { call_ms_max: 500, breaker_faults_max: 1_000, ..PluginLimits::default() });
    beside_a_neighbour(&host, || {
        let answer = host.host.load("sample", component.clone(), &grants).unwrap().gate();
        told(&answer.err().expect("it fails"))
    })
}

/// A gate with one item `x` of the schema.
fn with_schema(schema: &str) -> String {
    let quoted: String = schema.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let len: String = (schema.len() as u32).to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect();
    let data = format!(
        r#"(data (i32.const 64) "\80\00\00\00\01\00\00\00\81\00\00\00\01\00\00\00\00\02\00\00{len}")
        (data (i32.const 128) "xs") (data (i32.const 512) "{quoted}")"#
    );
    answer(gate(64, &data, &list(64, 1), "", "unreachable"))
}

#[test]
fn options_schemas_cannot_take_the_stack_or_the_time_of_the_host() {
    let refused = |schema: &str, what: &str| {
        let start = "plugin-output: sample/x: `describe` returned a malformed result: the options schema of `x`";
        assert_eq!(with_schema(schema), format!("{start} {what}\n{DEFECT}"));
    };
    refused(r##"{"$ref": "#"}"##, "refers to itself, or is too large");
    refused(
        r##"{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}}"##,
        "refers to itself, or is too large",
    );
    // Forty doublings.
    let doubled: Vec<String> = (0..40)
        .map(|n| {
            format!(r##""d{n}": {{"allOf": [{{"$ref": "#/$defs/d{m}"}}, {{"$ref": "#/$defs/d{m}"}}]}}"##, m = n + 1)
        })
        .collect();
    let doubling = format!(r##"{{"$ref": "#/$defs/d0", "$defs": {{{}, "d40": {{}}}}}}"##, doubled.join(", "));
    refused(&doubling, "refers to itself, or is too large");
    refused(
        &format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)),
        "is not JSON: recursion limit exceeded at line 1 column 128",
    );
    refused(
        r#"{"$ref": "http://127.0.0.1/schema.json"}"#,
        "refers to `http://127.0.0.1/schema.json`, which is no place in it",
    );
    refused(r#"{"$ref": "file:///etc/passwd"}"#, "refers to `file:///etc/passwd`, which is no place in it");
    refused(r##"{"$dynamicRef": "#x"}"##, "has a `$dynamicRef`");
    assert_eq!(with_schema(r##"{"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}}"##), NO_EVALUATE);
}
