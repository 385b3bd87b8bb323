//! Opening a store without changing any byte of its file.
//!
//! Before anything in a file is trusted, the entire file is verified, and the database writes during this verification.
//! It therefore runs over a [`Layer`] in memory, which takes the writes and makes writers wait until it is done.
//! Programs that only read then use the file itself, even while others write: the pages of a read transaction do not
//! change.

use std::fs::OpenOptions;
use std::path::Path;
use std::result::Result as StdResult;

use manila_core::{Error, ErrorKind, Result};
use redb::{ConcurrencyMode, DatabaseError, StorageError, backends::FileBackend};

use crate::root_key::RootKey;
use crate::store::backend::Backend;
use crate::store::database::{Kind, Opened, builder};
use crate::store::identity::Identity;
use crate::store::layer::Layer;
use crate::store::open::{absolute, check_and_open, open_error, open_file};
use crate::store::{Seal, Store};

impl Store {
    /// Opens the store read-only, and verifies all of it first.
    pub(crate) fn open_read_only(path: &Path, root: &RootKey) -> Result<Self> {
        let path = &absolute(path)?;
        drop(open_layer(path)?);
        let (opened, file) = open_for_reading(path)?;
        let database = opened.map_err(|error| match error {
            DatabaseError::RepairAborted => {
                let detail = format!(
                    "the key store {path:?} was not closed properly, and opening it read-only cannot repair it: \
                     open it with LocalKms::open, or restore it to a new file"
                );
                Error::other(ErrorKind::Storage, detail, error)
            }
            error => open_error(path, error),
        })?;
        Self::of_database(database, root.clone()).map(|store| store.in_file(file))
    }

    /// Creates a store at `path` as a copy of the store at `backup`. `first` is called before anything is created.
    pub(crate) fn restore(
        backup: &Path,
        path: &Path,
        root: &RootKey,
        first: impl Fn(&Self) -> Result<()>,
    ) -> Result<Self> {
        let backup = &absolute(backup)?;
        let layer = open_layer(backup)?;
        let database = match open_for_reading(backup)?.0 {
            Ok(database) => {
                drop(layer);
                database
            }
            // A file that was not closed properly is repaired in the layer, which makes writers wait meanwhile.
            Err(DatabaseError::RepairAborted | DatabaseError::Storage(StorageError::Io(_))) => layer,
            Err(error) => return Err(open_error(backup, error)),
        };
        let store = Self::of_database(database, root.clone())?;
        first(&store)?;
        store.copy_to(path, |copy| copy.write(|tables| tables.edit.become_another()))?;
        let root = store.root_key();
        drop(store);
        Self::open(path, root)
    }

    /// Returns the derived root key, so that it need not be derived from a passphrase again.
    pub(super) fn root_key(&self) -> RootKey {
        self.with_seal(Seal::root_key)
    }
}

/// Opens the database in a file read-only, while other programs may be writing to it.
fn open_for_reading(path: &Path) -> Result<(StdResult<Opened, DatabaseError>, Identity)> {
    let (opened, file) = open_file(path, OpenOptions::new().read(true))?;
    let storage = FileBackend::new(opened).map_err(|error| open_error(path, error))?;
    let opened = Opened::over(Backend::new(storage), |backend| {
        builder(ConcurrencyMode::MultiWriter).open_read_only_with_backend(backend).map(Kind::ReadOnly)
    })?;
    Ok((opened, file))
}

/// Verifies all of the database in a file, over a layer.
fn open_layer(path: &Path) -> Result<Opened> {
    let layer =
        Layer::over(open_file(path, OpenOptions::new().read(true))?.0).map_err(|error| open_error(path, error))?;
    check_and_open(path, Backend::new(layer)).map(Opened::discarded)
}
