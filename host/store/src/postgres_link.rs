//! Connections to a PostgreSQL server.
//!
//! One thread of its own moves bytes for all of them. A caller waits for its answer like for any other call, so it may
//! be any thread, also one that drives tasks, and dropping a connection never waits.

use std::{
    collections::HashMap,
    pin::pin,
    str::FromStr,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use tokio::runtime::Runtime;
use tokio_postgres::{
    Client, Config, NoTls, Statement,
    config::{Host, SslMode},
    types::Type,
};

use crate::{StoreError, Value, postgres_refusal::Refusal, postgres_sql};

/// How long a server may take to answer a new connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long a connection may be silent before its other end is asked whether it is there.
const SILENT_MAX: Duration = Duration::from_secs(30);
/// How long sent bytes may go without the other end's receipt.
const UNHEARD_MAX: Duration = Duration::from_secs(30);
/// What tokio-postgres waits if nothing else is said: too long to notice a server whose machine is gone.
const SILENT_USUAL: Duration = Duration::from_secs(2 * 60 * 60);
/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 256;

/// How every connection is set. What it commits is on the server's device even where the server's own settings are
/// weaker; a process whose machine vanished does not hold its locks for hours; plans are for short queries.
const SESSION: &str = "
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
    SET client_min_messages = warning;
    SET lock_timeout = '10s';
    SET tcp_keepalives_idle = 30;
    SET tcp_keepalives_interval = 10;
    SET tcp_keepalives_count = 3;
    SET jit = off;
";

/// A server, a database of it, and who asks.
pub(crate) struct Server {
    config: Config,
    /// For messages: no password in it.
    name: String,
    /// Always there, but for the moment in which it is dropped.
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Server").field(&self.name).finish()
    }
}

impl Server {
    /// Reads a URL; nothing is asked of the server yet.
    pub(crate) fn new(url: &str) -> Result<Self, StoreError> {
        let unread = |reason: String| StoreError::CatalogUrl { name: "given".into(), reason };
        if !postgres_sql::is_url(url) {
            return Err(unread("its URL does not begin with postgres://".into()));
        }
        // The library's message names options, never their values.
        let mut config = Config::from_str(url).map_err(|error| unread(Refusal::of(&error).message))?;
        let name = postgres_sql::name(&config);
        let bad = |reason: String| StoreError::CatalogUrl { name: name.clone(), reason };
        if config.get_ssl_mode() == SslMode::Require {
            return Err(bad("sslmode=require asks for TLS, which the catalog's connections do not speak".into()));
        }
        if config.get_hosts().iter().all(|host| matches!(host, Host::Tcp(name) if name.is_empty())) {
            return Err(bad("it names no server".into()));
        }
        if config.get_user().is_none() {
            return Err(bad("it names no user".into()));
        }
        // With `prefer`, the usual, a server would be asked for TLS first, only to be told no.
        config.ssl_mode(SslMode::Disable);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_MAX);
        }
        if config.get_keepalives_idle() == SILENT_USUAL {
            config.keepalives_idle(SILENT_MAX).keepalives_interval(Duration::from_secs(10)).keepalives_retries(3);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(UNHEARD_MAX);
        }
        if config.get_application_name().is_none() {
            config.application_name("plinth");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("plinth-postgres")
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| bad(format!("a thread for it cannot be started: {error}")))?;
        Ok(Self { config, name, runtime: Some(runtime) })
    }

    /// How messages call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A refusal, as the catalog's.
    pub(crate) fn told(&self, refusal: Refusal) -> StoreError {
        StoreError::Postgres { catalog: self.name.clone(), refusal }
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Result<Link, Refusal> {
        let Some(runtime) = &self.runtime else { unreachable!("it is there until it is dropped") };
        let config = self.config.clone();
        let (send, receive) = mpsc::channel();
        runtime.spawn(async move {
            let client = match config.connect(NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%error, "a connection to the catalog's server ended");
                        }
                    });
                    Ok(client)
                }
                Err(error) => Err(Refusal::of(&error)),
            };
            // Whoever asked waits for it.
            let _ = send.send(client);
        });
        let client = receive.recv().unwrap_or_else(|_| Err(Refusal::gone()))?;
        let link = Link { client, statements: HashMap::new() };
        link.batch(SESSION)?;
        Ok(link)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Does not wait, which a thread that drives tasks must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One connection, with the statements that it has prepared.
pub(crate) struct Link {
    pub(crate) client: Client,
    statements: HashMap<String, Statement>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

impl Link {
    /// Whether the server has ended it, as far as is known.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Statements without parameters, of which the first to fail is the last.
    pub(crate) fn batch(&self, sql: &str) -> Result<(), Refusal> {
        wait(self.client.batch_execute(sql)).map_err(|error| Refusal::of(&error))
    }

    /// Sends statements whose answers nobody waits for.
    pub(crate) fn send(&self, sql: &str) {
        // The first poll sends; whatever is answered later is read over.
        let _ = pin!(self.client.batch_execute(sql)).poll(&mut Context::from_waker(Waker::noop()));
    }

    /// A statement for parameters of these kinds: what a parameter is follows from its value, as it does on SQLite.
    pub(crate) fn prepared(&mut self, sql: &str, parameters: &[Value]) -> Result<Statement, Refusal> {
        let kinds: String = parameters.iter().map(kind).collect();
        let key = format!("{kinds} {sql}");
        if let Some(statement) = self.statements.get(&key) {
            return Ok(statement.clone());
        }
        let types: Vec<Type> = parameters.iter().map(known_type).collect();
        let statement = wait(self.client.prepare_typed(&postgres_sql::with_nulls(sql, parameters), &types));
        let statement = statement.map_err(|error| Refusal::of(&error))?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(key, statement.clone());
        Ok(statement)
    }

    /// Forgets statements that a change of the schema may have made wrong.
    pub(crate) fn forget(&mut self) {
        self.statements.clear();
    }
}

fn kind(value: &Value) -> char {
    match value {
        Value::Null => 'n',
        Value::Int(_) => 'i',
        Value::Real(_) => 'r',
        Value::Text(_) => 't',
        Value::Bytes(_) => 'b',
    }
}

fn known_type(value: &Value) -> Type {
    match value {
        Value::Null | Value::Text(_) => Type::TEXT,
        Value::Int(_) => Type::INT8,
        Value::Real(_) => Type::FLOAT8,
        Value::Bytes(_) => Type::BYTEA,
    }
}

/// Waits for an answer on this thread.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
