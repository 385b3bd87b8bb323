//! Helpers for the tests of the cache and of its model.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use manila_core::{Clock, EncryptionContext};

use crate::materials::EncryptionRequest;
use crate::policy::CommitmentPolicy;
use manila_core::internal::crypto::RandomBytes;

/// A clock that stands still until it is set, in seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Hand(pub(super) Arc<AtomicU64>);

impl Clock for Hand {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

/// Returns a request for a message of this many bytes; requests with different names have different ids.
pub(super) fn request(name: &str, bytes: u64) -> EncryptionRequest {
    EncryptionRequest {
        encryption_context: EncryptionContext::new([("id", name)]).unwrap(),
        suite: None,
        commitment_policy: CommitmentPolicy::default(),
        required_context_keys: BTreeSet::new(),
        max_plaintext_len: Some(bytes),
        random: RandomBytes::none(),
    }
}
