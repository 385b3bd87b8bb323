//! The frames of one message on several threads.
//!
//! Threads are scoped: they are started for a call, or for a batch of a stream, and end with it. A pool (`rayon`) was
//! measured beside them: over a stream of 1 GiB on two cores, sealing in batches of 4 MiB went 1.7 times as fast as on
//! one thread with either; in batches of 512 KiB the pool still had 1.6, and threads that are started anew lose (0.7).
//! So batches are large here, and no pool is kept, nor what it would bring along: nothing runs, waits or holds memory
//! behind the back of a program between its calls, and the number of threads is the caller's to say, call by call.

use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Bytes that are worth a thread of their own: starting one costs as much as sealing a tenth of this.
pub(crate) const WORTH_A_THREAD: usize = 1 << 20;

/// Bytes that a thread takes up at a time: few enough that all end at about the same moment.
const PIECE: usize = 256 << 10;

/// Does `jobs` on up to `threads` threads, the caller's among them, and returns when all are done.
///
/// They are taken up in order, each by whichever thread is free.
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
            // Where the system gives no thread, those that there are do all the work.
            if thread::Builder::new().name("manila".to_owned()).spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
}

/// Goes through `steps` on one thread and does `then` with what each yields on another, in order, and returns when all is
/// done. With one thread alone it does one after the other.
pub(crate) fn followed<T: Send>(steps: impl Iterator<Item = T> + Send, then: impl FnMut(T) + Send) {
    let (done, to_follow) = channel();
    let jobs: [Box<dyn FnOnce() + Send + '_>; 2] = [
        Box::new(move || {
            for step in steps {
                // It goes on being received until this end is dropped.
                let _ = done.send(step);
            }
        }),
        Box::new(move || to_follow.into_iter().for_each(then)),
    ];
    // In this order, so that one thread alone does not wait for itself.
    on_threads(2, jobs.into_iter(), |job| job());
}

/// How many threads so much work is worth, of those that are allowed.
pub(crate) fn worthwhile(allowed: usize, bytes: usize) -> usize {
    allowed.min(bytes / WORTH_A_THREAD).max(1)
}

/// How many frames of `frame_len` bytes a thread takes up at a time.
pub(crate) fn frames_at_a_time(frame_len: usize) -> usize {
    (PIECE / frame_len.max(1)).max(1)
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
        // Which hashing and sealing do: jobs must really run side by side, or in order where there is one thread.
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
    fn small_work_is_worth_no_thread() {
        assert_eq!(worthwhile(8, 2 * WORTH_A_THREAD - 1), 1);
        assert_eq!(worthwhile(8, 3 * WORTH_A_THREAD), 3);
        assert_eq!(worthwhile(2, usize::MAX), 2);
        assert_eq!(worthwhile(0, usize::MAX), 1);
    }
}
