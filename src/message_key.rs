//! The key of one message, derived from its data key and message id.
//!
//! Source: the ESDK specification, `framework/transitive-requirements.md`; RFC 5869.

use manila_core::Result;
use manila_core::internal::crypto::{self, Hash};
use zeroize::Zeroizing;

use crate::materials::DataKey;
use crate::suite::{AlgorithmSuite, COMMITMENT_LEN, Kdf};

/// The key that encrypts one message and, in committing suites, the commitment to it.
#[derive(Default)]
pub(crate) struct MessageKey {
    /// Long enough for the key of any suite.
    bytes: Zeroizing<[u8; 32]>,
    len: usize,
    pub(crate) commitment: Option<[u8; COMMITMENT_LEN]>,
}

impl MessageKey {
    /// Derives the key of the message with this id from `data_key`. Works in place, because returning the key would
    /// move it, and a move leaves a copy on the stack.
    pub(crate) fn derive(&mut self, data_key: &DataKey, suite: AlgorithmSuite, message_id: &[u8]) -> Result<()> {
        suite.check_data_key(data_key)?;
        let secret = data_key.expose_secret();
        self.len = suite.data_key_len();
        let id = suite.id().to_be_bytes();
        let key = self.bytes.get_mut(..self.len).unwrap_or_default();
        match suite.kdf() {
            Kdf::Identity => key.copy_from_slice(secret),
            Kdf::Hkdf(hash) => crypto::hkdf(hash, &[], secret, &mut [(&[&id, message_id], key)])?,
            Kdf::HkdfCommit => {
                let commitment = self.commitment.insert([0; COMMITMENT_LEN]);
                let expansions: &mut [crypto::Expansion<'_>] =
                    &mut [(&[&id, b"DERIVEKEY"], key), (&[b"COMMITKEY"], commitment)];
                crypto::hkdf(Hash::Sha512, message_id, secret, expansions)?;
            }
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
