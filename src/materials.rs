//! The types that keyrings and materials managers receive and return; for their authors.
//!
//! Source: the ESDK specification, `framework/structures.md`.

pub(crate) mod decryption_request;
mod encryption_request;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use manila_core::internal::crypto::RandomBytes;
use manila_core::internal::{check_key, crypto, quoted};
use manila_core::{EncryptionContext, Error, ErrorKind, Result, SecretBytes};

use crate::message::header::EncryptedDataKey;
use crate::suite::AlgorithmSuite;

pub use decryption_request::DecryptionRequest;
#[cfg(feature = "cache")]
pub(crate) use decryption_request::HeaderUse;
pub use encryption_request::EncryptionRequest;
pub use manila_core::KeyFuture;

/// A plaintext data key, of the length that its algorithm suite takes.
pub type DataKey = SecretBytes;

/// The materials to encrypt a message with: the suite, the context and, once a keyring has generated it, the data key.
///
/// ```
/// use manila::keyring::{Keyring, RawAesKeyring};
/// use manila::materials::EncryptionMaterials;
/// use manila::{AlgorithmSuite, EncryptionContext};
///
/// # async fn wrap() -> manila::Result<()> {
/// let keyring = RawAesKeyring::new("example", "key-1", &[7; 32])?; // a test key
/// let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
/// let mut materials = EncryptionMaterials::new(suite, &EncryptionContext::empty())?;
/// let wrapped = keyring.on_encrypt(&materials).await?;
/// materials.add(wrapped)?;
/// assert_eq!(materials.encrypted_data_keys().len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct EncryptionMaterials {
    suite: AlgorithmSuite,
    encryption_context: EncryptionContext,
    required_context_keys: BTreeSet<String>,
    signing_key: Option<crypto::SigningKey>,
    data_key: Option<DataKey>,
    /// `None` until a keyring has wrapped the data key.
    encrypted_data_keys: Option<Arc<Vec<EncryptedDataKey>>>,
    random: RandomBytes,
}

impl EncryptionMaterials {
    /// Returns materials without a data key. For signed suites a new signing key is generated, and its public key added
    /// to the context.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the context has reserved keys,
    /// [`ErrorKind::LimitExceeded`] if it does not fit into a header with the public key, and
    /// [`ErrorKind::Internal`] if there is no randomness.
    pub fn new(suite: AlgorithmSuite, encryption_context: &EncryptionContext) -> Result<Self> {
        encryption_context.check_unreserved()?;
        let mut materials = Self {
            suite,
            encryption_context: encryption_context.clone(),
            required_context_keys: BTreeSet::new(),
            signing_key: None,
            data_key: None,
            encrypted_data_keys: None,
            random: RandomBytes::none(),
        };
        if let Some(curve) = suite.curve() {
            let signing_key = crypto::SigningKey::generate(curve)?;
            let encoded = crypto::encode_public_key(&signing_key.public_key()?);
            materials.encryption_context = encryption_context.with_public_key(encoded);
            materials.signing_key = Some(signing_key);
        }
        materials.encryption_context.to_bytes()?;
        Ok(materials)
    }

    /// Returns these materials with the random bytes that were drawn for their message.
    pub(crate) fn with_random_bytes_of(mut self, request: &EncryptionRequest) -> Self {
        self.random = request.random.share();
        self
    }

    /// Fills `bytes` with random ones from the operating system, for data keys and IVs. Those of a message are drawn
    /// in one call, which is faster than one for each use.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if there is no randomness.
    pub fn random_bytes(&self, bytes: &mut [u8]) -> Result<()> {
        self.random.fill(bytes)
    }

    /// Returns the algorithm suite.
    #[must_use]
    pub fn suite(&self) -> AlgorithmSuite {
        self.suite
    }

    /// Returns all pairs to bind the data key to, including the public key of signed suites.
    #[must_use]
    pub fn encryption_context(&self) -> &EncryptionContext {
        &self.encryption_context
    }

    /// Returns the data key, if a keyring has generated it.
    #[must_use]
    pub fn data_key(&self) -> Option<&DataKey> {
        self.data_key.as_ref()
    }

    /// Returns the encrypted data keys so far, in order.
    #[must_use]
    pub fn encrypted_data_keys(&self) -> &[EncryptedDataKey] {
        self.encrypted_data_keys.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Returns the keys of the context whose pairs are authenticated but not stored in the header.
    #[must_use]
    pub fn required_context_keys(&self) -> &BTreeSet<String> {
        &self.required_context_keys
    }

    /// Keeps the pairs of these keys out of the header; they are still authenticated.
    ///
    /// # Errors
    /// [`ErrorKind::ContextMismatch`] if the context lacks one of them, and [`ErrorKind::InvalidInput`] if one is
    /// reserved: a reader finds the public key of a signed message only in the header.
    pub fn require_context_keys(&mut self, keys: &BTreeSet<String>) -> Result<()> {
        keys.iter().try_for_each(|key| check_key(key))?;
        if let Some(missing) = keys.iter().find(|key| self.encryption_context.get(key).is_none()) {
            let detail = format!("the required encryption context key {} is not in the context", quoted(missing));
            return Err(Error::new(ErrorKind::ContextMismatch, detail));
        }
        self.required_context_keys.extend(keys.iter().cloned());
        Ok(())
    }

    /// Adds the result of a keyring. No keyring can change or remove what another one added.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the keyring replaced the data key or generated one of a wrong length.
    pub fn add(&mut self, wrapped: WrappedKeys) -> Result<()> {
        let broken = |detail: &'static str| Err(Error::new(ErrorKind::Internal, detail));
        match (&self.data_key, wrapped.data_key) {
            (Some(_), Some(_)) => return broken("a keyring replaced the data key"),
            (None, Some(data_key)) => {
                if data_key.len() != self.suite.data_key_len() {
                    return broken("a keyring generated a data key of a wrong length for the algorithm suite");
                }
                self.data_key = Some(data_key);
            }
            (_, None) => {}
        }
        if self.data_key.is_none() && !wrapped.encrypted_data_keys.is_empty() {
            return broken("a keyring returned encrypted data keys without a data key");
        }
        match &mut self.encrypted_data_keys {
            Some(keys) => Arc::make_mut(keys).extend(wrapped.encrypted_data_keys),
            None => self.encrypted_data_keys = Some(Arc::new(wrapped.encrypted_data_keys)),
        }
        Ok(())
    }

    /// Returns these materials with a data key, for the children of a keyring that generated one. Without the signing
    /// key, which wrapping does not need.
    ///
    /// # Errors
    /// The same as [`add`](Self::add).
    pub fn with_data_key(&self, data_key: DataKey) -> Result<Self> {
        let mut materials = Self {
            suite: self.suite,
            encryption_context: self.encryption_context.clone(),
            required_context_keys: self.required_context_keys.clone(),
            signing_key: None,
            data_key: None,
            encrypted_data_keys: self.encrypted_data_keys.clone(),
            random: self.random.share(),
        };
        materials.add(WrappedKeys { data_key: Some(data_key), encrypted_data_keys: Vec::new() })?;
        Ok(materials)
    }

    /// Returns the parts that a message needs. Moved and not cloned: threads that change a
    /// shared reference count wait for each other.
    pub(crate) fn into_parts(self) -> MessageParts {
        let context = self.encryption_context;
        let required = self.required_context_keys;
        let (stored_context, authenticated_context) = match required.is_empty() {
            true => (context, EncryptionContext::empty()),
            false => (context.filtered(|key| !required.contains(key)), context.filtered(|key| required.contains(key))),
        };
        MessageParts {
            stored_context,
            authenticated_context,
            encrypted_data_keys: self.encrypted_data_keys.unwrap_or_default(),
            data_key: self.data_key,
            signing_key: self.signing_key,
        }
    }

    /// Returns the same materials for another message.
    #[cfg(feature = "cache")]
    pub(crate) fn share(&self) -> Self {
        Self {
            suite: self.suite,
            encryption_context: self.encryption_context.clone(),
            required_context_keys: self.required_context_keys.clone(),
            signing_key: self.signing_key.as_ref().map(crypto::SigningKey::share),
            data_key: self.data_key.clone(),
            encrypted_data_keys: self.encrypted_data_keys.clone(),
            random: RandomBytes::none(),
        }
    }

    pub(crate) fn has_signing_key(&self) -> bool {
        self.signing_key.is_some()
    }
}

/// The parts of encryption materials that a message needs.
pub(crate) struct MessageParts {
    /// The pairs to store in the header.
    pub(crate) stored_context: EncryptionContext,
    /// The pairs to authenticate with the header without storing them.
    pub(crate) authenticated_context: EncryptionContext,
    pub(crate) encrypted_data_keys: Arc<Vec<EncryptedDataKey>>,
    pub(crate) data_key: Option<DataKey>,
    pub(crate) signing_key: Option<crypto::SigningKey>,
}

impl fmt::Debug for EncryptionMaterials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionMaterials")
            .field("suite", &self.suite)
            .field("encryption_context", &self.encryption_context)
            .field("required_context_keys", &self.required_context_keys)
            .field("data_key", &self.data_key)
            .field("encrypted_data_keys", &self.encrypted_data_keys())
            .finish_non_exhaustive()
    }
}

/// The result of [`Keyring::on_encrypt`](crate::keyring::Keyring::on_encrypt).
#[derive(Debug, Default)]
pub struct WrappedKeys {
    /// The data key, if the materials had none and this keyring generated it.
    pub data_key: Option<DataKey>,
    /// The data key, encrypted under each of this keyring's keys.
    pub encrypted_data_keys: Vec<EncryptedDataKey>,
}

/// The result of [`Keyring::on_decrypt`](crate::keyring::Keyring::on_decrypt).
///
/// If none of the message's data keys belongs to the keyring, it has neither a data key nor causes. If some do but
/// cannot be decrypted, it has a cause for each.
#[derive(Debug, Default)]
pub struct UnwrapOutcome {
    /// The data key, if one was decrypted.
    pub data_key: Option<DataKey>,
    /// A cause for each data key of this keyring that could not be decrypted.
    pub causes: Vec<Error>,
}

impl UnwrapOutcome {
    /// Tries candidates in order and returns the first data key that is decrypted, with the causes of those before it.
    /// Later ones are not tried.
    pub async fn first_that_opens<F>(candidates: impl IntoIterator<Item = F>) -> Self
    where
        F: Future<Output = Result<DataKey>>,
    {
        let mut outcome = Self::default();
        for candidate in candidates {
            if outcome.add(candidate.await) {
                break;
            }
        }
        outcome
    }

    /// Does what [`first_that_opens`](Self::first_that_opens) does, for data keys that are decrypted without waiting,
    /// as the iterator is asked for them.
    pub fn first_of(results: impl IntoIterator<Item = Result<DataKey>>) -> Self {
        let mut outcome = Self::default();
        for result in results {
            if outcome.add(result) {
                break;
            }
        }
        outcome
    }

    /// Adds the result of a candidate, and returns whether no other is to be tried.
    fn add(&mut self, result: Result<DataKey>) -> bool {
        match result {
            Ok(data_key) => self.data_key = Some(data_key),
            Err(cause) => self.causes.push(cause),
        }
        self.data_key.is_some()
    }
}

/// The materials to decrypt a message with.
#[derive(Debug)]
pub struct DecryptionMaterials {
    /// The data key that a keyring decrypted.
    pub data_key: DataKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn materials() -> EncryptionMaterials {
        EncryptionMaterials::new(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, &EncryptionContext::empty()).unwrap()
    }

    #[test]
    fn a_keyring_cannot_replace_a_data_key() {
        let mut materials = materials();
        let made = || WrappedKeys { data_key: Some(DataKey::new(&[7; 32])), encrypted_data_keys: Vec::new() };
        materials.add(made()).unwrap();
        assert_eq!(materials.add(made()).unwrap_err().kind(), ErrorKind::Internal);
    }

    #[test]
    fn a_keyring_cannot_make_a_data_key_of_another_length_or_wrap_none() {
        let short = WrappedKeys { data_key: Some(DataKey::new(&[7; 16])), encrypted_data_keys: Vec::new() };
        assert_eq!(materials().add(short).unwrap_err().kind(), ErrorKind::Internal);
        let key = EncryptedDataKey { provider_id: "p".into(), provider_info: vec![], ciphertext: vec![] };
        let none = WrappedKeys { data_key: None, encrypted_data_keys: vec![key] };
        assert_eq!(materials().add(none).unwrap_err().kind(), ErrorKind::Internal);
    }
}
