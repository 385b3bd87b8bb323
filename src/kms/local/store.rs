//! The store: sealed records in a `redb` database.

use std::path::Path;

use ciborium::de::from_reader_with_recursion_limit;
use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError, WriteTransaction,
    backends::{FileBackend, InMemoryBackend},
};
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::crypto::{self, PassphraseCost, Refused, key_from_passphrase};
use crate::error::{Error, ErrorKind, Result};
use crate::kms::local::root_key::{RootKey, Source, io_error, new_private_file, put_in_place};
use crate::kms::local::sealed;

const HEADER_TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("manila");
const HEADER: &str = "store";
const FORMAT: u32 = 1;
const DEFAULT_REGION: &str = "local";
const DEFAULT_ACCOUNT: &str = "000000000000";
const CHECK_PURPOSE: &[u8] = b"manila local-kms store 1";
const RECORD_PURPOSE: &[u8] = b"manila local-kms record 1";
/// What the database may keep in memory, in bytes.
const CACHE_SIZE: usize = 1 << 20;
/// The largest record that is believed, in bytes.
const MAX_RECORD_LEN: usize = 1 << 20;
/// How deep a record may nest.
const MAX_DEPTH: usize = 16;

/// The tables of records.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Keys,
    Aliases,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Aliases => "aliases",
        }
    }

    const fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

/// An open database and the key of its records.
pub(super) struct Store {
    database: Database,
    seal: Seal,
    header: Header,
}

/// What records are sealed with: the root key, and the store that they belong to.
pub(super) struct Seal {
    root: Zeroizing<[u8; 32]>,
    store_id: Vec<u8>,
}

/// What the database says of itself, in the clear but authenticated.
#[derive(Clone, Serialize, Deserialize)]
struct Header {
    format: u32,
    /// Random: what is sealed in one store is of no use in another.
    #[serde(with = "serde_bytes")]
    id: Vec<u8>,
    region: String,
    account: String,
    passphrase: Option<Passphrase>,
}

/// How a passphrase becomes the root key.
#[derive(Clone, Serialize, Deserialize)]
struct Passphrase {
    #[serde(with = "serde_bytes")]
    salt: Vec<u8>,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// The header as stored: behind its CBOR, an empty plaintext sealed under the root key and bound to it.
#[derive(Serialize, Deserialize)]
struct StoredHeader {
    #[serde(with = "serde_bytes")]
    header: Vec<u8>,
    #[serde(with = "serde_bytes")]
    check: Vec<u8>,
}

impl Store {
    pub(super) fn in_memory() -> Result<Self> {
        let database = builder(ConcurrencyMode::ExclusiveWriter)
            .create_with_backend(InMemoryBackend::new())
            .map_err(storage_error)?;
        let root = RootKey::from_bytes(&crypto::random_array()?);
        Self::initialise(database, root)
    }

    /// Makes the store in a temporary file beside `path` and then gives it its name, so that a store is there whole
    /// or not at all.
    pub(super) fn create(path: &Path, root: RootKey) -> Result<Self> {
        let failed = |error| io_error("make", path, error);
        if path.try_exists().map_err(failed)? {
            return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
        }
        let file = new_private_file(path).map_err(failed)?;
        let backend = FileBackend::new(file.reopen().map_err(failed)?).map_err(storage_error)?;
        let database = builder(ConcurrencyMode::MultiWriter).create_with_backend(backend).map_err(storage_error)?;
        let store = Self::initialise(database, root)?;
        put_in_place(file, path).map_err(failed)?;
        Ok(store)
    }

    pub(super) fn open(path: &Path, root: RootKey) -> Result<Self> {
        let opened = builder(ConcurrencyMode::MultiWriter).set_check_integrity_on_open(true).open(path);
        let database = opened.map_err(|error| match error {
            DatabaseError::Storage(StorageError::Io(error)) if !is_damage(&error) => io_error("open", path, error),
            error => {
                let detail = format!("cannot open the key store {path:?}, restore it from a copy: {error}");
                Error::other(ErrorKind::Storage, detail, error)
            }
        })?;
        let stored = read_header(&database)?;
        let header: Header = from_cbor(&stored.header).ok_or_else(damaged)?;
        if header.format != FORMAT {
            let detail = format!("the key store is of format {}, this library reads {FORMAT}", header.format);
            return Err(Error::new(ErrorKind::Storage, detail));
        }
        let root = root_bytes(root, header.passphrase.as_ref())?;
        sealed::open(root.as_slice(), CHECK_PURPOSE, &stored.header, &stored.check).map_err(|Refused| {
            Error::new(ErrorKind::Storage, "the root key or passphrase is not the one of this key store")
        })?;
        let seal = Seal { root, store_id: header.id.clone() };
        Ok(Self { database, seal, header })
    }

    fn initialise(database: Database, root: RootKey) -> Result<Self> {
        let passphrase = match root.0 {
            Source::Key(_) => None,
            Source::Passphrase(_) => {
                let PassphraseCost { memory_kib, passes, lanes } = PassphraseCost::RECOMMENDED;
                Some(Passphrase { salt: crypto::random_array::<16>()?.to_vec(), memory_kib, passes, lanes })
            }
        };
        let root = root_bytes(root, passphrase.as_ref())?;
        let (region, account) = (DEFAULT_REGION.to_owned(), DEFAULT_ACCOUNT.to_owned());
        let id = crypto::random_array::<16>()?.to_vec();
        let header = Header { format: FORMAT, id, region, account, passphrase };
        let bytes = to_cbor(&header)?;
        let check = sealed::seal(root.as_slice(), CHECK_PURPOSE, &bytes, &[])?;
        let stored = to_cbor(&StoredHeader { header: bytes.to_vec(), check })?;
        let transaction = database.begin_write().map_err(storage_error)?;
        {
            let mut table = transaction.open_table(HEADER_TABLE).map_err(storage_error)?;
            table.insert(HEADER, stored.as_slice()).map_err(storage_error)?;
        }
        transaction.commit().map_err(storage_error)?;
        let seal = Seal { root, store_id: header.id.clone() };
        Ok(Self { database, seal, header })
    }

    pub(super) fn region(&self) -> &str {
        &self.header.region
    }

    pub(super) fn account(&self) -> &str {
        &self.header.account
    }

    /// Reads at one moment in time.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Reading<'_>) -> Result<T>) -> Result<T> {
        let transaction = self.database.begin_read().map_err(storage_error)?;
        work(&Reading { transaction, seal: &self.seal })
    }

    /// Does all of `work`, durably, or nothing of it.
    pub(super) fn write<T>(&self, work: impl FnOnce(&mut Writing<'_>) -> Result<T>) -> Result<T> {
        let transaction = self.database.begin_write().map_err(storage_error)?;
        let mut writing = Writing { transaction, seal: &self.seal };
        let done = work(&mut writing)?;
        writing.transaction.commit().map_err(storage_error)?;
        Ok(done)
    }
}

/// Records to read.
pub(super) trait Tables {
    /// The sealed record of `id`.
    fn sealed(&self, table: Table, id: &str) -> Result<Option<Vec<u8>>>;

    /// What records are sealed with.
    fn seal(&self) -> &Seal;

    /// The record of `id`.
    fn get<T: DeserializeOwned>(&self, table: Table, id: &str) -> Result<Option<T>> {
        self.sealed(table, id)?.map(|sealed| self.seal().open(table, id, &sealed)).transpose()
    }
}

/// A read transaction.
pub(super) struct Reading<'a> {
    transaction: ReadTransaction,
    seal: &'a Seal,
}

impl Reading<'_> {
    /// All records of a table, in the order of their ids.
    pub(super) fn all<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<(String, T)>> {
        let opened = match self.transaction.open_table(table.definition()) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            opened => opened.map_err(storage_error)?,
        };
        let mut records = Vec::new();
        for row in opened.iter().map_err(storage_error)? {
            let (id, sealed) = row.map_err(storage_error)?;
            let record = self.seal.open(table, id.value(), sealed.value())?;
            records.push((id.value().to_owned(), record));
        }
        Ok(records)
    }
}

impl Tables for Reading<'_> {
    fn sealed(&self, table: Table, id: &str) -> Result<Option<Vec<u8>>> {
        match self.transaction.open_table(table.definition()) {
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            opened => sealed_in(&opened.map_err(storage_error)?, id),
        }
    }

    fn seal(&self) -> &Seal {
        self.seal
    }
}

/// A write transaction.
pub(super) struct Writing<'a> {
    transaction: WriteTransaction,
    seal: &'a Seal,
}

impl Tables for Writing<'_> {
    fn sealed(&self, table: Table, id: &str) -> Result<Option<Vec<u8>>> {
        sealed_in(&self.transaction.open_table(table.definition()).map_err(storage_error)?, id)
    }

    fn seal(&self) -> &Seal {
        self.seal
    }
}

impl Writing<'_> {
    /// Stores a record, over an older one of the same id.
    pub(super) fn put<T: Serialize>(&mut self, table: Table, id: &str, record: &T) -> Result<()> {
        let sealed = self.seal.seal(table, id, record)?;
        let mut opened = self.transaction.open_table(table.definition()).map_err(storage_error)?;
        opened.insert(id, sealed.as_slice()).map_err(storage_error)?;
        Ok(())
    }
}

fn sealed_in(table: &impl ReadableTable<&'static str, &'static [u8]>, id: &str) -> Result<Option<Vec<u8>>> {
    let Some(found) = table.get(id).map_err(storage_error)? else { return Ok(None) };
    bounded(found.value()).map(|sealed| Some(sealed.to_vec()))
}

/// The bytes, if they are few enough to be a record.
fn bounded(stored: &[u8]) -> Result<&[u8]> {
    if stored.len() > MAX_RECORD_LEN { Err(damaged()) } else { Ok(stored) }
}

impl Seal {
    fn seal(&self, table: Table, id: &str, record: &impl Serialize) -> Result<Vec<u8>> {
        sealed::seal(self.root.as_slice(), RECORD_PURPOSE, &self.place(table, id), &to_cbor(record)?)
    }

    fn open<T: DeserializeOwned>(&self, table: Table, id: &str, sealed: &[u8]) -> Result<T> {
        let sealed = bounded(sealed)?;
        let opened = sealed::open(self.root.as_slice(), RECORD_PURPOSE, &self.place(table, id), sealed);
        from_cbor(&opened.map_err(|Refused| damaged())?).ok_or_else(damaged)
    }

    /// Binds a record to its place. The store's id has one length, and no table's name begins another's with a zero
    /// byte.
    fn place(&self, table: Table, id: &str) -> Vec<u8> {
        [&self.store_id, table.name().as_bytes(), &[0], id.as_bytes()].concat()
    }
}

fn builder(mode: ConcurrencyMode) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_SIZE).set_concurrency_mode(mode);
    builder
}

/// Whether the file was read, and found not to be a database.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

fn read_header(database: &Database) -> Result<StoredHeader> {
    let transaction = database.begin_read().map_err(storage_error)?;
    let none = || {
        let detail = "the file holds no key store: its making was interrupted, or it is another program's";
        Error::new(ErrorKind::Storage, detail)
    };
    let table = transaction.open_table(HEADER_TABLE).map_err(|_| none())?;
    let stored = table.get(HEADER).map_err(storage_error)?.ok_or_else(none)?;
    from_cbor(bounded(stored.value())?).ok_or_else(damaged)
}

fn root_bytes(root: RootKey, passphrase: Option<&Passphrase>) -> Result<Zeroizing<[u8; 32]>> {
    match (root.0, passphrase) {
        (Source::Key(key), None) => Ok(key),
        (Source::Passphrase(text), Some(stored)) => {
            let Passphrase { ref salt, memory_kib, passes, lanes } = *stored;
            key_from_passphrase(&text, salt, PassphraseCost { memory_kib, passes, lanes })
        }
        (Source::Key(_), Some(_)) => {
            Err(Error::new(ErrorKind::Storage, "the key store is sealed with a passphrase, not with a root key"))
        }
        (Source::Passphrase(_), None) => {
            Err(Error::new(ErrorKind::Storage, "the key store is sealed with a root key, not with a passphrase"))
        }
    }
}

fn to_cbor(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>> {
    // Room for any record of ours, so that growing leaves no copies of secrets behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(64 << 10));
    ciborium::into_writer(value, &mut *bytes).map_err(|_| damaged())?;
    Ok(bytes)
}

/// The value, if the bytes are CBOR of it and nothing else.
pub(super) fn from_cbor<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut rest = bytes;
    let value = from_reader_with_recursion_limit(&mut rest, MAX_DEPTH).ok()?;
    rest.is_empty().then_some(value)
}

pub(super) fn damaged() -> Error {
    Error::new(ErrorKind::Storage, "the key store is damaged or was tampered with: restore a copy")
}

fn storage_error(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    Error::other(ErrorKind::Storage, format!("the key store failed: {error}"), error)
}
