//! The kinds of keys, key material and rotations, under AWS's names.

use manila_core::internal::crypto::{EccCurve, KeyPairKind, MlDsaSet, MlKemSet};
use serde::{Deserialize, Serialize};

/// The kind of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeySpec {
    /// Encryption with AES-256-GCM.
    #[default]
    SymmetricDefault,
    /// Message authentication codes with HMAC-SHA-224.
    Hmac224,
    /// Message authentication codes with HMAC-SHA-256.
    Hmac256,
    /// Message authentication codes with HMAC-SHA-384.
    Hmac384,
    /// Message authentication codes with HMAC-SHA-512.
    Hmac512,
    /// RSA of 2048 bits, for encryption or signatures. All RSA keys need the feature `aws-lc`.
    Rsa2048,
    /// RSA of 3072 bits, for encryption or signatures.
    Rsa3072,
    /// RSA of 4096 bits, for encryption or signatures.
    Rsa4096,
    /// The curve P-256 of NIST, for signatures or key agreement.
    EccNistP256,
    /// The curve P-384 of NIST, for signatures or key agreement.
    EccNistP384,
    /// The curve P-521 of NIST, for signatures or key agreement.
    EccNistP521,
    /// The curve secp256k1 of cryptocurrencies, for signatures.
    EccSecgP256k1,
    /// Ed25519 signatures.
    EccNistEdwards25519,
    /// ML-DSA signatures with the parameter set ML-DSA-44.
    MlDsa44,
    /// ML-DSA signatures with the parameter set ML-DSA-65.
    MlDsa65,
    /// ML-DSA signatures with the parameter set ML-DSA-87.
    MlDsa87,
    /// Key encapsulation with the parameter set ML-KEM-512.
    MlKem512,
    /// Key encapsulation with the parameter set ML-KEM-768.
    MlKem768,
    /// Key encapsulation with the parameter set ML-KEM-1024.
    MlKem1024,
}

impl KeySpec {
    /// Every kind of key, the default first.
    pub const ALL: &[Self] = &[
        Self::SymmetricDefault,
        Self::Hmac224,
        Self::Hmac256,
        Self::Hmac384,
        Self::Hmac512,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::EccNistP256,
        Self::EccNistP384,
        Self::EccNistP521,
        Self::EccSecgP256k1,
        Self::EccNistEdwards25519,
        Self::MlDsa44,
        Self::MlDsa65,
        Self::MlDsa87,
        Self::MlKem512,
        Self::MlKem768,
        Self::MlKem1024,
    ];

    /// Returns the kind of key that AWS calls so.
    ///
    /// ```
    /// use manila_local_kms::KeySpec;
    ///
    /// assert_eq!(KeySpec::from_name("HMAC_256"), Some(KeySpec::Hmac256));
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|spec| spec.name() == name)
    }

    /// Returns AWS's name, such as `SYMMETRIC_DEFAULT`.
    ///
    /// ```
    /// use manila_local_kms::KeySpec;
    ///
    /// assert_eq!(KeySpec::default().name(), "SYMMETRIC_DEFAULT");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SymmetricDefault => "SYMMETRIC_DEFAULT",
            Self::Hmac224 => "HMAC_224",
            Self::Hmac256 => "HMAC_256",
            Self::Hmac384 => "HMAC_384",
            Self::Hmac512 => "HMAC_512",
            Self::Rsa2048 => "RSA_2048",
            Self::Rsa3072 => "RSA_3072",
            Self::Rsa4096 => "RSA_4096",
            Self::EccNistP256 => "ECC_NIST_P256",
            Self::EccNistP384 => "ECC_NIST_P384",
            Self::EccNistP521 => "ECC_NIST_P521",
            Self::EccSecgP256k1 => "ECC_SECG_P256K1",
            Self::EccNistEdwards25519 => "ECC_NIST_EDWARDS25519",
            Self::MlDsa44 => "ML_DSA_44",
            Self::MlDsa65 => "ML_DSA_65",
            Self::MlDsa87 => "ML_DSA_87",
            Self::MlKem512 => "ML_KEM_512",
            Self::MlKem768 => "ML_KEM_768",
            Self::MlKem1024 => "ML_KEM_1024",
        }
    }

    /// Returns the usages that a key of this kind can have, of which it has one.
    ///
    /// ```
    /// use manila_local_kms::{KeySpec, KeyUsage};
    ///
    /// assert_eq!(KeySpec::EccNistP256.usages(), [KeyUsage::SignVerify, KeyUsage::KeyAgreement]);
    /// ```
    #[must_use]
    pub const fn usages(self) -> &'static [KeyUsage] {
        match self {
            Self::SymmetricDefault => &[KeyUsage::EncryptDecrypt],
            Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => &[KeyUsage::GenerateVerifyMac],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => &[KeyUsage::EncryptDecrypt, KeyUsage::SignVerify],
            Self::EccNistP256 | Self::EccNistP384 | Self::EccNistP521 => {
                &[KeyUsage::SignVerify, KeyUsage::KeyAgreement]
            }
            Self::EccSecgP256k1 | Self::EccNistEdwards25519 | Self::MlDsa44 | Self::MlDsa65 | Self::MlDsa87 => {
                &[KeyUsage::SignVerify]
            }
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => &[KeyUsage::EncapsulateDecapsulate],
        }
    }

    /// Returns the usage of a key of this kind, if there is one alone.
    pub(crate) fn only_usage(self) -> Option<KeyUsage> {
        match self.usages() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// Returns the kind of key pair of an asymmetric key.
    pub(crate) fn key_pair(self) -> Option<KeyPairKind> {
        match self {
            Self::SymmetricDefault | Self::Hmac224 | Self::Hmac256 | Self::Hmac384 | Self::Hmac512 => None,
            Self::Rsa2048 => Some(KeyPairKind::Rsa(2048)),
            Self::Rsa3072 => Some(KeyPairKind::Rsa(3072)),
            Self::Rsa4096 => Some(KeyPairKind::Rsa(4096)),
            Self::EccNistP256 => Some(KeyPairKind::Ecc(EccCurve::P256)),
            Self::EccNistP384 => Some(KeyPairKind::Ecc(EccCurve::P384)),
            Self::EccNistP521 => Some(KeyPairKind::Ecc(EccCurve::P521)),
            Self::EccSecgP256k1 => Some(KeyPairKind::Ecc(EccCurve::Secp256k1)),
            Self::EccNistEdwards25519 => Some(KeyPairKind::Ed25519),
            Self::MlDsa44 => Some(KeyPairKind::MlDsa(MlDsaSet::MlDsa44)),
            Self::MlDsa65 => Some(KeyPairKind::MlDsa(MlDsaSet::MlDsa65)),
            Self::MlDsa87 => Some(KeyPairKind::MlDsa(MlDsaSet::MlDsa87)),
            Self::MlKem512 => Some(KeyPairKind::MlKem(MlKemSet::MlKem512)),
            Self::MlKem768 => Some(KeyPairKind::MlKem(MlKemSet::MlKem768)),
            Self::MlKem1024 => Some(KeyPairKind::MlKem(MlKemSet::MlKem1024)),
        }
    }

    /// Returns the length of the key material in bytes, if that is random: 32 for AES-256, that of the hash for HMAC.
    pub(crate) fn random_len(self) -> Option<usize> {
        match self {
            Self::Hmac224 => Some(28),
            Self::SymmetricDefault | Self::Hmac256 => Some(32),
            Self::Hmac384 => Some(48),
            Self::Hmac512 => Some(64),
            _ => None,
        }
    }
}

/// The usage of a key, which it has for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyUsage {
    /// To encrypt and decrypt.
    EncryptDecrypt,
    /// To sign, and to verify signatures.
    SignVerify,
    /// To compute and verify message authentication codes.
    GenerateVerifyMac,
    /// To agree on shared secrets with the owners of other keys.
    KeyAgreement,
    /// To make shared secrets for the owner of the key, and to get them.
    EncapsulateDecapsulate,
}

impl KeyUsage {
    /// Every usage.
    pub const ALL: &[Self] = &[
        Self::EncryptDecrypt,
        Self::SignVerify,
        Self::GenerateVerifyMac,
        Self::KeyAgreement,
        Self::EncapsulateDecapsulate,
    ];

    /// Returns the usage that AWS calls so.
    ///
    /// ```
    /// use manila_local_kms::KeyUsage;
    ///
    /// assert_eq!(KeyUsage::from_name("SIGN_VERIFY"), Some(KeyUsage::SignVerify));
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|usage| usage.name() == name)
    }

    /// Returns AWS's name, such as `SIGN_VERIFY`.
    ///
    /// ```
    /// use manila_local_kms::KeyUsage;
    ///
    /// assert_eq!(KeyUsage::EncryptDecrypt.name(), "ENCRYPT_DECRYPT");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EncryptDecrypt => "ENCRYPT_DECRYPT",
            Self::SignVerify => "SIGN_VERIFY",
            Self::GenerateVerifyMac => "GENERATE_VERIFY_MAC",
            Self::KeyAgreement => "KEY_AGREEMENT",
            Self::EncapsulateDecapsulate => "ENCAPSULATE_DECAPSULATE",
        }
    }
}

/// The origin of key material.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyOrigin {
    /// Generated by the KMS.
    #[default]
    Generated,
    /// Imported; AWS calls this origin `EXTERNAL`.
    External,
}

impl KeyOrigin {
    /// Returns AWS's name.
    ///
    /// ```
    /// use manila_local_kms::KeyOrigin;
    ///
    /// assert_eq!(KeyOrigin::External.name(), "EXTERNAL");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generated => "AWS_KMS",
            Self::External => "EXTERNAL",
        }
    }
}

/// The reason for a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RotationType {
    /// It was due.
    Automatic,
    /// It was requested.
    OnDemand,
    /// The root key was changed, by
    /// [`LocalKms::change_root_key_and_rotate`](crate::LocalKms::change_root_key_and_rotate).
    RootKeyChange,
}

impl RotationType {
    /// Returns AWS's name; `ROOT_KEY_CHANGE` for what AWS does not have.
    ///
    /// ```
    /// use manila_local_kms::RotationType;
    ///
    /// assert_eq!(RotationType::OnDemand.name(), "ON_DEMAND");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Automatic => "AUTOMATIC",
            Self::OnDemand => "ON_DEMAND",
            Self::RootKeyChange => "ROOT_KEY_CHANGE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_found_by_its_name() {
        for &spec in KeySpec::ALL {
            assert_eq!(KeySpec::from_name(spec.name()), Some(spec));
        }
        assert_eq!(KeySpec::from_name("hmac_256"), None);
        for &usage in KeyUsage::ALL {
            assert_eq!(KeyUsage::from_name(usage.name()), Some(usage));
        }
        assert_eq!(KeyUsage::from_name("SIGN"), None);
    }

    #[test]
    fn each_kind_has_random_material_or_a_key_pair_and_a_usage() {
        for &spec in KeySpec::ALL {
            assert_ne!(spec.random_len().is_some(), spec.key_pair().is_some(), "{spec:?}");
            assert!((1..=2).contains(&spec.usages().len()), "{spec:?}");
        }
    }
}
