//! The lines of a call, in the log and in `tracing`.

use crate::audit::{Commits, Details, Event, OK, Told, Written};
use crate::clock::from_millis;
use crate::error::code_of;
use crate::operation::Operation;
use crate::record::audit::found;
use crate::shared::Shared;
use crate::store::{WriteTxn, is_unsettled};
use manila_core::{Error, Result};

/// The principal of changes that the KMS makes itself: rotations, scheduled deletions and expiries.
const ITSELF: &str = "manila";

/// Writes lines during a call, and keeps the events for `tracing` until the call no longer holds a lock or a
/// transaction, because a subscriber may call this KMS.
pub(super) struct Recorder<'a> {
    shared: &'a Shared,
    told: Vec<Told<'a>>,
    /// The changes that the KMS makes itself in the open transaction: their lines are written, and the commit is
    /// pending.
    own: Vec<Own>,
    /// True if the last line says that the call was refused because the log contradicts the store.
    pub(super) is_refused: bool,
}

/// A change of a key by the KMS itself.
struct Own {
    operation: Operation,
    key_arn: String,
    now: u64,
    commits: Commits,
}

impl Own {
    fn event<'a>(&self, commits: Commits, outcome: &str) -> Event<'a> {
        Event {
            time: from_millis(self.now),
            principal: ITSELF.into(),
            operation: self.operation.name().into(),
            key_arn: Some(self.key_arn.clone()),
            source_arn: None,
            encryption_context: None,
            request: None,
            commits,
            response: Details::new(),
            outcome: outcome.to_owned(),
        }
    }
}

impl<'a> Recorder<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, told: Vec::new(), own: Vec::new(), is_refused: false }
    }

    /// Writes a line. No transaction may be open.
    pub(super) fn write(&mut self, event: Event<'a>) -> Result<()> {
        let written = self.shared.write_line(&event);
        self.keep(event, written)
    }

    /// Writes a line in the transaction that makes its change.
    pub(super) fn write_in(&mut self, tables: &mut WriteTxn<'_>, event: Event<'a>) -> Result<()> {
        let written = self.shared.write_line_in(tables, &event);
        self.keep(event, written)
    }

    fn keep(&mut self, event: Event<'a>, written: Result<Written>) -> Result<()> {
        self.is_refused = matches!(written, Ok(Written::Refused(_)));
        let (told, result) = Told::new(event, written);
        self.told.push(told);
        result
    }

    /// Keeps an event whose line is written already.
    pub(super) fn wrote(&mut self, event: Event<'a>) {
        self.told.push(Told::of(event, None));
    }

    /// Writes the line of a change of a key by the KMS itself, in a transaction.
    pub(super) fn write_own(
        &mut self,
        tables: &mut WriteTxn<'_>,
        operation: Operation,
        key_arn: &str,
        now: u64,
    ) -> Result<()> {
        let own = Own { operation, key_arn: key_arn.to_owned(), now, commits: commits_of(tables) };
        self.write_in(tables, own.event(own.commits, OK))?;
        self.own.push(own);
        Ok(())
    }

    /// Returns whether there is a line of a change by the KMS itself.
    pub(super) fn did_something(&self) -> bool {
        !self.own.is_empty()
    }

    /// Writes a line that takes back each change by the KMS itself, after its transaction failed. If they cannot be
    /// written now, they are written before any other line.
    pub(super) fn take_back(&mut self, error: &Error) {
        for own in std::mem::take(&mut self.own) {
            let (commits, outcome) = came_to_nothing(own.commits, error);
            // On failure the line is written later.
            let _ = self.write(own.event(commits, &outcome));
        }
    }

    /// Sends the events to `tracing`. Nothing may be locked here.
    pub(super) fn tell(self) {
        let keys_only = self.shared.keeps_context_keys_only();
        self.told.iter().for_each(|told| told.tell(keys_only));
    }
}

/// Returns the commits for the line of a write.
pub(super) fn commits_of(tables: &WriteTxn<'_>) -> Commits {
    Commits { found: Some(found(tables)), made: Some(tables.next_commit_number()), ..Commits::default() }
}

/// Returns the commits and the outcome for a line that takes back an earlier one, which announced a commit. If a
/// failing disk may have stored the commit, nothing is taken back, and later lines reveal the outcome.
pub(super) fn came_to_nothing(commits: Commits, error: &Error) -> (Commits, String) {
    let (made, code) = (commits.made, code_of(error));
    if made.is_some() && is_unsettled(error) {
        return (Commits { made: None, unsettled: made, ..commits }, format!("unknown ({code})"));
    }
    (Commits { made: None, failed: made, ..commits }, code)
}
