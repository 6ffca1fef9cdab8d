//! `plinth model`: registered models, their versions, aliases, tags and stages.

use std::process::ExitCode;

use plinth_core::{codes, did_you_mean, refs::ModelRef};
use plinth_tracking::{
    AliasMove, Model, ModelVersion, RegisteredModel, RegistrySearch, STAGES, Tracking, TrackingError, VersionRecord,
};
use serde_json::{Value, json};

use super::{
    args::{AliasCommand, ModelCommand, SearchArgs, TagArgs, VersionCommand},
    confirm, names, page, print,
    register::register,
    show,
};
use crate::{
    access::operator,
    host::Host,
    models::day,
    output::{Failure, Output, table},
};

/// `plinth model`
pub(crate) fn model(command: &ModelCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let who = &operator();
    let tracking = &host.tracking().by(who);
    match command {
        ModelCommand::List { limit } => list(tracking, *limit, output),
        ModelCommand::Search { search } => {
            let found = tracking.search_models(&registry_search(search)?)?;
            let value = page::json("models", found.items.iter().map(json_of), found.next);
            let code = print(output, &value, || {
                if found.items.is_empty() {
                    return "no model matches\n".into();
                }
                let rows = found.items.iter().map(|model| {
                    let aliases = model.aliases.iter().map(|alias| format!("{} -> v{}", alias.alias, alias.version));
                    let own = show::own_tags(model.tags.iter().map(|(key, value)| (key, value)));
                    vec![
                        model.name.clone(),
                        aliases.collect::<Vec<_>>().join(", "),
                        day(model.updated),
                        own.join(", "),
                        show::head(&model.description, 60),
                    ]
                });
                table(["model", "aliases", "changed", "tags", "description"], rows)
            })?;
            page::more(output, found.next);
            Ok(code)
        }
        ModelCommand::Show { model, .. } if model.starts_with("models:/") => {
            show_version(tracking, model, None, output)
        }
        ModelCommand::Show { model, limit } => show_model(tracking, model, *limit, output),
        ModelCommand::Version(VersionCommand::Show { model, version }) => {
            show_version(tracking, model, *version, output)
        }
        ModelCommand::Version(VersionCommand::Search { search }) => search_versions(tracking, search, output),
        ModelCommand::Promote { name, version, alias } => move_alias(tracking, name, *version, alias, output),
        ModelCommand::Alias(command) => alias(tracking, command, who, output),
        ModelCommand::Tag { model, tags } => tag(tracking, model, tags, who, output),
        ModelCommand::Register(args) => register(args, host, output),
        ModelCommand::Stage { name, version, stage, archive } => {
            let (name, version) = names::version(tracking, name, Some(*version))?;
            if !STAGES.iter().any(|known| known.eq_ignore_ascii_case(stage)) {
                return Err(
                    Failure::new(codes::USAGE, format!("`{stage}` is no stage")).hint(did_you_mean(stage, STAGES))
                );
            }
            let now = tracking.transition(&name, version, stage, *archive, who)?;
            print(output, &record(&now), || format!("models:/{name}/{version} is in stage {} now\n", now.stage))
        }
        ModelCommand::Delete { model, force, yes } if model.starts_with("models:/") => {
            let (name, version) = names::version(tracking, model, None)?;
            not_served(tracking, &name, Some(version), *force)?;
            confirm(yes.yes, &format!("delete models:/{name}/{version} for good"))?;
            tracking.delete_version(&name, version, who)?;
            let value = json!({"deleted": format!("models:/{name}/{version}")});
            print(output, &value, || format!("deleted models:/{name}/{version}\n"))
        }
        ModelCommand::Delete { model, force, yes } => {
            names::known_model(tracking, model)?;
            not_served(tracking, model, None, *force)?;
            let versions = tracking.model(model)?.versions.len();
            confirm(yes.yes, &format!("delete model `{model}` with its {versions} versions for good"))?;
            tracking.delete_model(model, who)?;
            let value = json!({"deleted": format!("models:/{model}")});
            print(output, &value, || format!("deleted model `{model}`\n"))
        }
    }
}

/// What endpoints serve is not deleted by the way.
fn not_served(tracking: &Tracking, name: &str, version: Option<u64>, force: bool) -> Result<(), Failure> {
    let endpoints = if force { Vec::new() } else { tracking.endpoints_of(name, version)? };
    if endpoints.is_empty() {
        return Ok(());
    }
    let what = version.map_or_else(|| format!("model `{name}`"), |version| format!("models:/{name}/{version}"));
    let message = format!(
        "{what} answers for {}",
        endpoints.iter().map(|e| format!("endpoint `{e}`")).collect::<Vec<_>>().join(", ")
    );
    Err(Failure::new(codes::INVALID_STATE, message)
        .hint("let another version answer first (`plinth endpoint deploy`), or add --force"))
}

fn registry_search(search: &SearchArgs) -> Result<RegistrySearch, Failure> {
    Ok(RegistrySearch {
        filter: search.filter.clone(),
        order_by: search.order_by.clone(),
        only: None,
        skip: page::skip(&search.page)?,
        most: u64::from(search.page.limit),
    })
}

fn list(tracking: &Tracking, limit: u32, output: Output) -> Result<ExitCode, Failure> {
    let search = RegistrySearch { most: u64::from(limit), ..RegistrySearch::default() };
    let found = tracking.search_models(&search)?;
    page::cut(output, found.next.is_some(), "plinth model search");
    let models =
        found.items.iter().map(|model| tracking.model(&model.name)).collect::<Result<Vec<Model>, TrackingError>>()?;
    print(output, &json!(models), || {
        if models.is_empty() {
            return "nothing is registered yet: `plinth run` registers a model when its gates let it through\n".into();
        }
        let rows = models.iter().map(|model| {
            let newest = model.versions.last().map_or_else(|| "-".to_owned(), |version| format!("v{version}"));
            vec![model.name.clone(), newest, aliases(model), day(model.created)]
        });
        table(["model", "newest", "aliases", "since"], rows)
    })
}

fn show_model(tracking: &Tracking, name: &str, limit: u32, output: Output) -> Result<ExitCode, Failure> {
    names::known_model(tracking, name)?;
    let (found, head) = (tracking.model(name)?, tracking.registered_model(name)?);
    let first = found.versions.len().saturating_sub(limit as usize);
    let versions = found.versions[first..]
        .iter()
        .map(|&version| whole(tracking, name, version))
        .collect::<Result<Vec<_>, Failure>>()?;
    let value = json!({
        "name": found.name,
        "description": found.description,
        "aliases": found.aliases,
        "created": found.created,
        "updated": head.updated,
        "tags": show::tags(&head.tags),
        "version_count": found.versions.len(),
        "versions": versions.iter().map(|(version, record)| version_json(version, record)).collect::<Value>(),
    });
    print(output, &value, || {
        let mut text = String::new();
        if !found.description.is_empty() {
            text.push_str(&format!("{}\n", found.description.trim_end()));
        }
        text.push_str(&show::part("tags", head.tags.iter().map(|(key, value)| format!("{key} = {value}"))));
        let rows = versions.iter().rev().map(|(version, record)| {
            vec![
                format!("v{}", version.version),
                version.aliases.join(", "),
                stage(record),
                trainer(version),
                measured(&version.spec["metrics"]),
                day(version.created),
                version.run_id.clone().unwrap_or_default(),
            ]
        });
        text.push_str(&table(["version", "aliases", "stage", "trainer", "measured", "made", "run"], rows));
        if first > 0 {
            text.push_str(&format!("and {first} older versions: `plinth model version search \"name = '{name}'\"`\n"));
        }
        text
    })
}

fn show_version(tracking: &Tracking, word: &str, number: Option<u64>, output: Output) -> Result<ExitCode, Failure> {
    let (name, version) = names::version(tracking, word, number)?;
    let (version, record) = whole(tracking, &name, version)?;
    print(output, &version_json(&version, &record), || {
        let aliases = version.aliases.iter().map(|alias| format!("@{alias}")).collect::<Vec<_>>().join(" ");
        let mut text = format!("{}\n", format!("{} {aliases}", version.reference()).trim_end());
        let known = version.spec["model"].is_object();
        if known {
            text.push_str(&format!("  trainer {}, {}\n", trainer(&version), measured(&version.spec["metrics"])));
        }
        let component = &version.spec["component"];
        if let (Some(item), Some(plugin)) = (component["item"].as_str(), component["plugin"].as_str()) {
            let about = component["version"].as_str().unwrap_or_default();
            text.push_str(&format!("  a component: {item} of {plugin} {about}, options {}\n", component["options"]));
        }
        let run = version.run_id.as_deref().filter(|run| !run.is_empty()).unwrap_or("-");
        text.push_str(&format!("  made {} by run {run}\n", day(version.created)));
        if record.stage != "None" {
            text.push_str(&format!("  stage {}\n", record.stage));
        }
        if !record.source.is_empty() {
            text.push_str(&format!("  source {}\n", record.source));
        }
        if record.status != "READY" {
            text.push_str(&format!("  {} {}\n", record.status, record.status_message));
        }
        if !record.description.is_empty() {
            text.push_str(&format!("  {}\n", record.description.trim_end()));
        }
        text.push_str(&show::part("tags", record.tags.iter().map(|(key, value)| format!("{key} = {value}"))));
        if !version.files.is_empty() {
            let rows = version.files.iter().map(|file| {
                vec![file.role.name().to_owned(), file.path.clone(), file.hash.to_hex(), file.bytes.to_string()]
            });
            text.push_str(&table(["role", "file", "blake3", "bytes"], rows));
        }
        text
    })
}

fn search_versions(tracking: &Tracking, search: &SearchArgs, output: Output) -> Result<ExitCode, Failure> {
    let mut found = tracking.search_versions(&registry_search(search)?)?;
    // A search leaves out what points at a version.
    for version in &mut found.items {
        version.aliases = tracking.version(&version.model, version.version)?.aliases;
    }
    let value = page::json("versions", found.items.iter().map(record), found.next);
    let code = print(output, &value, || {
        if found.items.is_empty() {
            return "no version matches\n".into();
        }
        let rows = found.items.iter().map(|version| {
            vec![
                version.model.clone(),
                format!("v{}", version.version),
                version.aliases.join(", "),
                stage(version),
                day(version.created),
                version.run_id.clone().unwrap_or_default(),
            ]
        });
        table(["model", "version", "aliases", "stage", "made", "run"], rows)
    })?;
    page::more(output, found.next);
    Ok(code)
}

fn alias(tracking: &Tracking, command: &AliasCommand, who: &str, output: Output) -> Result<ExitCode, Failure> {
    match command {
        AliasCommand::Set { name, alias, version } => move_alias(tracking, name, *version, alias, output),
        AliasCommand::Delete { name, alias } => {
            names::known_model(tracking, name)?;
            let known = tracking.model(name)?.aliases;
            if !known.iter().any(|known| known.alias == *alias) {
                let hint = did_you_mean(alias, known.iter().map(|alias| alias.alias.as_str()));
                let message = format!("model `{name}` has no alias `{alias}`");
                return Err(Failure::new(codes::MODEL_NOT_FOUND, message).hint(hint));
            }
            tracking.delete_alias(name, alias, who)?;
            let value = json!({"deleted": format!("models:/{name}@{alias}")});
            print(output, &value, || format!("models:/{name}@{alias} names nothing any more\n"))
        }
        AliasCommand::Words(words) => match &words[..] {
            [name, alias, version] if version.parse::<u64>().is_ok() => {
                move_alias(tracking, name, version.parse().unwrap_or_default(), alias, output)
            }
            words => {
                let word = words.first().map_or("", String::as_str);
                Err(Failure::new(codes::USAGE, format!("`{word}` is neither `set` nor `delete`"))
                    .hint("write `plinth model alias set NAME ALIAS VERSION`"))
            }
        },
    }
}

fn move_alias(tracking: &Tracking, name: &str, version: u64, alias: &str, output: Output) -> Result<ExitCode, Failure> {
    names::version(tracking, name, Some(version))?;
    tracking.check_new_alias(alias)?;
    tracking.set_alias(&AliasMove {
        model: name,
        alias,
        version,
        principal: &operator(),
        reason: "set on the command line",
        evidence: None,
    })?;
    print(output, &json!({"model": name, "alias": alias, "version": version}), || {
        format!("models:/{name}@{alias} is version {version} now\n")
    })
}

fn tag(tracking: &Tracking, word: &str, tags: &TagArgs, who: &str, output: Output) -> Result<ExitCode, Failure> {
    let TagArgs { set, remove } = tags;
    let (reference, now) = if word.starts_with("models:/") {
        let (name, version) = names::version(tracking, word, None)?;
        let reference = format!("models:/{name}/{version}");
        missing(&tracking.version(&name, version)?.tags, remove, &reference)?;
        for (key, value) in set {
            tracking.set_version_tag(&name, version, key, value, who)?;
        }
        for key in remove {
            tracking.delete_version_tag(&name, version, key, who)?;
        }
        (reference, tracking.version(&name, version)?.tags)
    } else {
        names::known_model(tracking, word)?;
        missing(&tracking.registered_model(word)?.tags, remove, &format!("model `{word}`"))?;
        for (key, value) in set {
            tracking.set_model_tag(word, key, value, who)?;
        }
        for key in remove {
            tracking.delete_model_tag(word, key, who)?;
        }
        (format!("models:/{word}"), tracking.registered_model(word)?.tags)
    };
    print(output, &json!({"model": reference, "tags": show::tags(&now)}), || {
        let tags = now.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        format!("tags of {reference}: {}\n", tags.join(", "))
    })
}

/// The registry takes it calmly; a person had better know of a slip.
fn missing(tags: &[(String, String)], remove: &[String], owner: &str) -> Result<(), Failure> {
    let Some(key) = remove.iter().find(|key| !tags.iter().any(|(known, _)| known == *key)) else { return Ok(()) };
    let hint = did_you_mean(key, tags.iter().map(|(key, _)| key.as_str()));
    Err(Failure::new(codes::TAG_NOT_FOUND, format!("{owner} has no tag `{key}`")).hint(hint))
}

/// A version: what it is, and what people say of it.
fn whole(tracking: &Tracking, name: &str, version: u64) -> Result<(ModelVersion, VersionRecord), Failure> {
    let found = tracking.resolve(&ModelRef::Version { name: name.to_owned(), version })?;
    Ok((found, tracking.version(name, version)?))
}

fn version_json(version: &ModelVersion, record: &VersionRecord) -> Value {
    let mut value = json!(version);
    value["updated"] = json!(record.updated);
    value["description"] = json!(record.description);
    value["user"] = json!(record.user);
    value["source"] = json!(record.source);
    value["status"] = json!(record.status);
    value["stage"] = json!(record.stage);
    value["model_id"] = json!(record.model_id);
    value["tags"] = show::tags(&record.tags);
    value
}

fn record(version: &VersionRecord) -> Value {
    json!({
        "model": version.model,
        "version": version.version,
        "description": version.description,
        "user": version.user,
        "source": version.source,
        "run_id": version.run_id,
        "model_id": version.model_id,
        "status": version.status,
        "stage": version.stage,
        "created": version.created,
        "updated": version.updated,
        "tags": show::tags(&version.tags),
        "aliases": version.aliases,
    })
}

fn json_of(model: &RegisteredModel) -> Value {
    json!({
        "name": model.name,
        "description": model.description,
        "created": model.created,
        "updated": model.updated,
        "tags": show::tags(&model.tags),
        "aliases": model.aliases,
        "latest_versions": model.latest.iter().map(record).collect::<Value>(),
    })
}

fn aliases(model: &Model) -> String {
    model.aliases.iter().map(|alias| format!("{} -> v{}", alias.alias, alias.version)).collect::<Vec<_>>().join(", ")
}

fn stage(version: &VersionRecord) -> String {
    if version.stage == "None" { String::new() } else { version.stage.clone() }
}

fn trainer(version: &ModelVersion) -> String {
    let named = version.spec["model"]["trainer"].as_str().or_else(|| version.spec["component"]["item"].as_str());
    named.unwrap_or("-").to_owned()
}

fn measured(metrics: &Value) -> String {
    let shown = ["accuracy", "f1", "roc_auc", "rmse", "r2"];
    let parts = shown.iter().filter_map(|name| metrics[*name].as_f64().map(|value| format!("{name} {value:.4}")));
    parts.collect::<Vec<_>>().join(", ")
}
