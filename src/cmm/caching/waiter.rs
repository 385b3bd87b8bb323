//! A caller of a flight, who drives its call when polled.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::cmm::caching::cache::Cache;
use crate::cmm::caching::flight::{Call, Driver, Flight, LEADER, Outcome, Turn, poll_caught};

/// A caller of a flight.
pub(super) struct Waiter<'a> {
    cache: &'a Cache,
    flight: Arc<Flight>,
    number: u64,
    bytes: u64,
}

impl<'a> Waiter<'a> {
    /// Returns the caller with this number on a flight of `cache`.
    pub(super) fn new(cache: &'a Cache, flight: Arc<Flight>, number: u64, bytes: u64) -> Self {
        Self { cache, flight, number, bytes }
    }

    pub(super) fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    pub(super) fn leads(&self) -> bool {
        self.number == LEADER
    }

    /// Returns whether a call of this caller's own would have had the same answer.
    pub(super) fn would_get_the_same(&self) -> bool {
        let of_leader = |outcome: &Outcome| matches!(outcome, Outcome::Answer(completed) if completed.header_used);
        self.leads() || !self.flight.state().outcome.as_ref().is_some_and(of_leader)
    }

    /// Drives the call until it has an outcome, unless another caller is driving it.
    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<Turn> {
        let waker = context.waker().clone();
        // Declared before the lock is taken, so dropped after it is released: a waker is foreign code.
        let _older;
        let (call, is_first) = {
            let mut state = self.flight.state();
            if let Some(outcome) = &mut state.outcome {
                return Poll::Ready(self.turn(outcome));
            }
            _older = state.waiting.insert(self.number, waker);
            if !state.woken {
                return Poll::Pending;
            }
            let Some(call) = state.call.take() else { return Poll::Pending };
            state.woken = false;
            (call, !std::mem::replace(&mut state.started, true))
        };
        self.drive(call, is_first)
    }

    fn drive(&self, mut call: Call, is_first: bool) -> Poll<Turn> {
        let waker = Waker::from(self.flight.clone());
        let Poll::Ready(result) = poll_caught(call.future.as_mut(), &mut Context::from_waker(&waker), call.inner_type)
        else {
            // Callers who were woken meanwhile found no call to drive.
            self.flight.wake_all(|state| {
                state.call = Some(call);
                state.woken
            });
            return Poll::Pending;
        };
        let Call { future, header_use, .. } = call;
        let driver = Driver { leads: self.leads(), is_first, round: self.flight.state().round };
        let outcome = match result {
            Ok(answer) => Outcome::of(answer, self.cache.tick(), &header_use),
            Err(error) => Outcome::of_failure(error, &driver, &header_use),
        };
        // This caller makes a call of its own, which shows whether the KMS can be asked from here.
        let own = matches!(outcome, Outcome::Disturbed).then_some(Turn::AskAlone);
        self.cache.complete(&self.flight, outcome);
        self.flight.wake_all(|_| true);
        // Foreign code, which may panic: by now nobody waits for it.
        drop(future);
        let turn = own.or_else(|| self.flight.state().outcome.as_mut().map(|outcome| self.turn(outcome)));
        Poll::Ready(turn.unwrap_or(Turn::LookAgain))
    }

    /// Returns what this caller does with the outcome.
    fn turn(&self, outcome: &mut Outcome) -> Turn {
        match outcome {
            // This caller was not polled for long, and the answer is too old.
            Outcome::Answer(_) if !self.leads() && self.flight.is_over(&self.cache.settings) => Turn::LookAgain,
            Outcome::Answer(completed) => Turn::Answer(completed.answer.share()),
            Outcome::Failure(error) => Turn::Failure(error.clone()),
            Outcome::OfLeader { outcome, .. } if self.leads() => match outcome.take() {
                Some(Ok(answer)) => Turn::Answer(answer),
                Some(Err(error)) => Turn::Failure(error),
                None => Turn::LookAgain,
            },
            Outcome::OfLeader { alone: 0, .. } => Turn::LookAgain,
            Outcome::OfLeader { alone, .. } => {
                // `u64::MAX` stands for all.
                *alone -= u64::from(*alone != u64::MAX);
                Turn::AskAlone
            }
            Outcome::Disturbed => Turn::Disturbed,
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.cache.leave(&self.flight, self.number, self.bytes);
    }
}
