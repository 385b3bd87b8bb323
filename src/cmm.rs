//! Cryptographic materials managers (CMMs), which stand between a client and its keyrings.
//!
//! | manager | what it adds |
//! |---|---|
//! | [`DefaultCmm`] | nothing: asks its keyring for each message |
//! | [`RequiredContextCmm`] | pairs that must be given on both sides and are not stored in the message |
//! | `CachingCmm` (feature `cache`) | one data key for many messages, within limits |

#[cfg(feature = "cache")]
pub(crate) mod caching;
pub(crate) mod required_context;

use std::fmt::Debug;
use std::sync::Arc;

use manila_core::internal::quoted;
use manila_core::{Error, ErrorKind, KeyFuture, Result};

use crate::keyring::Keyring;
use crate::materials::{DecryptionMaterials, DecryptionRequest, EncryptionMaterials, EncryptionRequest};
use crate::message::header::EncryptedDataKey;

#[cfg(feature = "cache")]
pub use caching::{CacheSettings, CacheStats, CachingCmm, DataKeyCache};
pub use required_context::RequiredContextCmm;

/// Assembles the materials to encrypt or decrypt a message.
///
/// # Writing one
///
/// A manager usually wraps another one and changes the request or the result. This one allows only contexts with a
/// tenant:
///
/// ```
/// use manila::cmm::{Cmm, DefaultCmm};
/// use manila::keyring::RawAesKeyring;
/// use manila::materials::{
///     DecryptionMaterials, DecryptionRequest, EncryptionMaterials, EncryptionRequest, KeyFuture,
/// };
/// use manila::{Client, EncryptionContext, Error, ErrorKind};
///
/// #[derive(Debug)]
/// struct TenantsOnly<C>(C);
///
/// impl<C: Cmm> Cmm for TenantsOnly<C> {
///     fn encryption_materials<'a>(&'a self, request: &'a EncryptionRequest) -> KeyFuture<'a, EncryptionMaterials> {
///         match request.encryption_context.get("tenant") {
///             Some(_) => self.0.encryption_materials(request),
///             None => Box::pin(async { Err(Error::new(ErrorKind::InvalidInput, "the context names no tenant")) }),
///         }
///     }
///
///     fn decryption_materials<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, DecryptionMaterials> {
///         self.0.decryption_materials(request)
///     }
///
///     fn is_local(&self) -> bool {
///         self.0.is_local()
///     }
/// }
///
/// let keyring = RawAesKeyring::new("example", "key-1", &[7; 32])?; // a test key
/// let client = Client::with_cmm(TenantsOnly(DefaultCmm::new(keyring)));
/// assert!(client.encrypt(b"hello", &EncryptionContext::empty()).is_err());
/// assert!(client.encrypt(b"hello", &EncryptionContext::new([("tenant", "acme")])?).is_ok());
/// # Ok::<(), manila::Error>(())
/// ```
///
/// Source: the ESDK specification, `framework/cmm-interface.md`.
pub trait Cmm: Send + Sync + Debug {
    /// Returns materials with a data key, for one message.
    fn encryption_materials<'a>(&'a self, request: &'a EncryptionRequest) -> KeyFuture<'a, EncryptionMaterials>;

    /// Returns the data key of a message.
    fn decryption_materials<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, DecryptionMaterials>;

    /// Returns whether the futures never return `Pending`, so that plain calls can use this manager. False by default.
    fn is_local(&self) -> bool {
        false
    }

    /// Returns whether most messages get a data key that exists already, as from a cache. If not, as by default, random
    /// bytes for a new one are drawn together with those that each message needs, which is faster than twice.
    fn has_data_keys_at_hand(&self) -> bool {
        false
    }
}

macro_rules! forward_cmm {
    ($($pointer:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<C: Cmm + ?Sized> Cmm for $pointer {
            fn encryption_materials<'a>(
                &'a self,
                request: &'a EncryptionRequest,
            ) -> KeyFuture<'a, EncryptionMaterials> {
                (**self).encryption_materials(request)
            }

            fn decryption_materials<'a>(
                &'a self,
                request: &'a DecryptionRequest,
            ) -> KeyFuture<'a, DecryptionMaterials> {
                (**self).decryption_materials(request)
            }

            fn is_local(&self) -> bool {
                (**self).is_local()
            }

            fn has_data_keys_at_hand(&self) -> bool {
                (**self).has_data_keys_at_hand()
            }
        }
    )*};
}

forward_cmm!(Arc<C>, Box<C>);

/// The default manager: asks its keyring for each message.
///
/// Source: the ESDK specification, `framework/default-cmm.md`.
#[derive(Debug)]
pub struct DefaultCmm<K> {
    keyring: K,
}

impl<K: Keyring> DefaultCmm<K> {
    /// Returns a manager over `keyring`.
    pub const fn new(keyring: K) -> Self {
        Self { keyring }
    }

    async fn encrypt(&self, request: &EncryptionRequest) -> Result<EncryptionMaterials> {
        let suite = request.checked_suite()?;
        let materials = EncryptionMaterials::new(suite, &request.encryption_context)?;
        let mut materials = materials.with_random_bytes_of(request);
        materials.require_context_keys(&request.required_context_keys)?;
        let wrapped = self.keyring.on_encrypt(&materials).await?;
        materials.add(wrapped)?;
        Ok(materials)
    }

    async fn decrypt(&self, request: &DecryptionRequest) -> Result<DecryptionMaterials> {
        let unwrapped = self.keyring.on_decrypt(request).await?;
        match unwrapped.data_key {
            Some(data_key) => Ok(DecryptionMaterials { data_key }),
            None => Err(not_opened(request.encrypted_data_keys(), unwrapped.causes)),
        }
    }
}

impl<K: Keyring> Cmm for DefaultCmm<K> {
    fn encryption_materials<'a>(&'a self, request: &'a EncryptionRequest) -> KeyFuture<'a, EncryptionMaterials> {
        Box::pin(self.encrypt(request))
    }

    fn decryption_materials<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, DecryptionMaterials> {
        Box::pin(self.decrypt(request))
    }

    fn is_local(&self) -> bool {
        self.keyring.is_local()
    }
}

/// Kinds of causes that determine the kind of the combined error, in order of precedence. All others count as an
/// unusable data key.
const WEIGHTS: [ErrorKind; 8] = [
    ErrorKind::Unavailable,
    ErrorKind::RootKeyChanged,
    ErrorKind::AuditFailed,
    ErrorKind::Storage,
    ErrorKind::Io,
    ErrorKind::Internal,
    ErrorKind::KeyRefused,
    ErrorKind::InvalidInput,
];

/// Returns the error for a message none of whose data keys was decrypted. Causes that may go away take precedence over
/// refusals, and these over unusable data keys: a program that acts on the kind must not give up a message because a
/// store was damaged.
fn not_opened(keys: &[EncryptedDataKey], causes: Vec<Error>) -> Error {
    if causes.is_empty() {
        let detail =
            format!("none of the message's encrypted data keys belongs to this client's keys; it has {}", list(keys));
        return Error::new(ErrorKind::NoUsableDataKey, detail);
    }
    let kind = WEIGHTS
        .into_iter()
        .find(|kind| causes.iter().any(|cause| cause.kind() == *kind))
        .unwrap_or(ErrorKind::NoUsableDataKey);
    Error::with_causes(kind, "none of the message's encrypted data keys could be decrypted", causes)
}

/// Lists the first few data keys, for people.
fn list(keys: &[EncryptedDataKey]) -> String {
    const SHOWN: usize = 4;
    let name = |key: &EncryptedDataKey| format!("{} of {}", quoted(&key.key_name()), quoted(&key.provider_id));
    let mut names: Vec<_> = keys.iter().take(SHOWN).map(name).collect();
    if keys.len() > SHOWN {
        names.push(format!("{} more", keys.len() - SHOWN));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_may_pass_weighs_more_than_a_wrong_key() {
        let of = |kinds: &[ErrorKind]| {
            let causes = kinds.iter().map(|kind| Error::new(*kind, "cause")).collect();
            not_opened(&[], causes).kind()
        };
        for kind in WEIGHTS {
            assert_eq!(of(&[ErrorKind::NoUsableDataKey, kind, ErrorKind::NoUsableDataKey]), kind);
        }
        assert_eq!(of(&[ErrorKind::KeyRefused, ErrorKind::Unavailable, ErrorKind::Internal]), ErrorKind::Unavailable);
        assert_eq!(of(&[ErrorKind::KeyRefused, ErrorKind::RootKeyChanged]), ErrorKind::RootKeyChanged);
        assert_eq!(of(&[ErrorKind::KeyRefused, ErrorKind::AuditFailed]), ErrorKind::AuditFailed);
        assert_eq!(of(&[ErrorKind::Malformed]), ErrorKind::NoUsableDataKey);
        assert_eq!(of(&[]), ErrorKind::NoUsableDataKey);
    }
}
