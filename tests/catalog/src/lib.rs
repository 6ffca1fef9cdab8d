//! Where tests keep their catalogs: PostgreSQL servers that start with a test and end with it.
//!
//! [`url`] is for suites that run on SQLite or on PostgreSQL, as the environment variable [`VARIABLE`] says; [`postgres`]
//! for tests of PostgreSQL itself. The tests of one process share a server, and each has a schema of its own there.
//! Knows nothing of Plinth but what a catalog's URL looks like.
#![expect(clippy::expect_used, clippy::panic, reason = "a test whose scene cannot be set has failed")]

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// `sqlite` or nothing for SQLite; `postgres` for a server that is started; `postgres://…` for one that runs.
pub const VARIABLE: &str = "PLINTH_TEST_CATALOG";

/// What to do where the server's programs are missing.
const FIX: &str = "PostgreSQL's server is not installed: run `cargo xtask setup`, or `apt-get install postgresql`, or put \
                   the folder of initdb and pg_ctl into PATH";

/// A new catalog for a test, if the suite is to run on PostgreSQL.
pub fn url() -> Option<String> {
    match env::var(VARIABLE).unwrap_or_default().as_str() {
        "" | "sqlite" => None,
        "postgres" => Some(postgres()),
        url if url.starts_with("postgres") => Some(schema(url)),
        other => panic!("{VARIABLE} is `{other}`: write sqlite, postgres, or the URL of a server"),
    }
}

/// A new catalog on PostgreSQL.
pub fn postgres() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    schema(&SERVER.get_or_init(Server::start).url())
}

/// A URL that leads to a new schema of the same database.
fn schema(url: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    sql(url, &format!("CREATE SCHEMA {name}"));
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}options=-csearch_path%3D{name}")
}

/// Runs statements on a server by its own client; returns what they say, a row a line.
pub fn sql(url: &str, text: &str) -> String {
    let out = Command::new(programs().join("psql"))
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", url])
        .args(["--command", text])
        .output()
        .expect("psql runs");
    assert!(out.status.success(), "{text}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("psql writes UTF-8")
}

/// A server of one's own, for tests that stop it.
#[derive(Debug)]
pub struct Server {
    port: u16,
    dir: PathBuf,
    process: Child,
    /// The server ends when this does, also if the test is killed.
    leash: Option<ChildStdin>,
}

impl Server {
    /// A new server on a free port of the loopback interface.
    ///
    /// # Panics
    /// If PostgreSQL is not installed or does not start.
    pub fn start() -> Self {
        let mut told = String::new();
        // A port that was free may be taken by another before the server has it.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
            let mut command = as_owner("sh");
            command.args(["-c", include_str!("server.sh"), "server"]).arg(programs()).arg(port.to_string());
            let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
            let mut process = spawned.expect("a shell runs");
            let leash = process.stdin.take();
            let mut dir = String::new();
            BufReader::new(process.stdout.take().expect("it is piped")).read_line(&mut dir).expect("it is text");
            if !dir.is_empty() {
                return Self { port, dir: dir.trim().into(), process, leash };
            }
            told.clear();
            process.stderr.take().expect("it is piped").read_to_string(&mut told).expect("it is text");
            let _ = process.wait();
        }
        panic!("PostgreSQL does not start: {told}");
    }

    /// Its URL, for its superuser.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it as if it had crashed.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn stop(&self) {
        self.control(&["-m", "immediate", "stop"]);
    }

    /// Starts it again after [`Server::stop`].
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&self) {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c fsync=off",
            self.port,
            self.dir.display()
        );
        self.control(&["-l", &self.dir.join("log").display().to_string(), "-o", &options, "start"]);
    }

    fn control(&self, arguments: &[&str]) {
        let mut command = as_owner(programs().join("pg_ctl"));
        command.arg("-D").arg(self.dir.join("data")).arg("-w").args(arguments);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("pg_ctl runs");
        assert!(status.success(), "pg_ctl {arguments:?}: {status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.leash = None;
        let _ = self.process.wait();
    }
}

/// A command as a user who may run a server: root may not.
fn as_owner(program: impl AsRef<Path>) -> Command {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout.trim_ascii() != b"0" {
        return Command::new(program.as_ref());
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program.as_ref());
    // A folder that the other user may not enter is no place to start from.
    command.current_dir("/");
    command
}

/// The folder of initdb, pg_ctl and psql: Debian's newest, or one in PATH.
fn programs() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<(u32, PathBuf)> = installed
        .map(|entry| (entry.file_name().to_string_lossy().parse().unwrap_or(0), entry.path().join("bin")))
        .collect();
    debian.sort();
    let debian = debian.into_iter().rev().map(|(_, folder)| folder);
    debian
        .chain(env::split_paths(&path))
        .find(|folder| folder.join("initdb").is_file())
        .unwrap_or_else(|| panic!("{FIX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_restarts_and_leaves_nothing() {
        let server = Server::start();
        assert_eq!(sql(&server.url(), "SELECT 'b' > 'A'").trim(), "t");
        let (one, two) = (schema(&server.url()), schema(&server.url()));
        assert_ne!(one, two);
        sql(&one, "CREATE TABLE t (n BIGINT); INSERT INTO t VALUES (7)");
        server.stop();
        server.start_again();
        assert_eq!(sql(&one, "SELECT n FROM t").trim(), "7");
        let dir = server.dir.clone();
        drop(server);
        assert!(!dir.exists(), "{}", dir.display());
    }
}
