//! Which of the server's threads gives way to which, where they share a processor.

/// Has this thread begin, once it is woken, only when the thread that runs on the processor has nothing more to do or has
/// had its share; one that finds a free processor begins at once. Those that read requests wake those that score: if that
/// took the processor away from them, every request would be scored by itself, between two changes of threads, and on a
/// single processor that took twice the time of scoring together what came together.
///
/// It is the policy `SCHED_BATCH` of sched(7), for which nobody needs a privilege. Where there is no such thing, or a
/// sandbox forbids it, nothing happens.
pub(crate) fn give_way() {
    #[cfg(target_os = "linux")]
    {
        let parameters = libc::sched_param { sched_priority: 0 };
        #[expect(unsafe_code, reason = "no crate that we have knows the call")]
        // SAFETY: 0 is the calling thread, and the parameters outlive the call, which keeps none of them.
        let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
        if set != 0 {
            tracing::debug!(error = %std::io::Error::last_os_error(), "a thread keeps the ordinary way of scheduling");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    /// Seen by the kernel: field 41 of /proc/thread-self/stat, proc_pid_stat(5).
    fn policy() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, after_name) = stat.rsplit_once(')').unwrap();
        after_name.split_whitespace().nth(38).unwrap().parse().unwrap()
    }

    #[test]
    fn a_thread_that_gives_way_is_known_to_the_kernel_as_one() {
        let before_and_after = std::thread::spawn(|| {
            let before = policy();
            super::give_way();
            (before, policy())
        });
        assert_eq!(before_and_after.join().unwrap(), (libc::SCHED_OTHER, libc::SCHED_BATCH));
        assert_eq!(policy(), libc::SCHED_OTHER, "only that thread");
    }
}
