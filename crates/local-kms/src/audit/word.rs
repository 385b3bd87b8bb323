//! The state of the store that its log depends on.
//!
//! A line may be written only if the store is in the state that the log proves, and if no later root key is in use.
//! Usually both follow from the log itself. Otherwise the store is read, but never while the log is locked, because a
//! change of the root key waits for the log while it holds the store.

use std::fs::File;
use std::sync::Arc;

use crate::audit::Head;
use crate::audit::proof::Found;

/// The state of the store at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub(crate) found: Found,
    /// The number of the root key.
    pub(crate) epoch: u64,
    /// The line from which the log continues, if the store has recorded a rotation.
    pub(crate) begins: Option<Head>,
    /// True if it was read in a write transaction, so that nobody else commits meanwhile.
    pub(crate) holds: bool,
}

/// The state of the store, and the part of the log for which it was read.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) word: Word,
    /// The file of the log and its length before the store was read.
    mark: Option<(Arc<File>, u64)>,
}

impl Asked {
    pub(super) fn new(word: Word, file: Arc<File>, len: u64) -> Self {
        let mark = (!word.holds).then_some((file, len));
        Self { word, mark }
    }

    /// Returns the state in a write transaction.
    pub(super) fn held(word: Word) -> Self {
        Self { word, mark: None }
    }

    /// Returns the length of the file's part that was written before the store was read, in bytes.
    pub(super) fn covers(&self, file: &Arc<File>) -> u64 {
        match &self.mark {
            None => u64::MAX,
            Some((asked, len)) if Arc::ptr_eq(asked, file) => *len,
            Some(_) => 0,
        }
    }
}
