//! The primitives, behind a dozen small functions: nothing else in the crate names a cryptographic library.
//!
//! With the feature `aws-lc` (the default), AES-GCM, the hashes of signed messages and ECDSA come from AWS-LC; without
//! it from the pure Rust crates of the `RustCrypto` project, as HKDF does in both: AWS-LC's interface would redo the
//! extract step for each output.
//!
//! Data keys, message ids, salts and the IVs of wrapping come from the operating system alone ([`random`]): a generator
//! in user space that a fork or a cloned virtual machine repeats would repeat message ids, and with a cached data key
//! keys and IVs too. What the primitives themselves draw comes from the operating system with the pure Rust crates, and
//! from AWS-LC's own generator with AWS-LC: signing keys, the nonces of ECDSA and the padding of RSA. AWS-LC mixes the
//! private key and the digest into each nonce, so that a repeated state gives two different messages no common one; it
//! would give them a common signing key, which seals and opens nothing.

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(feature = "aws-lc")]
use aws_lc as backend;

#[cfg(any(test, not(feature = "aws-lc")))]
mod rustcrypto;
#[cfg(not(feature = "aws-lc"))]
use rustcrypto as backend;

#[cfg(feature = "cache")]
mod digest;
mod kdf;
#[cfg(feature = "local-kms")]
mod mac;
#[cfg(feature = "local-kms")]
mod passphrase;
#[cfg(feature = "aws-lc")]
pub(crate) mod rsa;
mod stack;

#[cfg(all(test, feature = "aws-lc"))]
mod differential_tests;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroize;

#[cfg(feature = "cache")]
pub(crate) use digest::Sha512;
pub(crate) use kdf::{Expansion, hkdf};
#[cfg(feature = "local-kms")]
pub(crate) use mac::{MacHash, mac, sha256};
#[cfg(feature = "local-kms")]
pub(crate) use passphrase::{PassphraseCost, key_from_passphrase};

use crate::error::{Error, ErrorKind, Result};
use crate::suite::{Curve, IV_LEN, TAG_LEN};

/// A primitive refused: a wrong tag or signature, or a key that is none. It says no more, so that nothing leaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// An AES-GCM key of 128, 192 or 256 bits, ready for use (NIST SP 800-38D).
pub(crate) struct AeadKey(backend::AeadKey);

impl AeadKey {
    /// # Errors
    /// [`ErrorKind::InvalidInput`] unless the key has 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Result<Self> {
        let invalid = |Refused| Error::new(ErrorKind::InvalidInput, "an AES key has 16, 24 or 32 bytes");
        backend::AeadKey::new(key).map(Self).map_err(invalid)
    }

    /// Encrypts `plaintext` into `ciphertext`, which is as long, and returns the tag.
    ///
    /// The caller sees to it that a key never meets an IV twice.
    pub(crate) fn seal(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        plaintext: &[u8],
        ciphertext: &mut [u8],
    ) -> Result<[u8; TAG_LEN]> {
        let failed = |Refused| Error::new(ErrorKind::Internal, "AES-GCM cannot seal a piece of this length");
        self.0.seal(iv, aad, plaintext, ciphertext).map_err(failed)
    }

    /// Decrypts `ciphertext` into `plaintext`, which is as long. After a wrong tag `plaintext` is zero.
    pub(crate) fn open(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        plaintext: &mut [u8],
    ) -> Result<(), Refused> {
        let opened = self.0.open(iv, aad, ciphertext, tag, plaintext);
        if opened.is_err() {
            plaintext.zeroize();
        }
        opened
    }

    /// As [`open`](Self::open), in the place of the ciphertext.
    pub(crate) fn open_in_place(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        content: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), Refused> {
        let opened = self.0.open_in_place(iv, aad, content, tag);
        if opened.is_err() {
            content.zeroize();
        }
        opened
    }

    /// [`seal`](Self::seal) into a fresh vector, the tag behind the ciphertext.
    pub(crate) fn seal_to_vec(&self, iv: [u8; IV_LEN], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = vec![0; plaintext.len()];
        let tag = self.seal(iv, aad, plaintext, &mut sealed)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// [`open`](Self::open) of what [`seal_to_vec`](Self::seal_to_vec) made, into a vector zeroized on drop.
    pub(crate) fn open_to_vec(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, Refused> {
        let (ciphertext, tag) = sealed.split_last_chunk().ok_or(Refused)?;
        let mut plaintext = zeroize::Zeroizing::new(vec![0; ciphertext.len()]);
        self.open(iv, aad, ciphertext, tag, &mut plaintext)?;
        Ok(plaintext)
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(redacted)")
    }
}

/// Fills `bytes` from the operating system.
pub(crate) fn random(bytes: &mut [u8]) -> Result<()> {
    use rand_core::TryRng;
    (getrandom::SysRng.try_fill_bytes(bytes))
        .map_err(|error| Error::other(ErrorKind::Internal, "the operating system gives no random bytes", error))
}

/// `N` bytes from the operating system.
pub(crate) fn random_array<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    random(&mut bytes)?;
    Ok(bytes)
}

/// Whether the two are equal, in a time that tells nothing of where they differ.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    backend::equal(a, b)
}

/// A private key made for one message (FIPS 186-5).
pub(crate) struct SigningKey {
    key: Arc<backend::SigningKey>,
    curve: Curve,
}

impl SigningKey {
    pub(crate) fn generate(curve: Curve) -> Result<Self> {
        let failed = |Refused| Error::new(ErrorKind::Internal, "no signing key could be made");
        Ok(Self { key: Arc::new(backend::SigningKey::generate(curve).map_err(failed)?), curve })
    }

    /// The public half as a compressed SEC1 point.
    pub(crate) fn public_key(&self) -> Result<Vec<u8>> {
        let failed = |Refused| Error::new(ErrorKind::Internal, "the public key of a signing key could not be had");
        self.key.public_key().map_err(failed)
    }

    /// The same key again, for another message of a cached data key: its public half is what that is bound to.
    #[cfg(feature = "cache")]
    pub(crate) fn share(&self) -> Self {
        Self { key: self.key.clone(), curve: self.curve }
    }

    /// Starts a signature over bytes that are to come.
    pub(crate) fn into_signer(self) -> Signer {
        Signer { hasher: backend::Hasher::new(self.curve), key: self }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(redacted)")
    }
}

/// Signs what it is fed.
#[derive(Debug)]
pub(crate) struct Signer {
    key: SigningKey,
    hasher: backend::Hasher,
}

impl Signer {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The hash of what it was fed.
    #[cfg(test)]
    pub(crate) fn digest(self) -> Vec<u8> {
        AsRef::<[u8]>::as_ref(&self.hasher.finish()).to_vec()
    }

    /// The DER signature, of the one length that is written on this curve.
    ///
    /// DER varies with the leading bits of two random numbers; the commonest length comes up at least every other
    /// time, so signing is repeated until it does, and lengths of messages are exact.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        const TRIES: usize = 256;
        let digest = self.hasher.finish();
        let wanted = self.key.curve.signature_len();
        for _ in 0..TRIES {
            let failed = |Refused| Error::new(ErrorKind::Internal, "signing failed");
            let signature = self.key.key.sign(&digest).map_err(failed)?;
            if signature.len() == wanted {
                return Ok(signature);
            }
        }
        Err(Error::new(ErrorKind::Internal, "signing failed: no signature of the usual length"))
    }
}

/// Verifies a signature over what it is fed.
#[derive(Debug)]
pub(crate) struct Verifier {
    key: backend::VerifyingKey,
    hasher: backend::Hasher,
}

impl Verifier {
    /// Takes the public key as it stands in an encryption context: a compressed SEC1 point in standard Base64.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] if it is anything else.
    pub(crate) fn new(curve: Curve, encoded: &str) -> Result<Self> {
        let invalid = || {
            let detail =
                "the public key in the encryption context is no compressed point of the suite's curve in Base64";
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

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    pub(crate) fn finish(self, signature: &[u8]) -> Result<(), Refused> {
        self.key.verify(&self.hasher.finish(), signature)
    }
}

/// Bytes as hexadecimal digits.
#[cfg(feature = "local-kms")]
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// How a public key is written into the encryption context.
pub(crate) fn encode_public_key(point: &[u8]) -> String {
    BASE64.encode(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Hash;

    fn unhex(text: &str) -> Vec<u8> {
        text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn aes_gcm_gives_the_known_answer() {
        // McGrew and Viega, The Galois/Counter Mode of Operation, appendix B, test case 16.
        let key = AeadKey::new(&unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")).unwrap();
        let iv = unhex("cafebabefacedbaddecaf888").try_into().unwrap();
        let plaintext = unhex(concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        ));
        let aad = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let sealed = key.seal_to_vec(iv, &aad, &plaintext).unwrap();
        let expected = unhex(concat!(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ));
        assert_eq!(sealed, expected);
        assert_eq!(*key.open_to_vec(iv, &aad, &sealed).unwrap(), plaintext);
    }

    #[test]
    fn hkdf_gives_the_known_answer() {
        // RFC 5869, appendix A, test cases 1 and 3.
        let mut out = [0; 42];
        let (salt, info) = (unhex("000102030405060708090a0b0c"), [unhex("f0f1f2f3f4"), unhex("f5f6f7f8f9")]);
        hkdf(Hash::Sha256, &salt, &[0x0b; 22], &mut [(&[&info[0], &info[1]], &mut out)]).unwrap();
        assert_eq!(
            out.to_vec(),
            unhex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"),
        );
        hkdf(Hash::Sha256, &[], &[0x0b; 22], &mut [(&[], &mut out)]).unwrap();
        assert_eq!(
            out.to_vec(),
            unhex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
        );
    }

    #[test]
    fn a_wrong_tag_leaves_zeros() {
        let key = AeadKey::new(&[1; 32]).unwrap();
        let mut sealed = vec![0; 1000];
        let mut tag = key.seal([2; IV_LEN], b"aad", &[0x61; 1000], &mut sealed).unwrap();
        tag[0] ^= 1;
        let mut out = vec![0xff; 1000];
        assert_eq!(key.open([2; IV_LEN], b"aad", &sealed, &tag, &mut out), Err(Refused));
        assert_eq!(out, vec![0; 1000]);
    }

    #[test]
    fn signatures_have_the_length_that_is_promised() {
        for curve in [Curve::P256, Curve::P384] {
            for _ in 0..20 {
                let mut signer = SigningKey::generate(curve).unwrap().into_signer();
                signer.update(b"message");
                assert_eq!(signer.finish().unwrap().len(), curve.signature_len());
            }
        }
    }
}
