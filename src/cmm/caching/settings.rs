//! What a cache may keep, for how long, and for how much.

use std::sync::Arc;
use std::time::Duration;

use manila_core::{Clock, Error, ErrorKind, Result, SystemClock};

/// The most messages under one data key, and the default. Source: the ESDK specification, `framework/caching-cmm.md`.
const MOST_MESSAGES: u64 = 1 << 32;
/// The most bytes under one data key, and the default. Source: as above.
const MOST_BYTES: u64 = (1 << 63) - 1;
/// How long after a renewal that failed the next one is tried.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Limits of a cache of data keys.
///
/// There is no default age: how long a data key may be used, and how long a key that was disabled in the KMS still opens
/// messages, is for the program to say.
#[derive(Clone, Debug)]
#[must_use]
pub struct CacheSettings {
    pub(super) capacity: usize,
    pub(super) max_age: Duration,
    pub(super) max_messages: u64,
    pub(super) max_bytes: u64,
    pub(super) renew_before: Duration,
    pub(super) retry_after: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

impl CacheSettings {
    /// A cache of at most `capacity` entries, none of which is used when it is `max_age` old. An entry's age begins when its
    /// data key is asked for, and is the larger of what the monotonic clock and the time of day say.
    pub fn new(capacity: usize, max_age: Duration) -> Self {
        Self {
            capacity,
            max_age,
            max_messages: MOST_MESSAGES,
            max_bytes: MOST_BYTES,
            renew_before: Duration::ZERO,
            retry_after: RETRY_AFTER,
            clock: Arc::new(SystemClock),
        }
    }

    /// The most messages to encrypt under one data key; 2^32 unless said otherwise, and no more than that.
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = messages;
        self
    }

    /// The most bytes of plaintext to encrypt under one data key; 2^63 - 1 unless said otherwise, and no more than that.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Renews an entry so long before it expires: one caller asks for a new data key while the others go on with the old
    /// one. If that fails the old one is used until it expires. Off unless set.
    pub fn renew_before(mut self, grace: Duration) -> Self {
        self.renew_before = grace;
        self
    }

    /// How long after a renewal that failed the next one is tried; 5 seconds unless said otherwise.
    pub fn retry_renewal_after(mut self, interval: Duration) -> Self {
        self.retry_after = interval;
        self
    }

    /// Where the time is from; the operating system unless said otherwise.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let invalid = |detail: &'static str| Err(Error::new(ErrorKind::InvalidInput, detail));
        if self.capacity == 0 || self.max_age.is_zero() {
            return invalid("a cache without room or whose entries are too old at once keeps nothing: use none");
        }
        if !(1..=MOST_MESSAGES).contains(&self.max_messages) {
            return invalid("a data key encrypts 1 to 2^32 messages: set max_messages within that");
        }
        if !(1..=MOST_BYTES).contains(&self.max_bytes) {
            return invalid("a data key encrypts 1 to 2^63 - 1 bytes: set max_bytes within that");
        }
        if self.renew_before >= self.max_age {
            return invalid("entries would be renewed from the start: set renew_before below max_age");
        }
        Ok(())
    }
}
