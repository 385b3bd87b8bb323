//! Locks and atomics: the standard library's, or shuttle's where the cache is modelled (`model_tests`).

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

/// A lock, whether or not another thread panicked while it held it: nothing that is locked here is left half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
