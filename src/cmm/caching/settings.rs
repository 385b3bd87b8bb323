//! [`CacheSettings`]: the limits of a cache.

use std::sync::Arc;
use std::time::Duration;

use manila_core::{Clock, Error, ErrorKind, Result, SystemClock};

/// The maximum number of messages under one data key, and the default. Source: the ESDK specification,
/// `framework/caching-cmm.md`.
const MOST_MESSAGES: u64 = 1 << 32;
/// The maximum number of bytes under one data key, and the default. Source: as above.
const MOST_BYTES: u64 = (1 << 63) - 1;
/// The default time between a failed renewal and the next one.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The limits of a cache of data keys.
///
/// There is no default age: the program must decide how long a data key may be used, and how long a key that was
/// disabled in the KMS still decrypts messages.
///
/// ```
/// use std::time::Duration;
///
/// use manila::cmm::CacheSettings;
///
/// let five_minutes = Duration::from_secs(300);
/// let limits = CacheSettings::new(1000, five_minutes).max_messages(10_000).renew_before(Duration::from_secs(30));
/// # let _ = limits;
/// ```
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
    /// Returns settings for at most `capacity` entries, which are used until they are `max_age` old. An entry's age
    /// begins when its data key is asked for, and is the greater of the ages by the monotonic clock and by the time of
    /// day.
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

    /// Sets the maximum number of messages to encrypt under one data key. Defaults to 2^32, which is also the highest
    /// value.
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.max_messages = messages;
        self
    }

    /// Sets the maximum number of plaintext bytes to encrypt under one data key. Defaults to 2^63 - 1, which is also
    /// the highest value.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Renews an entry this long before it expires: one caller asks for a new data key while the others use the old
    /// one. If that fails the old one is used until it expires. Off by default.
    pub fn renew_before(mut self, grace: Duration) -> Self {
        self.renew_before = grace;
        self
    }

    /// Sets the time between a failed renewal and the next one. Defaults to 5 seconds.
    pub fn retry_renewal_after(mut self, interval: Duration) -> Self {
        self.retry_after = interval;
        self
    }

    /// Sets the clock. Defaults to [`SystemClock`].
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
            return invalid("a data key encrypts 1 to 2^32 messages: set max_messages within that range");
        }
        if !(1..=MOST_BYTES).contains(&self.max_bytes) {
            return invalid("a data key encrypts 1 to 2^63 - 1 bytes: set max_bytes within that range");
        }
        if self.renew_before >= self.max_age {
            return invalid("entries would be renewed from the start: set renew_before below max_age");
        }
        Ok(())
    }
}
