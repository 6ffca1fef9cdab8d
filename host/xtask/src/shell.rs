//! Starting other programs, and talking about it.
//!
//! A command that a person waits for is announced by what it is for; its own output appears only where it is the
//! point (a build, a test) or where it failed.

use std::{
    io::IsTerminal,
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

/// Whether this runs where nothing may be skipped.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Says one thing to the person who waits. Talk goes to stderr.
pub(crate) fn say(line: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("\x1b[1;36mxtask\x1b[0m {line}");
    } else {
        eprintln!("xtask {line}");
    }
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        short if short < 10.0 => format!("{short:.1} s"),
        long if long < 120.0 => format!("{long:.0} s"),
        longer => format!("{:.0} min {:02.0} s", (longer / 60.0).floor(), longer % 60.0),
    }
}

/// The command as one could type it.
pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy();
            if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"$*;&|<>()".contains(c)) {
                format!("'{}'", word.replace('\'', r"'\''"))
            } else {
                word.into_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs a command whose output the user should see; an exit code other than 0 is an error.
pub(crate) fn stream(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Runs a command quietly and returns what it wrote to stdout; on failure the error holds what it wrote.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("`{}` ended with {}\n{}", line(command), output.status, said(&output));
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote something that is not text", line(command)))
}

/// Runs a command quietly.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", line(command)))
}

/// What a command said on both streams.
pub(crate) fn said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    both.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Whether a program of that name can be started.
pub(crate) fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

/// Installs distribution packages for the whole machine, saying so first; where that is not ours to do, the error is
/// the command to type.
pub(crate) fn apt_install(packages: &[&str], purpose: &str) -> Result<()> {
    let command = format!("apt-get install --yes --no-install-recommends {}", packages.join(" "));
    if !has("apt-get") {
        bail!("{purpose} needs these packages, and this is not a Debian: {}", packages.join(", "));
    }
    // Root is told by `id`, so that no unsafe call and no dependency is needed.
    let root = read(Command::new("id").arg("-u"))?.trim() == "0";
    let may = root || (has("sudo") && output(Command::new("sudo").args(["-n", "true"]))?.status.success());
    if !may {
        bail!("{purpose} needs packages that only root can install; run: sudo apt-get update && sudo {command}");
    }
    say(&format!("installing for the whole machine, for {purpose}: {command}"));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new(if root { "env" } else { "sudo" });
        // sudo passes no environment on, so env sets it on its other side.
        command.args(if root { &[][..] } else { &["-n", "env"] });
        read(command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments))
    };
    apt(&["update", "--quiet"])?;
    apt(&[&["install", "--yes", "--quiet", "--no-install-recommends"], packages].concat())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_command_is_told_with_its_line_and_its_words() {
        let error = read(Command::new("sh").args(["-c", "echo lost >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("sh -c 'echo lost >&2; exit 3'"), "{error}");
        assert!(error.contains("lost") && error.contains('3'), "{error}");
    }

    #[test]
    fn durations_read_naturally() {
        let told = [250, 42_000, 190_000].map(|ms| seconds(Duration::from_millis(ms)));
        assert_eq!(told, ["0.2 s", "42 s", "3 min 10 s"]);
    }
}
