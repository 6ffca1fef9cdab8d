//! Compiled components in memory. Those that lie in files of the cache are mapped, and their pages are given back where
//! nobody used them for a while: a process that holds a hundred plugins holds the code of those that are called.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use wasmtime::component::Component;

/// A compiled component.
pub(crate) struct Code {
    pub(crate) component: Component,
    /// Whether its pages are those of a file, and never written to.
    mapped: bool,
    /// Whether it was used since the last look.
    used: AtomicBool,
    /// Whether it may hold pages.
    holds: AtomicBool,
}

impl Code {
    /// Of a file that stays as it is.
    pub(crate) fn mapped(component: Component) -> Arc<Self> {
        Self::new(component, true)
    }

    /// Of memory.
    pub(crate) fn in_memory(component: Component) -> Arc<Self> {
        Self::new(component, false)
    }

    fn new(component: Component, mapped: bool) -> Arc<Self> {
        Arc::new(Self { component, mapped, used: AtomicBool::new(true), holds: AtomicBool::new(true) })
    }

    /// It is about to run, or did until now. Writes nothing where that is known, so that threads that run it share what they
    /// read.
    pub(crate) fn use_it(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Gives its pages back if nobody used it since the last look. What runs meanwhile gets them from the file again.
    fn look(&self) {
        if self.used.swap(false, Ordering::Relaxed) {
            self.holds.store(true, Ordering::Relaxed);
        } else if self.holds.swap(false, Ordering::Relaxed) {
            self.let_go();
        }
    }

    #[cfg(target_os = "linux")]
    fn let_go(&self) {
        use rustix::mm::{Advice, madvise};

        let pages = self.component.image_range();
        let bytes = pages.end.addr() - pages.start.addr();
        // SAFETY: the pages are those of a file, at the start of one since that is where a file is mapped, and the engine
        // makes them read-only before it gives a component away; the file is never written again. So they hold what the
        // file holds, before and after, and are mapped as long as `self` lives.
        #[expect(unsafe_code, reason = "advice about pages that are mapped takes their address")]
        let advised = unsafe { madvise(pages.start.cast_mut().cast(), bytes, Advice::LinuxDontNeed) };
        if let Err(error) = advised {
            tracing::debug!(%error, "compiled code was not let go");
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn let_go(&self) {}
}

/// All that a host has which can be given back.
#[derive(Default)]
pub(crate) struct Codes(Mutex<Vec<Arc<Code>>>);

impl Codes {
    pub(crate) fn add(&self, code: &Arc<Code>) {
        if code.mapped {
            self.lock().push(code.clone());
        }
    }

    /// Gives back what nobody used since the last look.
    pub(crate) fn look(&self) {
        // A call to the system for each, while nobody has to wait who loads another.
        let all = self.lock().clone();
        all.iter().for_each(|code| code.look());
    }

    /// Whether there is anything to look at again while nothing runs.
    pub(crate) fn hold(&self) -> bool {
        self.lock().iter().any(|code| code.used.load(Ordering::Relaxed) || code.holds.load(Ordering::Relaxed))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Code>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;

    use plinth_core::PluginLimits;
    use wasmtime::{Engine, Store, component::Linker};

    use super::*;
    use crate::engine;

    const ANSWERS: &str = r#"(component
        (core module $m (func (export "f") (result i32) i32.const 42))
        (core instance $i (instantiate $m))
        (func (export "f") (result u32) (canon lift (core func $i "f"))))"#;

    fn answer(engine: &Engine, code: &Code) -> u32 {
        code.use_it();
        let mut store = Store::new(engine, ());
        store.set_epoch_deadline(1);
        let instance = Linker::new(engine).instantiate(&mut store, &code.component).expect("it imports nothing");
        let func = instance.get_typed_func::<(), (u32,)>(&mut store, "f").expect("it exports f");
        func.call(&mut store, ()).expect("it answers").0
    }

    /// KiB of the component's image that this process holds.
    fn held(code: &Code) -> u64 {
        let image = code.component.image_range();
        let (start, end) = (image.start.addr(), image.end.addr());
        let mut inside = false;
        let mut total = 0;
        for line in fs::read_to_string("/proc/self/smaps").expect("the map of this process").lines() {
            let range = line.split_ascii_whitespace().next().and_then(|range| range.split_once('-'));
            if let Some((from, to)) = range.filter(|_| line.contains(" r") || line.contains(" -")) {
                let address = |text| usize::from_str_radix(text, 16);
                if let (Ok(from), Ok(to)) = (address(from), address(to)) {
                    inside = from < end && start < to;
                }
            } else if let Some(kib) = line.strip_prefix("Rss:").filter(|_| inside) {
                total += kib.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB");
            }
        }
        total
    }

    #[test]
    fn code_that_nobody_uses_is_given_back_and_runs_again() {
        let limits = PluginLimits::default();
        let engine = engine::make(&limits, false).unwrap();
        let compiled = engine.precompile_component(&wat::parse_str(ANSWERS).unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers.cwasm");
        fs::write(&path, &compiled).unwrap();
        // SAFETY: this engine compiled it, and nobody else knows the file.
        #[expect(unsafe_code, reason = "compiled code is loaded as it is")]
        let (mapped, in_memory) = unsafe {
            (Component::deserialize_file(&engine, &path).unwrap(), Component::deserialize(&engine, &compiled).unwrap())
        };
        let (code, other) = (Code::mapped(mapped), Code::in_memory(in_memory));
        let codes = Codes::default();
        codes.add(&other);
        assert!(!codes.hold(), "what no file holds would be lost");
        codes.add(&code);
        for _ in 0..2 {
            assert_eq!(answer(&engine, &code), 42);
            codes.look();
            assert!(codes.hold() && held(&code) > 0, "it was used a moment ago");
            codes.look();
            assert!(!codes.hold());
            assert_eq!(held(&code), 0);
        }
        assert_eq!((answer(&engine, &code), answer(&engine, &other)), (42, 42));
    }
}
