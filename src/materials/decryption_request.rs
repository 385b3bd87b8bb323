//! The request for a message's data key, and the check of a data key against the message's header.
//!
//! Source: the ESDK specification, `framework/structures.md` and `client-apis/decrypt.md`.

use std::borrow::Cow;
#[cfg(feature = "cache")]
use std::hash::{Hash, Hasher};
use std::sync::Arc;
#[cfg(feature = "cache")]
use std::sync::atomic::{AtomicBool, Ordering};

use manila_core::internal::crypto::{self, AeadKey, Refused};
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use crate::expected_context::{ExpectedContext, StatedExpectation};
use crate::materials::DataKey;
use crate::message::header::{EncryptedDataKey, Header, UnverifiedHeader};
use crate::message_key::{KeySource, MessageKey};
use crate::policy::CommitmentPolicy;
use crate::suite::AlgorithmSuite;

/// A request for the data key of a message, with everything that is known about the message beforehand.
///
/// A request exists only once the header is well formed, the commitment policy allows its suite, the context is what
/// the reader expects, and a signed suite has its public key: implementations need not check these again. Cloning is
/// cheap. Two requests are equal only if they are for the same message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DecryptionRequest {
    header: UnverifiedHeader,
    commitment_policy: CommitmentPolicy,
    /// Those of the header, unless a keyring passes others to an inner one.
    encrypted_data_keys: Arc<Vec<EncryptedDataKey>>,
    expected_context: ExpectedContext,
    given_context: EncryptionContext,
    full_context: EncryptionContext,
    #[cfg(feature = "cache")]
    header_use: HeaderUse,
}

impl DecryptionRequest {
    pub(crate) fn new(header: UnverifiedHeader, expected: StatedExpectation, policy: CommitmentPolicy) -> Result<Self> {
        let expected = expected.into_inner();
        let header_context = header.encryption_context();
        let given_context = expected.check(header_context)?;
        let full_context = header_context.merged(&given_context);
        if !given_context.is_empty() {
            full_context.to_bytes()?;
        }
        Ok(Self {
            commitment_policy: policy,
            encrypted_data_keys: header.encrypted_data_keys.clone(),
            expected_context: expected,
            given_context,
            full_context,
            header,
            #[cfg(feature = "cache")]
            header_use: HeaderUse::default(),
        })
    }

    /// Returns the request with other data keys, for a keyring that passes some of them, or another order, to an inner
    /// one.
    ///
    /// The message stays the same: [`is_opened_by`](Self::is_opened_by) uses the header as it was read, with all its
    /// data keys.
    #[must_use]
    pub fn with_encrypted_data_keys(&self, encrypted_data_keys: Vec<EncryptedDataKey>) -> Self {
        Self { encrypted_data_keys: Arc::new(encrypted_data_keys), ..self.clone() }
    }

    /// Returns whether `data_key` opens the message's header: whether the message commits to it, in suites with key
    /// commitment, and whether the header's tag is right under it.
    ///
    /// For keyrings that cannot tell from unwrapping alone whether they have the right key, and for caches, which
    /// should keep nothing from a forged message. It says nothing about the body, which has yet to be verified. It
    /// takes the same time whether the commitment is wrong, the tag, or neither; a key of a wrong length is refused at
    /// once.
    ///
    /// ```
    /// use manila::Result;
    /// use manila::cmm::Cmm;
    /// use manila::materials::{DecryptionMaterials, DecryptionRequest};
    ///
    /// /// Asks one manager, and another if the result of the first does not open the message.
    /// async fn either(request: &DecryptionRequest, first: &dyn Cmm, second: &dyn Cmm) -> Result<DecryptionMaterials> {
    ///     match first.decryption_materials(request).await {
    ///         Ok(materials) if request.is_opened_by(&materials.data_key) => Ok(materials),
    ///         _ => second.decryption_materials(request).await,
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn is_opened_by(&self, data_key: &DataKey) -> bool {
        #[cfg(feature = "cache")]
        self.header_use.note();
        self.open_header(data_key).is_ok()
    }

    /// Returns the same request, and a note of whether [`is_opened_by`](Self::is_opened_by) is called: from then on the
    /// result may depend on this message's header, and not only on its data keys and context.
    #[cfg(feature = "cache")]
    pub(crate) fn watched(&self) -> (Self, HeaderUse) {
        let header_use = HeaderUse(Some(Arc::default()));
        (Self { header_use: header_use.clone(), ..self.clone() }, header_use)
    }

    /// Returns what the key of this message is derived from, if this is its data key.
    pub(crate) fn key_source<'a>(&'a self, data_key: &'a DataKey) -> KeySource<'a> {
        KeySource { data_key, suite: self.header.suite(), message_id: self.header.message_id() }
    }

    /// Verifies the header under `data_key`, and returns the key of its frames.
    fn open_header(&self, data_key: &DataKey) -> Result<AeadKey> {
        let mut derived = MessageKey::default();
        derived.derive(self.key_source(data_key))?;
        self.open_header_with(&derived)
    }

    /// Verifies the header under the key that was derived, and returns the key of its frames.
    ///
    /// The only function that tries a key on a header, so that no place accepts what another refuses.
    fn open_header_with(&self, derived: &MessageKey) -> Result<AeadKey> {
        let header = &self.header;
        let is_committed_to = match (&header.commitment, &derived.commitment) {
            (Some(committed), Some(derived)) => crypto::equal(committed, derived),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let key = AeadKey::new(derived.bytes())?;
        let given = self.given_context.to_bytes()?;
        let aad = match given.is_empty() {
            true => Cow::Borrowed(header.body_bytes()),
            false => Cow::Owned([header.body_bytes(), &given].concat()),
        };
        let authentication = header.authentication();
        // Even if the commitment is wrong, so that every key of the right length takes the same time.
        let is_authentic = key.open(authentication.iv, &aad, &[], &authentication.tag, &mut []);
        #[cfg(feature = "testing")]
        crate::testing::note_header_tag();
        if !is_committed_to {
            let detail = "the data key is not the one that the message commits to: the message was changed or forged";
            return Err(Error::new(ErrorKind::CommitmentMismatch, detail));
        }
        is_authentic.map_err(|Refused| {
            let detail = "the header's authentication tag is wrong: the header was changed, or its encryption \
                          context is not the one it was sealed with";
            Error::new(ErrorKind::AuthenticationFailed, detail)
        })?;
        Ok(key)
    }

    /// Verifies the header under the key that was derived, and returns the key of its frames and the verified header.
    pub(crate) fn open(self, derived: &MessageKey) -> Result<(AeadKey, Header)> {
        let key = self.open_header_with(derived)?;
        Ok((key, self.header.into_verified(self.full_context)))
    }

    /// Returns the header as it was read.
    pub(crate) fn header(&self) -> &UnverifiedHeader {
        &self.header
    }

    /// Returns the message's algorithm suite. The reader's commitment policy allows it.
    #[must_use]
    pub fn suite(&self) -> AlgorithmSuite {
        self.header.suite()
    }

    /// Returns the reader's commitment policy.
    #[must_use]
    pub fn commitment_policy(&self) -> CommitmentPolicy {
        self.commitment_policy
    }

    /// Returns the message's encrypted data keys, in order.
    #[must_use]
    pub fn encrypted_data_keys(&self) -> &[EncryptedDataKey] {
        &self.encrypted_data_keys
    }

    /// Returns every pair that the data key is bound to: those of the header and those that the reader added.
    #[must_use]
    pub fn encryption_context(&self) -> &EncryptionContext {
        &self.full_context
    }

    /// Returns the pairs of the header.
    #[must_use]
    pub fn header_context(&self) -> &EncryptionContext {
        self.header.encryption_context()
    }

    /// Returns the reader's expectation of the context.
    #[must_use]
    pub fn expected_context(&self) -> &ExpectedContext {
        &self.expected_context
    }

    /// Returns the pairs that the reader expects and the header lacks: they are authenticated with the header.
    #[must_use]
    pub fn given_context(&self) -> &EncryptionContext {
        &self.given_context
    }
}

/// A note of whether a request's header was used. It is not part of the request: two that differ in it are equal.
#[cfg(feature = "cache")]
#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderUse(Option<Arc<AtomicBool>>);

#[cfg(feature = "cache")]
impl HeaderUse {
    fn note(&self) {
        if let Some(noted) = &self.0 {
            noted.store(true, Ordering::Release);
        }
    }

    pub(crate) fn is_noted(&self) -> bool {
        self.0.as_ref().is_some_and(|noted| noted.load(Ordering::Acquire))
    }
}

#[cfg(feature = "cache")]
impl PartialEq for HeaderUse {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(feature = "cache")]
impl Eq for HeaderUse {}

#[cfg(feature = "cache")]
impl Hash for HeaderUse {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
