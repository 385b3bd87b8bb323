//! The audit log's lines of opening and closing a store.

use std::borrow::Cow;

use crate::audit::{Commits, Details, Event, Log, Opening, Told};
use crate::clock::from_millis;
use crate::operation::Operation;
use crate::record::audit::memory;
use crate::shared::Shared;
use crate::store::Tables;
use manila_core::{Error, ErrorKind, Result};

/// How a handle came to its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpeningMode {
    InMemory,
    Create,
    Open,
    ReadOnly,
    Restore,
}

impl OpeningMode {
    const fn name(self) -> &'static str {
        match self {
            Self::InMemory => "in memory",
            Self::Create => "create",
            Self::Open => "open",
            Self::ReadOnly => "read only",
            Self::Restore => "restore",
        }
    }
}

impl Shared {
    /// Writes the line of opening the store, and fails if the log proves that the store was set back.
    ///
    /// A log that cannot take the line now, as when it was moved, takes it before any other, and every call fails until
    /// then: the handle is of use for rotating the log.
    pub(super) fn opened(&self, mode: OpeningMode) -> Result<()> {
        let (found, memory) = self.store.read(|tables| Ok((tables.commit_number(), memory(tables)?)))?;
        let commits = Commits { found: Some(found), restored: mode == OpeningMode::Restore, made: None };
        let event = self.own_event(Operation::OpenStore, Details::new().text("mode", mode.name()), commits);
        let Some(log) = &self.log else {
            Told::of(event, None).tell(false);
            return Ok(());
        };
        let expects_lines = memory.checkpoint.is_some() || !memory.ends.is_empty();
        let opening = Opening { event: event.clone(), expects_lines };
        let proven = log.open_with(opening, || self.line_keys(), &self.store_id);
        Told::of(event, proven.as_ref().err()).tell(self.keeps_context_keys_only());
        match proven {
            Ok(proven) if mode != OpeningMode::Restore => self.check_not_set_back(log, proven)?,
            Err(error) if error.kind() != ErrorKind::AuditFailed => return Err(error),
            _ => {}
        }
        // From the first line on the store knows that there is a log, so that another one never begins unnoticed.
        if !expects_lines {
            let _ = self.checkpoint();
        }
        Ok(())
    }

    fn check_not_set_back(&self, log: &Log, proven: u64) -> Result<()> {
        let found = self.commit_number()?;
        if found >= proven {
            return Ok(());
        }
        let commits = Commits { found: Some(found), ..Commits::default() };
        let mut event = self.own_event(Operation::OpenStore, Details::new(), commits);
        "StoreSetBack".clone_into(&mut event.outcome);
        let written = log.append(&event, || self.line_keys(), &self.store_id);
        let (told, _) = Told::new(event, written);
        told.tell(self.keeps_context_keys_only());
        if log.is_best_effort() {
            return Ok(());
        }
        let detail = "the key store was set back to an earlier state than its audit log proves: if that is meant, make it \
                      the store of a new file with LocalKms::restore, which the log notes";
        Err(Error::new(ErrorKind::Storage, detail))
    }

    /// Writes the line of the end of a handle, and keeps the end of the log, if that can be.
    pub(super) fn close(&self) {
        let commits = Commits { found: self.commit_number().ok(), ..Commits::default() };
        let event = self.own_event(Operation::CloseStore, Details::new(), commits);
        let written = self.write_line(&event);
        let _ = self.checkpoint();
        Told::new(event, written).0.tell(self.keeps_context_keys_only());
    }

    fn own_event(&self, operation: Operation, request: Details<'static>, commits: Commits) -> Event<'static> {
        Event {
            time: from_millis(self.clock.shown()),
            principal: self.owner.clone().into(),
            operation: operation.name(),
            key_arn: None,
            source_arn: None,
            encryption_context: None,
            request: Some(Cow::Owned(request)),
            commits,
            response: Details::new(),
            outcome: "ok".to_owned(),
        }
    }
}
