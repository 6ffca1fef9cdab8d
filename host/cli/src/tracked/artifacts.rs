//! `plinth artifact`: files of runs, model versions and logged models.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plinth_core::codes;
use plinth_tracking::{Artifact, Tracking};
use serde_json::{Value, json};

use super::{
    args::ArtifactCommand,
    confirm, download,
    names::{self, Owner},
    print, show,
};
use crate::{
    access::operator,
    host::Host,
    output::{Failure, Output, read_failure, table},
};

/// `plinth artifact`
pub(crate) fn artifact(command: &ArtifactCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = &host.tracking().by(&operator());
    match command {
        ArtifactCommand::List { owner, path } => {
            let (owner, path) = place(tracking, owner, path)?;
            let files = chosen(tracking, &owner, &path)?;
            let value = files.iter().map(json_of).collect();
            print(output, &value, || {
                if files.is_empty() {
                    return format!("{} has no files\n", owner.name);
                }
                let rows = files
                    .iter()
                    .map(|file| vec![file.path.clone(), show::bytes(file.bytes), file.blob.short().to_string()]);
                table(["file", "size", "blake3"], rows)
            })
        }
        ArtifactCommand::Get { owner, path, output: to, force } => {
            let (owner, path) = place(tracking, owner, path)?;
            let files = chosen(tracking, &owner, &path)?;
            if to.as_os_str() == "-" {
                return download::to_stdout(host, &owner, &files);
            }
            download::to_folder(host, &download::Order { path: &path, files, to, force: *force }, output)
        }
        ArtifactCommand::Put { owner, files, to } => {
            let (owner, path) = place(tracking, owner, to)?;
            changeable(&owner)?;
            put(host, tracking, &owner, &path, files, output)
        }
        ArtifactCommand::Rm { owner, path, yes } => {
            let (owner, path) = place(tracking, owner, path)?;
            changeable(&owner)?;
            let files = chosen(tracking, &owner, &path)?;
            confirm(yes.yes, &format!("remove {} files of {} at `{path}`", files.len(), owner.name))?;
            let removed = tracking.delete_files(&format!("{}/{path}", owner.root))?;
            print(output, &json!({"removed": removed}), || format!("removed {removed} files of {}\n", owner.name))
        }
    }
}

/// Whose files, and which path among them, from a reference and a path that may both name some of it.
fn place(tracking: &Tracking, owner: &str, path: &str) -> Result<(Owner, String), Failure> {
    let (owner, before) = names::owner(tracking, owner)?;
    let path = path.trim_matches('/');
    let path = match (before.as_str(), path) {
        ("", path) | (path, "") => path.to_owned(),
        (before, path) => format!("{before}/{path}"),
    };
    Ok((owner, path))
}

/// The file of a path, or the files below it, by their path from the owner's root.
fn chosen(tracking: &Tracking, owner: &Owner, path: &str) -> Result<Vec<Artifact>, Failure> {
    let all = tracking.files_below(&owner.root)?;
    if path.is_empty() {
        return Ok(all);
    }
    let below = format!("{path}/");
    let (found, others): (Vec<Artifact>, Vec<Artifact>) =
        all.into_iter().partition(|file| file.path == path || file.path.starts_with(&below));
    if !found.is_empty() {
        return Ok(found);
    }
    // Folders may be meant as well as files.
    let mut names: Vec<String> = others
        .iter()
        .flat_map(|file| {
            let folders = file.path.match_indices('/').map(|(at, _)| file.path[..at].to_owned());
            folders.chain([file.path.clone()]).collect::<Vec<_>>()
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    Err(Failure::new(codes::ARTIFACT_NOT_FOUND, format!("{} has no artifact `{path}`", owner.name))
        .hint(names::suggest(path, &names, "plinth artifact list")))
}

fn changeable(owner: &Owner) -> Result<(), Failure> {
    match &owner.fixed {
        Some(reason) => Err(Failure::new(codes::INVALID_STATE, reason.clone())
            .hint("log files with an active run, and register a version of it")),
        None => Ok(()),
    }
}

pub(super) fn json_of(file: &Artifact) -> Value {
    json!({"path": file.path, "bytes": file.bytes, "blob": file.blob})
}

/// A bar over bytes, where there is someone to look at it.
pub(super) fn bar(bytes: u64, output: Output) -> ProgressBar {
    let target = if output.live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(bytes), target);
    let style = "{bar:30} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {msg}";
    bar.with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn put(
    host: &Host,
    tracking: &Tracking,
    owner: &Owner,
    folder: &str,
    files: &[PathBuf],
    output: Output,
) -> Result<ExitCode, Failure> {
    let mut found = Vec::new();
    for file in files {
        // `.` and `..` have a name once they are followed.
        let named = match file.file_name() {
            Some(_) => file.clone(),
            None => file.canonicalize().map_err(|error| read_failure(file, &error))?,
        };
        walk(&named, &part_of(&named)?, &mut found)?;
    }
    let prefix = if folder.is_empty() { owner.root.clone() } else { format!("{}/{folder}", owner.root) };
    // Before anything is stored: all of it has a place.
    for (_, path, _) in &found {
        tracking.check_new_file(&format!("{prefix}/{path}"))?;
    }
    let bar = bar(found.iter().map(|(_, _, bytes)| bytes).sum(), output);
    let mut stored = Vec::new();
    for (file, path, _) in &found {
        bar.set_message(path.clone());
        let (blob, bytes) = host.store().blobs().put_file(file)?;
        tracking.put_file(&format!("{prefix}/{path}"), blob, bytes)?;
        bar.inc(bytes);
        let path = if folder.is_empty() { path.clone() } else { format!("{folder}/{path}") };
        stored.push(Artifact { path, blob, bytes });
    }
    bar.finish_and_clear();
    print(output, &stored.iter().map(json_of).collect(), || {
        let bytes = stored.iter().map(|file| file.bytes).sum();
        format!("stored {} files, {}, with {}\n", stored.len(), show::bytes(bytes), owner.name)
    })
}

/// Every file at or below a path, with the path that it gets.
fn walk(file: &Path, path: &str, found: &mut Vec<(PathBuf, String, u64)>) -> Result<(), Failure> {
    let meta = std::fs::metadata(file).map_err(|error| read_failure(file, &error))?;
    if !meta.is_dir() {
        found.push((file.to_owned(), path.to_owned(), meta.len()));
        return Ok(());
    }
    let entries = std::fs::read_dir(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries: Vec<PathBuf> =
        entries.map_err(|error| read_failure(file, &error))?.into_iter().map(|entry| entry.path()).collect();
    entries.sort_unstable();
    for entry in entries {
        // A link to a folder may lead in a circle.
        if entry.is_symlink() && entry.is_dir() {
            return Err(Failure::new(codes::FILE_UNREADABLE, format!("{} is a link to a folder", entry.display()))
                .hint("name the folder that it leads to"));
        }
        walk(&entry, &format!("{path}/{}", part_of(&entry)?), found)?;
    }
    Ok(())
}

fn part_of(file: &Path) -> Result<String, Failure> {
    let name = file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    name.ok_or_else(|| {
        Failure::new(codes::FILE_UNREADABLE, format!("{} has no name in UTF-8", file.display())).hint("rename it")
    })
}
