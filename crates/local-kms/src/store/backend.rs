//! The storage of a database, with a boundary around the database: others can damage the file, and a database that
//! reads pages it did not write may panic.
//!
//! The database's checksums have no key, so anyone who writes the file can forge them. A panic is caught here and
//! returned as an error, and the database is permanently cut off from its file, because its state in memory is no
//! longer reliable.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use manila_core::{Error, ErrorKind, Result};
use redb::{BackendError, StorageBackend};

/// The maximum length of a key store's file. Opening a file takes memory for each page of its length, even if it is
/// sparse.
pub(super) const LONGEST: u64 = 64 << 30;

/// The pause between two looks for other programs' reads.
const PAUSE: Duration = Duration::from_micros(200);

/// The storage of a database, and whether the database has panicked.
#[derive(Clone)]
pub(super) struct Backend(Arc<Inner>);

struct Inner {
    storage: Box<dyn StorageBackend>,
    is_cut_off: AtomicBool,
    /// The time until which the database waits for the reads of other programs.
    patience: Mutex<Option<Instant>>,
}

impl Backend {
    pub(super) fn new(storage: impl StorageBackend) -> Self {
        Self(Arc::new(Inner {
            storage: Box::new(storage),
            is_cut_off: AtomicBool::new(false),
            patience: Mutex::default(),
        }))
    }

    /// Runs `work` with the database. If it panics, the database is cut off, and this and all later uses of it return
    /// an error.
    pub(super) fn guard<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_cut_off() {
            return Err(failed());
        }
        // Nothing that a panic may have left inconsistent is used again: the database is cut off, and its transactions
        // end.
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            self.cut_off();
            Err(failed())
        })
    }

    /// Runs `work` with the database, which other programs' reads block, and waits for them for this long.
    pub(super) fn patiently<T>(&self, patience: Duration, work: impl FnOnce() -> Result<T>) -> Result<T> {
        *self.patience() = Instant::now().checked_add(patience);
        let done = self.guard(work);
        *self.patience() = None;
        done
    }

    fn patience(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_patient(&self) -> bool {
        self.patience().is_some_and(|until| Instant::now() < until)
    }

    /// Cuts the database off from its file and releases its locks, so that other processes can proceed.
    pub(super) fn cut_off(&self) {
        if !self.0.is_cut_off.swap(true, Ordering::AcqRel) {
            let _ = self.0.storage.close();
        }
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.0.is_cut_off.load(Ordering::Acquire)
    }

    fn storage(&self) -> io::Result<&dyn StorageBackend> {
        if self.is_cut_off() {
            Err(io::Error::other("the key store was cut off from it"))
        } else {
            Ok(&*self.0.storage)
        }
    }

    /// Calls `lock`, unless the database is cut off. Locking then succeeds without effect: the database would not treat
    /// an error here as a failure of its file, and would still write when it is closed.
    fn locking<T>(
        &self,
        cut_off: T,
        lock: impl FnOnce(&dyn StorageBackend) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        self.storage().map_or(Ok(cut_off), lock)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.storage.fmt(formatter)
    }
}

fn failed() -> Error {
    let detail = "the key store failed, perhaps because its file was damaged while open: reopen it, or restore a copy \
                  if that fails";
    Error::new(ErrorKind::Storage, detail)
}

/// Fails if a file is longer than any key store.
pub(super) fn check_len(len: u64) -> io::Result<u64> {
    if len <= LONGEST {
        return Ok(len);
    }
    let detail = format!("{len} bytes are more than the {LONGEST} that a key store can have");
    Err(io::Error::new(io::ErrorKind::FileTooLarge, detail))
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.storage()?.len().and_then(check_len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.storage()?.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.storage()?.set_len(check_len(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.storage()?.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.storage()?.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        // The file is already closed if the database was cut off.
        self.storage().map_or(Ok(()), StorageBackend::close)
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locking(true, |storage| storage.try_lock_range(start, end))
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locking(true, |storage| storage.try_lock_shared_range(start, end))
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locking((), |storage| storage.lock_range(start, end))
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locking((), |storage| storage.lock_shared_range(start, end))
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locking((), |storage| storage.unlock_range(start, end))
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        loop {
            let is_locked = self.locking(false, |storage| storage.query_lock_range(start, end))?;
            if !is_locked || !self.is_patient() {
                return Ok(is_locked);
            }
            // A read holds a lock. The database tests the locks of others while it holds the lock under which every
            // read begins, so no new read begins meanwhile.
            thread::sleep(PAUSE);
        }
    }
}
