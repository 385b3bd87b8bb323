//! Errors under AWS's names.

use std::ops::RangeInclusive;
use std::path::Path;

use manila_core::{Error, ErrorKind, KmsError, Result};

/// Returns an error of the key, the caller or the ciphertext.
pub(super) fn refused(code: &'static str, message: impl Into<String>) -> Error {
    answer(ErrorKind::KeyRefused, code, message.into())
}

/// Returns an error of the request.
pub(super) fn invalid(code: &'static str, message: impl Into<String>) -> Error {
    answer(ErrorKind::InvalidInput, code, message.into())
}

/// Returns an error that the request did not cause: it may succeed later.
pub(super) fn unavailable(code: &'static str, message: impl Into<String>) -> Error {
    answer(ErrorKind::Unavailable, code, message.into())
}

/// Returns the error for what cannot happen.
pub(super) fn internal(what: &'static str) -> Error {
    Error::new(ErrorKind::Internal, what)
}

fn answer(kind: ErrorKind, code: &str, message: String) -> Error {
    let error = KmsError::new(code, message);
    Error::other(kind, format!("the embedded KMS refused: {error}"), error)
}

/// Returns the error for the file of the store, named as an audit log.
pub(super) fn is_store(path: &Path) -> Error {
    let message = format!("{path:?} is the file of the key store: name another file for the audit log");
    invalid("ValidationException", message)
}

/// Fails unless `len` is allowed; `what` names the value and the unit of its length.
pub(super) fn check_len(what: &str, len: usize, allowed: RangeInclusive<usize>) -> Result<()> {
    if allowed.contains(&len) {
        return Ok(());
    }
    let message = format!("{what}: {} to {}, not {len}", allowed.start(), allowed.end());
    Err(invalid("ValidationException", message))
}

/// Returns AWS's name of an error, as logged in the audit log.
pub(super) fn code_of(error: &Error) -> String {
    match error.kms_error() {
        Some(answer) => answer.code().to_owned(),
        None => format!("{:?}", error.kind()),
    }
}
