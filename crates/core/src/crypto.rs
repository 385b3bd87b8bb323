//! Cryptographic primitives behind a dozen small functions. No other module of any crate names a cryptographic library.
//!
//! With the feature `aws-lc` (the default), AES-GCM, the hashes of signed messages and ECDSA come from AWS-LC; without
//! it from the pure Rust crates of the `RustCrypto` project, as HKDF does in both: AWS-LC's interface would redo the
//! extract step for each output.
//!
//! Data keys, message ids, salts and the IVs of wrapping come only from the operating system ([`fn@random`]): a
//! generator in user space that a fork or a cloned virtual machine repeats would repeat message ids, and with a cached
//! data key keys and IVs too. What the primitives themselves draw comes from the operating system with the pure Rust
//! crates, and from AWS-LC's own generator with AWS-LC: signing keys, the nonces of ECDSA and the padding of RSA.
//! AWS-LC mixes the private key and the digest into each nonce, so that a repeated state gives two different messages
//! no common one; it would give them a common signing key, which seals and opens nothing.

mod aead;
mod digest;
mod ecdsa;
mod kdf;
#[cfg(feature = "kms-primitives")]
mod key_pair;
#[cfg(feature = "kms-primitives")]
mod mac;
#[cfg(feature = "kms-primitives")]
mod passphrase;
mod random;
#[cfg(feature = "aws-lc")]
pub mod rsa;
mod stack;

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(feature = "aws-lc")]
use aws_lc as backend;

#[cfg(any(test, not(feature = "aws-lc")))]
mod rustcrypto;
#[cfg(not(feature = "aws-lc"))]
use rustcrypto as backend;

#[cfg(all(test, feature = "aws-lc"))]
mod differential_tests;

pub use aead::{AeadKey, IV_LEN, TAG_LEN};
pub use digest::Sha256;
pub use ecdsa::{Curve, Signer, SigningKey, Verifier, encode_public_key};
pub use kdf::{Derivation, Expansion, Hash, hkdf, hkdf_sha512};
#[cfg(feature = "kms-primitives")]
pub use key_pair::{
    EccCurve, Encapsulated, KeyPair, KeyPairKind, MlDsaSet, MlKemSet, OaepHash, SignatureScheme, SignedBytes,
};
#[cfg(feature = "kms-primitives")]
pub use mac::{MacHash, MacKey, mac, sha256};
#[cfg(feature = "kms-primitives")]
pub use passphrase::{PassphraseCost, key_from_passphrase};
pub use random::{RandomBytes, random, random_array, warm_up};

/// Error of a primitive: a wrong tag, a wrong signature or an invalid key. It carries no detail, so that nothing leaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Compares two slices in a time that does not depend on where they differ.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    backend::equal(a, b)
}

/// Returns bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
mod for_tests {
    pub(super) fn unhex(text: &str) -> Vec<u8> {
        text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }
}
