//! Single flight: of many who ask for the same, one asks the inner manager and the rest wait for the answer.

use std::sync::{Arc, Weak};

use async_lock::{Mutex, MutexGuardArc};

use crate::error::{Error, Result};

/// A question that is being asked. Whoever holds the lock asks it; if he goes away, the next in line does.
#[derive(Debug, Default)]
pub(super) struct Flight(Arc<Mutex<Outcome>>);

/// None while the question is open.
type Outcome = Option<Result<()>>;

/// A flight as others find it: it ends with the last who waits for it.
#[derive(Debug)]
pub(super) struct Known(Weak<Mutex<Outcome>>);

/// Who asks the question.
pub(super) struct Lead(MutexGuardArc<Outcome>);

/// What one who came to a flight is to do.
pub(super) enum Turn {
    Lead(Lead),
    /// Another has asked: look for the answer, or fail as he did.
    Follow(Result<()>),
}

impl Flight {
    pub(super) fn known(&self) -> Known {
        Known(Arc::downgrade(&self.0))
    }

    pub(super) async fn turn(&self) -> Turn {
        let guard = self.0.lock_arc().await;
        match &*guard {
            None => Turn::Lead(Lead(guard)),
            Some(outcome) => Turn::Follow(outcome.clone()),
        }
    }
}

impl Known {
    /// The flight, if anybody is still on it.
    pub(super) fn join(&self) -> Option<Flight> {
        self.0.upgrade().map(Flight)
    }

    /// Whether it is this flight.
    pub(super) fn is(&self, flight: &Flight) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&flight.0))
    }

    /// Whether nobody but the one who asks is on it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl Lead {
    /// Lets all who wait go on.
    pub(super) fn land(mut self, outcome: std::result::Result<(), &Error>) {
        *self.0 = Some(outcome.map_err(Clone::clone));
    }
}
