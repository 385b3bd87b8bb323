//! The key of one message, derived from its data key and message id.
//!
//! Source: the ESDK specification, `framework/transitive-requirements.md`; RFC 5869.

use manila_core::internal::crypto::{self, Derivation};
use manila_core::{Error, ErrorKind, Result};
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

/// The inputs of the derivation of a message's key.
#[derive(Clone, Copy)]
pub(crate) struct KeySource<'a> {
    pub(crate) data_key: &'a DataKey,
    pub(crate) suite: AlgorithmSuite,
    pub(crate) message_id: &'a [u8],
}

impl MessageKey {
    /// Derives the key of a message. Works in place, because returning the key would move it, and a move leaves a copy
    /// on the stack.
    pub(crate) fn derive(&mut self, source: KeySource<'_>) -> Result<()> {
        let KeySource { data_key, suite, message_id } = source;
        suite.check_data_key(data_key)?;
        let secret = data_key.expose_secret();
        let id = suite.id().to_be_bytes();
        self.len = suite.data_key_len();
        let key = self.bytes.get_mut(..self.len).unwrap_or_default();
        match suite.kdf() {
            Kdf::Identity => key.copy_from_slice(secret),
            Kdf::Hkdf(hash) => crypto::hkdf(hash, &[], secret, &mut [(&[&id, message_id], key)])?,
            Kdf::HkdfCommit(_) => crypto::hkdf_sha512(&mut [self.derivation(source)])?,
        }
        Ok(())
    }

    /// Derives the keys of many messages, each into its place in `keys`. Those of suites with key commitment are
    /// derived several at a time where the processor can (feature `batch`).
    pub(crate) fn derive_all<'a>(
        sources: impl IntoIterator<Item = KeySource<'a>>,
        keys: &'a mut [Self],
    ) -> Vec<Result<()>> {
        let mut committing = Vec::with_capacity(keys.len());
        let derive = |(source, key): (KeySource<'a>, &'a mut Self)| {
            if source.suite.is_committing() {
                source.suite.check_data_key(source.data_key)?;
                committing.push(key.derivation(source));
                Ok(())
            } else {
                key.derive(source)
            }
        };
        let mut outcomes: Vec<_> = sources.into_iter().zip(keys).map(derive).collect();
        if crypto::hkdf_sha512(&mut committing).is_err() {
            let failed = || Error::new(ErrorKind::Internal, "the keys of a batch could not be derived");
            outcomes.fill_with(|| Err(failed()));
        }
        outcomes
    }

    /// Returns the derivation of key and commitment, in suites that have both.
    fn derivation<'a>(&'a mut self, source: KeySource<'a>) -> Derivation<'a> {
        let label = match source.suite.kdf() {
            Kdf::HkdfCommit(label) => label,
            Kdf::Identity | Kdf::Hkdf(_) => &[],
        };
        self.len = source.suite.data_key_len();
        let commitment = self.commitment.insert([0; COMMITMENT_LEN]);
        Derivation {
            salt: source.message_id,
            secret: source.data_key.expose_secret(),
            expansions: [(label, self.bytes.get_mut(..self.len).unwrap_or_default()), (b"COMMITKEY", commitment)],
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}
