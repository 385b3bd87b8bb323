//! The source of time for caches and key stores.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// A source of time. Tests can provide their own.
pub trait Clock: Send + Sync + Debug {
    /// Returns the time of day, in UTC. It may jump, also backwards.
    fn now(&self) -> SystemTime;

    /// Returns the time since some fixed moment; it never goes back. By default, the time since the first call in this
    /// process.
    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
