//! The questions that a cache answers, and what of an answer may be kept.

use std::hash::BuildHasher;
use std::sync::Arc;

use manila_core::internal::crypto;
use manila_core::{KeyFuture, Result};

use crate::cmm::Cmm;
use crate::cmm::caching::entry::{Answer, Uses};
use crate::cmm::caching::id::EncodedId;
use crate::materials::EncryptionRequest;
use crate::materials::{DataKey, DecryptionRequest, HeaderUse};

/// A question to a materials manager.
#[derive(Clone, Copy)]
pub(super) enum Question<'a> {
    Encryption(&'a EncryptionRequest),
    Decryption(&'a DecryptionRequest),
}

impl Question<'_> {
    pub(super) fn encode(self, partition: u64, hasher: &impl BuildHasher) -> EncodedId {
        match self {
            Self::Encryption(request) => EncodedId::encryption(partition, request, hasher),
            Self::Decryption(request) => EncodedId::decryption(partition, request, hasher),
        }
    }

    /// What the question's message of `bytes` uses of a data key: one that decrypts is never used up.
    pub(super) fn uses(self, bytes: u64) -> Option<Uses> {
        match self {
            Self::Encryption(_) => Some(Uses { messages: 1, bytes }),
            Self::Decryption(_) => None,
        }
    }

    pub(super) async fn ask(self, inner: &dyn Cmm) -> Result<Answer> {
        match self {
            Self::Encryption(request) => inner.encryption_materials(request).await.map(Answer::Encryption),
            Self::Decryption(request) => inner.decryption_materials(request).await.map(Answer::Decryption),
        }
    }

    /// A call that borrows nothing of the one who asks, so that others can drive it; and a note of whether its outcome
    /// may depend on the header of this question's message.
    pub(super) fn call(self, inner: Arc<dyn Cmm>) -> (KeyFuture<'static, Answer>, HeaderUse) {
        match self {
            Self::Encryption(request) => {
                let request = request.clone();
                (Box::pin(async move { Question::Encryption(&request).ask(&*inner).await }), HeaderUse::default())
            }
            Self::Decryption(request) => {
                let (request, header_use) = request.watched();
                (Box::pin(async move { Question::Decryption(&request).ask(&*inner).await }), header_use)
            }
        }
    }

    /// Tells whether an answer may be kept: one to encrypt with unless its suite uses the data key as it is, one to decrypt
    /// with only if it opens the header of this question's message. So no forged message brings anything into a cache.
    pub(super) fn may_keep(self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Encryption(_), Answer::Encryption(materials)) => materials.suite().has_kdf(),
            (Self::Decryption(request), Answer::Decryption(materials)) => request.is_opened_by(&materials.data_key),
            _ => false,
        }
    }

    /// Tells whether an answer may take the place of one that was kept: also if it has the same data key, which has opened
    /// a header, whatever this question's message is.
    pub(super) fn may_replace(self, kept: &Answer, answer: &Answer) -> bool {
        let same = match (kept, answer) {
            (Answer::Decryption(kept), Answer::Decryption(answer)) => {
                crypto::equal(DataKey::expose_secret(&kept.data_key), DataKey::expose_secret(&answer.data_key))
            }
            _ => false,
        };
        same || self.may_keep(answer)
    }
}
