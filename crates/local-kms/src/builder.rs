//! [`LocalKmsBuilder`]: creates and opens an embedded KMS.

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

/// A builder that creates or opens an embedded KMS.
#[derive(Clone, Debug)]
#[must_use]
pub struct LocalKmsBuilder {
    region: String,
    account: String,
    clock: Arc<dyn Clock>,
    longest_pause: Duration,
    audit: Option<AuditLog>,
    grant_delay: Duration,
}

impl Default for LocalKmsBuilder {
    fn default() -> Self {
        Self {
            region: DEFAULT_REGION.to_owned(),
            account: DEFAULT_ACCOUNT.to_owned(),
            clock: Arc::new(SystemClock),
            longest_pause: LONGEST_PAUSE,
            audit: None,
            grant_delay: Duration::ZERO,
        }
    }
}

impl LocalKmsBuilder {
    /// Sets the region of a new store. Defaults to `local`. An existing store keeps its region.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = region.into();
        self
    }

    /// Sets the account of a new store, 12 digits. Defaults to `000000000000`. An existing store keeps its account.
    pub fn account(mut self, account: impl Into<String>) -> Self {
        self.account = account.into();
        self
    }

    /// Sets the clock. Defaults to that of the operating system. A test clock that moves ahead must also advance its
    /// monotonic time; otherwise the KMS treats the difference as an error of the clock.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets the longest accepted time between two writes. Defaults to ten years. After a longer pause, writes fail
    /// until the owner [confirms](LocalKms::confirm_clock) the clock.
    pub fn longest_pause(mut self, pause: Duration) -> Self {
        self.longest_pause = pause;
        self
    }

    /// Keeps an audit log. Every program that uses the store must set this itself.
    pub fn audit(mut self, log: AuditLog) -> Self {
        self.audit = Some(log);
        self
    }

    /// Rehearses the time that a new grant takes on AWS until it counts everywhere, up to five minutes: until then it
    /// counts only for calls with its [token](crate::CreatedGrant::token). Defaults to zero.
    pub fn grant_delay(mut self, delay: Duration) -> Self {
        self.grant_delay = delay;
        self
    }

    /// Creates a KMS in memory, whose keys are lost when the last clone is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the region or account is not valid,
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the operating system provides no random bytes,
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the audit log cannot be opened.
    pub fn in_memory(self) -> Result<LocalKms> {
        self.check()?;
        let (region, account) = (self.region.clone(), self.account.clone());
        self.over(OpeningMode::InMemory, || Store::in_memory(region, account))
    }

    /// Creates a KMS in a new file at `path`, which only the file's owner can read.
    ///
    /// # Errors
    /// The same as [`in_memory`](Self::in_memory); [`ErrorKind::Io`](crate::ErrorKind::Io) if the file exists or cannot
    /// be created, [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be written.
    pub fn create(self, path: impl AsRef<Path>, root_key: RootKey) -> Result<LocalKms> {
        self.check()?;
        let (region, account) = (self.region.clone(), self.account.clone());
        self.over(OpeningMode::Create, || Store::create(path.as_ref(), region, account, root_key))
    }

    /// Opens the KMS in the file at `path`. Other processes may also have it open.
    ///
    /// Verifies the whole file first.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the file does not exist or the audit log cannot be opened,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the file is damaged, is not a key store, has a newer
    /// format, or is sealed under another root key.
    pub fn open(self, path: impl AsRef<Path>, root_key: RootKey) -> Result<LocalKms> {
        self.over(OpeningMode::Open, || Store::open(path.as_ref(), root_key))
    }

    /// Opens the KMS in the file at `path` read-only: to decrypt, to describe keys, to verify an audit log.
    ///
    /// The file is not modified, and may be on a read-only medium. Other processes may continue to write it, and their
    /// changes are visible.
    ///
    /// Verifies the whole file first. Writers wait while its pages are checked, as they wait for each other. Calls that
    /// would change the store fail with [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly), including encryption under
    /// a key whose rotation is due. Deadlines take effect nevertheless.
    ///
    /// # Errors
    /// The same as [`open`](Self::open); also [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the file was not
    /// closed properly and no process has it open: [`open`](Self::open) repairs it, and [`restore`](Self::restore)
    /// creates a new store from it.
    #[expect(clippy::needless_pass_by_value, reason = "the caller keeps no copy of a root key, as with `open`")]
    pub fn open_read_only(self, path: impl AsRef<Path>, root_key: RootKey) -> Result<LocalKms> {
        self.over(OpeningMode::ReadOnly, || Store::open_read_only(path.as_ref(), &root_key))
    }

    /// Creates a KMS at `path` from the backup at `backup`. Keys whose deadline has passed since then are left out, and
    /// their number is returned with the KMS. The backup is not modified.
    ///
    /// With an [audit log](Self::audit), the new KMS takes over the log of the store from which the backup was made.
    /// From then on that store is refused with the log, even if the restoration fails later, because a log proves one
    /// store. To try out a backup, restore it without a log; to give the copy its own log, open it with a new file and
    /// call [`replace_lost_audit_log`](LocalKms::replace_lost_audit_log). To give the log back to the store, restore
    /// the store itself to a new file with the log.
    ///
    /// # Errors
    /// The same as [`open`](Self::open) of the backup and [`create`](Self::create) of the new file;
    /// [`ErrorKind::ClockUnconfirmed`](crate::ErrorKind::ClockUnconfirmed) if the backup is older than the [longest
    /// pause](Self::longest_pause).
    #[expect(clippy::needless_pass_by_value, reason = "the caller keeps no copy of a root key, as with `open`")]
    pub fn restore(
        self,
        backup: impl AsRef<Path>,
        path: impl AsRef<Path>,
        root_key: RootKey,
    ) -> Result<(LocalKms, usize)> {
        // Checked before a file is created, because keys past their deadline are left out.
        let clock = StoreClock::new(self.clock.clone(), self.longest_pause);
        let check = |store: &Store| store.read(|tables| clock.trust(tables).map(drop));
        let path = absolute(path.as_ref())?;
        let is_made = Cell::new(false);
        let make = || Store::restore(backup.as_ref(), &path, &root_key, check).inspect(|_| is_made.set(true));
        let restored = self.over(OpeningMode::Restore, make).and_then(|kms| Ok((kms.settle_restored()?, kms)));
        if restored.is_err() && is_made.get() {
            // The handle is closed. Remove the file, so that nobody takes it for a restored store.
            let _ = fs::remove_file(&path);
        }
        restored.map(|(dropped, kms)| (kms, dropped))
    }

    pub(super) fn check(&self) -> Result<()> {
        check_region(&self.region)?;
        if self.account.len() == ACCOUNT_LEN && self.account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(());
        }
        let message = format!("{} is not a valid account: use {ACCOUNT_LEN} digits", quoted(&self.account));
        Err(invalid("ValidationException", message))
    }

    /// Opens a KMS over a store. The log is opened first, so that no store is created if the log cannot be kept.
    pub(super) fn over(self, mode: OpeningMode, store: impl FnOnce() -> Result<Store>) -> Result<LocalKms> {
        let log = self.audit.map(Log::open).transpose()?;
        let store = store().inspect_err(|error| {
            // The key of the log's lines is derived from the root key, so a failed opening cannot have a line.
            tracing::warn!(target: "manila::audit", operation = "OpenStore", outcome = code_of(error), "not opened");
        })?;
        if let Some(log) = log.as_ref().filter(|log| store.is_at(log.path())) {
            return Err(is_store(log.path()));
        }
        let mut shared = Shared::new(store, StoreClock::new(self.clock, self.longest_pause), log)?;
        shared.grant_delay = u64::try_from(self.grant_delay.as_millis()).unwrap_or(u64::MAX);
        shared.opened(mode)?.map_or(Ok(()), Err)?;
        shared.is_open = true;
        shared.is_new = matches!(mode, OpeningMode::InMemory | OpeningMode::Create);
        Ok(LocalKms::over(shared))
    }
}

impl LocalKms {
    /// Creates a KMS in memory, whose keys are lost when the last clone is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the operating system provides no random bytes.
    pub fn in_memory() -> Result<Self> {
        LocalKmsBuilder::default().in_memory()
    }

    /// Creates a KMS in a new file at `path`, which only the file's owner can read.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the file exists or cannot be created,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it cannot be written.
    pub fn create(path: impl AsRef<Path>, root_key: RootKey) -> Result<Self> {
        LocalKmsBuilder::default().create(path, root_key)
    }

    /// Opens the KMS in the file at `path`. Other processes may also have it open.
    ///
    /// Verifies the whole file first.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the file does not exist,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it is damaged, is not a key store, has a newer format, or
    /// is sealed under another root key.
    pub fn open(path: impl AsRef<Path>, root_key: RootKey) -> Result<Self> {
        LocalKmsBuilder::default().open(path, root_key)
    }

    /// Opens the KMS in the file at `path` read-only: see [`LocalKmsBuilder::open_read_only`].
    ///
    /// # Errors
    /// The same as [`open`](Self::open).
    pub fn open_read_only(path: impl AsRef<Path>, root_key: RootKey) -> Result<Self> {
        LocalKmsBuilder::default().open_read_only(path, root_key)
    }

    /// Opens the file of the KMS again, in place: all clones and views of this handle, such as those in keyrings and
    /// clients, work again.
    ///
    /// Call this after a read or write of the file has failed, for instance on a full disk, or after the file was
    /// replaced by a later state of the same store. Only the owner may call this. The audit log stays open, and the
    /// opening is logged.
    ///
    /// # Errors
    /// The same as [`open`](Self::open); [`ErrorKind::RootKeyChanged`](crate::ErrorKind::RootKeyChanged) if the root
    /// key was changed, [`ErrorKind::Storage`](crate::ErrorKind::Storage) also if the file belongs to another store or
    /// to an earlier state of this one, [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the KMS is in
    /// memory, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller is not the owner. After an error
    /// the handle is unchanged, unless the audit log proves a later state: then every call is refused.
    pub fn reopen(&self) -> Result<()> {
        self.reopen_as(None)
    }

    /// Reopens the file with another root key, after another handle or process has [changed](Self::change_root_key) it:
    /// see [`reopen`](Self::reopen).
    ///
    /// # Errors
    /// The same as [`reopen`](Self::reopen), and [`ErrorKind::Storage`](crate::ErrorKind::Storage) if it is not the
    /// root key of the store.
    pub fn reopen_with(&self, root_key: RootKey) -> Result<()> {
        self.reopen_as(Some(root_key))
    }

    fn reopen_as(&self, root_key: Option<RootKey>) -> Result<()> {
        let request = Details::new().text("mode", OpeningMode::Reopen.name());
        self.maintain(Operation::OpenStore, request, |call| {
            self.shared.store.reopen(root_key)?;
            self.shared.load_line_keys()?;
            // Its line is that of an opening. If the log was moved away, the line is written later, and the handle
            // waits for that.
            let refusal = self.shared.opened(OpeningMode::Reopen)?;
            call.is_recorded(refusal)
        })
    }

    /// Returns a builder for the region, account, audit log and clock of a KMS.
    pub fn builder() -> LocalKmsBuilder {
        LocalKmsBuilder::default()
    }

    /// Creates a KMS at `path` from the backup at `backup`. Keys whose deadline has passed since then are left out, and
    /// their number is returned with the KMS. See [`LocalKmsBuilder::restore`].
    ///
    /// # Errors
    /// The same as [`open`](Self::open) of the backup and [`create`](Self::create) of the new file.
    pub fn restore(backup: impl AsRef<Path>, path: impl AsRef<Path>, root_key: RootKey) -> Result<(Self, usize)> {
        LocalKmsBuilder::default().restore(backup, path, root_key)
    }
}
