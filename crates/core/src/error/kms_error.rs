//! [`KmsError`]: the error that a KMS answered with.

use crate::text::Escaped;

/// The error that a KMS answered with, under AWS's name. It is the source of the [`Error`](crate::Error) that a KMS
/// returns: see [`Error::kms_error`](crate::Error::kms_error).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}{}", Escaped(.code), Escaped(.message), in_brackets(.request_id.as_deref()))]
#[non_exhaustive]
pub struct KmsError {
    code: String,
    message: String,
    request_id: Option<String>,
}

impl KmsError {
    /// Returns an error with AWS's name for it and the message of the KMS.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), request_id: None }
    }

    /// Returns the error with the request id that the service assigned, for its support to look up.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// Returns AWS's name of the error, such as `NotFoundException`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the message of the KMS.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the request id that the service assigned, if any.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

fn in_brackets(request_id: Option<&str>) -> String {
    request_id.map_or_else(String::new, |id| format!(" (request {})", Escaped(id)))
}
