//! The store's time, and checks of the clock.
//!
//! Keys and material past their deadline are permanently removed, so a clock that is ahead during a single write would
//! do harm. A write accepts the clock only if it keeps pace with the monotonic clock and is not too far past the last
//! write of any program.
//!
//! The pace is measured from the lowest lead over the monotonic clock. Every call may lower it, and only a commit, of
//! this or another program, raises it. So a clock cannot get ahead in small steps, nor by first being set back.
//!
//! The present is the later of the clock's time and the store's time, determined at each look. Nothing else is
//! remembered: a time that was only read has no effect once the clock is corrected.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::store::Tables;
use manila_core::{Clock, Error, ErrorKind, Result};

const MILLIS_PER_DAY: u64 = 24 * 60 * 60 * 1000;
/// The maximum by which a clock may get ahead of the monotonic clock between two writes.
const MAX_LEAP: u64 = MILLIS_PER_DAY;
/// The longest accepted time between two writes: ten years.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(3652 * 86_400);

/// The clock of a handle.
#[derive(Debug)]
pub(super) struct StoreClock {
    clock: Arc<dyn Clock>,
    longest_pause: u64,
    /// `None` until the first look at the store.
    pace: Mutex<Option<Pace>>,
}

/// The pace of a clock. It is valid until the store's time is set back.
#[derive(Debug)]
struct Pace {
    /// The number of times that the store's time had been set back.
    rewinds: u64,
    /// The lowest lead over the monotonic clock since the last commit, in milliseconds.
    ahead: i64,
    /// The monotonic time of the last look, in milliseconds.
    looked: u64,
}

/// The time that a look at the clock and the store finds.
#[derive(Debug)]
pub(super) struct Present {
    /// Milliseconds since 1970.
    pub(super) time: u64,
    /// A doubt about the time. While there is one, nothing is removed or written; keys past their deadline are refused
    /// in any case.
    pub(super) doubt: Option<Doubt>,
    rewinds: u64,
}

/// A reason to doubt the time that a clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It is no longer in step with the monotonic clock.
    Leap,
    /// It is too far past the last write.
    Pause,
}

impl StoreClock {
    pub(super) fn new(clock: Arc<dyn Clock>, longest_pause: Duration) -> Self {
        Self { clock, longest_pause: to_number(longest_pause), pace: Mutex::default() }
    }

    /// Returns the time that the clock shows, in milliseconds since 1970.
    pub(super) fn shown(&self) -> u64 {
        to_millis(self.clock.now())
    }

    /// Returns the present, and the doubt about it.
    pub(super) fn present(&self, tables: &impl Tables) -> Present {
        let (latest, rewinds) = (tables.time(), tables.rewinds());
        let time = self.shown().max(latest);
        let monotonic = to_number(self.clock.monotonic());
        // A clock that is behind the store, such as that of a board without a battery, is treated as one that stands
        // still.
        let (lowest, highest) = (ahead(latest, monotonic), ahead(time, monotonic));
        let mut known = self.pace();
        let pace = known.get_or_insert(Pace { rewinds, ahead: highest, looked: monotonic });
        if rewinds > pace.rewinds {
            // The store's time was set back after the last look, to a time that is not later than its present one.
            *pace = Pace { rewinds, ahead: ahead(latest, pace.looked), looked: pace.looked };
        }
        // A reader may look at a snapshot from before the time was set back, which says nothing about the pace since.
        if rewinds == pace.rewinds {
            pace.ahead = pace.ahead.min(highest).max(lowest);
            pace.looked = pace.looked.max(monotonic);
        }
        let leap = u64::try_from(highest.saturating_sub(pace.ahead)).unwrap_or(0);
        drop(known);
        // A store that was never written has no time to compare with the clock.
        let doubt = if latest > 0 && time.saturating_sub(latest) > self.longest_pause {
            Some(Doubt::Pause)
        } else {
            (leap > MAX_LEAP).then_some(Doubt::Leap)
        };
        Present { time, doubt, rewinds }
    }

    /// Returns the present for a write.
    ///
    /// # Errors
    /// `ErrorKind::ClockUnconfirmed` if there is a doubt about it.
    pub(super) fn trust(&self, tables: &impl Tables) -> Result<Present> {
        let present = self.present(tables);
        present.doubt.map_or(Ok(present), |doubt| Err(doubt.error()))
    }

    /// Accepts a time that was committed, and with it the pace of the clock.
    pub(super) fn believe(&self, committed: &Present) {
        let monotonic = to_number(self.clock.monotonic());
        if let Some(pace) = self.pace().as_mut().filter(|pace| pace.rewinds == committed.rewinds) {
            pace.ahead = pace.ahead.max(ahead(committed.time, monotonic));
        }
    }

    fn pace(&self) -> MutexGuard<'_, Option<Pace>> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Doubt {
    fn error(self) -> Error {
        let what = match self {
            Self::Leap => "went ahead of the monotonic clock by more than a day since the last write",
            Self::Pause => "is past the last write by more than the longest pause that this handle accepts",
        };
        let detail = format!("the clock {what}, so writes fail: correct it, or call confirm_clock if it is right");
        Error::new(ErrorKind::ClockUnconfirmed, detail)
    }
}

/// Returns how much a time is ahead of the monotonic clock.
fn ahead(now: u64, monotonic: u64) -> i64 {
    let of = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    of(now).saturating_sub(of(monotonic))
}

fn to_number(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the milliseconds since 1970, or zero for an earlier time.
pub(super) fn to_millis(time: SystemTime) -> u64 {
    to_number(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Returns the time of a number of milliseconds since 1970, or 1970 if the number is out of range.
pub(super) fn from_millis(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

/// Returns the time `days` days after another.
pub(super) fn days_after(millis: u64, days: u32) -> u64 {
    millis.saturating_add(u64::from(days).saturating_mul(MILLIS_PER_DAY))
}

#[cfg(test)]
pub(crate) mod for_tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use manila_core::Clock;

    /// A clock that stands still until it is moved, by whole days.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Days(pub(crate) Arc<AtomicU64>);

    impl Clock for Days {
        fn now(&self) -> SystemTime {
            UNIX_EPOCH + Duration::from_secs(20_000 * 86_400) + self.monotonic()
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::SeqCst) * 86_400)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::local_kms::LocalKms;
    use crate::record::key::CreateKey;

    const DAY: u64 = MILLIS_PER_DAY;
    const BEGIN: u64 = 2_000_000_000_000;

    /// Shows a time in milliseconds, which does not pass by itself.
    #[derive(Clone, Debug)]
    struct Shown {
        time: Arc<AtomicU64>,
        /// A KMS whose time is set back, as by a call in between, after this many further looks at the clock.
        correcting: Arc<Mutex<Option<(LocalKms, usize)>>>,
    }

    impl Shown {
        fn show(&self, time: u64) {
            self.time.store(time, Ordering::SeqCst);
        }
    }

    impl Clock for Shown {
        fn now(&self) -> SystemTime {
            let shown = self.time.load(Ordering::SeqCst);
            let mut correcting = self.correcting.lock().unwrap();
            let due = match correcting.as_mut() {
                Some((_, looks @ 1..)) => {
                    *looks -= 1;
                    None
                }
                _ => correcting.take(),
            };
            drop(correcting);
            if let Some((kms, _)) = due {
                self.show(BEGIN);
                kms.set_time_back().unwrap();
            }
            from_millis(shown)
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn in_memory() -> (LocalKms, Shown) {
        let shown = Shown { time: Arc::new(AtomicU64::new(BEGIN)), correcting: Arc::default() };
        let kms = LocalKms::builder().clock(shown.clone()).in_memory().unwrap();
        kms.create_key(CreateKey::default()).unwrap();
        (kms, shown)
    }

    fn is_refused(kms: &LocalKms) -> bool {
        kms.create_key(CreateKey::default()).is_err_and(|error| error.kind() == ErrorKind::ClockUnconfirmed)
    }

    #[test]
    fn calls_under_way_do_not_undo_that_the_time_was_set_back() {
        let (kms, shown) = in_memory();
        // The call looks at the clock when it begins, and when it determines what is overdue.
        for (ahead, looks) in [(DAY - 1, 0), (DAY - 1, 1), (400 * DAY, 0), (400 * DAY, 1)] {
            shown.show(BEGIN + ahead);
            kms.confirm_clock().unwrap();
            *shown.correcting.lock().unwrap() = Some((kms.clone(), looks));
            let created = kms.create_key(CreateKey::default()).unwrap().created();
            assert!(shown.correcting.lock().unwrap().is_none());
            assert_eq!(to_millis(created), BEGIN);
            assert_eq!(kms.shared.store.read(|tables| Ok(tables.time())).unwrap(), BEGIN);
        }
    }

    #[test]
    fn a_reader_of_the_store_of_before_says_nothing_of_what_holds_since() {
        let (kms, shown) = in_memory();
        shown.show(BEGIN + 400 * DAY);
        kms.confirm_clock().unwrap();
        let read = kms.shared.store.read(|before| {
            shown.show(BEGIN);
            kms.set_time_back().unwrap();
            kms.list_keys().unwrap();
            Ok(kms.shared.clock.present(before).time)
        });
        assert_eq!(read.unwrap(), BEGIN + 400 * DAY, "what it reads is of that time");
        shown.show(BEGIN + 400 * DAY);
        assert!(is_refused(&kms));
    }

    #[test]
    fn readers_do_not_wait_for_a_writer_when_the_clock_is_in_doubt() {
        let (kms, shown) = in_memory();
        let key = kms.create_key(CreateKey::default()).unwrap();
        let doomed = kms.create_key(CreateKey::default()).unwrap();
        kms.schedule_key_deletion_in(doomed.arn(), 7).unwrap();
        shown.show(BEGIN + 400 * DAY);
        let (send, receive) = mpsc::channel();
        let reader = kms.clone();
        let described = kms.shared.store.write(|_| {
            let calls = thread::spawn(move || {
                let found = [&key, &doomed].map(|key| reader.describe_key(key.arn()).is_ok());
                send.send(found).unwrap();
            });
            let described = receive.recv_timeout(Duration::from_secs(60)).expect("they wait");
            calls.join().unwrap();
            Ok(described)
        });
        assert_eq!(described.unwrap(), [true, false]);
    }

    #[test]
    fn what_could_not_be_committed_says_nothing_of_the_clock() {
        let (kms, shown) = in_memory();
        shown.show(BEGIN + DAY - 1);
        assert!(kms.shared.write_now(|_, _| Err::<(), _>(Doubt::Leap.error())).is_err());
        shown.show(BEGIN + DAY + 1);
        assert!(is_refused(&kms));
        shown.show(BEGIN + DAY);
        assert!(!is_refused(&kms));
    }
}
