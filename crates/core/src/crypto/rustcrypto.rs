//! The primitives from the pure Rust crates of the `RustCrypto` project.

#[cfg(feature = "kms-primitives")]
mod ecc;

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes192;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use getrandom::SysRng;
use p256::ecdsa::signature::hazmat::{PrehashVerifier, RandomizedPrehashSigner};
use p256::elliptic_curve::Generate;
use sha2::{Digest, Sha256, Sha384};
use subtle::ConstantTimeEq;

use super::Refused;
use super::stack::{WORD_LEN, on_wiped_stack};
use crate::crypto::{Curve, IV_LEN, TAG_LEN};

#[cfg(feature = "kms-primitives")]
pub(super) use ecc::EccPair;
#[cfg(all(test, feature = "kms-primitives"))]
pub(super) use ecc::EccPublicKey;

/// Words of stack to overwrite: twice the depth at which ciphers were found to leave key material, with and without
/// optimisation.
///
/// A cipher is built on the stack and moved from there, and keeps round keys there while it works; the first two round
/// keys are the key itself.
const WIPED: usize = (16 << 10) / WORD_LEN;

pub(super) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

pub(super) enum AeadKey {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<AesGcm<Aes192, aes_gcm::aead::consts::U12>>),
    Aes256(Box<Aes256Gcm>),
}

impl AeadKey {
    pub(super) fn new(key: &[u8]) -> Result<Self, Refused> {
        on_wiped_stack::<WIPED, _>(|| match key.len() {
            16 => KeyInit::new_from_slice(key).map(|key| Self::Aes128(Box::new(key))),
            24 => KeyInit::new_from_slice(key).map(|key| Self::Aes192(Box::new(key))),
            _ => KeyInit::new_from_slice(key).map(|key| Self::Aes256(Box::new(key))),
        })
        .map_err(|_| Refused)
    }

    pub(super) fn seal(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_LEN], Refused> {
        let buffer = InOutBuf::new(plaintext, ciphertext).map_err(|_| Refused)?;
        let iv = iv.into();
        on_wiped_stack::<WIPED, _>(|| match self {
            Self::Aes128(key) => key.encrypt_inout_detached(&iv, aad, buffer),
            Self::Aes192(key) => key.encrypt_inout_detached(&iv, aad, buffer),
            Self::Aes256(key) => key.encrypt_inout_detached(&iv, aad, buffer),
        })
        .map(Into::into)
        .map_err(|_| Refused)
    }

    pub(super) fn open(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plaintext: &mut [u8],
    ) -> Result<(), Refused> {
        self.open_buffer(iv, aad, InOutBuf::new(ciphertext, plaintext).map_err(|_| Refused)?, tag)
    }

    pub(super) fn open_in_place(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        content: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused> {
        self.open_buffer(iv, aad, content.into(), tag)
    }

    fn open_buffer(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        buffer: InOutBuf<'_, '_, u8>,
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused> {
        let (iv, tag) = (iv.into(), (*tag).into());
        on_wiped_stack::<WIPED, _>(|| match self {
            Self::Aes128(key) => key.decrypt_inout_detached(&iv, aad, buffer, &tag),
            Self::Aes192(key) => key.decrypt_inout_detached(&iv, aad, buffer, &tag),
            Self::Aes256(key) => key.decrypt_inout_detached(&iv, aad, buffer, &tag),
        })
        .map_err(|_| Refused)
    }
}

#[derive(Debug)]
pub(super) enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
}

impl Hasher {
    pub(super) fn new(curve: Curve) -> Self {
        match curve {
            Curve::P256 => Self::Sha256(Sha256::new()),
            Curve::P384 => Self::Sha384(Sha384::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha256(hash) => hash.finalize().to_vec(),
            Self::Sha384(hash) => hash.finalize().to_vec(),
        }
    }
}

pub(super) enum SigningKey {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl SigningKey {
    pub(super) fn generate(curve: Curve) -> Result<Self, Refused> {
        match curve {
            Curve::P256 => Generate::try_generate_from_rng(&mut SysRng).map(Self::P256),
            Curve::P384 => Generate::try_generate_from_rng(&mut SysRng).map(Self::P384),
        }
        .map_err(|_| Refused)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the other backend can fail")]
    pub(super) fn public_key(&self) -> Result<Vec<u8>, Refused> {
        Ok(match self {
            Self::P256(key) => key.verifying_key().to_sec1_point(true).as_bytes().to_vec(),
            Self::P384(key) => key.verifying_key().to_sec1_point(true).as_bytes().to_vec(),
        })
    }

    pub(super) fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, Refused> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::DerSignature = sign(key, digest)?;
                Ok(signature.as_bytes().to_vec())
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::DerSignature = sign(key, digest)?;
                Ok(signature.as_bytes().to_vec())
            }
        }
    }
}

fn sign<S>(key: &impl RandomizedPrehashSigner<S>, digest: &[u8]) -> Result<S, Refused> {
    key.sign_prehash_with_rng(&mut SysRng, digest).map_err(|_| Refused)
}

#[derive(Debug)]
pub(super) enum VerifyingKey {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
}

impl VerifyingKey {
    pub(super) fn new(curve: Curve, point: &[u8]) -> Result<Self, Refused> {
        match curve {
            Curve::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::P256),
            Curve::P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::P384),
        }
        .map_err(|_| Refused)
    }

    pub(super) fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<(), Refused> {
        match self {
            Self::P256(key) => {
                let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| Refused)?;
                key.verify_prehash(digest, &signature)
            }
            Self::P384(key) => {
                let signature = p384::ecdsa::Signature::from_der(signature).map_err(|_| Refused)?;
                key.verify_prehash(digest, &signature)
            }
        }
        .map_err(|_| Refused)
    }
}
