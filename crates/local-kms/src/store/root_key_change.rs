//! Changing the root key of a store.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::root_key::RootKey;
use crate::store::codec::{damaged, settled, storage_error};
use crate::store::header::Header;
use crate::store::manifest::{Between, root_key_changed};
use crate::store::open::read_header;
use crate::store::purge::{mark_unpurged, rewrite};
use crate::store::seal::Seal;
use crate::store::tables::{id_of, put_header};
use crate::store::{HEADER_TABLE, MANIFEST_TABLE, State, Store, Table, Tables, WriteTxn};
use manila_core::{Error, ErrorKind, Result};

impl Store {
    /// Seals every record under another root key, in one transaction. `work` gets the old seal and may write more.
    /// Bytes that were sealed under the old key remain in the file until a purge ends; a mark in the store makes sure
    /// of that purge.
    pub(crate) fn change_root_key<T>(
        &self,
        root: RootKey,
        work: impl FnOnce(&mut WriteTxn<'_>, &Seal) -> Result<T>,
    ) -> Result<T> {
        // Deriving a key from a passphrase takes long, so no lock is held meanwhile.
        let former = self.with(|state| state.header.clone());
        let (header, seal) = former.next(root)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.header.epoch() != former.epoch() {
            return Err(root_key_changed());
        }
        let backend = state.database.backend().clone();
        let (done, commit) = backend.guard(|| {
            let old = self.begin(&state)?;
            let mut edit = old.edit.emptied();
            let mut found = 0_usize;
            for table in Table::ALL {
                let mut last: Option<String> = None;
                rewrite(&old.transaction, table.definition(), |id, row| {
                    let id = id_of(id)?;
                    let counter = old.counter(table, id)?.ok_or_else(damaged)?;
                    let record = old.seal.open_bytes(table, id, counter, row)?;
                    edit.insert(&seal, &|_| Ok(None), table, Between { before: last.as_deref(), id, after: None })?;
                    last = Some(id.to_owned());
                    found = found.saturating_add(1);
                    seal.seal_bytes(table, id, edit.commit(), &record)
                })?;
            }
            // A new manifest would hide that a record was removed from the file before.
            if found != old.count()? {
                return Err(damaged());
            }
            let transaction = old.transaction;
            transaction.delete_table(MANIFEST_TABLE).map_err(storage_error)?;
            transaction.delete_table(HEADER_TABLE).map_err(storage_error)?;
            put_header(&transaction, &header, &seal)?;
            mark_unpurged(&transaction)?;
            let mut new = WriteTxn { transaction, seal: &seal, edit, former_epoch: former.epoch() };
            let done = work(&mut new, &state.seal)?;
            let commit = new.commit().map_err(|error| state.say_which_holds(&header, &seal, &error))?;
            Ok((done, commit))
        })?;
        self.latest.fetch_max(commit, Ordering::AcqRel);
        (state.header, state.seal) = (header, seal);
        Ok(done)
    }
}

impl State {
    /// Returns the error of a failed commit that changed the root key to `seal`'s. The commit may nevertheless be in
    /// the file, for instance if the disk failed at the end, and this handle can no longer read. So the file is opened
    /// again, to find out which root key it has.
    fn say_which_holds(&self, header: &Header, seal: &Seal, error: &Error) -> Error {
        // A store in memory cannot be opened again, and has nothing to lose.
        let Some(opened) = self.open_again() else { return error.clone() };
        let found = opened.and_then(|database| read_header(&database));
        let is_sealed_with = |row: &[u8], header: &Header, seal: &Seal| {
            Header::open(row, seal.root_key()).is_ok_and(|(found, _)| found.epoch() == header.epoch())
        };
        let (kind, which, cause) = match found {
            Ok(row) if is_sealed_with(&row, header, seal) => {
                let which = "the file already has the new root key: call reopen_with with that key";
                (ErrorKind::RootKeyChanged, which, error.clone())
            }
            Ok(row) if is_sealed_with(&row, &self.header, &self.seal) => {
                (ErrorKind::Storage, "the file still has the old root key: call reopen", settled(error))
            }
            _ => {
                let which = "it is not known which root key the file has: keep both until one opens it";
                (ErrorKind::Storage, which, error.clone())
            }
        };
        Error::other(kind, format!("the change of the root key failed, and {which} ({error})"), cause)
    }
}
