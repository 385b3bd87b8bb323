//! The database of a store, open for writing or read-only.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::result::Result as StdResult;

use manila_core::{Error, ErrorKind, Result};
use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    WriteTransaction,
};

use crate::store::backend::Backend;
use crate::store::codec::{damaged, storage_error};

/// The size of the database's cache, in bytes.
const CACHE_SIZE: usize = 8 << 20;

/// An open database. All work with it and with its transactions runs within the [guard](Backend::guard) of its backend.
pub(super) struct Opened {
    /// `None` once it is dropped.
    database: Option<Kind>,
    backend: Backend,
    /// True if its writes are to be discarded, so that it must not be closed, which would write.
    is_discarded: bool,
}

pub(super) enum Kind {
    Writable(Database),
    ReadOnly(ReadOnlyDatabase),
}

impl Opened {
    /// Lets `open` open the database of a backend. The inner error is that of `open`.
    pub(super) fn over(
        backend: Backend,
        open: impl FnOnce(Backend) -> StdResult<Kind, DatabaseError>,
    ) -> Result<StdResult<Self, DatabaseError>> {
        let opened = backend.guard(|| Ok(open(backend.clone())))?;
        Ok(opened.map(|database| Self { database: Some(database), backend, is_discarded: false }))
    }

    /// Returns the same database, which is not closed when it is dropped, because its writes are discarded.
    pub(super) fn discarded(mut self) -> Self {
        self.is_discarded = true;
        self
    }

    pub(super) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(super) fn begin_read(&self) -> Result<ReadTransaction> {
        let begun = match self.database()? {
            Kind::Writable(database) => database.begin_read(),
            Kind::ReadOnly(database) => database.begin_read(),
        };
        begun.map_err(storage_error)
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction> {
        match self.database()? {
            Kind::Writable(database) => database.begin_write().map_err(storage_error),
            Kind::ReadOnly(_) => Err(read_only()),
        }
    }

    /// Returns the database, for work on the whole of it.
    pub(super) fn writable(&mut self) -> Result<&mut Database> {
        match self.database.as_mut().ok_or_else(damaged)? {
            Kind::Writable(database) => Ok(database),
            Kind::ReadOnly(_) => Err(read_only()),
        }
    }

    pub(super) fn is_read_only(&self) -> bool {
        matches!(self.database, Some(Kind::ReadOnly(_)))
    }

    fn database(&self) -> Result<&Kind> {
        self.database.as_ref().ok_or_else(damaged)
    }
}

impl Drop for Opened {
    /// Closes the database, which writes to the file unless the database is cut off.
    fn drop(&mut self) {
        if self.is_discarded {
            self.backend.cut_off();
        }
        // A panic of a destructor during another panic would abort the program.
        if self.backend.is_cut_off() {
            // The database notices here that it has lost its file, and so does not write again.
            let _ = catch_unwind(AssertUnwindSafe(|| self.begin_read().map(drop)));
        }
        let database = self.database.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

pub(super) fn builder(mode: ConcurrencyMode) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_SIZE).set_concurrency_mode(mode);
    builder
}

pub(super) fn read_only() -> Error {
    let detail = "the key store is open read-only, and this call changes it: open it with LocalKms::open";
    Error::new(ErrorKind::ReadOnly, detail)
}
