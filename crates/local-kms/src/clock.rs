//! Time, as the store counts it, and when a clock is not believed.
//!
//! What is past its deadline is removed for good, so a clock that runs ahead for one write would do harm. A write takes the
//! time from a clock that keeps pace with the monotonic one, and that is not too far past the last write of any program.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::store::Tables;
use manila_core::{Clock, Error, ErrorKind, Result};

const MILLIS_PER_DAY: u64 = 24 * 60 * 60 * 1000;
/// How far a clock may get ahead of the monotonic one between two writes.
const MAX_LEAP: u64 = MILLIS_PER_DAY;
/// How long a store may lie idle: ten years.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(3652 * 86_400);
/// Stands for the clock when it is known to be wrong.
const NO_ANCHOR: i64 = i64::MIN;

/// The clock of a handle.
#[derive(Debug)]
pub(super) struct StoreClock {
    clock: Arc<dyn Clock>,
    longest_pause: u64,
    /// The latest time of a call that was believed, in milliseconds: a clock that is set back changes nothing.
    high_water: AtomicU64,
    /// The time less the monotonic time when the clock was believed last.
    anchor: AtomicI64,
    /// How often the store's time had been set back when the high-water mark was begun.
    rewinds: AtomicU64,
}

/// Something that speaks against the time that a clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It left the monotonic clock.
    Leap,
    /// It is far past the last write.
    Pause,
}

impl StoreClock {
    pub(super) fn new(clock: Arc<dyn Clock>, longest_pause: Duration) -> Self {
        let longest_pause = u64::try_from(longest_pause.as_millis()).unwrap_or(u64::MAX);
        let (high_water, anchor, rewinds) = (AtomicU64::new(0), AtomicI64::new(NO_ANCHOR), AtomicU64::new(0));
        let new = Self { clock, longest_pause, high_water, anchor, rewinds };
        new.believe(new.shown());
        new
    }

    /// The time that the clock shows, in milliseconds since 1970.
    pub(super) fn shown(&self) -> u64 {
        to_millis(self.clock.now())
    }

    /// The time that a call begins at: none before that of an earlier call.
    pub(super) fn now(&self) -> u64 {
        self.high_water.load(Ordering::Acquire).max(self.shown())
    }

    /// The present for a call that began at `now`, and what speaks against it. What is past its deadline then is refused in
    /// any case; nothing is removed, and nothing is written, while there is a doubt.
    pub(super) fn present(&self, now: u64, tables: &impl Tables) -> (u64, Option<Doubt>) {
        let (shown, latest) = (self.shown(), tables.time());
        let mut now = now;
        if self.rewinds.swap(tables.rewinds(), Ordering::AcqRel) != tables.rewinds() {
            self.high_water.store(0, Ordering::Release);
            now = shown;
        }
        let now = now.max(latest);
        if shown.saturating_add(MAX_LEAP) < latest {
            // The clock is behind the store, as that of a board without a battery: its coming right will be no leap.
            self.anchor.store(NO_ANCHOR, Ordering::Release);
        } else if self.anchor.load(Ordering::Acquire) == NO_ANCHOR {
            self.believe(shown);
        }
        let doubt = self.doubt(now, latest);
        if doubt.is_none() {
            self.high_water.fetch_max(now, Ordering::AcqRel);
        }
        (now, doubt)
    }

    /// The present for a write that began at `now`.
    ///
    /// # Errors
    /// `ErrorKind::ClockUnconfirmed` if something speaks against it.
    pub(super) fn trust(&self, now: u64, tables: &impl Tables) -> Result<u64> {
        match self.present(now, tables) {
            (now, None) => {
                // The pace of a clock that is behind the store counts for nothing.
                if self.anchor.load(Ordering::Acquire) != NO_ANCHOR {
                    self.believe(now);
                }
                Ok(now)
            }
            (_, Some(doubt)) => Err(doubt.error()),
        }
    }

    /// Takes a time for right, and with it the pace of the clock from now on.
    pub(super) fn believe(&self, now: u64) {
        self.anchor.store(self.ahead(now), Ordering::Release);
    }

    /// Forgets the times of earlier calls, for the store's time was set back.
    pub(super) fn forget(&self) {
        self.high_water.store(0, Ordering::Release);
        self.believe(self.shown());
    }

    fn doubt(&self, now: u64, latest: u64) -> Option<Doubt> {
        // A store that was never written has no time to compare with.
        if latest > 0 && now.saturating_sub(latest) > self.longest_pause {
            return Some(Doubt::Pause);
        }
        let anchor = self.anchor.load(Ordering::Acquire);
        let leap = if anchor == NO_ANCHOR { 0 } else { self.ahead(now).saturating_sub(anchor) };
        // A time that another program has written at was believed, or confirmed, there.
        let is_leap = |leap: i64| u64::try_from(leap).is_ok_and(|leap| leap > MAX_LEAP);
        (is_leap(leap) && now.saturating_sub(latest) > MAX_LEAP).then_some(Doubt::Leap)
    }

    /// How much a time is ahead of the monotonic clock.
    fn ahead(&self, now: u64) -> i64 {
        let monotonic = i64::try_from(self.clock.monotonic().as_millis()).unwrap_or(i64::MAX);
        i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(monotonic)
    }
}

impl Doubt {
    fn error(self) -> Error {
        let what = match self {
            Self::Leap => "went ahead of the monotonic clock by more than a day since the last write",
            Self::Pause => "is further past the last write than the longest pause that is set for this store",
        };
        let detail = format!("the clock {what}, so nothing is written: set it right, or call confirm_clock if it is");
        Error::new(ErrorKind::ClockUnconfirmed, detail)
    }
}

/// Milliseconds since 1970; zero before.
pub(super) fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time that [`to_millis`] made the number of; 1970 for one out of all reason.
pub(super) fn from_millis(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

/// So many days after a time.
pub(super) fn days_after(millis: u64, days: u32) -> u64 {
    millis.saturating_add(u64::from(days).saturating_mul(MILLIS_PER_DAY))
}
