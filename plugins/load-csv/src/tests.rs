//! Whole files, read through the loader.

use std::io::Write as _;

use plinth_sdk::loader::{Loader as _, ReadPlan, Reader as _};
use plinth_sdk::{Block, Kind, Problem, Schema, objects};
use proptest::prelude::*;

use crate::{Csv, Options};

fn plan_of(bytes: impl Into<Vec<u8>>, options: &str) -> Result<ReadPlan, Problem> {
    objects::lend("file:///t.csv", bytes);
    Csv::plan("file:///t.csv", serde_json::from_str::<Options>(options).unwrap())
}

/// A cell as a person would see it, so that blocks of different sizes can be compared.
fn show(schema: &Schema, block: &Block, column: usize, row: usize) -> Option<String> {
    if !block.valid(schema, column).unwrap().is_valid(row) {
        return None;
    }
    Some(match schema.fields[column].kind {
        Kind::Utf8 | Kind::Binary => block.texts(schema, column).unwrap().get(row).to_owned(),
        Kind::Int64 | Kind::TimestampUs => block.s64s(schema, column).unwrap()[row].to_string(),
        Kind::Float64 => block.f64s(schema, column).unwrap()[row].to_string(),
        Kind::Float32 => block.f32s(schema, column).unwrap()[row].to_string(),
        Kind::Boolean => block.bools(schema, column).unwrap().get(row).to_string(),
    })
}

type Table = Vec<Vec<Option<String>>>;

fn read(bytes: impl Into<Vec<u8>>, options: &str, max_rows: u32) -> Result<(Schema, Table), Problem> {
    let plan = plan_of(bytes, options)?;
    let mut rows = Table::new();
    for partition in plan.partitions {
        let options = serde_json::from_str::<Options>(options).unwrap();
        let mut reader = Csv::open("file:///t.csv", options, plan.schema.clone(), partition.token)?;
        while let Some(block) = reader.next(max_rows)? {
            assert!(block.rows > 0 && block.rows <= max_rows);
            for row in 0..block.rows as usize {
                rows.push((0..plan.schema.len()).map(|column| show(&plan.schema, &block, column, row)).collect());
            }
        }
        assert_eq!(reader.next(max_rows).unwrap(), None);
    }
    Ok((plan.schema, rows))
}

fn kinds(schema: &Schema) -> Vec<Kind> {
    schema.fields.iter().map(|field| field.kind).collect()
}

fn row(cells: &[&str]) -> Vec<Option<String>> {
    cells.iter().map(|cell| (*cell != "-").then(|| (*cell).to_owned())).collect()
}

fn refusal(bytes: impl Into<Vec<u8>>, options: &str) -> Problem {
    read(bytes, options, 100).unwrap_err()
}

#[test]
fn types_nulls_and_quotes_are_read() {
    let text = "id,when,ok,score,note\n1,2024-01-01,true,0.5,\"a, \"\"b\"\"\nc\"\n2,,NA,nan,\"\"\n,2024-01-02 00:00:01,False,-1e3,\"NA\"\n";
    let (schema, rows) = read(text, "{}", 100).unwrap();
    assert_eq!(kinds(&schema), [Kind::Int64, Kind::TimestampUs, Kind::Boolean, Kind::Float64, Kind::Utf8]);
    assert_eq!(
        rows,
        [
            row(&["1", "1704067200000000", "true", "0.5", "a, \"b\"\nc"]),
            row(&["2", "-", "-", "-", ""]),
            row(&["-", "1704153601000000", "false", "-1000", "NA"]),
        ]
    );
}

#[test]
fn a_real_table_has_the_types_a_person_would_give_it() {
    let bytes = include_bytes!("../tests/data/churn_head.csv");
    let (schema, rows) = read(&bytes[..], "{}", 7).unwrap();
    assert_eq!(rows.len(), 40);
    let kind = |name: &str| schema.fields[schema.index_of(name).unwrap()].kind;
    assert_eq!(kind("customer_id"), Kind::Int64);
    assert_eq!(kind("event_timestamp"), Kind::TimestampUs);
    assert_eq!(kind("state"), Kind::Utf8);
    assert_eq!(kind("total_day_minutes"), Kind::Float64);
    assert_eq!(kind("churn"), Kind::Utf8);
    assert_eq!(rows[0][..4], row(&["1001", "1711614140000000", "1711616543000000", "KS"]));
}

#[test]
fn dialects_are_options() {
    let (schema, rows) =
        read("1;'x;y'\r\n\r\n2;?", r#"{"header":false,"delimiter":";","quote":"'","nulls":["?"]}"#, 9).unwrap();
    assert_eq!(schema.fields.iter().map(|field| &field.name[..]).collect::<Vec<_>>(), ["column_1", "column_2"]);
    assert_eq!(rows, [row(&["1", "x;y"]), row(&["2", "-"])]);
    let (schema, rows) = read("a\tb\n\"1\t2\n", r#"{"delimiter":"\t","quote":"","names":["x","y"]}"#, 9).unwrap();
    assert_eq!(schema.fields[0].name, "x");
    assert_eq!(rows, [row(&["\"1", "2"])]);
    let (schema, rows) = read("\u{feff}zip,n\n02139,1\n", r#"{"types":{"n":"float32"}}"#, 9).unwrap();
    assert_eq!(kinds(&schema), [Kind::Utf8, Kind::Float32]);
    assert_eq!(rows, [row(&["02139", "1"])]);
}

#[test]
fn gzip_is_known_by_its_bytes() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(include_bytes!("../tests/data/churn_head.csv")).unwrap();
    let packed = encoder.finish().unwrap();
    let plain = read(&include_bytes!("../tests/data/churn_head.csv")[..], "{}", 100).unwrap();
    assert_eq!(read(packed.clone(), "{}", 100).unwrap(), plain);
    assert_eq!(plan_of(packed.clone(), r#"{"partition-bytes":10}"#).unwrap().partitions.len(), 1);
    let refused = refusal(&packed[..packed.len() / 2], "{}");
    assert_eq!(refused.code, "bad-gzip");
}

#[test]
fn what_is_wrong_is_told_with_line_column_value_and_a_way_out() {
    for (text, code, parts) in [
        ("", "empty-file", vec!["file:///t.csv", "empty"]),
        ("\n\n", "empty-file", vec!["empty"]),
        ("a,b\n1,2\n3\n", "ragged-row", vec!["line 3 has 1 fields", "header has 2"]),
        ("a,b\n1,2\n\n3,4,5\n", "ragged-row", vec!["line 4 has 3 fields"]),
        ("a,b\n2024-01-01,2\n2024-01-02,2\n2,x,3\n", "ragged-row", vec!["line 4 has 3 fields"]),
        ("a,b,a\n1,2,3\n", "duplicate-column", vec!["columns 1 and 3", "`a`"]),
        ("a,b\n1,\"x\ny\"\n2,\"open\n3,4\n", "unterminated-quote", vec!["line 4", "never closes"]),
        ("a,b\n1,\"x\"y\n", "bad-quote", vec!["line 2", "`b`"]),
    ] {
        let refused = refusal(text, "{}");
        assert_eq!(refused.code, code, "{text}: {refused}");
        for part in parts {
            assert!(refused.message.contains(part), "{text}: {}", refused.message);
        }
    }
    let refused = refusal(&b"a,b\n\"x\ny\",1\n\n\xff,2\n"[..], "{}");
    assert_eq!((refused.code.as_str(), refused.column.as_deref()), ("invalid-utf8", Some("a")));
    assert!(refused.message.contains("line 5"), "{}", refused.message);
    let refused = refusal("a\n1\n", r#"{"types":{"aa":"utf8"}}"#);
    assert_eq!(refused.code, "unknown-column");
}

#[test]
fn a_value_that_the_sample_did_not_promise_is_told_with_the_type_that_would_do() {
    let mut text = "n,m\n".to_owned();
    for at in 0..600_000 {
        text.push_str(if at == 400_000 { "1.5,1\n" } else { "7,1\n" });
    }
    let refused = read(text, "{}", 1000).map(|(_, rows)| rows.len()).unwrap_err();
    assert_eq!((refused.code.as_str(), refused.column.as_deref()), ("bad-value", Some("n")));
    assert!(refused.message.contains("line 400002, column `n`: `1.5` is not int64"), "{}", refused.message);
    assert!(refused.message.contains("types: {n: float64}"), "{}", refused.message);
}

#[test]
fn lines_of_later_partitions_count_from_the_start_of_the_file() {
    let mut text = "n,t\n".to_owned();
    (0..1000).for_each(|at| text.push_str(&format!("{at},\"two\nlines\"\n")));
    text.push_str("x,y\n");
    let refused = refusal(text, r#"{"partition-bytes":500,"types":{"n":"int64"}}"#);
    assert!(refused.message.contains("line 2002, column `n`: `x`"), "{}", refused.message);
}

#[test]
fn a_null_in_the_first_row_does_not_hide_the_type_of_a_short_file() {
    let (schema, _) = read("a,b\n,1\n2.5,2\n", "{}", 10).unwrap();
    assert_eq!(kinds(&schema), [Kind::Float64, Kind::Int64]);
}

#[test]
fn foreign_tokens_are_refused() {
    let plan = plan_of("a\n1\n", "{}").unwrap();
    let open = |token: Vec<u8>| Csv::open("file:///t.csv", Options::default(), plan.schema.clone(), token);
    assert_eq!(open(b"nonsense".to_vec()).err().unwrap().code, "bad-token");
}

/// A cell and its spelling in a file.
fn cell() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,6}",
        "-?[0-9]{1,5}(\\.[0-9]{1,3})?",
        "[a-z\",\n\r]{0,8}".prop_map(|text| format!("\"{}\"", text.replace('"', "\"\""))),
        Just("NA".to_owned()),
        // A quote within an unquoted cell is an ordinary character.
        "[a-z]{1,3}\"[a-z]{0,3}",
    ]
}

proptest! {
    #[test]
    fn partitions_and_block_sizes_do_not_show(
        rows in prop::collection::vec((cell(), cell(), "[a-z]{1,3}"), 1..40),
        windows in any::<bool>(),
        last_break in any::<bool>(),
        partition in 1_u64..200,
        max_rows in 1_u32..50,
    ) {
        let end = if windows { "\r\n" } else { "\n" };
        let mut text = format!("a,b,c{end}");
        rows.iter().for_each(|(a, b, c)| text.push_str(&format!("{a},{b},{c}{end}")));
        if !last_break {
            text.truncate(text.len() - end.len());
        }
        let types = r#""types":{"a":"utf8","b":"utf8"}"#;
        let whole = read(text.clone(), &format!("{{{types}}}"), 1000).unwrap();
        prop_assert_eq!(whole.1.len(), rows.len());
        let spread = read(text, &format!(r#"{{{types},"partition-bytes":{partition}}}"#), max_rows).unwrap();
        prop_assert_eq!(whole, spread);
    }

    #[test]
    fn any_bytes_are_rows_or_a_problem(bytes in prop::collection::vec(prop::sample::select(b"a1.,\"\n\r\xff-\0".to_vec()), 0..60)) {
        if let Err(problem) = read(bytes, "{}", 3) {
            prop_assert!(!problem.code.is_empty() && problem.message.contains("file:///t.csv"), "{}", problem);
        }
    }
}
