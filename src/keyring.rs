//! Keyrings: who makes, wraps and unwraps data keys. The one joint that is open to others.
//!
//! # Writing a keyring
//!
//! Implement [`Keyring`]. Wrap the data key bound to
//! [`encryption_context`](EncryptionMaterials::encryption_context), all of it, and put into each
//! [`EncryptedDataKey`](crate::EncryptedDataKey) what it takes to recognise your own on decryption. There, tell
//! three cases apart: data keys that are *not yours* are passed over in silence; the first of *yours* that opens
//! is returned; for each of yours that is *broken* add a cause, and go on to the next. Return an error only where
//! nothing can be said of the data keys at all. Hold the result against
//! `manila::testing::check_keyring` (feature `testing`).

pub(crate) mod kms;
pub(crate) mod multi;
pub(crate) mod raw_aes;

use std::fmt::Debug;
use std::sync::Arc;

use crate::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, Unwrapped, Wrapped};

/// Makes, wraps and unwraps data keys.
///
/// Source: the ESDK specification, `framework/keyring-interface.md`.
pub trait Keyring: Send + Sync + Debug {
    /// Given materials without a data key, makes one and wraps it; given materials with one, wraps that.
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, Wrapped>;

    /// Opens the first of the message's data keys that it can.
    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, Unwrapped>;

    /// A promise that the futures never return `Pending`, so that plain calls can use this keyring.
    fn is_local(&self) -> bool {
        false
    }
}

macro_rules! forward_keyring {
    ($($pointer:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<K: Keyring + ?Sized> Keyring for $pointer {
            fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, Wrapped> {
                (**self).on_encrypt(materials)
            }

            fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, Unwrapped> {
                (**self).on_decrypt(request)
            }

            fn is_local(&self) -> bool {
                (**self).is_local()
            }
        }
    )*};
}

forward_keyring!(Arc<K>, Box<K>);
