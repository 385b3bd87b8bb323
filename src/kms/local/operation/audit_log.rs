//! Maintenance of the audit log: checkpoints and verification.

use std::path::Path;

use crate::error::{Error, Result};
use crate::kms::local::answer::invalid;
use crate::kms::local::audit::{self, AuditReport, Details};
use crate::kms::local::operation::Operation;
use crate::kms::local::record::audit::{AuditRecord, line_keys};
use crate::kms::local::store::{Tables, Writing};
use crate::kms::local::{LocalKms, Shared};

impl LocalKms {
    /// Keeps the number of lines of the audit log and the MAC of the last one in the store, so that a log that is cut
    /// off later shows. For the owner alone. This also happens when the last clone of a handle is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if no audit log is kept,
    /// [`ErrorKind::AuditFailed`](crate::ErrorKind::AuditFailed) if it cannot be read,
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store cannot be written.
    pub fn checkpoint(&self) -> Result<()> {
        self.maintain(Operation::Checkpoint, Details::new(), |call| {
            if self.shared.log.is_none() {
                return Err(no_log());
            }
            call.succeeds(&())?;
            self.shared.checkpoint()
        })
    }

    /// Verifies an audit log of this store: the file that is being written, or a copy of it.
    ///
    /// Calls go on meanwhile, however long the log is.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the file cannot be read,
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks.
    pub fn verify_audit_log(&self, path: impl AsRef<Path>) -> Result<AuditReport> {
        let request = Details::new().path("path", path.as_ref());
        self.maintain(Operation::VerifyAuditLog, request, |_| {
            // What the store knows is read first, so that nothing of it is held while a long log is read.
            let checkpoint = self.shared.store.read(|tables| AuditRecord::load(tables)?.checkpoint())?;
            let head = checkpoint.map(|checkpoint| checkpoint.head);
            audit::verify(path.as_ref(), &self.shared.line_keys(), &self.shared.store_id, head.as_ref())
        })
    }
}

impl Shared {
    /// Reads the keys of all root keys so far.
    pub(in crate::kms::local) fn load_line_keys(&self) -> Result<()> {
        let keys = self.store.read(|tables| line_keys(tables))?;
        *self.lock_line_keys() = keys.into();
        Ok(())
    }

    pub(in crate::kms::local) fn checkpoint(&self) -> Result<()> {
        if self.log.is_none() {
            return Ok(());
        }
        self.store.write(|tables| self.keep_end(tables))
    }

    pub(in crate::kms::local) fn keep_end(&self, tables: &mut Writing<'_>) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut record = AuditRecord::load(tables)?;
        let end = log.end(&self.line_keys(), tables.seal().store_id(), record.checkpoint()?.as_ref())?;
        let Some(end) = end else { return Ok(()) };
        record.set_checkpoint(end);
        record.put(tables)
    }
}

fn no_log() -> Error {
    invalid("ValidationException", "this handle keeps no audit log: give it one with LocalKmsBuilder::audit")
}
