//! Argon2id (RFC 9106): derivation of a key from a passphrase.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Result};

/// The cost of a derivation. It is stored beside the salt, so it is checked against limits before use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

impl PassphraseCost {
    /// RFC 9106, section 4, second recommendation: 64 MiB, 3 passes, 4 lanes.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };
    /// The highest stored cost that is accepted: 256 MiB, 4 passes, 4 lanes, about five times the work of the default.
    const MOST: Self = Self { memory_kib: 256 * 1024, passes: 4, lanes: 4 };

    fn is_bounded(self) -> bool {
        self.memory_kib <= Self::MOST.memory_kib && self.passes <= Self::MOST.passes && self.lanes <= Self::MOST.lanes
    }
}

/// Derives a 32-byte key.
pub fn key_from_passphrase(passphrase: &[u8], salt: &[u8], cost: PassphraseCost) -> Result<Zeroizing<[u8; 32]>> {
    let failed = || Error::new(ErrorKind::Storage, "the passphrase parameters of the key store cannot be used");
    if !cost.is_bounded() {
        return Err(failed());
    }
    if passphrase.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "the passphrase is empty: choose one that is hard to guess"));
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|_| failed())?;
    let mut key = Zeroizing::new([0; 32]);
    // Memory of our own, so that it can be zeroized: the key follows from its contents.
    let mut memory = Zeroizing::new(vec![Block::new(); params.block_count()]);
    (Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
        .hash_password_into_with_memory(passphrase, salt, key.as_mut_slice(), memory.as_mut_slice())
        .map_err(|_| failed())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argon2id_gives_the_known_answer() {
        // The reference implementation's test suite: version 0x13, t = 2, m = 65536 KiB, p = 1.
        let cost = PassphraseCost { memory_kib: 65_536, passes: 2, lanes: 1 };
        let key = key_from_passphrase(b"password", b"somesalt", cost).unwrap();
        assert_eq!(key.first_chunk(), Some(&[0x09, 0x31, 0x61, 0x15, 0xd5, 0xcf, 0x24, 0xed]));
    }

    #[test]
    fn a_cost_that_would_exhaust_memory_is_refused() {
        let most = PassphraseCost::MOST;
        assert!(most.is_bounded() && PassphraseCost::RECOMMENDED.is_bounded());
        for greedy in [
            PassphraseCost { memory_kib: 256 * 1024 + 1, ..most },
            PassphraseCost { memory_kib: u32::MAX, ..most },
            PassphraseCost { passes: 5, ..most },
            PassphraseCost { lanes: 5, ..most },
        ] {
            // Refused at once, without a derivation.
            let error = key_from_passphrase(b"p", &[1; 16], greedy).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Storage);
            assert!(error.to_string().contains("passphrase parameters"), "{error}");
        }
    }
}
