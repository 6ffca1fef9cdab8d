//! Components in OCI registries, laid out as the CNCF's Wasm OCI Artifact says: one layer `application/wasm`, and a
//! config `application/vnd.wasm.config.v0+json` that tells what it imports and exports. Other tools pull what is pushed
//! here, and the other way round. A signature is an annotation of the manifest.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol, Config, ImageLayer},
    errors::OciDistributionError,
    manifest::OciImageManifest,
};
use plinth_core::{Code, Coded, codes};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{Credentials, Signature};

const LAYER: &str = "application/wasm";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const SIGNATURE: &str = "dev.plinth.plugin.signature";
/// Longest silence of a registry.
const SILENCE: Duration = Duration::from_secs(60);

/// A registry did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The reference does not read as one.
    #[error("`{reference}` is no reference: {reason}")]
    Reference {
        /// As it was written.
        reference: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing is there by that name.
    #[error("the registry has no `{0}`")]
    NotFound(String),
    /// It does not let one in.
    #[error("the registry does not allow it: {0}")]
    Denied(String),
    /// What is there is no component.
    #[error("`{reference}` is no plugin: {reason}")]
    NotAPlugin {
        /// What was asked for.
        reference: String,
        /// What is there.
        reason: String,
    },
    /// The component is larger than allowed.
    #[error("`{reference}` is larger than the {max} bytes allowed")]
    TooLarge {
        /// What was asked for.
        reference: String,
        /// The most.
        max: u64,
    },
    /// It does not answer, or not as the OCI's specification says.
    #[error("the registry does not answer as one: {0}")]
    Failed(String),
}

impl Coded for RegistryError {
    fn code(&self) -> Code {
        match self {
            Self::Reference { .. } => codes::BAD_REFERENCE,
            Self::NotFound(_) => codes::PLUGIN_NOT_FOUND,
            Self::Denied(_) => codes::REGISTRY_DENIED,
            Self::NotAPlugin { .. } => codes::NOT_A_COMPONENT,
            Self::TooLarge { .. } => codes::PLUGIN_TOO_LARGE,
            Self::Failed(_) => codes::REGISTRY_UNAVAILABLE,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Reference { .. } => "write HOST/NAME:TAG, such as registry.example/team/scale:1.2.0".into(),
            Self::Denied(_) => {
                "log in with `docker login`, or set PLINTH_REGISTRY_USERNAME and PLINTH_REGISTRY_PASSWORD".into()
            }
            _ => return None,
        })
    }
}

/// What a registry's users are told of a component.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The plugin's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line.
    pub description: String,
    /// SPDX.
    pub license: String,
    /// What it imports, such as `plinth:host/log@0.2.0`.
    pub imports: Vec<String>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Whose it is.
    pub signature: Option<Signature>,
}

/// What came from a registry.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The component.
    pub component: Vec<u8>,
    /// The digest of its manifest.
    pub digest: String,
    /// Whose it says that it is; not checked yet.
    pub signature: Option<String>,
}

/// A place in a registry.
pub struct Registry {
    client: Client,
    place: Reference,
    credentials: Credentials,
    runtime: tokio::runtime::Runtime,
}

impl Registry {
    /// The place that a reference names. Connections are by TLS, except to this machine, or where `insecure` says so.
    ///
    /// # Errors
    /// [`RegistryError::Reference`]; [`RegistryError::Failed`] if this system cannot do TLS.
    pub fn at(reference: &str, insecure: bool, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, RegistryError> {
        let bad = |reason: String| RegistryError::Reference { reference: reference.to_owned(), reason };
        let place: Reference = reference.parse().map_err(|error| bad(format!("{error}")))?;
        // Without a host it would be Docker Hub's, which no one means.
        if !reference.contains('/')
            || !reference.split('/').next().is_some_and(|host| host.contains(['.', ':']) || host == "localhost")
        {
            return Err(bad("it names no registry".into()));
        }
        let host = place.registry().to_owned();
        let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        let here = matches!(name, "localhost" | "127.0.0.1" | "[::1]");
        // Another part of the process may have chosen already; theirs is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let config = ClientConfig {
            protocol: if here || insecure { ClientProtocol::Http } else { ClientProtocol::Https },
            platform_resolver: None,
            use_monolithic_push: true,
            read_timeout: Some(SILENCE),
            connect_timeout: Some(SILENCE),
            ..ClientConfig::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| RegistryError::Failed(error.to_string()))?;
        let client = Client::try_from(config).map_err(|error| RegistryError::Failed(error.to_string()))?;
        let credentials = Credentials::find(&host, env);
        Ok(Self { client, place, credentials, runtime })
    }

    /// The whole reference, with the tag that it has if none was written.
    pub fn reference(&self) -> String {
        self.place.whole()
    }

    /// Pushes a component; gives the digest of its manifest.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn push(&self, component: Vec<u8>, about: &About) -> Result<String, RegistryError> {
        let digest = format!("sha256:{}", hex(&Sha256::digest(&component)));
        let config = json!({
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [digest],
            "component": {"imports": about.imports, "exports": about.exports, "target": null},
        });
        let layers = [ImageLayer::new(component, LAYER.to_owned(), None)];
        let config = Config::new(config.to_string().into_bytes(), CONFIG.to_owned(), None);
        let annotations: BTreeMap<String, String> = [
            ("org.opencontainers.image.title", about.name.clone()),
            ("org.opencontainers.image.version", about.version.clone()),
            ("org.opencontainers.image.description", about.description.clone()),
            ("org.opencontainers.image.licenses", about.license.clone()),
            (SIGNATURE, about.signature.as_ref().map(Signature::to_json).unwrap_or_default()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        let manifest = OciImageManifest::build(&layers, &config, Some(annotations));
        self.runtime.block_on(async {
            let auth = &self.credentials.0;
            self.client
                .push(&self.place, &layers, config, auth, Some(manifest))
                .await
                .map_err(|error| self.failed(&error))?;
            self.client.fetch_manifest_digest(&self.place, auth).await.map_err(|error| self.failed(&error))
        })
    }

    /// Pulls a component of at most so many bytes.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn pull(&self, bytes_max: u64) -> Result<Pulled, RegistryError> {
        let reference = self.place.whole();
        let not = |reason: String| RegistryError::NotAPlugin { reference: reference.clone(), reason };
        let large = || RegistryError::TooLarge { reference: reference.clone(), max: bytes_max };
        self.runtime.block_on(async {
            let answer = self.client.pull_image_manifest(&self.place, &self.credentials.0).await;
            let (manifest, digest) = answer.map_err(|error| match error {
                OciDistributionError::ImageIndexParsingNoPlatformResolverError => {
                    not("it is an index of images".into())
                }
                error => self.failed(&error),
            })?;
            let [layer] = &manifest.layers[..] else {
                return Err(not(format!("it has {} layers, and a component is one", manifest.layers.len())));
            };
            if layer.media_type != LAYER {
                return Err(not(format!("its layer is {}, not {LAYER}", layer.media_type)));
            }
            if u64::try_from(layer.size).is_ok_and(|size| size > bytes_max) {
                return Err(large());
            }
            // The size is what the registry says; what it sends is bounded here.
            let mut bounded = Bounded { bytes: Vec::new(), max: bytes_max, over: false };
            let pulled = self.client.pull_blob(&self.place, layer, &mut bounded).await;
            if bounded.over {
                return Err(large());
            }
            pulled.map_err(|error| self.failed(&error))?;
            let signature = manifest.annotations.and_then(|mut all| all.remove(SIGNATURE));
            Ok(Pulled { component: bounded.bytes, digest, signature })
        })
    }

    fn failed(&self, error: &OciDistributionError) -> RegistryError {
        let reference = self.place.whole();
        match error {
            OciDistributionError::ImageManifestNotFoundError(_) => RegistryError::NotFound(reference),
            OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
                RegistryError::Denied(reference)
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let codes: Vec<String> = envelope.errors.iter().map(|error| format!("{:?}", error.code)).collect();
                let has = |wanted: &[&str]| codes.iter().any(|code| wanted.contains(&code.as_str()));
                if has(&["ManifestUnknown", "NameUnknown", "NotFound", "BlobUnknown"]) {
                    RegistryError::NotFound(reference)
                } else if has(&["Unauthorized", "Denied"]) {
                    RegistryError::Denied(reference)
                } else {
                    RegistryError::Failed(error.to_string())
                }
            }
            OciDistributionError::ServerError { code: 401 | 403, .. } => RegistryError::Denied(reference),
            OciDistributionError::ServerError { code: 404, .. } => RegistryError::NotFound(reference),
            error => {
                // The causes say what a request failed of, such as a refused connection.
                let mut text = error.to_string();
                let mut cause = std::error::Error::source(error);
                while let Some(error) = cause {
                    text = format!("{text}: {error}");
                    cause = error.source();
                }
                RegistryError::Failed(text)
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes no more than so many bytes.
struct Bounded {
    bytes: Vec<u8>,
    max: u64,
    over: bool,
}

impl tokio::io::AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, part: &[u8]) -> Poll<io::Result<usize>> {
        if (self.bytes.len() + part.len()) as u64 > self.max {
            self.over = true;
            return Poll::Ready(Err(io::Error::other("more than allowed")));
        }
        self.bytes.extend_from_slice(part);
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_its_registry() {
        let at = |reference: &str| Registry::at(reference, false, &|_| None);
        for reference in ["", "scale", "team/scale:1", "registry.example/UPPER:1", "registry.example/a:b:c"] {
            assert!(matches!(at(reference), Err(RegistryError::Reference { .. })), "{reference}");
        }
        for (reference, whole) in [
            ("registry.example/team/scale:1.2.0", "registry.example/team/scale:1.2.0"),
            ("localhost:5000/scale", "localhost:5000/scale:latest"),
        ] {
            assert_eq!(at(reference).unwrap().reference(), whole);
        }
    }

    #[test]
    fn nobody_at_home_is_told_apart() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let registry = Registry::at(&format!("127.0.0.1:{port}/scale:1"), false, &|_| None).unwrap();
        assert!(matches!(registry.pull(10), Err(RegistryError::Failed(_))));
    }
}
