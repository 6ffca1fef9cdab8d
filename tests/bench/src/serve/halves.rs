//! Half of the processors for the server and the other half for the load: or each would take from the other what is
//! measured, and a server of one process would be measured on a processor of its own while one that uses all of them
//! shares them with the load.

use std::{
    ffi::OsStr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

/// Which processors serve and which load, as `taskset` lists them.
pub(super) struct Halves {
    half: usize,
    serving: String,
    loading: String,
    all: String,
}

impl Halves {
    pub(super) fn split() -> Result<Self> {
        let processors = std::thread::available_parallelism()?.get();
        ensure!(processors > 1, "a load beside a server needs two processors");
        let half = processors / 2;
        let list = |first: usize, next: usize| format!("{first}-{}", next - 1);
        Ok(Self { half, serving: list(0, half), loading: list(half, processors), all: list(0, processors) })
    }

    /// A program that will run on the half that serves.
    pub(super) fn serving(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.serving]).arg(program);
        command
    }

    /// Has this process do something on the half that loads.
    pub(super) fn load<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.on(&self.loading, work)
    }

    /// Has this process do something on the half that serves.
    pub(super) fn instead_of_serving<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.on(&self.serving, work)
    }

    /// Keeps the half that serves from falling asleep until the value is dropped: the owner of a virtual machine may take
    /// milliseconds to give a processor back that had nothing to do, and a server is not to be blamed for that. What runs
    /// there makes room for anything else at once.
    pub(super) fn awake(&self) -> Result<Awake> {
        let loops = (0..self.half).map(|processor| {
            let mut command = Command::new("taskset");
            command.args(["-c", &processor.to_string(), "chrt", "--idle", "0"]).arg(std::env::current_exe()?);
            command.args([SPIN, &std::process::id().to_string()]).spawn().context("starting taskset")
        });
        let mut awake = Awake(loops.collect::<Result<_>>()?);
        // Long enough for a program that is missing, or not allowed, to have ended.
        std::thread::sleep(Duration::from_millis(200));
        for child in &mut awake.0 {
            ensure!(child.try_wait()?.is_none(), "taskset and chrt (of util-linux) could not start a loop");
        }
        Ok(awake)
    }

    fn on<T>(&self, list: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        move_to(list)?;
        let outcome = work();
        move_to(&self.all)?;
        outcome
    }
}

/// The argument with which this program does nothing, as busily as it can, until the process that started it, whose number
/// is the next argument, is gone.
pub(crate) const SPIN: &str = "spin";

/// Does so.
pub(crate) fn spin(parent: u32) {
    while std::os::unix::process::parent_id() == parent {
        (0..100_000).for_each(|_| std::hint::spin_loop());
    }
}

/// Loops that keep processors awake.
pub(super) struct Awake(Vec<Child>);

impl Drop for Awake {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Moves this process, with the threads that it starts from now on.
fn move_to(list: &str) -> Result<()> {
    let mut command = Command::new("taskset");
    command.args(["-acp", list, &std::process::id().to_string()]).stdout(Stdio::null());
    let status = command.status().context("starting taskset")?;
    ensure!(status.success(), "taskset could not move the load to processors {list}");
    Ok(())
}
