//! `plinth plugin new`: a project that builds and passes at once.

use std::process::ExitCode;

use plinth_author::project;
use plinth_core::codes;
use serde_json::json;

use super::{args::PluginNewArgs, check::kebab, noun};
use crate::output::{Failure, Output, io_failure};

/// `plinth plugin new`
pub(super) fn new(args: &PluginNewArgs, output: Output) -> Result<ExitCode, Failure> {
    if !kebab(&args.name) {
        let message = format!("`{}` is no name of a plugin", args.name);
        return Err(Failure::new(codes::USAGE, message)
            .hint("use at most 64 lower-case letters, digits and single dashes, such as `my-scale`"));
    }
    let folder = args.dir.clone().unwrap_or_else(|| args.name.clone().into());
    let taken = std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
    if taken || folder.is_file() {
        let message = format!("`{}` exists and is not empty", folder.display());
        return Err(Failure::new(codes::ALREADY_EXISTS, message).hint("name another folder with --dir"));
    }
    let language = args.lang.language();
    let files = project::files(&args.name, args.kind.name(), language)
        .map_err(|error| Failure::new(codes::USAGE, error.to_string()).hint("see `plinth plugin new --help`"))?;
    for (path, bytes) in &files {
        let path = folder.join(path);
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            std::fs::write(&path, bytes)
        };
        write().map_err(|error| io_failure(&path.display().to_string(), &error))?;
    }
    let told = json!({"name": args.name, "folder": folder, "kind": args.kind.name(), "language": language.name()});
    output
        .data(&told, || {
            let (folder, language) = (folder.display(), language.name());
            let kind = noun(args.kind.name());
            format!("{folder}: a {kind} in {language}\n  cd {folder}\n  plinth plugin build\n  plinth plugin test\n")
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}
