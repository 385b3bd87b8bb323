//! The question for a message's data key, and whether a data key answers it.
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

use crate::expected_context::ExpectedContext;
use crate::materials::DataKey;
use crate::message::header::{EncryptedDataKey, Header, UnverifiedHeader};
use crate::message_key::MessageKey;
use crate::policy::CommitmentPolicy;
use crate::suite::AlgorithmSuite;

/// The question for the data key of one message, with all that is known of the message beforehand.
///
/// Made only once the header is well formed, the commitment policy allows its suite, the context is what the reader
/// expects, and signed suites have their public key: whoever holds a request need not check these again. Cloning is
/// cheap. Two requests are equal only if they are for the same message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DecryptionRequest {
    header: UnverifiedHeader,
    commitment_policy: CommitmentPolicy,
    /// Those of the header, unless a keyring shows others to an inner one.
    encrypted_data_keys: Arc<Vec<EncryptedDataKey>>,
    expected_context: ExpectedContext,
    given_context: EncryptionContext,
    full_context: EncryptionContext,
    #[cfg(feature = "cache")]
    header_use: HeaderUse,
}

impl DecryptionRequest {
    pub(crate) fn new(header: UnverifiedHeader, expected: ExpectedContext, policy: CommitmentPolicy) -> Result<Self> {
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

    /// Replaces the data keys, as a keyring does that shows an inner one some of them or another order.
    ///
    /// The message stays the same: [`is_opened_by`](Self::is_opened_by) goes by its header as it was read, with all
    /// the data keys that stand there.
    #[must_use]
    pub fn with_encrypted_data_keys(&self, encrypted_data_keys: Vec<EncryptedDataKey>) -> Self {
        Self { encrypted_data_keys: Arc::new(encrypted_data_keys), ..self.clone() }
    }

    /// Tells whether the message's header was sealed under `data_key`: in suites that commit, whether it is the key
    /// that the message commits to, and in all, whether the header's tag is right under it.
    ///
    /// For keyrings that cannot tell from unwrapping alone whether they hold the right key, and for caches, which
    /// should keep nothing that a forged message brought. It says nothing of the body, which is still to be verified.
    /// It costs the same whether the commitment is wrong, the tag, or neither; a key of a length that the suite does
    /// not take is refused at once.
    ///
    /// ```
    /// use manila::Result;
    /// use manila::cmm::Cmm;
    /// use manila::materials::{DecryptionMaterials, DecryptionRequest};
    ///
    /// /// Asks one manager, and another where what the first returns does not open the message.
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

    /// The same request, and a note of whether anybody asks it [`is_opened_by`](Self::is_opened_by): from then on an
    /// answer may depend on this message's header, and not on its data keys and context alone.
    #[cfg(feature = "cache")]
    pub(crate) fn watched(&self) -> (Self, HeaderUse) {
        let header_use = HeaderUse(Some(Arc::default()));
        (Self { header_use: header_use.clone(), ..self.clone() }, header_use)
    }

    /// Verifies the header under `data_key`, and returns the key that its frames are sealed under.
    ///
    /// No other function holds a data key against a header, so that one place never takes what another refuses.
    fn open_header(&self, data_key: &DataKey) -> Result<AeadKey> {
        let header = &self.header;
        let mut derived = MessageKey::default();
        derived.derive(data_key, header.suite(), header.message_id())?;
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
        // Also where the commitment is wrong, so that every key of the right length costs the same.
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

    /// Verifies the header under `data_key`, and returns the key that its frames are sealed under with the header, which
    /// is verified now.
    pub(crate) fn open(self, data_key: &DataKey) -> Result<(AeadKey, Header)> {
        let key = self.open_header(data_key)?;
        Ok((key, self.header.into_verified(self.full_context)))
    }

    /// Returns the header as it was read.
    pub(crate) fn header(&self) -> &UnverifiedHeader {
        &self.header
    }

    /// The message's algorithm suite. The reader's commitment policy allows it.
    #[must_use]
    pub fn suite(&self) -> AlgorithmSuite {
        self.header.suite()
    }

    /// The reader's commitment policy.
    #[must_use]
    pub fn commitment_policy(&self) -> CommitmentPolicy {
        self.commitment_policy
    }

    /// The message's encrypted data keys, in its order.
    #[must_use]
    pub fn encrypted_data_keys(&self) -> &[EncryptedDataKey] {
        &self.encrypted_data_keys
    }

    /// Every pair the data key is bound to: those of the header and those the reader gave besides.
    #[must_use]
    pub fn encryption_context(&self) -> &EncryptionContext {
        &self.full_context
    }

    /// The pairs that stand in the header.
    #[must_use]
    pub fn header_context(&self) -> &EncryptionContext {
        self.header.encryption_context()
    }

    /// The reader's expectation of the context.
    #[must_use]
    pub fn expected_context(&self) -> &ExpectedContext {
        &self.expected_context
    }

    /// The pairs that the reader gave and the header lacks: authenticated with the header.
    #[must_use]
    pub fn given_context(&self) -> &EncryptionContext {
        &self.given_context
    }
}

/// A note of whether a request's header was asked about. No part of the question: two requests that differ in it are equal.
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
