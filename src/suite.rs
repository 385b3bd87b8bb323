//! The 11 algorithm suites, as one table that all other code consults.
//!
//! Source: the ESDK specification, `framework/algorithm-suites.md`.

use std::fmt;

/// Length in bytes of the key commitment in a version 2 header.
pub(crate) const COMMITMENT_LEN: usize = 32;

/// The algorithms that encrypt and sign a message and derive its key, identified by a 2-byte id in the header.
///
/// All suites use AES-GCM with a 12-byte IV and a 16-byte tag. The default,
/// [`Aes256GcmHkdfSha512CommitKeyEcdsaP384`](Self::Aes256GcmHkdfSha512CommitKeyEcdsaP384), commits to its key and
/// signs. If everyone who may read may also write, prefer
/// [`Aes256GcmHkdfSha512CommitKey`](Self::Aes256GcmHkdfSha512CommitKey): it is many times as fast on small messages,
/// and streams never release plaintext that a signature at the end could still invalidate.
///
/// ```
/// use manila::AlgorithmSuite;
///
/// let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
/// assert_eq!((suite.id(), suite.message_version(), suite.data_key_len()), (0x0478, 2, 32));
/// assert!(suite.is_committing() && !suite.is_signed());
/// assert_eq!(suite.to_string(), "0x0478");
/// assert_eq!(suite.name(), "ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlgorithmSuite {
    /// 0x0014: AES-128, directly under the data key (legacy).
    Aes128GcmNoKdf,
    /// 0x0046: AES-192, directly under the data key (legacy).
    Aes192GcmNoKdf,
    /// 0x0078: AES-256, directly under the data key (legacy).
    Aes256GcmNoKdf,
    /// 0x0114: AES-128 under a key derived with HKDF-SHA256.
    Aes128GcmHkdfSha256,
    /// 0x0146: AES-192 under a key derived with HKDF-SHA256.
    Aes192GcmHkdfSha256,
    /// 0x0178: AES-256 under a key derived with HKDF-SHA256.
    Aes256GcmHkdfSha256,
    /// 0x0214: AES-128, HKDF-SHA256, signed with ECDSA on P-256.
    Aes128GcmHkdfSha256EcdsaP256,
    /// 0x0346: AES-192, HKDF-SHA384, signed with ECDSA on P-384.
    Aes192GcmHkdfSha384EcdsaP384,
    /// 0x0378: AES-256, HKDF-SHA384, signed with ECDSA on P-384.
    Aes256GcmHkdfSha384EcdsaP384,
    /// 0x0478: AES-256 and key commitment, HKDF-SHA512.
    Aes256GcmHkdfSha512CommitKey,
    /// 0x0578: AES-256 and key commitment, HKDF-SHA512, signed with ECDSA on P-384.
    Aes256GcmHkdfSha512CommitKeyEcdsaP384,
}

use AlgorithmSuite as Suite;
use manila_core::internal::crypto::{Curve, Hash};
use manila_core::{Error, ErrorKind, Result, SecretBytes};

/// A row of the table.
struct Properties {
    id: u16,
    name: &'static str,
    key_len: usize,
    kdf: Kdf,
    curve: Option<Curve>,
}

/// The derivation of a message key from its data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kdf {
    /// The data key is the message key.
    Identity,
    /// HKDF without a salt (RFC 5869).
    Hkdf(Hash),
    /// HKDF-SHA512 with the message id as its salt, for both the key, with this label, and the key commitment.
    HkdfCommit(&'static [u8]),
}

impl AlgorithmSuite {
    /// All suites, in the order of their ids.
    ///
    /// ```
    /// use manila::AlgorithmSuite;
    ///
    /// let unsigned = AlgorithmSuite::ALL.into_iter().filter(|suite| suite.is_committing() && !suite.is_signed());
    /// assert_eq!(unsigned.collect::<Vec<_>>(), [AlgorithmSuite::Aes256GcmHkdfSha512CommitKey]);
    /// ```
    pub const ALL: [Self; 11] = [
        Self::Aes128GcmNoKdf,
        Self::Aes192GcmNoKdf,
        Self::Aes256GcmNoKdf,
        Self::Aes128GcmHkdfSha256,
        Self::Aes192GcmHkdfSha256,
        Self::Aes256GcmHkdfSha256,
        Self::Aes128GcmHkdfSha256EcdsaP256,
        Self::Aes192GcmHkdfSha384EcdsaP384,
        Self::Aes256GcmHkdfSha384EcdsaP384,
        Self::Aes256GcmHkdfSha512CommitKey,
        Self::Aes256GcmHkdfSha512CommitKeyEcdsaP384,
    ];

    #[rustfmt::skip]
    const fn properties(self) -> Properties {
        use {Curve::{P256, P384}, Hash::{Sha256, Sha384}, Kdf::{Hkdf, HkdfCommit, Identity}};
        const fn row(id: u16, name: &'static str, key_bits: usize, kdf: Kdf, curve: Option<Curve>) -> Properties {
            Properties { id, name, key_len: key_bits / 8, kdf, curve }
        }
        match self {
            Suite::Aes128GcmNoKdf                        => row(0x0014, "ALG_AES_128_GCM_IV12_TAG16_NO_KDF",                 128, Identity,     None),
            Suite::Aes192GcmNoKdf                        => row(0x0046, "ALG_AES_192_GCM_IV12_TAG16_NO_KDF",                 192, Identity,     None),
            Suite::Aes256GcmNoKdf                        => row(0x0078, "ALG_AES_256_GCM_IV12_TAG16_NO_KDF",                 256, Identity,     None),
            Suite::Aes128GcmHkdfSha256                   => row(0x0114, "ALG_AES_128_GCM_IV12_TAG16_HKDF_SHA256",            128, Hkdf(Sha256), None),
            Suite::Aes192GcmHkdfSha256                   => row(0x0146, "ALG_AES_192_GCM_IV12_TAG16_HKDF_SHA256",            192, Hkdf(Sha256), None),
            Suite::Aes256GcmHkdfSha256                   => row(0x0178, "ALG_AES_256_GCM_IV12_TAG16_HKDF_SHA256",            256, Hkdf(Sha256), None),
            Suite::Aes128GcmHkdfSha256EcdsaP256          => row(0x0214, "ALG_AES_128_GCM_IV12_TAG16_HKDF_SHA256_ECDSA_P256", 128, Hkdf(Sha256), Some(P256)),
            Suite::Aes192GcmHkdfSha384EcdsaP384          => row(0x0346, "ALG_AES_192_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384", 192, Hkdf(Sha384), Some(P384)),
            Suite::Aes256GcmHkdfSha384EcdsaP384          => row(0x0378, "ALG_AES_256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384", 256, Hkdf(Sha384), Some(P384)),
            Suite::Aes256GcmHkdfSha512CommitKey          => row(0x0478, "ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY",            256, HkdfCommit(b"\x04\x78DERIVEKEY"), None),
            Suite::Aes256GcmHkdfSha512CommitKeyEcdsaP384 => row(0x0578, "ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384", 256, HkdfCommit(b"\x05\x78DERIVEKEY"), Some(P384)),
        }
    }

    /// Returns the suite with a 2-byte id, such as `0x0478`.
    ///
    /// ```
    /// use manila::{AlgorithmSuite, ErrorKind};
    ///
    /// let suite = AlgorithmSuite::from_id(0x0578)?;
    /// assert_eq!(suite, AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384);
    /// assert_eq!(AlgorithmSuite::from_id(0xffff).unwrap_err().kind(), ErrorKind::Malformed);
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] if no suite of this format has the id.
    pub fn from_id(id: u16) -> Result<Self> {
        (Self::ALL.into_iter().find(|suite| suite.id() == id))
            .ok_or_else(|| Error::new(ErrorKind::Malformed, format!("0x{id:04x} is not a valid algorithm suite id")))
    }

    /// Returns the id that is stored in message headers.
    #[must_use]
    pub const fn id(self) -> u16 {
        self.properties().id
    }

    /// Returns the name that the specification gives the suite.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.properties().name
    }

    /// Returns the length of the data key in bytes. The message key derived from it has the same length.
    #[must_use]
    pub const fn data_key_len(self) -> usize {
        self.properties().key_len
    }

    /// Returns the version of the message format that the suite uses: 2 with key commitment, 1 without.
    #[must_use]
    pub const fn message_version(self) -> u8 {
        if self.is_committing() { 2 } else { 1 }
    }

    /// Returns whether the header commits to the key, so that only one key can decrypt the message.
    #[must_use]
    pub const fn is_committing(self) -> bool {
        matches!(self.properties().kdf, Kdf::HkdfCommit(_))
    }

    /// Returns whether each message has its own key, derived from the data key.
    #[cfg(feature = "cache")]
    pub(crate) fn has_kdf(self) -> bool {
        !matches!(self.kdf(), Kdf::Identity)
    }

    /// Returns whether the message ends with a signature.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        self.properties().curve.is_some()
    }

    /// Fails unless a data key has the length that the suite requires.
    pub(crate) fn check_data_key(self, data_key: &SecretBytes) -> Result<()> {
        let (len, wanted) = (data_key.len(), self.data_key_len());
        if len == wanted {
            return Ok(());
        }
        let detail = format!("the data key has {len} bytes, but suite {self} requires {wanted}");
        Err(Error::new(ErrorKind::NoUsableDataKey, detail))
    }

    pub(crate) const fn kdf(self) -> Kdf {
        self.properties().kdf
    }

    pub(crate) const fn curve(self) -> Option<Curve> {
        self.properties().curve
    }

    /// Returns the length of the message id in bytes.
    pub(crate) const fn message_id_len(self) -> usize {
        if self.is_committing() { 32 } else { 16 }
    }
}

impl fmt::Display for AlgorithmSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.id())
    }
}

impl fmt::Debug for AlgorithmSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} {}", self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_find_their_suites_and_no_others() {
        let known: Vec<u16> = (0..=u16::MAX).filter(|id| AlgorithmSuite::from_id(*id).is_ok()).collect();
        let table = [0x0014, 0x0046, 0x0078, 0x0114, 0x0146, 0x0178, 0x0214, 0x0346, 0x0378, 0x0478, 0x0578];
        assert_eq!(known, table);
        assert_eq!(AlgorithmSuite::from_id(0x0346).unwrap(), AlgorithmSuite::Aes192GcmHkdfSha384EcdsaP384);
    }
}
