//! Real files, read through the loader; `tests/make_types.py` made them.

use plinth_sdk::loader::{Loader as _, Reader as _};
use plinth_sdk::{Block, Kind, Problem, Schema, objects};

use crate::{Options, Parquet};

macro_rules! file {
    ($name:literal) => {
        &include_bytes!(concat!("../tests/data/", $name, ".parquet"))[..]
    };
}

fn read(bytes: &[u8], options: &str, max_rows: u32) -> Result<(Schema, Vec<Block>), Problem> {
    objects::lend("file:///t.parquet", bytes);
    let options: Options = serde_json::from_str(options).unwrap();
    let plan = Parquet::plan("file:///t.parquet", options.clone())?;
    let mut blocks = Vec::new();
    for partition in plan.partitions {
        let mut reader = Parquet::open("file:///t.parquet", options.clone(), plan.schema.clone(), partition.token)?;
        let mut rows = 0;
        while let Some(block) = reader.next(max_rows)? {
            assert!(block.rows > 0 && block.rows <= max_rows);
            rows += u64::from(block.rows);
            blocks.push(block);
        }
        assert_eq!(partition.rows_hint, Some(rows));
    }
    Ok((plan.schema, blocks))
}

#[test]
fn every_type_has_its_counterpart_and_nulls_hold_zero() {
    let (schema, blocks) = read(file!("types"), "{}", 100).unwrap();
    let kinds: Vec<(&str, Kind)> = schema.fields.iter().map(|field| (field.name.as_str(), field.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("flag", Kind::Boolean),
            ("i8", Kind::Int64),
            ("u16", Kind::Int64),
            ("u64", Kind::Int64),
            ("i64", Kind::Int64),
            ("f32", Kind::Float32),
            ("f64", Kind::Float64),
            ("dec", Kind::Float64),
            ("ms", Kind::TimestampUs),
            ("us", Kind::TimestampUs),
            ("ns", Kind::TimestampUs),
            ("day", Kind::TimestampUs),
            ("text", Kind::Utf8),
            ("dict", Kind::Utf8),
            ("raw", Kind::Binary),
        ]
    );
    let [block] = &blocks[..] else { panic!("one block") };
    assert_eq!(block.bits, [0b001]);
    assert_eq!(block.s64s[..12], [-8, 0, 8, 16, 0, 65_535, 1, 0, i64::MAX, i64::MIN, 0, 64]);
    let noon = 1_709_208_000_000_000;
    assert_eq!(
        block.s64s[12..],
        [-1_000, 0, noon, -1, 0, noon + 1, -1, 0, noon + 1, 86_400_000_000, 0, -86_400_000_000]
    );
    assert_eq!(block.f32s, [0.5, 0.0, 1.5]);
    assert_eq!(block.f64s[..2], [0.1, 0.0]);
    assert!(block.f64s[2].is_nan());
    assert_eq!(block.f64s[3..], [12.34, 0.0, -0.01]);
    let texts = |column: usize| block.texts(&schema, column).unwrap().iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        (texts(12), texts(13)),
        (vec!["é".into(), String::new(), String::new()], vec!["a".into(), String::new(), "b".into()])
    );
    assert_eq!(block.validity, [0b101; 15]);
}

#[test]
fn every_codec_gives_the_same_rows() {
    let whole = |bytes| {
        let (schema, blocks) = read(bytes, r#"{"partition-bytes":1}"#, 700).unwrap();
        assert_eq!(blocks.iter().map(|block| block.rows).collect::<Vec<_>>(), [700, 300, 700, 300, 700, 300]);
        let numbers: Vec<i64> = blocks.iter().flat_map(|block| block.s64s.clone()).collect();
        let texts: Vec<String> = blocks
            .iter()
            .flat_map(|block| block.texts(&schema, 1).unwrap().iter().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        (numbers, texts)
    };
    let plain = whole(file!("codec_none"));
    assert_eq!((plain.0[2999], plain.1[2999].as_str()), (2999, "text 7"));
    for packed in [file!("codec_snappy"), file!("codec_gzip"), file!("codec_lz4"), file!("codec_zstd")] {
        assert_eq!(whole(packed), plain);
    }
}

#[test]
fn small_row_groups_share_a_partition() {
    objects::lend("file:///p.parquet", file!("codec_none"));
    let plan = Parquet::plan("file:///p.parquet", Options::default()).unwrap();
    assert_eq!(plan.partitions.len(), 1);
    assert_eq!(plan.partitions[0].rows_hint, Some(3000));
}

#[test]
fn only_the_columns_asked_for_are_read() {
    let (schema, blocks) = read(file!("planes"), r#"{"columns":["seats","tailnum"]}"#, 100).unwrap();
    assert_eq!(schema.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["tailnum", "seats"]);
    assert_eq!(blocks[0].texts(&schema, 0).unwrap().get(0), "N10156");
    assert_eq!(blocks[0].s64s[0], 55);
    let (schema, _) = read(file!("nested"), r#"{"columns":["id"]}"#, 1).unwrap();
    assert_eq!(schema.len(), 1);
}

#[test]
fn what_cannot_be_read_is_named() {
    let refuse = |bytes: &[u8], options: &str| read(bytes, options, 10).unwrap_err();
    let refused = refuse(file!("nested"), "{}");
    assert_eq!((refused.code.as_str(), refused.column.as_deref()), ("unsupported-type", Some("list")));
    let refused = refuse(file!("codec_brotli"), "{}");
    assert_eq!(refused.code, "unsupported-compression");
    assert!(refused.message.contains("brotli"), "{}", refused.message);
    assert_eq!(
        refuse(file!("planes"), r#"{"columns":["seat"]}"#).message,
        "file:///t.parquet: there is no column `seat`, did you mean `seats`?"
    );
    assert_eq!(refuse(b"", "{}").code, "empty-file");
    assert_eq!(refuse(b"id,name\n1,a\n", "{}").code, "bad-parquet");
    let planes = file!("planes");
    assert_eq!(refuse(&planes[..planes.len() / 2], "{}").code, "bad-parquet");
}

#[test]
fn damaged_pages_are_a_problem_and_no_panic() {
    let whole = file!("codec_zstd");
    for at in (4..whole.len() - 600).step_by(97) {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0x55;
        if let Err(problem) = read(&damaged, "{}", 100) {
            assert!(!problem.code.is_empty());
        }
    }
}

#[test]
fn foreign_tokens_and_schemas_are_refused() {
    objects::lend("file:///f.parquet", file!("planes"));
    let plan = Parquet::plan("file:///f.parquet", Options::default()).unwrap();
    let open = |schema: Schema, token: Vec<u8>| {
        Parquet::open("file:///f.parquet", Options::default(), schema, token).err().unwrap()
    };
    assert_eq!(open(plan.schema.clone(), vec![1, 2]).code, "bad-token");
    let mut schema = plan.schema.clone();
    schema.fields.pop();
    assert_eq!(open(schema, plan.partitions[0].token.clone()).code, "schema-changed");
}
