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
//! loss (0.7). So batches are large here and there is no pool, and none of its drawbacks: between calls nothing runs,
//! waits or holds memory behind the program's back, and the caller chooses the number of threads for each call.

pub(crate) mod in_order;
#[cfg(feature = "fs")]
pub(crate) mod write_behind;

use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// The fewest bytes that justify a thread. Starting one takes as long as encrypting a tenth of this.
pub(crate) const MIN_BYTES_PER_THREAD: usize = 1 << 20;

/// Bytes in one job of a thread: few enough for all threads to finish at about the same time.
const JOB_LEN: usize = 256 << 10;

/// Does `jobs` on up to `threads` threads, including the caller's, and returns when all are done.
///
/// Jobs start in order, each on the next free thread.
pub(crate) fn on_threads<T: Send>(threads: usize, jobs: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        while let Some(job) = next() {
            work(job);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // If the system refuses a thread, the others do all the work.
            if thread::Builder::new().name("manila".to_owned()).spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
}

/// A pipeline of two stages: runs the iterator `first` on one thread and calls `second` with each of its items on
/// another, in order. Returns when all is done. If only one thread is available, it runs the stages one after the
/// other.
pub(crate) fn pipeline<T: Send>(first: impl Iterator<Item = T> + Send, second: impl FnMut(T) + Send) {
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
    on_threads(2, jobs.into_iter(), |job| job());
}

/// Returns the number of threads to use for this many bytes, of those that are allowed.
pub(crate) fn threads_for(allowed: usize, bytes: usize) -> usize {
    allowed.min(bytes / MIN_BYTES_PER_THREAD).max(1)
}

/// Returns the number of frames of `frame_len` bytes in one job.
pub(crate) fn frames_per_job(frame_len: usize) -> usize {
    (JOB_LEN / frame_len.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_job_is_done_once_on_any_number_of_threads() {
        for threads in [1, 2, 7] {
            let done = AtomicUsize::new(0);
            let mut slots = vec![0; 100];
            on_threads(threads, slots.iter_mut(), |slot| {
                *slot += 1;
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!((done.into_inner(), slots), (100, vec![1; 100]));
        }
    }

    #[test]
    fn the_caller_and_another_thread_can_wait_for_each_other() {
        // Hashing and encrypting wait for each other: jobs must run concurrently, or in order if there is only one
        // thread.
        for threads in [1, 2] {
            let (sender, receiver) = channel();
            let jobs: [Box<dyn FnOnce() + Send>; 2] = [
                Box::new(move || (0..10).for_each(|n| sender.send(n).unwrap())),
                Box::new(move || assert_eq!(receiver.iter().sum::<i32>(), 45)),
            ];
            on_threads(threads, jobs.into_iter(), |job| job());
        }
    }

    #[test]
    fn small_messages_use_one_thread() {
        assert_eq!(threads_for(8, 2 * MIN_BYTES_PER_THREAD - 1), 1);
        assert_eq!(threads_for(8, 3 * MIN_BYTES_PER_THREAD), 3);
        assert_eq!(threads_for(2, usize::MAX), 2);
        assert_eq!(threads_for(0, usize::MAX), 1);
    }
}
