//! Contract checks for authors of KMSs, and helpers of this project's own tests (feature `testing`).

mod kms_contract;

use std::future::Future;

use crate::context::EncryptionContext;
use crate::error::{Error, ErrorKind, Result};
use crate::poll::poll_once;

pub use kms_contract::{check_kms, check_two_keys};

/// Returns a context of any pairs, including those that the format reserves: for tests that stand in for a KMS, which
/// receives the public keys of signed messages.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if a key occurs twice.
pub fn context_with_reserved(pairs: impl IntoIterator<Item = (String, String)>) -> Result<EncryptionContext> {
    EncryptionContext::with_reserved(pairs)
}

/// Fails with `broken` unless a part of a contract is kept.
#[doc(hidden)]
pub fn require(kept: bool, broken: &'static str) -> Result<()> {
    if kept { Ok(()) } else { Err(Error::new(ErrorKind::Internal, format!("contract broken: {broken}"))) }
}

/// Returns the result of a future that is immediately ready, as those of local keyrings are.
///
/// # Errors
/// The error of the future; [`ErrorKind::Internal`] if it is not ready.
pub fn ready<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    poll_once(future).unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, "the future is not ready")))
}
