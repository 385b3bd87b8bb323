//! Keyrings: who makes, wraps and unwraps data keys.

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

/// Makes, wraps and unwraps data keys. The one joint that is open to others.
///
/// # Writing one
///
/// Wrap the data key bound to the whole [`encryption_context`](EncryptionMaterials::encryption_context) (its
/// [`to_bytes`](crate::EncryptionContext::to_bytes) is what AES-GCM takes as AAD), and put into each
/// [`EncryptedDataKey`](crate::EncryptedDataKey) what it takes to recognise your own on decryption. There, tell three
/// cases apart: data keys that are *not yours* are passed over in silence; the first of *yours* that opens is returned;
/// for each of yours that is *broken* add a cause, and go on to the next. Return an error only where nothing can be said
/// of the data keys at all. Hold the result against `manila::testing::check_keyring` (feature `testing`).
///
/// ```
/// use manila::keyring::Keyring;
/// use manila::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
///
/// /// Counts how often an inner keyring is asked.
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
    /// Given materials without a data key, makes one and wraps it; given materials with one, wraps that.
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys>;

    /// Opens the first of the message's data keys that it can.
    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome>;

    /// A promise that the futures never return `Pending`, so that plain calls can use this keyring. False unless
    /// said otherwise.
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
