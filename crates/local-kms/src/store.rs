//! The store: sealed records in a `redb` database, under a manifest of all records.
//!
//! ```text
//! tables           transactions that read and write records
//! manifest  seal   the list of all records; the encryption of each
//! codec  header    bytes of records; what is read before the store is opened
//! open  read_only  creating and opening; without changing a byte
//! reopen           opening again in place, for all handles
//! identity         noticing that the file was moved, replaced or removed
//! database  backend  layer    redb, the boundary around it, and writes in memory
//! copy  temporary  purge  root_key_change    backups, drafts, erasing, another root key
//! ```

mod backend;
mod codec;
mod copy;
mod database;
mod header;
mod identity;
mod layer;
mod manifest;
mod open;
mod purge;
mod read_only;
mod reopen;
mod root_key_change;
mod seal;
mod tables;
mod temporary;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::TableDefinition;

use manila_core::{Error, ErrorKind, Result};

use copy::Snapshots;
use database::Opened;
use header::Header;
use identity::Identity;
use manifest::{Edit, LastManifest, Manifest};
use open::open_database;
use tables::{manifest_row_in, manifest_row_of};

pub(super) use codec::{damaged, from_cbor, is_unsettled};
pub(super) use open::absolute;
pub(super) use seal::Seal;
pub(super) use tables::{ReadTxn, Tables, WriteTxn};

/// The table of the header. Keys are bytes, because the database panics on text that is not UTF-8.
const HEADER_TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("manila");
const HEADER: &[u8] = b"store";
const MANIFEST_TABLE: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("manifest");

/// The tables of records.
#[derive(Clone, Copy, Debug)]
pub(super) enum Table {
    Keys,
    Materials,
    Aliases,
    /// Index of the aliases of each key.
    KeyAliases,
    Grants,
    /// Index of the grants of each grantee on a key.
    Grantees,
    /// Index of the grants of each retiring principal in a region.
    Retirers,
    /// The number of grants on each key.
    GrantCounts,
    Deadlines,
    Audit,
    /// Users and roles.
    Identities,
    /// Sessions of roles, and an index of their ends.
    Sessions,
}

impl Table {
    const ALL: [Self; 12] = [
        Self::Keys,
        Self::Materials,
        Self::Aliases,
        Self::KeyAliases,
        Self::Grants,
        Self::Grantees,
        Self::Retirers,
        Self::GrantCounts,
        Self::Deadlines,
        Self::Audit,
        Self::Identities,
        Self::Sessions,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Materials => "materials",
            Self::Aliases => "aliases",
            Self::KeyAliases => "key-aliases",
            Self::Grants => "grants",
            Self::Grantees => "grantees",
            Self::Retirers => "retirers",
            Self::GrantCounts => "grant-counts",
            Self::Deadlines => "deadlines",
            Self::Audit => "audit",
            Self::Identities => "identities",
            Self::Sessions => "sessions",
        }
    }

    /// Returns the minimum length to which records are padded. In some tables all records are empty.
    const fn shortest_record(self) -> usize {
        match self {
            Self::Keys
            | Self::Materials
            | Self::Aliases
            | Self::KeyAliases
            | Self::Grants
            | Self::Audit
            | Self::Identities
            | Self::Sessions => 512,
            Self::Grantees | Self::Retirers | Self::GrantCounts | Self::Deadlines => 0,
        }
    }

    const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

/// An open store.
pub(super) struct Store {
    /// Locked for writing only to change the root key and to compact. It is never held for long: long reads use a
    /// snapshot.
    state: RwLock<State>,
    /// The highest commit that was seen. The store never goes back to before it while it is open.
    latest: AtomicU64,
    last_manifest: LastManifest,
    snapshots: Snapshots,
}

struct State {
    database: Opened,
    header: Header,
    seal: Seal,
    /// The file, unless the store is in memory.
    file: Option<Identity>,
    /// The disk of a test's store, which is used like a file.
    #[cfg(test)]
    disk: Option<tests::Disk>,
}

impl State {
    fn new(database: Opened, header: Header, seal: Seal) -> Self {
        Self {
            database,
            header,
            seal,
            file: None,
            #[cfg(test)]
            disk: None,
        }
    }

    /// Returns the length of the store's file; `None` in memory.
    fn len(&self) -> Result<Option<u64>> {
        #[cfg(test)]
        if let Some(disk) = &self.disk {
            return Ok(Some(disk.len()));
        }
        self.file.as_ref().map(Identity::len).transpose()
    }

    /// Opens the file again, as another program would; `None` in memory.
    fn open_again(&self) -> Option<Result<Opened>> {
        #[cfg(test)]
        if let Some(disk) = &self.disk {
            return Some(disk.open());
        }
        self.file.as_ref().map(|file| open_database(file.path()).map(|(database, _)| database))
    }
}

impl Store {
    fn of(state: State) -> Self {
        Self {
            state: RwLock::new(state),
            latest: AtomicU64::new(0),
            last_manifest: LastManifest::default(),
            snapshots: Snapshots::default(),
        }
    }

    fn in_file(mut self, file: Identity) -> Self {
        self.state.get_mut().unwrap_or_else(PoisonError::into_inner).file = Some(file);
        self
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

    /// Returns whether a path leads to the file of the store.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.with(|state| state.file.as_ref().is_some_and(|file| file.is_at(path)))
    }

    fn with<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` with the database.
    fn enter<T>(&self, work: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        self.with(|state| state.database.backend().guard(|| work(state)))
    }

    /// Runs `work` in a read transaction.
    pub(super) fn read<T>(&self, work: impl FnOnce(&ReadTxn<'_>) -> Result<T>) -> Result<T> {
        self.enter(|state| work(&self.begin_read(state)?))
    }

    fn begin_read<'a>(&self, state: &'a State) -> Result<ReadTxn<'a>> {
        state.file.as_ref().map_or(Ok(()), Identity::check_now_and_then)?;
        let latest = self.latest.load(Ordering::Acquire);
        let transaction = state.database.begin_read()?;
        let manifest = self.last_manifest.load(&state.seal, &|row| manifest_row_of(&transaction, row))?;
        self.check(latest, &manifest)?;
        Ok(ReadTxn { transaction, seal: &state.seal, manifest })
    }

    /// Runs `work` in a write transaction, which is made durably and completely or not at all.
    pub(super) fn write<T>(&self, work: impl FnOnce(&mut WriteTxn<'_>) -> Result<T>) -> Result<T> {
        self.enter(|state| {
            let mut writing = self.begin(state)?;
            let done = work(&mut writing)?;
            let commit = writing.commit()?;
            self.latest.fetch_max(commit, Ordering::AcqRel);
            Ok(done)
        })
    }

    fn begin<'a>(&self, state: &'a State) -> Result<WriteTxn<'a>> {
        let latest = self.latest.load(Ordering::Acquire);
        let transaction = state.database.begin_write()?;
        // Checked after the wait for other writers, which may have been long.
        state.file.as_ref().map_or(Ok(()), Identity::check)?;
        let manifest = self.last_manifest.load(&state.seal, &|row| manifest_row_in(&transaction, row))?;
        self.check(latest, &manifest)?;
        let former_epoch = state.seal.epoch();
        Ok(WriteTxn { transaction, seal: &state.seal, edit: Edit::new(manifest)?, former_epoch })
    }

    fn check(&self, latest: u64, manifest: &Manifest) -> Result<()> {
        if manifest.commit < latest {
            return Err(set_back());
        }
        self.latest.fetch_max(manifest.commit, Ordering::AcqRel);
        Ok(())
    }
}

fn set_back() -> Error {
    let detail = "the key store was set back to an earlier state while it was open: reopen it if that was intended";
    Error::new(ErrorKind::Storage, detail)
}
