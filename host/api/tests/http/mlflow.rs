//! MLflow's scoring protocol.

use serde_json::json;

use crate::common::{ONE_ROW, serving, serving_with};

const JSON: &str = "application/json";

#[test]
fn every_form_of_a_row_gets_the_same_answer() {
    let serving = serving();
    let wanted = json!({"predictions": [
        {"prediction": "yes", "probability_no": 0.475, "probability_yes": 0.525},
        {"prediction": "no", "probability_no": 0.8, "probability_yes": 0.2},
    ]});
    let (first, second) = (r#"40,"gold",2.5,"2024-03-28T08:22:20Z""#, r#"20,"tin",null,null"#);
    let columns = r#"["age","plan","minutes","since"]"#;
    for (kind, body) in [
        (JSON, format!(r#"{{"dataframe_split":{{"columns":{columns},"data":[[{first}],[{second}]]}}}}"#)),
        ("application/json; charset=utf-8", format!(r#"{{"instances":[[{first}],[{second}]]}}"#)),
        (JSON, format!(r#"{{"inputs":[[{first}],[{second}]]}}"#)),
        (JSON, r#"{"inputs":{"age":[40,20.0],"plan":["gold","tin"],"minutes":[2.5,null],"since":[null,null]}}"#.into()),
        (
            JSON,
            r#"{"dataframe_records":[{"since":null,"age":40,"plan":"gold","minutes":2.5,"id":9},
                {"age":20,"plan":"tin","minutes":null,"since":null}]}"#
                .into(),
        ),
        ("text/csv", "age,plan,minutes,since\n40,gold,2.5,2024-03-28 08:22:20+00:00\n20,tin,,\n".into()),
        ("text/csv", "\u{feff}id,since,minutes,plan,age\r\n1,,2.5,\"gold\",40\r\n2,,nan,tin,20\r\n".into()),
    ] {
        let answer = serving.post("/invocations", kind, &body);
        assert_eq!((answer.status, answer.json()), (200, wanted.clone()), "{body}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    serving.stop().unwrap();
}

#[test]
fn every_wrong_body_is_answered_400_with_the_place_that_is_wrong() {
    let serving = serving();
    let row = |cells: &str| format!(r#"{{"dataframe_records":[{{{cells}}}]}}"#);
    let split = |columns: &str, data: &str| format!(r#"{{"dataframe_split":{{"columns":{columns},"data":{data}}}}}"#);
    let all = r#""age":40,"plan":"gold","minutes":1,"since":null"#;
    let names = r#"["age","plan","minutes","since"]"#;
    let (bad, value) = ("BAD_REQUEST", "INVALID_PARAMETER_VALUE");
    for (body, code, parts) in [
        (String::new(), bad, vec!["EOF"]),
        ("null".into(), bad, vec!["dataframe_split"]),
        ("[1,2]".into(), bad, vec!["dataframe_split"]),
        ("{}".into(), bad, vec!["none of dataframe_split, dataframe_records, instances, inputs"]),
        ("{\"dataframe_records\":[]} x".into(), bad, vec!["trailing", "column 26"]),
        (r#"{"dataframe_record":[]}"#.into(), bad, vec!["`dataframe_record`", "did you mean `dataframe_records`?"]),
        (r#"{"inputs":[],"instances":[]}"#.into(), bad, vec!["both `inputs` and `instances`"]),
        (row(r#""age":40"#), value, vec!["column `plan` is missing", "age, plan, minutes, since"]),
        (row(&all.replace("plan", "plna")), value, vec!["`plan` is missing", "`plna` was sent"]),
        (row(&all.replace("40", "\"old\"")), value, vec!["row 0, column `age`: \"old\" is not int64"]),
        (row(&all.replace("40", "40.5")), value, vec!["row 0, column `age`: 40.5 is not int64"]),
        (row(&all.replace("40", "1e30")), value, vec!["is not int64"]),
        (row(&all.replace("40", "18446744073709551615")), value, vec!["is not int64"]),
        (row(&all.replace("40", "null")), value, vec!["row 0, column `age`: null is not allowed"]),
        (row(&all.replace("40", "[40]")), value, vec!["row 0, column `age`: a list"]),
        (row(&all.replace("40", "{}")), value, vec!["row 0, column `age`: an object"]),
        (row(&all.replace("\"gold\"", "7")), value, vec!["column `plan`: 7 is not utf8", "in quotes"]),
        (row(&all.replace("\"gold\"", "\"lead\"")), value, vec!["column `plan`", "lead"]),
        (row(&all.replace("1,", "NaN,")), bad, vec!["line 1 column", "null, not NaN"]),
        (row(&all.replace("1,", "1e999,")), bad, vec!["out of range"]),
        (row(&all.replace("since\":null", "since\":\"soon\"")), value, vec!["column `since`", "soon", "2024-03-28T"]),
        (row(&format!("{all},\"age\":41")), value, vec!["row 0 gives column `age` twice"]),
        (format!(r#"{{"dataframe_records":[{{{all}}},{{"age":1}}]}}"#), value, vec!["row 1", "`plan`"]),
        (r#"{"dataframe_records":[[1]]}"#.into(), bad, vec!["row 0 is a list, not an object"]),
        (r#"{"dataframe_records":[1]}"#.into(), bad, vec!["row 0 is not an object"]),
        (r#"{"dataframe_records":{}}"#.into(), bad, vec!["a list of rows"]),
        (r#"{"instances":["x"]}"#.into(), bad, vec!["row 0 is not an object or a list"]),
        (r#"{"instances":[[1,"gold"]]}"#.into(), bad, vec!["row 0 has 2 values for 4 columns"]),
        (split(names, "[[1,\"gold\",1,null,5]]"), bad, vec!["row 0 has more than 4 values"]),
        (split(names, "[{}]"), bad, vec!["row 0 is an object, not a list"]),
        (split(r#"["age","age","plan","minutes"]"#, "[]"), bad, vec!["column `age` is named twice"]),
        (split(r#"["age","plan","minutes"]"#, "[]"), value, vec!["column `since` is missing"]),
        (split("[1]", "[]"), bad, vec!["the name of a column"]),
        (r#"{"dataframe_split":{"data":[]}}"#.into(), bad, vec!["no `columns`"]),
        (format!(r#"{{"dataframe_split":{{"columns":{names}}}}}"#), bad, vec!["no `data`"]),
        (
            r#"{"inputs":{"age":[1,2],"plan":["gold"],"minutes":[1,2],"since":[null,null]}}"#.into(),
            value,
            vec!["row 1 has no value for column `plan`"],
        ),
        (r#"{"inputs":{"age":[1]}}"#.into(), value, vec!["column `plan` is missing"]),
        (r#"{"inputs":7}"#.into(), bad, vec!["an object of columns, or a list of rows"]),
        (format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)), bad, vec!["dataframe_split"]),
        (format!(r#"{{"inputs":{{"age":{}"#, "[".repeat(100_000)), bad, vec!["recursion limit"]),
    ] {
        let answer = serving.post("/invocations", JSON, &body);
        let shown: String = body.chars().take(100).collect();
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text);
        let told = answer.json();
        assert_eq!(told["error_code"], code, "{shown}: {told}");
        for part in parts {
            assert!(told["message"].as_str().unwrap().contains(part), "{shown}: {told}");
        }
    }
    serving.stop().unwrap();
}

#[test]
fn every_wrong_csv_is_answered_400_with_the_place_that_is_wrong() {
    let serving = serving();
    for (body, part) in [
        ("", "the body is empty"),
        ("age,plan,minutes\n", "column `since` is missing"),
        ("age,age,plan,minutes,since\n", "column `age` is named twice"),
        ("age,plan,minutes,since\n1,gold,2\n", "line 2 has 3 cells where the header has 4"),
        ("age,plan,minutes,since\n1,gold,2,,\n", "line 2 has 5 cells where the header has 4"),
        ("age,plan,minutes,since\n1,gold,2,\nx,gold,2,\n", "row 1, column `age`: \"x\" is not int64"),
        ("age,plan,minutes,since\n1.5,gold,2,\n", "row 0, column `age`: 1.5 is not int64"),
        ("age,plan,minutes,since\n1,gold,inf,\n", "row 0, column `minutes`: inf is not float64"),
        ("age,plan,minutes,since\n,gold,2,\n", "row 0, column `age`: null is not allowed"),
        ("age,plan,minutes,since\n1,gold,2,soon\n", "row 0, column `since`: \"soon\" is not timestamp-us"),
        ("age,plan,minutes,since\n1,\"gold,2,\n", "has 2 cells"),
    ] {
        let answer = serving.post("/invocations", "text/csv", body);
        assert_eq!(answer.status, 400, "{body:?}: {}", answer.text);
        assert!(answer.json()["message"].as_str().unwrap().contains(part), "{body:?}: {}", answer.text);
    }
    let latin1 = serving.post("/invocations", "text/csv", b"age,plan,minutes,since\n1,g\xf6ld,2,\n");
    assert_eq!(latin1.status, 400);
    assert!(latin1.text.contains("UTF-8"), "{}", latin1.text);
    serving.stop().unwrap();
}

#[test]
fn other_content_types_are_answered_415_with_what_to_send() {
    let serving = serving();
    for kind in ["", "application/x-www-form-urlencoded", "text/plain", "application/jsonx"] {
        let answer = serving.post("/invocations", kind, ONE_ROW);
        assert_eq!(answer.status, 415, "{kind}: {}", answer.text);
        assert!(answer.json()["message"].as_str().unwrap().contains("application/json, text/csv or"));
        assert_eq!(answer.json()["code"], "unsupported-media-type");
    }
    serving.stop().unwrap();
}

#[test]
fn no_rows_get_no_predictions() {
    let serving = serving();
    let answer = serving.post("/invocations", JSON, r#"{"dataframe_records":[]}"#);
    assert_eq!((answer.status, answer.json()), (200, json!({"predictions": []})));
    serving.stop().unwrap();
}

#[test]
fn what_is_past_a_limit_is_answered_413_and_names_the_limit() {
    let limits = plinth_core::ServeLimits { body_bytes_max: 1_000, request_rows_max: 2, ..Default::default() };
    let serving = serving_with(limits, None);
    let record = r#"{"age":1,"plan":"tin","minutes":1,"since":null}"#;
    let rows = format!(r#"{{"dataframe_records":[{record},{record},{record}]}}"#);
    let columns = r#"{"inputs":{"age":[1,2,3],"plan":["tin","tin","tin"],"minutes":[1,1,1],"since":[null,null,null]}}"#;
    let csv = "age,plan,minutes,since\n1,tin,1,\n1,tin,1,\n1,tin,1,\n";
    for (kind, body) in [(JSON, rows.as_str()), (JSON, columns), ("text/csv", csv)] {
        let answer = serving.post("/invocations", kind, body);
        assert_eq!(answer.status, 413, "{}", answer.text);
        assert!(
            answer.text.contains("more than 2 rows") && answer.text.contains("request-rows-max"),
            "{}",
            answer.text
        );
        assert_eq!(answer.json()["error_code"], "REQUEST_LIMIT_EXCEEDED");
    }
    let answer = serving.post("/invocations", JSON, " ".repeat(1_001));
    assert_eq!(answer.status, 413);
    assert!(answer.text.contains("larger than 1000 bytes"), "{}", answer.text);
    assert_eq!(serving.post("/invocations", JSON, ONE_ROW).status, 200);
    serving.stop().unwrap();
}

#[test]
fn a_model_that_fails_or_panics_answers_500_and_the_server_goes_on() {
    let serving = serving();
    for age in ["666", "667"] {
        let answer = serving.post("/invocations", JSON, ONE_ROW.replace("40", age));
        assert_eq!((answer.status, &answer.json()["error_code"]), (500, &json!("INTERNAL_ERROR")), "{}", answer.text);
    }
    assert_eq!(serving.post("/invocations", JSON, ONE_ROW).status, 200);
    assert_eq!(serving.server.in_flight(), 0);
    serving.stop().unwrap();
}

#[test]
fn health_version_and_strangers() {
    let serving = serving();
    for path in ["/ping", "/health"] {
        assert_eq!(serving.get(path).status, 200);
    }
    assert_eq!(serving.get("/version").text, env!("CARGO_PKG_VERSION"));
    let answer = serving.get("/invocations");
    assert_eq!((answer.status, &answer.json()["error_code"]), (405, &json!("BAD_REQUEST")));
    let answer = serving.get("/nowhere");
    assert_eq!((answer.status, &answer.json()["error_code"]), (404, &json!("RESOURCE_DOES_NOT_EXIST")));
    serving.stop().unwrap();
}
