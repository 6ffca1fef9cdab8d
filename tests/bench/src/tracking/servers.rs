//! The tracking servers that are measured, each durable before it acknowledges.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::load;

/// One running server.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    /// From its start to its first answer.
    pub(super) ready: Duration,
    pub(super) folder: tempfile::TempDir,
}

impl Server {
    /// `plinth up`: a write is acknowledged after the fsync that holds it, which those who wait at the time share.
    pub(super) fn plinth(binary: &Path) -> Result<Self> {
        Self::start(|port, folder| {
            let mut command = Command::new(binary);
            command.args(["up", "--port", &port.to_string(), "--data-dir"]).arg(folder);
            command
        })
    }

    /// MLflow with SQLite as it comes: a rollback journal and `synchronous=FULL`; one worker process.
    pub(super) fn mlflow(bin: &Path) -> Result<Self> {
        Self::start(|port, folder| {
            let mut command = Command::new(bin.join("python"));
            command
                .args(["-m", "mlflow", "server", "--workers", "1", "--port", &port.to_string(), "--backend-store-uri"])
                .arg(format!("sqlite:///{}", folder.join("mlflow.db").display()))
                .arg("--artifacts-destination")
                .arg(folder.join("artifacts"))
                .env("MLFLOW_DISABLE_TELEMETRY", "true")
                // A connection for each client: with its usual fifteen, sixteen clients are refused after half a minute.
                .env("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE", "32")
                .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false");
            command
        })
    }

    /// FastTrackML with SQLite in its write-ahead mode, told to sync each commit (`synchronous=FULL`): left alone, it
    /// acknowledges what a power cut can take back.
    pub(super) fn fasttrackml(bin: &Path) -> Result<Self> {
        Self::start(|port, folder| {
            let mut command = Command::new(bin.join("fml"));
            command
                .args(["server", "--log-level", "error", "--listen-address", &format!("127.0.0.1:{port}")])
                .arg("--database-uri")
                .arg(format!("sqlite://{}?_synchronous=FULL", folder.join("fasttrackml.db").display()))
                .arg("--default-artifact-root")
                .arg(folder.join("artifacts"));
            command
        })
    }

    fn start(command: impl Fn(u16, &Path) -> Command) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // Free a moment ago; the peers cannot be asked to choose.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = command(port, folder.path());
        let said = folder.path().join("said");
        let log = File::create(&said)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir(folder.path());
        let start = Instant::now();
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let mut server = Self { child, port, ready: Duration::ZERO, folder };
        while load::once(port, "GET", "/health", "").is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{command:?} ended with {status}: {}", std::fs::read_to_string(&said).unwrap_or_default());
            }
            if start.elapsed() > Duration::from_secs(120) {
                bail!("{command:?} does not answer");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        server.ready = start.elapsed();
        Ok(server)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn database(&self) -> PathBuf {
        self.folder.path().join("mlflow.db")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first, so that a parent ends its workers.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(10) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
