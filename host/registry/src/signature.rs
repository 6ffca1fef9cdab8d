//! Ed25519 signatures (RFC 8032) over a component's bytes.
//!
//! A key pair is PKCS#8 in PEM, a public key is a line `ed25519:BASE64`, a signature is 64 bytes in base64: OpenSSL's
//! `genpkey -algorithm ed25519` makes keys that sign here, and `pkeyutl -verify -rawin` checks what was signed.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use plinth_core::{Code, Coded, codes};
use ring::{
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "ed25519:";
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// A key or a signature is none, or does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// No key can be read.
    #[error("{0}")]
    Key(String),
    /// The signature is not by that key, or the component was changed after it was signed.
    #[error("the signature by {0} does not hold: the component is not what was signed")]
    Wrong(PublicKey),
    /// The system gives no random numbers.
    #[error("no key could be made: the system gives no random numbers")]
    Random,
}

impl Coded for SignatureError {
    fn code(&self) -> Code {
        match self {
            Self::Key(_) => codes::BAD_CONFIG,
            Self::Wrong(_) => codes::PLUGIN_UNTRUSTED,
            Self::Random => codes::INTERNAL,
        }
    }
}

/// What signs.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A new key, as PEM.
    ///
    /// # Errors
    /// [`SignatureError::Random`].
    pub fn generate() -> Result<String, SignatureError> {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| SignatureError::Random)?;
        let text = STANDARD.encode(document.as_ref());
        let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
        Ok(format!("{BEGIN}\n{}{END}\n", lines.collect::<String>()))
    }

    /// Reads a key from its PEM.
    ///
    /// # Errors
    /// [`SignatureError::Key`].
    pub fn from_pem(pem: &str) -> Result<Self, SignatureError> {
        let bad = |what: &str| SignatureError::Key(format!("the signing key is no Ed25519 key in PEM: {what}"));
        let inner = pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map(|(inner, _)| inner);
        let inner = inner.ok_or_else(|| bad(&format!("there is no `{BEGIN}`")))?;
        let text: String = inner.split_whitespace().collect();
        let document = STANDARD.decode(text).map_err(|error| bad(&error.to_string()))?;
        // OpenSSL leaves the public key out, which ring then computes.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&document).map_err(|error| bad(&error.to_string()))?;
        Ok(Self(pair))
    }

    /// The key that checks.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs a component.
    pub fn sign(&self, component: &[u8]) -> Signature {
        Signature { key: self.public(), signature: STANDARD.encode(self.0.sign(component)) }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {}", self.public())
    }
}

/// What checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl FromStr for PublicKey {
    type Err = SignatureError;

    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|rest| STANDARD.decode(rest).ok());
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| {
            SignatureError::Key(format!("`{text}` is no public key: it is `{PREFIX}` and 32 bytes in base64"))
        })
    }
}

impl TryFrom<String> for PublicKey {
    type Error = SignatureError;

    fn try_from(text: String) -> Result<Self, SignatureError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// Whose a component is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Who signed.
    pub key: PublicKey,
    /// Base64.
    pub signature: String,
}

impl Signature {
    /// Reads what `to_json` wrote.
    ///
    /// # Errors
    /// [`SignatureError::Key`].
    pub fn from_json(json: &str) -> Result<Self, SignatureError> {
        serde_json::from_str(json).map_err(|error| SignatureError::Key(format!("the signature does not read: {error}")))
    }

    /// As JSON, one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Checks it against a component.
    ///
    /// # Errors
    /// [`SignatureError::Wrong`].
    pub fn verify(&self, component: &[u8]) -> Result<(), SignatureError> {
        let wrong = || SignatureError::Wrong(self.key);
        let bytes = STANDARD.decode(&self.signature).map_err(|_| wrong())?;
        UnparsedPublicKey::new(&ED25519, self.key.0).verify(component, &bytes).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_signed_holds() {
        let key = SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap();
        let signature = key.sign(b"component");
        signature.verify(b"component").unwrap();
        assert!(matches!(signature.verify(b"componenT"), Err(SignatureError::Wrong(_))));
        let other = SigningKey::from_pem(&SigningKey::generate().unwrap()).unwrap();
        let forged = Signature { key: key.public(), ..other.sign(b"component") };
        assert!(forged.verify(b"component").is_err());
        assert!(Signature { signature: "AAAA".into(), ..signature.clone() }.verify(b"component").is_err());
        assert_eq!(Signature::from_json(&signature.to_json()).unwrap(), signature);
    }

    #[test]
    fn a_key_of_openssl_signs() {
        // `openssl genpkey -algorithm ed25519`; the public key is what `openssl pkey -pubout` says of it.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEIA6nrYrH04SwdW5Z+bqQymjjvCbIks+uA4SW2r819qD6\n-----END PRIVATE KEY-----\n";
        let key = SigningKey::from_pem(pem).unwrap();
        assert_eq!(key.public().to_string(), "ed25519:ND0ZfnvwhuREPP2MjZV1rSF9cKhG6UDwK84hkbKBEcU=");
        key.sign(b"a").verify(b"a").unwrap();
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "ed25519:", "ed25519:AAAA", "rsa:AAAA"] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
        for pem in [
            "",
            "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        ] {
            assert!(SigningKey::from_pem(pem).is_err(), "{pem}");
        }
    }
}
