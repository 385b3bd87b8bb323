//! The store: sealed records in a `redb` database, under a manifest of what there is.

mod codec;
mod header;
mod manifest;
mod purge;
mod seal;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable,
    StorageBackend, StorageError, TableDefinition, TableError, WriteTransaction,
    backends::{FileBackend, InMemoryBackend},
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::crypto;
use crate::error::{Error, ErrorKind, Result};
use crate::kms::local::root_key::{RootKey, io_error, new_private_file, put_in_place};

use codec::{bounded, storage_error, to_cbor};
use header::Header;
use manifest::{Edit, Manifest};

pub(super) use codec::{damaged, from_cbor};
pub(super) use seal::Seal;

const HEADER_TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("manila");
const HEADER: &str = "store";
const MANIFEST_TABLE: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("manifest");
/// What the database may keep in memory, in bytes.
const CACHE_SIZE: usize = 8 << 20;

/// The tables of records.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    Keys,
    Materials,
    Aliases,
    /// The aliases of each key.
    KeyAliases,
    Grants,
    /// The grants of each grantee on a key.
    Grantees,
    Deadlines,
    Audit,
}

impl Table {
    const ALL: [Self; 8] = [
        Self::Keys,
        Self::Materials,
        Self::Aliases,
        Self::KeyAliases,
        Self::Grants,
        Self::Grantees,
        Self::Deadlines,
        Self::Audit,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Materials => "materials",
            Self::Aliases => "aliases",
            Self::KeyAliases => "key-aliases",
            Self::Grants => "grants",
            Self::Grantees => "grantees",
            Self::Deadlines => "deadlines",
            Self::Audit => "audit",
        }
    }

    const fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

/// An open store.
pub(super) struct Store {
    /// Written only to change the root key and to compact.
    state: RwLock<State>,
    /// The highest commit that was seen: the store never goes back behind it while it is open.
    latest: AtomicU64,
    path: Option<PathBuf>,
}

struct State {
    database: Database,
    header: Header,
    seal: Seal,
}

impl Store {
    pub(super) fn in_memory(region: String, account: String) -> Result<Self> {
        let backend = InMemoryBackend::new();
        let root = RootKey::from_bytes(&crypto::random_array()?);
        Self::initialise(backend, ConcurrencyMode::ExclusiveWriter, region, account, root)
    }

    /// Makes the store in a temporary file beside `path` and then gives it its name, so that a store is there whole
    /// or not at all.
    pub(super) fn create(path: &Path, region: String, account: String, root: RootKey) -> Result<Self> {
        let mut made = None;
        let path = &absolute(path)?;
        in_new_file(path, |backend| {
            made = Some(Self::initialise(backend, ConcurrencyMode::MultiWriter, region, account, root)?);
            Ok(())
        })?;
        let store = made.ok_or_else(damaged)?;
        Ok(Self { path: Some(path.to_owned()), ..store })
    }

    /// Opens the store and verifies all of it.
    pub(super) fn open(path: &Path, root: RootKey) -> Result<Self> {
        let path = &absolute(path)?;
        let opened = builder(ConcurrencyMode::MultiWriter).set_check_integrity_on_open(true).open(path);
        let database = opened.map_err(|error| open_error(path, error))?;
        let store = Self::of_database(database, root)?;
        Ok(Self { path: Some(path.to_owned()), ..store })
    }

    /// Makes a copy of the store at `backup` the store at `path`.
    pub(super) fn restore(backup: &Path, path: &Path, root: RootKey) -> Result<Self> {
        let again = root.clone();
        Self::open(backup, root)?.copy_to(path, || Ok(()))?;
        Self::open(path, again)
    }

    /// Opens the bytes of a store's file, for fuzzers.
    #[cfg(feature = "testing")]
    pub(super) fn of_bytes(file: &[u8], root: RootKey) -> Result<Self> {
        let backend = InMemoryBackend::new();
        let len = u64::try_from(file.len()).map_err(|_| damaged())?;
        let preloaded = backend.set_len(len).and_then(|()| backend.write(0, file));
        preloaded.map_err(|error| io_error("read", Path::new("memory"), error))?;
        let mut builder = builder(ConcurrencyMode::ExclusiveWriter);
        let opened = builder.set_check_integrity_on_open(true).create_with_backend(backend);
        Self::of_database(opened.map_err(|error| open_error(Path::new("memory"), error))?, root)
    }

    fn of_database(database: Database, root: RootKey) -> Result<Self> {
        let (header, seal) = Header::open(&read_header(&database)?, root)?;
        let store = Self::of(State { database, header, seal });
        store.read(verify)?;
        Ok(store)
    }

    fn initialise(
        backend: impl StorageBackend,
        mode: ConcurrencyMode,
        region: String,
        account: String,
        root: RootKey,
    ) -> Result<Self> {
        let database = builder(mode).create_with_backend(backend).map_err(storage_error)?;
        let (header, seal) = Header::create(region, account, root)?;
        let transaction = database.begin_write().map_err(storage_error)?;
        put_header(&transaction, &header, &seal)?;
        put_manifest(&transaction, Edit::new(Manifest::new())?, &seal)?;
        transaction.commit().map_err(storage_error)?;
        Ok(Self::of(State { database, header, seal }))
    }

    fn of(state: State) -> Self {
        Self { state: RwLock::new(state), latest: AtomicU64::new(0), path: None }
    }

    pub(super) fn region(&self) -> String {
        self.with(|state| state.header.region.clone())
    }

    pub(super) fn account(&self) -> String {
        self.with(|state| state.header.account.clone())
    }

    pub(super) fn with_seal<T>(&self, work: impl FnOnce(&Seal) -> T) -> T {
        self.with(|state| work(&state.seal))
    }

    fn with<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads at one moment in time.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Reading<'_>) -> Result<T>) -> Result<T> {
        self.with(|state| {
            let latest = self.latest.load(Ordering::Acquire);
            let transaction = state.database.begin_read().map_err(storage_error)?;
            let manifest = Manifest::load(&state.seal, &|row| manifest_row_of(&transaction, row))?;
            self.check(latest, &manifest)?;
            work(&Reading { transaction, seal: &state.seal, manifest })
        })
    }

    /// Does all of `work`, durably, or nothing of it.
    pub(super) fn write<T>(&self, work: impl FnOnce(&mut Writing<'_>) -> Result<T>) -> Result<T> {
        self.with(|state| {
            let mut writing = self.begin(state)?;
            let done = work(&mut writing)?;
            let commit = writing.commit()?;
            self.latest.fetch_max(commit, Ordering::AcqRel);
            Ok(done)
        })
    }

    fn begin<'a>(&self, state: &'a State) -> Result<Writing<'a>> {
        let latest = self.latest.load(Ordering::Acquire);
        let transaction = state.database.begin_write().map_err(storage_error)?;
        let manifest = Manifest::load(&state.seal, &|row| manifest_row_in(&transaction, row))?;
        self.check(latest, &manifest)?;
        Ok(Writing { transaction, seal: &state.seal, edit: Edit::new(manifest)? })
    }

    fn check(&self, latest: u64, manifest: &Manifest) -> Result<()> {
        if manifest.commit < latest {
            let detail = "the key store was set back to an earlier state while it was open";
            return Err(Error::new(ErrorKind::Storage, detail));
        }
        self.latest.fetch_max(manifest.commit, Ordering::AcqRel);
        Ok(())
    }

    /// Seals every record anew under another root key. `work` may write more, told what the old seal was.
    pub(super) fn change_root_key(
        &self,
        root: RootKey,
        work: impl FnOnce(&mut Writing<'_>, &Seal) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let (header, seal) = state.header.next(root)?;
        let old = self.begin(&state)?;
        let mut edit = old.edit.emptied();
        for table in Table::ALL {
            for id in old.ids(table, "")? {
                let record = old.record(table, &id)?.ok_or_else(damaged)?;
                let sealed = seal.seal_bytes(table, &id, edit.commit(), &record)?;
                edit.note(&seal, &|_| Ok(None), table, &id, true)?;
                old.put_row(table, &id, &sealed)?;
            }
        }
        let transaction = old.transaction;
        transaction.delete_table(MANIFEST_TABLE).map_err(storage_error)?;
        put_header(&transaction, &header, &seal)?;
        let mut new = Writing { transaction, seal: &seal, edit };
        work(&mut new, &state.seal)?;
        let commit = new.commit()?;
        self.latest.fetch_max(commit, Ordering::AcqRel);
        (state.header, state.seal) = (header, seal);
        Ok(())
    }

    /// Writes a copy of the store as it is now to a new file. `first` comes before the file gets its name.
    pub(super) fn copy_to(&self, path: &Path, first: impl FnOnce() -> Result<()>) -> Result<()> {
        self.read(|reading| {
            in_new_file(path, |backend| {
                let copy = builder(ConcurrencyMode::MultiWriter).create_with_backend(backend).map_err(storage_error)?;
                let to = copy.begin_write().map_err(storage_error)?;
                copy_table(&reading.transaction, &to, HEADER_TABLE)?;
                copy_table(&reading.transaction, &to, MANIFEST_TABLE)?;
                for table in Table::ALL {
                    copy_table(&reading.transaction, &to, table.definition())?;
                }
                to.commit().map_err(storage_error)?;
                first()
            })
        })
    }
}

/// Records to read.
pub(super) trait Tables {
    /// The sealed record of `id`.
    fn row(&self, table: Table, id: &str) -> Result<Option<Vec<u8>>>;

    /// The number of the commit that wrote the record of `id`, as the manifest has it.
    fn counter(&self, table: Table, id: &str) -> Result<Option<u64>>;

    /// The ids of a table that begin with `prefix`, in order; at most `most` of them.
    fn first_ids(&self, table: Table, prefix: &str, most: usize) -> Result<Vec<String>>;

    /// The latest time that any commit saw, in milliseconds since 1970.
    fn time(&self) -> u64;

    /// The number of the latest commit.
    fn commit_number(&self) -> u64;

    /// What records are sealed with.
    fn seal(&self) -> &Seal;

    /// All ids of a table that begin with `prefix`, in order.
    fn ids(&self, table: Table, prefix: &str) -> Result<Vec<String>> {
        self.first_ids(table, prefix, usize::MAX)
    }

    /// All records of a table whose ids begin with `prefix`, in order, each with the rest of its id.
    fn all<T: DeserializeOwned>(&self, table: Table, prefix: &str) -> Result<Vec<(String, T)>> {
        let record = |id: String| {
            let record = self.get(table, &id)?.ok_or_else(damaged)?;
            Ok((id.strip_prefix(prefix).unwrap_or_default().to_owned(), record))
        };
        self.ids(table, prefix)?.into_iter().map(record).collect()
    }

    /// The bytes of the record of `id`, if the manifest and the table agree on it.
    fn record(&self, table: Table, id: &str) -> Result<Option<Zeroizing<Vec<u8>>>> {
        match (self.counter(table, id)?, self.row(table, id)?) {
            (None, None) => Ok(None),
            (Some(counter), Some(sealed)) => self.seal().open_bytes(table, id, counter, &sealed).map(Some),
            _ => Err(damaged()),
        }
    }

    /// The record of `id`.
    fn get<T: DeserializeOwned>(&self, table: Table, id: &str) -> Result<Option<T>> {
        let record = self.record(table, id)?;
        record.map(|record| from_cbor(&record).ok_or_else(damaged)).transpose()
    }
}

/// A read transaction.
pub(super) struct Reading<'a> {
    transaction: ReadTransaction,
    seal: &'a Seal,
    manifest: Manifest,
}

impl Reading<'_> {
    fn manifest_row(&self, row: u16) -> Result<Option<Vec<u8>>> {
        manifest_row_of(&self.transaction, row)
    }
}

/// Opens every record, and fails if one is missing or there is one too many.
fn verify(tables: &Reading<'_>) -> Result<()> {
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

impl Tables for Reading<'_> {
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
        match self.transaction.open_table(table.definition()) {
            Err(TableError::TableDoesNotExist(_)) => Ok(Vec::new()),
            opened => ids_of(&opened.map_err(storage_error)?, prefix, most),
        }
    }

    fn time(&self) -> u64 {
        self.manifest.time
    }

    fn commit_number(&self) -> u64 {
        self.manifest.commit
    }

    fn seal(&self) -> &Seal {
        self.seal
    }
}

/// A write transaction.
pub(super) struct Writing<'a> {
    transaction: WriteTransaction,
    seal: &'a Seal,
    edit: Edit,
}

impl Tables for Writing<'_> {
    fn row(&self, table: Table, id: &str) -> Result<Option<Vec<u8>>> {
        row_of(&self.transaction.open_table(table.definition()).map_err(storage_error)?, id)
    }

    fn counter(&self, table: Table, id: &str) -> Result<Option<u64>> {
        self.edit.counter(self.seal, &|row| self.manifest_row(row), table, id)
    }

    fn first_ids(&self, table: Table, prefix: &str, most: usize) -> Result<Vec<String>> {
        ids_of(&self.transaction.open_table(table.definition()).map_err(storage_error)?, prefix, most)
    }

    fn time(&self) -> u64 {
        self.edit.time()
    }

    fn commit_number(&self) -> u64 {
        self.edit.base()
    }

    fn seal(&self) -> &Seal {
        self.seal
    }
}

impl Writing<'_> {
    /// The number of the commit that this transaction will be.
    pub(super) fn next_commit_number(&self) -> u64 {
        self.edit.commit()
    }

    /// Stores a record, over an older one of the same id.
    pub(super) fn put<T: Serialize>(&mut self, table: Table, id: &str, record: &T) -> Result<()> {
        let sealed = self.seal.seal_bytes(table, id, self.edit.commit(), &to_cbor(record)?)?;
        self.note(table, id, true)?;
        self.put_row(table, id, &sealed)
    }

    /// Removes a record, if there is one.
    pub(super) fn remove(&mut self, table: Table, id: &str) -> Result<()> {
        self.note(table, id, false)?;
        let mut opened = self.transaction.open_table(table.definition()).map_err(storage_error)?;
        opened.remove(id).map_err(storage_error)?;
        Ok(())
    }

    /// Notes the time, in milliseconds since 1970, so that no later commit is earlier.
    pub(super) fn saw(&mut self, time: u64) {
        self.edit.saw(time);
    }

    fn note(&mut self, table: Table, id: &str, kept: bool) -> Result<()> {
        let Self { transaction, seal, edit } = self;
        edit.note(seal, &|row| manifest_row_in(transaction, row), table, id, kept)
    }

    fn put_row(&self, table: Table, id: &str, sealed: &[u8]) -> Result<()> {
        let mut opened = self.transaction.open_table(table.definition()).map_err(storage_error)?;
        opened.insert(id, sealed).map_err(storage_error)?;
        Ok(())
    }

    fn manifest_row(&self, row: u16) -> Result<Option<Vec<u8>>> {
        manifest_row_in(&self.transaction, row)
    }

    /// Commits, and tells the number of the commit.
    fn commit(self) -> Result<u64> {
        let commit = self.edit.commit();
        put_manifest(&self.transaction, self.edit, self.seal)?;
        self.transaction.commit().map_err(storage_error)?;
        Ok(commit)
    }
}

/// A path that means the same file when the program's folder is another one.
fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| io_error("open", path, error))
}

/// Lets `work` make a database in a temporary file, and then gives the file its name.
fn in_new_file(path: &Path, work: impl FnOnce(FileBackend) -> Result<()>) -> Result<()> {
    let failed = |error| io_error("make", path, error);
    if path.try_exists().map_err(failed)? {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    let file = new_private_file(path).map_err(failed)?;
    work(FileBackend::new(file.reopen().map_err(failed)?).map_err(storage_error)?)?;
    put_in_place(file, path).map_err(failed)
}

fn row_of(table: &impl ReadableTable<&'static str, &'static [u8]>, id: &str) -> Result<Option<Vec<u8>>> {
    let Some(found) = table.get(id).map_err(storage_error)? else { return Ok(None) };
    bounded(found.value()).map(|sealed| Some(sealed.to_vec()))
}

fn manifest_row(table: &impl ReadableTable<u16, &'static [u8]>, row: u16) -> Result<Option<Vec<u8>>> {
    let Some(found) = table.get(row).map_err(storage_error)? else { return Ok(None) };
    bounded(found.value()).map(|row| Some(row.to_vec()))
}

fn manifest_row_of(transaction: &ReadTransaction, row: u16) -> Result<Option<Vec<u8>>> {
    manifest_row(&transaction.open_table(MANIFEST_TABLE).map_err(storage_error)?, row)
}

fn manifest_row_in(transaction: &WriteTransaction, row: u16) -> Result<Option<Vec<u8>>> {
    manifest_row(&transaction.open_table(MANIFEST_TABLE).map_err(storage_error)?, row)
}

fn ids_of(table: &impl ReadableTable<&'static str, &'static [u8]>, prefix: &str, most: usize) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for row in table.range(prefix..).map_err(storage_error)?.take(most) {
        let (id, _) = row.map_err(storage_error)?;
        if !id.value().starts_with(prefix) {
            break;
        }
        ids.push(id.value().to_owned());
    }
    Ok(ids)
}

fn put_header(transaction: &WriteTransaction, header: &Header, seal: &Seal) -> Result<()> {
    let mut table = transaction.open_table(HEADER_TABLE).map_err(storage_error)?;
    table.insert(HEADER, header.to_row(seal)?.as_slice()).map_err(storage_error)?;
    Ok(())
}

fn put_manifest(transaction: &WriteTransaction, edit: Edit, seal: &Seal) -> Result<()> {
    let mut table = transaction.open_table(MANIFEST_TABLE).map_err(storage_error)?;
    for (row, bytes) in edit.finish(seal)? {
        match bytes {
            Some(bytes) => table.insert(row, bytes.as_slice()).map_err(storage_error)?,
            None => table.remove(row).map_err(storage_error)?,
        };
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

fn builder(mode: ConcurrencyMode) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_SIZE).set_concurrency_mode(mode);
    builder
}

fn open_error(path: &Path, error: DatabaseError) -> Error {
    match error {
        DatabaseError::Storage(StorageError::Io(error)) if !is_damage(&error) => io_error("open", path, error),
        error => {
            let detail = format!("cannot open the key store {path:?}, restore it from a copy: {error}");
            Error::other(ErrorKind::Storage, detail, error)
        }
    }
}

/// Whether the file was read, and found not to be a database.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

fn read_header(database: &Database) -> Result<Vec<u8>> {
    let transaction = database.begin_read().map_err(storage_error)?;
    let none = || {
        let detail = "the file holds no key store: its making was interrupted, or it is another program's";
        Error::new(ErrorKind::Storage, detail)
    };
    let table = match transaction.open_table(HEADER_TABLE) {
        Err(TableError::Storage(error)) => return Err(storage_error(error)),
        opened => opened.map_err(|_| none())?,
    };
    let stored = table.get(HEADER).map_err(storage_error)?.ok_or_else(none)?;
    Ok(bounded(stored.value())?.to_vec())
}
