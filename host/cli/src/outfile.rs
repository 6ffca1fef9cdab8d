//! A file on its way: written beside its place and put there when it is whole, so that whatever ends the command before
//! that, a failure or ctrl-C, leaves what was there as it was, and nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use plinth_core::codes;

use crate::output::{Failure, Output, io_failure};

/// Files that are not in their place yet.
static BEGUN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn begun() -> MutexGuard<'static, Vec<PathBuf>> {
    BEGUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file on its way.
#[derive(Debug)]
pub(crate) struct OutFile {
    place: PathBuf,
    beside: PathBuf,
}

impl OutFile {
    /// Where it is written to is [`OutFile::beside`]; nothing is written yet.
    pub(crate) fn begin(place: &Path, output: Output) -> Self {
        remove_on_ctrl_c(output);
        let beside = beside(place);
        begun().push(beside.clone());
        Self { place: place.to_owned(), beside }
    }

    /// Where it is written until it is whole.
    pub(crate) fn beside(&self) -> &Path {
        &self.beside
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// Those of the file system; it is removed then.
    pub(crate) fn keep(self) -> Result<(), Failure> {
        // Under the lock, so that ctrl-C comes before or after.
        let mut begun = begun();
        fs::rename(&self.beside, &self.place)
            .map_err(|error| io_failure(&self.place.display().to_string(), &error))
            .inspect(|()| begun.retain(|path| *path != self.beside))
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        let mut begun = begun();
        if let Some(index) = begun.iter().position(|path| *path == self.beside) {
            begun.swap_remove(index);
            // What is left of it is of no use; why it was left is what matters.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// A hidden name beside a file, which no other process uses.
pub(crate) fn beside(place: &Path) -> PathBuf {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    place.with_file_name(format!(".{}.{name}", std::process::id()))
}

fn remove_on_ctrl_c(output: Output) {
    static ONCE: Once = Once::new();
    let handler = move || {
        let begun = begun();
        for path in begun.iter() {
            let _ = fs::remove_file(path);
        }
        output.error(&Failure::new(codes::INTERRUPTED, "stopped; nothing was written"));
        #[expect(clippy::disallowed_methods, reason = "the user asked for it; a plugin or a model may be at work")]
        std::process::exit(i32::from(codes::INTERRUPTED.class().exit_code()));
    };
    ONCE.call_once(|| {
        if let Err(error) = ctrlc::try_set_handler(handler) {
            tracing::debug!(%error, "ctrl-C is handled already");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_in_its_place_when_it_is_whole_and_nothing_is_left_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("rows.csv");
        let output = Output { json: false, color: false, live: false };
        fs::write(&place, "old").unwrap();
        let begin = |text: &str| {
            let file = OutFile::begin(&place, output);
            fs::write(file.beside(), text).unwrap();
            file
        };
        drop(begin("half"));
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        begin("whole").keep().unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "whole");
        // One that cannot be put there is removed, too.
        let file = begin("new");
        fs::remove_file(&place).unwrap();
        fs::create_dir_all(place.join("in the way")).unwrap();
        file.keep().unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
