//! Refusals, under the names that AWS gives them.

use std::ops::RangeInclusive;
use std::path::Path;

use manila_core::{Error, ErrorKind, KmsError, Result};

/// The key, the caller or the ciphertext is at fault.
pub(super) fn refused(code: &'static str, message: impl Into<String>) -> Error {
    answer(ErrorKind::KeyRefused, code, message.into())
}

/// The request is at fault.
pub(super) fn invalid(code: &'static str, message: impl Into<String>) -> Error {
    answer(ErrorKind::InvalidInput, code, message.into())
}

fn answer(kind: ErrorKind, code: &str, message: String) -> Error {
    let error = KmsError::new(code, message);
    Error::other(kind, format!("the embedded KMS refused: {error}"), error)
}

/// The file of the store was named as an audit log.
pub(super) fn is_store(path: &Path) -> Error {
    let message = format!("{path:?} is the file of the key store: name another file for the audit log");
    invalid("ValidationException", message)
}

/// Fails unless `len` is allowed; `what` names what has that length, and in what unit.
pub(super) fn check_len(what: &str, len: usize, allowed: RangeInclusive<usize>) -> Result<()> {
    if allowed.contains(&len) {
        return Ok(());
    }
    let message = format!("{what}: {} to {}, not {len}", allowed.start(), allowed.end());
    Err(invalid("ValidationException", message))
}

/// AWS's name for a failure, as the audit log has it.
pub(super) fn code_of(error: &Error) -> String {
    match error.kms_error() {
        Some(answer) => answer.code().to_owned(),
        None => format!("{:?}", error.kind()),
    }
}
