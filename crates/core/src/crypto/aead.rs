//! AES-GCM (NIST SP 800-38D).

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::crypto::{Refused, backend};
use crate::error::{Error, ErrorKind, Result};

/// Length in bytes of the initialisation vector that the message format uses (NIST SP 800-38D, section 8.2).
pub const IV_LEN: usize = 12;
/// Length in bytes of the authentication tag.
pub const TAG_LEN: usize = 16;

/// An expanded AES-GCM key of 128, 192 or 256 bits (NIST SP 800-38D).
pub struct AeadKey(backend::AeadKey);

impl AeadKey {
    /// # Errors
    /// [`ErrorKind::InvalidInput`] unless the key is 16, 24 or 32 bytes long.
    #[inline]
    pub fn new(key: &[u8]) -> Result<Self> {
        let invalid = |Refused| Error::new(ErrorKind::InvalidInput, "the AES key is not 16, 24 or 32 bytes long");
        backend::AeadKey::new(key).map(Self).map_err(invalid)
    }

    /// Encrypts `plaintext` into `ciphertext`, which has the same length, and returns the tag.
    ///
    /// The caller must never use an IV twice with a key.
    #[inline]
    pub fn seal(&self, iv: [u8; IV_LEN], aad: &[u8], plaintext: &[u8], ciphertext: &mut [u8]) -> Result<[u8; TAG_LEN]> {
        let failed = |Refused| Error::new(ErrorKind::Internal, "AES-GCM cannot encrypt a plaintext of this length");
        self.0.seal(iv, aad, plaintext, ciphertext).map_err(failed)
    }

    /// Decrypts `ciphertext` into `plaintext`, which has the same length. After a wrong tag `plaintext` is zero.
    #[inline]
    pub fn open(
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

    /// Decrypts as [`open`](Self::open) does, in place.
    pub fn open_in_place(
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

    /// Encrypts into a new vector, with the tag after the ciphertext.
    pub fn seal_to_vec(&self, iv: [u8; IV_LEN], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut sealed = Vec::with_capacity(plaintext.len().saturating_add(TAG_LEN));
        sealed.resize(plaintext.len(), 0);
        let tag = self.seal(iv, aad, plaintext, &mut sealed)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Decrypts the result of [`seal_to_vec`](Self::seal_to_vec), into a vector that is zeroized on drop.
    pub fn open_to_vec(&self, iv: [u8; IV_LEN], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let (ciphertext, tag) = sealed.split_last_chunk().ok_or(Refused)?;
        let mut plaintext = Zeroizing::new(vec![0; ciphertext.len()]);
        self.open(iv, aad, ciphertext, tag, &mut plaintext)?;
        Ok(plaintext)
    }
}

impl fmt::Debug for AeadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AeadKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::for_tests::unhex;

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
    fn a_wrong_tag_leaves_zeros() {
        let key = AeadKey::new(&[1; 32]).unwrap();
        let mut sealed = vec![0; 1000];
        let mut tag = key.seal([2; IV_LEN], b"aad", &[0x61; 1000], &mut sealed).unwrap();
        tag[0] ^= 1;
        let mut out = vec![0xff; 1000];
        assert_eq!(key.open([2; IV_LEN], b"aad", &sealed, &tag, &mut out), Err(Refused));
        assert_eq!(out, vec![0; 1000]);
    }
}
