//! HMAC (RFC 2104, FIPS 198-1).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};

use crate::error::{Error, ErrorKind, Result};

/// The hash of an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacHash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Computes the HMAC of the concatenation of `parts`, as long as the hash. Compare it with [`equal`](super::equal).
pub fn mac(hash: MacHash, key: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>> {
    match hash {
        MacHash::Sha224 => compute::<Hmac<Sha224>>(key, parts),
        MacHash::Sha256 => compute::<Hmac<Sha256>>(key, parts),
        MacHash::Sha384 => compute::<Hmac<Sha384>>(key, parts),
        MacHash::Sha512 => compute::<Hmac<Sha512>>(key, parts),
    }
}

/// A key for many HMACs of SHA-256, prepared once: half of the work for a short text. Wiped when dropped.
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    pub fn new(key: &[u8; 32]) -> Result<Self> {
        keyed(key).map(Self)
    }

    /// Computes the HMAC of the concatenation of `parts`.
    #[must_use]
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Computes the SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn keyed<M: KeyInit>(key: &[u8]) -> Result<M> {
    M::new_from_slice(key).map_err(|_| Error::new(ErrorKind::Internal, "HMAC takes keys of any length"))
}

fn compute<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>> {
    let mut mac = keyed::<M>(key)?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::hex;

    #[test]
    fn a_prepared_key_gives_the_same_answers_each_time() {
        let (bytes, parts) = ([7; 32], [&b"one "[..], b"", b"two"]);
        let key = MacKey::new(&bytes).unwrap();
        for _ in 0..2 {
            assert_eq!(key.mac(&parts).as_slice(), mac(MacHash::Sha256, &bytes, &[b"one two"]).unwrap());
        }
        assert_ne!(key.mac(&[]), key.mac(&parts));
    }

    #[test]
    fn hmac_gives_the_known_answers() {
        // RFC 4231, test case 2.
        let of = |hash| hex(&mac(hash, b"Jefe", &[b"what do ya want ", b"for nothing?"]).unwrap());
        assert_eq!(of(MacHash::Sha224), "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44");
        assert_eq!(of(MacHash::Sha256), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(
            of(MacHash::Sha384),
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"
        );
        assert_eq!(
            of(MacHash::Sha512),
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd\
             caeab1a34d4a6b4b636e070a38bce737"
        );
    }
}
