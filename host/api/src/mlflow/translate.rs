//! What other libraries' conventions call what MLflow's clients look for: OpenTelemetry's for generative AI,
//! OpenInference's. And the previews of requests and responses that lists of traces show.

use plinth_tracking::spaced_json;
use serde_json::{Map, Value, json};

pub(super) const INPUTS: &str = "mlflow.spanInputs";
pub(super) const OUTPUTS: &str = "mlflow.spanOutputs";
pub(super) const KIND: &str = "mlflow.spanType";
pub(super) const USAGE: &str = "mlflow.chat.tokenUsage";
pub(super) const COST: &str = "mlflow.llm.cost";
const MODEL: &str = "mlflow.llm.model";
const PROVIDER: &str = "mlflow.llm.provider";
const TOOLS: &str = "mlflow.chat.tools";

/// Length of a preview.
const PREVIEW_CHARS: usize = 1_000;

/// Names of one convention.
struct Convention {
    kind: &'static str,
    kinds: &'static [(&'static str, &'static str)],
    tokens_in: &'static str,
    tokens_out: &'static str,
    tokens_total: &'static str,
    cache_read: &'static [&'static str],
    cache_write: &'static [&'static str],
    inputs: &'static [&'static str],
    outputs: &'static [&'static str],
    model: &'static [&'static str],
    provider: &'static str,
    tools: &'static [&'static str],
}

const CONVENTIONS: [Convention; 2] = [
    Convention {
        kind: "openinference.span.kind",
        kinds: &[
            ("TOOL", "TOOL"),
            ("CHAIN", "CHAIN"),
            ("LLM", "LLM"),
            ("RETRIEVER", "RETRIEVER"),
            ("EMBEDDING", "EMBEDDING"),
            ("AGENT", "AGENT"),
            ("RERANKER", "RERANKER"),
            ("UNKNOWN", "UNKNOWN"),
            ("GUARDRAIL", "GUARDRAIL"),
            ("EVALUATOR", "EVALUATOR"),
        ],
        tokens_in: "llm.token_count.prompt",
        tokens_out: "llm.token_count.completion",
        tokens_total: "llm.token_count.total",
        cache_read: &["llm.token_count.prompt_details.cache_read"],
        cache_write: &["llm.token_count.prompt_details.cache_write"],
        inputs: &["input.value"],
        outputs: &["output.value"],
        model: &["llm.response.model_name", "llm.model_name", "llm.request.model_name", "embedding.model_name"],
        provider: "llm.provider",
        tools: &[],
    },
    Convention {
        kind: "gen_ai.operation.name",
        kinds: &[
            ("chat", "CHAT_MODEL"),
            ("create_agent", "AGENT"),
            ("embeddings", "EMBEDDING"),
            ("execute_tool", "TOOL"),
            ("generate_content", "LLM"),
            ("invoke_agent", "AGENT"),
            ("text_completion", "LLM"),
            ("response", "LLM"),
        ],
        tokens_in: "gen_ai.usage.input_tokens",
        tokens_out: "gen_ai.usage.output_tokens",
        tokens_total: "",
        cache_read: &["gen_ai.usage.cache_read.input_tokens"],
        cache_write: &["gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"],
        inputs: &["gen_ai.input.messages", "gen_ai.tool.call.arguments"],
        outputs: &["gen_ai.output.messages", "gen_ai.tool.call.result"],
        model: &["gen_ai.response.model", "gen_ai.request.model"],
        provider: "gen_ai.provider.name",
        tools: &["gen_ai.tool.definitions"],
    },
];

/// The value of an attribute: attributes are kept as JSON in a text.
pub(super) fn decoded(attributes: &Map<String, Value>, key: &str) -> Option<Value> {
    let text = attributes.get(key)?.as_str()?;
    Some(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)))
}

/// An attribute's text, without its quotes.
pub(super) fn plain(attributes: &Map<String, Value>, key: &str) -> Option<String> {
    match decoded(attributes, key)? {
        Value::String(text) => Some(text),
        other => Some(spaced_json(&other)),
    }
}

/// Adds MLflow's attributes for what other conventions say, where they are not there.
pub(super) fn translate(attributes: &mut Map<String, Value>) {
    for convention in &CONVENTIONS {
        let kind = decoded(attributes, convention.kind);
        let kind = kind.as_ref().and_then(Value::as_str);
        let known = convention.kinds.iter().find(|(theirs, _)| Some(*theirs) == kind);
        if let Some((_, ours)) = known
            && decoded(attributes, KIND).is_none_or(|kind| kind == "UNKNOWN")
        {
            attributes.insert(KIND.to_owned(), format!("\"{ours}\"").into());
        }
        for (key, names) in [(INPUTS, convention.inputs), (OUTPUTS, convention.outputs), (TOOLS, convention.tools)] {
            if let Some(value) =
                names.iter().find_map(|name| attributes.get(*name).filter(|value| says(value))).cloned()
            {
                attributes.entry(key).or_insert(value);
            }
        }
        if !attributes.contains_key(USAGE)
            && let Some(usage) = usage(attributes, convention)
        {
            attributes.insert(USAGE.to_owned(), spaced_json(&usage).into());
        }
        let model = convention.model.iter().find_map(|name| attributes.get(*name).filter(|value| says(value))).cloned();
        if let Some(model) = model {
            attributes.entry(MODEL).or_insert(model);
        }
        if let Some(provider) = attributes.get(convention.provider).filter(|value| says(value)).cloned() {
            attributes.entry(PROVIDER).or_insert(provider);
        }
    }
    // Requests to a model commonly name it.
    if !attributes.contains_key(MODEL) {
        let named = [INPUTS, OUTPUTS]
            .iter()
            .find_map(|key| decoded(attributes, key)?.get("model")?.as_str().map(str::to_owned));
        if let Some(model) = named.filter(|model| !model.is_empty()) {
            attributes.insert(MODEL.to_owned(), spaced_json(&Value::from(model)).into());
        }
    }
}

/// Whether an attribute says anything.
fn says(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    !matches!(text, "" | "null" | "\"\"" | "[]" | "{}" | "0" | "false")
}

fn usage(attributes: &Map<String, Value>, convention: &Convention) -> Option<Value> {
    let count = |name: &str| match decoded(attributes, name)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let (input, output) = (count(convention.tokens_in), count(convention.tokens_out));
    let total = count(convention.tokens_total).or_else(|| input?.checked_add(output?));
    input.or(output).or(total)?;
    let parts = [
        ("input_tokens", input),
        ("output_tokens", output),
        ("total_tokens", total),
        ("cache_read_input_tokens", convention.cache_read.iter().find_map(|name| count(name))),
        ("cache_creation_input_tokens", convention.cache_write.iter().find_map(|name| count(name))),
    ];
    let known = parts.into_iter().filter_map(|(name, count)| Some((name.to_owned(), json!(count?))));
    Some(Value::Object(known.collect()))
}

/// The start of a request or a response; of a conversation, its last message of that role.
pub(super) fn preview(text: &str, role: &str) -> String {
    let document: Option<Value> = serde_json::from_str(text).ok();
    let said = document.as_ref().and_then(messages).and_then(|messages| {
        let of_role = messages.iter().rev().find(|message| message["role"] == role);
        said(of_role.or(messages.last())?)
    });
    let whole = said.filter(|said| !said.is_empty()).unwrap_or_else(|| text.to_owned());
    match whole.char_indices().nth(PREVIEW_CHARS) {
        None => whole,
        Some(_) => whole.chars().take(PREVIEW_CHARS - 3).chain("...".chars()).collect(),
    }
}

/// Messages of a request or a response in the forms that OpenAI's interfaces have.
fn messages(document: &Value) -> Option<Vec<&Value>> {
    let is_message = |item: &&Value| item.get("role").is_some() && item.get("content").is_some();
    let list = |name: &str| document.get(name).and_then(Value::as_array).filter(|list| !list.is_empty());
    if let Some(messages) = list("messages") {
        return Some(messages.iter().filter(is_message).collect());
    }
    if let Some(message) = list("choices").and_then(|choices| choices[0].get("message")).filter(is_message) {
        return Some(vec![message]);
    }
    if let Some(messages) = list("input").or_else(|| list("output")) {
        return Some(messages.iter().filter(is_message).collect());
    }
    messages(document.get("request")?)
}

fn said(message: &Value) -> Option<String> {
    match message.get("content")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().find_map(|part| match part {
            Value::String(text) => Some(text.clone()),
            part if matches!(part["type"].as_str(), Some("text" | "output_text")) => {
                part["text"].as_str().map(str::to_owned)
            }
            _ => None,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conventions_are_translated_where_nothing_is_said() {
        let mut attributes = json!({
            "gen_ai.operation.name": "\"chat\"", "gen_ai.usage.input_tokens": "3", "gen_ai.usage.output_tokens": "\"4\"",
            "gen_ai.request.model": "\"gpt\"", "gen_ai.input.messages": "[1]", "mlflow.spanOutputs": "\"mine\"",
            "gen_ai.output.messages": "[2]",
        });
        let attributes = attributes.as_object_mut().unwrap();
        translate(attributes);
        assert_eq!(attributes[KIND], "\"CHAT_MODEL\"");
        assert_eq!(attributes[USAGE], r#"{"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}"#);
        assert_eq!((&attributes[INPUTS], &attributes[OUTPUTS]), (&json!("[1]"), &json!("\"mine\"")));
        assert_eq!(plain(attributes, MODEL).as_deref(), Some("gpt"));
    }

    #[test]
    fn a_preview_is_the_last_message_or_the_start_of_the_text() {
        let asked = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c"}]}"#;
        assert_eq!((preview(asked, "user").as_str(), preview(asked, "system").as_str()), ("b", "c"));
        assert_eq!(preview("{\"x\": 1}", "user"), "{\"x\": 1}");
        let long = preview(&"é".repeat(2_000), "user");
        assert_eq!((long.chars().count(), long.ends_with("...")), (1_000, true));
    }
}
