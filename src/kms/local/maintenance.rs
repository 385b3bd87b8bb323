//! Keeping the store: backups, another root key, purging, and the audit log's checkpoints.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{Error, Result};
use crate::kms::local::answer::invalid;
use crate::kms::local::audit::{self, AuditReport, Checkpoint, Head, LineKey};
use crate::kms::local::builder::LocalKmsBuilder;
use crate::kms::local::operation::Operation;
use crate::kms::local::root_key::RootKey;
use crate::kms::local::store::{Seal, Table, Tables, Writing, damaged};
use crate::kms::local::{LocalKms, Shared};

/// The one record of its table.
const AUDIT: &str = "log";

/// What the store remembers of its audit log.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct AuditRecord {
    /// Keys of lines that were written under earlier root keys.
    past: Vec<PastKey>,
    checkpoint: Option<CheckpointRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CheckpointRecord {
    lines: u64,
    /// Of the last line.
    #[serde(with = "serde_bytes")]
    mac: Vec<u8>,
    /// Of the file, in bytes.
    len: u64,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct PastKey {
    #[zeroize(skip)]
    epoch: u64,
    #[serde(with = "serde_bytes")]
    secret: Vec<u8>,
}

impl fmt::Debug for PastKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PastKey").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl LocalKms {
    /// Writes a copy of the store as it is now to a new file, sealed under the same root key. For the owner alone.
    ///
    /// A backup keeps what it holds, also of keys that are deleted later: see [`restore`](Self::restore).
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if there is a file already or it cannot be made, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the
    /// owner asks.
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<()> {
        self.maintain(Operation::Backup, |call| self.shared.store.copy_to(path.as_ref(), || call.succeeds()))
    }

    /// Makes the backup at `backup` a new KMS at `path`. Keys whose deletion was due meanwhile are left out: the second
    /// result is their number.
    ///
    /// # Errors
    /// As [`open`](Self::open) of the backup and [`create`](Self::create) of the new file.
    pub fn restore(backup: impl AsRef<Path>, path: impl AsRef<Path>, root_key: RootKey) -> Result<(Self, usize)> {
        LocalKmsBuilder::default().restore(backup, path, root_key)
    }

    /// Removes what is past its deadline, compacts the file, and writes over the space that was given back: no byte of
    /// a deleted key is left in it. For the owner alone. Returns the number of keys that were removed now.
    ///
    /// The medium below may keep copies of its own, as flash memory and snapshots do.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if another process is using the store at the moment, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another
    /// than the owner asks.
    pub fn purge(&self) -> Result<usize> {
        self.maintain(Operation::Purge, |call| {
            let deleted = self.settle(call.now, &[])?;
            // Nobody sees the rest, so its line can say how it went.
            self.shared.store.purge()?;
            Ok(deleted)
        })
    }

    /// Seals everything under another root key, in one transaction. For the owner alone.
    ///
    /// Other handles of the store, in this process or others, then fail with [`ErrorKind::RootKeyChanged`](crate::ErrorKind::RootKeyChanged) until they
    /// are opened with the new one; clones of this handle go on. Copies of the file from before are still sealed under
    /// the old key.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks, [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store cannot be written.
    pub fn change_root_key(&self, root_key: RootKey) -> Result<()> {
        self.maintain(Operation::ChangeRootKey, |call| {
            self.shared.store.change_root_key(root_key, |tables, old| {
                remember_audit_key(tables, old)?;
                call.succeeds()
            })?;
            self.shared.load_line_keys()
        })
    }

    /// Keeps the number of lines of the audit log and the MAC of the last one in the store, so that a log that is cut
    /// off later shows. For the owner alone. This also happens when the last clone of a handle is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if no audit log is kept, [`ErrorKind::AuditFailed`](crate::ErrorKind::AuditFailed) if it cannot be read,
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store cannot be written.
    pub fn checkpoint(&self) -> Result<()> {
        self.maintain(Operation::Checkpoint, |call| {
            if self.shared.log.is_none() {
                return Err(no_log());
            }
            call.succeeds()?;
            self.shared.checkpoint()
        })
    }

    /// Verifies an audit log of this store: the file that is being written, or a copy of it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the file cannot be read, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks.
    pub fn verify_audit_log(&self, path: impl AsRef<Path>) -> Result<AuditReport> {
        self.read(Operation::VerifyAuditLog, None, |tables, call| {
            call.check_owner()?;
            let record: AuditRecord = tables.get(Table::Audit, AUDIT)?.unwrap_or_default();
            let head = record.checkpoint()?.map(|checkpoint| checkpoint.head);
            audit::verify(path.as_ref(), &self.shared.line_keys(), tables.seal().store_id(), head.as_ref())
        })
    }

    pub(super) fn settle_restored(&self) -> Result<usize> {
        self.write(Operation::Restore, |_, call| Ok(call.swept))
    }
}

impl AuditRecord {
    fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let Some(CheckpointRecord { lines, mac, len }) = &self.checkpoint else { return Ok(None) };
        let head = Head { lines: *lines, mac: mac.as_slice().try_into().map_err(|_| damaged())? };
        Ok(Some(Checkpoint { head, len: *len }))
    }
}

impl Shared {
    /// Reads the keys of all root keys so far.
    pub(super) fn load_line_keys(&self) -> Result<()> {
        let keys = self.store.read(|tables| line_keys(tables))?;
        *self.lock_line_keys() = keys.into();
        Ok(())
    }

    pub(super) fn checkpoint(&self) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let keys = self.line_keys();
        self.store.write(|tables| {
            let mut record: AuditRecord = tables.get(Table::Audit, AUDIT)?.unwrap_or_default();
            let end = log.end(&keys, tables.seal().store_id(), record.checkpoint()?.as_ref())?;
            let Some(Checkpoint { head, len }) = end else { return Ok(()) };
            record.checkpoint = Some(CheckpointRecord { lines: head.lines, mac: head.mac.to_vec(), len });
            tables.put(Table::Audit, AUDIT, &record)
        })
    }
}

/// The keys of the lines of a store's audit log, oldest first.
pub(super) fn line_keys(tables: &impl Tables) -> Result<Vec<LineKey>> {
    let record: AuditRecord = tables.get(Table::Audit, AUDIT)?.unwrap_or_default();
    let mut keys = Vec::with_capacity(record.past.len().saturating_add(1));
    for past in &record.past {
        let secret = past.secret.as_slice().try_into().map_err(|_| damaged())?;
        keys.push(LineKey { epoch: past.epoch, secret: Zeroizing::new(secret) });
    }
    let seal = tables.seal();
    keys.push(LineKey { epoch: seal.epoch(), secret: seal.audit_key()? });
    Ok(keys)
}

fn remember_audit_key(tables: &mut Writing<'_>, old: &Seal) -> Result<()> {
    let mut record: AuditRecord = tables.get(Table::Audit, AUDIT)?.unwrap_or_default();
    record.past.push(PastKey { epoch: old.epoch(), secret: old.audit_key()?.to_vec() });
    tables.put(Table::Audit, AUDIT, &record)
}

fn no_log() -> Error {
    invalid("ValidationException", "this handle keeps no audit log: give it one with LocalKmsBuilder::audit")
}
