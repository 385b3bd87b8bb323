//! The files of a log, followed from the line that the store has recorded.

use std::fs::File;

use crate::audit::line::Position;
use crate::audit::os;
use crate::audit::tail::{End, Tail};
use crate::audit::{Checkpoint, Head};
use manila_core::Result;

/// The result of following files from the store's checkpoint, before anything is locked.
#[derive(Debug, Default)]
pub(crate) struct Followed(pub(super) Vec<FollowedFile>);

#[derive(Debug)]
pub(super) struct FollowedFile {
    pub(super) file: File,
    pub(super) from: Head,
    /// The length of the file at that time.
    pub(super) len: u64,
    /// The last line at that time; `None` if the file does not continue from the checkpoint.
    pub(super) last: Option<Position>,
}

impl Followed {
    /// Leaves out files that do not continue from the line, because they may be repaired.
    pub(crate) fn that_go_on(mut self) -> Self {
        self.0.retain(|of| of.last.is_some());
        self
    }

    /// Returns whether a file continues from a checkpoint to its present end, which was determined under its lock.
    pub(super) fn goes_on(&self, tail: &Tail<'_>, checkpoint: &Checkpoint, now: &End) -> Result<bool> {
        let is_it = |of: &&FollowedFile| {
            of.from == checkpoint.head && of.len <= now.len && os::are_one(&of.file, tail.file).unwrap_or(false)
        };
        let last = match self.0.iter().find(is_it) {
            Some(FollowedFile { last: None, .. }) => None,
            Some(FollowedFile { last: Some(last), len, .. }) => tail.follow_from(last.clone(), *len, now.len)?,
            None => tail.follow(checkpoint, now.len)?,
        };
        Ok(last.is_some_and(|last| last.head == now.last.head))
    }
}
