//! `plinth doctor`: is the machine able, and is the state directory whole?

use std::process::ExitCode;

use plinth_core::{Coded, codes};
use plinth_tensor::{Device, Runtime, RuntimeConfig};
use serde_json::json;

use crate::{
    config::Settings,
    output::{Failure, Output, io_failure},
    plugins,
};

/// One line of the answer.
struct Line {
    what: &'static str,
    good: bool,
    text: String,
    hint: Option<String>,
}

/// `plinth doctor`
pub(crate) fn doctor(repair: bool, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let mut lines = vec![runtime(settings)];
    let found = plugins::all(settings);
    lines.push(Line {
        what: "plugins",
        good: !found.is_empty(),
        text: match found.len() {
            0 => "none found".into(),
            n => format!("{n} found: {}", found.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ")),
        },
        hint: found.is_empty().then(|| "build the first-party plugins with `cargo xtask plugins`".into()),
    });
    let dir = settings.state_dir();
    // On a new machine the usual directory is not there yet; one that somebody named should be.
    let looked = if dir.exists() || settings.is_set("state-dir") {
        settings.setup().and_then(|setup| plinth_store::doctor_set(&dir, &setup, repair)).map(Some)
    } else {
        Ok(None)
    };
    let state = match &looked {
        Ok(None) => format!("{} is not there yet; the first run makes it", dir.display()),
        Ok(Some(findings)) if findings.is_empty() => format!("{} is whole", dir.display()),
        Ok(Some(findings)) => format!("{} findings in {}", findings.len(), dir.display()),
        Err(error) => error.to_string(),
    };
    let good = looked.as_ref().is_ok_and(|findings| findings.as_ref().is_none_or(Vec::is_empty));
    lines.push(Line { what: "state", good, text: state, hint: None });
    let (findings, refused) = match looked {
        Ok(findings) => (findings.unwrap_or_default(), None),
        Err(error) => (Vec::new(), Some(error)),
    };

    let harm = findings.iter().filter(|finding| finding.harmful && !finding.repaired).count();
    let value = json!({
        "machine": lines.iter().map(|line| json!({"what": line.what, "good": line.good, "text": line.text, "hint": line.hint})).collect::<Vec<_>>(),
        "findings": findings,
    });
    output
        .data(&value, || {
            let mut text = String::new();
            for line in &lines {
                text.push_str(&format!("{} {:<8} {}\n", if line.good { "ok " } else { "!! " }, line.what, line.text));
                if let Some(hint) = &line.hint {
                    text.push_str(&format!("             {hint}\n"));
                }
            }
            for finding in &findings {
                let did = if finding.repaired { "done" } else { "repair" };
                text.push_str(&format!("  - {}\n    {did}: {}\n", finding.what, finding.repair));
            }
            text
        })
        .map_err(|error| io_failure("stdout", &error))?;
    if let Some(error) = refused {
        return Err(error.into());
    }
    if harm > 0 {
        return Err(Failure::new(codes::BLOB_CORRUPT, format!("{harm} findings in {} mean a loss", dir.display()))
            .hint(if repair {
                "what could not be repaired needs a backup"
            } else {
                "`plinth doctor --repair` sets damaged blobs aside and forgets results that can be made again"
            }));
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime(settings: &Settings) -> Line {
    let library = &settings.config.onnxruntime;
    let library = (library != "auto").then(|| settings.project.join(library));
    match Runtime::start(&RuntimeConfig { library, device: Device::Auto }) {
        Ok(runtime) => {
            let version = runtime.version().map(|version| format!("{version}, ")).unwrap_or_default();
            let text = format!("ONNX Runtime {version}{}", runtime.library().display());
            Line { what: "models", good: true, text, hint: None }
        }
        Err(error) => Line { what: "models", good: false, text: error.to_string(), hint: error.hint() },
    }
}
