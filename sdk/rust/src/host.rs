//! What the host offers: its log, the bytes of sources, lent tables.
//!
//! In a component these are the host's functions. Natively the log goes to stderr, and sources and tables are what a
//! test lent on its thread.

/// Messages for the operator.
pub mod log {
    /// For the plugin's author, very verbose.
    pub fn trace(message: impl AsRef<str>) {
        write(Level::Trace, message.as_ref());
    }

    /// For the plugin's author.
    pub fn debug(message: impl AsRef<str>) {
        write(Level::Debug, message.as_ref());
    }

    /// For the operator.
    pub fn info(message: impl AsRef<str>) {
        write(Level::Info, message.as_ref());
    }

    /// Something is odd; the call goes on.
    pub fn warn(message: impl AsRef<str>) {
        write(Level::Warn, message.as_ref());
    }

    /// Something failed.
    pub fn error(message: impl AsRef<str>) {
        write(Level::Error, message.as_ref());
    }

    #[cfg(target_arch = "wasm32")]
    use crate::bindings::host::plinth::host::log::{Level, log as write};

    #[cfg(not(target_arch = "wasm32"))]
    #[derive(Debug)]
    enum Level {
        Trace,
        Debug,
        Info,
        Warn,
        Error,
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn write(level: Level, message: &str) {
        eprintln!("{level:?}: {message}");
    }
}

/// Bytes of sources, within the prefixes that the operator granted: the capability `objects`.
pub mod objects {
    use crate::Problem;

    /// An open source; it does not change while it is open.
    #[derive(Debug)]
    pub struct Object(imp::Object);

    impl Object {
        /// Size in bytes.
        pub fn size(&self) -> u64 {
            self.0.size()
        }

        /// Reads `len` bytes from `offset`; fewer only at the end.
        ///
        /// # Errors
        /// The host's problem, such as a source that went away.
        pub fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>, Problem> {
            self.0.read(offset, len)
        }
    }

    /// Opens a source by the URI that the plugin was given, or one below it.
    ///
    /// # Errors
    /// The host's problem: not granted, not found.
    pub fn open(uri: &str) -> Result<Object, Problem> {
        imp::open(uri).map(Object)
    }

    /// So many URIs are asked for at a time; the host gives fewer where its limit is lower.
    const PAGE: u32 = 1_000;

    /// The URIs below a prefix, sorted.
    ///
    /// # Errors
    /// The host's problem: not granted, not found.
    pub fn list(prefix: &str) -> Result<Vec<String>, Problem> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let page = imp::list_objects(prefix, all.last().map(String::as_str), PAGE)?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// Lends bytes to code under test on this thread, under a URI.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn lend(uri: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        imp::LENT.with_borrow_mut(|lent| lent.insert(uri.into(), bytes.into()));
    }

    #[cfg(target_arch = "wasm32")]
    use crate::bindings::host::plinth::host::objects as imp;

    #[cfg(not(target_arch = "wasm32"))]
    mod imp {
        use std::{cell::RefCell, collections::BTreeMap};

        use crate::Problem;

        thread_local! {
            pub(super) static LENT: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
        }

        #[derive(Debug)]
        pub(super) struct Object(Vec<u8>);

        impl Object {
            pub(super) fn size(&self) -> u64 {
                self.0.len() as u64
            }

            pub(super) fn read(&self, offset: u64, len: u32) -> Result<Vec<u8>, Problem> {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
                let end = start.saturating_add(len as usize).min(self.0.len());
                Ok(self.0[start..end].to_vec())
            }
        }

        pub(super) fn open(uri: &str) -> Result<Object, Problem> {
            LENT.with_borrow(|lent| lent.get(uri).cloned())
                .map(Object)
                .ok_or_else(|| Problem::bad_input("not-found", format!("no source `{uri}`")))
        }

        pub(super) fn list_objects(prefix: &str, after: Option<&str>, max: u32) -> Result<Vec<String>, Problem> {
            let wanted = |uri: &&String| uri.starts_with(prefix) && after.is_none_or(|after| uri.as_str() > after);
            Ok(LENT.with_borrow(|lent| lent.keys().filter(wanted).take(max as usize).cloned().collect()))
        }
    }
}

/// Named tables that the host lends for the time of one call: the capability `tables`.
pub mod tables {
    use crate::{Block, Problem, Schema};

    /// An open table, read once from its start.
    #[derive(Debug)]
    pub struct Table(imp::Table);

    impl Table {
        /// Its columns.
        pub fn schema(&self) -> Schema {
            self.0.schema()
        }

        /// At most `max_rows` rows; none at the end.
        ///
        /// # Errors
        /// The host's problem.
        pub fn next(&self, max_rows: u32) -> Result<Option<Block>, Problem> {
            self.0.next(max_rows)
        }
    }

    /// Opens a lent table by name, such as `data` or `predictions`.
    ///
    /// # Errors
    /// The host's problem: no table of that name was lent.
    pub fn open(name: &str) -> Result<Table, Problem> {
        imp::open(name).map(Table)
    }

    /// Lends a table to code under test on this thread; each block is one answer of [`Table::next`], whatever
    /// `max_rows`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn lend(name: impl Into<String>, schema: Schema, blocks: Vec<Block>) {
        imp::LENT.with_borrow_mut(|lent| lent.insert(name.into(), (schema, blocks)));
    }

    #[cfg(target_arch = "wasm32")]
    use crate::bindings::host::plinth::host::tables as imp;

    #[cfg(not(target_arch = "wasm32"))]
    mod imp {
        use std::{cell::RefCell, collections::BTreeMap};

        use crate::{Block, Problem, Schema};

        thread_local! {
            pub(super) static LENT: RefCell<BTreeMap<String, (Schema, Vec<Block>)>> =
                const { RefCell::new(BTreeMap::new()) };
        }

        #[derive(Debug)]
        pub(super) struct Table {
            schema: Schema,
            left: RefCell<std::vec::IntoIter<Block>>,
        }

        impl Table {
            pub(super) fn schema(&self) -> Schema {
                self.schema.clone()
            }

            pub(super) fn next(&self, _max_rows: u32) -> Result<Option<Block>, Problem> {
                Ok(self.left.borrow_mut().next())
            }
        }

        pub(super) fn open(name: &str) -> Result<Table, Problem> {
            let (schema, blocks) = LENT
                .with_borrow(|lent| lent.get(name).cloned())
                .ok_or_else(|| Problem::bad_input("not-found", format!("no table `{name}` was lent")))?;
            Ok(Table { schema, left: RefCell::new(blocks.into_iter()) })
        }
    }
}

/// Sends a panic's message to the host before the trap, which carries none. Cheap when it was done before.
#[cfg(target_arch = "wasm32")]
pub(crate) fn report_panics() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        std::panic::set_hook(Box::new(|panic| log::error(panic.to_string())));
    }
}
