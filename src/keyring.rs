//! Keyrings generate, wrap and unwrap data keys.
//!
//! | keyring | wrapping keys |
//! |---|---|
//! | [`KmsKeyring`] | keys of a KMS, or of several regions with [`RegionalClients`] |
//! | [`RawAesKeyring`] | an AES key that the application holds |
//! | `RawRsaKeyring` (feature `aws-lc`) | an RSA key that the application holds |
//! | [`MultiKeyring`] | those of several keyrings |

pub(crate) mod kms;
pub(crate) mod multi;
mod raw;
pub(crate) mod raw_aes;
#[cfg(feature = "aws-lc")]
pub(crate) mod raw_rsa;

use std::fmt::Debug;
use std::sync::Arc;

use manila_core::KeyFuture;

use crate::materials::{DecryptionRequest, EncryptionMaterials, UnwrapOutcome, WrappedKeys};

pub use kms::KmsKeyring;
pub use kms::discovery_filter::DiscoveryFilter;
pub use kms::regional::RegionalClients;
#[cfg(feature = "aws-lc")]
pub use manila_core::internal::crypto::rsa::{RsaPadding, RsaPrivateKey, RsaPublicKey};
pub use multi::MultiKeyring;
pub use raw_aes::RawAesKeyring;
#[cfg(feature = "aws-lc")]
pub use raw_rsa::RawRsaKeyring;

/// Generates, wraps and unwraps data keys. Implement this trait to support another kind of wrapping key.
///
/// # Writing one
///
/// On encryption, bind the wrapped data key to the whole
/// [`encryption_context`](EncryptionMaterials::encryption_context): its
/// [`to_bytes`](crate::EncryptionContext::to_bytes) is what AES-GCM takes as additional data. Put into each
/// [`EncryptedDataKey`](crate::EncryptedDataKey) what is needed to recognise your own on decryption.
///
/// On decryption, tell three cases apart: data keys that are *not yours* are skipped without a cause; the first of
/// *yours* that can be decrypted is returned; each of yours that *cannot be decrypted* leaves a cause, and the next one
/// is tried. [`UnwrapOutcome::first_that_opens`] does that. Return an error only if nothing can be said about the data
/// keys at all. Test the result with `manila::testing::check_keyring` (feature `testing`); `examples/custom_keyring.rs`
/// is a complete one.
///
/// ```
/// use manila::keyring::Keyring;
/// use manila::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
///
/// /// Counts how often an inner keyring wraps a data key.
/// #[derive(Debug)]
/// struct Counting<K> {
///     inner: K,
///     calls: std::sync::atomic::AtomicU64,
/// }
///
/// impl<K: Keyring> Keyring for Counting<K> {
///     fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
///         Box::pin(async move {
///             self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
///             self.inner.on_encrypt(materials).await
///         })
///     }
///
///     fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
///         self.inner.on_decrypt(request)
///     }
///
///     fn is_local(&self) -> bool {
///         self.inner.is_local()
///     }
/// }
/// ```
///
/// Source: the ESDK specification, `framework/keyring-interface.md`.
pub trait Keyring: Send + Sync + Debug {
    /// Wraps the data key of the materials; if they have none, generates one first.
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys>;

    /// Decrypts the first of the message's encrypted data keys that it can.
    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome>;

    /// Returns whether the futures never return `Pending`, so that plain calls can use this keyring. False by default.
    fn is_local(&self) -> bool {
        false
    }
}

macro_rules! forward_keyring {
    ($($pointer:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<K: Keyring + ?Sized> Keyring for $pointer {
            fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
                (**self).on_encrypt(materials)
            }

            fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
                (**self).on_decrypt(request)
            }

            fn is_local(&self) -> bool {
                (**self).is_local()
            }
        }
    )*};
}

forward_keyring!(Arc<K>, Box<K>);
