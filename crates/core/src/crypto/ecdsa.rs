//! ECDSA over the curves of signed messages (FIPS 186-5).

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::crypto::{Refused, backend};
use crate::error::{Error, ErrorKind, Result};

/// The curves that messages are signed on (FIPS 186-5), each with the hash of its own length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
}

impl Curve {
    /// Length in bytes of a compressed SEC1 point.
    #[must_use]
    pub const fn compressed_point_len(self) -> usize {
        match self {
            Self::P256 => 33,
            Self::P384 => 49,
        }
    }

    /// Length in bytes of the DER signatures that are written: the most frequent one, so that message lengths are known
    /// beforehand.
    #[must_use]
    pub const fn signature_len(self) -> usize {
        match self {
            Self::P256 => 71,
            Self::P384 => 103,
        }
    }

    /// Length in bytes of the longest DER signature: two integers of the curve's order, each with a leading zero.
    #[must_use]
    pub const fn longest_signature_len(self) -> usize {
        match self {
            Self::P256 => 72,
            Self::P384 => 104,
        }
    }
}

/// A private key made for one message (FIPS 186-5).
pub struct SigningKey {
    key: Arc<backend::SigningKey>,
    curve: Curve,
}

impl SigningKey {
    pub fn generate(curve: Curve) -> Result<Self> {
        let failed = |Refused| Error::new(ErrorKind::Internal, "could not generate a signing key");
        Ok(Self { key: Arc::new(backend::SigningKey::generate(curve).map_err(failed)?), curve })
    }

    /// Returns the public key as a compressed SEC1 point.
    pub fn public_key(&self) -> Result<Vec<u8>> {
        let failed = |Refused| Error::new(ErrorKind::Internal, "could not compute the public key of a signing key");
        self.key.public_key().map_err(failed)
    }

    /// Returns the same key, for another message of a cached data key, which is bound to its public key.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { key: self.key.clone(), curve: self.curve }
    }

    /// Starts a signature over bytes that arrive later.
    #[must_use]
    pub fn into_signer(self) -> Signer {
        Signer { hasher: backend::Hasher::new(self.curve), key: self }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(redacted)")
    }
}

/// A signature in progress.
#[derive(Debug)]
pub struct Signer {
    key: SigningKey,
    hasher: backend::Hasher,
}

impl Signer {
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Returns the hash of the bytes so far.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn digest(self) -> Vec<u8> {
        AsRef::<[u8]>::as_ref(&self.hasher.finish()).to_vec()
    }

    /// Returns the DER signature, which always has the same length on a curve.
    ///
    /// The length of a DER signature depends on the leading bits of the numbers r and s in it. With (r, s), (r, n - s)
    /// is valid too, where n is the order of the curve, and one of the two has the length that is wanted unless a
    /// number begins with a byte of zeros. Only then, about once in 130 times, another signature is made.
    pub fn finish(self) -> Result<Vec<u8>> {
        const TRIES: usize = 64;
        let digest = self.hasher.finish();
        for _ in 0..TRIES {
            let failed = |Refused| Error::new(ErrorKind::Internal, "signing failed");
            let signature = self.key.key.sign(&digest).map_err(failed)?;
            if let Some(signature) = of_usual_length(self.key.curve, signature).map_err(failed)? {
                return Ok(signature);
            }
        }
        Err(Error::new(ErrorKind::Internal, "signing failed: no signature of the usual length was found"))
    }
}

/// Returns a DER signature, or the other one that is as valid, if one of them has the length that is written.
fn of_usual_length(curve: Curve, signature: Vec<u8>) -> Result<Option<Vec<u8>>, Refused> {
    if signature.len() == curve.signature_len() {
        return Ok(Some(signature));
    }
    let other = match curve {
        Curve::P256 => {
            let (r, s) = p256::ecdsa::Signature::from_der(&signature).map_err(|_| Refused)?.split_scalars();
            let other = p256::ecdsa::Signature::from_scalars(r, -s).map_err(|_| Refused)?;
            other.to_der().as_bytes().to_vec()
        }
        Curve::P384 => {
            let (r, s) = p384::ecdsa::Signature::from_der(&signature).map_err(|_| Refused)?.split_scalars();
            let other = p384::ecdsa::Signature::from_scalars(r, -s).map_err(|_| Refused)?;
            other.to_der().as_bytes().to_vec()
        }
    };
    Ok((other.len() == curve.signature_len()).then_some(other))
}

/// A verification in progress.
#[derive(Debug)]
pub struct Verifier {
    key: backend::VerifyingKey,
    hasher: backend::Hasher,
}

impl Verifier {
    /// Parses the public key of an encryption context: a compressed SEC1 point in standard Base64.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] if it is not one.
    pub fn new(curve: Curve, encoded: &str) -> Result<Self> {
        let invalid = || {
            let detail =
                "the public key in the encryption context is not a compressed point of the suite's curve in Base64";
            Error::new(ErrorKind::Malformed, detail)
        };
        let point = BASE64.decode(encoded).map_err(|_| invalid())?;
        let compressed = point.len() == curve.compressed_point_len() && matches!(point.first(), Some(2 | 3));
        if !compressed {
            return Err(invalid());
        }
        let key = backend::VerifyingKey::new(curve, &point).map_err(|Refused| invalid())?;
        Ok(Self { key, hasher: backend::Hasher::new(curve) })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub fn finish(self, signature: &[u8]) -> Result<(), Refused> {
        self.key.verify(&self.hasher.finish(), signature)
    }
}

/// Encodes a public key for the encryption context.
#[must_use]
pub fn encode_public_key(point: &[u8]) -> String {
    BASE64.encode(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_have_the_length_that_is_promised_and_are_made_once() {
        // The pure Rust backend takes ten times as long.
        const SIGNATURES: usize = if cfg!(feature = "aws-lc") { 100_000 } else { 10_000 };
        for curve in [Curve::P256, Curve::P384] {
            let key = SigningKey::generate(curve).unwrap();
            let public_key = encode_public_key(&key.public_key().unwrap());
            let verifier = || Verifier::new(curve, &public_key).unwrap();
            let (mut as_made, mut other) = (0, 0);
            for n in 0..SIGNATURES {
                let mut hasher = backend::Hasher::new(curve);
                hasher.update(&n.to_be_bytes());
                let made = key.key.sign(&hasher.finish()).unwrap();
                let Some(signature) = of_usual_length(curve, made.clone()).unwrap() else { continue };
                assert_eq!(signature.len(), curve.signature_len());
                if signature == made {
                    as_made += 1;
                } else {
                    other += 1;
                }
                if n % 50 == 0 {
                    let mut verifier = verifier();
                    verifier.update(&n.to_be_bytes());
                    assert_eq!(verifier.finish(&signature), Ok(()));
                }
            }
            // Half of them each, but for one in 130.
            for part in [as_made, other] {
                assert!((SIGNATURES * 48 / 100..SIGNATURES * 52 / 100).contains(&part), "{as_made} and {other}");
            }
            assert!(as_made + other > SIGNATURES * 985 / 1000, "{as_made} and {other}");

            let mut signer = key.into_signer();
            signer.update(b"message");
            let signature = signer.finish().unwrap();
            let mut verifier = verifier();
            verifier.update(b"message");
            assert_eq!(verifier.finish(&signature), Ok(()));
        }
    }
}
