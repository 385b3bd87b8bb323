//! Incremental SHA-256.

use sha2::Digest as _;

/// A SHA-256 digest of parts that arrive one after another.
#[derive(Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// Length of the digest in bytes.
    pub const LEN: usize = 32;

    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    #[must_use]
    pub fn finish(self) -> [u8; Self::LEN] {
        self.0.finalize().into()
    }
}
