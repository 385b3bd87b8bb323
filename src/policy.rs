//! [`CommitmentPolicy`]: the suites that a client may write and read.
//!
//! Source: the ESDK specification, `framework/commitment-policy.md`.

use manila_core::{Error, ErrorKind, Result};

use crate::suite::AlgorithmSuite;

/// The rule that says whether messages must commit to their key.
///
/// Without key commitment, someone who knows two data keys can construct a message that decrypts to a different
/// plaintext under each. To migrate a fleet that still holds older messages, move through these policies from the first
/// to the last.
///
/// ```
/// use manila::{AlgorithmSuite, CommitmentPolicy, ErrorKind};
///
/// let policy = CommitmentPolicy::default();
/// assert_eq!(policy, CommitmentPolicy::RequireEncryptRequireDecrypt);
/// policy.check_decrypt(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey)?;
/// let error = policy.check_decrypt(AlgorithmSuite::Aes256GcmHkdfSha256).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::PolicyViolation);
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommitmentPolicy {
    /// Writes suites without key commitment (0x0378 by default), and reads all suites.
    ForbidEncryptAllowDecrypt,
    /// Writes suites with key commitment (0x0578 by default), and reads all suites.
    RequireEncryptAllowDecrypt,
    /// Writes (0x0578 by default) and reads only suites with key commitment.
    #[default]
    RequireEncryptRequireDecrypt,
}

impl CommitmentPolicy {
    /// Returns the suite that a client writes by default.
    ///
    /// ```
    /// use manila::{AlgorithmSuite, CommitmentPolicy};
    ///
    /// let suite = CommitmentPolicy::RequireEncryptRequireDecrypt.default_suite();
    /// assert_eq!(suite, AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384);
    /// ```
    #[must_use]
    pub const fn default_suite(self) -> AlgorithmSuite {
        match self {
            Self::ForbidEncryptAllowDecrypt => AlgorithmSuite::Aes256GcmHkdfSha384EcdsaP384,
            Self::RequireEncryptAllowDecrypt | Self::RequireEncryptRequireDecrypt => {
                AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384
            }
        }
    }

    /// Returns the suite that a client writes by default if it refuses signed messages.
    pub(crate) const fn default_unsigned_suite(self) -> AlgorithmSuite {
        match self {
            Self::ForbidEncryptAllowDecrypt => AlgorithmSuite::Aes256GcmHkdfSha256,
            Self::RequireEncryptAllowDecrypt | Self::RequireEncryptRequireDecrypt => {
                AlgorithmSuite::Aes256GcmHkdfSha512CommitKey
            }
        }
    }

    /// Fails unless this policy allows writing messages in `suite`.
    ///
    /// ```
    /// use manila::{AlgorithmSuite, CommitmentPolicy};
    ///
    /// let old = AlgorithmSuite::Aes256GcmHkdfSha256;
    /// assert!(CommitmentPolicy::ForbidEncryptAllowDecrypt.check_encrypt(old).is_ok());
    /// assert!(CommitmentPolicy::RequireEncryptAllowDecrypt.check_encrypt(old).is_err());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::PolicyViolation`] if it does not.
    pub fn check_encrypt(self, suite: AlgorithmSuite) -> Result<()> {
        let forbids = self == Self::ForbidEncryptAllowDecrypt;
        self.check(suite, "written", forbids != suite.is_committing())
    }

    /// Fails unless this policy allows reading messages in `suite`.
    ///
    /// ```
    /// use manila::{AlgorithmSuite, CommitmentPolicy};
    ///
    /// let old = AlgorithmSuite::Aes256GcmHkdfSha256;
    /// assert!(CommitmentPolicy::RequireEncryptAllowDecrypt.check_decrypt(old).is_ok());
    /// assert!(CommitmentPolicy::RequireEncryptRequireDecrypt.check_decrypt(old).is_err());
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::PolicyViolation`] if it does not.
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
            "suite {suite} {commits} to its key and must not be {what} under the commitment policy {self:?}: choose \
             another suite or another policy"
        );
        Err(Error::new(ErrorKind::PolicyViolation, detail))
    }
}
