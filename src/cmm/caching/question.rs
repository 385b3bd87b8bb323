//! The questions that a cache answers, and the answers that may be kept.

use std::hash::BuildHasher;
use std::sync::Arc;

use manila_core::internal::crypto;
use manila_core::{KeyFuture, Result};

use crate::cmm::Cmm;
use crate::cmm::caching::entry::{Answer, Uses};
use crate::cmm::caching::id::EncodedId;
use crate::materials::EncryptionRequest;
use crate::materials::{DataKey, DecryptionRequest, HeaderUse};

/// A request to a materials manager.
#[derive(Clone, Copy)]
pub(super) enum Question<'a> {
    Encryption(&'a EncryptionRequest),
    Decryption(&'a DecryptionRequest),
}

impl Question<'_> {
    /// Writes the id of this question's entry into a new one, which is large and so not returned.
    pub(super) fn encode(self, id: &mut EncodedId, partition: u64, hasher: &impl BuildHasher) {
        match self {
            Self::Encryption(request) => id.encode_encryption(partition, request, hasher),
            Self::Decryption(request) => id.encode_decryption(partition, request, hasher),
        }
    }

    /// Returns the use of a data key by this question's message of `bytes`; a data key to decrypt is never used up.
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

    /// Returns a call that borrows nothing from the caller, so that others can drive it, and a note of whether its
    /// outcome may depend on the header of this question's message.
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

    /// Returns whether an answer may be kept: materials to encrypt if their suite derives keys, a data key to decrypt
    /// only if it opens the header of this question's message. So a forged message never changes a cache.
    pub(super) fn may_keep(self, answer: &Answer) -> bool {
        match (self, answer) {
            (Self::Encryption(_), Answer::Encryption(materials)) => materials.suite().has_kdf(),
            (Self::Decryption(request), Answer::Decryption(materials)) => request.is_opened_by(&materials.data_key),
            _ => false,
        }
    }

    /// Returns whether an answer may replace a kept one: also if it has the same data key, which has opened a header,
    /// whatever this question's message is.
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
