//! Encryption of small secrets, each under its own derived key.
//!
//! A random 32-byte salt yields a fresh AES-256-GCM key for every secret, so no key is used twice with one IV, and the
//! IV can be zero. Layout: salt, ciphertext, tag.

use manila_core::Result;
use manila_core::internal::crypto::{self, AeadKey, Hash, IV_LEN, Refused};
use zeroize::Zeroizing;

const SALT_LEN: usize = 32;
const IV: [u8; IV_LEN] = [0; IV_LEN];

/// Encrypts `plaintext` under a key derived from `secret` for `purpose`, and binds it to `aad`.
pub(super) fn seal(secret: &[u8], purpose: &[u8], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let salt = crypto::random_array::<SALT_LEN>()?;
    let sealed = derive(secret, purpose, &salt)?.seal_to_vec(IV, aad, plaintext)?;
    Ok([salt.as_slice(), &sealed].concat())
}

/// Decrypts the result of [`seal`] with the same secret, purpose and AAD.
pub(super) fn open(secret: &[u8], purpose: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let (salt, sealed) = sealed.split_first_chunk::<SALT_LEN>().ok_or(Refused)?;
    derive(secret, purpose, salt).map_err(|_| Refused)?.open_to_vec(IV, aad, sealed)
}

fn derive(secret: &[u8], purpose: &[u8], salt: &[u8; SALT_LEN]) -> Result<AeadKey> {
    let mut key = Zeroizing::new([0; 32]);
    crypto::hkdf(Hash::Sha512, salt, secret, &mut [(&[purpose], key.as_mut_slice())])?;
    AeadKey::new(key.as_slice())
}
