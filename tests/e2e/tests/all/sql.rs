//! `plinth sql`: files as tables, transforms and models as functions, rows in every form, and every bad statement.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use plinth_e2e::{Done, Project, guests, signal};
use serde_json::{Value, json};

/// A project with a small table in it.
fn small() -> Project {
    let project = Project::empty();
    project.write(
        "rows.csv",
        "id,x,y,name,at\n1,1.0,10,a,2024-01-01T00:00:00Z\n2,3.0,,\"b,c\",2024-01-02T12:30:00.5Z\n3,5.0,30,d,\n",
    );
    project
}

/// A project with rows 1 to `n` in `big.parquet`: an integer and a float.
fn big(n: u64) -> Project {
    let project = Project::empty();
    let rows = format!(
        "select value as id, (value % 1000) * 0.5 as x, value % 7 as k from generate_series(1, {n}) as t(value)"
    );
    project.run(&["sql", &rows, "--output", "big.parquet"]).succeeds();
    project
}

fn sql(project: &Project, arguments: &[&str]) -> Done {
    project.run(&[&["sql"], arguments].concat())
}

const SCALE: &[&str] = &["--function", "scale=tabular:standard-scale", "--fit", "scale=select x from 'rows.csv'"];

#[test]
fn rows_come_in_every_form() {
    let project = small();
    let ask = "select id, x, name, at from 'rows.csv' where x > 2 order by id desc";
    let csv = sql(&project, &[ask, "--format", "csv"]);
    assert_eq!(csv.succeeds().stdout, "id,x,name,at\n3,5.0,d,\n2,3.0,\"b,c\",2024-01-02T12:30:00.500Z\n");
    let table = sql(&project, &[ask]);
    assert_eq!(
        table.succeeds().stdout,
        "id   x name at\n-- --- ---- ------------------------\n 3 5.0 d    null\n 2 3.0 b,c  2024-01-02T12:30:00.500Z\n"
    );
    let lines = sql(&project, &[ask, "--json"]);
    let lines: Vec<Value> =
        lines.succeeds().stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[0]["id"], &lines[1]["name"]), (2, &json!(3), &json!("b,c")));
    let all = sql(&project, &[ask, "--format", "json"]);
    let all: Value = serde_json::from_str(&all.succeeds().stdout).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(2));
    for end in ["csv", "json", "jsonl", "parquet"] {
        let path = format!("out.{end}");
        sql(&project, &[ask, "--output", &path]).succeeds();
        assert!(project.path(&path).exists(), "{path}");
    }
    let again = sql(&project, &["select id, x, name, at from 'out.parquet'", "--format", "csv"]);
    assert_eq!(again.succeeds().stdout, csv.stdout);
    let again = sql(&project, &["select id, x, name from 'out.jsonl'", "--format", "csv"]);
    assert_eq!(again.succeeds().stdout, "id,x,name\n3,5.0,d\n2,3.0,\"b,c\"\n");
    // A query without rows has columns all the same.
    let none = sql(&project, &["select id from 'rows.csv' where id > 9", "--format", "csv"]);
    assert_eq!(none.succeeds().stdout, "id\n");
}

#[test]
fn statements_come_from_the_command_line_a_file_or_stdin() {
    let project = small();
    project.write(
        "ask.sql",
        "create view v as select x from t;\n-- a comment; with a semicolon\nselect sum(x) as s from v;",
    );
    let named = ["--table", "t=rows.csv", "--format", "csv"];
    assert_eq!(sql(&project, &[&["-f", "ask.sql"], &named[..]].concat()).succeeds().stdout, "s\n9.0\n");
    let mut child = project
        .command(&[&["sql"], &named[..]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("piped").write_all(b"select count(*) as n from t").expect("it reads");
    let done: Done = child.wait_with_output().expect("it ends").into();
    assert_eq!(done.succeeds().stdout, "n\n3\n");
    let made = "create table kept as select id from t where id > 1; select count(*) as n from kept; drop table kept";
    let done = sql(&project, &[&[made], &named[..]].concat());
    assert_eq!(done.succeeds().stdout, "n\n2\n");
    sql(&project, &["copy (select x from t) to 'copied.parquet'", "--table", "t=rows.csv"]).succeeds();
    assert_eq!(
        sql(&project, &["select max(x) as m from 'copied.parquet'", "--format", "csv"]).succeeds().stdout,
        "m\n5.0\n"
    );
}

#[test]
fn a_transform_is_a_function() {
    let project = small();
    let done =
        sql(&project, &[SCALE, &["select id, scale(x) as s from 'rows.csv' order by id", "--format", "csv"]].concat());
    assert_eq!(done.succeeds().stdout, "id,s\n1,-1.224744871391589\n2,0.0\n3,1.224744871391589\n");
    // An integer stands for a float, an expression for a column, and a literal for both.
    let done = sql(
        &project,
        &[SCALE, &["select scale(id + 2) as a, scale(5) as b from 'rows.csv' limit 1", "--format", "csv"]].concat(),
    );
    assert_eq!(done.succeeds().stdout, "a,b\n0.0,1.224744871391589\n");
    // Several columns are a struct, whose fields and whose all can be taken.
    let two = [
        "--function",
        "scale=tabular:standard-scale",
        "--fit",
        "scale=select x, y from 'rows.csv' where y is not null",
    ];
    let ask = "select scale(x, y).y as y1, scale(*).*, scale(r.*).x as x2 from 'rows.csv' as r where y is not null order by id";
    let done = sql(&project, &[&two[..], &[ask, "--format", "csv"]].concat());
    assert_eq!(done.succeeds().stdout, "y1,x,y,x2\n-1.0,-1.0,-1.0,-1.0\n1.0,1.0,1.0,1.0\n");
    // In a condition, in a group, in a join.
    let ask =
        "select count(*) as n from 'rows.csv' a join 'rows.csv' b on scale(a.x) = scale(b.x) where scale(a.x) > -1";
    assert_eq!(sql(&project, &[SCALE, &[ask, "--format", "csv"]].concat()).succeeds().stdout, "n\n2\n");
}

#[test]
fn an_installed_plugin_that_has_nothing_to_learn_needs_no_declaration() {
    let project = small();
    let ask =
        "select clip(x, min => 2, max => 4) as x, tabular.cast(id, \"to\" => 'utf8') as id from 'rows.csv' order by 2";
    let done = sql(&project, &[ask, "--format", "csv"]);
    assert_eq!(done.succeeds().stdout, "x,id\n2.0,1\n3.0,2\n4.0,3\n");
    // Twice with other options is two columns.
    let ask = "select clip(x, min => 2, max => 4), clip(x, min => 0, max => 1) from 'rows.csv' limit 1";
    assert_eq!(sql(&project, &[ask, "--format", "csv"]).succeeds().stdout.lines().last(), Some("2.0,1.0"));
    sql(&project, &["select tabular.standard_scale(x) from 'rows.csv'"]).fails(
        5,
        "plugin-problem",
        &["tabular.standard_scale", "no-rows", "--fit"],
    );
}

#[test]
fn the_features_of_a_model_version_are_the_ones_that_it_was_trained_on() {
    let project = Project::churn();
    project.run(&["run"]).succeeds();
    let input = "data/mlc_churn_sorted_cur.csv";
    let model = ["--model", "churn=models:/churn@champion"];
    let ask = format!("select churn(*).* from '{input}'");
    let asked = sql(&project, &[&model[..], &[&ask, "--format", "csv"]].concat());
    let predicted = project.run(&["predict", "models:/churn@champion", "--input", input]);
    // The same rows through the same component, state and model, to the byte.
    assert_eq!(asked.succeeds().stdout, predicted.succeeds().stdout);
    let features = ["--function", "features=models:/churn@champion"];
    let ask = format!("select features(*).* from '{input}' limit 3");
    let done = sql(&project, &[&features[..], &[&ask, "--json"]].concat());
    let row: Value = serde_json::from_str(done.succeeds().stdout.lines().next().expect("a row")).expect("JSON");
    assert!(row.as_object().expect("an object").len() > 60 && row["state=NC"] == json!(1.0), "{row}");
    // By position there are too many to count: the error says how.
    sql(&project, &[&features[..], &[&format!("select features(state) from '{input}'")]].concat()).fails(
        5,
        "schema-mismatch",
        &["takes 19 columns, 1 given", "features(*)", "by name"],
    );
    // A column that is missing is named.
    let ask = format!("select features(*) from (select state as sate, account_length from '{input}')");
    sql(&project, &[&features[..], &[&ask]].concat()).fails(5, "unknown-column", &["`state`", "did you mean `sate`?"]);
    let absent = ["--function", "f=models:/absent@champion"];
    sql(&project, &[&absent[..], &["select f(1)"]].concat()).fails(6, "model-not-found", &["absent"]);
    // The rows that it was fitted on are a table of the store.
    let hash = project.json(&["model", "show", "churn"]).to_string();
    assert!(hash.contains("churn"), "{hash}");
    // So are the requests that a server captured.
    sql(&project, &["select count(*) from 'captures:/churn'"]).fails(5, "empty-input", &["captured"]);
    let server = project.serve("models:/churn@champion");
    let rows = std::fs::read_to_string(project.path(input)).expect("the data");
    let few: Vec<&str> = rows.lines().take(11).collect();
    let (status, answer) = server.post_text("/invocations", "text/csv", &(few.join("\n") + "\n"));
    assert_eq!(status, 200, "{answer}");
    server.stop();
    let ask = r#"select count(*) as n, count(distinct "input.state") > 3 as states from 'captures:/churn'"#;
    assert_eq!(sql(&project, &[ask, "--format", "csv"]).succeeds().stdout, "n,states\n10,true\n");
}

#[test]
fn the_same_transform_in_other_languages_gives_the_same_bytes() {
    let project = big(20_000);
    let outputs = ["rust", "c", "go"].map(|language| {
        let component = guests::example(language, "standard-scale").display().to_string();
        let function = format!("scale={component}");
        let done = sql(
            &project,
            &[
                "select id, scale(x) as s from 'big.parquet'",
                "--function",
                &function,
                "--fit",
                "scale=select x from 'big.parquet'",
                "--format",
                "csv",
            ],
        );
        done.succeeds().stdout.clone()
    });
    assert_eq!(outputs[0].lines().count(), 20_001);
    assert!(outputs.iter().all(|output| *output == outputs[0]));
}

#[test]
fn millions_of_rows_stream_through_a_transform_in_bounded_memory() {
    let project = big(5_000_000);
    let fit = ["--function", "scale=tabular:standard-scale", "--fit", "scale=select x from 'big.parquet' limit 1000"];
    let peak = |ask: &str, out: &str| {
        let mut child =
            project.command(&[&["sql", ask, "--output", out], &fit[..]].concat()).spawn().expect("it starts");
        let mut peak_kib = 0;
        while child.try_wait().expect("ours").is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
            peak_kib = peak_kib.max(kib.unwrap_or(0));
            std::thread::yield_now();
        }
        assert!(child.wait().expect("ours").success(), "{ask}");
        peak_kib >> 10
    };
    let few = peak("select id, scale(x) as s, k from 'big.parquet' limit 100000", "few.csv");
    let all = peak("select id, scale(x) as s, k from 'big.parquet'", "all.csv");
    let parquet = peak("select id, scale(x) as s, k from 'big.parquet'", "all.parquet");
    // As columns the rows are 120 MB, as text more.
    println!("peak MiB: {few} for 100,000 rows, {all} for 5,000,000 to CSV, {parquet} to Parquet");
    assert!(all < few + 60 && parquet < few + 120, "{few} MiB, {all} MiB, {parquet} MiB");
    let lines = sql(&project, &["select count(*) as n, min(s) as low from 'all.parquet'", "--format", "csv"]);
    assert!(lines.succeeds().stdout.starts_with("n,low\n5000000,"), "{}", lines.stdout);
}

#[test]
fn what_does_not_fit_in_memory_is_put_on_disk_or_refused() {
    let project = big(2_000_000);
    project.write("plinth.toml", "[limits.sql]\nmemory-bytes-max = 33554432\n");
    let sorted = sql(&project, &["select id from 'big.parquet' order by x, id desc", "--output", "s.csv"]);
    sorted.succeeds();
    sql(&project, &["create table t as select id, x, k from 'big.parquet'"]).fails(
        10,
        "limit-exceeded",
        &["memory", "limits.sql.memory-bytes-max"],
    );
}

#[test]
fn a_guest_that_misbehaves_ends_the_statement_and_is_named_with_its_rows() {
    let project = big(20_000);
    project.write("plinth.toml", "[plugins.evil]\ngrant = [\"objects\", \"tables\"]\n");
    let with = |item: &str, ask: &str| {
        let function = format!("bad=evil:{item}");
        sql(
            &project,
            &[ask, "--function", &function, "--fit", "bad=select x from 'big.parquet' limit 1", "--format", "csv"],
        )
    };
    with("panic", "select bad(x) from 'big.parquet'").fails(
        9,
        "plugin-trap",
        &["function `bad`, rows 0 to 8191", "panic"],
    );
    with("stack-overflow", "select bad(x) from 'big.parquet'").fails(9, "plugin-stack", &["function `bad`"]);
    with("problem", "select bad(x) from 'big.parquet'").fails(
        5,
        "plugin-problem",
        &["function `bad`", "evil-problem", "row 7"],
    );
    with("more-rows", "select bad(x) from 'big.parquet'").fails(9, "plugin-output", &["function `bad`"]);
    with("memory-bomb", "select bad(x) from 'big.parquet'").fails(9, "plugin-memory", &["function `bad`"]);
    assert_eq!(with("good", "select sum(bad(x).x) as s from 'big.parquet'").code, Some(0));
}

#[test]
fn every_bad_statement_says_what_is_wrong_and_what_to_do() {
    let project = small();
    project.write("broken.parquet", "no parquet");
    project.write("bad.csv", "a,b\n1,2\n3\n");
    let cases: &[(&[&str], i32, &str, &[&str])] = &[
        (&["selec 1"], 2, "bad-sql", &["selec"]),
        (&["select * from a b c"], 2, "bad-sql", &["line 1", "`c`"]),
        (&["select (1"], 2, "bad-sql", &["expected"]),
        (&["select 'open"], 2, "bad-sql", &["line 1"]),
        (&["select nam from 'rows.csv'"], 5, "unknown-column", &["`nam`", "did you mean `name`?"]),
        (&["select zebra from 'rows.csv'"], 5, "unknown-column", &["`zebra`", "known: id, x, y, name, at"]),
        (&["select coutn(*) from 'rows.csv'"], 6, "function-not-found", &["`coutn`", "`count`"]),
        (&["select clipp(x) from 'rows.csv'"], 6, "function-not-found", &["`clipp`", "`clip`"]),
        (&["select * from rows"], 6, "table-not-found", &["`rows`", "from 'rows.csv'"]),
        (&["select * from 'absent.csv'"], 6, "file-not-found", &["absent.csv"]),
        (&["select * from 'absent.parquet'"], 6, "file-not-found", &["absent.parquet"]),
        (&["select * from 'broken.parquet'"], 5, "bad-table", &["broken.parquet"]),
        (&["select * from 'bad.csv'"], 5, "bad-table", &["bad.csv"]),
        (&["select * from 'rows.xlsx'"], 2, "usage", &["rows.xlsx", ".parquet"]),
        (&["select * from 'https://example.org/rows.parquet'"], 2, "bad-sql", &["https://", "this machine"]),
        (
            &["create external table t stored as parquet location 's3://b/k'"],
            2,
            "bad-sql",
            &["create external table", "--table"],
        ),
        (&["copy (select 1) to 's3://bucket/x.parquet'"], 2, "bad-sql", &["s3://bucket"]),
        (&["set datafusion.execution.batch_size = 1"], 2, "bad-sql", &["set", "plinth.toml"]),
        (&["delete from t"], 2, "bad-sql", &["delete", "select"]),
        (&["select name + 1 from 'rows.csv'"], 2, "bad-sql", &["Utf8"]),
        (&["select cast(name as int) from 'rows.csv'"], 5, "bad-value", &["'a'"]),
        (&["select 1 / 0 from 'rows.csv'"], 5, "bad-value", &["zero"]),
        (&["select 1; select nope"], 5, "unknown-column", &["statement 2", "nope"]),
        (&[""], 2, "usage", &["no statement"]),
        (&["select 1", "--format", "xml"], 2, "", &[]),
        (&["select 1", "--output", "x.doc"], 2, "usage", &["x.doc", "--format"]),
        (&["select 1; select 2", "--output", "x.csv"], 2, "usage", &["one file"]),
        (&["select 1", "--table", "t"], 2, "usage", &["NAME=FILE"]),
        (&["select 1", "--function", "f"], 2, "usage", &["NAME=VALUE"]),
        (&["select 1", "--fit", "f=select 1"], 2, "usage", &["--function f=PLUGIN:ITEM"]),
        (&["select f(x) from 'rows.csv'", "--function", "f=nothing"], 6, "plugin-not-found", &["nothing"]),
        (&["select f(x) from 'rows.csv'", "--function", "f=tabular"], 6, "plugin-item-not-found", &["standard-scale"]),
        (&["select f(x) from 'rows.csv'", "--function", "f=quality-gate"], 9, "plugin-wrong-world", &["quality-gate"]),
        (&["select clip(x, min => 'a', max => 1) from 'rows.csv'"], 2, "bad-options", &["min"]),
        (&["select clip(x, min => id, max => 1) from 'rows.csv'"], 2, "bad-options", &["literal"]),
        (&["select clip() from 'rows.csv'"], 2, "bad-sql", &["clip", "columns"]),
        (
            &["select clip(id, min => 0, max => 1) from 'rows.csv'"],
            5,
            "plugin-problem",
            &["wrong-kind", "`id` is int64"],
        ),
        (
            &["select clip(name, min => 0, max => 1) from 'rows.csv'"],
            5,
            "plugin-problem",
            &["wrong-kind", "`name` is utf8"],
        ),
        (&["select clip(*) from 'rows.csv'"], 2, "bad-sql", &["clip(*)"]),
    ];
    for (arguments, exit, code, words) in cases {
        let done = sql(&project, arguments);
        match code.is_empty() {
            true => assert_eq!(done.code, Some(*exit), "{arguments:?}"),
            false => done.fails(*exit, code, words),
        }
        assert!(
            !done.stderr.contains("DataFusion") && !done.stderr.contains('\u{2063}'),
            "{arguments:?}: {}",
            done.stderr
        );
        assert!(done.stderr.lines().count() <= 2 || code.is_empty(), "{arguments:?}: {}", done.stderr);
    }
    let scaled = |ask: &str| sql(&project, &[SCALE, &[ask]].concat());
    scaled("select scale(x, y) from 'rows.csv'").fails(5, "schema-mismatch", &["takes 1 column, 2 given", "x float64"]);
    scaled("select scale(name) from 'rows.csv'").fails(
        5,
        "schema-mismatch",
        &["argument 1", "`scale`", "`x` (float64)"],
    );
    scaled("select scale(x).z from 'rows.csv'").fails(5, "unknown-column", &["`z`", "x"]);
    scaled("select sum(scale(x)) over () from 'rows.csv'").succeeds();
    scaled("select scale(x) over () from 'rows.csv'").fails(2, "bad-sql", &["`scale` is a transform"]);
    let circle = ["--function", "f=tabular:standard-scale", "--fit", "f=select f(x) as x from 'rows.csv'"];
    sql(&project, &[&circle[..], &["select f(x) from 'rows.csv'"]].concat()).fails(2, "bad-sql", &["the fit of `f`"]);
    // A failure leaves an earlier file as it was, and nothing beside it.
    project.write("kept.csv", "kept");
    let fails_late = "select 1 / (3 - id) as d from 'rows.csv'";
    sql(&project, &[fails_late, "--output", "kept.csv"]).fails(5, "bad-value", &["zero"]);
    assert_eq!(std::fs::read_to_string(project.path("kept.csv")).expect("kept"), "kept");
    let hidden = std::fs::read_dir(project.path(".")).expect("the folder").flatten();
    assert!(!hidden.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(".kept.csv")));
}

#[test]
fn hostile_statements_meet_a_limit_and_never_the_end_of_the_stack() {
    let project = small();
    let ask = |text: &str| {
        project.write("ask.sql", text);
        sql(&project, &["-f", "ask.sql", "--format", "csv"])
    };
    let nested = |depth: usize| format!("select {}1{}", "(".repeat(depth), ")".repeat(depth));
    ask(&nested(20)).succeeds();
    ask(&nested(100_000)).fails(10, "limit-exceeded", &["limit of"]);
    let selects = |depth: usize| format!("{}select 1 as a{}", "select * from (".repeat(depth), ")".repeat(depth));
    ask(&selects(10_000)).fails(10, "limit-exceeded", &["limit of"]);
    ask(&format!("select case {} end", "when 1=1 then case ".repeat(5_000))).fails(10, "limit-exceeded", &[]);
    // Long chains within the limit are run.
    ask(&format!("select 1 as a from 'rows.csv' where {}", vec!["id=1"; 900].join(" or "))).succeeds();
    ask(&format!("select {} as a", vec!["1"; 200].join("+"))).succeeds();
    ask(&format!("select 1 where {}true", "not ".repeat(15_000))).fails(10, "limit-exceeded", &[]);
    ask(&format!("select {} as a", vec!["1"; 100_000].join("+"))).fails(10, "limit-exceeded", &["terms-max"]);
    ask(&vec!["select 1"; 5_000].join(" union all ")).fails(10, "limit-exceeded", &[]);
    // A list of values is as long as it likes.
    let list: Vec<String> = (0..200_000).map(|n| n.to_string()).collect();
    let done = ask(&format!("select count(*) as n from 'rows.csv' where id in ({})", list.join(",")));
    assert_eq!(done.succeeds().stdout, "n\n3\n");
    ask(&"x".repeat(17 << 20)).fails(10, "limit-exceeded", &["text-bytes-max"]);
}

#[test]
fn ctrl_c_and_a_reader_that_goes_away_end_it_quietly() {
    let project = Project::empty();
    let endless = "select count(*) from generate_series(1, 100000000000) t(a), generate_series(1, 100000) u(b)";
    let mut child =
        project.command(&["sql", endless, "--output", "n.csv"]).stderr(Stdio::piped()).spawn().expect("it starts");
    // It has begun to write when its file is there.
    let begun = || std::fs::read_dir(project.path(".")).expect("the folder").flatten().next().is_some();
    while !begun() && child.try_wait().expect("ours").is_none() {
        std::thread::yield_now();
    }
    signal(child.id(), "INT");
    let done: Done = child.wait_with_output().expect("it ends").into();
    done.fails(130, "interrupted", &[]);
    assert!(!begun(), "something half written is left");
    let binary = plinth_e2e::binary().display().to_string();
    let pipe = format!("{binary} sql 'select * from generate_series(1, 50000000)' --format csv | head -2");
    let done: Done = Command::new("bash").args(["-o", "pipefail", "-c", &pipe]).output().expect("bash").into();
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (Some(0), "value\n1\n", ""));
}

#[test]
fn equal_statements_give_equal_bytes() {
    let project = big(300_000);
    let ask = "select k, sum(x) as s, avg(scale(x)) as a from 'big.parquet' group by k";
    let fit =
        ["--function", "scale=tabular:standard-scale", "--fit", "scale=select x from 'big.parquet'", "--format", "csv"];
    let outputs: Vec<String> =
        (0..3).map(|_| sql(&project, &[&[ask], &fit[..]].concat()).succeeds().stdout.clone()).collect();
    assert!(outputs.iter().all(|output| *output == outputs[0]));
    // More threads give the same rows, in whatever order.
    let mut threads: Vec<String> =
        sql(&project, &[&["select id from 'big.parquet'", "--threads", "3"], &fit[4..]].concat())
            .stdout
            .lines()
            .map(str::to_owned)
            .collect();
    threads.sort();
    assert_eq!(threads.len(), 300_001);
}
