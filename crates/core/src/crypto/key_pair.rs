//! Key pairs of an embedded KMS: signatures, RSA encryption, key agreement and key encapsulation.
//!
//! Private keys are PKCS #8 (RFC 5958) in DER, those of ML-DSA and ML-KEM as seeds (RFC 9881, RFC 9935); public keys
//! are `SubjectPublicKeyInfo` (RFC 5280) in DER. Both backends read what the other writes. There is a file for each
//! family; RSA needs AWS-LC.

mod ecc;
mod ed25519;
mod ml_dsa;
mod ml_kem;
#[cfg(feature = "aws-lc")]
mod rsa;
#[cfg(feature = "aws-lc")]
pub(super) mod spki;

use std::borrow::Cow;
use std::fmt;

use pkcs8::PrivateKeyInfoRef;
use pkcs8::der::Decode;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use super::{Hash, Refused};

pub use ecc::EccCurve;
pub use ml_dsa::MlDsaSet;
pub use ml_kem::{Encapsulated, MlKemSet};

/// The kinds of key pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPairKind {
    /// RSA with a modulus of so many bits: 2048, 3072 or 4096.
    Rsa(usize),
    Ecc(EccCurve),
    Ed25519,
    MlDsa(MlDsaSet),
    MlKem(MlKemSet),
}

impl KeyPairKind {
    /// Returns whether the backend has this kind.
    #[must_use]
    pub fn is_supported(self) -> bool {
        cfg!(feature = "aws-lc") || !matches!(self, Self::Rsa(_))
    }
}

/// The signature algorithms of KMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// RSASSA-PSS (RFC 8017) with MGF1 of the same hash and a salt of its length.
    RsaPss(Hash),
    /// RSASSA-PKCS1-v1_5 (RFC 8017).
    RsaPkcs1(Hash),
    /// ECDSA (FIPS 186-5), as DER.
    Ecdsa(Hash),
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// Ed25519ph (RFC 8032) without a context.
    Ed25519Ph,
    /// ML-DSA (FIPS 204) without a context.
    MlDsa,
}

/// The hash of RSA-OAEP and of its MGF1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OaepHash {
    Sha1,
    Sha256,
}

impl OaepHash {
    /// Returns how many bytes a key of this kind encrypts: none unless it is RSA.
    #[must_use]
    pub const fn most_bytes(self, kind: KeyPairKind) -> usize {
        let hash_len = match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        };
        match kind {
            // RFC 8017, section 7.1.1.
            KeyPairKind::Rsa(bits) => (bits / 8).saturating_sub(2 * hash_len + 2),
            _ => 0,
        }
    }
}

/// A message to sign, or what is left to sign of it.
#[derive(Clone, Copy)]
pub enum SignedBytes<'a> {
    Message(&'a [u8]),
    /// The hash of the message, or for ML-DSA its representative, the external mu.
    Digest(&'a [u8]),
}

impl<'a> SignedBytes<'a> {
    /// Returns the digest of the message, if it has the length of the hash.
    fn digest(self, hash: Hash) -> Result<Cow<'a, [u8]>, Refused> {
        let (message, len) = match (self, hash) {
            (Self::Message(message), Hash::Sha256) => return Ok(Sha256::digest(message).to_vec().into()),
            (Self::Message(message), Hash::Sha384) => return Ok(Sha384::digest(message).to_vec().into()),
            (Self::Message(message), Hash::Sha512) => return Ok(Sha512::digest(message).to_vec().into()),
            (Self::Digest(digest), Hash::Sha256) => (digest, 32),
            (Self::Digest(digest), Hash::Sha384) => (digest, 48),
            (Self::Digest(digest), Hash::Sha512) => (digest, 64),
        };
        if message.len() == len { Ok(message.into()) } else { Err(Refused) }
    }
}

/// A private key and its public key. Not shown by `Debug`; zeroized when dropped.
pub struct KeyPair(Pair);

enum Pair {
    #[cfg(feature = "aws-lc")]
    Rsa(Box<rsa::RsaPair>),
    Ecc(ecc::EccPair),
    Ed25519(ed25519::Ed25519Pair),
    MlDsa(ml_dsa::MlDsaPair),
    MlKem(ml_kem::MlKemPair),
}

impl KeyPair {
    /// Generates a key pair. RSA takes up to seconds.
    pub fn generate(kind: KeyPairKind) -> Result<Self, Refused> {
        Ok(Self(match kind {
            #[cfg(feature = "aws-lc")]
            KeyPairKind::Rsa(bits) => Pair::Rsa(Box::new(rsa::RsaPair::generate(bits)?)),
            #[cfg(not(feature = "aws-lc"))]
            KeyPairKind::Rsa(_) => return Err(Refused),
            KeyPairKind::Ecc(curve) => Pair::Ecc(ecc::EccPair::generate(curve)?),
            KeyPairKind::Ed25519 => Pair::Ed25519(ed25519::Ed25519Pair::generate()?),
            KeyPairKind::MlDsa(set) => Pair::MlDsa(ml_dsa::MlDsaPair::generate(set)?),
            KeyPairKind::MlKem(set) => Pair::MlKem(ml_kem::MlKemPair::generate(set)?),
        }))
    }

    /// Parses a private key of exactly this kind.
    pub fn from_pkcs8(kind: KeyPairKind, der: &[u8]) -> Result<Self, Refused> {
        // AWS-LC passes over bytes behind it.
        PrivateKeyInfoRef::from_der(der).map_err(|_| Refused)?;
        Ok(Self(match kind {
            #[cfg(feature = "aws-lc")]
            KeyPairKind::Rsa(bits) => Pair::Rsa(Box::new(rsa::RsaPair::from_pkcs8(bits, der)?)),
            #[cfg(not(feature = "aws-lc"))]
            KeyPairKind::Rsa(_) => return Err(Refused),
            KeyPairKind::Ecc(curve) => Pair::Ecc(ecc::EccPair::from_pkcs8(curve, der)?),
            KeyPairKind::Ed25519 => Pair::Ed25519(ed25519::Ed25519Pair::from_pkcs8(der)?),
            KeyPairKind::MlDsa(set) => Pair::MlDsa(ml_dsa::MlDsaPair::from_pkcs8(set, der)?),
            KeyPairKind::MlKem(set) => Pair::MlKem(ml_kem::MlKemPair::from_pkcs8(set, der)?),
        }))
    }

    /// Returns the private key as PKCS #8.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Refused> {
        match &self.0 {
            #[cfg(feature = "aws-lc")]
            Pair::Rsa(pair) => pair.to_pkcs8(),
            Pair::Ecc(pair) => pair.to_pkcs8(),
            Pair::Ed25519(pair) => Ok(pair.to_pkcs8()),
            Pair::MlDsa(pair) => pair.to_pkcs8(),
            Pair::MlKem(pair) => pair.to_pkcs8(),
        }
    }

    /// Returns the public key as `SubjectPublicKeyInfo`.
    pub fn public_key(&self) -> Result<Vec<u8>, Refused> {
        match &self.0 {
            #[cfg(feature = "aws-lc")]
            Pair::Rsa(pair) => pair.public_key(),
            Pair::Ecc(pair) => pair.public_key(),
            Pair::Ed25519(pair) => Ok(pair.public_key()),
            Pair::MlDsa(pair) => pair.public_key(),
            Pair::MlKem(pair) => pair.public_key(),
        }
    }

    /// Signs. Fails if the scheme is not one of the key's, or a digest does not have its length.
    pub fn sign(&self, scheme: SignatureScheme, signed: SignedBytes<'_>) -> Result<Vec<u8>, Refused> {
        match (&self.0, scheme) {
            #[cfg(feature = "aws-lc")]
            (Pair::Rsa(pair), SignatureScheme::RsaPss(hash)) => pair.sign_pss(hash, &signed.digest(hash)?),
            #[cfg(feature = "aws-lc")]
            (Pair::Rsa(pair), SignatureScheme::RsaPkcs1(hash)) => pair.sign_pkcs1(hash, &signed.digest(hash)?),
            (Pair::Ecc(pair), SignatureScheme::Ecdsa(hash)) => pair.sign(hash, &signed.digest(hash)?),
            (Pair::Ed25519(pair), SignatureScheme::Ed25519) => pair.sign(signed),
            (Pair::Ed25519(pair), SignatureScheme::Ed25519Ph) => pair.sign_ph(signed),
            (Pair::MlDsa(pair), SignatureScheme::MlDsa) => pair.sign(signed),
            _ => Err(Refused),
        }
    }

    /// Verifies a signature, like [`sign`](Self::sign).
    pub fn verify(&self, scheme: SignatureScheme, signed: SignedBytes<'_>, signature: &[u8]) -> Result<(), Refused> {
        match (&self.0, scheme) {
            #[cfg(feature = "aws-lc")]
            (Pair::Rsa(pair), SignatureScheme::RsaPss(_) | SignatureScheme::RsaPkcs1(_)) => {
                rsa::verify(&pair.public_key()?, scheme, signed, signature)
            }
            (Pair::Ecc(pair), SignatureScheme::Ecdsa(hash)) => pair.verify(hash, &signed.digest(hash)?, signature),
            (Pair::Ed25519(pair), SignatureScheme::Ed25519) => pair.verify(signed, signature),
            (Pair::Ed25519(pair), SignatureScheme::Ed25519Ph) => pair.verify_ph(signed, signature),
            (Pair::MlDsa(pair), SignatureScheme::MlDsa) => pair.verify(signed, signature),
            _ => Err(Refused),
        }
    }

    /// Encrypts with RSA-OAEP, at most [`OaepHash::most_bytes`].
    pub fn encrypt(&self, hash: OaepHash, plaintext: &[u8]) -> Result<Vec<u8>, Refused> {
        match &self.0 {
            #[cfg(feature = "aws-lc")]
            Pair::Rsa(pair) => pair.encrypt(hash, plaintext),
            _ => {
                let _ = (hash, plaintext);
                Err(Refused)
            }
        }
    }

    /// Decrypts with RSA-OAEP. All failures are the same error.
    pub fn decrypt(&self, hash: OaepHash, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        match &self.0 {
            #[cfg(feature = "aws-lc")]
            Pair::Rsa(pair) => pair.decrypt(hash, ciphertext),
            _ => {
                let _ = (hash, ciphertext);
                Err(Refused)
            }
        }
    }

    /// Computes the shared secret of ECDH (NIST SP 800-56A), the x coordinate, with a public key of the same curve.
    pub fn agree(&self, public_key: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        match &self.0 {
            Pair::Ecc(pair) => pair.agree(public_key),
            _ => Err(Refused),
        }
    }

    /// Makes a shared secret and its ciphertext for the owner of the private key.
    pub fn encapsulate(&self) -> Result<Encapsulated, Refused> {
        match &self.0 {
            Pair::MlKem(pair) => pair.encapsulate(),
            _ => Err(Refused),
        }
    }

    /// Returns the shared secret of a ciphertext; another secret, always the same, for a ciphertext that was changed.
    /// Fails only if the length is wrong.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        match &self.0 {
            Pair::MlKem(pair) => pair.decapsulate(ciphertext),
            _ => Err(Refused),
        }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(redacted)")
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wycheproof_tests;
