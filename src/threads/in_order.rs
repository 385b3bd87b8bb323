//! [`in_order`]: work on many items at once, with the results in the order of the items and a bounded number in memory.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use manila_core::Result;

/// The largest number of items for each thread that are waiting, at work, or done and not reported yet.
///
/// An item that takes long holds up the results behind it: with so many of them, the other threads go on for a while.
const WINDOW_PER_THREAD: usize = 16;

/// The number of waiting items for each thread down to which the caller is not woken for a result: it takes several
/// results at once then, and adds as many items. To wake it for each takes as long as to encrypt a kilobyte.
const LOW_PER_THREAD: usize = WINDOW_PER_THREAD / 2;

/// The time after which the caller looks for a result without being woken, at first and at most. Items that take long
/// are not kept from it for longer.
const PATIENCE: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(64)];

/// Does `work` on the items on this many threads, and calls `each` with every result, in the order of the items.
///
/// `items` and `each` run on the caller's thread, in turns, so they may share what is not `Sync`. An error of `each`
/// ends everything: the items at work are finished, and their results dropped. A panic of `work` comes out of this
/// function.
pub(crate) fn in_order<T: Send, U: Send>(
    threads: usize,
    items: impl Iterator<Item = T>,
    work: impl Fn(T) -> U + Sync,
    mut each: impl FnMut(U) -> Result<()>,
) -> Result<()> {
    let mut items = items.fuse();
    if threads <= 1 {
        return items.try_for_each(|item| each(work(item)));
    }
    let desk = Desk::new(threads.saturating_mul(LOW_PER_THREAD));
    thread::scope(|scope| {
        // In the scope, so that the threads end however this closure does.
        let _closing = Closing(&desk);
        let started = (0..threads).map_while(|_| {
            let run = || desk.work_on_all(&work);
            thread::Builder::new().name("manila".to_owned()).spawn_scoped(scope, run).ok()
        });
        let started = started.count();
        if started == 0 {
            // The system refuses threads.
            return items.try_for_each(|item| each(work(item)));
        }
        let window = started.saturating_mul(WINDOW_PER_THREAD);
        let (mut outstanding, mut is_exhausted) = (0_usize, false);
        loop {
            // What is done is reported before more is taken: the next item may be long in coming.
            if let Some(done) = desk.oldest_result(outstanding >= window || is_exhausted && outstanding > 0) {
                outstanding = outstanding.saturating_sub(1);
                each(done.unwrap_or_else(|payload| panic::resume_unwind(payload)))?;
            } else if is_exhausted {
                return Ok(());
            } else if let Some(item) = items.next() {
                desk.add(item);
                outstanding = outstanding.saturating_add(1);
            } else {
                is_exhausted = true;
            }
        }
    })
}

/// The items and results that the threads hand to each other.
struct Desk<T, U> {
    state: Mutex<State<T, U>>,
    item_added: Condvar,
    oldest_done: Condvar,
    /// The number of waiting items down to which the caller is not woken.
    low: usize,
}

struct State<T, U> {
    /// Items that no thread has taken yet, with their numbers.
    waiting: VecDeque<(u64, T)>,
    /// A place for the result of each item that has not been reported, oldest first.
    results: VecDeque<Option<thread::Result<U>>>,
    /// The number of the oldest of them.
    oldest: u64,
    is_closed: bool,
    /// The threads that wait for an item. Nobody else needs to be woken, which is a call of the system.
    idle: usize,
    /// True if the caller waits for the oldest result.
    is_awaited: bool,
}

impl<T, U> Desk<T, U> {
    fn new(low: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            results: VecDeque::new(),
            oldest: 0,
            is_closed: false,
            idle: 0,
            is_awaited: false,
        };
        Self { state: Mutex::new(state), item_added: Condvar::new(), oldest_done: Condvar::new(), low }
    }

    fn lock(&self) -> MutexGuard<'_, State<T, U>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, item: T) {
        let mut state = self.lock();
        let number = state.oldest.saturating_add(state.results.len() as u64);
        state.results.push_back(None);
        state.waiting.push_back((number, item));
        let is_wanted = state.idle > 0;
        drop(state);
        if is_wanted {
            self.item_added.notify_one();
        }
    }

    /// Takes the result of the oldest item; if asked for, waits until there is one.
    fn oldest_result(&self, wait: bool) -> Option<thread::Result<U>> {
        let mut state = self.lock();
        let [mut patience, most] = PATIENCE;
        while wait && matches!(state.results.front(), Some(None)) {
            state.is_awaited = true;
            (state, _) = self.oldest_done.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state.is_awaited = false;
            patience = patience.saturating_mul(2).min(most);
        }
        let done = state.results.front_mut()?.take()?;
        state.results.pop_front();
        state.oldest = state.oldest.saturating_add(1);
        Some(done)
    }

    fn work_on_all(&self, work: impl Fn(T) -> U) {
        while let Some((number, item)) = self.next_item() {
            // Nothing is used again after a panic, which `in_order` passes on.
            let done = panic::catch_unwind(AssertUnwindSafe(|| work(item)));
            let mut state = self.lock();
            let at = usize::try_from(number.saturating_sub(state.oldest)).unwrap_or(usize::MAX);
            if let Some(place) = state.results.get_mut(at) {
                *place = Some(done);
            }
            let is_done = matches!(state.results.front(), Some(Some(_)));
            let is_woken = is_done && state.is_awaited && state.waiting.len() <= self.low;
            drop(state);
            if is_woken {
                self.oldest_done.notify_one();
            }
        }
    }

    /// Waits for an item; returns `None` once there will be no more.
    fn next_item(&self) -> Option<(u64, T)> {
        let mut state = self.lock();
        loop {
            match state.waiting.pop_front() {
                None if !state.is_closed => {
                    state.idle = state.idle.saturating_add(1);
                    state = self.item_added.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.idle = state.idle.saturating_sub(1);
                }
                item => return item,
            }
        }
    }
}

/// Ends the threads when it is dropped: at the end, after an error, and after a panic.
struct Closing<'a, T, U>(&'a Desk<T, U>);

impl<T, U> Drop for Closing<'_, T, U> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        // Dropped without the lock: an item may do anything then.
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.0.item_added.notify_all();
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use manila_core::{Error, ErrorKind};

    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for threads in [0, 1, 2, 5] {
            let mut found = Vec::new();
            let work = |n: u64| {
                // The earlier of two neighbours takes longer.
                if n.is_multiple_of(2) {
                    thread::yield_now();
                }
                n * 2
            };
            in_order(threads, 0..1000, work, |n| {
                found.push(n);
                Ok(())
            })
            .unwrap();
            assert_eq!(found, (0..1000).map(|n| n * 2).collect::<Vec<_>>(), "{threads}");
        }
    }

    #[test]
    fn the_window_is_bounded_and_used() {
        const THREADS: usize = 3;
        let (live, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items = (0..2000).inspect(|_| {
            most.fetch_max(live.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        });
        // The first item ends once the window is full behind it.
        let work = |n| {
            while n == 0 && live.load(Ordering::SeqCst) < THREADS * WINDOW_PER_THREAD {
                thread::yield_now();
            }
        };
        in_order(THREADS, items, work, |()| {
            live.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        assert_eq!(most.into_inner(), THREADS * WINDOW_PER_THREAD);
    }

    #[test]
    fn all_threads_work_at_once() {
        let barrier = Barrier::new(4);
        in_order(4, 0..8, |_| barrier.wait(), |_| Ok(())).unwrap();
    }

    #[test]
    fn an_error_of_the_receiver_ends_it() {
        for threads in [1, 3] {
            let mut reported = 0;
            let error = in_order(
                threads,
                0..,
                |n: u64| n,
                |n| {
                    reported += 1;
                    if n == 5 { Err(Error::new(ErrorKind::InvalidInput, "enough")) } else { Ok(()) }
                },
            )
            .unwrap_err();
            assert_eq!((error.kind(), reported), (ErrorKind::InvalidInput, 6), "{threads}");
        }
    }

    #[test]
    fn a_panic_of_the_work_or_of_the_items_or_of_the_receiver_comes_out() {
        let at = |where_it_is: &'static str| {
            move || {
                let items = (0..).inspect(move |n| assert!(where_it_is != "items" || *n < 50, "items"));
                let work = |n: u64| assert!(where_it_is != "work" || n != 50, "work");
                let mut left = 50;
                in_order(3, items, work, |()| {
                    left -= 1;
                    assert!(where_it_is != "each" || left > 0, "each");
                    Ok(())
                })
            }
        };
        for place in ["items", "work", "each"] {
            let payload = panic::catch_unwind(AssertUnwindSafe(at(place))).unwrap_err();
            assert_eq!(payload.downcast_ref::<&str>(), Some(&place));
        }
    }
}
