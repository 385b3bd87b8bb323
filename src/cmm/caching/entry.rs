//! A cached answer, and how much of its limits is used up.

use std::time::{Duration, SystemTime};

use manila_core::Clock;

use crate::cmm::caching::settings::CacheSettings;
use crate::cmm::caching::stats::Event;
use crate::materials::{DecryptionMaterials, EncryptionMaterials};

/// A cached answer, shared with its users and zeroized when the last of them is done.
#[derive(Debug)]
pub(super) enum Answer {
    Encryption(EncryptionMaterials),
    Decryption(DecryptionMaterials),
}

impl Answer {
    pub(super) fn share(&self) -> Self {
        match self {
            Self::Encryption(materials) => Self::Encryption(materials.share()),
            Self::Decryption(DecryptionMaterials { data_key }) => {
                Self::Decryption(DecryptionMaterials { data_key: data_key.clone() })
            }
        }
    }
}

/// The part of a data key's limits that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Uses {
    /// Adds a message of `bytes`, or returns the limit that has no room for it.
    pub(super) fn add(&mut self, bytes: u64, settings: &CacheSettings) -> Result<(), Event> {
        if self.messages >= settings.max_messages {
            return Err(Event::exhausted_by_messages);
        }
        let total = self.bytes.checked_add(bytes).filter(|total| *total <= settings.max_bytes);
        self.bytes = total.ok_or(Event::exhausted_by_bytes)?;
        self.messages = self.messages.saturating_add(1);
        Ok(())
    }

    /// Takes back a message of `bytes` that was not encrypted.
    pub(super) fn take_back(&mut self, bytes: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// An entry of the cache.
#[derive(Debug)]
pub(super) struct Entry {
    answer: Answer,
    /// Distinguishes entries with the same id; a later answer has a higher one.
    pub(super) generation: u64,
    /// The time of the last use, counted in uses of the cache.
    pub(super) used_at: u64,
    age: Age,
    /// `None` for a data key to decrypt, which has no limits.
    uses: Option<Uses>,
    renewing: bool,
    /// The age at which the next renewal may be tried.
    renew_from: Duration,
}

/// The age of an entry, which begins when its answer is asked for: the call may take long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    made: Moment,
    /// The greatest age seen by any clock: a clock that is set back does not make an entry younger.
    greatest: Duration,
    /// The number of times the cache had been cleared.
    clearings: u64,
}

impl Age {
    /// Returns the age of something that is asked for now, from a cache that was cleared so many times.
    pub(super) fn new(clock: &dyn Clock, clearings: u64) -> Self {
        Self { made: Moment::now(clock), greatest: Duration::ZERO, clearings }
    }

    fn now(&mut self, clock: &dyn Clock) -> Duration {
        let now = Moment::now(clock);
        let monotonic = now.monotonic.saturating_sub(self.made.monotonic);
        let wall = now.wall.duration_since(self.made.wall).unwrap_or_default();
        self.greatest = self.greatest.max(monotonic).max(wall);
        self.greatest
    }

    /// Returns whether an entry of this age can no longer be used.
    pub(super) fn is_over(&mut self, settings: &CacheSettings) -> bool {
        self.now(&*settings.clock) >= settings.max_age
    }
}

/// A time of both clocks.
#[derive(Clone, Copy, Debug)]
struct Moment {
    monotonic: Duration,
    wall: SystemTime,
}

impl Moment {
    fn now(clock: &dyn Clock) -> Self {
        Self { monotonic: clock.monotonic(), wall: clock.now() }
    }
}

/// The result of using an entry.
pub(super) enum Use {
    Hit(Answer),
    /// The same, and the user is to renew the entry.
    Renew(Answer, Age),
    Gone(Event),
}

impl Entry {
    /// The number of times the cache had been cleared when the answer was asked for.
    pub(super) fn clearings(&self) -> u64 {
        self.age.clearings
    }

    /// Returns an entry for an answer that arrived at this tick, part of whose limits may be used up already.
    pub(super) fn new(answer: Answer, tick: u64, age: Age, uses: Option<Uses>, settings: &CacheSettings) -> Self {
        Self {
            answer,
            generation: tick,
            used_at: tick,
            age,
            uses,
            renewing: false,
            renew_from: settings.max_age.saturating_sub(settings.renew_before),
        }
    }

    /// Returns whether the answer has no room for another message.
    pub(super) fn is_used_up(&self, settings: &CacheSettings) -> bool {
        self.uses.is_some_and(|uses| uses.messages >= settings.max_messages)
    }

    /// Uses the answer for a message of `bytes`, if the limits allow it.
    pub(super) fn take(&mut self, bytes: u64, settings: &CacheSettings) -> Use {
        if self.age.is_over(settings) {
            return Use::Gone(Event::expired);
        }
        if let Some(Err(why)) = self.uses.as_mut().map(|uses| uses.add(bytes, settings)) {
            return Use::Gone(why);
        }
        if !settings.renew_before.is_zero() && self.age.greatest >= self.renew_from && !self.renewing {
            self.renewing = true;
            return Use::Renew(self.answer.share(), self.age);
        }
        Use::Hit(self.answer.share())
    }

    /// Notes that a renewal of this entry failed.
    pub(super) fn put_off(&mut self, settings: &CacheSettings) {
        self.renewing = false;
        self.renew_from = self.age.now(&*settings.clock).saturating_add(settings.retry_after);
    }
}
