//! Time, as the store counts it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MILLIS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

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
