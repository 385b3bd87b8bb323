//! [`Shared`]: the store, the clock and the audit log behind all views and clones of a handle.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::{Event, Followed, Found, LineKey, Log, Word, Written};
use crate::clock::StoreClock;
use crate::key_pairs::KeyPairs;
use crate::policy::{self, PolicyCache};
use crate::record::audit::{AuditRecord, found, line_keys, put_end, word};
use crate::settling::Settling;
use crate::store::{Store, Tables, WriteTxn};
use manila_core::Result;

/// The part of a handle that all its views and clones share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) account: String,
    pub(super) owner: String,
    pub(super) store_id: Vec<u8>,
    pub(super) clock: StoreClock,
    pub(super) settling: Settling,
    pub(super) policies: PolicyCache,
    pub(super) key_pairs: KeyPairs,
    /// The time during which a new grant counts only for calls with its token, in milliseconds.
    pub(super) grant_delay: u64,
    pub(super) log: Option<Log>,
    line_keys: Mutex<Arc<[LineKey]>>,
    /// True once the handle has been returned to the caller.
    pub(super) is_open: bool,
    /// True if the handle made the store.
    pub(super) is_new: bool,
}

impl Shared {
    pub(super) fn new(store: Store, clock: StoreClock, log: Option<Log>) -> Result<Self> {
        let shared = Self {
            account: store.account(),
            owner: policy::owner(&store.account()),
            store_id: store.with_seal(|seal| seal.store_id().to_vec()),
            store,
            clock,
            settling: Settling::default(),
            policies: PolicyCache::default(),
            key_pairs: KeyPairs::default(),
            grant_delay: 0,
            log,
            line_keys: Mutex::default(),
            is_open: false,
            is_new: false,
        };
        shared.load_line_keys()?;
        // The pace of the clock is measured from the opening on.
        shared.store.read(|tables| Ok(shared.clock.present(tables)))?;
        Ok(shared)
    }

    /// Writes at the present time, which the store records. Fails if the clock is in doubt.
    pub(super) fn write_now<T>(&self, work: impl FnOnce(&mut WriteTxn<'_>, u64) -> Result<T>) -> Result<T> {
        let (present, done) = self.store.write(|tables| {
            let present = self.clock.trust(tables)?;
            tables.observe_time(present.time);
            let done = work(tables, present.time)?;
            Ok((present, done))
        })?;
        // Only a committed write confirms the clock.
        self.clock.believe(&present);
        Ok(done)
    }

    /// Writes the line of an event, if a log is kept. No transaction may be open.
    pub(super) fn write_line(&self, event: &Event<'_>) -> Result<Written> {
        self.write_line_by(event, &|| self.look())
    }

    /// Writes the line of an event in the transaction that makes its change.
    pub(super) fn write_line_in(&self, tables: &mut WriteTxn<'_>, event: &Event<'_>) -> Result<Written> {
        let written = self.write_line_by(event, &|| word(tables, tables.former_epoch(), true));
        if self.log.is_some() && matches!(written, Ok(Written::Whole)) {
            tables.name_commit();
        }
        written
    }

    fn write_line_by(&self, event: &Event<'_>, look: &dyn Fn() -> Result<Word>) -> Result<Written> {
        match &self.log {
            Some(log) => log.append(event, || self.line_keys(), &self.store_id, look),
            None => Ok(Written::Whole),
        }
    }

    /// Returns the present state of the store for its log. Nothing may be locked here.
    pub(super) fn look(&self) -> Result<Word> {
        let word = self.store.read(|tables| word(tables, tables.seal().epoch(), false))?;
        // Another thread of this handle may have just changed the root key.
        if self.line_keys().iter().all(|key| key.epoch < word.epoch) {
            self.load_line_keys()?;
        }
        Ok(word)
    }

    /// Fails if the log contradicts the store. Called before a commit without a line.
    pub(super) fn check_not_refused(&self, tables: &WriteTxn<'_>) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        log.check_not_refused(&self.line_keys(), &self.store_id, word(tables, tables.former_epoch(), true)?)
    }

    pub(super) fn keeps_context_keys_only(&self) -> bool {
        self.log.as_ref().is_some_and(Log::keeps_context_keys_only)
    }

    pub(super) fn line_keys(&self) -> Arc<[LineKey]> {
        self.lock_line_keys().clone()
    }

    fn lock_line_keys(&self) -> MutexGuard<'_, Arc<[LineKey]>> {
        self.line_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn found(&self) -> Result<Found> {
        self.store.read(|tables| Ok(found(tables)))
    }

    /// Loads the line keys of all root keys so far.
    pub(super) fn load_line_keys(&self) -> Result<()> {
        self.set_line_keys(self.store.read(|tables| line_keys(tables))?);
        Ok(())
    }

    pub(super) fn set_line_keys(&self, keys: Vec<LineKey>) {
        *self.lock_line_keys() = keys.into();
    }

    pub(super) fn checkpoint(&self) -> Result<()> {
        if self.log.is_none() {
            return Ok(());
        }
        let followed = self.follow_log(None);
        self.store.write(|tables| self.keep_end(tables, &followed))
    }

    /// Follows the log from the line that the store has recorded, before a transaction that records its end.
    pub(super) fn follow_log(&self, other: Option<&Path>) -> Followed {
        let Some(log) = &self.log else { return Followed::default() };
        log.sync_ahead();
        let before = self.store.read(|tables| AuditRecord::load(tables)?.checkpoint()).unwrap_or_default();
        log.follow(&self.line_keys(), &self.store_id, before.as_ref(), other)
    }

    pub(super) fn keep_end(&self, tables: &mut WriteTxn<'_>, followed: &Followed) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let mut record = AuditRecord::load(tables)?;
        let (before, word) = (record.checkpoint()?, word(tables, tables.former_epoch(), true)?);
        let kept = log.end(&self.line_keys(), &self.store_id, before.as_ref(), word, followed)?;
        kept.missed.iter().try_for_each(|end| put_end(tables, end))?;
        record.set_checkpoint(kept.checkpoint);
        record.put(tables)
    }
}

impl Drop for Shared {
    /// Records the end of the audit log if possible. Callers who need to know the outcome call
    /// [`crate::LocalKms::checkpoint`] themselves.
    fn drop(&mut self) {
        if self.is_open {
            self.close();
        }
    }
}
