//! The secrets of keys: random bytes, or a private key in PKCS #8.

use manila_core::Result;
use manila_core::internal::crypto::{self, KeyPair, KeyPairKind, Refused};
use manila_core::{Error, ErrorKind};
use zeroize::Zeroizing;

use crate::error::{check_len, invalid};
use crate::record::kind::KeySpec;

/// Generates the secret of a key. RSA takes up to seconds, so nothing may be locked here.
pub(crate) fn generate(spec: KeySpec) -> Result<Zeroizing<Vec<u8>>> {
    if let Some(kind) = spec.key_pair() {
        return pkcs8(&generate_pair(kind, spec)?);
    }
    let mut secret = Zeroizing::new(vec![0; spec.random_len().unwrap_or_default()]);
    crypto::random(&mut secret)?;
    Ok(secret)
}

/// Generates a key pair, or returns AWS's error if it is not supported.
pub(crate) fn generate_pair(kind: KeyPairKind, spec: KeySpec) -> Result<KeyPair> {
    check_supported(kind, spec)?;
    KeyPair::generate(kind).map_err(|Refused| Error::new(ErrorKind::Internal, "could not generate a key pair"))
}

/// Returns the private key of a pair as it is stored.
pub(crate) fn pkcs8(pair: &KeyPair) -> Result<Zeroizing<Vec<u8>>> {
    pair.to_pkcs8().map_err(|Refused| Error::new(ErrorKind::Internal, "could not encode a private key"))
}

/// Fails unless this build has key pairs of the kind.
pub(crate) fn check_supported(kind: KeyPairKind, spec: KeySpec) -> Result<()> {
    if kind.is_supported() {
        return Ok(());
    }
    let message = format!("{} keys need AWS-LC: build with the feature aws-lc", spec.name());
    Err(invalid("UnsupportedOperationException", message))
}

/// Returns imported material as it is stored, if it is the secret of such a key.
pub(crate) fn of_import(spec: KeySpec, material: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    if let Some(kind) = spec.key_pair() {
        check_supported(kind, spec)?;
        let rule = "import an unencrypted private key of that kind in PKCS #8, DER, as a seed for ML-DSA and ML-KEM";
        let wrong = |Refused| {
            let message = format!("the material is not the private key of a {} key: {rule}", spec.name());
            invalid("ValidationException", message)
        };
        return pkcs8(&KeyPair::from_pkcs8(kind, material).map_err(wrong)?);
    }
    let len = spec.random_len().unwrap_or_default();
    check_len("bytes of key material", material.len(), len..=len)?;
    Ok(Zeroizing::new(material.to_vec()))
}
