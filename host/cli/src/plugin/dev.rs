//! `plinth plugin dev`: build and test again whenever a file of the project changes.

use std::{path::Path, process::ExitCode, sync::mpsc, time::Duration};

use notify::{RecursiveMode, Watcher};
use plinth_core::codes;

use super::{
    args::{PluginBuildArgs, PluginDevArgs, PluginTestArgs},
    build, test,
};
use crate::{
    components::Components,
    config::Settings,
    output::{Failure, Output},
};

/// So long it is waited for more changes after one: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(200);

/// `plinth plugin dev`
pub(super) fn dev(args: &PluginDevArgs, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let (sender, changes) = mpsc::channel();
    let project = args.project.clone();
    let failed = |error: &notify::Error| Failure::new(codes::IO, format!("`{}`: {error}", project.display()));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        if !event.kind.is_access() && event.paths.iter().any(|path| is_source(path)) {
            // Nobody waits any more once the command ends.
            let _ = sender.send(());
        }
    })
    .map_err(|error| failed(&error))?;
    if !args.once {
        watcher.watch(&args.project, RecursiveMode::Recursive).map_err(|error| failed(&error))?;
    }
    loop {
        let done = once(&args.project, settings, output);
        if args.once {
            return done;
        }
        if let Err(failure) = done {
            output.error(&failure);
        }
        // What the build itself wrote among the sources is no change of the author's.
        while changes.try_recv().is_ok() {}
        output.say(format!("waiting for changes in {}; ctrl-C ends it", args.project.display()));
        if changes.recv().is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        while changes.recv_timeout(QUIET).is_ok() {}
    }
}

fn once(project: &Path, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    build::build(&PluginBuildArgs { project: project.to_owned(), output: None }, output)?;
    let args = PluginTestArgs {
        plugin: project.display().to_string(),
        item: None,
        cases: None,
        cases_only: false,
        bless: false,
    };
    test::test(&args, &Components::new(settings), settings, output)
}

/// Whether a change of a file may change what is built or tested.
fn is_source(path: &Path) -> bool {
    let left_out = ["target", "node_modules", "__pycache__", ".plinth", ".git"];
    let inside = |name: &std::ffi::OsStr| left_out.iter().any(|folder| name == *folder);
    let temporary = path.extension().is_some_and(|end| end == "wasm" || end == "new" || end == "pyc")
        || path.to_string_lossy().contains(".wasm.");
    !temporary && !path.iter().any(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_writes_is_no_source() {
        for path in ["p/plugin.py", "p/cases/one.json", "p/src/lib.rs"] {
            assert!(is_source(Path::new(path)), "{path}");
        }
        for path in ["p/a.wasm", "p/a.wasm.123", "p/target/x.rs", "p/node_modules/a/b.js", "p/a.wasm.new"] {
            assert!(!is_source(Path::new(path)), "{path}");
        }
    }
}
