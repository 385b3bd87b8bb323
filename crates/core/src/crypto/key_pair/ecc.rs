//! ECDSA and ECDH on the curves of KMS.

use zeroize::Zeroizing;

use crate::crypto::{Hash, Refused, backend};

/// The elliptic curves of KMS: those of NIST (SP 800-186), and secp256k1 (SEC 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EccCurve {
    P256,
    P384,
    P521,
    Secp256k1,
}

impl EccCurve {
    /// Every curve.
    pub const ALL: [Self; 4] = [Self::P256, Self::P384, Self::P521, Self::Secp256k1];

    /// Returns the hash of ECDSA on the curve.
    #[must_use]
    pub const fn hash(self) -> Hash {
        match self {
            Self::P256 | Self::Secp256k1 => Hash::Sha256,
            Self::P384 => Hash::Sha384,
            Self::P521 => Hash::Sha512,
        }
    }
}

pub(super) struct EccPair {
    curve: EccCurve,
    pair: backend::EccPair,
}

impl EccPair {
    pub(super) fn generate(curve: EccCurve) -> Result<Self, Refused> {
        backend::EccPair::generate(curve).map(|pair| Self { curve, pair })
    }

    pub(super) fn from_pkcs8(curve: EccCurve, der: &[u8]) -> Result<Self, Refused> {
        backend::EccPair::from_pkcs8(curve, der).map(|pair| Self { curve, pair })
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Refused> {
        self.pair.to_pkcs8()
    }

    pub(super) fn public_key(&self) -> Result<Vec<u8>, Refused> {
        self.pair.public_key()
    }

    pub(super) fn sign(&self, hash: Hash, digest: &[u8]) -> Result<Vec<u8>, Refused> {
        if hash == self.curve.hash() { self.pair.sign(digest) } else { Err(Refused) }
    }

    pub(super) fn verify(&self, hash: Hash, digest: &[u8], signature: &[u8]) -> Result<(), Refused> {
        if hash == self.curve.hash() { self.pair.verify(digest, signature) } else { Err(Refused) }
    }

    pub(super) fn agree(&self, public_key: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        match self.curve {
            // KMS has no agreement on it.
            EccCurve::Secp256k1 => Err(Refused),
            EccCurve::P256 | EccCurve::P384 | EccCurve::P521 => self.pair.agree(public_key),
        }
    }
}
