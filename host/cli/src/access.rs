//! `plinth user`, `plinth token` and `plinth audit`: who may do what, and who did what.

use std::{io::IsTerminal, process::ExitCode};

use plinth_core::{Micros, codes};
use plinth_store::{StoreError, verify_audit};
use plinth_tracking::{Resource, Role, Tracking};
use serde_json::json;

use crate::{
    args::{AuditCommand, RoleArg, TokenCommand, UserCommand},
    host::Host,
    models::day,
    output::{Failure, Output, io_failure, table, write_out},
};

/// Who a command of this machine's operator is done by.
pub(crate) fn operator() -> String {
    let name = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "operator".to_owned());
    format!("{name} (command line)")
}

/// `plinth user`
pub(crate) fn user(command: &UserCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let (tracking, who) = (host.tracking(), operator());
    match command {
        UserCommand::Add { name, role, password_file } => {
            tracking.add_user(name, &password(password_file.as_deref())?, (*role).into(), &who)?;
            output.say(format!("added {name}"));
        }
        UserCommand::Passwd { name, password_file } => {
            known(tracking, name)?;
            tracking.set_password(name, &password(password_file.as_deref())?, &who)?;
            output.say(format!("{name} has another password now"));
        }
        UserCommand::Role { name, role } => {
            known(tracking, name)?;
            tracking.set_role(name, (*role).into(), &who)?;
            output.say(format!("{name} is {} now", Role::from(*role).name()));
        }
        UserCommand::Grant { name, role, experiment, model } => {
            known(tracking, name)?;
            let role: Role = (*role).into();
            tracking.grant(name, &resource(tracking, experiment.as_deref(), model.as_deref())?, role, &who)?;
            output.say(format!("granted {} to {name}", role.name()));
        }
        UserCommand::Revoke { name, experiment, model } => {
            known(tracking, name)?;
            let resource = resource(tracking, experiment.as_deref(), model.as_deref())?;
            tracking.grant(name, &resource, Role::None, &who)?;
            output.say(format!("revoked from {name}"));
        }
        UserCommand::Remove { name } => {
            known(tracking, name)?;
            tracking.remove_user(name, &who)?;
            output.say(format!("removed {name}"));
        }
        UserCommand::List => {
            let users = tracking.users()?;
            output
                .data(&json!(users), || {
                    let rows = users.iter().map(|user| {
                        let grants = user.grants.iter().map(|(resource, role)| match resource {
                            Resource::Experiment(id) => format!("experiment {id}: {}", role.name()),
                            Resource::Model(name) => format!("model {name}: {}", role.name()),
                        });
                        let grants: Vec<String> = grants.collect();
                        vec![user.name.clone(), user.role.name().to_owned(), grants.join(", "), day(user.created)]
                    });
                    table(["user", "role", "grants", "added"], rows)
                })
                .map_err(|error| io_failure("stdout", &error))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `plinth token`
pub(crate) fn token(command: &TokenCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    let tracking = host.tracking();
    match command {
        TokenCommand::Create { user, note, days } => {
            known(tracking, user)?;
            let expires = days.map(|days| tracking.now() + Micros::from(days) * 86_400_000_000);
            let (token_id, secret) = tracking.add_token(user, note, expires, &operator())?;
            output.say("the token is shown this once; give it to clients as MLFLOW_TRACKING_TOKEN");
            let value = json!({"token_id": token_id, "token": secret});
            let text = || format!("{secret}\n");
            output.data(&value, text).map_err(|error| io_failure("stdout", &error))?;
        }
        TokenCommand::List { user } => {
            let tokens = tracking.tokens(user.as_deref())?;
            output
                .data(&json!(tokens), || {
                    let rows = tokens.iter().map(|token| {
                        let expires = token.expires.map_or_else(|| "never".to_owned(), day);
                        vec![
                            token.token_id.clone(),
                            token.user.clone(),
                            token.note.clone(),
                            day(token.created),
                            expires,
                        ]
                    });
                    table(["token", "user", "note", "made", "expires"], rows)
                })
                .map_err(|error| io_failure("stdout", &error))?;
        }
        TokenCommand::Revoke { token } => {
            tracking.revoke_token(token, &operator())?;
            output.say("the token is of no use any more");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `plinth audit`
pub(crate) fn audit(command: &AuditCommand, host: &Host, output: Output) -> Result<ExitCode, Failure> {
    match command {
        AuditCommand::Log { principal, limit } => {
            let sql = "SELECT seq, time_us, principal, action, subject, detail FROM audit
                       WHERE $1 = '' OR principal = $1 ORDER BY seq DESC LIMIT $2";
            let parameters = [principal.as_deref().unwrap_or_default().into(), (*limit).into()];
            let rows = host.store().catalog().read::<_, StoreError>(|tx| {
                let rows = tx.query(sql, &parameters)?;
                rows.iter()
                    .map(|row| Ok((row.int(0)?, row.int(1)?, row.text(2)?, row.text(3)?, row.text(4)?, row.text(5)?)))
                    .collect::<Result<Vec<_>, _>>()
            })?;
            let value = rows.iter().map(|(seq, time, principal, action, subject, detail)| {
                let detail = serde_json::from_str(detail).unwrap_or_else(|_| json!(detail));
                json!({"seq": seq, "time_us": time, "principal": principal, "action": action, "subject": subject, "detail": detail})
            });
            let value: serde_json::Value = value.collect();
            output
                .data(&value, || {
                    let rows = rows.into_iter().map(|(seq, time, principal, action, subject, _)| {
                        vec![seq.to_string(), day(time), principal, action, subject]
                    });
                    table(["record", "when", "who", "did", "to"], rows)
                })
                .map_err(|error| io_failure("stdout", &error))?;
        }
        AuditCommand::Verify => {
            let records = host.store().catalog().read(verify_audit)?;
            let text = || format!("the audit log is whole: {records} records\n");
            output
                .data(&json!({"whole": true, "records": records}), text)
                .map_err(|error| io_failure("stdout", &error))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells a wrong name with a suggestion.
fn known(tracking: &Tracking, name: &str) -> Result<(), Failure> {
    let users = tracking.users()?;
    if users.iter().any(|user| user.name == name) {
        return Ok(());
    }
    let hint = plinth_core::did_you_mean(name, users.iter().map(|user| user.name.as_str()));
    Err(Failure::new(codes::USER_NOT_FOUND, format!("there is no user `{name}`")).hint(hint))
}

fn resource(tracking: &Tracking, experiment: Option<&str>, model: Option<&str>) -> Result<Resource, Failure> {
    if let Some(name) = model {
        return Ok(Resource::Model(tracking.registered_model(name)?.name));
    }
    let wanted = experiment.unwrap_or_default();
    let found = tracking.experiments()?.into_iter().find(|e| e.name == wanted || e.experiment_id == wanted);
    let found = found.ok_or_else(|| {
        Failure::new(codes::EXPERIMENT_NOT_FOUND, format!("there is no experiment `{wanted}`"))
            .hint("`plinth experiment list` shows what there is")
    })?;
    Ok(Resource::Experiment(found.experiment_id))
}

/// From a file, or from one line of stdin: a password on the command line would stand in the shell's history.
fn password(file: Option<&std::path::Path>) -> Result<String, Failure> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| io_failure(&path.display().to_string(), &error))?,
        None => {
            if std::io::stdin().is_terminal() {
                write_out(b"password (it is shown): ").map_err(|error| io_failure("stdout", &error))?;
            }
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map_err(|error| io_failure("stdin", &error))?;
            line
        }
    };
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::new(codes::USAGE, "no password was given")
            .hint("write it to stdin, or name a file with --password-file"));
    }
    Ok(password.to_owned())
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::None => Self::None,
            RoleArg::Reader => Self::Reader,
            RoleArg::Editor => Self::Editor,
            RoleArg::Approver => Self::Approver,
            RoleArg::Admin => Self::Admin,
        }
    }
}
