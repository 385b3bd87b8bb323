//! One cached answer, and how much of it is used up.

use std::time::{Duration, SystemTime};

use manila_core::Clock;

use crate::cmm::caching::settings::CacheSettings;
use crate::cmm::caching::stats::Event;
use crate::materials::{DecryptionMaterials, EncryptionMaterials};

/// What is kept: shared with those who use it, and wiped when the last of them is done.
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

/// How much of a data key's limits is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uses {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Uses {
    /// Adds a message of `bytes`, or tells which limit leaves no room for it.
    pub(super) fn add(&mut self, bytes: u64, settings: &CacheSettings) -> Result<(), Event> {
        if self.messages >= settings.max_messages {
            return Err(Event::exhausted_by_messages);
        }
        let total = self.bytes.checked_add(bytes).filter(|total| *total <= settings.max_bytes);
        self.bytes = total.ok_or(Event::exhausted_by_bytes)?;
        self.messages = self.messages.saturating_add(1);
        Ok(())
    }

    /// Takes back a message of `bytes` that came to nothing.
    pub(super) fn take_back(&mut self, bytes: u64) {
        self.messages = self.messages.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// An answer in the cache.
#[derive(Debug)]
pub(super) struct Entry {
    answer: Answer,
    /// Tells this entry from another of the same id; that of a later answer is higher.
    pub(super) generation: u64,
    /// When it was last used, in uses of the cache.
    pub(super) used_at: u64,
    age: Age,
    /// None for an answer to decrypt with, which has no limits.
    uses: Option<Uses>,
    renewing: bool,
    /// The age from which on another renewal may be tried.
    renew_from: Duration,
}

/// The age of an entry, which begins when its answer is asked for: a call may take long, and whoever waits for it longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    made: Moment,
    /// The greatest age that any clock has told: a clock that is set back makes nothing younger.
    greatest: Duration,
    /// How often the cache had been cleared.
    clearings: u64,
}

impl Age {
    /// The age of what is being asked for at this moment, from a cache that was cleared so often.
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

    /// Whether an entry that is so old may no longer be used.
    pub(super) fn is_over(&mut self, settings: &CacheSettings) -> bool {
        self.now(&*settings.clock) >= settings.max_age
    }
}

/// A time by both clocks.
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

/// How an entry answers.
pub(super) enum Use {
    Hit(Answer),
    /// The same, to whoever is to renew the entry.
    Renew(Answer, Age),
    Gone(Event),
}

impl Entry {
    /// How often the cache had been cleared when the answer was asked for.
    pub(super) fn clearings(&self) -> u64 {
        self.age.clearings
    }

    /// An answer of this tick to what was asked for at the age's beginning, so much of which is used already.
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

    /// Tells whether the answer has no room for any other message.
    pub(super) fn is_used_up(&self, settings: &CacheSettings) -> bool {
        self.uses.is_some_and(|uses| uses.messages >= settings.max_messages)
    }

    /// Uses the answer for a message of `bytes`, if it may be.
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

    /// The renewal that this entry's user set out for has not come about.
    pub(super) fn put_off(&mut self, settings: &CacheSettings) {
        self.renewing = false;
        self.renew_from = self.age.now(&*settings.clock).saturating_add(settings.retry_after);
    }
}
