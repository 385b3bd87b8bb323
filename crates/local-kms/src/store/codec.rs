//! Encoding of records, and the errors of bytes that are not a record.

use ciborium::de::from_reader_with_recursion_limit;
use manila_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// The largest record that is believed, in bytes: a MiB, and what sealing adds.
const MAX_RECORD_LEN: usize = (1 << 20) + (1 << 10);
/// The deepest nesting of a record.
const MAX_DEPTH: usize = 16;

pub(crate) fn to_cbor(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>> {
    // Room for any record with secrets, so that growing leaves no copies of them behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 << 10));
    ciborium::into_writer(value, &mut *bytes).map_err(|_| damaged())?;
    Ok(bytes)
}

/// The value, if the bytes are CBOR of it and nothing else.
pub(crate) fn from_cbor<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut rest = bytes;
    let value = from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).ok()?;
    rest.is_empty().then_some(value)
}

/// The bytes, if they are few enough to be a record.
pub(super) fn bounded(stored: &[u8]) -> Result<&[u8]> {
    if stored.len() > MAX_RECORD_LEN { Err(damaged()) } else { Ok(stored) }
}

pub(crate) fn damaged() -> Error {
    Error::new(ErrorKind::Storage, "the key store is damaged or was tampered with: restore a copy")
}

pub(crate) fn storage_error(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    Error::other(ErrorKind::Storage, format!("the key store failed: {error}"), error)
}
