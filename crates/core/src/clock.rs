//! Time, for those that keep keys and must know how old they are.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// Where the time is from. Tests bring their own.
pub trait Clock: Send + Sync + Debug {
    /// The time of day, in UTC. It may jump, back too.
    fn now(&self) -> SystemTime;

    /// The time since some moment in the past; it never goes back. Unless said otherwise, since the program's first
    /// call.
    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
