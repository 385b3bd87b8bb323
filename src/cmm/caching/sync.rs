//! Locks and atomics: the standard library's, or shuttle's in the model (`model_tests`).

#[cfg(manila_shuttle)]
pub(super) use shuttle::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    sync::{Mutex, MutexGuard},
    thread::yield_now,
};
#[cfg(not(manila_shuttle))]
pub(super) use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    sync::{Mutex, MutexGuard},
    thread::yield_now,
};

/// Locks, even if another thread panicked while it held the lock: no operation leaves the data inconsistent.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
