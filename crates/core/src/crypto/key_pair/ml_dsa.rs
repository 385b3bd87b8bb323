//! ML-DSA (FIPS 204), from the pure Rust crate in both backends: AWS-LC's interface takes no external mu.

use getrandom::SysRng;
use ml_dsa::signature::Keypair as _;
use ml_dsa::{MlDsa44, MlDsa65, MlDsa87, MlDsaParams, Signature, SigningKey, VerifyingKey};
use pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};
use zeroize::Zeroizing;

use super::SignedBytes;
use crate::crypto::{Refused, random};

/// The parameter sets of ML-DSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlDsaSet {
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

pub(super) enum MlDsaPair {
    MlDsa44(Box<SigningKey<MlDsa44>>),
    MlDsa65(Box<SigningKey<MlDsa65>>),
    MlDsa87(Box<SigningKey<MlDsa87>>),
}

macro_rules! of_each_set {
    ($pair:expr, $inner:ident => $work:expr) => {
        match $pair {
            Self::MlDsa44($inner) => $work,
            Self::MlDsa65($inner) => $work,
            Self::MlDsa87($inner) => $work,
        }
    };
}

impl MlDsaPair {
    pub(super) fn generate(set: MlDsaSet) -> Result<Self, Refused> {
        let mut seed = Zeroizing::new([0; 32]);
        random(&mut *seed).map_err(|_| Refused)?;
        let seed = (&*seed).into();
        Ok(match set {
            MlDsaSet::MlDsa44 => Self::MlDsa44(Box::new(SigningKey::from_seed(seed))),
            MlDsaSet::MlDsa65 => Self::MlDsa65(Box::new(SigningKey::from_seed(seed))),
            MlDsaSet::MlDsa87 => Self::MlDsa87(Box::new(SigningKey::from_seed(seed))),
        })
    }

    pub(super) fn from_pkcs8(set: MlDsaSet, der: &[u8]) -> Result<Self, Refused> {
        match set {
            MlDsaSet::MlDsa44 => SigningKey::from_pkcs8_der(der).map(|key| Self::MlDsa44(Box::new(key))),
            MlDsaSet::MlDsa65 => SigningKey::from_pkcs8_der(der).map(|key| Self::MlDsa65(Box::new(key))),
            MlDsaSet::MlDsa87 => SigningKey::from_pkcs8_der(der).map(|key| Self::MlDsa87(Box::new(key))),
        }
        .map_err(|_| Refused)
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let document = of_each_set!(self, key => key.to_pkcs8_der()).map_err(|_| Refused)?;
        Ok(Zeroizing::new(document.as_bytes().to_vec()))
    }

    pub(super) fn public_key(&self) -> Result<Vec<u8>, Refused> {
        let document = of_each_set!(self, key => key.verifying_key().to_public_key_der()).map_err(|_| Refused)?;
        Ok(document.as_bytes().to_vec())
    }

    pub(super) fn sign(&self, signed: SignedBytes<'_>) -> Result<Vec<u8>, Refused> {
        of_each_set!(self, key => sign(key, signed))
    }

    pub(super) fn verify(&self, signed: SignedBytes<'_>, signature: &[u8]) -> Result<(), Refused> {
        of_each_set!(self, key => verify(&key.verifying_key(), signed, signature))
    }
}

fn sign<P: MlDsaParams>(key: &SigningKey<P>, signed: SignedBytes<'_>) -> Result<Vec<u8>, Refused> {
    let signature = match signed {
        SignedBytes::Message(message) => key.expanded_key().sign_randomized(message, &[], &mut SysRng),
        SignedBytes::Digest(mu) => {
            key.expanded_key().sign_mu_randomized(mu.try_into().map_err(|_| Refused)?, &mut SysRng)
        }
    };
    Ok(signature.map_err(|_| Refused)?.encode().to_vec())
}

pub(super) fn verify<P: MlDsaParams>(
    key: &VerifyingKey<P>,
    signed: SignedBytes<'_>,
    signature: &[u8],
) -> Result<(), Refused> {
    let signature = Signature::<P>::try_from(signature).map_err(|_| Refused)?;
    let is_right = match signed {
        SignedBytes::Message(message) => key.verify_with_context(message, &[], &signature),
        SignedBytes::Digest(mu) => key.verify_mu(mu.try_into().map_err(|_| Refused)?, &signature),
    };
    if is_right { Ok(()) } else { Err(Refused) }
}
