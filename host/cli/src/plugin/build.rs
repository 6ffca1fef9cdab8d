//! `plinth plugin build`: a project's component, by its language's own tools.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use plinth_author::{
    Manifest,
    project::{Language, SHELF},
};
use plinth_core::{ContentHash, codes};
use serde_json::{Value, json};

use super::{
    args::{ComponentizeArgs, PluginBuildArgs},
    tools::{self, RUST_TARGET, Rust, said},
};
use crate::output::{Failure, Output, io_failure, read_failure};

/// A project of a plugin.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) folder: PathBuf,
    pub(super) language: Language,
    /// Who the plugin is, as JSON.
    manifest: String,
    name: String,
}

impl Project {
    /// Tells the language of a folder, and reads its manifest.
    pub(super) fn read(folder: &Path) -> Result<Self, Failure> {
        let entries = std::fs::read_dir(folder).map_err(|error| read_failure(folder, &error))?;
        let names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let language = Language::of(names.iter().map(String::as_str)).ok_or_else(|| {
            Failure::new(codes::FILE_NOT_FOUND, format!("`{}` is no project of a plugin", folder.display()))
                .hint("it has none of Cargo.toml, plugin.py, plugin.js, go.mod and *.c; `plinth plugin new` begins one")
        })?;
        let manifest = match language {
            Language::Rust => {
                let mut cargo = Command::new("cargo");
                cargo.current_dir(folder).args(["metadata", "--no-deps", "--format-version", "1", "--quiet"]);
                let done = cargo.stdin(Stdio::null()).stderr(Stdio::null()).output();
                let done = done.map_err(|error| not_there("cargo", &error))?;
                let told: Value = serde_json::from_slice(&done.stdout).map_err(|_| {
                    let message = format!("cargo cannot read `{}`", folder.join("Cargo.toml").display());
                    Failure::new(codes::PLUGIN_BUILD_FAILED, message).hint("`cargo metadata` says why")
                })?;
                let own = folder.join("Cargo.toml").canonicalize().unwrap_or_default();
                let mut packages = told["packages"].as_array().into_iter().flatten();
                let package = packages.find(|package| package["manifest_path"].as_str().map(Path::new) == Some(&own));
                Manifest::of_package(package.unwrap_or(&Value::Null)).map_err(|error| broken(&error))?
            }
            _ => {
                let path = folder.join("plugin.json");
                std::fs::read_to_string(&path).map_err(|error| {
                    read_failure(&path, &error)
                        .hint(r#"it says who the plugin is: {"name": "my-scale", "version": "0.1.0", "kind": ["transform"], "capabilities": []}"#)
                })?
            }
        };
        let name = Manifest::read(manifest.as_bytes()).map_err(|error| broken(&error))?.name;
        Ok(Self { folder: folder.to_owned(), language, manifest, name })
    }

    /// Where its component is.
    pub(super) fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.name))
    }

    /// A source that changed since its component was built.
    pub(super) fn changed(&self) -> Option<PathBuf> {
        let changed = |path: &Path| std::fs::metadata(path).and_then(|about| about.modified()).ok();
        let built = changed(&self.component())?;
        let source = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
            ["plugin.json", "Cargo.toml"].contains(&name) || ["c", "h", "go", "js", "py", "rs"].contains(&end)
        };
        let folders = [self.folder.clone(), self.folder.join("src")];
        let mut files = folders.iter().flat_map(std::fs::read_dir).flatten().flatten().map(|entry| entry.path());
        files.find(|path| source(path) && changed(path).is_some_and(|at| at > built))
    }

    /// The folder of its SDK: on its own shelf, or beside the examples in Plinth's repository.
    fn sdk(&self) -> Result<PathBuf, Failure> {
        let name = self.language.name();
        let own = self.folder.join(SHELF).join("sdk").join(name);
        let whole = self.folder.canonicalize().unwrap_or_default();
        let above = whole.ancestors().find(|folder| folder.file_name().is_some_and(|last| last == name));
        let above = above.filter(|folder| folder.parent().and_then(Path::file_name).is_some_and(|last| last == "sdk"));
        [Some(own), above.map(Path::to_owned)].into_iter().flatten().find(|sdk| sdk.is_dir()).ok_or_else(|| {
            let message = format!("`{}` has no {SHELF}/sdk/{name}", self.folder.display());
            Failure::new(codes::FILE_NOT_FOUND, message)
                .hint(format!("`plinth plugin new` puts it there; copy it from a new project in {name}"))
        })
    }

    /// Builds its component into a file.
    pub(super) fn build(&self, out: &Path, output: Output) -> Result<(), Failure> {
        let out = std::path::absolute(out).map_err(|error| io_failure(&out.display().to_string(), &error))?;
        let folder = self.folder.canonicalize().map_err(|error| read_failure(&self.folder, &error))?;
        match self.language {
            Language::Rust => self.rust(&folder, &out),
            Language::Python => {
                let script = self.sdk()?.join("build.py");
                let text = std::fs::read_to_string(&script).map_err(|error| read_failure(&script, &error))?;
                let version = text.lines().find_map(|line| line.strip_prefix("VERSION = \"")?.strip_suffix('"'));
                let version = version.unwrap_or_default();
                // Python's own where it has the version that the SDK is made for.
                let probe = "import importlib.metadata as m; print(m.version('componentize-py'))";
                let own = tools::python()?;
                let python = match said(Command::new(&own).args(["-c", probe])) {
                    Some(found) if found == version => own,
                    _ => tools::python_with(&format!("componentize-py=={version}"), output)?,
                };
                run(Command::new(python).arg(script).arg(folder).arg(out))
            }
            Language::Js => {
                let script = self.sdk()?.join("build.mjs").canonicalize();
                let script = script.map_err(|error| io_failure("build.mjs", &error))?;
                let path = tools::node(output)?.map(|first| {
                    let rest = std::env::var("PATH").unwrap_or_default();
                    format!("{}:{rest}", first.display())
                });
                let with_node = |program: &str| {
                    let mut command = Command::new("env");
                    command.args(path.iter().map(|path| format!("PATH={path}"))).arg(program);
                    command
                };
                let package = folder.ancestors().find(|folder| folder.join("package.json").is_file());
                let package = package.unwrap_or(&folder);
                if !package.join("node_modules/componentize-qjs").is_dir() {
                    output.say(format!("npm ci in {}", package.display()));
                    run(with_node("npm").args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(package))?;
                }
                run(with_node("node").arg(script).arg(&folder).arg(out))
            }
            Language::Go => {
                let mut script = self.script()?;
                script.env("GO", tools::go(output)?);
                run(script.arg(folder).arg(out))
            }
            Language::C => {
                let mut script = self.script()?;
                script.env("CC_WASM", tools::c_compiler(output)?);
                run(script.arg(folder).arg(out))
            }
        }
    }

    /// The SDK's `build.sh`, which calls this program to make the component.
    fn script(&self) -> Result<Command, Failure> {
        let own = std::env::current_exe().map_err(|error| io_failure("this program", &error))?;
        let mut command = Command::new("bash");
        command.arg(self.sdk()?.join("build.sh")).env("PLINTH", own);
        Ok(command)
    }

    fn rust(&self, folder: &Path, out: &Path) -> Result<(), Failure> {
        let rust = Rust::find(folder)?;
        let mut cargo = rust.cargo();
        cargo.current_dir(folder).args(["rustc", "--release", "--lib", "--crate-type", "cdylib", "--quiet"]);
        cargo.args(["--target", RUST_TARGET, "--message-format", "json-render-diagnostics"]);
        if rust == Rust::Distribution {
            cargo.arg("-Zbuild-std=std,panic_abort");
        }
        // SIMD for the plugin itself only: as a flag for all it would be one more standard library to build.
        cargo.args(["--", "-Ctarget-feature=+simd128"]).env_remove("RUSTFLAGS");
        let done = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let done = done.map_err(|error| not_there("cargo", &error))?;
        if !done.status.success() {
            return Err(Failure::new(codes::PLUGIN_BUILD_FAILED, "the plugin does not compile; see above"));
        }
        let text = String::from_utf8_lossy(&done.stdout);
        let mut made = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).flat_map(|message| {
            let files = message["filenames"].as_array().cloned().unwrap_or_default();
            files.into_iter().filter_map(|file| file.as_str().map(PathBuf::from))
        });
        let module = made.rfind(|path| path.extension().is_some_and(|ext| ext == "wasm"));
        let module = module.ok_or_else(|| Failure::new(codes::PLUGIN_BUILD_FAILED, "cargo made no module"))?;
        let core = std::fs::read(&module).map_err(|error| read_failure(&module, &error))?;
        encode(&core, self.manifest.as_bytes(), None, out)
    }
}

fn broken(error: &plinth_author::ManifestError) -> Failure {
    Failure::new(codes::PLUGIN_BUILD_FAILED, error.to_string())
}

fn not_there(program: &str, error: &std::io::Error) -> Failure {
    Failure::new(codes::TOOL_NOT_FOUND, format!("`{program}` cannot be run: {error}"))
        .hint("install it, or put it on the PATH; `plinth plugin build --help` says what each language needs")
}

/// Runs a tool, whose words go to stderr.
fn run(command: &mut Command) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let done = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let done = done.map_err(|error| not_there(&program, &error))?;
    if done.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&done.stdout);
    let message = match told.trim() {
        "" => "the plugin does not build; see above".to_owned(),
        told => format!("the plugin does not build: {told}"),
    };
    Err(Failure::new(codes::PLUGIN_BUILD_FAILED, message))
}

/// Makes a component of a module, whole or not at all.
fn encode(core: &[u8], manifest: &[u8], adapter: Option<&[u8]>, out: &Path) -> Result<(), Failure> {
    let component = plinth_author::componentize(core, manifest, adapter)
        .map_err(|error| Failure::new(codes::PLUGIN_BUILD_FAILED, error.to_string()))?;
    let beside = out.with_extension(format!("wasm.{}", std::process::id()));
    std::fs::write(&beside, component)
        .and_then(|()| std::fs::rename(&beside, out))
        .map_err(|error| io_failure(&out.display().to_string(), &error))
}

/// `plinth plugin componentize`
pub(super) fn componentize(args: &ComponentizeArgs) -> Result<ExitCode, Failure> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| read_failure(path, &error));
    let adapter = args.adapt.as_deref().map(read).transpose()?;
    encode(&read(&args.core)?, &read(&args.manifest)?, adapter.as_deref(), &args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// `plinth plugin build`
pub(super) fn build(args: &PluginBuildArgs, output: Output) -> Result<ExitCode, Failure> {
    let start = Instant::now();
    let project = Project::read(&args.project)?;
    let out = args.output.clone().unwrap_or_else(|| project.component());
    let bar = output.live.then(|| {
        let bar = indicatif::ProgressBar::new_spinner().with_message(format!(
            "building {} ({})",
            project.name,
            project.language.name()
        ));
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        bar
    });
    let built = project.build(&out, output);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    built.map_err(|mut failure| {
        // Or the next `plinth plugin run` would be taken for a try of what was just written.
        if out.is_file() {
            failure.message.push_str(&format!("; `{}` is still of an earlier build", out.display()));
        }
        failure
    })?;
    let bytes = std::fs::read(&out).map_err(|error| read_failure(&out, &error))?;
    let (hash, seconds) = (ContentHash::of(&bytes), start.elapsed().as_secs_f64());
    let told = json!({
        "name": project.name, "path": out, "language": project.language.name(), "bytes": bytes.len(), "hash": hash,
    });
    output
        .data(&told, || {
            format!("{}: {} KiB, blake3 {hash}, in {seconds:.1} s\n", out.display(), bytes.len().div_ceil(1024))
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}
