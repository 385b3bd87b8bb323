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
pub struct SecretBytes(Arc<Zeroizing<Vec<u8>>>);

impl SecretBytes {
    /// Copies `bytes`, for instance those that a KMS returned. The caller zeroizes their own copy.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.to_vec())))
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
    pub fn fill_with(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<Self> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        fill(&mut bytes)?;
        Ok(Self(Arc::new(bytes)))
    }

    /// Returns the secret bytes, for keyrings to wrap. Never log, store or compare them.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns a handle that tells whether the bytes are still in memory.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn watch(&self) -> std::sync::Weak<Zeroizing<Vec<u8>>> {
        Arc::downgrade(&self.0)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes, redacted)", self.len())
    }
}
