//! The lines of the audit log for opening and closing a store.

use std::borrow::Cow;

use crate::audit::{Commits, Details, Event, OK, Opening, Told};
use crate::clock::from_millis;
use crate::operation::Operation;
use crate::record::audit::{found, memory};
use crate::shared::Shared;
use manila_core::{Error, ErrorKind, Result};

/// The way in which a handle opened its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpeningMode {
    InMemory,
    Create,
    Open,
    ReadOnly,
    Restore,
    Reopen,
}

impl OpeningMode {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::InMemory => "in memory",
            Self::Create => "create",
            Self::Open => "open",
            Self::ReadOnly => "read only",
            Self::Restore => "restore",
            Self::Reopen => "reopen",
        }
    }
}

impl Shared {
    /// Writes the line for opening the store. If the log contradicts the store, the line says so, and the error for
    /// that is returned as `Some`.
    ///
    /// If the log cannot be written now, for instance because it was moved, the line is written before any other, and
    /// every call fails until then. Such a handle can still rotate the log.
    pub(super) fn opened(&self, mode: OpeningMode) -> Result<Option<Error>> {
        let (found, memory) = self.store.read(|tables| Ok((found(tables), memory(tables)?)))?;
        let restored = mode == OpeningMode::Restore;
        let commits = Commits { found: Some(found), restored, ..Commits::default() };
        let event = self.own_event(Operation::OpenStore, Details::new().text("mode", mode.name()), commits);
        let Some(log) = &self.log else {
            Told::of(event, None).tell(false);
            return Ok(None);
        };
        let (before, is_known) = (memory.checkpoint, !memory.ends.is_empty());
        let expects_lines = before.is_some() || is_known || memory.named != 0;
        let followed = log.follow(&self.line_keys(), &self.store_id, before.as_ref(), None).that_go_on();
        let opening = Opening { event: event.clone(), expects_lines, before, followed };
        let written = log.open_with(opening, || self.line_keys(), &self.store_id, &|| self.look());
        match written {
            Err(error) => {
                Told::of(event, Some(&error)).tell(self.keeps_context_keys_only());
                if error.kind() != ErrorKind::AuditFailed {
                    return Err(error);
                }
            }
            written => {
                let (told, done) = Told::new(event, written);
                told.tell(self.keeps_context_keys_only());
                if let Err(refusal) = done
                    && !log.is_best_effort()
                {
                    return Ok(Some(refusal));
                }
            }
        }
        // From the first line on the store has a record of the log, so that another log cannot replace it undetected. A
        // backup may have a record of an earlier one, and the remains of an interrupted rotation are removed while
        // nobody rotates.
        if !expects_lines || restored || log.has_left_over() {
            let _ = self.checkpoint();
        }
        Ok(None)
    }

    /// Writes the line for closing a handle, and records the end of the log if possible.
    pub(super) fn close(&self) {
        let commits = Commits { found: self.found().ok(), ..Commits::default() };
        let event = self.own_event(Operation::CloseStore, Details::new(), commits);
        let written = self.write_line(&event);
        let _ = self.checkpoint();
        Told::new(event, written).0.tell(self.keeps_context_keys_only());
    }

    fn own_event(&self, operation: Operation, request: Details<'static>, commits: Commits) -> Event<'static> {
        Event {
            time: from_millis(self.clock.shown()),
            principal: self.owner.clone().into(),
            operation: operation.name().into(),
            key_arn: None,
            source_arn: None,
            encryption_context: None,
            request: Some(Cow::Owned(request)),
            commits,
            response: Details::new(),
            outcome: OK.to_owned(),
        }
    }
}
