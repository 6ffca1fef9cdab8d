//! `plinth plugin ...`: what there is, what a component offers, asks for and is granted, whether it is sound, and what
//! it does with a file.

mod args;
mod bench;
mod build;
mod check;
mod dev;
mod grant;
mod new;
mod run;
mod test;
mod tools;
mod trust;

use std::process::ExitCode;

use plinth_core::codes;
use serde_json::json;

pub(crate) use args::PluginCommand;
pub(crate) use trust::check as check_signature;

use crate::{
    components::Components,
    config::Settings,
    output::{Failure, Output, io_failure, table},
    plugins::{self, PluginRef},
};

/// `plinth plugin ...`
pub(crate) fn plugin(command: &PluginCommand, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let components = Components::new(settings);
    match command {
        PluginCommand::List => {
            let found = plugins::all(settings);
            let value: Vec<_> = found.iter().map(|plugin| json!({"name": plugin.name, "path": plugin.path})).collect();
            output.data(&json!(value), || {
                if found.is_empty() {
                    return "no plugin was found: build the first-party ones with `cargo xtask plugins`\n".into();
                }
                table(["plugin", "file"], found.iter().map(|p| vec![p.name.clone(), p.path.display().to_string()]))
            })
        }
        PluginCommand::CompileWorker => unreachable!("answered before the configuration is read"),
        PluginCommand::New(args) => return new::new(args, output),
        PluginCommand::Build(args) => return build::build(args, output),
        PluginCommand::Componentize(args) => return build::componentize(args),
        PluginCommand::Bench(args) => return bench::bench(args, settings, output),
        PluginCommand::Grant(args) => return grant::grant(args, settings, output),
        PluginCommand::Sign(args) => return trust::sign(args, settings, output),
        PluginCommand::Verify(args) => return trust::verify(args, settings, output),
        PluginCommand::Push(args) => return trust::push(args, &components, settings, output),
        PluginCommand::Pull(args) => return trust::pull(args, &components, settings, output),
        PluginCommand::Dev(args) => return dev::dev(args, settings, output),
        PluginCommand::Tool { name } => output
            .data(&json!({"tool": name, "path": tools::named(name, output)?}), || {
                tools::named(name, output).map(|path| format!("{}\n", path.display())).unwrap_or_default()
            }),
        PluginCommand::Check { plugin } => return check::check(&component_of(plugin)?, &components, settings, output),
        PluginCommand::Run(args) => return run::run(args, &components, output),
        PluginCommand::Test(args) => return test::test(args, &components, settings, output),
        PluginCommand::Inspect { plugin } => {
            let found = PluginRef::named(&component_of(plugin)?).find(settings)?;
            let about = components.inspect(&found)?;
            output.data(&json!(about), || {
                let mut text = format!(
                    "{} {}\n  file {}\n  blake3 {}\n  asks for {}\n  granted by plinth.toml: {}\n",
                    about.name,
                    about.version,
                    about.path,
                    about.hash,
                    or_nothing(&about.asks),
                    or_nothing(&about.granted),
                );
                let rows = about
                    .items
                    .iter()
                    .map(|(point, item)| vec![point.clone(), item.name.clone(), item.summary.clone()]);
                text.push_str(&table(["extension point", "item", "summary"], rows));
                text
            })
        }
    }
    .map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

fn or_nothing(list: &[String]) -> String {
    if list.is_empty() { "nothing".into() } else { list.join(", ") }
}

/// What a plugin of a kind is called.
fn noun(kind: &str) -> &str {
    match kind {
        "predict" => "model",
        "drift" => "drift test",
        other => other,
    }
}

/// What was named, or the component of the project whose folder was named.
fn component_of(named: &str) -> Result<String, Failure> {
    let folder = std::path::Path::new(named);
    if !folder.is_dir() {
        return Ok(named.to_owned());
    }
    let project = build::Project::read(folder)?;
    let component = project.component();
    if !component.is_file() {
        let message = format!("there is no `{}` yet", component.display());
        return Err(Failure::new(codes::PLUGIN_NOT_FOUND, message).hint(format!("run `plinth plugin build {named}`")));
    }
    if let Some(source) = project.changed() {
        let (source, component) = (source.display(), component.display());
        tracing::warn!("`{source}` changed after `{component}` was built: run `plinth plugin build {named}`");
    }
    Ok(component.display().to_string())
}
