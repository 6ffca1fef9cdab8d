//! What MLflow's endpoints ask of the fields of a request before anything else happens, in the order in which MLflow
//! looks at them, so that the first thing wrong is the one that is told.
//!
//! Sources: MLflow's REST API documentation and the answers of an MLflow 3.17 server.

use serde_json::Value;

use super::{
    MlflowError,
    fields::{Fields, float, int, missing, wrong_type},
};

/// Of which type a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Float,
    Flag,
    List,
    Texts,
    Any,
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    name: &'static str,
    kind: Kind,
    required: bool,
}

/// Text that has to be there and not empty.
const fn must(name: &'static str) -> Rule {
    Rule { name, kind: Kind::Text, required: true }
}

/// Text, if it is there.
const fn text(name: &'static str) -> Rule {
    optional(name, Kind::Text)
}

const fn optional(name: &'static str, kind: Kind) -> Rule {
    Rule { name, kind, required: false }
}

const fn required(name: &'static str, kind: Kind) -> Rule {
    Rule { name, kind, required: true }
}

const RUN: Rule = must("run_id");
const EXPERIMENT: Rule = must("experiment_id");
const NAME: Rule = must("name");
const VERSION: Rule = must("version");
const KEY: Rule = must("key");
const VALUE: Rule = text("value");
const ALIAS: Rule = must("alias");
const FILTER: Rule = text("filter");
const PAGE: Rule = text("page_token");
const MOST: Rule = optional("max_results", Kind::Int);
const ORDER: Rule = optional("order_by", Kind::Texts);
const TAGS: Rule = optional("tags", Kind::List);

/// The fields of each endpoint below `/mlflow/`; an endpoint that is not here says itself what it needs.
const SCHEMAS: &[(&str, &[Rule])] = &[
    ("experiments/create", &[NAME, text("artifact_location"), TAGS]),
    ("experiments/get", &[EXPERIMENT]),
    ("experiments/get-by-name", &[must("experiment_name")]),
    ("experiments/delete", &[EXPERIMENT]),
    ("experiments/restore", &[EXPERIMENT]),
    ("experiments/update", &[EXPERIMENT, must("new_name")]),
    ("experiments/set-experiment-tag", &[EXPERIMENT, KEY, VALUE]),
    ("experiments/delete-experiment-tag", &[EXPERIMENT, KEY]),
    ("experiments/search", &[MOST, optional("order_by", Kind::List), FILTER, PAGE]),
    ("runs/create", &[text("experiment_id"), optional("start_time", Kind::Int), text("run_name")]),
    ("runs/update", &[RUN, optional("end_time", Kind::Int), text("run_name")]),
    ("runs/delete", &[RUN]),
    ("runs/restore", &[RUN]),
    ("runs/get", &[RUN]),
    (
        "runs/log-metric",
        &[
            RUN,
            KEY,
            required("value", Kind::Float),
            required("timestamp", Kind::Int),
            optional("step", Kind::Int),
            text("model_id"),
            text("dataset_name"),
            text("dataset_digest"),
        ],
    ),
    ("runs/log-parameter", &[RUN, KEY, VALUE]),
    ("runs/log-inputs", &[RUN, optional("datasets", Kind::List), optional("models", Kind::List)]),
    ("runs/outputs", &[RUN, required("models", Kind::List)]),
    ("runs/set-tag", &[RUN, KEY, VALUE]),
    ("runs/delete-tag", &[RUN, KEY]),
    ("runs/search", &[optional("experiment_ids", Kind::List), FILTER, MOST, ORDER]),
    ("runs/log-batch", &[RUN, optional("metrics", Kind::List), optional("params", Kind::List), TAGS]),
    ("runs/log-model", &[RUN, must("model_json")]),
    ("artifacts/list", &[RUN, text("path"), PAGE]),
    ("metrics/get-history", &[RUN, must("metric_key"), PAGE]),
    (
        "metrics/get-history-bulk-interval",
        &[
            required("run_ids", Kind::Texts),
            must("metric_key"),
            optional("start_step", Kind::Int),
            optional("end_step", Kind::Int),
            MOST,
        ],
    ),
    ("registered-models/create", &[NAME, TAGS, text("description")]),
    ("registered-models/get", &[NAME]),
    ("registered-models/update", &[NAME, text("description")]),
    ("registered-models/rename", &[NAME, must("new_name")]),
    ("registered-models/delete", &[NAME]),
    ("registered-models/search", &[FILTER, MOST, ORDER, PAGE]),
    ("registered-models/get-latest-versions", &[NAME, optional("stages", Kind::Texts)]),
    ("registered-models/set-tag", &[NAME, KEY, VALUE]),
    ("registered-models/delete-tag", &[NAME, KEY]),
    (
        "model-versions/create",
        &[NAME, must("source"), text("run_id"), TAGS, text("run_link"), text("description"), text("model_id")],
    ),
    ("model-versions/get", &[NAME, VERSION]),
    ("model-versions/update", &[NAME, VERSION, text("description")]),
    (
        "model-versions/transition-stage",
        &[NAME, VERSION, must("stage"), optional("archive_existing_versions", Kind::Flag)],
    ),
    ("model-versions/delete", &[NAME, VERSION]),
    ("model-versions/search", &[FILTER, MOST, ORDER, PAGE]),
    ("model-versions/set-tag", &[NAME, VERSION, KEY, VALUE]),
    ("model-versions/delete-tag", &[NAME, VERSION, KEY]),
    ("traces/search", &[FILTER, MOST, ORDER, PAGE]),
    (
        "traces/calculate-filter-correlation",
        &[required("experiment_ids", Kind::Texts), must("filter_string1"), must("filter_string2"), text("base_filter")],
    ),
    (
        "traces/delete-traces",
        &[
            EXPERIMENT,
            optional("max_timestamp_millis", Kind::Int),
            optional("max_traces", Kind::Int),
            optional("request_ids", Kind::Texts),
        ],
    ),
    ("traces/link-to-run", &[required("trace_ids", Kind::Texts), RUN]),
    ("traces/link-prompts", &[must("trace_id"), required("prompt_versions", Kind::List)]),
    (
        "logged-models/search",
        &[
            required("experiment_ids", Kind::Texts),
            FILTER,
            optional("datasets", Kind::List),
            MOST,
            optional("order_by", Kind::List),
            PAGE,
        ],
    ),
];

/// The rules of a route with this method and path below the API's prefix. Three nouns hang on one path and differ by
/// their method.
pub(super) fn of(method: &axum::http::Method, path: &str) -> &'static [Rule] {
    use axum::http::Method;
    let path = path.strip_prefix("/mlflow/").unwrap_or(path);
    match (method, path) {
        (&Method::POST, "registered-models/alias") => return &[NAME, ALIAS, VERSION],
        (_, "registered-models/alias") => return &[NAME, ALIAS],
        (&Method::POST, "logged-models") => {
            const CREATE: &[Rule] = &[
                EXPERIMENT,
                text("name"),
                text("model_type"),
                text("source_run_id"),
                optional("params", Kind::List),
                TAGS,
            ];
            return CREATE;
        }
        (&Method::PATCH, "logged-models/{model_id}") => {
            const FINALIZE: &[Rule] = &[must("model_id"), required("status", Kind::Any)];
            return FINALIZE;
        }
        _ => {}
    }
    SCHEMAS.iter().find(|(name, _)| *name == path).map_or(&[], |(_, rules)| *rules)
}

/// Refuses the first field that is missing or of the wrong type.
pub(super) fn check(rules: &[Rule], fields: &Fields) -> Result<(), MlflowError> {
    for rule in rules {
        let value = match fields.get(rule.name) {
            None if rule.name == "run_id" => fields.get("run_uuid"),
            value => value,
        };
        match value {
            None if rule.required => return Err(missing(rule.name)),
            None => {}
            // A query has texts alone; what they mean is read by the handler.
            Some(Value::String(text)) if rule.required && text.is_empty() => return Err(missing(rule.name)),
            Some(Value::Array(list)) if rule.required && rule.kind == Kind::Texts && list.is_empty() => {}
            Some(value) if !fits(rule.kind, value, fields.is_query()) => {
                return Err(wrong_type(rule.name, value));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn fits(kind: Kind, value: &Value, query: bool) -> bool {
    match kind {
        Kind::Any => true,
        Kind::Text => value.is_string() || value.is_array() && query,
        Kind::Int => int(value).is_some(),
        Kind::Float => float(value).is_some(),
        Kind::Flag => value.is_boolean() || query,
        Kind::List => value.is_array() || query,
        Kind::Texts => {
            query || value.as_array().is_some_and(|list| list.iter().all(|item| item.is_string() || item.is_number()))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    fn told(path: &str, body: &str) -> Option<String> {
        let fields = Fields::from_json(body.as_bytes()).unwrap();
        let error = check(of(&Method::POST, path), &fields).err()?;
        Some(error.message.replace(" See the API docs for more information about request parameters.", ""))
    }

    #[test]
    fn the_first_field_that_is_wrong_is_told() {
        let path = "/mlflow/runs/log-metric";
        assert_eq!(told(path, "{}").unwrap(), "Missing value for required parameter 'run_id'.");
        assert_eq!(told(path, r#"{"run_uuid": "r"}"#).unwrap(), "Missing value for required parameter 'key'.");
        assert_eq!(
            told(path, r#"{"run_id": "r", "key": 5, "value": "x"}"#).unwrap(),
            "Invalid value 5 for parameter 'key' supplied:  Hint: Value was of type 'int'."
        );
        assert_eq!(told(path, r#"{"run_id": "r", "key": "k", "value": "NaN", "timestamp": "1"}"#), None);
    }

    #[test]
    fn every_schema_belongs_to_a_route() {
        for (path, _) in SCHEMAS {
            let known =
                super::super::ROUTES.iter().copied().flatten().any(|route| route.path == format!("/mlflow/{path}"));
            assert!(known, "{path}");
        }
    }
}
