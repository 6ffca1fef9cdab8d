//! The stage key: what a stage's result is filed under.
//!
//! Two stages with the same key would do the same work on the same bytes, so the second is never run. The name of
//! the stage and the paths of its sources do not matter; the contents do.

use plinth_core::ContentHash;
use serde_json::Value;

use crate::{KeyPart, Output};

/// Changes when the way in which keys are computed changes.
const SCHEME: &str = "plinth stage key 1";

/// The blake3 of kind, handler version, settings, inputs by content, and the handler's own parts.
pub(crate) fn stage_key<'a>(
    kind: &str,
    version: u32,
    params: &Value,
    inputs: impl IntoIterator<Item = (&'a str, &'a Output)>,
    parts: &[KeyPart],
) -> ContentHash {
    let mut list: Vec<Vec<u8>> =
        vec![SCHEME.into(), kind.into(), version.to_le_bytes().into(), canonical(params).into_bytes()];
    for (name, output) in inputs {
        list.push([b"input ", name.as_bytes()].concat());
        list.push(output.blob.as_bytes().to_vec());
    }
    let mut parts: Vec<&KeyPart> = parts.iter().collect();
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    for part in parts {
        list.push([b"part ", part.name.as_bytes()].concat());
        list.push(part.hash.as_bytes().to_vec());
    }
    ContentHash::of_parts(list.iter().map(Vec::as_slice))
}

/// JSON with sorted keys and no spaces, so that the order in a file does not matter.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::String(key.clone()), canonical(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn output(text: &str) -> Output {
        Output { name: "rows".into(), blob: ContentHash::of(text.as_bytes()), bytes: 1 }
    }

    fn part(name: &str, text: &str) -> KeyPart {
        KeyPart { name: name.into(), hash: ContentHash::of(text.as_bytes()) }
    }

    #[test]
    fn the_order_of_keys_and_parts_does_not_matter() {
        let input = output("a");
        let one =
            stage_key("load", 1, &json!({"a": 1, "b": [1, 2]}), [("data", &input)], &[part("x", "1"), part("y", "2")]);
        let two =
            stage_key("load", 1, &json!({"b": [1, 2], "a": 1}), [("data", &input)], &[part("y", "2"), part("x", "1")]);
        assert_eq!(one, two);
        assert_eq!(
            one.to_string(),
            "ec4139550358453eca7c6e7539f42aba062229e7e8505022f6b06ba81cd85d7f",
            "a key that changes here makes every cached stage run again: raise SCHEME on purpose only"
        );
    }

    #[test]
    fn everything_that_decides_the_result_changes_the_key() {
        let (a, b) = (output("a"), output("b"));
        let params = json!({"depth": 3});
        let parts = [part("plugin", "1")];
        let base = stage_key("train", 1, &params, [("data", &a)], &parts);
        for (what, key) in [
            ("kind", stage_key("load", 1, &params, [("data", &a)], &parts)),
            ("version", stage_key("train", 2, &params, [("data", &a)], &parts)),
            ("params", stage_key("train", 1, &json!({"depth": 4}), [("data", &a)], &parts)),
            ("type of a param", stage_key("train", 1, &json!({"depth": "3"}), [("data", &a)], &parts)),
            ("input", stage_key("train", 1, &params, [("data", &b)], &parts)),
            ("name of an input", stage_key("train", 1, &params, [("rows", &a)], &parts)),
            ("part", stage_key("train", 1, &params, [("data", &a)], &[part("plugin", "2")])),
            ("no part", stage_key("train", 1, &params, [("data", &a)], &[])),
        ] {
            assert_ne!(key, base, "{what}");
        }
    }
}
