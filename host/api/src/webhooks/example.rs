//! What a test sends: of each event an example.

use serde_json::{Value, json};

/// The data of an event as it might be.
pub(super) fn of(event: &str) -> Value {
    let (entity, action) = event.split_once('.').unwrap_or((event, ""));
    let prompt = entity.starts_with("prompt");
    let kind = if prompt { "prompt" } else { "model" };
    let name = format!("example_{kind}");
    let (tags, key) = (json!({"example_key": "example_value"}), "example_key");
    let set = action == "set";
    let mut data = match entity {
        "registered_model" => json!({"name": name, "tags": tags, "description": "An example registered model"}),
        "prompt" => json!({"name": name, "tags": tags, "description": "An example prompt"}),
        "model_version" => json!({
            "name": name, "version": "1", "source": "models:/123", "run_id": "abcd1234abcd5678", "tags": tags,
            "description": "An example model version",
        }),
        "prompt_version" => json!({
            "name": name, "version": "1", "template": "Hello {{name}}!", "tags": tags,
            "description": "An example prompt version",
        }),
        "model_version_tag" | "prompt_version_tag" => json!({"name": name, "version": "1", "key": key}),
        "prompt_tag" => json!({"name": name, "key": key}),
        "model_version_alias" | "prompt_alias" => json!({"name": name, "alias": "example_alias"}),
        _ => json!({
            "budget_policy_id": "bp-abc123", "budget_unit": "USD", "budget_amount": 100.0, "current_spend": 105.5,
            "duration_unit": "MONTHS", "duration_value": 1, "target_scope": "ENDPOINT", "workspace": "default",
            "target_value": "ep-abc123", "window_start": 1_704_067_200_000_i64,
        }),
    };
    if set {
        data["value"] = "example_value".into();
    }
    if entity.ends_with("_alias") && action == "created" {
        data["version"] = "1".into();
    }
    data
}
