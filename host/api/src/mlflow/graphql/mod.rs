//! GraphQL as MLflow's web interface asks it: one document, read against MLflow's schema, answered out of what the REST
//! routes answer the same caller.

mod execute;
mod inputs;
mod limits;
mod schema;

use async_graphql_parser::{
    Positioned, parse_query,
    types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};
use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Map, Value, json};

use self::{execute::Execution, inputs::Variables};
use super::{Call, MlflowError, Tracker, blocking, fields::Fields, guard::Caller};

/// Size of a request: the longest of the web interface has a few kilobytes.
const BODY_BYTES_MAX: usize = 1 << 20;

pub(super) fn routes() -> Router<Tracker> {
    let mut router = Router::new().route("/graphql", get(answer).post(answer));
    for prefix in super::PREFIXES {
        router = router.route(&format!("{prefix}/mlflow/graphql"), get(answer).post(answer));
    }
    router
}

async fn answer(State(tracker): State<Tracker>, request: Request) -> Result<Response, MlflowError> {
    let (mut head, body) = request.into_parts();
    let caller = head.extensions.remove::<Caller>();
    let body = tracker.intake.whole(body, BODY_BYTES_MAX).await?;
    let work = move || {
        let Caller(principal) = caller.ok_or_else(|| MlflowError::not_found("the caller is unknown"))?;
        let fields = match head.method {
            Method::GET => Fields::from_query(head.uri.query().unwrap_or_default()),
            _ => Fields::from_json(&body)?,
        };
        let tracking = tracker.tracking.by(&principal.name);
        let webhooks = &*tracker.webhooks;
        Ok(respond(&Call { tracking: &tracking, fields, principal: &principal, webhooks }))
    };
    let (status, data, errors) = match blocking(work).await? {
        Ok((data, errors)) => (StatusCode::OK, data, errors),
        Err(message) => (StatusCode::BAD_REQUEST, Value::Null, vec![message]),
    };
    let errors = if errors.is_empty() { Value::Null } else { json!(errors) };
    let body = json!({"data": data, "errors": errors}).to_string();
    Ok((status, [(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Data and errors; or why the request is no GraphQL.
fn respond(call: &Call<'_>) -> Result<(Value, Vec<String>), String> {
    let text = call.fields.required("query").map_err(|error| error.message)?;
    let name = call.fields.text("operationName").map_err(|error| error.message)?.filter(|name| !name.is_empty());
    let variables = variables(&call.fields)?;
    let refused = |errors: Vec<String>| Ok((Value::Null, errors));
    if limits::nests_too_deeply(text) {
        return refused(vec![limits::too_deep()]);
    }
    let document = parse_query(text).map_err(|error| format!("Syntax Error: {error}"))?;
    if let Err(error) = limits::check(&document) {
        return refused(vec![error]);
    }
    let operation = match operation(&document, name) {
        Ok(operation) => &operation.node,
        Err(error) => return refused(vec![error]),
    };
    let root = match operation.ty {
        OperationType::Query => &schema::QUERY,
        OperationType::Mutation => &schema::MUTATION,
        OperationType::Subscription => {
            return refused(vec!["Schema is not configured to execute subscription operation.".to_owned()]);
        }
    };
    // MLflow's own mark on operations, which means nothing here.
    if let Some(unknown) = operation.directives.iter().find(|directive| directive.node.name.node != *"component") {
        return refused(vec![format!("Unknown directive '@{}'.", unknown.node.name.node)]);
    }
    match Variables::read(&operation.variable_definitions, &variables) {
        Err(errors) => refused(errors),
        Ok(variables) => {
            let execution = Execution::new(call, &document.fragments, variables);
            Ok(execution.run(root, &operation.selection_set.node))
        }
    }
}

/// In a query, they are JSON in text.
fn variables(fields: &Fields) -> Result<Map<String, Value>, String> {
    match fields.get("variables") {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(Value::String(text)) if text.is_empty() => Ok(Map::new()),
        Some(Value::String(text)) => {
            serde_json::from_str(text).map_err(|error| format!("the variables are no JSON object: {error}"))
        }
        Some(_) => Err("the variables are no JSON object".to_owned()),
    }
}

/// The operation of that name, or the only one.
fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Result<&'a Positioned<OperationDefinition>, String> {
    let unknown = |name: &str| format!("Unknown operation named '{name}'.");
    match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => Ok(operation),
        (DocumentOperations::Single(_), Some(name)) => Err(unknown(name)),
        (DocumentOperations::Multiple(all), Some(name)) => all.get(name).ok_or_else(|| unknown(name)),
        (DocumentOperations::Multiple(all), None) => match (all.values().next(), all.len()) {
            (Some(operation), 1) => Ok(operation),
            _ => Err("Must provide operation name if query contains multiple operations.".to_owned()),
        },
    }
}
