//! The encoding of records, and the errors for bytes that are not a record.

use std::fmt;

use crate::error::invalid;
use ciborium::de::from_reader_with_recursion_limit;
use manila_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// The maximum length of a record in bytes: 1 MiB, plus the overhead of sealing.
const MAX_RECORD_LEN: usize = (1 << 20) + (1 << 10);
/// The maximum nesting depth of a record.
const MAX_DEPTH: usize = 16;

pub(crate) fn to_cbor(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>> {
    // Large enough for any record with secrets, so that reallocation leaves no copies of them behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 << 10));
    ciborium::into_writer(value, &mut *bytes).map_err(|_| damaged())?;
    Ok(bytes)
}

/// Returns the value, if the bytes are its CBOR encoding and nothing else.
pub(crate) fn from_cbor<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut rest = bytes;
    let value = from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).ok()?;
    rest.is_empty().then_some(value)
}

/// Returns the bytes, unless they are too long for a record.
pub(super) fn bounded(stored: &[u8]) -> Result<&[u8]> {
    if stored.len() > MAX_RECORD_LEN { Err(damaged()) } else { Ok(stored) }
}

/// Returns the error for a record that would be too long to be read again.
pub(super) fn too_long() -> Error {
    let message = "a record of the key store would be longer than 1 MiB: ask for less to be kept";
    invalid("LimitExceededException", message)
}

pub(crate) fn damaged() -> Error {
    Error::new(ErrorKind::Storage, "the key store is damaged or was tampered with: restore a copy")
}

pub(crate) fn storage_error(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    Error::other(ErrorKind::Storage, format!("the key store failed: {error}"), error)
}

/// The error of a commit that failed while the disk stored it, so that it may be stored.
#[derive(Debug)]
struct Unsettled(Error);

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Unsettled {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Marks the error of a commit whose outcome is unknown.
pub(super) fn unsettled(error: Error) -> Error {
    Error::other(error.kind(), error.to_string(), Unsettled(error))
}

/// Returns the error without that mark.
pub(super) fn settled(error: &Error) -> Error {
    causes(error).find_map(|cause| cause.downcast_ref()).map_or_else(|| error.clone(), |Unsettled(error)| error.clone())
}

/// Returns whether an error is that of a commit whose outcome is unknown.
pub(crate) fn is_unsettled(error: &Error) -> bool {
    causes(error).any(<dyn std::error::Error>::is::<Unsettled>)
}

fn causes(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
}
