//! Webhooks, as MLflow's clients manage them, and their delivery log, which MLflow has not.

use axum::http::Method;
use plinth_tracking::{NewWebhook, Webhook, WebhookUpdate, webhook_event};
use serde_json::{Value, json};

use super::{
    Answer, Call, MlflowError, Need, Route,
    fields::{int, wrong_type},
    page,
    wire::millis,
};

type Outcome = Result<Answer, MlflowError>;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/mlflow/webhooks", Need::Admin, create),
    Route::get("/mlflow/webhooks", Need::Admin, list),
    Route::get("/mlflow/webhooks/{webhook_id}", Need::Admin, get),
    Route::new(Method::PATCH, "/mlflow/webhooks/{webhook_id}", Need::Admin, update),
    Route::new(Method::DELETE, "/mlflow/webhooks/{webhook_id}", Need::Admin, delete),
    Route::post("/mlflow/webhooks/{webhook_id}/test", Need::Admin, test),
    Route::get("/mlflow/webhooks/{webhook_id}/deliveries", Need::Admin, deliveries),
];

/// Of one page, unless another number is asked for.
const WEBHOOKS: u64 = 100;
/// The most that may be asked for.
const WEBHOOKS_MAX: i64 = 1_000;

/// Whether a route makes events that webhooks may ask for.
pub(super) fn makes_events(route: &Route) -> bool {
    let registry = ["/mlflow/registered-models/", "/mlflow/model-versions/"];
    route.method != Method::GET && registry.iter().any(|start| route.path.starts_with(start))
}

fn create(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    let (name, url) = (fields.required("name")?, fields.required("url")?);
    if fields.list("events")?.is_empty() {
        return Err(super::fields::missing("events"));
    }
    let new = NewWebhook {
        name: name.to_owned(),
        description: fields.text_or_empty("description")?.to_owned(),
        url: url.to_owned(),
        events: events(call)?,
        secret: fields.text_or_empty("secret")?.to_owned(),
        disabled: status(call)? == Some(false),
    };
    plinth_tracking::check_webhook_name(name)?;
    call.webhooks.check_url(url)?;
    answer(&call.tracking.create_webhook(&new, call.who())?)
}

fn list(call: &Call<'_>) -> Outcome {
    // None, and 0, is a usual page to MLflow.
    let most = call.fields.int("max_results")?.filter(|most| *most != 0).unwrap_or(WEBHOOKS as i64);
    if !(1..=WEBHOOKS_MAX).contains(&most) {
        return Err(MlflowError::invalid(format!("max_results must be between 1 and {WEBHOOKS_MAX}.")));
    }
    let skip = page::start(call.fields.text("page_token")?)?;
    let (found, more) = call.tracking.webhooks(skip, most as u64)?;
    let webhooks: Vec<_> = found.iter().map(wire).collect();
    page::answer("webhooks", &webhooks, more.then_some(skip + most as u64))
}

fn get(call: &Call<'_>) -> Outcome {
    answer(&call.tracking.webhook(id(call)?)?)
}

fn update(call: &Call<'_>) -> Outcome {
    let fields = &call.fields;
    // An empty name or URL says nothing to MLflow, an empty description or secret does.
    let given = |name| Ok::<_, MlflowError>(fields.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned));
    let update = WebhookUpdate {
        name: given("name")?,
        description: fields.text("description")?.map(str::to_owned),
        url: given("url")?,
        events: Some(events(call)?).filter(|events| !events.is_empty()),
        secret: fields.text("secret")?.map(str::to_owned),
        active: status(call)?,
    };
    call.tracking.webhook(id(call)?)?;
    if let Some(url) = &update.url {
        call.webhooks.check_url(url)?;
    }
    answer(&call.tracking.update_webhook(id(call)?, &update, call.who())?)
}

fn delete(call: &Call<'_>) -> Outcome {
    call.tracking.delete_webhook(id(call)?, call.who())?;
    Ok(Answer::empty())
}

fn test(call: &Call<'_>) -> Outcome {
    let wanted = call.fields.get("event").map(event).transpose()?;
    // A handler runs off the reactor, and may wait for it.
    let runtime = tokio::runtime::Handle::current();
    let tested = call.webhooks.test(&runtime, call.tracking, id(call)?, wanted)?;
    let mut result = json!({"success": tested.success});
    if let Some(status) = tested.status {
        result["response_status"] = status.into();
        result["response_body"] = tested.body.into();
    }
    if let Some(error) = tested.error {
        result["error_message"] = error.into();
    }
    Answer::of(&json!({"result": result}))
}

fn deliveries(call: &Call<'_>) -> Outcome {
    let most = page::most(&call.fields, WEBHOOKS_MAX as u32, Some(WEBHOOKS))?;
    Answer::of(&json!({"deliveries": call.tracking.deliveries(id(call)?, most as u32)?}))
}

fn id<'a>(call: &'a Call<'_>) -> Result<&'a str, MlflowError> {
    call.fields.required("webhook_id")
}

fn events(call: &Call<'_>) -> Result<Vec<String>, MlflowError> {
    let list = call.fields.list("events")?;
    list.iter().map(|item| event(item).map(str::to_owned)).collect()
}

/// MLflow's numbers of entities and actions start at 1.
const ENTITIES: [&str; 10] = [
    "registered_model",
    "model_version",
    "model_version_tag",
    "model_version_alias",
    "prompt",
    "prompt_version",
    "prompt_tag",
    "prompt_version_tag",
    "prompt_alias",
    "budget_policy",
];
const ACTIONS: [&str; 5] = ["created", "updated", "deleted", "set", "exceeded"];

/// `{"entity": …, "action": …}`, by name or by number.
fn event(item: &Value) -> Result<&'static str, MlflowError> {
    let part = |name: &str, known: &[&'static str]| -> Result<&'static str, MlflowError> {
        let value = item.get(name).ok_or_else(|| super::fields::missing(&format!("event.{name}")))?;
        let found = match value {
            Value::String(text) => known.iter().find(|known| known.to_ascii_uppercase() == *text),
            number => int(number).and_then(|number| known.get(usize::try_from(number).ok()?.checked_sub(1)?)),
        };
        found.copied().ok_or_else(|| wrong_type(&format!("event.{name}"), value))
    };
    Ok(webhook_event(part("entity", &ENTITIES)?, part("action", &ACTIONS)?)?)
}

/// Whether a webhook is to be active.
fn status(call: &Call<'_>) -> Result<Option<bool>, MlflowError> {
    match call.fields.text("status")? {
        None => Ok(None),
        Some("ACTIVE") => Ok(Some(true)),
        Some("DISABLED") => Ok(Some(false)),
        Some(other) => {
            let shown: String = other.chars().take(100).collect();
            Err(MlflowError::invalid(format!("Invalid webhook status: '{shown}'. It must be ACTIVE or DISABLED.")))
        }
    }
}

fn answer(webhook: &Webhook) -> Outcome {
    Answer::of(&json!({"webhook": wire(webhook)}))
}

fn wire(webhook: &Webhook) -> Value {
    let event = |event: &String| {
        let (entity, action) = event.split_once('.').unwrap_or((event, ""));
        json!({"entity": entity.to_uppercase(), "action": action.to_uppercase()})
    };
    let mut wire = json!({
        "webhook_id": webhook.webhook_id,
        "name": webhook.name,
        "url": webhook.url,
        "events": webhook.events.iter().map(event).collect::<Vec<_>>(),
        "status": if webhook.active { "ACTIVE" } else { "DISABLED" },
        "creation_timestamp": millis(webhook.created),
        "last_updated_timestamp": millis(webhook.updated),
    });
    if !webhook.description.is_empty() {
        wire["description"] = webhook.description.as_str().into();
    }
    wire
}
