//! Transactions that read and write records.

use std::ops::Bound;
use std::sync::Arc;

use manila_core::Result;
use redb::{ReadTransaction, ReadableTable, TableError, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::store::codec::{bounded, damaged, from_cbor, storage_error, to_cbor, unsettled};
use crate::store::header::Header;
use crate::store::manifest::{Between, Edit, Found, Manifest};
use crate::store::seal::Seal;
use crate::store::{HEADER, HEADER_TABLE, MANIFEST_TABLE, Table};

/// Access to records for reading.
pub(crate) trait Tables {
    /// Returns the sealed record of `id`.
    fn row(&self, table: Table, id: &str) -> Result<Option<Vec<u8>>>;

    /// Returns the number of the commit that wrote the record of `id`, according to the manifest.
    fn counter(&self, table: Table, id: &str) -> Result<Option<u64>>;

    /// Returns the ids of a table that begin with `prefix`, in order, at most `most` of them. The manifest proves that
    /// none is missing.
    fn first_ids(&self, table: Table, prefix: &str, most: usize) -> Result<Vec<String>>;

    /// Returns the latest time of any commit, in milliseconds since 1970.
    fn time(&self) -> u64;

    /// Returns the time of the first commit with a time, in milliseconds since 1970.
    fn begun(&self) -> u64;

    /// Returns the latest deadline of anything that was permanently removed, in milliseconds since 1970.
    fn removed(&self) -> u64;

    /// Returns the number of times that the time was set back.
    fn rewinds(&self) -> u64;

    /// Returns the number of the latest commit.
    fn commit_number(&self) -> u64;

    /// Returns the number that tells the store from others that were restored from a backup of it, or of which it is a
    /// restored backup.
    fn copy(&self) -> u64;

    /// Returns the number of the latest commit with a line in the audit log; zero if there is none.
    fn named(&self) -> u64;

    /// Returns the seal of the records.
    fn seal(&self) -> &Seal;

    /// Returns all ids of a table that begin with `prefix`, in order.
    fn ids(&self, table: Table, prefix: &str) -> Result<Vec<String>> {
        self.first_ids(table, prefix, usize::MAX)
    }

    /// Returns all records of a table whose ids begin with `prefix`, in order, each with the rest of its id.
    fn all<T: DeserializeOwned>(&self, table: Table, prefix: &str) -> Result<Vec<(String, T)>> {
        let record = |id: String| {
            let record = self.get(table, &id)?.ok_or_else(damaged)?;
            Ok((id.strip_prefix(prefix).unwrap_or_default().to_owned(), record))
        };
        self.ids(table, prefix)?.into_iter().map(record).collect()
    }

    /// Returns the bytes of the record of `id`, if the manifest and the table agree on it.
    fn record(&self, table: Table, id: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        match (self.counter(table, id)?, self.row(table, id)?) {
            (None, None) => Ok(None),
            (Some(counter), Some(sealed)) => self.seal().open_bytes(table, id, counter, &sealed).map(Some),
            _ => Err(damaged()),
        }
    }

    /// Returns the record of `id`.
    fn get<T: DeserializeOwned>(&self, table: Table, id: &str) -> Result<Option<T>> {
        let record = self.record(table, id)?;
        record.map(|record| from_cbor(&record).ok_or_else(damaged)).transpose()
    }
}

/// A read transaction.
pub(crate) struct ReadTxn<'a> {
    pub(super) transaction: ReadTransaction,
    pub(super) seal: &'a Seal,
    pub(super) manifest: Arc<Manifest>,
}

impl ReadTxn<'_> {
    fn manifest_row(&self, row: u16) -> Result<Option<Vec<u8>>> {
        manifest_row_of(&self.transaction, row)
    }
}

impl Tables for ReadTxn<'_> {
    fn row(&self, table: Table, id: &str) -> Result<Option<Vec<u8>>> {
        match self.transaction.open_table(table.definition()) {
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            opened => row_of(&opened.map_err(storage_error)?, id),
        }
    }

    fn counter(&self, table: Table, id: &str) -> Result<Option<u64>> {
        self.manifest.counter(self.seal, &|row| self.manifest_row(row), table, id)
    }

    fn first_ids(&self, table: Table, prefix: &str, most: usize) -> Result<Vec<String>> {
        let found = match self.transaction.open_table(table.definition()) {
            Err(TableError::TableDoesNotExist(_)) => {
                Found { before: None, ids: Vec::new(), is_cut: false, after: None }
            }
            opened => find(&opened.map_err(storage_error)?, prefix, most)?,
        };
        self.manifest.check_whole(self.seal, &|row| self.manifest_row(row), table, &found)?;
        Ok(found.ids)
    }

    fn time(&self) -> u64 {
        self.manifest.time
    }

    fn begun(&self) -> u64 {
        self.manifest.begun
    }

    fn removed(&self) -> u64 {
        self.manifest.removed
    }

    fn rewinds(&self) -> u64 {
        self.manifest.rewinds
    }

    fn commit_number(&self) -> u64 {
        self.manifest.commit
    }

    fn copy(&self) -> u64 {
        self.manifest.copy
    }

    fn named(&self) -> u64 {
        self.manifest.named
    }

    fn seal(&self) -> &Seal {
        self.seal
    }
}

/// A write transaction.
pub(crate) struct WriteTxn<'a> {
    pub(super) transaction: WriteTransaction,
    pub(super) seal: &'a Seal,
    pub(super) edit: Edit,
    /// The number of the root key that is in effect until the commit.
    pub(super) former_epoch: u64,
}

impl Tables for WriteTxn<'_> {
    fn row(&self, table: Table, id: &str) -> Result<Option<Vec<u8>>> {
        row_of(&self.transaction.open_table(table.definition()).map_err(storage_error)?, id)
    }

    fn counter(&self, table: Table, id: &str) -> Result<Option<u64>> {
        self.edit.counter(self.seal, &|row| self.manifest_row(row), table, id)
    }

    fn first_ids(&self, table: Table, prefix: &str, most: usize) -> Result<Vec<String>> {
        let found = find(&self.transaction.open_table(table.definition()).map_err(storage_error)?, prefix, most)?;
        self.edit.check_whole(self.seal, &|row| self.manifest_row(row), table, &found)?;
        Ok(found.ids)
    }

    fn time(&self) -> u64 {
        self.edit.time()
    }

    fn begun(&self) -> u64 {
        self.edit.begun()
    }

    fn removed(&self) -> u64 {
        self.edit.removed()
    }

    fn rewinds(&self) -> u64 {
        self.edit.rewinds()
    }

    fn commit_number(&self) -> u64 {
        self.edit.base()
    }

    fn copy(&self) -> u64 {
        self.edit.copy()
    }

    fn named(&self) -> u64 {
        self.edit.named()
    }

    fn seal(&self) -> &Seal {
        self.seal
    }
}

impl WriteTxn<'_> {
    /// Returns the number of the root key that is in effect until the commit. During a change it differs from that of
    /// the records.
    pub(crate) fn former_epoch(&self) -> u64 {
        self.former_epoch
    }

    /// Returns the number of the commit that this transaction will make.
    pub(crate) fn next_commit_number(&self) -> u64 {
        self.edit.commit()
    }

    /// Records that this commit has a line in the audit log.
    pub(crate) fn name_commit(&mut self) {
        self.edit.name();
    }

    /// Stores a record, and replaces an older one with the same id.
    pub(crate) fn put<T: Serialize>(&mut self, table: Table, id: &str, record: &T) -> Result<()> {
        let sealed = self.seal.seal_bytes(table, id, self.edit.commit(), &to_cbor(record)?)?;
        self.note_kept(table, id)?;
        self.put_row(table, id, &sealed)
    }

    /// Removes a record, if it exists.
    pub(crate) fn remove(&mut self, table: Table, id: &str) -> Result<()> {
        self.note_removed(table, id)?;
        let mut opened = self.transaction.open_table(table.definition()).map_err(storage_error)?;
        opened.remove(id.as_bytes()).map_err(storage_error)?;
        Ok(())
    }

    /// Records the time, in milliseconds since 1970, so that later commits cannot have an earlier one.
    pub(crate) fn observe_time(&mut self, time: u64) {
        self.edit.observe_time(time);
    }

    /// Records that something with this deadline was permanently removed.
    pub(crate) fn note_removal(&mut self, deadline: u64) {
        self.edit.note_removal(deadline);
    }

    /// Sets the time back.
    pub(crate) fn rewind(&mut self, time: u64) {
        self.edit.rewind(time);
    }

    fn note_kept(&mut self, table: Table, id: &str) -> Result<()> {
        let is_new = self.counter(table, id)?.is_none();
        let Self { transaction, seal, edit, .. } = self;
        let rows = |row| manifest_row_in(transaction, row);
        if !is_new {
            return edit.replace(seal, &rows, table, id);
        }
        let (before, after) = neighbours(transaction, table, id)?;
        edit.insert(seal, &rows, table, Between { before: before.as_deref(), id, after: after.as_deref() })
    }

    fn note_removed(&mut self, table: Table, id: &str) -> Result<()> {
        if self.counter(table, id)?.is_none() {
            return Ok(());
        }
        let Self { transaction, seal, edit, .. } = self;
        let (before, after) = neighbours(transaction, table, id)?;
        let between = Between { before: before.as_deref(), id, after: after.as_deref() };
        edit.remove(seal, &|row| manifest_row_in(transaction, row), table, between)
    }

    /// Returns the number of records before this transaction, according to the manifest.
    pub(super) fn count(&self) -> Result<usize> {
        self.edit.count(self.seal, &|row| self.manifest_row(row))
    }

    pub(super) fn put_row(&self, table: Table, id: &str, sealed: &[u8]) -> Result<()> {
        let mut opened = self.transaction.open_table(table.definition()).map_err(storage_error)?;
        opened.insert(id.as_bytes(), sealed).map_err(storage_error)?;
        Ok(())
    }

    fn manifest_row(&self, row: u16) -> Result<Option<Vec<u8>>> {
        manifest_row_in(&self.transaction, row)
    }

    /// Commits, and returns the number of the commit.
    pub(super) fn commit(self) -> Result<u64> {
        let commit = self.edit.commit();
        put_manifest(&self.transaction, self.edit, self.seal)?;
        self.transaction.commit().map_err(|error| unsettled(storage_error(error)))?;
        Ok(commit)
    }
}

fn row_of(table: &impl ReadableTable<&'static [u8], &'static [u8]>, id: &str) -> Result<Option<Vec<u8>>> {
    let Some(found) = table.get(id.as_bytes()).map_err(storage_error)? else { return Ok(None) };
    bounded(found.value()).map(|sealed| Some(sealed.to_vec()))
}

fn manifest_row(table: &impl ReadableTable<u16, &'static [u8]>, row: u16) -> Result<Option<Vec<u8>>> {
    let Some(found) = table.get(row).map_err(storage_error)? else { return Ok(None) };
    bounded(found.value()).map(|row| Some(row.to_vec()))
}

pub(super) fn manifest_row_of(transaction: &ReadTransaction, row: u16) -> Result<Option<Vec<u8>>> {
    manifest_row(&transaction.open_table(MANIFEST_TABLE).map_err(storage_error)?, row)
}

pub(super) fn manifest_row_in(transaction: &WriteTransaction, row: u16) -> Result<Option<Vec<u8>>> {
    manifest_row(&transaction.open_table(MANIFEST_TABLE).map_err(storage_error)?, row)
}

fn find(table: &impl ReadableTable<&'static [u8], &'static [u8]>, prefix: &str, most: usize) -> Result<Found> {
    let prefix = prefix.as_bytes();
    let before = match prefix {
        [] => None,
        _ => table.range(..prefix).map_err(storage_error)?.next_back().transpose().map_err(storage_error)?,
    };
    let before = before.map(|(id, _)| owned(id.value())).transpose()?;
    let mut found = Found { before, ids: Vec::new(), is_cut: false, after: None };
    for row in table.range(prefix..).map_err(storage_error)? {
        if found.ids.len() == most {
            found.is_cut = true;
            break;
        }
        let (id, _) = row.map_err(storage_error)?;
        let id = owned(id.value())?;
        if !id.as_bytes().starts_with(prefix) {
            found.after = Some(id);
            break;
        }
        found.ids.push(id);
    }
    in_place(found, prefix)
}

/// Fails unless the ids that were found are those of a prefix. On damaged pages a database may search in the wrong part
/// of the table, where ids are also correctly linked.
fn in_place(found: Found, prefix: &[u8]) -> Result<Found> {
    let begins = found.before.as_ref().is_none_or(|before| before.as_bytes() < prefix);
    let ends = found.after.as_ref().is_none_or(|after| after.as_bytes() > prefix);
    if begins && ends { Ok(found) } else { Err(damaged()) }
}

/// Returns the ids before and after an id in its table.
fn neighbours(transaction: &WriteTransaction, table: Table, id: &str) -> Result<(Option<String>, Option<String>)> {
    let table = transaction.open_table(table.definition()).map_err(storage_error)?;
    let id = id.as_bytes();
    let before = table.range::<&[u8]>(..id).map_err(storage_error)?.next_back().transpose().map_err(storage_error)?;
    let following = (Bound::Excluded(id), Bound::Unbounded);
    let after = table.range::<&[u8]>(following).map_err(storage_error)?.next().transpose().map_err(storage_error)?;
    let before = before.map(|(id, _)| owned(id.value())).transpose()?;
    let after = after.map(|(id, _)| owned(id.value())).transpose()?;
    let around = in_place(Found { before, ids: Vec::new(), is_cut: false, after }, id)?;
    Ok((around.before, around.after))
}

fn owned(id: &[u8]) -> Result<String> {
    id_of(id).map(str::to_owned)
}

/// Returns the id under which a record is stored.
pub(super) fn id_of(stored: &[u8]) -> Result<&str> {
    std::str::from_utf8(stored).map_err(|_| damaged())
}

/// Opens every record, and fails if any record is missing or unexpected.
pub(super) fn verify(tables: &ReadTxn<'_>) -> Result<()> {
    let mut found = 0_usize;
    for table in Table::ALL {
        for id in tables.ids(table, "")? {
            tables.record(table, &id)?.ok_or_else(damaged)?;
            found = found.saturating_add(1);
        }
    }
    let expected = tables.manifest.count(tables.seal, &|row| tables.manifest_row(row))?;
    if found == expected { Ok(()) } else { Err(damaged()) }
}

pub(super) fn put_header(transaction: &WriteTransaction, header: &Header, seal: &Seal) -> Result<()> {
    let mut table = transaction.open_table(HEADER_TABLE).map_err(storage_error)?;
    table.insert(HEADER, header.to_row(seal)?.as_slice()).map_err(storage_error)?;
    Ok(())
}

pub(super) fn put_manifest(transaction: &WriteTransaction, edit: Edit, seal: &Seal) -> Result<()> {
    let mut table = transaction.open_table(MANIFEST_TABLE).map_err(storage_error)?;
    for (row, bytes) in edit.finish(seal)? {
        match bytes {
            Some(bytes) => table.insert(row, bytes.as_slice()).map_err(storage_error)?,
            None => table.remove(row).map_err(storage_error)?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_was_looked_for_in_the_wrong_place_is_damage() {
        let found = |before: Option<&str>, after: Option<&str>| {
            let (before, after) = (before.map(str::to_owned), after.map(str::to_owned));
            in_place(Found { before, ids: Vec::new(), is_cut: false, after }, b"local/").is_ok()
        };
        assert!(found(None, None) && found(Some("a/2"), Some("m/1")) && found(Some("local"), Some("local0")));
        // The list would begin, or end, after some of its own ids.
        assert!(!found(Some("local/5"), None) && !found(Some("m/1"), None) && !found(None, Some("a/2")));
    }
}
