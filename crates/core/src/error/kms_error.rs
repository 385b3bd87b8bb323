//! The answer of a KMS that refused.

use crate::text::Escaped;

/// Why a KMS refused, in AWS's words: the source of an [`Error`] that a KMS made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}{}", Escaped(.code), Escaped(.message), in_brackets(.request_id.as_deref()))]
#[non_exhaustive]
pub struct KmsError {
    /// AWS's name for it, such as `NotFoundException`.
    pub code: String,
    /// What the KMS said.
    pub message: String,
    /// The id that the service gave the request, if it gave one.
    pub request_id: Option<String>,
}

impl KmsError {
    /// An answer of a KMS: AWS's name for the error, and what the KMS said.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), request_id: None }
    }

    /// The answer with the id that the service gave the request, for its support to look up.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }
}

fn in_brackets(request_id: Option<&str>) -> String {
    request_id.map_or_else(String::new, |id| format!(" (request {})", Escaped(id)))
}
