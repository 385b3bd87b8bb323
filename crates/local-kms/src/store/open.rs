//! Making a store and opening one.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use manila_core::internal::crypto;
use manila_core::{Error, ErrorKind, Result};
use redb::{
    Builder, ConcurrencyMode, DatabaseError, StorageBackend, StorageError, TableError,
    backends::{FileBackend, InMemoryBackend},
};

use crate::root_key::{RootKey, io_error, new_private_file, put_in_place};
use crate::store::codec::{bounded, damaged, storage_error};
use crate::store::header::Header;
use crate::store::identity::Identity;
use crate::store::manifest::{Edit, Manifest};
use crate::store::read_only::Opened;
use crate::store::tables::{put_header, put_manifest, verify};
use crate::store::{HEADER, HEADER_TABLE, State, Store};

/// What the database may keep in memory, in bytes.
const CACHE_SIZE: usize = 8 << 20;

impl Store {
    pub(crate) fn in_memory(region: String, account: String) -> Result<Self> {
        let backend = InMemoryBackend::new();
        let root = RootKey::from_bytes(&crypto::random_array()?);
        Self::initialise(backend, ConcurrencyMode::ExclusiveWriter, region, account, root)
    }

    /// Makes the store in a temporary file beside `path` and then gives it its name, so that a store is there whole
    /// or not at all.
    pub(crate) fn create(path: &Path, region: String, account: String, root: RootKey) -> Result<Self> {
        let mut made = None;
        let file = in_new_file(&absolute(path)?, |backend| {
            made = Some(Self::initialise(backend, ConcurrencyMode::MultiWriter, region, account, root)?);
            Ok(())
        })?;
        Ok(made.ok_or_else(damaged)?.in_file(file))
    }

    /// Opens the store and verifies all of it.
    pub(crate) fn open(path: &Path, root: RootKey) -> Result<Self> {
        let path = &absolute(path)?;
        let (database, file) = open_database(path)?;
        let store = Self::of_database(database, root)?.in_file(file);
        if let Err(error) = store.finish_purge() {
            tracing::warn!(%error, "a purge of the key store that was cut off could not be ended");
        }
        Ok(store)
    }

    /// Opens the bytes of a store's file, for fuzzers.
    #[cfg(feature = "testing")]
    pub(crate) fn of_bytes(file: &[u8], root: RootKey) -> Result<Self> {
        let backend = InMemoryBackend::new();
        let len = u64::try_from(file.len()).map_err(|_| damaged())?;
        let preloaded = backend.set_len(len).and_then(|()| backend.write(0, file));
        preloaded.map_err(|error| io_error("read", Path::new("memory"), error))?;
        let mut builder = builder(ConcurrencyMode::ExclusiveWriter);
        let opened = builder.set_check_integrity_on_open(true).create_with_backend(backend);
        let database = opened.map_err(|error| open_error(Path::new("memory"), error))?;
        Self::of_database(Opened::Writable(database), root)
    }

    pub(super) fn of_database(database: Opened, root: RootKey) -> Result<Self> {
        let (header, seal) = Header::open(&read_header(&database)?, root)?;
        let store = Self::of(State::new(database, header, seal));
        store.read(verify)?;
        Ok(store)
    }

    pub(super) fn initialise(
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
        Ok(Self::of(State::new(Opened::Writable(database), header, seal)))
    }
}

/// A path that means the same file when the program's folder is another one.
pub(super) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| io_error("open", path, error))
}

/// Opens the database in a file, and checks all of it.
pub(super) fn open_database(path: &Path) -> Result<(Opened, Identity)> {
    let opened = OpenOptions::new().read(true).write(true).open(path).map_err(|error| io_error("open", path, error))?;
    let file = Identity::of(path, &opened)?;
    check_not_empty(&file)?;
    let backend = FileBackend::new(opened).map_err(|error| open_error(path, error))?;
    let mut builder = builder(ConcurrencyMode::MultiWriter);
    let opened = builder.set_check_integrity_on_open(true).create_with_backend(backend);
    Ok((Opened::Writable(opened.map_err(|error| open_error(path, error))?), file))
}

/// Fails if a file is empty: a database would be made in it.
pub(super) fn check_not_empty(file: &Identity) -> Result<()> {
    if file.len()? == 0 { Err(no_store()) } else { Ok(()) }
}

/// Lets `work` make a database in a temporary file, and then gives the file its name.
pub(super) fn in_new_file(path: &Path, work: impl FnOnce(FileBackend) -> Result<()>) -> Result<Identity> {
    let failed = |error| io_error("make", path, error);
    if path.try_exists().map_err(failed)? {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    let file = new_private_file(path).map_err(failed)?;
    work(FileBackend::new(file.reopen().map_err(failed)?).map_err(storage_error)?)?;
    let identity = Identity::of(path, file.as_file())?;
    put_in_place(file, path).map_err(failed)?;
    Ok(identity)
}

pub(super) fn builder(mode: ConcurrencyMode) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_SIZE).set_concurrency_mode(mode);
    builder
}

pub(super) fn open_error(path: &Path, error: DatabaseError) -> Error {
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

pub(super) fn read_header(database: &Opened) -> Result<Vec<u8>> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(HEADER_TABLE) {
        Err(TableError::Storage(error)) => return Err(storage_error(error)),
        opened => opened.map_err(|_| no_store())?,
    };
    let stored = table.get(HEADER).map_err(storage_error)?.ok_or_else(no_store)?;
    Ok(bounded(stored.value())?.to_vec())
}

fn no_store() -> Error {
    let detail = "the file is not a key store: its making was interrupted, or it is another program's";
    Error::new(ErrorKind::Storage, detail)
}
