//! Several threads for the frames of one message, and for many messages.
//!
//! ```text
//! threads   the frames of one message
//! in_order  many messages, with the results in their order
//! ```
//!
//! Threads are scoped: they are started for one call, or for one batch of a stream, and end with it. A pool (`rayon`)
//! was measured for comparison, over a stream of 1 GiB on two cores. With batches of 4 MiB, either encrypts 1.7 times
//! as fast as one thread. With batches of 512 KiB the pool still reaches 1.6, and starting threads for each batch is a
//! loss (0.7). So batches are large here and there is no pool of the library's, and none of its drawbacks: between
//! calls nothing runs, waits or holds memory behind the program's back. A program that has a pool lends it:
//! [`ThreadPool`].

pub(crate) mod in_order;
#[cfg(feature = "fs")]
pub(crate) mod write_behind;

use std::fmt;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The fewest bytes that justify a thread. Starting one takes as long as encrypting a tenth of this.
pub(crate) const MIN_BYTES_PER_THREAD: usize = 1 << 20;

/// Bytes in one job of a thread: few enough for all threads to finish at about the same time.
const JOB_LEN: usize = 256 << 10;

/// Threads of the program's own, for a client to work on instead of starting some for each call: those of a server,
/// say.
///
/// Give it to a client with [`ClientBuilder::thread_pool`](crate::ClientBuilder::thread_pool).
///
/// ```
/// use manila::keyring::RawAesKeyring;
/// use manila::{Client, ThreadPool};
///
/// struct Rayon(rayon::ThreadPool);
///
/// impl ThreadPool for Rayon {
///     fn run(&self, calls: usize, work: &(dyn Fn() + Sync)) {
///         self.0.in_place_scope(|scope| (0..calls).for_each(|_| scope.spawn(|_| work())));
///     }
/// }
///
/// let pool = Rayon(rayon::ThreadPoolBuilder::new().num_threads(2).build()?);
/// let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
/// let client = Client::builder(keyring).threads(2).thread_pool(pool).build()?;
/// # let message = client.encrypt(&vec![7; 3 << 20], &manila::EncryptionContext::empty())?;
/// # assert_eq!(client.decrypt(&message, manila::ExpectedContext::any())?.plaintext.len(), 3 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ThreadPool: Send + Sync {
    /// Calls `work` up to `calls` times, each on a thread of its own if there are as many free, and returns when all
    /// calls have returned.
    ///
    /// Each call does jobs until none is left, and returns at once if there are none. So it does no harm if calls are
    /// made one after the other, or fewer of them: the thread that calls this function does what is left. `work` never
    /// calls this function.
    ///
    /// A panic of `work` should come out of this function. If it does not, one comes out of the call of the client.
    fn run(&self, calls: usize, work: &(dyn Fn() + Sync));
}

/// The threads that a client may use.
#[derive(Clone)]
pub(crate) struct Workers {
    /// Including the caller's; at least 1.
    pub(crate) threads: usize,
    /// To take them from, instead of starting them.
    pub(crate) pool: Option<Arc<dyn ThreadPool>>,
}

impl Workers {
    /// The caller's thread alone.
    pub(crate) const fn one() -> Self {
        Self { threads: 1, pool: None }
    }

    /// Returns as many of these threads as this number of bytes justifies.
    pub(crate) fn for_bytes(&self, bytes: usize) -> Self {
        match self.threads.min(bytes / MIN_BYTES_PER_THREAD) {
            0 | 1 => Self::one(),
            threads => Self { threads, pool: self.pool.clone() },
        }
    }

    /// Does `jobs`, on the caller's thread too, and returns when all are done.
    ///
    /// Jobs start in order, each on the next free thread.
    pub(crate) fn run<T: Send>(&self, jobs: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
        let jobs = Mutex::new(jobs);
        let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
        let unfinished = AtomicUsize::new(0);
        let run = || {
            while let Some(job) = next() {
                unfinished.fetch_add(1, Ordering::Relaxed);
                work(job);
                unfinished.fetch_sub(1, Ordering::Relaxed);
            }
        };
        if let Some(pool) = self.pool.as_ref().filter(|_| self.threads > 1) {
            pool.run(self.threads, &run);
            // What the pool may have left.
            run();
            if unfinished.into_inner() > 0 {
                // Otherwise what was not done would count as done.
                panic::resume_unwind(Box::new(
                    "a job panicked on a thread of the pool, which kept the panic to itself",
                ));
            }
            return;
        }
        thread::scope(|scope| {
            for _ in 1..self.threads {
                // If the system refuses a thread, the others do all the work.
                if thread::Builder::new().name("manila".to_owned()).spawn_scoped(scope, run).is_err() {
                    break;
                }
            }
            run();
        });
    }

    /// Runs a pipeline of two stages: the iterator `first` on one thread, and `second` with each of its items on
    /// another, in order. Returns when all is done. If only one thread is available, it runs the stages one after the
    /// other.
    pub(crate) fn pipeline<T: Send>(&self, first: impl Iterator<Item = T> + Send, second: impl FnMut(T) + Send) {
        let (sender, receiver) = channel();
        let jobs: [Box<dyn FnOnce() + Send + '_>; 2] = [
            Box::new(move || {
                for item in first {
                    // This cannot fail: the receiver lives until the sender is dropped.
                    let _ = sender.send(item);
                }
            }),
            Box::new(move || receiver.into_iter().for_each(second)),
        ];
        // In this order, so that a single thread does not wait for itself.
        let two = Self { threads: 2, pool: self.pool.clone() };
        two.run(jobs.into_iter(), |job| job());
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.pool.is_some() { "a pool" } else { "its own" };
        write!(f, "{} of {of}", self.threads)
    }
}

/// Returns the number of frames of `frame_len` bytes in one job.
pub(crate) fn frames_per_job(frame_len: usize) -> usize {
    (JOB_LEN / frame_len.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool that calls the work one time after the other on a single other thread, so many times.
    struct Fixed(usize);

    impl ThreadPool for Fixed {
        fn run(&self, _: usize, work: &(dyn Fn() + Sync)) {
            thread::scope(|scope| {
                scope.spawn(|| (0..self.0).for_each(|_| work()));
            });
        }
    }

    /// Threads of each kind.
    fn all_kinds() -> Vec<Workers> {
        let of_pool = |calls| Workers { threads: 3, pool: Some(Arc::new(Fixed(calls)) as Arc<dyn ThreadPool>) };
        let started = |threads| Workers { threads, pool: None };
        vec![started(1), started(2), started(7), of_pool(0), of_pool(1), of_pool(5)]
    }

    #[test]
    fn every_job_is_done_once_on_any_threads() {
        for workers in all_kinds() {
            let done = AtomicUsize::new(0);
            let mut slots = vec![0; 100];
            workers.run(slots.iter_mut(), |slot| {
                *slot += 1;
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!((done.into_inner(), slots), (100, vec![1; 100]), "{workers:?}");
        }
    }

    #[test]
    fn a_pool_does_the_work_on_its_threads() {
        let (caller, elsewhere) = (thread::current().id(), AtomicUsize::new(0));
        let workers = Workers { threads: 2, pool: Some(Arc::new(Fixed(1))) };
        workers.run(0..100, |_| {
            elsewhere.fetch_add(usize::from(thread::current().id() != caller), Ordering::Relaxed);
        });
        assert_eq!(elsewhere.into_inner(), 100);
    }

    #[test]
    fn a_panic_that_a_pool_keeps_to_itself_comes_out() {
        struct Quiet;

        impl ThreadPool for Quiet {
            fn run(&self, _: usize, work: &(dyn Fn() + Sync)) {
                let _ = panic::catch_unwind(panic::AssertUnwindSafe(work));
            }
        }

        let workers = Workers { threads: 2, pool: Some(Arc::new(Quiet)) };
        let done = AtomicUsize::new(0);
        let work = |n| {
            assert_ne!(n, 5, "told to");
            done.fetch_add(1, Ordering::Relaxed);
        };
        assert!(panic::catch_unwind(panic::AssertUnwindSafe(|| workers.run(0..10, work))).is_err());
        assert_eq!(done.into_inner(), 9, "the others are done");
    }

    #[test]
    fn the_stages_of_a_pipeline_run_in_order_on_any_threads() {
        for workers in all_kinds() {
            let mut found = Vec::new();
            workers.pipeline(0..1000, |n| found.push(n));
            assert_eq!(found, (0..1000).collect::<Vec<_>>(), "{workers:?}");
        }
    }

    #[test]
    fn small_messages_use_one_thread() {
        let threads = |allowed, bytes| Workers { threads: allowed, pool: None }.for_bytes(bytes).threads;
        assert_eq!(threads(8, 2 * MIN_BYTES_PER_THREAD - 1), 1);
        assert_eq!(threads(8, 3 * MIN_BYTES_PER_THREAD), 3);
        assert_eq!(threads(2, usize::MAX), 2);
        assert_eq!(threads(0, usize::MAX), 1);
    }
}
