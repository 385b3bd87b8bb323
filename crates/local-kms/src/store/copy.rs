//! Consistent copies of the store.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use manila_core::Result;
use redb::{ConcurrencyMode, ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};

use crate::root_key::RootKey;
use crate::store::backend::Backend;
use crate::store::codec::storage_error;
use crate::store::database::{Kind, Opened, builder};
use crate::store::open::in_new_file;
use crate::store::{HEADER, HEADER_TABLE, MANIFEST_TABLE, Store, Table};

/// A snapshot of the store. Others read and write meanwhile; only a purge waits for its end.
pub(super) struct Snapshot<'a> {
    pub(super) transaction: ReadTransaction,
    backend: Backend,
    /// The root key under which it is sealed.
    root: RootKey,
    // Dropped after the transaction, so that the transaction has ended when a waiting caller proceeds.
    _open: Open<'a>,
}

/// Counts the snapshots that are open.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    counts: Mutex<Counts>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    open: usize,
    /// The number of callers that wait until none is open.
    waiting: usize,
}

/// An open snapshot, counted while it exists.
struct Open<'a>(&'a Snapshots);

impl Store {
    /// Writes a copy of the current store to a new file, and verifies the whole copy. `first` gets the copy before the
    /// file gets its name.
    pub(crate) fn copy_to(&self, path: &Path, first: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let snapshot = self.snapshot()?;
        let root = snapshot.root.clone();
        in_new_file(path, |storage| {
            let copy = Opened::over(Backend::new(storage), |backend| {
                builder(ConcurrencyMode::MultiWriter).create_with_backend(backend).map(Kind::Writable)
            })?;
            let copy = copy.map_err(storage_error)?;
            copy.backend().guard(|| {
                let to = copy.begin_write()?;
                snapshot.copy_rows(&to)?;
                to.commit().map_err(storage_error)
            })?;
            // So that damage of the store is found now, and not when the backup is needed.
            first(&Self::of_database(copy, root)?)
        })
        .map(drop)
    }

    /// Returns a snapshot of the current store, for a reader that takes long.
    pub(super) fn snapshot(&self) -> Result<Snapshot<'_>> {
        // Counted before it begins, so that no purge misses it.
        let open = self.snapshots.begin();
        self.enter(|state| {
            let transaction = self.begin_read(state)?.transaction;
            let (backend, root) = (state.database.backend().clone(), state.seal.root_key());
            Ok(Snapshot { transaction, backend, root, _open: open })
        })
    }
}

impl Snapshot<'_> {
    /// Copies all rows, and ends the snapshot.
    fn copy_rows(self, to: &WriteTransaction) -> Result<()> {
        let Self { transaction, backend, _open, .. } = self;
        backend.guard(move || {
            copy_header(&transaction, to)?;
            copy_table(&transaction, to, MANIFEST_TABLE)?;
            Table::ALL.into_iter().try_for_each(|table| copy_table(&transaction, to, table.definition()))
        })
    }
}

impl Snapshots {
    fn begin(&self) -> Open<'_> {
        let mut counts = self.lock();
        counts.open = counts.open.saturating_add(1);
        Open(self)
    }

    /// Waits until no snapshot is open.
    pub(super) fn wait(&self) {
        let mut counts = self.lock();
        counts.waiting = counts.waiting.saturating_add(1);
        while counts.open > 0 {
            counts = self.ended.wait(counts).unwrap_or_else(PoisonError::into_inner);
        }
        counts.waiting = counts.waiting.saturating_sub(1);
    }

    pub(super) fn is_any_open(&self) -> bool {
        self.lock().open > 0
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.lock();
        counts.open = counts.open.saturating_sub(1);
        self.0.ended.notify_all();
    }
}

/// Copies the header, without marks that concern only the original file.
fn copy_header(from: &ReadTransaction, to: &WriteTransaction) -> Result<()> {
    let from = from.open_table(HEADER_TABLE).map_err(storage_error)?;
    let mut to = to.open_table(HEADER_TABLE).map_err(storage_error)?;
    if let Some(header) = from.get(HEADER).map_err(storage_error)? {
        to.insert(HEADER, header.value()).map_err(storage_error)?;
    }
    Ok(())
}

fn copy_table<K: redb::Key + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    definition: TableDefinition<'_, K, &'static [u8]>,
) -> Result<()> {
    let from = match from.open_table(definition) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        opened => opened.map_err(storage_error)?,
    };
    let mut to = to.open_table(definition).map_err(storage_error)?;
    for row in from.iter().map_err(storage_error)? {
        let (key, value) = row.map_err(storage_error)?;
        to.insert(key.value(), value.value()).map_err(storage_error)?;
    }
    Ok(())
}
