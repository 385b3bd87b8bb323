//! RSA encryption (RFC 8017) from AWS-LC, and the encodings of its keys.

use std::fmt;

use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm,
    OaepPrivateDecryptingKey, OaepPublicEncryptingKey, Pkcs1PrivateDecryptingKey, Pkcs1PublicEncryptingKey,
    PrivateDecryptingKey, PublicEncryptingKey,
};
use pkcs8::der::asn1::{BitStringRef, OctetStringRef};
use pkcs8::der::{Decode, Encode};
use pkcs8::{Document, PrivateKeyInfoRef, SecretDocument, SubjectPublicKeyInfoRef};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::Refused;
use crate::error::{Error, ErrorKind, Result};

/// The padding of data keys for RSA (RFC 8017, section 7). The keyring determines it, never the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RsaPadding {
    /// PKCS #1 v1.5, for existing messages. See `RawRsaKeyring::allow_pkcs1_decrypt`.
    Pkcs1,
    /// OAEP with SHA-1 and MGF1 with SHA-1.
    OaepSha1,
    /// OAEP with SHA-256 and MGF1 with SHA-256: recommended.
    OaepSha256,
    /// OAEP with SHA-384 and MGF1 with SHA-384.
    OaepSha384,
    /// OAEP with SHA-512 and MGF1 with SHA-512.
    OaepSha512,
}

impl RsaPadding {
    const fn oaep(self) -> Option<&'static OaepAlgorithm> {
        match self {
            Self::Pkcs1 => None,
            Self::OaepSha1 => Some(&OAEP_SHA1_MGF1SHA1),
            Self::OaepSha256 => Some(&OAEP_SHA256_MGF1SHA256),
            Self::OaepSha384 => Some(&OAEP_SHA384_MGF1SHA384),
            Self::OaepSha512 => Some(&OAEP_SHA512_MGF1SHA512),
        }
    }
}

/// An RSA public key of 2048 to 8192 bits.
#[derive(Clone)]
pub struct RsaPublicKey(PublicEncryptingKey);

impl RsaPublicKey {
    /// Parses a key from PEM: `PUBLIC KEY` (RFC 5280) or `RSA PUBLIC KEY` (PKCS #1).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is not a valid key, or not one of a supported length.
    pub fn from_pem(pem: &str) -> Result<Self> {
        let (label, document) = Document::from_pem(pem).map_err(|_| not_a_public_key())?;
        match label {
            "PUBLIC KEY" => Self::from_spki(document.as_bytes()),
            "RSA PUBLIC KEY" => Self::from_pkcs1(document.as_bytes()),
            _ => Err(not_a_public_key()),
        }
    }

    /// Parses a key from DER: `SubjectPublicKeyInfo` (RFC 5280) or PKCS #1.
    ///
    /// # Errors
    /// The same as [`from_pem`](Self::from_pem).
    pub fn from_der(der: &[u8]) -> Result<Self> {
        if pkcs1::RsaPublicKeyRef::from_der(der).is_ok() { Self::from_pkcs1(der) } else { Self::from_spki(der) }
    }

    fn from_spki(der: &[u8]) -> Result<Self> {
        PublicEncryptingKey::from_der(der).map(Self).map_err(|_| not_a_public_key())
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self> {
        let subject_public_key = BitStringRef::from_bytes(der).map_err(|_| not_a_public_key())?;
        let spki = SubjectPublicKeyInfoRef { algorithm: pkcs1::ALGORITHM_ID, subject_public_key };
        Self::from_spki(&spki.to_der().map_err(|_| not_a_public_key())?)
    }

    pub fn encrypt(&self, padding: RsaPadding, plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut ciphertext = vec![0; self.0.key_size_bytes()];
        let encrypted = match padding.oaep() {
            Some(oaep) => OaepPublicEncryptingKey::new(self.0.clone())
                .and_then(|key| key.encrypt(oaep, plaintext, &mut ciphertext, None).map(|out| out.len())),
            None => Pkcs1PublicEncryptingKey::new(self.0.clone())
                .and_then(|key| key.encrypt(plaintext, &mut ciphertext).map(|out| out.len())),
        };
        let len = encrypted.map_err(|_| Error::new(ErrorKind::Internal, "RSA could not encrypt the data key"))?;
        ciphertext.truncate(len);
        Ok(ciphertext)
    }
}

impl fmt::Debug for RsaPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPublicKey({} bits)", self.0.key_size_bits())
    }
}

/// An RSA private key of 2048 to 8192 bits. Not shown by `Debug`.
#[derive(Clone)]
pub struct RsaPrivateKey(PrivateDecryptingKey);

impl RsaPrivateKey {
    /// Parses a key from PEM: `PRIVATE KEY` (PKCS #8, not encrypted) or `RSA PRIVATE KEY` (PKCS #1).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is not a valid key, or not one of a supported length.
    pub fn from_pem(pem: &str) -> Result<Self> {
        let (label, document) = SecretDocument::from_pem(pem).map_err(|_| not_a_private_key())?;
        match label {
            "PRIVATE KEY" => Self::from_pkcs8(document.as_bytes()),
            "RSA PRIVATE KEY" => Self::from_pkcs1(document.as_bytes()),
            _ => Err(not_a_private_key()),
        }
    }

    /// Parses a key from DER: PKCS #8, not encrypted, or PKCS #1.
    ///
    /// # Errors
    /// The same as [`from_pem`](Self::from_pem).
    pub fn from_der(der: &[u8]) -> Result<Self> {
        if pkcs1::RsaPrivateKeyRef::from_der(der).is_ok() { Self::from_pkcs1(der) } else { Self::from_pkcs8(der) }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self> {
        PrivateDecryptingKey::from_pkcs8(der).map(Self).map_err(|_| not_a_private_key())
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self> {
        let private_key = OctetStringRef::new(der).map_err(|_| not_a_private_key())?;
        let info = PrivateKeyInfoRef::new(pkcs1::ALGORITHM_ID, private_key);
        let document = SecretDocument::encode_msg(&info).map_err(|_| not_a_private_key())?;
        Self::from_pkcs8(document.as_bytes())
    }

    /// Returns the public key of the pair, which encrypts.
    #[must_use]
    pub fn public_key(&self) -> RsaPublicKey {
        RsaPublicKey(self.0.public_key())
    }

    /// Returns the number of bits of the modulus.
    #[must_use]
    pub fn bits(&self) -> usize {
        self.0.key_size_bits()
    }

    /// Decrypts a ciphertext with OAEP padding. All failures are the same error.
    pub fn decrypt_oaep(&self, padding: RsaPadding, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let oaep = padding.oaep().ok_or(Refused)?;
        let mut plaintext = Zeroizing::new(vec![0; self.0.key_size_bytes()]);
        let decrypted = OaepPrivateDecryptingKey::new(self.0.clone())
            .and_then(|key| key.decrypt(oaep, ciphertext, &mut plaintext, None).map(|out| out.len()));
        plaintext.truncate(decrypted.map_err(|_| Refused)?);
        Ok(plaintext)
    }

    /// Decrypts a plaintext with PKCS #1 v1.5 padding that is as long as `decoy`; returns `decoy` for anything else.
    ///
    /// The two cases cannot be told apart: Bleichenbacher's attack needs to know whether the padding was right. AWS-LC
    /// checks the padding in constant time and returns success or failure; from here on both take the same
    /// instructions.
    #[must_use]
    pub fn decrypt_pkcs1_or(&self, ciphertext: &[u8], mut decoy: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
        let mut plaintext = Zeroizing::new(vec![0; self.0.key_size_bytes()]);
        let decrypted = Pkcs1PrivateDecryptingKey::new(self.0.clone())
            .and_then(|key| key.decrypt(ciphertext, &mut plaintext).map(|out| out.len()));
        // No decoy is empty, so 0 stands for a failure.
        let is_taken = decrypted.unwrap_or(0).ct_eq(&decoy.len());
        for (byte, opened) in decoy.iter_mut().zip(plaintext.iter()) {
            byte.conditional_assign(opened, is_taken);
        }
        decoy
    }
}

impl fmt::Debug for RsaPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaPrivateKey(redacted)")
    }
}

fn not_a_public_key() -> Error {
    let detail = "not an RSA public key of 2048 to 8192 bits in SubjectPublicKeyInfo or PKCS #1, PEM or DER";
    Error::new(ErrorKind::InvalidInput, detail)
}

fn not_a_private_key() -> Error {
    let detail = "not an RSA private key of 2048 to 8192 bits in PKCS #8 (not encrypted) or PKCS #1, PEM or DER";
    Error::new(ErrorKind::InvalidInput, detail)
}
