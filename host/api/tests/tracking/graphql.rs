use plinth_tracking::{NewExperiment, Resource, Role};
use serde_json::{Value, json};

use crate::server::Server;

/// Data and errors.
fn ask(server: &Server, query: &str, variables: &Value) -> (Value, Value) {
    let body = json!({"query": query, "variables": variables, "operationName": null}).to_string();
    let (status, mut answer) = server.send("POST", "/graphql", Some(&body));
    assert_eq!(status, 200, "{query}: {answer}");
    (answer["data"].take(), answer["errors"].take())
}

fn refused(server: &Server, query: &str) -> Vec<String> {
    let (data, errors) = ask(server, query, &json!({}));
    assert_eq!(data, Value::Null, "{query}");
    errors.as_array().unwrap().iter().map(|error| error.as_str().unwrap().to_owned()).collect()
}

fn filled() -> (Server, String) {
    let server = Server::start();
    let run = server.run("0");
    let metrics: Vec<Value> =
        (0..5).map(|step| json!({"key": "loss", "value": step, "timestamp": step, "step": step})).collect();
    let odd = json!({"key": "odd", "value": "NaN", "timestamp": 1, "step": 0});
    let metrics = [metrics, vec![odd]].concat();
    server.post("runs/log-batch", &json!({"run_id": run, "metrics": metrics, "params": [{"key": "p", "value": "1"}]}));
    server.post("registered-models/create", &json!({"name": "churn"}));
    let source = format!("mlflow-artifacts:/0/{run}/artifacts/model");
    server.post("model-versions/create", &json!({"name": "churn", "source": source, "run_id": run}));
    (server, run)
}

#[test]
fn a_run_is_answered_with_its_experiment_and_the_versions_of_its_model() {
    let (server, run) = filled();
    let query = "query Any($data: MlflowGetRunInput!, $more: Boolean = false) @component(name: \"x\") {
        found: mlflowGetRun(input: $data) {
            __typename
            apiError { code }
            run {
                ...Info
                info { endTime status }
                data { metrics { key value step } params { key value } }
                experiment { name tags { key } }
                modelVersions { name version aliases status deploymentJobState { jobId jobState } }
                outputs @include(if: $more) { modelOutputs { modelId } }
                inputs @skip(if: $more) { ... on MlflowRunInputs { datasetInputs { dataset { name } } } }
            }
        }
    }
    fragment Info on MlflowRunExtension { info { runId startTime } }";
    let (data, errors) = ask(&server, query, &json!({"data": {"runId": run}}));
    assert_eq!(errors, Value::Null);
    let wanted = json!({"found": {
        "__typename": "MlflowGetRunResponse",
        "apiError": null,
        "run": {
            "info": {"runId": run, "startTime": "1000", "endTime": "0", "status": "RUNNING"},
            "data": {
                "metrics": [
                    {"key": "loss", "value": 4.0, "step": "4"},
                    {"key": "odd", "value": null, "step": "0"},
                ],
                "params": [{"key": "p", "value": "1"}],
            },
            "experiment": {"name": "Default", "tags": []},
            "modelVersions": [{
                "name": "churn", "version": "1", "aliases": [], "status": "READY",
                "deploymentJobState": {"jobId": "", "jobState": null},
            }],
            "inputs": {"datasetInputs": []},
        },
    }});
    assert_eq!(data, wanted);
    let (data, _) = ask(&server, query, &json!({"data": {"runId": run}, "more": true}));
    assert!(data["found"]["run"]["outputs"].is_object() && data["found"]["run"].get("inputs").is_none(), "{data}");
}

#[test]
fn every_root_answers_and_says_what_went_wrong_beside_the_data() {
    let (server, run) = filled();
    let query = format!(
        "{{
            test(inputString: \"x\") {{ output }}
            mlflowGetExperiment(input: {{experimentId: \"0\"}}) {{ experiment {{ name artifactLocation }} }}
            mlflowSearchRuns(input: {{experimentIds: [\"0\"], runViewType: ALL, maxResults: 5}}) {{
                runs {{ info {{ runId }} }} nextPageToken
            }}
            mlflowListArtifacts(input: {{runId: \"{run}\"}}) {{ rootUri files {{ path }} }}
            mlflowGetMetricHistoryBulkInterval(input: {{runIds: [\"{run}\"], metricKey: \"loss\"}}) {{
                metrics {{ step runId }}
            }}
            mlflowSearchModelVersions(input: {{filter: \"name='churn'\", maxResults: \"7\"}}) {{
                modelVersions {{ runId }}
            }}
            gone: mlflowGetRun(input: {{runId: \"nope\"}}) {{ run {{ info {{ runId }} }} }}
        }}"
    );
    let (data, errors) = ask(&server, &query, &Value::Null);
    assert_eq!(errors, json!(["Run with id=nope not found"]));
    assert_eq!(data["gone"], Value::Null);
    assert_eq!(data["test"]["output"], "x");
    assert_eq!(data["mlflowGetExperiment"]["experiment"]["name"], "Default");
    assert_eq!(data["mlflowSearchRuns"], json!({"runs": [{"info": {"runId": run}}], "nextPageToken": ""}));
    assert_eq!(data["mlflowListArtifacts"]["files"], json!([]));
    assert_eq!(data["mlflowGetMetricHistoryBulkInterval"]["metrics"].as_array().unwrap().len(), 5);
    assert_eq!(data["mlflowSearchModelVersions"]["modelVersions"], json!([{"runId": run}]));
    let mutation = "mutation { testMutation(inputString: \"y\") { output } \
        mlflowSearchDatasets(input: {experimentIds: \"0\"}) { datasetSummaries { name } } }";
    let (data, errors) = ask(&server, mutation, &Value::Null);
    assert_eq!(data, json!({"testMutation": {"output": "y"}, "mlflowSearchDatasets": {"datasetSummaries": []}}));
    assert_eq!(errors, Value::Null);
}

#[test]
fn what_the_schema_does_not_have_is_refused() {
    let server = Server::start();
    let cases = [
        ("{mlflowGetRun(input:{runId:\"a\"}){run}}", "Field 'run' of type 'MlflowRunExtension' must have a selection"),
        ("{mlflowGetRun(input:{runId:\"a\"}){nope}}", "Cannot query field 'nope' on type 'MlflowGetRunResponse'."),
        ("{test(inputString:\"x\"){output{a}}}", "Field 'output' must not have a selection since type 'String' has"),
        ("{test(inputString:\"x\",z:1){output}}", "Unknown argument 'z' on field 'Query.test'."),
        ("{test(inputString:1){output}}", "String cannot represent a non string value: 1"),
        ("{test(inputString:$x){output}}", "Variable '$x' is not defined."),
        ("{test(inputString:\"x\"){...F}}", "Unknown fragment 'F'."),
        ("{test(inputString:\"x\"){...F}} fragment F on Test{...F}", "Cannot spread fragment 'F' within itself."),
        ("{test(inputString:\"x\"){...F}} fragment F on Other{output}", "Fragment 'F' cannot be spread here"),
        ("{test(inputString:\"x\") @wrong {output}}", "Unknown directive '@wrong'."),
        ("query($d: MlflowGetRunInput!){mlflowGetRun(input:$d){run{info{runId}}}}", "Variable '$d' of required type"),
        ("query($d: Nope){test(inputString:$d){output}}", "Unknown type 'Nope'."),
        (
            "{mlflowSearchRuns(input:{runViewType:FOO}){nextPageToken}}",
            "Value 'FOO' does not exist in 'MlflowViewType'",
        ),
        ("subscription{test{output}}", "Schema is not configured to execute subscription operation."),
        ("query A{test{output}} query B{test{output}}", "Must provide operation name"),
    ];
    for (query, wanted) in cases {
        let errors = refused(&server, query);
        assert!(errors.iter().any(|error| error.starts_with(wanted)), "{query}: {errors:?}");
    }
    let many: String = (0..11).map(|at| format!("a{at}: test(inputString: \"x\") {{output}} ")).collect();
    assert!(refused(&server, &format!("{{{many}}}"))[0].starts_with("GraphQL queries should have at most 10 root"));
    // Neither deep nesting nor fragments within fragments cost anything.
    assert_eq!(refused(&server, &"{a".repeat(100_000)), ["Query exceeds maximum depth of 10"]);
    let chain: String =
        (0..40).map(|at| format!("fragment F{at} on Test {{...F{} ...F{}}} ", at + 1, at + 1)).collect();
    let query = format!("{{test(inputString: \"x\") {{...F0}}}} {chain} fragment F40 on Test {{output}}");
    assert_eq!(ask(&server, &query, &Value::Null).0, json!({"test": {"output": "x"}}));
    for body in ["{", "[]", "{\"query\": 5}", "{\"query\": \"{\"}", "{}", "{\"query\": \"{test}\", \"variables\": []}"]
    {
        assert_eq!(server.send("POST", "/graphql", Some(body)).0, 400, "{body}");
    }
}

#[test]
fn one_sees_there_what_one_may_see_elsewhere() {
    let server = Server::start_with(|config| config.access = true);
    let tracking = server.tracking.by("test");
    let made = |name: &str| {
        tracking.create_experiment(&NewExperiment { name: name.to_owned(), ..NewExperiment::default() }).unwrap()
    };
    let mine = made("mine");
    let theirs = made("theirs");
    tracking.add_user("ann", "correct horse", Role::None, "test").unwrap();
    tracking.grant("ann", &Resource::Experiment(mine.clone()), Role::Reader, "test").unwrap();
    let ann = [("authorization", "Basic YW5uOmNvcnJlY3QgaG9yc2U=")];
    let ask = |query: &str| {
        let body = json!({"query": query}).to_string();
        let (status, answer) = server.send_with("POST", "/graphql", Some(&body), &ann);
        assert_eq!(status, 200, "{query}");
        answer
    };
    let query =
        |id: &str| format!("{{mlflowGetExperiment(input: {{experimentId: \"{id}\"}}) {{experiment {{name}}}}}}");
    assert_eq!(ask(&query(&mine))["data"]["mlflowGetExperiment"]["experiment"]["name"], "mine");
    let refused = ask(&query(&theirs));
    assert_eq!(refused["data"]["mlflowGetExperiment"], Value::Null);
    assert!(refused["errors"][0].as_str().unwrap().starts_with("Permission denied"), "{refused}");
    let search = format!("{{mlflowSearchRuns(input: {{experimentIds: [\"{theirs}\"]}}) {{runs {{info {{runId}}}}}}}}");
    assert_eq!(ask(&search)["data"]["mlflowSearchRuns"]["runs"], json!([]));
    // The page itself asks who is there, its parts need not.
    assert_eq!(server.send("GET", "/", None).0, 401);
    assert_eq!(server.send("GET", "/static-files/x.js", None).0, 404);
}
