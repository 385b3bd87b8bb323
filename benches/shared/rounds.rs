//! Rates of variants that take turns, so that whatever else the machine does falls on all of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The time that a variant runs in one round: less than a scheduler's slice, so that most turns are undisturbed.
const TURN: Duration = Duration::from_millis(3);

/// The time for which several threads are kept busy before they begin: kernels start a thread on the processor of its
/// parent, and some, on virtual machines above all, move it to a free one only after a dozen milliseconds.
const SPREAD: Duration = Duration::from_millis(30);

/// Work on a number of threads: it is told which thread it is on, and how often to do it.
#[derive(Clone, Copy)]
pub struct Variant<'a> {
    threads: usize,
    work: &'a (dyn Fn(usize, u64) + Sync),
}

impl<'a> Variant<'a> {
    pub fn new(threads: usize, work: &'a (dyn Fn(usize, u64) + Sync)) -> Self {
        Self { threads, work }
    }

    /// So many times that it takes a turn.
    fn count(&self) -> u64 {
        // The first time of all may fill a cache.
        time(self.threads, 1, self.work);
        let mut count = 1;
        let quickest = |count| (0..5).map(|_| time(self.threads, count, self.work)).min();
        while quickest(count) < Some(TURN) {
            count *= 2;
        }
        count
    }
}

/// The rate of each variant, per second and all threads together, in each round.
pub fn take_turns(rounds: usize, variants: &[Variant<'_>]) -> Vec<Vec<f64>> {
    let counts: Vec<_> = variants.iter().map(Variant::count).collect();
    let rate = |(variant, count): (&Variant<'_>, &u64)| {
        (variant.threads as u64 * count) as f64 / time(variant.threads, *count, variant.work).as_secs_f64()
    };
    (0..rounds).map(|_| variants.iter().zip(&counts).map(rate).collect()).collect()
}

pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Measures `threads` threads that do the work `count` times each, from the first to start to the last to end.
pub fn time(threads: usize, count: u64, work: &(dyn Fn(usize, u64) + Sync)) -> Duration {
    let ready = AtomicUsize::new(0);
    let spread = Instant::now() + if threads > 1 { SPREAD } else { Duration::ZERO };
    let run = |thread| {
        ready.fetch_add(1, Ordering::Relaxed);
        while ready.load(Ordering::Relaxed) < threads || Instant::now() < spread {
            std::hint::spin_loop();
        }
        let started = Instant::now();
        work(thread, count);
        (started, Instant::now())
    };
    let times: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let first = times.iter().map(|(started, _)| *started).min().unwrap();
    let last = times.iter().map(|(_, ended)| *ended).max().unwrap();
    last - first
}
