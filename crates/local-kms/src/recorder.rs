//! The lines of a call, and what `tracing` hears of them.

use crate::audit::{Commits, Details, Event, Told};
use crate::clock::from_millis;
use crate::operation::Operation;
use crate::shared::Shared;
use crate::store::{Tables, WriteTxn};
use manila_core::Result;

/// The principal of changes that the KMS makes by itself: rotations and scheduled deletions.
const ITSELF: &str = "manila";

/// Writes lines while a call is under way, and keeps what `tracing` is to hear until the call holds no lock and no
/// transaction any more: a subscriber may call this KMS.
pub(super) struct Recorder<'a> {
    shared: &'a Shared,
    told: Vec<Told<'a>>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, told: Vec::new() }
    }

    pub(super) fn write(&mut self, event: Event<'a>) -> Result<()> {
        let written = self.shared.write_line(&event);
        let (told, result) = Told::new(event, written);
        self.told.push(told);
        result
    }

    /// Keeps an event whose line is written already.
    pub(super) fn wrote(&mut self, event: Event<'a>) {
        self.told.push(Told::of(event, None));
    }

    /// Writes the line of what the KMS does to a key by itself.
    pub(super) fn write_own(&mut self, operation: Operation, key_arn: &str, now: u64, commits: Commits) -> Result<()> {
        self.write(Event {
            time: from_millis(now),
            principal: ITSELF.into(),
            operation: operation.name(),
            key_arn: Some(key_arn.to_owned()),
            source_arn: None,
            encryption_context: None,
            request: None,
            commits,
            response: Details::new(),
            outcome: "ok".to_owned(),
        })
    }

    /// Tells `tracing`. Nothing may be locked here.
    pub(super) fn tell(self) {
        let keys_only = self.shared.keeps_context_keys_only();
        self.told.iter().for_each(|told| told.tell(keys_only));
    }
}

/// The commits that the line of a write tells of.
pub(super) fn commits_of(tables: &WriteTxn<'_>) -> Commits {
    Commits { found: Some(tables.commit_number()), restored: false, made: Some(tables.next_commit_number()) }
}
