//! The primitives from AWS-LC.

#[cfg(feature = "kms-primitives")]
mod ecc;

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyCompressedBin};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
    EcdsaKeyPair, KeyPair, ParsedPublicKey, VerificationAlgorithm,
};

use super::Refused;
use crate::crypto::{Curve, IV_LEN, TAG_LEN};

#[cfg(feature = "kms-primitives")]
pub(super) use ecc::EccPair;
#[cfg(all(test, feature = "kms-primitives"))]
pub(super) use ecc::EccPublicKey;

pub(super) fn equal(a: &[u8], b: &[u8]) -> bool {
    verify_slices_are_equal(a, b).is_ok()
}

/// Returns bytes of AWS-LC's generator, which is seeded by then.
pub(super) fn seeded() -> Result<[u8; 16], Refused> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Refused)?;
    Ok(bytes)
}

pub(super) struct AeadKey(LessSafeKey);

impl AeadKey {
    pub(super) fn new(key: &[u8]) -> Result<Self, Refused> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            _ => return Err(Refused),
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| Refused)?;
        Ok(Self(LessSafeKey::new(key)))
    }

    #[inline]
    pub(super) fn seal(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_LEN], Refused> {
        let mut tag = [0; TAG_LEN];
        let iv = Nonce::assume_unique_for_key(iv);
        (self.0.seal_out_of_place_scatter(iv, Aad::from(aad), plaintext, ciphertext, &[], &mut tag))
            .map_err(|_| Refused)?;
        Ok(tag)
    }

    #[inline]
    pub(super) fn open(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plaintext: &mut [u8],
    ) -> Result<(), Refused> {
        let iv = Nonce::assume_unique_for_key(iv);
        self.0.open_separate_gather(iv, Aad::from(aad), ciphertext, tag, plaintext).map_err(|_| Refused)
    }

    pub(super) fn open_in_place(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        content: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused> {
        let iv = Nonce::assume_unique_for_key(iv);
        self.0.open_in_place_separate_tag(iv, Aad::from(aad), tag, content).map(|_| ()).map_err(|_| Refused)
    }
}

pub(super) struct Hasher(digest::Context);

impl Hasher {
    pub(super) fn new(curve: Curve) -> Self {
        Self(digest::Context::new(match curve {
            Curve::P256 => &digest::SHA256,
            Curve::P384 => &digest::SHA384,
        }))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> digest::Digest {
        self.0.finish()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

pub(super) struct SigningKey(EcdsaKeyPair);

impl SigningKey {
    pub(super) fn generate(curve: Curve) -> Result<Self, Refused> {
        let algorithm = match curve {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
            Curve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        };
        EcdsaKeyPair::generate(algorithm).map(Self).map_err(|_| Refused)
    }

    pub(super) fn public_key(&self) -> Result<Vec<u8>, Refused> {
        let point: EcPublicKeyCompressedBin<'_> = self.0.public_key().as_be_bytes().map_err(|_| Refused)?;
        Ok(point.as_ref().to_vec())
    }

    pub(super) fn sign(&self, digest: &digest::Digest) -> Result<Vec<u8>, Refused> {
        Ok(self.0.sign_digest(digest).map_err(|_| Refused)?.as_ref().to_vec())
    }
}

#[derive(Debug)]
pub(super) struct VerifyingKey(ParsedPublicKey);

impl VerifyingKey {
    pub(super) fn new(curve: Curve, point: &[u8]) -> Result<Self, Refused> {
        let algorithm: &'static dyn VerificationAlgorithm = match curve {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1,
            Curve::P384 => &ECDSA_P384_SHA384_ASN1,
        };
        ParsedPublicKey::new(algorithm, point).map(Self).map_err(|_| Refused)
    }

    pub(super) fn verify(&self, digest: &digest::Digest, signature: &[u8]) -> Result<(), Refused> {
        self.0.verify_digest_sig(digest, signature).map_err(|_| Refused)
    }
}
