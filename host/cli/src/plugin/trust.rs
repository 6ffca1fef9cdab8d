//! `plinth plugin sign`, `verify`, `push` and `pull`: whose a component is, and where it is kept.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use plinth_core::{ContentHash, codes};
use plinth_plugin::Plugin;
use plinth_registry::{About, Lock, Locked, PublicKey, Registry, Signature, SigningKey};
use serde_json::json;

use super::{
    args::{PluginPullArgs, PluginPushArgs, PluginSignArgs, PluginVerifyArgs},
    check::kebab,
    component_of,
};
use crate::{
    components::Components,
    config::Settings,
    output::{Failure, Output, io_failure, read_failure},
    plugins::PluginRef,
};

/// Where a component's signature is: beside it.
pub(crate) fn signature_of(component: &Path) -> PathBuf {
    let mut path = component.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// Reads a component's signature; none if it has none.
pub(crate) fn read_signature(component: &Path) -> Result<Option<Signature>, Failure> {
    let path = signature_of(component);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Signature::from_json(&text)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(read_failure(&path, &error)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .map_err(|error| io_failure(&path.display().to_string(), &error))
}

/// Writes a key that nobody else can read, to a file that is not there yet.
fn write_key(path: &Path, pem: &str) -> Result<(), Failure> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(pem.as_bytes())).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(codes::ALREADY_EXISTS, format!("`{}` exists", path.display()))
                .hint("leave out --new-key to sign with it, or name another file")
        }
        _ => io_failure(&path.display().to_string(), &error),
    })
}

/// `plinth plugin sign`
pub(super) fn sign(args: &PluginSignArgs, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let found = PluginRef::named(&component_of(&args.plugin)?).find(settings)?;
    if args.new_key {
        write_key(&args.key, &SigningKey::generate()?)?;
        output.say(format!("made a key in {}: keep it secret, and keep a copy", args.key.display()));
    }
    let pem = std::fs::read_to_string(&args.key)
        .map_err(|error| read_failure(&args.key, &error).hint("--new-key makes one"))?;
    let key = SigningKey::from_pem(&pem)?;
    let bytes = std::fs::read(&found.path).map_err(|error| read_failure(&found.path, &error))?;
    let signature = key.sign(&bytes);
    let path = signature_of(&found.path);
    write(&path, (signature.to_json() + "\n").as_bytes())?;
    output
        .data(&json!({"plugin": found.name, "signature": path, "key": key.public()}), || {
            format!(
                "{}\n  by {}\n  trusted where plinth.toml has [trust] keys = [\"{}\"]\n",
                path.display(),
                key.public(),
                key.public()
            )
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// `plinth plugin verify`
pub(super) fn verify(args: &PluginVerifyArgs, settings: &Settings, output: Output) -> Result<ExitCode, Failure> {
    let found = PluginRef::named(&component_of(&args.plugin)?).find(settings)?;
    let bytes = std::fs::read(&found.path).map_err(|error| read_failure(&found.path, &error))?;
    let given = args.key.iter().map(|key| key.parse::<PublicKey>()).collect::<Result<Vec<_>, _>>()?;
    let trusted = if given.is_empty() { settings.config.trust.keys.clone() } else { given };
    let signature = check(&found.path, &bytes, &trusted)?;
    output
        .data(&json!({"plugin": found.name, "key": signature.key, "hash": ContentHash::of(&bytes)}), || {
            format!("{}: signed by {}, which is trusted\n", found.path.display(), signature.key)
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether a component has a signature by one of the keys that holds.
pub(crate) fn check(component: &Path, bytes: &[u8], trusted: &[PublicKey]) -> Result<Signature, Failure> {
    let name = component.display();
    let signature = read_signature(component)?.ok_or_else(|| {
        Failure::new(codes::PLUGIN_UNTRUSTED, format!("`{name}` is not signed: there is no `{name}.sig`"))
            .hint("its author signs it with `plinth plugin sign`; `[plugins.NAME] hash = …` trusts this one file")
    })?;
    signature.verify(bytes)?;
    if !trusted.contains(&signature.key) {
        let message = format!("`{name}` is signed by {}, which is not among the trusted keys", signature.key);
        return Err(Failure::new(codes::PLUGIN_UNTRUSTED, message)
            .hint(format!("if you trust its owner: [trust] keys = [\"{}\"] in plinth.toml, or --key", signature.key)));
    }
    Ok(signature)
}

fn about(plugin: &Plugin, signature: Option<Signature>) -> About {
    let manifest = plugin.manifest();
    About {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        description: manifest.description.clone().unwrap_or_default(),
        license: manifest.license.clone().unwrap_or_default(),
        imports: plugin.imports().to_vec(),
        exports: plugin.interfaces().map(str::to_owned).collect(),
        signature,
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Runs something that waits for the network, with a sign that it does.
fn waiting<T>(output: Output, what: String, run: impl FnOnce() -> T) -> T {
    let bar = output.live.then(|| {
        let bar = indicatif::ProgressBar::new_spinner().with_message(what);
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        bar
    });
    let done = run();
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    done
}

/// `plinth plugin push`
pub(super) fn push(
    args: &PluginPushArgs,
    components: &Components,
    settings: &Settings,
    output: Output,
) -> Result<ExitCode, Failure> {
    let found = PluginRef::named(&component_of(&args.plugin)?).find(settings)?;
    let plugin = components.whole(&found)?;
    let bytes = plugin.bytes().expect("it was read and not run");
    let signature = read_signature(&found.path)?;
    if let Some(signature) = &signature {
        // A signature that does not hold would only be found out by those who pull.
        signature.verify(&bytes)?;
    }
    let registry = Registry::at(&args.reference, args.insecure, &environment)?;
    let about = about(&plugin, signature);
    let digest =
        waiting(output, format!("pushing to {}", registry.reference()), || registry.push(bytes.to_vec(), &about))?;
    let signed = about.signature.as_ref().map(|signature| signature.key);
    let told = json!({"reference": registry.reference(), "digest": digest, "hash": plugin.hash(), "signed": signed});
    output
        .data(&told, || {
            let signed = signed.map_or("not signed".to_owned(), |key| format!("signed by {key}"));
            format!("{}\n  digest {digest}\n  blake3 {}\n  {signed}\n", registry.reference(), plugin.hash())
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// `plinth plugin pull`
pub(super) fn pull(
    args: &PluginPullArgs,
    components: &Components,
    settings: &Settings,
    output: Output,
) -> Result<ExitCode, Failure> {
    let path = settings.lock_file();
    let mut lock = Lock::read(&path)?;
    let mut told = Vec::new();
    match &args.reference {
        Some(reference) => {
            let (name, locked) = fetch(reference, args, None, components, settings, output)?;
            lock.plugins.insert(name.clone(), locked.clone());
            lock.write(&path)?;
            told.push((name, locked));
        }
        // What the lock file names, by digest.
        None => {
            for (name, locked) in &lock.plugins {
                let file = settings.pulled_dir().join(format!("{name}.wasm"));
                let there = std::fs::read(&file).is_ok_and(|bytes| ContentHash::of(&bytes) == locked.hash);
                if !there {
                    fetch(&pinned(locked), args, Some((name, locked)), components, settings, output)?;
                }
                told.push((name.clone(), locked.clone()));
            }
            if told.is_empty() {
                let message = format!("`{}` names no plugin", path.display());
                return Err(Failure::new(codes::USAGE, message).hint("name one: plinth plugin pull HOST/NAME:TAG"));
            }
        }
    }
    let list: Vec<_> = told
        .iter()
        .map(|(name, locked)| json!({"name": name, "reference": locked.reference, "digest": locked.digest, "hash": locked.hash}))
        .collect();
    output
        .data(&json!(list), || {
            let line = |(name, locked): &(String, Locked)| {
                format!("{name}  {}\n  digest {}\n  blake3 {}\n", locked.reference, locked.digest, locked.hash)
            };
            told.iter().map(line).collect()
        })
        .map_err(|error| io_failure("stdout", &error))?;
    Ok(ExitCode::SUCCESS)
}

/// A reference by digest: what the tag stood for when it was locked.
fn pinned(locked: &Locked) -> String {
    let (registry, rest) = locked.reference.split_once('/').unwrap_or(("", &locked.reference));
    let repository = rest.split(['@', ':']).next().unwrap_or_default();
    format!("{registry}/{repository}@{}", locked.digest)
}

/// Pulls a component to where plugins are found by name.
fn fetch(
    reference: &str,
    args: &PluginPullArgs,
    wanted: Option<(&String, &Locked)>,
    components: &Components,
    settings: &Settings,
    output: Output,
) -> Result<(String, Locked), Failure> {
    let registry = Registry::at(reference, args.insecure, &environment)?;
    let most = settings.config.limits.plugin.component_bytes_max;
    let pulled = waiting(output, format!("pulling {}", registry.reference()), || registry.pull(most))?;
    let hash = ContentHash::of(&pulled.component);
    if let Some((name, locked)) = wanted.filter(|(_, locked)| locked.hash != hash) {
        let message = format!("`{name}` is {hash} in the registry, but plinth.lock has {}", locked.hash);
        return Err(Failure::new(codes::PLUGIN_CHANGED, message).hint("pull it by its reference to take the new one"));
    }
    let plugin = components.read_bytes(reference, pulled.component)?;
    let name = wanted.map(|(name, _)| name.clone()).or_else(|| args.name.clone());
    let name = name.unwrap_or_else(|| plugin.manifest().name.clone());
    if !kebab(&name) {
        let message = format!("the plugin calls itself `{name}`, which is no name");
        return Err(Failure::new(codes::NOT_A_COMPONENT, message).hint("give it one with --name"));
    }
    let folder = settings.pulled_dir();
    std::fs::create_dir_all(&folder).map_err(|error| io_failure(&folder.display().to_string(), &error))?;
    let file = folder.join(format!("{name}.wasm"));
    let bytes = plugin.bytes().expect("it was read and not run");
    let signature = pulled.signature.as_deref().map(Signature::from_json).transpose()?;
    // What is not trusted does not come into the project.
    if let Some(signature) = &signature {
        signature.verify(&bytes)?;
    }
    let trust = &settings.config.trust;
    let by = signature.as_ref().map(|signature| signature.key);
    if trust.required && by.is_none_or(|key| !trust.keys.contains(&key)) {
        let who = by.map_or("is not signed".to_owned(), |key| {
            format!("is signed by {key}, which is not among the trusted keys")
        });
        let message = format!("`{}` {who}", registry.reference());
        return Err(Failure::new(codes::PLUGIN_UNTRUSTED, message)
            .hint("`[trust] keys` in plinth.toml names those whom you trust"));
    }
    // The signature first: a new component must not lie beside an old one's.
    let beside = signature_of(&file);
    match &signature {
        Some(signature) => write(&beside, (signature.to_json() + "\n").as_bytes())?,
        None => drop(std::fs::remove_file(&beside)),
    }
    write(&file, &bytes)?;
    let reference = wanted.map_or_else(|| registry.reference(), |(_, locked)| locked.reference.clone());
    Ok((name, Locked { reference, digest: pulled.digest, hash }))
}
