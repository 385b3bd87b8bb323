//! Elliptic curves from the pure Rust crates.

use getrandom::SysRng;
use p256::ecdsa::signature::hazmat::{PrehashVerifier, RandomizedPrehashSigner};
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::ecdh::diffie_hellman;
use pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey};
use zeroize::Zeroizing;

use super::Refused;
use crate::crypto::EccCurve;

/// Calls `$work` with the types of a curve.
macro_rules! of_each_curve {
    ($key:expr, $of:ident, $inner:ident => $work:expr) => {
        match $key {
            $of::P256($inner) => $work,
            $of::P384($inner) => $work,
            $of::P521($inner) => $work,
            $of::Secp256k1($inner) => $work,
        }
    };
}

pub(in crate::crypto) enum EccPair {
    P256(Pair<p256::SecretKey, p256::ecdsa::SigningKey>),
    P384(Pair<p384::SecretKey, p384::ecdsa::SigningKey>),
    P521(Pair<p521::SecretKey, p521::ecdsa::SigningKey>),
    Secp256k1(Pair<k256::SecretKey, k256::ecdsa::SigningKey>),
}

/// A private key in the types of both its uses. Both are zeroized when dropped.
pub(in crate::crypto) struct Pair<S, K> {
    secret: S,
    signing: K,
}

impl EccPair {
    pub(in crate::crypto) fn generate(curve: EccCurve) -> Result<Self, Refused> {
        Ok(match curve {
            EccCurve::P256 => {
                Self::P256(pair(p256::SecretKey::try_generate_from_rng(&mut SysRng).map_err(|_| Refused)?))
            }
            EccCurve::P384 => {
                Self::P384(pair(p384::SecretKey::try_generate_from_rng(&mut SysRng).map_err(|_| Refused)?))
            }
            EccCurve::P521 => {
                Self::P521(pair(p521::SecretKey::try_generate_from_rng(&mut SysRng).map_err(|_| Refused)?))
            }
            EccCurve::Secp256k1 => {
                Self::Secp256k1(pair(k256::SecretKey::try_generate_from_rng(&mut SysRng).map_err(|_| Refused)?))
            }
        })
    }

    pub(in crate::crypto) fn from_pkcs8(curve: EccCurve, der: &[u8]) -> Result<Self, Refused> {
        Ok(match curve {
            EccCurve::P256 => Self::P256(pair(p256::SecretKey::from_pkcs8_der(der).map_err(|_| Refused)?)),
            EccCurve::P384 => Self::P384(pair(p384::SecretKey::from_pkcs8_der(der).map_err(|_| Refused)?)),
            EccCurve::P521 => Self::P521(pair(p521::SecretKey::from_pkcs8_der(der).map_err(|_| Refused)?)),
            EccCurve::Secp256k1 => Self::Secp256k1(pair(k256::SecretKey::from_pkcs8_der(der).map_err(|_| Refused)?)),
        })
    }

    pub(in crate::crypto) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let document = of_each_curve!(self, Self, pair => pair.secret.to_pkcs8_der()).map_err(|_| Refused)?;
        Ok(Zeroizing::new(document.as_bytes().to_vec()))
    }

    pub(in crate::crypto) fn public_key(&self) -> Result<Vec<u8>, Refused> {
        let document =
            of_each_curve!(self, Self, pair => pair.secret.public_key().to_public_key_der()).map_err(|_| Refused)?;
        Ok(document.as_bytes().to_vec())
    }

    pub(in crate::crypto) fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, Refused> {
        Ok(match self {
            Self::P256(pair) => {
                let signature: p256::ecdsa::Signature = sign(&pair.signing, digest)?;
                signature.to_der().as_bytes().to_vec()
            }
            Self::P384(pair) => {
                let signature: p384::ecdsa::Signature = sign(&pair.signing, digest)?;
                signature.to_der().as_bytes().to_vec()
            }
            Self::P521(pair) => {
                let signature: p521::ecdsa::Signature = sign(&pair.signing, digest)?;
                signature.to_der().as_bytes().to_vec()
            }
            Self::Secp256k1(pair) => {
                let signature: k256::ecdsa::Signature = sign(&pair.signing, digest)?;
                signature.to_der().as_bytes().to_vec()
            }
        })
    }

    pub(in crate::crypto) fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<(), Refused> {
        match self {
            Self::P256(pair) => EccPublicKey::P256(*pair.signing.verifying_key()),
            Self::P384(pair) => EccPublicKey::P384(*pair.signing.verifying_key()),
            Self::P521(pair) => EccPublicKey::P521(*pair.signing.verifying_key()),
            Self::Secp256k1(pair) => EccPublicKey::Secp256k1(*pair.signing.verifying_key()),
        }
        .verify(digest, signature)
    }

    pub(in crate::crypto) fn agree(&self, public_key: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        match self {
            Self::P256(pair) => {
                let peer = p256::PublicKey::from_public_key_der(public_key).map_err(|_| Refused)?;
                let secret = diffie_hellman(pair.secret.to_nonzero_scalar(), peer.as_affine());
                Ok(Zeroizing::new(secret.raw_secret_bytes().to_vec()))
            }
            Self::P384(pair) => {
                let peer = p384::PublicKey::from_public_key_der(public_key).map_err(|_| Refused)?;
                let secret = diffie_hellman(pair.secret.to_nonzero_scalar(), peer.as_affine());
                Ok(Zeroizing::new(secret.raw_secret_bytes().to_vec()))
            }
            Self::P521(pair) => {
                let peer = p521::PublicKey::from_public_key_der(public_key).map_err(|_| Refused)?;
                let secret = diffie_hellman(pair.secret.to_nonzero_scalar(), peer.as_affine());
                Ok(Zeroizing::new(secret.raw_secret_bytes().to_vec()))
            }
            Self::Secp256k1(_) => Err(Refused),
        }
    }
}

fn pair<S, K: for<'a> From<&'a S>>(secret: S) -> Pair<S, K> {
    Pair { signing: K::from(&secret), secret }
}

fn sign<S>(key: &impl RandomizedPrehashSigner<S>, digest: &[u8]) -> Result<S, Refused> {
    key.sign_prehash_with_rng(&mut SysRng, digest).map_err(|_| Refused)
}

pub(in crate::crypto) enum EccPublicKey {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    P521(p521::ecdsa::VerifyingKey),
    Secp256k1(k256::ecdsa::VerifyingKey),
}

impl EccPublicKey {
    #[cfg(test)]
    pub(in crate::crypto) fn from_spki(curve: EccCurve, der: &[u8]) -> Result<Self, Refused> {
        Ok(match curve {
            EccCurve::P256 => Self::P256(DecodePublicKey::from_public_key_der(der).map_err(|_| Refused)?),
            EccCurve::P384 => Self::P384(DecodePublicKey::from_public_key_der(der).map_err(|_| Refused)?),
            EccCurve::P521 => Self::P521(DecodePublicKey::from_public_key_der(der).map_err(|_| Refused)?),
            EccCurve::Secp256k1 => Self::Secp256k1(DecodePublicKey::from_public_key_der(der).map_err(|_| Refused)?),
        })
    }

    pub(in crate::crypto) fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<(), Refused> {
        match self {
            Self::P256(key) => {
                let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| Refused)?;
                key.verify_prehash(digest, &signature)
            }
            Self::P384(key) => {
                let signature = p384::ecdsa::Signature::from_der(signature).map_err(|_| Refused)?;
                key.verify_prehash(digest, &signature)
            }
            Self::P521(key) => {
                let signature = p521::ecdsa::Signature::from_der(signature).map_err(|_| Refused)?;
                key.verify_prehash(digest, &signature)
            }
            Self::Secp256k1(key) => {
                // A signature with the larger of the two values of s is as valid, but this crate wants the smaller.
                let signature = k256::ecdsa::Signature::from_der(signature).map_err(|_| Refused)?;
                key.verify_prehash(digest, &signature.normalize_s())
            }
        }
        .map_err(|_| Refused)
    }
}
