//! A lock that lets only one call at a time perform overdue changes.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// A lock held by the call that performs overdue changes, so that the other calls of a handle do not wait for a write
/// transaction.
#[derive(Debug, Default)]
pub(super) struct Settling(Mutex<()>);

impl Settling {
    pub(super) fn begin(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock, unless another call holds it.
    pub(super) fn try_begin(&self) -> Option<MutexGuard<'_, ()>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
