//! ML-KEM (FIPS 203), from the pure Rust crate in both backends: AWS-LC's interface has no seeds.

use ml_kem::{Decapsulate, DecapsulationKey, MlKem512, MlKem768, MlKem1024, Seed};
use pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey};
use zeroize::Zeroizing;

use crate::crypto::{Refused, random};

/// The parameter sets of ML-KEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlKemSet {
    MlKem512,
    MlKem768,
    MlKem1024,
}

/// A shared secret, and the ciphertext that the owner of the private key gets it from.
pub struct Encapsulated {
    pub secret: Zeroizing<Vec<u8>>,
    pub ciphertext: Vec<u8>,
}

pub(super) enum MlKemPair {
    MlKem512(Box<DecapsulationKey<MlKem512>>),
    MlKem768(Box<DecapsulationKey<MlKem768>>),
    MlKem1024(Box<DecapsulationKey<MlKem1024>>),
}

macro_rules! of_each_set {
    ($pair:expr, $inner:ident => $work:expr) => {
        match $pair {
            Self::MlKem512($inner) => $work,
            Self::MlKem768($inner) => $work,
            Self::MlKem1024($inner) => $work,
        }
    };
}

impl MlKemPair {
    pub(super) fn generate(set: MlKemSet) -> Result<Self, Refused> {
        let mut seed = Zeroizing::new(Seed::default());
        random(&mut seed).map_err(|_| Refused)?;
        let seed = *seed;
        Ok(match set {
            MlKemSet::MlKem512 => Self::MlKem512(Box::new(DecapsulationKey::from_seed(seed))),
            MlKemSet::MlKem768 => Self::MlKem768(Box::new(DecapsulationKey::from_seed(seed))),
            MlKemSet::MlKem1024 => Self::MlKem1024(Box::new(DecapsulationKey::from_seed(seed))),
        })
    }

    pub(super) fn from_pkcs8(set: MlKemSet, der: &[u8]) -> Result<Self, Refused> {
        match set {
            MlKemSet::MlKem512 => DecapsulationKey::from_pkcs8_der(der).map(|key| Self::MlKem512(Box::new(key))),
            MlKemSet::MlKem768 => DecapsulationKey::from_pkcs8_der(der).map(|key| Self::MlKem768(Box::new(key))),
            MlKemSet::MlKem1024 => DecapsulationKey::from_pkcs8_der(der).map(|key| Self::MlKem1024(Box::new(key))),
        }
        .map_err(|_| Refused)
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let document = of_each_set!(self, key => key.to_pkcs8_der()).map_err(|_| Refused)?;
        Ok(Zeroizing::new(document.as_bytes().to_vec()))
    }

    pub(super) fn public_key(&self) -> Result<Vec<u8>, Refused> {
        let document = of_each_set!(self, key => key.encapsulation_key().to_public_key_der()).map_err(|_| Refused)?;
        Ok(document.as_bytes().to_vec())
    }

    pub(super) fn encapsulate(&self) -> Result<Encapsulated, Refused> {
        // FIPS 203, section 7.2: the randomness of one encapsulation.
        let mut m = Zeroizing::new([0; 32]);
        random(&mut *m).map_err(|_| Refused)?;
        Ok(self.encapsulate_with(&m))
    }

    fn encapsulate_with(&self, m: &[u8; 32]) -> Encapsulated {
        of_each_set!(self, key => {
            let (ciphertext, mut secret) = key.encapsulation_key().encapsulate_deterministic(m.into());
            let kept = Zeroizing::new(secret.to_vec());
            zeroize::Zeroize::zeroize(secret.as_mut_slice());
            Encapsulated { secret: kept, ciphertext: ciphertext.to_vec() }
        })
    }

    pub(super) fn decapsulate(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        of_each_set!(self, key => {
            let mut secret = key.decapsulate(ciphertext.try_into().map_err(|_| Refused)?);
            let kept = Zeroizing::new(secret.to_vec());
            zeroize::Zeroize::zeroize(secret.as_mut_slice());
            Ok(kept)
        })
    }
}
