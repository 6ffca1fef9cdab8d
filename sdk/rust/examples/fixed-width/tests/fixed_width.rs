//! The plugin at work, natively.

use fixed_width_rust::ExportedLoaders as Plugin;
use plinth_sdk::{Block, Loaders, Problem, loader::ReadPlan, objects};

const OPTIONS: &str = r#"{"columns": [{"name": "id", "width": 4, "kind": "int64", "nullable": false},
    {"name": "x", "width": 6, "kind": "float64"}, {"name": "t", "width": 3, "kind": "utf8"},
    {"name": "on", "width": 5, "kind": "boolean"}], "partition-rows": 2}"#;

fn plan(text: &[u8], options: &str) -> Result<ReadPlan, Problem> {
    objects::lend("file:///t.txt", text);
    Plugin::plan("fixed-width", "file:///t.txt", options)
}

/// All blocks, of at most `max_rows` rows.
fn read(text: &[u8], max_rows: u32) -> Result<Vec<Block>, Problem> {
    let plan = plan(text, OPTIONS)?;
    let mut blocks = Vec::new();
    for part in plan.partitions {
        let schema = plan.schema.clone();
        let mut reader = Plugin::open("fixed-width", "file:///t.txt", OPTIONS, schema, part.token)?;
        while let Some(block) = reader.next(max_rows)? {
            blocks.push(block);
        }
    }
    Ok(blocks)
}

const ROWS: &str = "   1  -2.5abc true\n  -2       öfalse\n   3  7e-1 z      \n";

#[test]
fn a_source_is_read_in_partitions() {
    let plan = plan(ROWS.as_bytes(), OPTIONS).unwrap();
    let hints: Vec<_> = plan.partitions.iter().map(|part| (part.rows_hint, part.bytes_hint)).collect();
    assert_eq!(hints, [(Some(2), Some(38)), (Some(1), Some(19))]);
    assert_eq!(plan.partitions[1].token, [2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let blocks = read(ROWS.as_bytes(), 100).unwrap();
    assert_eq!(blocks.iter().map(|block| block.rows).collect::<Vec<_>>(), [2, 1]);
    let (schema, first, last) = (&plan.schema, &blocks[0], &blocks[1]);
    assert_eq!(first.s64s(schema, 0).unwrap(), [1, -2]);
    assert_eq!(first.numbers(schema, 1).unwrap().collect::<Vec<_>>(), [Some(-2.5), None]);
    assert_eq!(first.texts(schema, 2).unwrap().iter().collect::<Vec<_>>(), ["abc", "ö"]);
    assert_eq!(last.numbers(schema, 3).unwrap().collect::<Vec<_>>(), [None]);
    assert_eq!(read(ROWS.as_bytes(), 1).unwrap().len(), 3);
    assert_eq!(read(b"", 100).unwrap(), []);
}

#[test]
fn the_first_bad_cell_of_the_lowest_row_is_told() {
    let told = |text: &[u8]| {
        let problem = read(text, 100).unwrap_err();
        (problem.code, problem.row, problem.column)
    };
    let good = "   1  -2.5abc true\n".as_bytes();
    let at = |row, code: &str, column: Option<&str>| (code.to_owned(), Some(row), column.map(str::to_owned));
    let after_good = |rows: &[&[u8]]| told(&[good, &rows.concat()].concat());
    assert_eq!(after_good(&[b"   2   .5 abc maybe"[..18].as_ref(), b"\n"]), at(1, "bad-value", Some("x")));
    assert_eq!(after_good(&[b"       1.5abc true\n"]), at(1, "null-value", Some("id")));
    assert_eq!(after_good(&[b"   2   1.5a\xff  true\n"]), at(1, "bad-value", Some("t")));
    assert_eq!(after_good(&[good, b"   2   1.5abctrueX\n"]), at(2, "bad-value", Some("on")));
    // A torn row is told before its cells, and after an earlier row's.
    assert_eq!(after_good(&[b"   x  -2.5abc true "]), at(1, "bad-row", None));
    assert_eq!(told(b"   1  -2.5abcmaybe\n   1  -2.5abc true "), at(0, "bad-value", Some("on")));
}

#[test]
fn what_is_no_layout_or_no_source_of_it_is_told() {
    let told = |text: &[u8], options: &str| plan(text, options).unwrap_err().code;
    assert_eq!(told(&ROWS.as_bytes()[1..], OPTIONS), "bad-source");
    let column = r#"{"name": "a", "width": 3, "kind": "int64"}"#;
    for columns in
        [String::new(), format!("{column}, {column}"), column.replace('3', "0"), column.replace("int64", "binary")]
    {
        assert_eq!(told(b"", &format!(r#"{{"columns": [{columns}]}}"#)), "bad-options", "{columns}");
    }
    let open = Plugin::open("fixed-width", "file:///t.txt", OPTIONS, plan(b"", OPTIONS).unwrap().schema, vec![0; 15]);
    assert_eq!(open.map(|_| ()).unwrap_err().code, "bad-token");
}
