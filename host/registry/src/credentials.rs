//! Who a registry is told that one is: the environment's word, else what `docker login` left behind.

use std::path::PathBuf;

use base64::{Engine, engine::general_purpose::STANDARD};
use oci_client::secrets::RegistryAuth;
use serde_json::Value;

/// A name with its password, or nobody.
#[derive(Debug, Clone)]
pub struct Credentials(pub(crate) RegistryAuth);

impl Credentials {
    /// Nobody in particular.
    pub const fn anonymous() -> Self {
        Self(RegistryAuth::Anonymous)
    }

    /// A name with its password.
    pub fn basic(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self(RegistryAuth::Basic(name.into(), password.into()))
    }

    /// For a registry's host: `PLINTH_REGISTRY_USERNAME` and `PLINTH_REGISTRY_PASSWORD`, else the `auths` of Docker's
    /// `config.json` (`DOCKER_CONFIG`, `~/.docker`), else nobody.
    pub fn find(registry: &str, env: &dyn Fn(&str) -> Option<String>) -> Self {
        if let (Some(name), Some(password)) = (env("PLINTH_REGISTRY_USERNAME"), env("PLINTH_REGISTRY_PASSWORD")) {
            return Self::basic(name, password);
        }
        let folder = env("DOCKER_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".docker")));
        let text = folder.and_then(|folder| std::fs::read_to_string(folder.join("config.json")).ok());
        text.and_then(|text| Self::of_docker(&text, registry)).unwrap_or_else(Self::anonymous)
    }

    fn of_docker(config: &str, registry: &str) -> Option<Self> {
        let config: Value = serde_json::from_str(config).ok()?;
        let auths = config.get("auths")?.as_object()?;
        let host = |key: &str| key.trim_start_matches("https://").split('/').next().unwrap_or_default().to_owned();
        let (_, entry) = auths.iter().find(|(key, _)| host(key) == registry)?;
        let pair = STANDARD.decode(entry.get("auth")?.as_str()?).ok()?;
        let pair = String::from_utf8(pair).ok()?;
        let (name, password) = pair.split_once(':')?;
        Some(Self::basic(name, password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_one_is_comes_from_the_environment_or_from_docker() {
        let folder = tempfile::tempdir().unwrap();
        let auth = STANDARD.encode("anna:se:cret");
        let config = format!(r#"{{"auths": {{"https://registry.example/v2/": {{"auth": "{auth}"}}}}}}"#);
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let docker = folder.path().display().to_string();
        let env = |name: &str| (name == "DOCKER_CONFIG").then(|| docker.clone());
        assert_eq!(Credentials::find("registry.example", &env).0, RegistryAuth::Basic("anna".into(), "se:cret".into()));
        assert_eq!(Credentials::find("other.example", &env).0, RegistryAuth::Anonymous);
        let env = |name: &str| name.starts_with("PLINTH_REGISTRY").then(|| "x".to_owned());
        assert_eq!(Credentials::find("registry.example", &env).0, RegistryAuth::Basic("x".into(), "x".into()));
    }
}
