//! Single flight: of many who ask for the same, one asks the inner manager and the rest wait for the answer.
//!
//! When a flight lands, or the one who leads it goes away, all who wait are woken, and whoever is polled first goes on.
//! Waking one alone would make the rest depend on him, and he may be a future that nobody polls any more.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use crate::cmm::caching::sync::{Mutex, MutexGuard, lock};
use crate::error::{Error, Result};

/// A question that is being asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Flight(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    led: bool,
    /// None while the question is open.
    outcome: Option<Result<()>>,
    waiting: HashMap<u64, Waker>,
    seats: u64,
}

/// A flight as others find it: it ends with the last who waits for it.
#[derive(Debug)]
pub(super) struct Known(Weak<Mutex<State>>);

/// Who asks the question. If he goes away before it is answered, another does.
pub(super) struct Lead(Flight);

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
        let mut seat = Seat { flight: self, number: None };
        poll_fn(|context| seat.poll(context)).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    /// Changes what those who wait look at, and wakes them.
    fn wake(&self, change: impl FnOnce(&mut State)) {
        let waiting = {
            let mut state = self.state();
            change(&mut state);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
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

    /// Whether everyone has left it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// The place of one who waits.
struct Seat<'a> {
    flight: &'a Flight,
    number: Option<u64>,
}

impl Seat<'_> {
    fn poll(&mut self, context: &Context<'_>) -> Poll<Turn> {
        let waker = context.waker().clone();
        // Declared before the lock is taken, dropped after it is released: a waker is another's code.
        let _older;
        let mut state = self.flight.state();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(Turn::Follow(outcome.clone()));
        }
        if !state.led {
            state.led = true;
            return Poll::Ready(Turn::Lead(Lead(self.flight.clone())));
        }
        let number = *self.number.get_or_insert(state.seats);
        state.seats = state.seats.max(number.saturating_add(1));
        _older = state.waiting.insert(number, waker);
        Poll::Pending
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let _mine = self.number.and_then(|number| self.flight.state().waiting.remove(&number));
    }
}

impl Lead {
    /// Lets all who wait go on.
    pub(super) fn land(self, outcome: std::result::Result<(), &Error>) {
        let outcome = outcome.map_err(Clone::clone);
        self.0.wake(|state| state.outcome = Some(outcome));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.0.wake(|state| state.led = false);
    }
}
