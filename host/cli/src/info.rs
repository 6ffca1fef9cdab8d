//! Commands that only tell: error codes, configuration, completions.

use std::process::ExitCode;

use clap::CommandFactory;
use plinth_core::codes;
use serde_json::{Map, Value, json};

use crate::{
    args::Cli,
    config::Settings,
    output::{Failure, Output, io_failure, table, write_out},
};

/// `plinth errors`
pub(crate) fn errors(output: Output) -> Result<ExitCode, Failure> {
    let value: Vec<Value> = codes::ALL
        .iter()
        .map(|code| {
            json!({
                "code": code.name(),
                "exit_code": code.class().exit_code(),
                "http_status": code.http_status(),
                "retryable": code.retryable(),
                "meaning": code.meaning(),
            })
        })
        .collect();
    output
        .data(&Value::Array(value), || {
            let rows = codes::ALL.iter().map(|code| {
                vec![code.name().to_owned(), code.class().exit_code().to_string(), code.meaning().to_owned()]
            });
            table(["code", "exit", "meaning"], rows)
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// `plinth config show`
pub(crate) fn config(settings: &Settings, origin: bool, output: Output) -> Result<ExitCode, Failure> {
    let rows = settings.rows();
    let value: Map<String, Value> =
        rows.iter().map(|(path, value, from)| (path.clone(), json!({"value": value, "origin": from}))).collect();
    output
        .data(&Value::Object(value), || {
            if origin {
                table(["setting", "value", "origin"], rows.iter().map(|(a, b, c)| vec![a, b, c]))
            } else {
                rows.iter().map(|(path, value, _)| format!("{path} = {value}\n")).collect()
            }
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// `plinth completions`
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "plinth", &mut script);
    write_out(&script).map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}
