//! Another root key for the same store.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::root_key::RootKey;
use crate::store::codec::{damaged, storage_error};
use crate::store::header::Header;
use crate::store::manifest::{Between, root_key_changed};
use crate::store::open::read_header;
use crate::store::purge::{mark_unpurged, rewrite};
use crate::store::seal::Seal;
use crate::store::tables::{id_of, put_header};
use crate::store::{HEADER_TABLE, MANIFEST_TABLE, State, Store, Table, Tables, WriteTxn};
use manila_core::{Error, ErrorKind, Result};

impl Store {
    /// Seals every record anew under another root key, in one transaction. `work` may write more, told what the old
    /// seal was. What was sealed under the old one is in the file until a purge ends: the store is marked so that one
    /// does.
    pub(crate) fn change_root_key<T>(
        &self,
        root: RootKey,
        work: impl FnOnce(&mut WriteTxn<'_>, &Seal) -> Result<T>,
    ) -> Result<T> {
        // Deriving a key from a passphrase takes its time, and nobody waits for that.
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
            // Once there is a new manifest, nobody can tell any more that a record was taken out of the file before it.
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
    /// The error of a commit that changed the root key to `seal`'s and failed. The commit may be in the file all the
    /// same, as when the disk failed in the end, and this handle reads nothing any more. So the file is opened once
    /// more, to see which root key it has.
    fn say_which_holds(&self, header: &Header, seal: &Seal, error: &Error) -> Error {
        // In memory there is nothing to open, and nothing to lose either.
        let Some(opened) = self.open_again() else { return error.clone() };
        let found = opened.and_then(|database| read_header(&database));
        let is_sealed_with = |row: &[u8], header: &Header, seal: &Seal| {
            Header::open(row, seal.root_key()).is_ok_and(|(found, _)| found.epoch() == header.epoch())
        };
        let (kind, which) = match found {
            Ok(row) if is_sealed_with(&row, header, seal) => {
                (ErrorKind::RootKeyChanged, "the file already has the new root key: call reopen_with with that key")
            }
            Ok(row) if is_sealed_with(&row, &self.header, &self.seal) => {
                (ErrorKind::Storage, "the file still has the old root key: call reopen")
            }
            _ => (ErrorKind::Storage, "it is not known which root key the file has: keep both until one opens it"),
        };
        Error::other(kind, format!("the change of the root key failed, and {which} ({error})"), error.clone())
    }
}
