//! The 11 algorithm suites as one table; everything else asks it.
//!
//! Source: the ESDK specification, `framework/algorithm-suites.md`.

use std::fmt;

/// Length in bytes of the key commitment in a version 2 header.
pub(crate) const COMMITMENT_LEN: usize = 32;

/// How a message is encrypted, keyed and signed; named by a 2-byte id in its header.
///
/// All suites are AES-GCM with a 12-byte IV and a 16-byte tag. The default,
/// [`Aes256GcmHkdfSha512CommitKeyEcdsaP384`](Self::Aes256GcmHkdfSha512CommitKeyEcdsaP384), commits to its key
/// and signs. Prefer [`Aes256GcmHkdfSha512CommitKey`](Self::Aes256GcmHkdfSha512CommitKey) where everyone who may
/// read may also write: it is many times as fast on small messages, and streams release nothing that a later
/// signature could still disown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlgorithmSuite {
    /// 0x0014: AES-128, the data key itself encrypts (legacy).
    Aes128GcmNoKdf,
    /// 0x0046: AES-192, the data key itself encrypts (legacy).
    Aes192GcmNoKdf,
    /// 0x0078: AES-256, the data key itself encrypts (legacy).
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

/// One row of the table.
struct Properties {
    id: u16,
    name: &'static str,
    key_len: usize,
    kdf: Kdf,
    curve: Option<Curve>,
}

/// How the key of a message comes from its data key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kdf {
    /// The data key is the key.
    Identity,
    /// HKDF without salt (RFC 5869).
    Hkdf(Hash),
    /// HKDF-SHA512 salted with the message id, for the key and the key commitment.
    HkdfCommit,
}

impl AlgorithmSuite {
    /// Every suite, in the order of their ids.
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
            Suite::Aes256GcmHkdfSha512CommitKey          => row(0x0478, "ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY",            256, HkdfCommit,   None),
            Suite::Aes256GcmHkdfSha512CommitKeyEcdsaP384 => row(0x0578, "ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384", 256, HkdfCommit,   Some(P384)),
        }
    }

    /// The suite of a 2-byte id, such as `0x0478`.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] if no suite of this format has the id.
    pub fn from_id(id: u16) -> Result<Self> {
        (Self::ALL.into_iter().find(|suite| suite.id() == id))
            .ok_or_else(|| Error::new(ErrorKind::Malformed, format!("0x{id:04x} is no algorithm suite of this format")))
    }

    /// The id that stands in a message's header.
    #[must_use]
    pub const fn id(self) -> u16 {
        self.properties().id
    }

    /// The specification's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.properties().name
    }

    /// Length in bytes of the data key; the key derived from it is as long.
    #[must_use]
    pub const fn data_key_len(self) -> usize {
        self.properties().key_len
    }

    /// The version of the message format that the suite is written in: 1, or 2 with key commitment.
    #[must_use]
    pub const fn message_version(self) -> u8 {
        if self.is_committing() { 2 } else { 1 }
    }

    /// Whether the header commits to the key, so that a message opens under one key alone.
    #[must_use]
    pub const fn is_committing(self) -> bool {
        matches!(self.properties().kdf, Kdf::HkdfCommit)
    }

    /// Whether each message has a key of its own, derived from the data key.
    #[cfg(feature = "cache")]
    pub(crate) fn has_kdf(self) -> bool {
        !matches!(self.kdf(), Kdf::Identity)
    }

    /// Whether a signature ends the message.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        self.properties().curve.is_some()
    }

    /// Fails unless a data key is as long as the suite takes it.
    pub(crate) fn check_data_key(self, data_key: &SecretBytes) -> Result<()> {
        let (len, wanted) = (data_key.len(), self.data_key_len());
        if len == wanted {
            return Ok(());
        }
        let detail = format!("a data key of {len} bytes where suite {self} takes {wanted}");
        Err(Error::new(ErrorKind::NoUsableDataKey, detail))
    }

    pub(crate) const fn kdf(self) -> Kdf {
        self.properties().kdf
    }

    pub(crate) const fn curve(self) -> Option<Curve> {
        self.properties().curve
    }

    /// Length in bytes of the message id.
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
