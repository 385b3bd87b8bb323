//! Ed25519 and Ed25519ph (RFC 8032), from the pure Rust crate in both backends: AWS-LC's interface has no Ed25519ph.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use pkcs8::der::Decode;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::{ObjectIdentifier, PrivateKeyInfoRef};
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use super::SignedBytes;
use crate::crypto::{Refused, random};

const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// Length in bytes of a digest that Ed25519ph takes in place of the message.
const DIGEST_LEN: usize = 64;
/// The beginning of a private key in PKCS #8, and of a public key in `SubjectPublicKeyInfo` (RFC 8410).
const PKCS8: [u8; 16] = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
const SPKI: [u8; 12] = *b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

pub(super) struct Ed25519Pair(SigningKey);

impl Ed25519Pair {
    pub(super) fn generate() -> Result<Self, Refused> {
        let mut seed = Zeroizing::new([0; 32]);
        random(&mut *seed).map_err(|_| Refused)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    pub(super) fn from_pkcs8(der: &[u8]) -> Result<Self, Refused> {
        let info = PrivateKeyInfoRef::from_der(der).map_err(|_| Refused)?;
        if info.algorithm.oid != OID || info.algorithm.parameters.is_some() {
            return Err(Refused);
        }
        let seed = <&OctetStringRef>::from_der(info.private_key.as_bytes()).map_err(|_| Refused)?;
        let pair = Self(SigningKey::from_bytes(seed.as_bytes().try_into().map_err(|_| Refused)?));
        match info.public_key {
            Some(public_key) if public_key.raw_bytes() != pair.0.verifying_key().as_bytes() => Err(Refused),
            _ => Ok(pair),
        }
    }

    pub(super) fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&PKCS8[..], self.0.as_bytes()].concat())
    }

    pub(super) fn public_key(&self) -> Vec<u8> {
        [&SPKI[..], self.0.verifying_key().as_bytes()].concat()
    }

    pub(super) fn sign(&self, signed: SignedBytes<'_>) -> Result<Vec<u8>, Refused> {
        match signed {
            SignedBytes::Message(message) => Ok(self.0.sign(message).to_bytes().to_vec()),
            SignedBytes::Digest(_) => Err(Refused),
        }
    }

    /// Signs with Ed25519ph, which hashes what it is given: for KMS that is a digest, which is so hashed again.
    pub(super) fn sign_ph(&self, signed: SignedBytes<'_>) -> Result<Vec<u8>, Refused> {
        Ok(self.0.sign_prehashed(prehash(signed)?, None).map_err(|_| Refused)?.to_bytes().to_vec())
    }

    pub(super) fn verify(&self, signed: SignedBytes<'_>, signature: &[u8]) -> Result<(), Refused> {
        verify(&self.0.verifying_key(), signed, signature)
    }

    pub(super) fn verify_ph(&self, signed: SignedBytes<'_>, signature: &[u8]) -> Result<(), Refused> {
        let signature = Signature::from_slice(signature).map_err(|_| Refused)?;
        self.0.verifying_key().verify_prehashed(prehash(signed)?, None, &signature).map_err(|_| Refused)
    }
}

fn prehash(signed: SignedBytes<'_>) -> Result<Sha512, Refused> {
    match signed {
        SignedBytes::Digest(digest) if digest.len() == DIGEST_LEN => Ok(Sha512::new_with_prefix(digest)),
        _ => Err(Refused),
    }
}

pub(super) fn verify(key: &VerifyingKey, signed: SignedBytes<'_>, signature: &[u8]) -> Result<(), Refused> {
    use ed25519_dalek::Verifier as _;
    let SignedBytes::Message(message) = signed else { return Err(Refused) };
    let signature = Signature::from_slice(signature).map_err(|_| Refused)?;
    key.verify(message, &signature).map_err(|_| Refused)
}
