//! `plinth artifact get`: files on their way out.
//!
//! A file is written beside its target under another name, synced, and renamed: whatever happens meanwhile, a target is
//! absent, as it was before, or whole. Bytes are checked against the content hash as they are read. What a killed command
//! left half is overwritten by the next one; what it left whole is not fetched again.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Component, Path, PathBuf},
    process::ExitCode,
};

use indicatif::ProgressBar;
use plinth_core::codes;
use plinth_tracking::Artifact;
use serde_json::{Value, json};

use super::{
    artifacts::{bar, json_of},
    names::Owner,
    print, show,
};
use crate::{
    host::Host,
    output::{Failure, Output, io_failure},
    run::{CANCEL, stop_on_ctrl_c},
};

/// What is to be fetched, and where to.
pub(super) struct Order<'a> {
    /// The file or folder that was asked for, from the owner's root; empty for everything.
    pub(super) path: &'a str,
    pub(super) files: Vec<Artifact>,
    pub(super) to: &'a Path,
    /// Whether files that differ are replaced.
    pub(super) force: bool,
}

/// Writes one file to stdout.
pub(super) fn to_stdout(host: &Host, owner: &Owner, files: &[Artifact]) -> Result<ExitCode, Failure> {
    let [file] = files else {
        return Err(Failure::new(
            codes::USAGE,
            format!("{} files of {} do not fit in one stream", files.len(), owner.name),
        )
        .hint("name one file, or a folder with --output"));
    };
    let mut reader = host.store().blobs().reader(&file.blob, None)?;
    let mut stdout = io::stdout().lock();
    while let Some(piece) = reader.piece()? {
        match stdout.write_all(&piece) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            written => written.map_err(|error| io_failure("stdout", &error))?,
        }
    }
    stdout.flush().map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes files below a folder.
pub(super) fn to_folder(host: &Host, order: &Order<'_>, output: Output) -> Result<ExitCode, Failure> {
    stop_on_ctrl_c();
    // A file or a folder comes under its own name, without the folders that it lay in.
    let above = order.path.rfind('/').map_or(0, |at| at + 1);
    let targets = order
        .files
        .iter()
        .map(|file| Ok((file, order.to.join(inside(&file.path[above..])?))))
        .collect::<Result<Vec<(&Artifact, PathBuf)>, Failure>>()?;
    let bar = bar(order.files.iter().map(|file| file.bytes).sum(), output);
    let (mut written, mut kept) = (Vec::new(), 0_usize);
    for (file, target) in &targets {
        bar.set_message(file.path.clone());
        let fetched = fetch(host, file, target, order.force, &bar).map_err(|failure| match failure.code {
            codes::INTERRUPTED => failure.hint(format!(
                "{} of {} files are there and whole; the same command goes on from here",
                written.len() + kept,
                targets.len()
            )),
            _ => failure,
        })?;
        if fetched {
            let mut value = json_of(file);
            value["to"] = json!(target);
            written.push(value);
        } else {
            kept += 1;
        }
    }
    bar.finish_and_clear();
    let bytes = written.iter().filter_map(|file| file["bytes"].as_u64()).sum();
    let value = json!({"written": written, "kept": kept});
    print(output, &value, || {
        let kept = if kept == 0 { String::new() } else { format!("; {kept} were there already") };
        format!("wrote {} files, {}, to {}{kept}\n", list_len(&value), show::bytes(bytes), order.to.display())
    })
}

fn list_len(value: &Value) -> usize {
    value["written"].as_array().map_or(0, Vec::len)
}

/// A path that leads down and nowhere else, whoever wrote it into the catalog.
fn inside(path: &str) -> Result<&Path, Failure> {
    let path = Path::new(path);
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(path);
    }
    Err(Failure::new(codes::BAD_REFERENCE, format!("`{}` does not lead into the folder", path.display())))
}

/// Brings one file; false if it is there already.
fn fetch(host: &Host, file: &Artifact, target: &Path, force: bool, bar: &ProgressBar) -> Result<bool, Failure> {
    match fs::metadata(target) {
        Ok(_) if is_same(host, file, target, bar)? => return Ok(false),
        Ok(meta) if meta.is_dir() => {
            return Err(Failure::new(codes::ALREADY_EXISTS, format!("{} is a folder", target.display()))
                .hint("choose another --output"));
        }
        Ok(_) if !force => {
            return Err(Failure::new(codes::ALREADY_EXISTS, format!("{} is there and differs", target.display()))
                .hint("--force replaces it"));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failure(target, &error)),
        _ => {}
    }
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| failure(folder, &error))?;
    let part = folder.join(format!(".plinth-{}.part", file.blob.to_hex().get(..32).unwrap_or_default()));
    let out = OpenOptions::new().create(true).truncate(false).write(true).open(&part);
    let mut out = out.map_err(|error| failure(&part, &error))?;
    match out.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let message = format!("another command is writing {}", target.display());
            return Err(Failure::new(codes::FILE_IN_USE, message).hint("wait for it"));
        }
        // Where the file system has no locks, two commands at once are the user's to avoid.
        Err(TryLockError::Error(error)) => tracing::debug!(%error, "no lock on the part file"),
    }
    let done = copy(host, file, &mut out, bar).and_then(|()| {
        out.sync_all().and_then(|()| fs::rename(&part, target)).map_err(|error| failure(target, &error))
    });
    if done.is_err() {
        // Nothing to keep: the next time starts over.
        let _ = fs::remove_file(&part);
    }
    done.map(|()| true)
}

fn copy(host: &Host, file: &Artifact, out: &mut File, bar: &ProgressBar) -> Result<(), Failure> {
    out.set_len(0).map_err(|error| io_failure(&file.path, &error))?;
    let mut reader = host.store().blobs().reader(&file.blob, None)?;
    while let Some(piece) = reader.piece()? {
        if CANCEL.is_stopped() {
            return Err(Failure::new(codes::INTERRUPTED, "stopped"));
        }
        out.write_all(&piece).map_err(|error| io_failure(&file.path, &error))?;
        bar.inc(piece.len() as u64);
    }
    Ok(())
}

/// Whether the file that is there holds the same bytes.
fn is_same(host: &Host, file: &Artifact, target: &Path, bar: &ProgressBar) -> Result<bool, Failure> {
    let Ok(mut there) = File::open(target) else { return Ok(false) };
    if !there.metadata().is_ok_and(|meta| meta.is_file() && meta.len() == file.bytes) {
        return Ok(false);
    }
    let mut reader = host.store().blobs().reader(&file.blob, None)?;
    while let Some(piece) = reader.piece()? {
        if CANCEL.is_stopped() {
            return Err(Failure::new(codes::INTERRUPTED, "stopped"));
        }
        let mut other = vec![0; piece.len()];
        if there.read_exact(&mut other).is_err() || other != piece {
            return Ok(false);
        }
    }
    bar.inc(file.bytes);
    Ok(true)
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    io_failure(&path.display().to_string(), error)
}
