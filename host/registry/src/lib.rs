//! Plugins on their way between people: OCI registries, signatures, and the lock file that says what a project uses.
//!
//! Deliberately knows nothing of what a component does: it moves bytes, and says whose they are. Whether a signature is
//! needed is the configuration's to say.
//!
//! Start at [`Registry`] (push and pull), [`SigningKey`] and [`PublicKey`], [`Lock`].
//!
//! Invariants: what is pulled has the digest that the registry's manifest says, and is never larger than it was allowed
//! to be; a signature is over the component's bytes and nothing else, so that other tools can check it.
#![warn(missing_docs)]

mod credentials;
mod lock;
mod oci;
mod signature;

pub use credentials::Credentials;
pub use lock::{Lock, LockError, Locked};
pub use oci::{About, Pulled, Registry, RegistryError};
pub use signature::{PublicKey, Signature, SignatureError, SigningKey};
