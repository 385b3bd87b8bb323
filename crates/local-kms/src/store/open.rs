//! Creating and opening stores.

use std::fs::{self, File, Metadata, OpenOptions};
use std::path::{Path, PathBuf};

use manila_core::internal::crypto;
use manila_core::{Error, ErrorKind, Result};
use redb::{
    ConcurrencyMode, DatabaseError, StorageBackend, StorageError, TableError,
    backends::{FileBackend, InMemoryBackend},
};

use crate::root_key::{RootKey, io_error, put_in_place};
use crate::store::backend::{Backend, check_len};
use crate::store::codec::{bounded, damaged, storage_error};
use crate::store::database::{Kind, Opened, builder};
use crate::store::header::Header;
use crate::store::identity::Identity;
use crate::store::manifest::{Edit, Manifest};
use crate::store::tables::{put_header, put_manifest, verify};
use crate::store::temporary::new_temporary;
use crate::store::{HEADER, HEADER_TABLE, State, Store};

impl Store {
    pub(crate) fn in_memory(region: String, account: String) -> Result<Self> {
        let backend = InMemoryBackend::new();
        let root = RootKey::from_bytes(&crypto::random_array()?);
        Self::initialise(backend, ConcurrencyMode::ExclusiveWriter, region, account, root)
    }

    /// Creates the store in a temporary file next to `path` and then renames it, so that the store exists completely or
    /// not at all.
    pub(crate) fn create(path: &Path, region: String, account: String, root: RootKey) -> Result<Self> {
        let mut made = None;
        let file = in_new_file(&absolute(path)?, |backend| {
            made = Some(Self::initialise(backend, ConcurrencyMode::MultiWriter, region, account, root)?);
            Ok(())
        })?;
        Ok(made.ok_or_else(damaged)?.in_file(file))
    }

    /// Opens the store, and verifies all of it.
    pub(crate) fn open(path: &Path, root: RootKey) -> Result<Self> {
        let path = &absolute(path)?;
        let (database, file) = open_database(path)?;
        let store = Self::of_database(database, root)?.in_file(file);
        if let Err(error) = store.finish_purge() {
            tracing::warn!(%error, "an interrupted purge of the key store could not be completed");
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
        let opened = check_and_open_as(ConcurrencyMode::ExclusiveWriter, Path::new("memory"), Backend::new(backend))?;
        Self::of_database(opened, root)
    }

    pub(super) fn of_database(database: Opened, root: RootKey) -> Result<Self> {
        let header = database.backend().guard(|| read_header(&database))?;
        let (header, seal) = Header::open(&header, root)?;
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
        let opened = Opened::over(Backend::new(backend), |backend| {
            builder(mode).create_with_backend(backend).map(Kind::Writable)
        })?;
        let database = opened.map_err(storage_error)?;
        let (header, seal) = Header::create(region, account, root)?;
        database.backend().guard(|| {
            let transaction = database.begin_write()?;
            put_header(&transaction, &header, &seal)?;
            let mut first = Edit::new(Manifest::empty())?;
            first.become_another()?;
            put_manifest(&transaction, first, &seal)?;
            transaction.commit().map_err(storage_error)
        })?;
        Ok(Self::of(State::new(database, header, seal)))
    }
}

/// Returns a path that does not depend on the program's current folder.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| io_error("open", path, error))
}

/// Opens the database in a file, and verifies all of it.
pub(super) fn open_database(path: &Path) -> Result<(Opened, Identity)> {
    let (opened, file) = open_file(path, OpenOptions::new().read(true).write(true))?;
    let storage = FileBackend::new(opened).map_err(|error| open_error(path, error))?;
    Ok((check_and_open(path, Backend::new(storage))?, file))
}

/// Opens a file that may be a key store. Fails for a pipe, because it would block; for an empty file, because a
/// database would be created in it; and for a file so long that opening it would take too much memory.
pub(super) fn open_file(path: &Path, options: &OpenOptions) -> Result<(File, Identity)> {
    let failed = |error| io_error("open", path, error);
    let check = |metadata: &Metadata| if metadata.is_file() { Ok(()) } else { Err(no_store()) };
    check(&fs::metadata(path).map_err(failed)?)?;
    let opened = options.open(path).map_err(failed)?;
    let metadata = opened.metadata().map_err(failed)?;
    check(&metadata)?;
    match metadata.len() {
        0 => return Err(no_store()),
        len => check_len(len).map_err(|error| open_error(path, DatabaseError::Storage(StorageError::Io(error))))?,
    };
    let identity = Identity::of(path, &opened)?;
    Ok((opened, identity))
}

/// Opens a database that programs share, and verifies all of it.
pub(super) fn check_and_open(path: &Path, backend: Backend) -> Result<Opened> {
    check_and_open_as(ConcurrencyMode::MultiWriter, path, backend)
}

fn check_and_open_as(mode: ConcurrencyMode, path: &Path, backend: Backend) -> Result<Opened> {
    let opened = Opened::over(backend, |backend| {
        builder(mode).set_check_integrity_on_open(true).create_with_backend(backend).map(Kind::Writable)
    })?;
    opened.map_err(|error| open_error(path, error))
}

/// Lets `work` create a database in a temporary file, and then renames the file.
pub(super) fn in_new_file(path: &Path, work: impl FnOnce(FileBackend) -> Result<()>) -> Result<Identity> {
    let failed = |error| io_error("make", path, error);
    if path.try_exists().map_err(failed)? {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    let file = new_temporary(path).map_err(failed)?;
    work(FileBackend::new(file.reopen().map_err(failed)?).map_err(storage_error)?)?;
    let identity = Identity::of(path, file.as_file())?;
    put_in_place(file, path).map_err(failed)?;
    Ok(identity)
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

/// Returns whether an error means that the file was read but is not a valid database.
fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, InvalidData, UnexpectedEof};
    matches!(error.kind(), InvalidData | UnexpectedEof | FileTooLarge)
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
    let detail = "the file is not a key store: its creation was interrupted, or it belongs to another program";
    Error::new(ErrorKind::Storage, detail)
}
