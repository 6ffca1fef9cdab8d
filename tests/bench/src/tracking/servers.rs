//! The tracking servers that are measured, each durable before it acknowledges.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{load, server::Server};

/// `plinth up`: a write is acknowledged after the fsync that holds it, which those who wait at the time share.
pub(super) fn plinth(binary: &Path) -> Result<Server> {
    start(|port, folder| {
        let mut command = Command::new(binary);
        command.args(["up", "--port", &port.to_string(), "--data-dir"]).arg(folder);
        command
    })
}

/// MLflow with SQLite as it comes: a rollback journal and `synchronous=FULL`; one worker process.
pub(super) fn mlflow(bin: &Path) -> Result<Server> {
    start(|port, folder| {
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
pub(super) fn fasttrackml(bin: &Path) -> Result<Server> {
    start(|port, folder| {
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

/// The database of the MLflow server.
pub(super) fn database(server: &Server) -> Result<PathBuf> {
    Ok(server.folder.as_ref().context("a server with a folder")?.path().join("mlflow.db"))
}

fn start(command: impl Fn(u16, &Path) -> Command) -> Result<Server> {
    Server::start_on(command, |port| load::once(port, "GET", "/health", "").map(drop))
}
