//! [`LocalKmsBuilder`]: creating and opening an embedded KMS.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::audit::{AuditLog, Details, Log};
use crate::clock::{LONGEST_PAUSE, StoreClock};
use crate::error::{code_of, invalid, is_store};
use crate::local_kms::LocalKms;
use crate::location::check_region;
use crate::operation::Operation;
use crate::root_key::RootKey;
use crate::session::OpeningMode;
use crate::shared::Shared;
use crate::store::{Store, absolute};
use manila_core::internal::quoted;
use manila_core::{Clock, Result, SystemClock};

const DEFAULT_REGION: &str = "local";
const DEFAULT_ACCOUNT: &str = "000000000000";
const ACCOUNT_LEN: usize = 12;

/// Settings of an embedded KMS, to be made or opened with them.
#[derive(Clone, Debug)]
#[must_use]
pub struct LocalKmsBuilder {
    region: String,
    account: String,
    clock: Arc<dyn Clock>,
    longest_pause: Duration,
    audit: Option<AuditLog>,
}

impl Default for LocalKmsBuilder {
    fn default() -> Self {
        Self {
            region: DEFAULT_REGION.to_owned(),
            account: DEFAULT_ACCOUNT.to_owned(),
            clock: Arc::new(SystemClock),
            longest_pause: LONGEST_PAUSE,
            audit: None,
        }
    }
}

impl LocalKmsBuilder {
    /// Sets the region of a new store. Defaults to `local`. An existing store has its own.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Sets the account of a new store, 12 digits. Defaults to `000000000000`. An existing store has its own.
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = account.into();
        self
    }

    /// The source of the time; the operating system by default. A clock for tests that is moved ahead moves its
    /// monotonic time as well, or the KMS takes that for a fault.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The longest time between two writes that is believed; ten years by default. After a longer one the owner has to
    /// [confirm](LocalKms::confirm_clock) the clock before anything is written.
    pub fn longest_pause(mut self, pause: Duration) -> Self {
        self.longest_pause = pause;
        self
    }

    /// Keeps an audit log. Each program that uses the store says so for itself.
    pub fn audit(mut self, log: AuditLog) -> Self {
        self.audit = Some(log);
        self
    }

    /// A KMS that forgets its keys when the last clone is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if region or account cannot be,
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if there is no randomness,
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the audit log cannot be opened.
    pub fn in_memory(self) -> Result<LocalKms> {
        self.check()?;
        let (region, account) = (self.region.clone(), self.account.clone());
        self.over(OpeningMode::InMemory, || Store::in_memory(region, account))
    }

    /// A new KMS in a new file at `path`, readable by its owner alone.
    ///
    /// # Errors
    /// As [`in_memory`](Self::in_memory); [`ErrorKind::Io`](crate::ErrorKind::Io) if there is a file already or it
    /// cannot be made, [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be written.
    pub fn create(self, path: impl AsRef<Path>, root_key: RootKey) -> Result<LocalKms> {
        self.check()?;
        let (region, account) = (self.region.clone(), self.account.clone());
        self.over(OpeningMode::Create, || Store::create(path.as_ref(), region, account, root_key))
    }

    /// The KMS in the file at `path`. Other processes may have it open too.
    ///
    /// The whole file is verified first.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if there is no such file or the audit log cannot be opened,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it is damaged, no key store, of a newer format, or one of
    /// another root key.
    pub fn open(self, path: impl AsRef<Path>, root_key: RootKey) -> Result<LocalKms> {
        self.over(OpeningMode::Open, || Store::open(path.as_ref(), root_key))
    }

    /// Opens the KMS in the file at `path` to read it: to decrypt, to describe keys, to verify an audit log. The file
    /// is not changed by a byte and may lie on a medium that cannot be written. Other processes may go on writing it,
    /// and their changes are seen.
    ///
    /// The whole file is verified first; those who write wait while its pages are checked, as they do for one another.
    /// What would change the store fails with [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly), encrypting under a
    /// key too whose rotation is due. Deadlines hold all the same.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`ErrorKind::Storage`](crate::ErrorKind::Storage) also if the file was not closed
    /// properly and nobody has it open: opening it for writing repairs it, and [`restore`](Self::restore) makes a new
    /// one of it.
    #[expect(clippy::needless_pass_by_value, reason = "the caller keeps no copy of a root key, as with `open`")]
    pub fn open_read_only(self, path: impl AsRef<Path>, root_key: RootKey) -> Result<LocalKms> {
        self.over(OpeningMode::ReadOnly, || Store::open_read_only(path.as_ref(), &root_key))
    }

    /// Makes the backup at `backup` the new KMS at `path`. Keys whose deadline has passed meanwhile are left out: the
    /// second result is their number. The backup is not changed by a byte.
    ///
    /// # Errors
    /// As [`open`](Self::open) of the backup and [`create`](Self::create) of the new file;
    /// [`ErrorKind::ClockUnconfirmed`](crate::ErrorKind::ClockUnconfirmed) if the backup is older than the
    /// [longest pause](Self::longest_pause).
    #[expect(clippy::needless_pass_by_value, reason = "the caller keeps no copy of a root key, as with `open`")]
    pub fn restore(
        self,
        backup: impl AsRef<Path>,
        path: impl AsRef<Path>,
        root_key: RootKey,
    ) -> Result<(LocalKms, usize)> {
        // Asked before anything is made: what is past its deadline is left out.
        let clock = StoreClock::new(self.clock.clone(), self.longest_pause);
        let check = |store: &Store| store.read(|tables| clock.trust(tables).map(drop));
        let path = absolute(path.as_ref())?;
        let is_made = Cell::new(false);
        let make = || Store::restore(backup.as_ref(), &path, &root_key, check).inspect(|_| is_made.set(true));
        let restored = self.over(OpeningMode::Restore, make).and_then(|kms| Ok((kms.settle_restored()?, kms)));
        if restored.is_err() && is_made.get() {
            // The handle is closed. What did not become the store is not to lie about for one.
            let _ = fs::remove_file(&path);
        }
        restored.map(|(dropped, kms)| (kms, dropped))
    }

    fn check(&self) -> Result<()> {
        check_region(&self.region)?;
        if self.account.len() == ACCOUNT_LEN && self.account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(());
        }
        let message = format!("{} is not a valid account: use {ACCOUNT_LEN} digits", quoted(&self.account));
        Err(invalid("ValidationException", message))
    }

    /// The KMS over a store. The log comes first: where it cannot be kept no store is made.
    pub(super) fn over(self, mode: OpeningMode, store: impl FnOnce() -> Result<Store>) -> Result<LocalKms> {
        let log = self.audit.map(Log::open).transpose()?;
        let store = store().inspect_err(|error| {
            // The key of the log's lines comes from the root key, so what cannot be opened can have no line.
            tracing::warn!(target: "manila::audit", operation = "OpenStore", outcome = code_of(error), "not opened");
        })?;
        if let Some(log) = log.as_ref().filter(|log| store.is_at(log.path())) {
            return Err(is_store(log.path()));
        }
        let mut shared = Shared::new(store, StoreClock::new(self.clock, self.longest_pause), log)?;
        shared.opened(mode)?;
        shared.is_open = true;
        Ok(LocalKms::over(shared))
    }
}

impl LocalKms {
    /// A KMS that forgets its keys when the last clone is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if there is no randomness.
    pub fn in_memory() -> Result<Self> {
        LocalKmsBuilder::default().in_memory()
    }

    /// A new KMS in a new file at `path`, readable by its owner alone.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if there is a file already or it cannot be made,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be written.
    pub fn create(path: impl AsRef<Path>, root_key: RootKey) -> Result<Self> {
        LocalKmsBuilder::default().create(path, root_key)
    }

    /// The KMS in the file at `path`. Other processes may have it open too.
    ///
    /// The whole file is verified first.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it is damaged, no key store, of a newer format, or one of
    /// another root key.
    pub fn open(path: impl AsRef<Path>, root_key: RootKey) -> Result<Self> {
        LocalKmsBuilder::default().open(path, root_key)
    }

    /// Opens the KMS in the file at `path` to read it, without changing the file: see
    /// [`LocalKmsBuilder::open_read_only`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_read_only(path: impl AsRef<Path>, root_key: RootKey) -> Result<Self> {
        LocalKmsBuilder::default().open_read_only(path, root_key)
    }

    /// Opens the file of the KMS again, in place: all clones and views of this handle go on, as those in keyrings and
    /// clients.
    ///
    /// For after a read or a write of the file has failed, as on a disk that was full, and after the file was replaced
    /// by a later state of the same store. For the owner alone. The audit log stays open, and gets the line of an
    /// opening.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`ErrorKind::RootKeyChanged`](crate::ErrorKind::RootKeyChanged) if the root key is
    /// another one now, [`ErrorKind::Storage`](crate::ErrorKind::Storage) also if the file is of another store or of an
    /// earlier state of this one, [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the KMS is in memory,
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks. The handle is as it was
    /// then, unless it is the audit log that proves a later state: every call is refused then.
    pub fn reopen(&self) -> Result<()> {
        self.reopen_as(None)
    }

    /// [`reopen`](Self::reopen) with another root key, after another handle or process has
    /// [changed](Self::change_root_key) it.
    ///
    /// # Errors
    /// As there, and [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it is not the root key of the store.
    pub fn reopen_with(&self, root_key: RootKey) -> Result<()> {
        self.reopen_as(Some(root_key))
    }

    fn reopen_as(&self, root_key: Option<RootKey>) -> Result<()> {
        let request = Details::new().text("mode", OpeningMode::Reopen.name());
        self.maintain(Operation::OpenStore, request, |call| {
            self.shared.store.reopen(root_key)?;
            self.shared.load_line_keys()?;
            // Its line is that of an opening. A log that was set aside takes it later, and the handle goes on waiting
            // for that.
            call.is_recorded();
            self.shared.opened(OpeningMode::Reopen)
        })
    }

    /// Settings for a KMS: region, account, audit log, clock.
    pub fn builder() -> LocalKmsBuilder {
        LocalKmsBuilder::default()
    }

    /// Makes the backup at `backup` a new KMS at `path`. Keys whose deletion was due meanwhile are left out: the second
    /// result is their number.
    ///
    /// # Errors
    /// As [`open`](Self::open) of the backup and [`create`](Self::create) of the new file.
    pub fn restore(backup: impl AsRef<Path>, path: impl AsRef<Path>, root_key: RootKey) -> Result<(Self, usize)> {
        LocalKmsBuilder::default().restore(backup, path, root_key)
    }
}
