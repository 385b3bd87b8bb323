//! The part of [`manila`](https://docs.rs/manila) that key management services share: errors, encryption contexts,
//! secret bytes and the trait [`Kms`].
//!
//! You want `manila`, which has all of this under its own name. Depend on this crate to write a KMS backend without the
//! message library.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![deny(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod clock;
#[doc(hidden)]
pub mod codec;
mod context;
#[doc(hidden)]
pub mod crypto;
mod error;
mod key_arn;
mod kms;
mod poll;
mod secret;
#[cfg(feature = "testing")]
pub mod testing;
#[doc(hidden)]
pub mod text;

pub use clock::{Clock, SystemClock};
pub use context::{EncryptionContext, Iter as EncryptionContextIter};
pub use error::{Error, ErrorKind, KmsError, Result};
pub use key_arn::KeyArn;
pub use kms::{GeneratedDataKey, Kms, KmsCiphertext, KmsPlaintext, KmsRequest, generate_by_encrypting};
pub use poll::KeyFuture;
pub use secret::SecretBytes;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use secret::SecretWatch;

/// Only for the crates of this project: it may change in any version.
#[doc(hidden)]
pub mod internal {
    pub use crate::context::{PUBLIC_KEY, check_key};
    pub use crate::error::quoted;
    pub use crate::key_arn::{MULTI_REGION_PREFIX, is_arn_part, is_key_id};
    pub use crate::kms::AWS_PROVIDER_ID;
    pub use crate::poll::poll_once;
    pub use crate::{codec, crypto, text};
}
