//! Elliptic curves from AWS-LC.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, UnparsedPublicKey};
use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, PublicKeyX509Der};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256K1_SHA256_ASN1, ECDSA_P256K1_SHA256_ASN1_SIGNING,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair, ParsedPublicKey, VerificationAlgorithm,
};
use zeroize::Zeroizing;

use super::Refused;
use crate::crypto::key_pair::spki::check_curve;
use crate::crypto::{EccCurve, Hash};

pub(in crate::crypto) struct EccPair {
    curve: EccCurve,
    pair: EcdsaKeyPair,
    public: EccPublicKey,
}

impl EccPair {
    pub(in crate::crypto) fn generate(curve: EccCurve) -> Result<Self, Refused> {
        Self::of(curve, EcdsaKeyPair::generate(signing(curve)).map_err(|_| Refused)?)
    }

    pub(in crate::crypto) fn from_pkcs8(curve: EccCurve, der: &[u8]) -> Result<Self, Refused> {
        Self::of(curve, EcdsaKeyPair::from_pkcs8(signing(curve), der).map_err(|_| Refused)?)
    }

    fn of(curve: EccCurve, pair: EcdsaKeyPair) -> Result<Self, Refused> {
        let public = EccPublicKey::new(curve, pair.public_key().as_ref())?;
        Ok(Self { curve, pair, public })
    }

    pub(in crate::crypto) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let document = self.pair.to_pkcs8v1().map_err(|_| Refused)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    pub(in crate::crypto) fn public_key(&self) -> Result<Vec<u8>, Refused> {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().map_err(|_| Refused)?;
        Ok(der.as_ref().to_vec())
    }

    pub(in crate::crypto) fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, Refused> {
        let signature = self.pair.sign_digest(&imported(self.curve, digest)?).map_err(|_| Refused)?;
        Ok(signature.as_ref().to_vec())
    }

    pub(in crate::crypto) fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<(), Refused> {
        self.public.verify(digest, signature)
    }

    pub(in crate::crypto) fn agree(&self, public_key: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let algorithm = match self.curve {
            EccCurve::P256 => &ECDH_P256,
            EccCurve::P384 => &ECDH_P384,
            EccCurve::P521 => &ECDH_P521,
            EccCurve::Secp256k1 => return Err(Refused),
        };
        // AWS-LC takes bare points too.
        check_curve(self.curve, public_key)?;
        let scalar: EcPrivateKeyBin<'_> = self.pair.private_key().as_be_bytes().map_err(|_| Refused)?;
        let key = agreement::PrivateKey::from_private_key(algorithm, scalar.as_ref()).map_err(|_| Refused)?;
        agreement::agree(&key, UnparsedPublicKey::new(algorithm, public_key), Refused, |secret| {
            Ok(Zeroizing::new(secret.to_vec()))
        })
    }
}

pub(in crate::crypto) struct EccPublicKey {
    curve: EccCurve,
    key: ParsedPublicKey,
}

impl EccPublicKey {
    #[cfg(test)]
    pub(in crate::crypto) fn from_spki(curve: EccCurve, der: &[u8]) -> Result<Self, Refused> {
        check_curve(curve, der)?;
        Self::new(curve, der)
    }

    fn new(curve: EccCurve, key: &[u8]) -> Result<Self, Refused> {
        let algorithm: &'static dyn VerificationAlgorithm = match curve {
            EccCurve::P256 => &ECDSA_P256_SHA256_ASN1,
            EccCurve::P384 => &ECDSA_P384_SHA384_ASN1,
            EccCurve::P521 => &ECDSA_P521_SHA512_ASN1,
            EccCurve::Secp256k1 => &ECDSA_P256K1_SHA256_ASN1,
        };
        let key = ParsedPublicKey::new(algorithm, key).map_err(|_| Refused)?;
        Ok(Self { curve, key })
    }

    pub(in crate::crypto) fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<(), Refused> {
        self.key.verify_digest_sig(&imported(self.curve, digest)?, signature).map_err(|_| Refused)
    }
}

fn signing(curve: EccCurve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        EccCurve::P256 => &ECDSA_P256_SHA256_ASN1_SIGNING,
        EccCurve::P384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        EccCurve::P521 => &ECDSA_P521_SHA512_ASN1_SIGNING,
        EccCurve::Secp256k1 => &ECDSA_P256K1_SHA256_ASN1_SIGNING,
    }
}

fn imported(curve: EccCurve, digest: &[u8]) -> Result<Digest, Refused> {
    let algorithm = match curve.hash() {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    };
    Digest::import_less_safe(digest, algorithm).map_err(|_| Refused)
}
