//! Threads for what nobody waits for.

use std::{io, thread};

/// How much less such a thread counts than one that answers; about a tenth of it, where both want to run.
const NICE: i32 = 10;

/// A thread that leaves the processors to those that answer: what it does comes in bursts, and a request that is due
/// meanwhile would wait for the end of one.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(move || {
        // Of no process but of the calling thread, on Linux. Elsewhere, or where it is not allowed, it works as the
        // others do.
        if cfg!(target_os = "linux") && rustix::process::getpriority_process(None).is_ok_and(|now| now < NICE) {
            let _ = rustix::process::setpriority_process(None, NICE);
        }
        work();
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_the_thread_itself_counts_less() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let (before, (tell, told)) = (nice(), mpsc::channel());
        spawn("aside", move || tell.send(nice()).unwrap()).unwrap().join().unwrap();
        assert_eq!((told.recv().unwrap(), nice()), (before.max(NICE), before));
    }
}
