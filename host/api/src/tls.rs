//! TLS: a certificate and its key, read from files, and read again when these have changed. Connections that are there
//! keep what they agreed on; new ones get the new certificate.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use plinth_core::{Code, Coded, codes};
use rustls::{
    InconsistentKeys, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

/// A certificate file is some kilobytes; what is larger is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A server's certificate, and whoever answers with it.
#[derive(Clone)]
pub struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    /// For servers that speak HTTP/2 beside HTTP/1.
    pub(crate) acceptor_of_both: TlsAcceptor,
    files: Arc<Files>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Current>,
}

/// What is answered with, and which state of the files was looked at last.
#[derive(Debug)]
struct Current {
    key: Arc<CertifiedKey>,
    seen: Stamps,
}

/// When the two files were written, and how large they are.
type Stamps = [Option<(SystemTime, u64)>; 2];

/// Why a certificate cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// A file is not there.
    Missing(PathBuf),
    /// A file cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A file holds no certificate, or one that does not read.
    BadCertificate(PathBuf, String),
    /// A file holds no private key, or one that does not read.
    BadKey(PathBuf, String),
    /// The private key needs a password.
    Encrypted(PathBuf),
    /// The key is that of another certificate.
    Mismatch {
        /// The file with the certificate.
        certificate: PathBuf,
        /// The file with the key.
        key: PathBuf,
    },
    /// The library refuses.
    Refused(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "there is no file `{}`", path.display()),
            Self::Unreadable(path, error) => write!(f, "cannot read `{}`: {error}", path.display()),
            Self::BadCertificate(path, reason) => {
                write!(f, "`{}` holds no usable certificate: {reason}", path.display())
            }
            Self::BadKey(path, reason) => write!(f, "`{}` holds no usable private key: {reason}", path.display()),
            Self::Encrypted(path) => write!(f, "the private key in `{}` is encrypted", path.display()),
            Self::Mismatch { certificate, key } => {
                let (certificate, key) = (certificate.display(), key.display());
                write!(f, "the private key in `{key}` does not belong to the certificate in `{certificate}`")
            }
            Self::Refused(error) => write!(f, "TLS cannot be offered: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

impl Coded for TlsError {
    fn code(&self) -> Code {
        match self {
            Self::Missing(_) => codes::FILE_NOT_FOUND,
            Self::Unreadable(..) => codes::FILE_UNREADABLE,
            _ => codes::BAD_CERTIFICATE,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::BadCertificate(..) => {
                Some("give a PEM file that begins with the server's own certificate, then those that signed it".into())
            }
            Self::BadKey(..) => Some("give a PEM file with a key in PKCS#8, PKCS#1 or SEC1".into()),
            Self::Encrypted(path) => Some(format!(
                "take the password off with `openssl pkey -in {} -out key.pem`, and let nobody but the server read it",
                path.display()
            )),
            Self::Mismatch { .. } => Some("the first certificate of the file must be the server's own".into()),
            _ => None,
        }
    }
}

/// Makes ring the process's way to encrypt, unless something else is already: outgoing connections ask for it.
pub fn install_crypto() {
    // An error says that there is one.
    drop(ring::default_provider().install_default());
}

impl Tls {
    /// From a certificate, followed by those that signed it, and its private key, both in PEM.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        install_crypto();
        let provider = Arc::new(ring::default_provider());
        // Looked at before they are read: what is written in between is read once more.
        let seen = stamps(certificate, key);
        let read = Arc::new(read(certificate, key, &provider)?);
        let files = Arc::new(Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(Current { key: read, seen }),
        });
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Refused)?;
        let resolver = Arc::clone(&files);
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        let mut both = config.clone();
        both.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let [acceptor, acceptor_of_both] = [config, both].map(|config| TlsAcceptor::from(Arc::new(config)));
        Ok(Self { acceptor, acceptor_of_both, files })
    }

    /// Reads the files again if they have changed since they were looked at; returns whether there is another
    /// certificate now. What was there stays if the files cannot be used.
    ///
    /// # Errors
    /// [`TlsError`] as from [`Tls::open`], once for each state of the files.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let files = &*self.files;
        let now = stamps(&files.certificate, &files.key);
        if files.current.read().unwrap_or_else(PoisonError::into_inner).seen == now {
            return Ok(false);
        }
        self.reload()?;
        Ok(true)
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// [`TlsError`] as from [`Tls::open`]; what was there stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let files = &*self.files;
        let seen = stamps(&files.certificate, &files.key);
        let read = read(&files.certificate, &files.key, &ring::default_provider());
        let mut current = files.current.write().unwrap_or_else(PoisonError::into_inner);
        current.seen = seen;
        current.key = Arc::new(read?);
        Ok(())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.files.certificate).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).key))
    }
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    [certificate, key].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    })
}

fn read(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let text = bytes(certificate)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let bad = |reason: String| TlsError::BadCertificate(certificate.to_owned(), reason);
    let chain = chain.map_err(|error| bad(error.to_string()))?;
    if chain.is_empty() {
        return Err(bad("there is no section `CERTIFICATE` in it".to_owned()));
    }
    let text = bytes(key)?;
    let encrypted = |mark: &[u8]| text.windows(mark.len()).any(|window| window == mark);
    if encrypted(b"ENCRYPTED PRIVATE KEY-----") || encrypted(b"Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::Encrypted(key.to_owned()));
    }
    let bad = |reason: String| TlsError::BadKey(key.to_owned(), reason);
    let der = PrivateKeyDer::from_pem_slice(&text).map_err(|error| bad(error.to_string()))?;
    let signing = provider.key_provider.load_private_key(der).map_err(|error| bad(error.to_string()))?;
    let certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() })
        }
        Err(error) => Err(TlsError::BadCertificate(certificate.to_owned(), error.to_string())),
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => TlsError::Missing(path.to_owned()),
        _ => TlsError::Unreadable(path.to_owned(), error),
    };
    let found = std::fs::metadata(path).map_err(unreadable)?;
    if found.len() > FILE_BYTES_MAX {
        let reason = format!("it has more than {FILE_BYTES_MAX} bytes");
        return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, reason)));
    }
    std::fs::read(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A new certificate for localhost, and its key.
    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        let ((certificate, key), (_, other)) = (made(), made());
        write("cert", &certificate);
        write("key", &key);
        write("other", &other);
        write("empty", "");
        write("encrypted", &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
        write("torn", &certificate[..certificate.len() / 2]);
        write("junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(Tls::open(&path("cert"), &path("key")).is_ok());
        for (certificate, key, code, words) in [
            ("none", "key", codes::FILE_NOT_FOUND, "there is no file"),
            ("cert", "none", codes::FILE_NOT_FOUND, "there is no file"),
            (".", "key", codes::FILE_UNREADABLE, "cannot read"),
            ("empty", "key", codes::BAD_CERTIFICATE, "no usable certificate"),
            ("torn", "key", codes::BAD_CERTIFICATE, "no usable certificate"),
            ("junk", "key", codes::BAD_CERTIFICATE, "no usable certificate"),
            ("key", "key", codes::BAD_CERTIFICATE, "no section `CERTIFICATE`"),
            ("cert", "empty", codes::BAD_CERTIFICATE, "no usable private key"),
            ("cert", "cert", codes::BAD_CERTIFICATE, "no usable private key"),
            ("cert", "encrypted", codes::BAD_CERTIFICATE, "is encrypted"),
            ("cert", "other", codes::BAD_CERTIFICATE, "does not belong"),
        ] {
            let error = Tls::open(&path(certificate), &path(key)).unwrap_err();
            assert_eq!(error.code(), code, "{certificate} {key}: {error}");
            assert!(error.to_string().contains(words), "{certificate} {key}: {error}");
        }
    }

    #[test]
    fn files_are_read_again_when_they_have_changed_and_only_if_they_can_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        let write = |(certificate, private): (String, String)| {
            std::fs::write(&cert, certificate).unwrap();
            std::fs::write(&key, private).unwrap();
        };
        write(made());
        let tls = Tls::open(&cert, &key).unwrap();
        let answered = || tls.files.current.read().unwrap().key.cert[0].clone();
        let first = answered();
        assert!(!tls.refresh().unwrap());
        std::fs::write(&cert, "half a certificate").unwrap();
        assert!(tls.refresh().is_err());
        assert!(!tls.refresh().unwrap(), "told once");
        assert_eq!(answered(), first);
        write(made());
        assert!(tls.refresh().unwrap());
        assert_ne!(answered(), first);
    }
}
