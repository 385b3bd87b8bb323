//! Leaving nothing behind of what was removed, or sealed under an earlier root key.
//!
//! A database that copies before it writes keeps old pages, and pages that are in use keep old bytes behind their rows.
//! So all rows are written to new pages first, then the pages that are free are written over, and then the file is cut.

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

/// The row of the header's table that stands there from the beginning of a purge to its end: a purge that was cut off
/// is done when the store is opened next. It needs no seal: who can take it away can keep a copy of the file as well.
const UNPURGED: &[u8] = b"unpurged";
/// Tells the mark of one purge from that of another.
pub(super) type Mark = [u8; 16];
/// The table that holds rows while they are written to a new one.
const FORMER: &str = "former";
/// Takes up free pages for a moment, so that they are written over.
const FILLER: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("filler");
/// Fills most of a page of 4096 bytes, alone.
const FILLER_ROW: [u8; 3000] = [0; 3000];
/// The number of pages that are filled between writes of others.
const SLICE: u32 = 1024;
/// The times that a purge waits for the reads of other programs to end, while they begin no new ones: not long at
/// first, since most reads are short and everybody waits with it. Only a read that takes longer than the last of these
/// is in its way.
const PATIENCE: [Duration; 4] = [SHORT, Duration::from_millis(80), Duration::from_millis(320), Duration::from_secs(1)];
const SHORT: Duration = Duration::from_millis(20);
/// For how long they go on in between.
const PAUSE: Duration = Duration::from_millis(20);

impl Store {
    /// Gives back the space of what was removed, and writes over what is left of it.
    pub(crate) fn purge(&self) -> Result<()> {
        // What is missing would be purged for good.
        self.read(verify)?;
        let mark = self.write_anew()?;
        self.overwrite(&mark, &PATIENCE)
    }

    /// Ends a purge that was begun by [`mark_unpurged`] and cut off. It does not wait for other processes: the mark
    /// stays for the next one.
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

    /// Writes every row to a new page, and notes that a purge has begun.
    pub(super) fn write_anew(&self) -> Result<Mark> {
        self.enter(|state| {
            let transaction = self.begin(state)?.transaction;
            // Of a purge that was cut off.
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

    /// Writes over the pages that no row is in any more, and cuts the file. Everything goes on meanwhile, but for the
    /// moments of compaction.
    pub(super) fn overwrite(&self, mark: &Mark, patience: &[Duration]) -> Result<()> {
        // First before anything is cut off, so that the disk has none of it either; then what another process was
        // reading until the compaction.
        for _ in 0..2 {
            self.snapshots.wait();
            self.fill_free_pages()?;
            self.compact(patience)?;
        }
        self.commit(|_, transaction| unmark(transaction, mark))
    }

    fn fill_free_pages(&self) -> Result<()> {
        // Pages are free once no commit before their removal can be read any more.
        (0..3).try_for_each(|_| self.commit(|_, _| Ok(())))?;
        // What is in memory alone has no file that somebody could read later.
        let Some(before) = self.with(State::len)? else { return Ok(()) };
        // Rows that no other purge writes. Each takes a page, so there are more of them than pages, also where another
        // purge that ends meanwhile takes some away.
        let first = u64::from(u32::from_be_bytes(crypto::random_array()?)) << 32;
        let mut rows = first..=first.saturating_add(before >> 10);
        let mut is_full = Ok(false);
        while let Ok(false) = is_full {
            is_full = self.commit(|state, filling| fill(state, filling, before, &mut rows));
        }
        let emptied = self.commit(|_, emptying| emptying.delete_table(FILLER).map(drop).map_err(storage_error));
        is_full.and(emptied)
    }

    /// A change of the file that is none of the store.
    fn commit<T>(&self, work: impl FnOnce(&State, &WriteTransaction) -> Result<T>) -> Result<T> {
        self.enter(|state| {
            let transaction = state.database.begin_write()?;
            let done = work(state, &transaction)?;
            transaction.commit().map_err(storage_error)?;
            Ok(done)
        })
    }

    /// The store without anybody else of this handle in it, once they have ended.
    fn alone(&self) -> RwLockWriteGuard<'_, State> {
        loop {
            // Without the lock, so that nobody waits for a purge that waits.
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

/// Fills free pages, as many as other writers can wait for. Returns whether none is left: a database asks for more room
/// only then, so once the file has grown all of them are written.
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

/// Notes that old bytes are in the file, until a purge that begins later has ended. Every such note is another one.
pub(super) fn mark_unpurged(transaction: &WriteTransaction) -> Result<Mark> {
    let mark: Mark = crypto::random_array()?;
    let mut header = transaction.open_table(HEADER_TABLE).map_err(storage_error)?;
    header.insert(UNPURGED, mark.as_slice()).map_err(storage_error)?;
    Ok(mark)
}

/// Takes away the mark of a purge that has ended, unless another one has taken its place: old bytes came into the file
/// after this purge began, so another one is to end.
fn unmark(transaction: &WriteTransaction, mark: &Mark) -> Result<()> {
    let mut header = transaction.open_table(HEADER_TABLE).map_err(storage_error)?;
    let is_own = header.get(UNPURGED).map_err(storage_error)?.is_some_and(|row| row.value() == mark);
    if is_own {
        header.remove(UNPURGED).map_err(storage_error)?;
    }
    Ok(())
}

/// Writes the rows of a table to new pages, changed by `change`. Rows that are replaced in place would leave bytes
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
