//! One call at a time does what is overdue.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Held by the call that does what is overdue, so that the others of a handle do not queue behind it for the writer.
#[derive(Debug, Default)]
pub(super) struct Settling(Mutex<()>);

impl Settling {
    pub(super) fn begin(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, unless another call is at it.
    pub(super) fn try_begin(&self) -> Option<MutexGuard<'_, ()>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}
