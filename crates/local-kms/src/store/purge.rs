//! Erasing removed data, and data that was sealed under an earlier root key.
//!
//! A copy-on-write database keeps old pages, and pages in use keep old bytes after their rows. So all rows are first
//! written to new pages, then free pages are overwritten, and then the file is truncated.

use std::ops::RangeInclusive;
use std::sync::{PoisonError, RwLockWriteGuard};
use std::thread;
use std::time::Duration;

use manila_core::internal::crypto;
use manila_core::{Error, ErrorKind, Result};
use redb::{CompactionError, Key, ReadableTable, TableDefinition, TableError, WriteTransaction};

use crate::store::codec::storage_error;
use crate::store::tables::verify;
use crate::store::{HEADER_TABLE, MANIFEST_TABLE, State, Store, Table};

/// The row in the header's table that marks a purge in progress, so that the next opening of the store completes an
/// interrupted purge. It needs no seal, because anyone who can remove it can also keep a copy of the file.
const UNPURGED: &[u8] = b"unpurged";
/// The id of a purge's mark.
pub(super) type Mark = [u8; 16];
/// The table from which rows are moved to a new one.
const FORMER: &str = "former";
/// The table whose rows fill free pages, so that these are overwritten.
const FILLER: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("filler");
/// A row that fills most of a page of 4096 bytes, so that each page has only one.
const FILLER_ROW: [u8; 3000] = [0; 3000];
/// The number of pages to fill in one transaction, between the writes of others.
const SLICE: u32 = 1024;
/// The durations for which a purge waits for the reads of other programs to end, while no new reads can begin. The
/// first are short, because most reads are short and all programs wait meanwhile. Only a read that takes longer than
/// the last duration makes the purge fail.
const PATIENCE: [Duration; 4] = [SHORT, Duration::from_millis(80), Duration::from_millis(320), Duration::from_secs(1)];
const SHORT: Duration = Duration::from_millis(20);
/// The pause between these, in which other programs proceed.
const PAUSE: Duration = Duration::from_millis(20);

impl Store {
    /// Overwrites the remains of removed data, and frees their space.
    pub(crate) fn purge(&self) -> Result<()> {
        // If records are missing from the file, the purge would erase their last traces.
        self.read(verify)?;
        let mark = self.write_anew()?;
        self.overwrite(&mark, &PATIENCE)
    }

    /// Completes an interrupted purge that [`mark_unpurged`] began. Does not wait for other processes; if they are in
    /// the way, the mark remains for the next attempt.
    pub(super) fn finish_purge(&self) -> Result<()> {
        if !self.is_unpurged()? {
            return Ok(());
        }
        let mark = self.write_anew()?;
        self.overwrite(&mark, &[SHORT])
    }

    pub(super) fn is_unpurged(&self) -> Result<bool> {
        self.read(|reading| {
            let header = reading.transaction.open_table(HEADER_TABLE).map_err(storage_error)?;
            Ok(header.get(UNPURGED).map_err(storage_error)?.is_some())
        })
    }

    /// Writes every row to a new page, and marks the beginning of a purge.
    pub(super) fn write_anew(&self) -> Result<Mark> {
        self.enter(|state| {
            let transaction = self.begin(state)?.transaction;
            // A leftover of an interrupted purge.
            transaction.delete_table(FILLER).map_err(storage_error)?;
            rewrite(&transaction, HEADER_TABLE, |_, row| Ok(row.to_vec()))?;
            rewrite(&transaction, MANIFEST_TABLE, |_, row| Ok(row.to_vec()))?;
            for table in Table::ALL {
                rewrite(&transaction, table.definition(), |_, row| Ok(row.to_vec()))?;
            }
            let mark = mark_unpurged(&transaction)?;
            transaction.commit().map_err(storage_error)?;
            Ok(mark)
        })
    }

    /// Overwrites the pages that no longer contain rows, and truncates the file. Other calls continue meanwhile, except
    /// during compaction.
    pub(super) fn overwrite(&self, mark: &Mark, patience: &[Duration]) -> Result<()> {
        // Once before the file is truncated, so that the truncated part is overwritten on the disk too, and once for
        // pages that another process was reading until the compaction.
        for _ in 0..2 {
            self.snapshots.wait();
            self.fill_free_pages()?;
            self.compact(patience)?;
        }
        self.commit(|_, transaction| unmark(transaction, mark))
    }

    fn fill_free_pages(&self) -> Result<()> {
        // Pages are free once the commits before their removal can no longer be read.
        (0..3).try_for_each(|_| self.commit(|_, _| Ok(())))?;
        // A store in memory has no file that could be read later.
        let Some(before) = self.with(State::len)? else { return Ok(()) };
        // Ids of rows that no other purge writes. Each row takes a page, so there are more ids than pages, even if
        // another purge that ends meanwhile removes some.
        let first = u64::from(u32::from_be_bytes(crypto::random_array()?)) << 32;
        let mut rows = first..=first.saturating_add(before >> 10);
        let mut is_full = Ok(false);
        while let Ok(false) = is_full {
            is_full = self.commit(|state, filling| fill(state, filling, before, &mut rows));
        }
        let emptied = self.commit(|_, emptying| emptying.delete_table(FILLER).map(drop).map_err(storage_error));
        is_full.and(emptied)
    }

    /// Commits a change of the file that does not change the store.
    fn commit<T>(&self, work: impl FnOnce(&State, &WriteTransaction) -> Result<T>) -> Result<T> {
        self.enter(|state| {
            let transaction = state.database.begin_write()?;
            let done = work(state, &transaction)?;
            transaction.commit().map_err(storage_error)?;
            Ok(done)
        })
    }

    /// Returns exclusive access to the store, once all other users in this handle have finished.
    fn alone(&self) -> RwLockWriteGuard<'_, State> {
        loop {
            // Without the lock, so that nobody waits for a purge that is itself waiting.
            self.snapshots.wait();
            let state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            if !self.snapshots.is_any_open() {
                return state;
            }
        }
    }

    fn compact(&self, patience: &[Duration]) -> Result<()> {
        for (attempt, patience) in patience.iter().enumerate() {
            if attempt > 0 {
                thread::sleep(PAUSE);
            }
            let mut state = self.alone();
            let backend = state.database.backend().clone();
            match backend.patiently(*patience, || Ok(state.database.writable()?.compact()))? {
                Ok(_) => return Ok(()),
                Err(CompactionError::TransactionInProgress) => {}
                Err(error) => return Err(storage_error(error)),
            }
        }
        let detail = "the key store cannot be purged while another process reads it: try again";
        Err(Error::new(ErrorKind::Storage, detail))
    }
}

/// Fills free pages, as many as other writers can wait for. Returns whether none is left: the database enlarges its
/// file only then, so once the file has grown, all free pages are overwritten.
fn fill(state: &State, filling: &WriteTransaction, before: u64, rows: &mut RangeInclusive<u64>) -> Result<bool> {
    let mut filler = filling.open_table(FILLER).map_err(storage_error)?;
    for _ in 0..SLICE {
        let Some(row) = rows.next() else {
            let detail = "the file of the key store does not grow: open it again and purge it";
            return Err(Error::new(ErrorKind::Storage, detail));
        };
        filler.insert(row, FILLER_ROW.as_slice()).map_err(storage_error)?;
        if state.len()?.is_some_and(|len| len > before) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Marks the file as containing old bytes, until a purge that begins later has ended. Each mark has a different id.
pub(super) fn mark_unpurged(transaction: &WriteTransaction) -> Result<Mark> {
    let mark: Mark = crypto::random_array()?;
    let mut header = transaction.open_table(HEADER_TABLE).map_err(storage_error)?;
    header.insert(UNPURGED, mark.as_slice()).map_err(storage_error)?;
    Ok(mark)
}

/// Removes the mark of a purge that has ended, unless another mark has replaced it: then old bytes were added after
/// this purge began, and another purge is needed.
fn unmark(transaction: &WriteTransaction, mark: &Mark) -> Result<()> {
    let mut header = transaction.open_table(HEADER_TABLE).map_err(storage_error)?;
    let is_own = header.get(UNPURGED).map_err(storage_error)?.is_some_and(|row| row.value() == mark);
    if is_own {
        header.remove(UNPURGED).map_err(storage_error)?;
    }
    Ok(())
}

/// Writes the rows of a table to new pages, transformed by `change`. Replacing rows in place would leave old bytes
/// behind.
pub(super) fn rewrite<K: Key + 'static>(
    transaction: &WriteTransaction,
    table: TableDefinition<'_, K, &'static [u8]>,
    mut change: impl FnMut(K::SelfType<'_>, &[u8]) -> Result<Vec<u8>>,
) -> Result<()> {
    let former = TableDefinition::<K, &[u8]>::new(FORMER);
    match transaction.rename_table(table, former) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        renamed => renamed.map_err(storage_error)?,
    }
    let mut new = transaction.open_table(table).map_err(storage_error)?;
    let old = transaction.open_table(former).map_err(storage_error)?;
    for row in old.iter().map_err(storage_error)? {
        let (id, row) = row.map_err(storage_error)?;
        let changed = change(id.value(), row.value())?;
        new.insert(id.value(), changed.as_slice()).map_err(storage_error)?;
    }
    drop(old);
    transaction.delete_table(former).map_err(storage_error)?;
    Ok(())
}
