//! Secret bytes: plaintext data keys, and what a KMS decrypts.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::crypto;
use crate::error::Result;

/// Secret bytes, such as a plaintext data key. Zeroized on drop, and not shown by `Debug`.
///
/// ```
/// use manila_core::SecretBytes;
///
/// let secret = SecretBytes::new(&[7; 32]); // a test key
/// assert_eq!(format!("{secret:?}"), "SecretBytes(32 bytes, redacted)");
/// ```
///
/// Cloning is cheap: clones share the bytes, which are zeroized when the last clone is dropped. There is no
/// `PartialEq`: comparing secrets with `==` takes a time that depends on them.
#[derive(Clone)]
pub struct SecretBytes(Arc<Bytes>);

/// The bytes, those of a data key without an allocation of their own.
struct Bytes {
    short: Zeroizing<[u8; Self::SHORT]>,
    len: usize,
    /// Instead of `short`, if there are more than fit there.
    long: Zeroizing<Vec<u8>>,
}

impl Bytes {
    const SHORT: usize = 32;

    fn zeros(len: usize) -> Self {
        let long = if len > Self::SHORT { vec![0; len] } else { Vec::new() };
        Self { short: Zeroizing::new([0; Self::SHORT]), len, long: Zeroizing::new(long) }
    }

    fn get_mut(&mut self) -> &mut [u8] {
        self.short.get_mut(..self.len).unwrap_or(&mut self.long)
    }
}

impl SecretBytes {
    /// Copies `bytes`, for instance those that a KMS returned. The caller zeroizes their own copy.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut secret = Arc::new(Bytes::zeros(bytes.len()));
        if let Some(secret) = Arc::get_mut(&mut secret) {
            secret.get_mut().copy_from_slice(bytes);
        }
        Self(secret)
    }

    /// Generates `len` bytes from the operating system's randomness.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if there is no randomness.
    pub fn generate(len: usize) -> Result<Self> {
        Self::fill_with(len, crypto::random)
    }

    /// Makes `len` bytes with `fill`.
    #[doc(hidden)]
    pub fn fill_with<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Arc::new(Bytes::zeros(len));
        if let Some(secret) = Arc::get_mut(&mut secret) {
            fill(secret.get_mut())?;
        }
        Ok(Self(secret))
    }

    /// Returns the secret bytes, for keyrings to wrap. Never log, store or compare them.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8] {
        self.0.short.get(..self.0.len).unwrap_or(&self.0.long)
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Returns whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Returns a handle that tells whether the bytes are still in memory.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn watch(&self) -> SecretWatch {
        SecretWatch(Arc::downgrade(&self.0))
    }
}

/// A handle that does not keep secret bytes in memory.
#[cfg(feature = "testing")]
#[doc(hidden)]
pub struct SecretWatch(std::sync::Weak<Bytes>);

#[cfg(feature = "testing")]
impl SecretWatch {
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes, redacted)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_any_length_are_kept_as_they_are() {
        for len in [0_u32, 1, 16, 31, 32, 33, 64, 4096] {
            let bytes: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0] | 1).collect();
            let copied = SecretBytes::new(&bytes);
            let fill = |out: &mut [u8]| {
                out.copy_from_slice(&bytes);
                Ok::<_, ()>(())
            };
            let filled = SecretBytes::fill_with(bytes.len(), fill).unwrap();
            for secret in [copied, filled] {
                assert_eq!(
                    (secret.expose_secret(), secret.len(), secret.is_empty()),
                    (&bytes[..], bytes.len(), len == 0)
                );
            }
        }
    }
}
