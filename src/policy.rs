//! Commitment policy: which suites a client writes and reads.
//!
//! Source: the ESDK specification, `framework/commitment-policy.md`.

use manila_core::{Error, ErrorKind, Result};

use crate::suite::AlgorithmSuite;

/// Whether messages must commit to their key.
///
/// Without commitment, who knows two data keys can craft a message that opens to different plaintexts under each.
/// A fleet that still holds older messages moves through these policies from the first to the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommitmentPolicy {
    /// Writes suites without commitment (0x0378 by default), reads all.
    ForbidEncryptAllowDecrypt,
    /// Writes suites with commitment (0x0578 by default), reads all.
    RequireEncryptAllowDecrypt,
    /// Writes (0x0578 by default) and reads suites with commitment alone.
    #[default]
    RequireEncryptRequireDecrypt,
}

impl CommitmentPolicy {
    /// The suite to write where none is asked for.
    #[must_use]
    pub const fn default_suite(self) -> AlgorithmSuite {
        match self {
            Self::ForbidEncryptAllowDecrypt => AlgorithmSuite::Aes256GcmHkdfSha384EcdsaP384,
            Self::RequireEncryptAllowDecrypt | Self::RequireEncryptRequireDecrypt => {
                AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384
            }
        }
    }

    /// The suite to write where none is asked for and signed ones are not taken.
    pub(crate) const fn default_unsigned_suite(self) -> AlgorithmSuite {
        match self {
            Self::ForbidEncryptAllowDecrypt => AlgorithmSuite::Aes256GcmHkdfSha256,
            Self::RequireEncryptAllowDecrypt | Self::RequireEncryptRequireDecrypt => {
                AlgorithmSuite::Aes256GcmHkdfSha512CommitKey
            }
        }
    }

    /// Fails unless messages of `suite` may be written.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyViolation`].
    pub fn check_encrypt(self, suite: AlgorithmSuite) -> Result<()> {
        let forbids = self == Self::ForbidEncryptAllowDecrypt;
        self.check(suite, "written", forbids != suite.is_committing())
    }

    /// Fails unless messages of `suite` may be read.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyViolation`].
    pub fn check_decrypt(self, suite: AlgorithmSuite) -> Result<()> {
        let requires = self == Self::RequireEncryptRequireDecrypt;
        self.check(suite, "read", !requires || suite.is_committing())
    }

    fn check(self, suite: AlgorithmSuite, what: &str, allowed: bool) -> Result<()> {
        if allowed {
            return Ok(());
        }
        let commits = if suite.is_committing() { "commits" } else { "does not commit" };
        let detail = format!(
            "suite {suite} {commits} to its key and may not be {what} under the commitment policy {self:?}: \
             choose another suite or another policy"
        );
        Err(Error::new(ErrorKind::PolicyViolation, detail))
    }
}
