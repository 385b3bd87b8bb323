//! Maintenance of the audit log: checkpoints, rotation, verification.

use std::path::{Path, PathBuf};

use crate::audit::{self, AuditReport, Details, Memory, Rotated, Rotation, is_same_path};
use crate::error::{invalid, is_store};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::audit::{AuditRecord, memory, put_end, word};
use crate::shared::Shared;
use manila_core::{Error, ErrorKind, Result};

impl LocalKms {
    /// Records the end of the audit log in the store: the number of lines and the MAC of the last one. If the log is
    /// cut off before that line, verification detects it.
    ///
    /// Dropping the last clone of a handle does the same. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if no audit log is kept, [`ErrorKind::AuditFailed`] if it cannot be read, or does
    /// not continue from the last line that the store has recorded: then nothing new is recorded.
    /// [`ErrorKind::KeyRefused`] if the caller is not the owner, [`ErrorKind::Storage`] if the store cannot be written.
    pub fn checkpoint(&self) -> Result<()> {
        self.maintain(Operation::Checkpoint, Details::new(), |call| {
            if self.shared.log.is_none() {
                return Err(no_log());
            }
            call.succeeds(&())?;
            self.shared.checkpoint()
        })
    }

    /// Begins a new audit log, and renames the old one to `old`, which must be on the same file system.
    ///
    /// The first line of the new file is the line of this call. It contains the number and MAC of the last line of the
    /// old file, so the two files form one chain: [`verify_audit_log`](Self::verify_audit_log) verifies one file,
    /// [`verify_audit_logs`](Self::verify_audit_logs) verifies both in order, and both detect an end that was cut off.
    /// Other handles and processes use the new file from their next call on. Old files may be compressed or moved
    /// elsewhere. Only the owner may call this.
    ///
    /// If the log was already moved to `old`, for instance by `logrotate`, the new file continues it. Between the move
    /// and this call every other call fails, so no line is lost and no second chain begins. If a rotation is
    /// interrupted, the same call completes it. A log that does not continue from the line that the store has recorded
    /// can be rotated too: the old file permanently shows that it was cut off, and the new one is intact.
    ///
    /// ```
    /// # use manila_local_kms::{AuditLog, CreateKey, LocalKms, RootKey};
    /// # let folder = tempfile::tempdir()?;
    /// # let (store, log) = (folder.path().join("keys"), folder.path().join("audit.jsonl"));
    /// # let root_key = RootKey::from_bytes(&[7; 32]);
    /// let kms = LocalKms::builder().audit(AuditLog::file(&log)).create(&store, root_key)?;
    /// kms.create_key(CreateKey::default())?;
    /// let old = folder.path().join("audit.jsonl.1");
    /// kms.rotate_audit_log(&old)?;
    /// assert!(kms.verify_audit_logs([&old, &log])?.iter().all(|report| report.is_intact()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if no audit log is kept, or if `old` is the store, [`ErrorKind::KeyRefused`] if the
    /// caller is not the owner, [`ErrorKind::Io`] if `old` is another file or a file cannot be created or moved,
    /// [`ErrorKind::AuditFailed`] if the old log is missing or cannot be read, [`ErrorKind::Storage`] if the store
    /// cannot be written, or if the old log proves that it was set back.
    pub fn rotate_audit_log(&self, old: impl AsRef<Path>) -> Result<()> {
        self.rotate(Operation::RotateAuditLog, Some(old.as_ref()))
    }

    /// Begins a new audit log after the old one was lost.
    ///
    /// The new log continues from the last line that the store has recorded, and can be verified from there. Only the
    /// owner may call this.
    ///
    /// # Errors
    /// The same as [`rotate_audit_log`](Self::rotate_audit_log); [`ErrorKind::AuditFailed`] also if a log exists and is
    /// not empty.
    pub fn replace_lost_audit_log(&self) -> Result<()> {
        self.rotate(Operation::ReplaceLostAuditLog, None)
    }

    fn rotate(&self, operation: Operation, old: Option<&Path>) -> Result<()> {
        let request = Details::new().maybe(old, |details, old| details.path("path", old));
        self.maintain(operation, request, |call| {
            let log = self.shared.log.as_ref().ok_or_else(no_log)?;
            if let Some(old) = old {
                self.check_not_store(old)?;
            }
            // This takes long if much was written, so it is done before anything is locked.
            let followed = self.shared.follow_log(old);
            self.shared.store.write(|tables| {
                call.will_commit(tables);
                let mut record = AuditRecord::load(tables)?;
                let (keys, before) = (self.shared.line_keys(), record.checkpoint()?);
                let rotation = Rotation {
                    to: old,
                    before: before.as_ref(),
                    keys: &keys,
                    store_id: &self.shared.store_id,
                    word: word(tables, tables.former_epoch(), true)?,
                    followed: &followed,
                };
                let Rotated { ends, checkpoint, names_commit } =
                    call.succeeds_by(|event| log.rotate(event, &rotation))?;
                if names_commit {
                    tables.name_commit();
                }
                ends.iter().try_for_each(|end| put_end(tables, end))?;
                record.set_checkpoint(checkpoint);
                record.put(tables)
            })
        })
    }

    /// Verifies one file of this store's audit log: the current file, a rotated one, or a copy.
    ///
    /// Other calls continue meanwhile, however long the log is: no lock is held while it is read. The report also says
    /// whether the store was set back to before a commit that the log proves, or follows a change without a line in the
    /// log. Only the owner may call this.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be read, [`ErrorKind::InvalidInput`] if it is the store,
    /// [`ErrorKind::KeyRefused`] if the caller is not the owner.
    pub fn verify_audit_log(&self, path: impl AsRef<Path>) -> Result<AuditReport> {
        let paths = [path.as_ref().to_owned()];
        let is_current = self.shared.log.as_ref().is_some_and(|log| is_same_path(log.path(), path.as_ref()));
        let mut reports = self.verify_logs(&paths, is_current)?;
        reports.pop().ok_or_else(|| Error::new(ErrorKind::Internal, "verifying the audit log returned no report"))
    }

    /// Verifies several files of this store's audit log, and returns a report for each: rotated files, oldest first,
    /// and then the current file. Each must continue from the one before.
    ///
    /// The first path may be any of the files, if older ones are kept elsewhere. Only the owner may call this.
    ///
    /// # Errors
    /// The same as [`verify_audit_log`](Self::verify_audit_log); [`ErrorKind::InvalidInput`] also if there is no path.
    pub fn verify_audit_logs<P: AsRef<Path>>(&self, paths: impl IntoIterator<Item = P>) -> Result<Vec<AuditReport>> {
        let paths: Vec<_> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
        self.verify_logs(&paths, true)
    }

    /// Fails if a path is that of the store: the store's file is locked in another way, and waiting for that lock would
    /// be a deadlock.
    fn check_not_store(&self, path: &Path) -> Result<()> {
        if self.shared.store.is_at(path) { Err(is_store(path)) } else { Ok(()) }
    }

    fn verify_logs(&self, paths: &[PathBuf], ends_in_current: bool) -> Result<Vec<AuditReport>> {
        let names: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
        let request = Details::new().list("paths", names.iter().map(AsRef::as_ref));
        self.examine(Operation::VerifyAuditLog, request, |_| {
            if paths.is_empty() {
                return Err(invalid("ValidationException", "no path of an audit log was given: name at least one"));
            }
            paths.iter().try_for_each(|path| self.check_not_store(path))?;
            // The store's records are read first, so that the store is not locked while a long log is read.
            let memory = self.shared.store.read(|tables| memory(tables))?;
            self.shared.verify_chain(paths, ends_in_current, &memory)
        })
    }
}

impl Shared {
    fn verify_chain(&self, paths: &[PathBuf], ends_in_current: bool, memory: &Memory) -> Result<Vec<AuditReport>> {
        let keys = self.line_keys();
        let mut reports: Vec<AuditReport> = Vec::new();
        let mut before = None;
        for (index, path) in paths.iter().enumerate() {
            let is_last = index.saturating_add(1) == paths.len();
            let must_be_current = ends_in_current && is_last;
            let mut verified = audit::verify(path, &keys, &self.store_id, memory, before.as_ref(), must_be_current)?;
            for late in &verified.of_files_before {
                let of = index.checked_sub(late.files_back).and_then(|index| reports.get_mut(index));
                if let Some(AuditReport { faults, .. }) = of {
                    faults.push(late.fault);
                    faults.sort_by_key(|fault| fault.line);
                }
            }
            // Compared only now: any commit that a line proves was made before the line was written.
            if is_last && verified.is_current {
                let fault = verified.fault_of(&self.found()?);
                verified.report.faults.extend(fault);
            }
            before = Some(verified.end);
            reports.push(verified.report);
        }
        Ok(reports)
    }
}

fn no_log() -> Error {
    invalid("ValidationException", "this handle keeps no audit log: configure one with LocalKmsBuilder::audit")
}
