//! The word of the store to its log.
//!
//! A line may be written only if the store is what the log proves it to be, and if no later root key is in use. Mostly
//! the log itself tells both. Where it does not, the store is asked: never while the log is locked, since a change of
//! the root key waits for the log while it holds the store.

use std::fs::File;
use std::sync::Arc;

use crate::audit::Head;

/// The word of the store at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    /// The latest commit.
    pub(crate) commit: u64,
    /// Counts the root keys.
    pub(crate) epoch: u64,
    /// The line that the log goes on from, if the store knows of a rotation.
    pub(crate) begins: Option<Head>,
    /// True if this is said inside of a write transaction: nobody else commits meanwhile.
    pub(crate) holds: bool,
}

/// The store's word, and what it is about.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) word: Word,
    /// The file of the log and its length, before the store was asked.
    mark: Option<(Arc<File>, u64)>,
}

impl Asked {
    pub(super) fn new(word: Word, file: Arc<File>, len: u64) -> Self {
        let mark = (!word.holds).then_some((file, len));
        Self { word, mark }
    }

    /// In a write transaction.
    pub(super) fn held(word: Word) -> Self {
        Self { word, mark: None }
    }

    /// Up to where the file had been written when the store was asked, in bytes.
    pub(super) fn covers(&self, file: &Arc<File>) -> u64 {
        match &self.mark {
            None => u64::MAX,
            Some((asked, len)) if Arc::ptr_eq(asked, file) => *len,
            Some(_) => 0,
        }
    }
}
