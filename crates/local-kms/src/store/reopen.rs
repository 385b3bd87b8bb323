//! Opening a store again in place, for all clones and views of its handle.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::error::invalid;
use crate::root_key::RootKey;
use crate::store::{Store, Tables, set_back};
use manila_core::{Error, ErrorKind, Result};

impl Store {
    /// Opens the file at the path of this store again, in the same mode, with the same root key or another one.
    ///
    /// The file must belong to the same store, and must not be an earlier state than this handle has seen.
    pub(crate) fn reopen(&self, root: Option<RootKey>) -> Result<()> {
        let (path, id, is_read_only) = self.with(|state| {
            let path = state.file.as_ref().map(|file| file.path().to_owned());
            (path, state.header.id().to_vec(), state.database.is_read_only())
        });
        let Some(path) = path else {
            return Err(invalid("ValidationException", "a KMS in memory has no file to open again"));
        };
        let root = root.unwrap_or_else(|| self.root_key());
        let opened = if is_read_only { Self::open_read_only(&path, &root) } else { Self::open(&path, root) }?;
        if opened.with(|state| state.header.id() != id) {
            let detail = format!("another key store is now at {path:?}: open it with LocalKms::open");
            return Err(Error::new(ErrorKind::Storage, detail));
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // Calls of this handle continued while the file was verified. Now they wait, so the present state of the file
        // can be compared with the last state that they saw.
        let commit = opened.read(|tables| Ok(tables.commit_number()))?;
        if commit < self.latest.load(Ordering::Acquire) {
            return Err(set_back());
        }
        *state = opened.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.latest.fetch_max(commit, Ordering::AcqRel);
        Ok(())
    }
}
