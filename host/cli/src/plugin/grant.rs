//! `plinth plugin grant`: what a plugin may do, written into `plinth.toml`; everything else in the file stays as it is.

use std::{path::Path, process::ExitCode};

use plinth_core::{codes, did_you_mean};
use plinth_plugin::Grants;
use serde_json::json;
use toml_edit::{Array, DocumentMut, Item, Table, Value, value};

use super::{args::PluginGrantArgs, component_of};
use crate::{
    config::{self, Settings},
    output::{Failure, Output, io_failure, read_failure},
    plugins::{PluginRef, is_path, key},
};

/// `plinth plugin grant`
pub(super) fn grant(args: &PluginGrantArgs, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let known = Grants::known();
    if let Some(unknown) = args.capabilities.iter().find(|name| !known.contains(&name.as_str())) {
        let message = format!("there is no capability `{unknown}`");
        return Err(Failure::new(codes::USAGE, message).hint(did_you_mean(unknown, known.iter().copied())));
    }
    // A project's folder stands for its component, here as everywhere.
    let named = component_of(&args.plugin)?;
    let there = PluginRef::named(&named).find(settings);
    let named = match &there {
        Ok(found) => found.name.clone(),
        // What was granted to a file that is gone can be taken back; a line for one that never was would be for another one.
        Err(_) if is_path(&named) && args.revoke => key(settings, &named, Path::new(&named)),
        Err(error) if is_path(&named) => return Err(Failure::of(error)),
        Err(_) => named,
    };
    let path = settings.project.join("plinth.toml");
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(read_failure(&path, &error)),
    };
    let bad = |message: String| Failure::new(codes::BAD_CONFIG, format!("{}: {message}", path.display()));
    let mut document: DocumentMut = before.parse().map_err(|error: toml_edit::TomlError| bad(error.to_string()))?;
    let root = document.as_table_mut();
    let plugins = root.entry("plugins").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let plugins = plugins.as_table_like_mut().ok_or_else(|| bad("`plugins` is no table".into()))?;
    let plugin = plugins.entry(&named).or_insert_with(|| Item::Table(Table::new()));
    let plugin = plugin.as_table_like_mut().ok_or_else(|| bad(format!("`plugins.{named}` is no table")))?;
    change(plugin.entry("grant").or_insert_with(|| value(Array::new())), &args.capabilities, args.revoke)
        .ok_or_else(|| bad("`grant` is no list".into()))?;
    // Or a later grant would bring back the hosts, models, secrets and room of this one.
    let ends = |group: &str| args.revoke && args.capabilities.iter().any(|name| name == group);
    for group in ["http", "nn", "secrets", "kv"].into_iter().filter(|group| ends(group)) {
        plugin.remove(group);
    }
    for (group, key, values) in
        [("http", "hosts", &args.host), ("http", "private", &args.private), ("http", "methods", &args.method)]
    {
        if !values.is_empty() && !ends(group) {
            let group = sub(plugin, group).ok_or_else(|| bad(format!("`{group}` is no table")))?;
            change(group.entry(key).or_insert_with(|| value(Array::new())), values, args.revoke)
                .ok_or_else(|| bad(format!("`{key}` is no list")))?;
        }
    }
    for (option, pairs) in [("--model", &args.model), ("--secret", &args.secret)] {
        for pair in pairs {
            let (name, what) = pair.split_once('=').ok_or_else(|| {
                Failure::new(codes::USAGE, format!("`{pair}` is no NAME=VALUE"))
                    .hint(format!("write {option} NAME=VALUE"))
            })?;
            if ends(if option == "--model" { "nn" } else { "secrets" }) {
                continue;
            }
            let table = match option {
                "--model" => sub(plugin, "nn").and_then(|nn| sub(nn, "models")),
                _ => sub(plugin, "secrets"),
            };
            let table = table.ok_or_else(|| bad(format!("what {option} sets is no table")))?;
            match args.revoke {
                true => drop(table.remove(name)),
                false => drop(table.insert(name, value(what))),
            }
        }
    }
    if let Some(bytes) = args.kv_bytes {
        let kv = sub(plugin, "kv").ok_or_else(|| bad("`kv` is no table".into()))?;
        kv.insert("bytes", value(i64::try_from(bytes).unwrap_or(i64::MAX)));
    }
    let after = document.to_string();
    // What would not be read again is not written.
    config::check_text(&after).map_err(bad)?;
    let beside = path.with_extension(format!("toml.{}", std::process::id()));
    std::fs::write(&beside, &after)
        .and_then(|()| std::fs::rename(&beside, &path))
        .map_err(|error| io_failure(&path.display().to_string(), &error))?;
    if there.is_err() && !args.revoke {
        output.say(format!("note: there is no plugin `{named}` yet; the line is for one of that name"));
    }
    let granted: Vec<String> = document["plugins"][named.as_str()]["grant"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    output
        .data(&json!({"plugin": named, "granted": granted, "file": path}), || {
            let list = if granted.is_empty() { "nothing".to_owned() } else { granted.join(", ") };
            format!("{named} may use {list} ({})\n", path.display())
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// A table below another, which is made if it is not there.
fn sub<'a>(table: &'a mut dyn toml_edit::TableLike, name: &str) -> Option<&'a mut dyn toml_edit::TableLike> {
    // Inline, so that a line added is all that changes.
    let fresh = || value(toml_edit::InlineTable::new());
    table.entry(name).or_insert_with(fresh).as_table_like_mut()
}

/// Adds texts to a list, or takes them out; nothing if it is no list.
fn change(list: &mut Item, texts: &[String], revoke: bool) -> Option<()> {
    let list = list.as_array_mut()?;
    for text in texts {
        let there = list.iter().position(|value: &Value| value.as_str() == Some(text));
        match (there, revoke) {
            (Some(at), true) => drop(list.remove(at)),
            (None, false) => list.push(text.as_str()),
            _ => {}
        }
    }
    list.fmt();
    Some(())
}
