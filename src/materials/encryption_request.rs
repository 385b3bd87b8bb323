//! The request for materials to encrypt a message.

use std::collections::BTreeSet;

use manila_core::internal::crypto::RandomBytes;
use manila_core::{EncryptionContext, Result};

use crate::policy::CommitmentPolicy;
use crate::suite::AlgorithmSuite;

/// A client's request for the materials to encrypt a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct EncryptionRequest {
    /// The caller's context.
    pub encryption_context: EncryptionContext,
    /// The requested suite, if any.
    pub suite: Option<AlgorithmSuite>,
    /// The client's commitment policy.
    pub commitment_policy: CommitmentPolicy,
    /// Keys of the context whose pairs are authenticated but not stored in the header.
    pub required_context_keys: BTreeSet<String>,
    /// The maximum number of plaintext bytes, if known beforehand.
    pub max_plaintext_len: Option<u64>,
    /// Random bytes for the data key and what else a keyring needs.
    pub(crate) random: RandomBytes,
}

impl EncryptionRequest {
    /// Returns the suite to encrypt with, if the commitment policy allows it and the context has no reserved keys.
    pub(crate) fn checked_suite(&self) -> Result<AlgorithmSuite> {
        self.encryption_context.check_unreserved()?;
        let suite = self.suite.unwrap_or(self.commitment_policy.default_suite());
        self.commitment_policy.check_encrypt(suite)?;
        Ok(suite)
    }
}
