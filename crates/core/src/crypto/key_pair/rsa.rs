//! RSA signatures and encryption (RFC 8017), from AWS-LC.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    VerificationAlgorithm,
};
use zeroize::Zeroizing;

use super::{OaepHash, SignatureScheme, SignedBytes};
use crate::crypto::rsa::{RsaPadding, RsaPrivateKey, RsaPublicKey};
use crate::crypto::{Hash, Refused};

/// A key pair in the types of both its uses.
pub(super) struct RsaPair {
    signing: RsaKeyPair,
    decrypting: RsaPrivateKey,
    encrypting: RsaPublicKey,
}

impl RsaPair {
    pub(super) fn generate(bits: usize) -> Result<Self, Refused> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            3072 => KeySize::Rsa3072,
            4096 => KeySize::Rsa4096,
            _ => return Err(Refused),
        };
        Self::of(RsaKeyPair::generate(size).map_err(|_| Refused)?)
    }

    pub(super) fn from_pkcs8(bits: usize, der: &[u8]) -> Result<Self, Refused> {
        let pair = Self::of(RsaKeyPair::from_pkcs8(der).map_err(|_| Refused)?)?;
        if pair.decrypting.bits() == bits { Ok(pair) } else { Err(Refused) }
    }

    fn of(signing: RsaKeyPair) -> Result<Self, Refused> {
        let decrypting = RsaPrivateKey::from_der(&pkcs8(&signing)?).map_err(|_| Refused)?;
        let encrypting = decrypting.public_key();
        Ok(Self { signing, decrypting, encrypting })
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Refused> {
        pkcs8(&self.signing)
    }

    pub(super) fn public_key(&self) -> Result<Vec<u8>, Refused> {
        let der: PublicKeyX509Der<'_> = self.signing.public_key().as_der().map_err(|_| Refused)?;
        Ok(der.as_ref().to_vec())
    }

    pub(super) fn sign_pss(&self, hash: Hash, digest: &[u8]) -> Result<Vec<u8>, Refused> {
        let encoding: &'static dyn RsaEncoding = match hash {
            Hash::Sha256 => &RSA_PSS_SHA256,
            Hash::Sha384 => &RSA_PSS_SHA384,
            Hash::Sha512 => &RSA_PSS_SHA512,
        };
        self.sign(encoding, &imported(hash, digest)?)
    }

    pub(super) fn sign_pkcs1(&self, hash: Hash, digest: &[u8]) -> Result<Vec<u8>, Refused> {
        let encoding: &'static dyn RsaEncoding = match hash {
            Hash::Sha256 => &RSA_PKCS1_SHA256,
            Hash::Sha384 => &RSA_PKCS1_SHA384,
            Hash::Sha512 => &RSA_PKCS1_SHA512,
        };
        self.sign(encoding, &imported(hash, digest)?)
    }

    fn sign(&self, encoding: &'static dyn RsaEncoding, digest: &Digest) -> Result<Vec<u8>, Refused> {
        let mut signature = vec![0; self.signing.public_modulus_len()];
        self.signing.sign_digest(encoding, digest, &mut signature).map_err(|_| Refused)?;
        Ok(signature)
    }

    pub(super) fn encrypt(&self, hash: OaepHash, plaintext: &[u8]) -> Result<Vec<u8>, Refused> {
        self.encrypting.encrypt(padding(hash), plaintext).map_err(|_| Refused)
    }

    pub(super) fn decrypt(&self, hash: OaepHash, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        self.decrypting.decrypt_oaep(padding(hash), ciphertext)
    }
}

fn padding(hash: OaepHash) -> RsaPadding {
    match hash {
        OaepHash::Sha1 => RsaPadding::OaepSha1,
        OaepHash::Sha256 => RsaPadding::OaepSha256,
    }
}

fn pkcs8(pair: &RsaKeyPair) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Refused)?;
    Ok(Zeroizing::new(der.as_ref().to_vec()))
}

/// Verifies a signature by a public key in `SubjectPublicKeyInfo`.
pub(super) fn verify(
    public_key: &[u8],
    scheme: SignatureScheme,
    signed: SignedBytes<'_>,
    signature: &[u8],
) -> Result<(), Refused> {
    let (algorithm, hash): (&'static dyn VerificationAlgorithm, _) = match scheme {
        SignatureScheme::RsaPss(hash @ Hash::Sha256) => (&RSA_PSS_2048_8192_SHA256, hash),
        SignatureScheme::RsaPss(hash @ Hash::Sha384) => (&RSA_PSS_2048_8192_SHA384, hash),
        SignatureScheme::RsaPss(hash @ Hash::Sha512) => (&RSA_PSS_2048_8192_SHA512, hash),
        SignatureScheme::RsaPkcs1(hash @ Hash::Sha256) => (&RSA_PKCS1_2048_8192_SHA256, hash),
        SignatureScheme::RsaPkcs1(hash @ Hash::Sha384) => (&RSA_PKCS1_2048_8192_SHA384, hash),
        SignatureScheme::RsaPkcs1(hash @ Hash::Sha512) => (&RSA_PKCS1_2048_8192_SHA512, hash),
        _ => return Err(Refused),
    };
    let key = ParsedPublicKey::new(algorithm, public_key).map_err(|_| Refused)?;
    key.verify_digest_sig(&imported(hash, &signed.digest(hash)?)?, signature).map_err(|_| Refused)
}

fn imported(hash: Hash, digest: &[u8]) -> Result<Digest, Refused> {
    let algorithm = match hash {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    };
    Digest::import_less_safe(digest, algorithm).map_err(|_| Refused)
}
