//! Another root key for the same store.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::root_key::RootKey;
use crate::store::codec::{damaged, storage_error};
use crate::store::manifest::root_key_changed;
use crate::store::purge::{mark_unpurged, rewrite};
use crate::store::seal::Seal;
use crate::store::tables::put_header;
use crate::store::{HEADER_TABLE, MANIFEST_TABLE, Store, Table, Tables, WriteTxn};
use manila_core::Result;

impl Store {
    /// Seals every record anew under another root key, in one transaction. `work` may write more, told what the old seal
    /// was. What was sealed under the old one is in the file until a purge ends: the store is marked so that one does.
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
        let old = self.begin(&state)?;
        let mut edit = old.edit.emptied();
        let mut found = 0_usize;
        for table in Table::ALL {
            rewrite(&old.transaction, table.definition(), |id, row| {
                let counter = old.counter(table, id)?.ok_or_else(damaged)?;
                let record = old.seal.open_bytes(table, id, counter, row)?;
                edit.note(&seal, &|_| Ok(None), table, id, true)?;
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
        let mut new = WriteTxn { transaction, seal: &seal, edit };
        let done = work(&mut new, &state.seal)?;
        let commit = new.commit()?;
        self.latest.fetch_max(commit, Ordering::AcqRel);
        (state.header, state.seal) = (header, seal);
        Ok(done)
    }
}
