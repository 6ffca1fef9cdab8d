//! The gate `expectations`, as its users meet it.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use plinth_sdk::{
    Block, BlockBuilder, Field, Gates, Kind, Problem, Schema, bitmap,
    gate::{Check, Evidence, Outcome},
    tables,
};
use quality_gate::ExportedGates as Gate;
use serde_json::{Value, json};

/// Two blocks: six customers, one of them odd.
fn lend_customers() {
    let schema = Schema::new([
        Field::new("id", Kind::Int64, false),
        Field::new("plan", Kind::Utf8, true),
        Field::new("age", Kind::Float64, true),
        Field::new("active", Kind::Boolean, false),
        Field::new("joined", Kind::TimestampUs, false),
        Field::new("left", Kind::TimestampUs, true),
    ]);
    let block = |ids: [i64; 3], plans: [Option<&str>; 3], ages: [Option<f64>; 3], joined: [i64; 3], left: [i64; 3]| {
        let mut block = BlockBuilder::new(&schema, 3);
        let there = |values: &[bool]| bitmap(values.iter().copied());
        block
            .s64s(ids.to_vec(), None)
            .and_then(|b| b.texts(plans.iter().map(|p| p.unwrap_or("")), Some(&there(&plans.map(|p| p.is_some())))))
            .and_then(|b| b.f64s(ages.map(|a| a.unwrap_or(0.0)).to_vec(), Some(&there(&ages.map(|a| a.is_some())))))
            .and_then(|b| b.bools(&[true, true, true], None))
            .and_then(|b| b.s64s(joined.to_vec(), None))
            .and_then(|b| b.s64s(left.to_vec(), Some(&there(&left.map(|at| at > 0)))))
            .unwrap();
        block.finish().unwrap()
    };
    let blocks: Vec<Block> = vec![
        block([1, 2, 3], [Some("a"), Some("b"), None], [Some(30.0), None, Some(50.0)], [10, 20, 30], [0, 25, 0]),
        block(
            [4, 5, 2],
            [Some("a"), Some("gold"), Some("b")],
            [Some(-1.0), Some(f64::NAN), Some(41.0)],
            [40, 35, 60],
            [0, 30, 0],
        ),
    ];
    tables::lend("data", schema, blocks);
}

fn judge(expect: Value) -> Result<Vec<Check>, Problem> {
    lend_customers();
    Gate::evaluate("expectations", &Evidence::default(), &json!({ "expect": expect }).to_string())
}

/// The one check of one expectation: outcome, and its words.
fn one(expectation: Value) -> (Outcome, String) {
    let mut checks = judge(json!([expectation])).unwrap();
    assert_eq!(checks.len(), 1, "{checks:?}");
    let Check { name, outcome, observed, expected, reason } = checks.remove(0);
    (outcome, format!("{name} | {observed} | {expected} | {reason}"))
}

fn pass(words: &str) -> (Outcome, String) {
    (Outcome::Pass, words.into())
}

fn fail(words: &str) -> (Outcome, String) {
    (Outcome::Fail, words.into())
}

#[test]
fn rows_are_counted() {
    assert_eq!(one(json!({"row-count": {"min": 6}})), pass("row count >= 6 | 6 | at least 6 | "));
    assert_eq!(one(json!({"row-count": {"above": 6}})), fail("row count > 6 | 6 | more than 6 | "));
}

#[test]
fn columns_are_there_and_of_their_type() {
    assert_eq!(
        one(json!({"columns": {"present": ["id", "plans"]}})),
        fail("columns present | missing: `plans` | `id` and `plans` | `plans` is not there, did you mean `plan`?")
    );
    assert_eq!(one(json!({"columns": {"absent": ["ssn"]}})), pass("columns absent | none of them | no `ssn` | "));
    let exactly = json!({"columns": {"exactly": ["id", "age", "plan", "active", "joined", "left"]}});
    assert!(one(exactly).1.ends_with("column 2 is `plan`, not `age`"));
    assert_eq!(
        one(json!({"column-type": {"column": "age", "type": "int64"}})),
        fail("age is int64 | float64 | int64 | ")
    );
}

#[test]
fn nulls_and_nans_are_missing() {
    assert_eq!(
        one(json!({"null-share": {"column": "age", "max": 0.05}})),
        fail("age nulls <= 5 % | 33.33 % (2 of 6 rows) | at most 5 % | the first is in row 1")
    );
    assert_eq!(
        one(json!({"null-share": {"column": "id", "max": 0}})),
        pass("id has no nulls | 0 % (0 of 6 rows) | no nulls | ")
    );
    assert_eq!(one(json!({"null-share": {"column": "plan", "max": 0.2}})).0, Outcome::Pass);
}

#[test]
fn a_range_names_what_lies_outside() {
    assert_eq!(
        one(json!({"range": {"column": "age", "min": 0, "max": 120}})),
        fail(
            "age >= 0 and <= 120 | 1 of 4 rows (25 %) with other values, such as `-1` | at least 0 and at most 120 | \
             the first is in row 3"
        )
    );
    assert_eq!(one(json!({"range": {"column": "age", "min": -1}})), pass("age >= -1 | -1 to 50 | at least -1 | "));
    assert_eq!(one(json!({"range": {"column": "age", "min": 0, "allow-share": 0.25}})).0, Outcome::Pass);
}

#[test]
fn a_set_names_what_is_not_in_it() {
    assert_eq!(
        one(json!({"in-set": {"column": "plan", "values": ["a", "b"]}})),
        fail(
            "plan in set | 1 of 5 rows (20 %) with other values, such as `gold` | one of `a` and `b` | \
             the first is in row 4"
        )
    );
    assert_eq!(one(json!({"in-set": {"column": "id", "values": [1, 2, 3, 4, 5]}})).0, Outcome::Pass);
    assert_eq!(one(json!({"in-set": {"column": "active", "values": [true]}})).0, Outcome::Pass);
    assert_eq!(one(json!({"in-set": {"column": "active", "values": [false]}})).0, Outcome::Fail);
    let wrong = judge(json!([{"in-set": {"column": "plan", "values": [1]}}])).unwrap_err();
    assert_eq!(wrong.message, "`in-set`: 1 is no value of `plan`, which is utf8");
}

#[test]
fn lengths_are_counted_in_characters() {
    assert_eq!(
        one(json!({"length": {"column": "plan", "max": 3}})),
        fail(
            "plan length <= 3 | 1 of 5 rows (20 %) with other values, such as `gold` | at most 3 characters | \
             the first is in row 4"
        )
    );
}

#[test]
fn repeats_are_found_across_blocks() {
    assert_eq!(
        one(json!({"unique": {"columns": "id"}})),
        fail("id unique | 1 of 6 rows repeat an earlier one | no value twice | row 5 repeats row 1")
    );
    assert_eq!(
        one(json!({"unique": {"columns": ["id", "joined"]}})),
        pass("id + joined unique | 6 rows all differ | no value twice | ")
    );
}

#[test]
fn a_constant_teaches_nothing() {
    assert_eq!(one(json!({"varies": {"column": "active"}})).0, Outcome::Fail);
    assert_eq!(one(json!({"varies": {"column": "plan"}})).0, Outcome::Pass);
}

#[test]
fn order_and_pairs_are_checked_row_by_row() {
    assert_eq!(
        one(json!({"increasing": {"column": "joined"}})),
        fail("joined increasing | 1 row out of order | none less than the one before | row 4 has 35 after 40")
    );
    assert_eq!(
        one(json!({"pair": {"left": "left", "is": ">=", "right": "joined"}})),
        fail("left >= joined | not in 1 of 2 rows (50 %) | in every row that has both | row 4 has 30 and 35")
    );
    assert!(one(json!({"pair": {"left": "plan", "is": "==", "right": "id"}})).1.contains("text in both columns"));
}

#[test]
fn averages_leave_out_what_is_missing() {
    assert_eq!(
        one(json!({"mean": {"column": "age", "min": 20, "max": 40}})),
        pass("mean of age >= 20 and <= 40 | 30 | at least 20 and at most 40 | ")
    );
    assert_eq!(
        one(json!({"median": {"column": "age", "below": 35}})),
        fail("median of age < 35 | 35.5 | less than 35 | off by 0.5")
    );
    assert_eq!(one(json!({"sum": {"column": "id", "max": 17}})).0, Outcome::Pass);
    assert_eq!(one(json!({"quantile": {"column": "age", "q": 1, "max": 50}})).0, Outcome::Pass);
}

#[test]
fn a_column_that_is_not_there_fails_and_the_rest_is_still_judged() {
    let checks = judge(json!([
        {"range": {"column": ["agee", "age"], "min": -1}, "severity": "warn", "reason": "ages feed the model"},
        {"row-count": {"min": 1}},
    ]))
    .unwrap();
    let outcomes: Vec<Outcome> = checks.iter().map(|check| check.outcome).collect();
    assert_eq!(outcomes, [Outcome::Warn, Outcome::Pass, Outcome::Pass]);
    assert_eq!(checks[0].observed, "no such column");
    assert_eq!(checks[0].reason, "ages feed the model (the table has no `agee`, did you mean `age`?)");
}

#[test]
fn an_empty_table_passes_no_expectation_of_values_but_nulls() {
    tables::lend("data", Schema::new([Field::new("x", Kind::Float64, true)]), vec![]);
    let options = json!({"expect": [{"row-count": {"min": 1}}, {"mean": {"column": "x", "min": 0}}]}).to_string();
    let checks = Gate::evaluate("expectations", &Evidence::default(), &options).unwrap();
    assert!(checks.iter().all(|check| check.outcome == Outcome::Fail), "{checks:?}");
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused = |expect| judge(expect).unwrap_err().message;
    assert!(refused(json!([])).contains("`expect` is empty"));
    assert!(refused(json!([{"rang": {"column": "age", "min": 0}}])).contains("`rang`: unknown variant `rang`"));
    assert!(refused(json!([{"range": {"column": "age", "mn": 0}}])).contains("unknown field `mn`"));
    assert!(refused(json!([{"range": {"column": "age"}}])).contains("`range`: it needs"));
    assert!(
        refused(json!([{"range": {"column": "age", "min": 0}, "length": {"column": "plan", "min": 0}}]))
            .contains("one expectation, not 2")
    );
    assert!(refused(json!([{"null-share": {"column": "age", "max": 5}}])).contains("`max` is 5; it must be 0 to 1"));
    assert!(refused(json!([{"columns": {}}])).contains("needs `present`"));
}

#[test]
fn every_expectation_is_in_the_schema_of_the_options() {
    let items = Gate::describe();
    let item = items.iter().find(|item| item.name == "expectations").unwrap();
    let schema: Value = serde_json::from_str(&item.options_schema).unwrap();
    let known = schema["properties"]["expect"]["items"]["properties"].as_object().unwrap();
    // What serde says it expects is the list of names that the code knows.
    let error = judge(json!([{"no-such": {}}])).unwrap_err().message;
    let names: Vec<&str> = error.split('`').skip(1).step_by(2).filter(|name| !name.starts_with("no-such")).collect();
    assert!(names.len() >= 15, "{error}");
    for name in &names {
        assert!(known.contains_key(*name), "`{name}` is not in options.json");
    }
    assert_eq!(known.len(), names.len() + 2, "options.json has more than the code");
}
