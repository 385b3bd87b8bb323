//! The algorithms of keys, under AWS's names.

use manila_core::Error;
use manila_core::internal::crypto::{Hash, MacHash, SignatureScheme};

use crate::error::invalid;
use crate::record::kind::{KeySpec, KeyUsage};

/// Declares an algorithm with its names.
macro_rules! algorithms {
    ($(#[$doc:meta])* $type:ident: $($(#[$of:meta])* $variant:ident = $name:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $type { $($(#[$of])* $variant,)* }

        impl $type {
            /// Every algorithm.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns the algorithm that AWS calls so.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
            }

            /// Returns AWS's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

algorithms! {
    /// An algorithm that encrypts.
    ///
    /// ```
    /// use manila_local_kms::EncryptionAlgorithm;
    ///
    /// let oaep = EncryptionAlgorithm::from_name("RSAES_OAEP_SHA_256");
    /// assert_eq!(oaep, Some(EncryptionAlgorithm::RsaesOaepSha256));
    /// ```
    EncryptionAlgorithm:
    /// AES-256-GCM, for [`KeySpec::SymmetricDefault`].
    SymmetricDefault = "SYMMETRIC_DEFAULT",
    /// RSA with OAEP, SHA-1 and MGF1 with SHA-1.
    RsaesOaepSha1 = "RSAES_OAEP_SHA_1",
    /// RSA with OAEP, SHA-256 and MGF1 with SHA-256.
    RsaesOaepSha256 = "RSAES_OAEP_SHA_256",
}

algorithms! {
    /// An algorithm that signs.
    ///
    /// ```
    /// use manila_local_kms::SigningAlgorithm;
    ///
    /// assert_eq!(SigningAlgorithm::EcdsaSha256.name(), "ECDSA_SHA_256");
    /// ```
    SigningAlgorithm:
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes.
    RsassaPssSha256 = "RSASSA_PSS_SHA_256",
    /// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes.
    RsassaPssSha384 = "RSASSA_PSS_SHA_384",
    /// RSASSA-PSS with SHA-512, MGF1 with SHA-512 and a salt of 64 bytes.
    RsassaPssSha512 = "RSASSA_PSS_SHA_512",
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsassaPkcs1V15Sha256 = "RSASSA_PKCS1_V1_5_SHA_256",
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RsassaPkcs1V15Sha384 = "RSASSA_PKCS1_V1_5_SHA_384",
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RsassaPkcs1V15Sha512 = "RSASSA_PKCS1_V1_5_SHA_512",
    /// ECDSA with SHA-256, for P-256 and secp256k1.
    EcdsaSha256 = "ECDSA_SHA_256",
    /// ECDSA with SHA-384, for P-384.
    EcdsaSha384 = "ECDSA_SHA_384",
    /// ECDSA with SHA-512, for P-521.
    EcdsaSha512 = "ECDSA_SHA_512",
    /// Ed25519, for whole messages.
    Ed25519Sha512 = "ED25519_SHA_512",
    /// Ed25519ph, for digests of 64 bytes, which it hashes again.
    Ed25519PhSha512 = "ED25519_PH_SHA_512",
    /// ML-DSA, for messages and for an external mu of 64 bytes.
    MlDsaShake256 = "ML_DSA_SHAKE_256",
}

algorithms! {
    /// An algorithm of message authentication codes, each for keys of its hash alone.
    ///
    /// ```
    /// use manila_local_kms::MacAlgorithm;
    ///
    /// assert_eq!(MacAlgorithm::from_name("HMAC_SHA_256"), Some(MacAlgorithm::HmacSha256));
    /// ```
    MacAlgorithm:
    /// HMAC with SHA-224.
    HmacSha224 = "HMAC_SHA_224",
    /// HMAC with SHA-256.
    HmacSha256 = "HMAC_SHA_256",
    /// HMAC with SHA-384.
    HmacSha384 = "HMAC_SHA_384",
    /// HMAC with SHA-512.
    HmacSha512 = "HMAC_SHA_512",
}

algorithms! {
    /// An algorithm that two sides agree on a secret with.
    ///
    /// ```
    /// use manila_local_kms::KeyAgreementAlgorithm;
    ///
    /// assert_eq!(KeyAgreementAlgorithm::Ecdh.name(), "ECDH");
    /// ```
    KeyAgreementAlgorithm:
    /// Elliptic curve Diffie-Hellman with cofactor (NIST SP 800-56A): the secret is the x coordinate.
    Ecdh = "ECDH",
}

algorithms! {
    /// An algorithm that makes a secret for the owner of a key.
    ///
    /// ```
    /// use manila_local_kms::EncapsulationAlgorithm;
    ///
    /// assert_eq!(EncapsulationAlgorithm::MlKem.name(), "ML_KEM");
    /// ```
    EncapsulationAlgorithm:
    /// ML-KEM (FIPS 203).
    MlKem = "ML_KEM",
}

impl EncryptionAlgorithm {
    /// Returns the algorithms of keys of a kind and usage.
    pub(crate) const fn of(spec: KeySpec, usage: KeyUsage) -> &'static [Self] {
        match (spec, usage) {
            (KeySpec::SymmetricDefault, _) => &[Self::SymmetricDefault],
            (KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096, KeyUsage::EncryptDecrypt) => {
                &[Self::RsaesOaepSha1, Self::RsaesOaepSha256]
            }
            _ => &[],
        }
    }
}

impl SigningAlgorithm {
    /// Returns the algorithms of keys of a kind and usage.
    pub(crate) const fn of(spec: KeySpec, usage: KeyUsage) -> &'static [Self] {
        match (usage, spec) {
            (KeyUsage::SignVerify, KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096) => &[
                Self::RsassaPkcs1V15Sha256,
                Self::RsassaPkcs1V15Sha384,
                Self::RsassaPkcs1V15Sha512,
                Self::RsassaPssSha256,
                Self::RsassaPssSha384,
                Self::RsassaPssSha512,
            ],
            (KeyUsage::SignVerify, KeySpec::EccNistP256 | KeySpec::EccSecgP256k1) => &[Self::EcdsaSha256],
            (KeyUsage::SignVerify, KeySpec::EccNistP384) => &[Self::EcdsaSha384],
            (KeyUsage::SignVerify, KeySpec::EccNistP521) => &[Self::EcdsaSha512],
            (KeyUsage::SignVerify, KeySpec::EccNistEdwards25519) => &[Self::Ed25519PhSha512, Self::Ed25519Sha512],
            (KeyUsage::SignVerify, KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87) => &[Self::MlDsaShake256],
            _ => &[],
        }
    }

    pub(crate) const fn scheme(self) -> SignatureScheme {
        match self {
            Self::RsassaPssSha256 => SignatureScheme::RsaPss(Hash::Sha256),
            Self::RsassaPssSha384 => SignatureScheme::RsaPss(Hash::Sha384),
            Self::RsassaPssSha512 => SignatureScheme::RsaPss(Hash::Sha512),
            Self::RsassaPkcs1V15Sha256 => SignatureScheme::RsaPkcs1(Hash::Sha256),
            Self::RsassaPkcs1V15Sha384 => SignatureScheme::RsaPkcs1(Hash::Sha384),
            Self::RsassaPkcs1V15Sha512 => SignatureScheme::RsaPkcs1(Hash::Sha512),
            Self::EcdsaSha256 => SignatureScheme::Ecdsa(Hash::Sha256),
            Self::EcdsaSha384 => SignatureScheme::Ecdsa(Hash::Sha384),
            Self::EcdsaSha512 => SignatureScheme::Ecdsa(Hash::Sha512),
            Self::Ed25519Sha512 => SignatureScheme::Ed25519,
            Self::Ed25519PhSha512 => SignatureScheme::Ed25519Ph,
            Self::MlDsaShake256 => SignatureScheme::MlDsa,
        }
    }

    /// Returns the length in bytes of what is signed in place of a message: a digest or an external mu.
    pub(crate) const fn digest_len(self) -> usize {
        match self {
            Self::RsassaPssSha256 | Self::RsassaPkcs1V15Sha256 | Self::EcdsaSha256 => 32,
            Self::RsassaPssSha384 | Self::RsassaPkcs1V15Sha384 | Self::EcdsaSha384 => 48,
            Self::RsassaPssSha512
            | Self::RsassaPkcs1V15Sha512
            | Self::EcdsaSha512
            | Self::Ed25519Sha512
            | Self::Ed25519PhSha512
            | Self::MlDsaShake256 => 64,
        }
    }
}

impl MacAlgorithm {
    /// Returns the algorithms of keys of a kind.
    pub(crate) const fn of(spec: KeySpec) -> &'static [Self] {
        match spec {
            KeySpec::Hmac224 => &[Self::HmacSha224],
            KeySpec::Hmac256 => &[Self::HmacSha256],
            KeySpec::Hmac384 => &[Self::HmacSha384],
            KeySpec::Hmac512 => &[Self::HmacSha512],
            _ => &[],
        }
    }

    pub(crate) const fn hash(self) -> MacHash {
        match self {
            Self::HmacSha224 => MacHash::Sha224,
            Self::HmacSha256 => MacHash::Sha256,
            Self::HmacSha384 => MacHash::Sha384,
            Self::HmacSha512 => MacHash::Sha512,
        }
    }
}

impl KeyAgreementAlgorithm {
    /// Returns the algorithms of keys of a usage.
    pub(crate) const fn of(usage: KeyUsage) -> &'static [Self] {
        match usage {
            KeyUsage::KeyAgreement => Self::ALL,
            _ => &[],
        }
    }
}

impl EncapsulationAlgorithm {
    /// Returns the algorithms of keys of a usage.
    pub(crate) const fn of(usage: KeyUsage) -> &'static [Self] {
        match usage {
            KeyUsage::EncapsulateDecapsulate => Self::ALL,
            _ => &[],
        }
    }
}

/// Returns AWS's error for an algorithm that is of another kind of key.
pub(crate) fn incompatible(algorithm: &str, spec: KeySpec) -> Error {
    let message = format!("Algorithm {algorithm} is incompatible with key spec {}.", spec.name());
    invalid("InvalidKeyUsageException", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_algorithm_is_found_by_its_name_and_belongs_to_a_key() {
        let of_a_key = |is_in: &dyn Fn(KeySpec, KeyUsage) -> bool| {
            KeySpec::ALL.iter().any(|spec| spec.usages().iter().any(|usage| is_in(*spec, *usage)))
        };
        for &algorithm in EncryptionAlgorithm::ALL {
            assert_eq!(EncryptionAlgorithm::from_name(algorithm.name()), Some(algorithm));
            assert!(of_a_key(&|spec, usage| EncryptionAlgorithm::of(spec, usage).contains(&algorithm)));
        }
        for &algorithm in SigningAlgorithm::ALL {
            assert_eq!(SigningAlgorithm::from_name(algorithm.name()), Some(algorithm));
            assert!(of_a_key(&|spec, usage| SigningAlgorithm::of(spec, usage).contains(&algorithm)));
        }
        assert_eq!(SigningAlgorithm::from_name("SM2DSA"), None);
        for &algorithm in MacAlgorithm::ALL {
            assert_eq!(MacAlgorithm::from_name(algorithm.name()), Some(algorithm));
            assert!(of_a_key(&|spec, _| MacAlgorithm::of(spec).contains(&algorithm)));
        }
    }

    #[test]
    fn a_key_has_algorithms_of_its_usage_alone() {
        for &spec in KeySpec::ALL {
            for &usage in spec.usages() {
                let some = [
                    (KeyUsage::EncryptDecrypt, EncryptionAlgorithm::of(spec, usage).len()),
                    (KeyUsage::GenerateVerifyMac, MacAlgorithm::of(spec).len()),
                    (KeyUsage::SignVerify, SigningAlgorithm::of(spec, usage).len()),
                    (KeyUsage::KeyAgreement, KeyAgreementAlgorithm::of(usage).len()),
                    (KeyUsage::EncapsulateDecapsulate, EncapsulationAlgorithm::of(usage).len()),
                ];
                for (of, len) in some {
                    assert_eq!(len > 0, of == usage, "{spec:?} {usage:?}");
                }
            }
        }
    }
}
