//! What a client asks for before it encrypts.

use std::collections::BTreeSet;

use manila_core::{EncryptionContext, Result};

use crate::policy::CommitmentPolicy;
use crate::suite::AlgorithmSuite;

/// What a client asks for before it encrypts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct EncryptionRequest {
    /// The caller's context.
    pub encryption_context: EncryptionContext,
    /// The suite asked for, if any.
    pub suite: Option<AlgorithmSuite>,
    /// The client's commitment policy.
    pub commitment_policy: CommitmentPolicy,
    /// Keys of the context whose pairs are authenticated but left out of the header.
    pub required_context_keys: BTreeSet<String>,
    /// The most bytes of plaintext that will be encrypted, where that is known beforehand.
    pub max_plaintext_len: Option<u64>,
}

impl EncryptionRequest {
    /// The suite to encrypt with, if the commitment policy allows it and the context may be encrypted with at all.
    pub(crate) fn checked_suite(&self) -> Result<AlgorithmSuite> {
        self.encryption_context.check_unreserved()?;
        let suite = self.suite.unwrap_or(self.commitment_policy.default_suite());
        self.commitment_policy.check_encrypt(suite)?;
        Ok(suite)
    }
}
