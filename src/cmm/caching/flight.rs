//! Single flight: of many callers who make the same request, the leader makes the call, and the others wait for its
//! outcome.
//!
//! The flight owns the call, and whichever caller is polled drives it: the leader may be a future that is no longer
//! polled (in a `select!`, a `FuturesUnordered`, a `join!`) or gone. So that no caller depends on another, all are
//! woken whenever the call is. The call is polled only when it was woken: a caller who joins from elsewhere does not
//! disturb it, and a thousand waiters do not poll it a thousand times.
//!
//! A KMS may need the runtime in which its call was made, and fail or panic if a waiter on another thread drives it.
//! That failure is not shared: that waiter asks for itself, and the others look again; if it happens to them once more,
//! they ask for themselves.
//!
//! A failure that may be due to the header of the leader's message concerns only the leader. The others look again, in
//! [rounds](Round) with twice as many concurrent calls, so that a caller behind many forged messages, or with a KMS
//! that is down, waits for the logarithm of their number.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use manila_core::{Error, ErrorKind, KeyFuture, Result};

use crate::cmm::caching::entry::{Age, Answer, Uses};
use crate::cmm::caching::id::Id;
use crate::cmm::caching::settings::CacheSettings;
use crate::cmm::caching::sync::{Mutex, MutexGuard, lock};
use crate::materials::HeaderUse;

/// The number of the leader.
pub(super) const LEADER: u64 = 0;

/// The number of times a caller has waited for a call that failed because of its leader's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Round(u32);

impl Round {
    /// The last round, after which all remaining callers ask for themselves.
    const LAST: Self = Self(12);

    /// Returns the next round, if there is one.
    pub(super) fn next(self) -> Option<Self> {
        (self < Self::LAST).then(|| Self(self.0.saturating_add(1)))
    }

    /// Returns the number of callers, besides the leader of the next flight, who ask for themselves after a flight of
    /// this round has failed: none after the first, then one, three, seven.
    fn alone(self) -> u64 {
        1_u64.checked_shl(self.0).unwrap_or(u64::MAX).saturating_sub(1)
    }
}

/// A call to the inner manager, and the callers who wait for it.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: Id,
    /// Begins when the call is made.
    pub(super) age: Age,
    state: Mutex<State>,
}

pub(super) struct State {
    /// Absent while a caller drives it, and after it completed.
    pub(super) call: Option<Call>,
    /// The call was woken since it was last polled.
    pub(super) woken: bool,
    /// The call has been polled.
    pub(super) started: bool,
    pub(super) outcome: Option<Outcome>,
    /// The wakers of waiting callers, by their numbers.
    pub(super) waiting: BTreeMap<u64, Waker>,
    pub(super) callers: u64,
    pub(super) next_number: u64,
    /// The use of the data key by all callers together.
    pub(super) uses: Option<Uses>,
    /// The highest round of any caller.
    pub(super) round: Round,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("callers", &self.callers).finish_non_exhaustive()
    }
}

/// A call that borrows nothing from a caller.
pub(super) struct Call {
    pub(super) future: KeyFuture<'static, Answer>,
    pub(super) header_use: HeaderUse,
    /// The type of the inner manager, for errors.
    pub(super) inner_type: &'static str,
}

/// The remains of a caller who leaves, to be dropped after the lock is released: dropping runs foreign code.
pub(super) struct Left {
    pub(super) is_last: bool,
    pub(super) call: Option<Call>,
    _outcome: Option<Outcome>,
    _waker: Option<Waker>,
}

/// The outcome of a call.
pub(super) enum Outcome {
    /// An answer for all callers; each tries it on their own header.
    Answer(Completed),
    /// A failure for all callers.
    Failure(Error),
    /// An answer or a failure for the leader only. `alone` other callers ask for themselves, and the rest look again.
    OfLeader { outcome: Option<Result<Answer>>, alone: u64 },
    /// A failure due to the caller who drove the call; the others look again.
    Disturbed,
}

/// An answer, before and after it is kept.
pub(super) struct Completed {
    pub(super) answer: Answer,
    pub(super) tick: u64,
    pub(super) kept: bool,
    /// The leader's own header was used.
    pub(super) header_used: bool,
}

/// The next step of a caller after the outcome.
pub(super) enum Turn {
    Answer(Answer),
    Failure(Error),
    LookAgain,
    Disturbed,
    AskAlone,
}

impl Outcome {
    /// Returns the outcome of a call that succeeded.
    pub(super) fn of(answer: Answer, tick: u64, header_use: &HeaderUse) -> Self {
        match answer {
            // Without key derivation a data key is for one message.
            Answer::Encryption(materials) if !materials.suite().has_kdf() => {
                Self::OfLeader { outcome: Some(Ok(Answer::Encryption(materials))), alone: u64::MAX }
            }
            answer => Self::Answer(Completed { answer, tick, kept: false, header_used: header_use.is_noted() }),
        }
    }

    /// Returns the outcome of a call that failed.
    pub(super) fn of_failure(error: Error, driver: &Driver, header_use: &HeaderUse) -> Self {
        // Another caller may have another runtime, or none; the answer of a service does not depend on that.
        let may_be_of_driver =
            matches!(error.kind(), ErrorKind::Internal | ErrorKind::InvalidInput | ErrorKind::NeedsAsync);
        if !driver.leads && may_be_of_driver && error.kms_error().is_none() {
            return Self::Disturbed;
        }
        // Nothing was waited for, or the failure may be due to the leader's header.
        if driver.is_first || header_use.is_noted() {
            return Self::OfLeader { outcome: Some(Err(error)), alone: driver.round.alone() };
        }
        Self::Failure(error)
    }
}

/// The caller who drove a call to completion.
pub(super) struct Driver {
    pub(super) leads: bool,
    pub(super) is_first: bool,
    /// Of the flight.
    pub(super) round: Round,
}

impl Flight {
    /// Returns a flight with its leader.
    pub(super) fn new(id: Id, age: Age, uses: Option<Uses>, round: Round, call: Call) -> Self {
        let state = State {
            call: Some(call),
            woken: true,
            started: false,
            outcome: None,
            waiting: BTreeMap::new(),
            callers: 1,
            next_number: LEADER + 1,
            uses,
            round,
        };
        Self { id, age, state: Mutex::new(state) }
    }

    /// Adds a caller with a message of `bytes`, and returns their number. `None` if the data key has no room for the
    /// message, or is too old: the caller starts another flight.
    pub(super) fn join(&self, bytes: u64, round: Round, settings: &CacheSettings) -> Option<u64> {
        let mut state = self.state();
        // A caller may join after the outcome, to use an answer that is not kept yet.
        if state.outcome.is_some() && self.is_over(settings) {
            return None;
        }
        if let Some(uses) = &mut state.uses {
            uses.add(bytes, settings).ok()?;
        }
        state.callers = state.callers.saturating_add(1);
        state.round = state.round.max(round);
        let number = state.next_number;
        state.next_number = number.saturating_add(1);
        Some(number)
    }

    /// Removes a caller.
    pub(super) fn leave(&self, number: u64, bytes: u64) -> Left {
        let mut guard = self.state();
        let state = &mut *guard;
        state.callers = state.callers.saturating_sub(1);
        if let (Some(uses), None) = (&mut state.uses, &state.outcome) {
            uses.take_back(bytes);
        }
        let waker = state.waiting.remove(&number);
        match state.callers {
            0 => Left { is_last: true, call: state.call.take(), _outcome: state.outcome.take(), _waker: waker },
            _ => Left { is_last: false, call: None, _outcome: None, _waker: waker },
        }
    }

    /// Sets the outcome, and returns the use of the data key by all callers.
    pub(super) fn set_outcome(&self, outcome: Outcome) -> Option<Uses> {
        let mut state = self.state();
        state.outcome = Some(outcome);
        state.uses
    }

    /// Returns the answer to the first caller who keeps it.
    pub(super) fn unkept<T>(&self, keep: impl FnOnce(&Completed) -> T) -> Option<T> {
        match &mut self.state().outcome {
            Some(Outcome::Answer(completed)) if !completed.kept => {
                completed.kept = true;
                Some(keep(completed))
            }
            _ => None,
        }
    }

    pub(super) fn is_over(&self, settings: &CacheSettings) -> bool {
        let mut age = self.age;
        age.is_over(settings)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Changes the state, and wakes all callers if `change` returns true.
    pub(super) fn wake_all(&self, change: impl FnOnce(&mut State) -> bool) {
        let waiting = {
            let mut state = self.state();
            match change(&mut state) {
                true => std::mem::take(&mut state.waiting),
                false => BTreeMap::new(),
            }
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

/// The waker of the call.
impl Wake for Flight {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all(|state| {
            state.woken = true;
            true
        });
    }
}

/// Polls a call to a manager, and turns a panic into an error.
pub(super) fn poll_caught<T>(
    call: Pin<&mut (impl Future<Output = Result<T>> + ?Sized)>,
    context: &mut Context<'_>,
    inner_type: &str,
) -> Poll<Result<T>> {
    catch_unwind(AssertUnwindSafe(|| call.poll(context))).unwrap_or_else(|_| Poll::Ready(Err(panicked(inner_type))))
}

fn panicked(inner_type: &str) -> Error {
    let detail = format!(
        "a materials manager panicked while it was asked: {inner_type}; if it needs a runtime, as AWS KMS needs tokio's, \
         call from inside it"
    );
    Error::new(ErrorKind::Internal, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manila_core::KmsError;

    #[test]
    fn rounds_double_and_end() {
        let mut round = Round::default();
        let mut alone = vec![round.alone()];
        while let Some(next) = round.next() {
            round = next;
            alone.push(round.alone());
        }
        assert_eq!(alone[..5], [0, 1, 3, 7, 15]);
        assert_eq!(alone.len(), 13);
    }

    #[test]
    fn what_a_service_answered_is_everyones_whoever_drove_the_call() {
        let driver = Driver { leads: false, is_first: false, round: Round::default() };
        let kms = || KmsError::new("ValidationException", "no");
        let answered = Error::other(ErrorKind::InvalidInput, "refused", kms());
        let with_cause = Error::with_causes(ErrorKind::InvalidInput, "not opened", vec![answered.clone()]);
        for error in [answered, with_cause] {
            assert!(matches!(Outcome::of_failure(error, &driver, &HeaderUse::default()), Outcome::Failure(_)));
        }
        let here = Error::new(ErrorKind::InvalidInput, "there is no runtime here");
        assert!(matches!(Outcome::of_failure(here, &driver, &HeaderUse::default()), Outcome::Disturbed));
    }
}
