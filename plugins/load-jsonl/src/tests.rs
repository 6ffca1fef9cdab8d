//! Whole files, read through the loader.

use std::io::Write as _;

use plinth_sdk::loader::{Loader as _, Reader as _};
use plinth_sdk::{Block, Kind, Problem, Schema, objects};
use proptest::prelude::*;

use crate::{Jsonl, Options};

const SOURCE: &str = "file:///t.jsonl";

fn read(bytes: impl Into<Vec<u8>>, options: &str, max_rows: u32) -> Result<(Schema, Vec<Block>), Problem> {
    objects::lend(SOURCE, bytes);
    let options: Options = serde_json::from_str(options).unwrap();
    let plan = Jsonl::plan(SOURCE, options.clone())?;
    let mut blocks = Vec::new();
    for partition in plan.partitions {
        let mut reader = Jsonl::open(SOURCE, options.clone(), plan.schema.clone(), partition.token)?;
        while let Some(block) = reader.next(max_rows)? {
            assert!(block.rows > 0 && block.rows <= max_rows);
            blocks.push(block);
        }
    }
    Ok((plan.schema, blocks))
}

fn refusal(bytes: impl Into<Vec<u8>>, options: &str) -> Problem {
    read(bytes, options, 100).map(|(_, blocks)| blocks.len()).unwrap_err()
}

#[test]
fn objects_are_flattened_and_missing_keys_are_null() {
    let text = "{\"id\": 1, \"at\": \"2024-01-01T00:00:00Z\", \"geo\": {\"lat\": 1, \"in\": {\"ok\": true}}}\n\n\
                {\"geo\": {\"lat\": 2.5}, \"tags\": [\"a\", 1], \"id\": null, \"note\": \"\\u00e9\"}\r\n";
    let (schema, blocks) = read(text, "{}", 10).unwrap();
    let columns: Vec<(&str, Kind)> = schema.fields.iter().map(|field| (field.name.as_str(), field.kind)).collect();
    assert_eq!(
        columns,
        [
            ("id", Kind::Int64),
            ("at", Kind::TimestampUs),
            ("geo.lat", Kind::Float64),
            ("geo.in.ok", Kind::Boolean),
            ("tags", Kind::Utf8),
            ("note", Kind::Utf8),
        ]
    );
    let [block] = &blocks[..] else { panic!("one block") };
    assert_eq!(block.s64s, [1, 0, 1_704_067_200_000_000, 0]);
    assert_eq!(block.f64s, [1.0, 2.5]);
    assert_eq!(block.bits, [0b01]);
    assert_eq!(block.texts(&schema, 4).unwrap().get(1), r#"["a",1]"#);
    assert_eq!(block.texts(&schema, 5).unwrap().get(1), "é");
    assert_eq!(block.validity, [0b01, 0b01, 0b11, 0b01, 0b10, 0b10]);
}

#[test]
fn types_and_unknown_keys_are_options() {
    let text = "{\"a\": 1, \"b\": 2, \"c\": 3}\n";
    let (schema, blocks) = read(text, r#"{"types":{"b":"float32","d":"utf8"},"unknown-keys":"ignore"}"#, 10).unwrap();
    assert_eq!(schema.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["b", "d"]);
    assert_eq!(blocks[0].f32s, [2.0]);
    let (schema, blocks) = read("{\"a\": 1}\n{\"a\": \"x\"}\n", "{}", 10).unwrap();
    assert_eq!(blocks[0].texts(&schema, 0).unwrap().iter().collect::<Vec<_>>(), ["1", "x"]);
}

#[test]
fn gzip_is_known_by_its_bytes() {
    let text = "{\"a\": 1}\n{\"a\": 2}";
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    assert_eq!(read(encoder.finish().unwrap(), "{}", 10), read(text, "{}", 10));
}

#[test]
fn what_is_wrong_is_told_with_its_line_key_and_a_way_out() {
    let small = r#"{"sample-bytes":1024}"#;
    let long = |last: &str| format!("{}{last}\n", "{\"a\": 1, \"b\": true}\n".repeat(100_000));
    for (text, code, parts) in [
        (String::new(), "empty-file", vec!["t.jsonl"]),
        ("\n \n".to_owned(), "empty-file", vec!["t.jsonl"]),
        ("[{\"a\": 1}]".to_owned(), "bad-json", vec!["line 1", "jq -c"]),
        ("a,b\n1,2\n".to_owned(), "bad-json", vec!["line 1", "`a,b`"]),
        ("{\"a\": 1}\n{\"a\": }\n".to_owned(), "bad-json", vec!["line 2", "byte 7"]),
        ("{\"a\": 1}\n{\"a\": 1, \"a\": 2}\n".to_owned(), "duplicate-key", vec!["line 2, key `a`"]),
        (
            format!("{}{}", long("{\"a\": 1.5}"), long("{\"a\": 1}")),
            "bad-value",
            vec!["line 100001", "`1.5` is not int64", "types: {a: float64}"],
        ),
        (
            format!("{}{}", long("{\"aa\": 1}"), long("{\"a\": 1}")),
            "unknown-key",
            vec!["line 100001", "unknown-keys: ignore"],
        ),
    ] {
        let refused = refusal(text, small);
        assert_eq!(refused.code, code, "{refused}");
        for part in parts {
            assert!(refused.message.contains(part), "{}", refused.message);
        }
    }
    let refused = refusal(&b"{\"a\": \"x\"}\n{\"a\": \"\xff\"}\n"[..], "{}");
    assert_eq!(refused.code, "invalid-utf8");
    assert!(refused.message.contains("line 2"), "{}", refused.message);
}

proptest! {
    #[test]
    fn partitions_and_block_sizes_do_not_show(
        values in prop::collection::vec((any::<i64>(), any::<f64>(), ".{0,6}", any::<bool>()), 1..40),
        partition in 1_u64..200,
        max_rows in 1_u32..50,
    ) {
        let mut text = String::new();
        for (int, float, words, whole) in &values {
            let float = if float.is_finite() { *float } else { 0.5 };
            let row = serde_json::json!({"i": int, "f": float, "o": {"w": words}});
            text.push_str(&if *whole { row } else { serde_json::json!({"i": int}) }.to_string());
            text.push('\n');
        }
        let types = r#""types":{"f":"float64","o.w":"utf8"}"#;
        let (schema, blocks) = read(text.clone(), &format!("{{{types}}}"), 1000).unwrap();
        let column = |name: &str| schema.index_of(name).unwrap();
        let ints: Vec<i64> = blocks.iter().flat_map(|block| block.s64s(&schema, column("i")).unwrap().to_vec()).collect();
        prop_assert_eq!(ints, values.iter().map(|value| value.0).collect::<Vec<_>>());
        let (spread_schema, spread) = read(text, &format!(r#"{{{types},"partition-bytes":{partition}}}"#), max_rows).unwrap();
        prop_assert_eq!(&schema, &spread_schema);
        let numbers = |blocks: &[Block]| -> Vec<Option<u64>> {
            let one = |block: &Block| block.numbers(&schema, column("f")).unwrap().map(|f| f.map(f64::to_bits)).collect::<Vec<_>>();
            blocks.iter().flat_map(one).collect()
        };
        prop_assert_eq!(numbers(&blocks), numbers(&spread));
        let texts = |blocks: &[Block]| -> Vec<String> {
            let one = |block: &Block| block.texts(&schema, column("o.w")).unwrap().iter().map(str::to_owned).collect::<Vec<_>>();
            blocks.iter().flat_map(one).collect()
        };
        prop_assert_eq!(texts(&blocks), texts(&spread));
    }

    #[test]
    fn any_bytes_are_rows_or_a_problem(bytes in prop::collection::vec(prop::sample::select(b"{}[]\"a:1,.\n\\\xff-e ".to_vec()), 0..50)) {
        if let Err(problem) = read(bytes, "{}", 3) {
            prop_assert!(!problem.code.is_empty());
        }
    }
}
