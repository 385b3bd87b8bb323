//! Argon2id (RFC 9106): a key from a passphrase.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};

/// What one derivation costs. Stored beside the salt, so it is bounded before it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PassphraseCost {
    /// Memory in KiB.
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

impl PassphraseCost {
    /// RFC 9106, section 4, second recommendation: 64 MiB, 3 passes, 4 lanes.
    pub(crate) const RECOMMENDED: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };
    /// The most that a stored cost may ask for: 1 GiB, 16 passes, 16 lanes.
    const MOST: Self = Self { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

    fn is_bounded(self) -> bool {
        self.memory_kib <= Self::MOST.memory_kib && self.passes <= Self::MOST.passes && self.lanes <= Self::MOST.lanes
    }
}

/// A 32-byte key.
pub(crate) fn key_from_passphrase(passphrase: &[u8], salt: &[u8], cost: PassphraseCost) -> Result<Zeroizing<[u8; 32]>> {
    let failed = || Error::new(ErrorKind::Storage, "the passphrase parameters of the key store cannot be used");
    if !cost.is_bounded() {
        return Err(failed());
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|_| failed())?;
    let mut key = Zeroizing::new([0; 32]);
    (Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
        .hash_password_into(passphrase, salt, key.as_mut_slice())
        .map_err(|_| failed())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_that_would_exhaust_memory_is_refused() {
        let greedy = PassphraseCost { memory_kib: u32::MAX, ..PassphraseCost::RECOMMENDED };
        assert_eq!(key_from_passphrase(b"p", &[1; 16], greedy).unwrap_err().kind(), ErrorKind::Storage);
    }
}
