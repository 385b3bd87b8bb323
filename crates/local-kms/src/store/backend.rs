//! The storage of a database, with a boundary around the database: a file is somebody else's to damage, and a database
//! that meets pages it did not write may panic.
//!
//! Its checksums have no key, so whoever writes the file can make them right. A panic is caught here, becomes an error,
//! and cuts the database off from its file for good: what it has in memory then is not to be relied on.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io, thread};

use manila_core::{Error, ErrorKind, Result};
use redb::{BackendError, StorageBackend};

/// The longest file that is a key store. To open one takes memory for each page that it could have, which a file
/// without contents has as well.
pub(super) const LONGEST: u64 = 64 << 30;

/// The pause between two looks for other programs' reads.
const PAUSE: Duration = Duration::from_micros(200);

/// The storage of a database, and whether the database has panicked.
#[derive(Clone)]
pub(super) struct Backend(Arc<Inner>);

struct Inner {
    storage: Box<dyn StorageBackend>,
    is_cut_off: AtomicBool,
    /// Until when the database waits for the reads of other programs.
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

    /// Does something with the database. If that panics the database is cut off, and this is an error, as is everything
    /// that is done with it from then on.
    pub(super) fn guard<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_cut_off() {
            return Err(failed());
        }
        // Nothing that a panic may have left half done is used again: the database is cut off, and its transactions
        // end.
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            self.cut_off();
            Err(failed())
        })
    }

    /// Does something with the database that other programs' reads stand in the way of, and waits so long for them to
    /// end.
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

    /// Lets the database reach its file no more, and gives up its locks, for other processes to go on.
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

    /// A database that is cut off has nothing to lock: it is not stopped here, where it would not take that for a
    /// failure of its file, and so would go on to write when it is closed.
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
        // Closed already where it was cut off.
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
            // A read holds a lock. The database asks for those of others under the lock that every read begins under,
            // so no new one comes meanwhile.
            thread::sleep(PAUSE);
        }
    }
}
