//! The ends of a log's files, which the store records.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::audit::file::{Log, State};
use crate::audit::followed::{Followed, FollowedFile};
use crate::audit::line::Macs;
use crate::audit::os;
use crate::audit::tail::{Beginning, End, Tail};
use crate::audit::word::{Asked, Word};
use crate::audit::{Checkpoint, EndOfLog, LineKey};
use crate::disk;
use crate::file_lock::{Access, Locked};
use manila_core::Result;
use manila_core::internal::crypto::{hex, sha256};

/// The maximum length of a log's name, in bytes, that leaves room for an extension.
const LONGEST_NAME: usize = 200;

/// The present end of a log.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) checkpoint: Checkpoint,
    /// The ends of earlier files that the store has not recorded, because their rotation was interrupted, or because
    /// the store is an earlier backup.
    pub(crate) missed: Vec<EndOfLog>,
}

impl Log {
    /// Returns the present end of the log, and syncs the file: after a power failure, the store's record must not be
    /// ahead of the file. The caller holds the store's write transaction.
    ///
    /// # Errors
    /// The same as [`append`](Self::append), even at best effort; `ErrorKind::AuditFailed` if there are no lines, or if
    /// the line of the checkpoint `before` is missing: replacing that checkpoint would hide that the log was cut off.
    pub(crate) fn end(
        &self,
        keys: &[LineKey],
        store_id: &[u8],
        before: Option<&Checkpoint>,
        word: Word,
        followed: &Followed,
    ) -> Result<Kept> {
        let mut state = self.lock();
        let (macs, asked) = (Macs::new(keys, store_id)?, Asked::held(word));
        let kept = self.at_end(&mut state, &macs, Some(&asked), |state, end| {
            disk::sync(&state.file).map_err(|error| self.failed("cannot be synced", error))?;
            if end.last.head.lines == 0 {
                return Err(self.refusal("has no lines, so there is no end to remember").into());
            }
            // Even at best effort: this is not the end of the log of a store that was set back.
            if let Some(refusal) = end.proof.refusal(&asked.word.found) {
                return Err(refusal.error().into());
            }
            let tail = self.tail(&state.file, &macs, Some(&asked));
            let beginning = tail.beginning()?;
            let missed = self.missed(state, &tail, before, &end, beginning.as_ref(), followed)?;
            let checkpoint = Checkpoint {
                head: end.last.head.clone(),
                len: end.len,
                begins: beginning.map(|beginning| beginning.last),
            };
            (state.followed_from, state.known) = (Some(checkpoint.head.clone()), Some(end));
            Ok(Kept { checkpoint, missed })
        });
        // No other handle can be rotating now, so a new file next to the log was left by a crash.
        self.remove_left_over();
        self.certain(kept)
    }

    /// Returns the ends of the files between the checkpoint and this file. Fails if the checkpoint is in neither.
    pub(super) fn missed(
        &self,
        state: &State,
        tail: &Tail<'_>,
        before: Option<&Checkpoint>,
        end: &End,
        beginning: Option<&Beginning>,
        followed: &Followed,
    ) -> Result<Vec<EndOfLog>> {
        let Some(before) = before else { return Ok(beginning.map(Beginning::end).into_iter().collect()) };
        if state.followed_from.as_ref() == Some(&before.head) || followed.goes_on(tail, before, end)? {
            return Ok(Vec::new());
        }
        match beginning.filter(|beginning| beginning.last.lines >= before.head.lines) {
            Some(beginning) => Ok(ends_between(before, beginning)),
            None => Err(self.refusal(
                "does not continue from the last line that the store has recorded: put the log back, or verify it with a \
                 handle that keeps no log, and then begin a new one with LocalKms::rotate_audit_log",
            )),
        }
    }

    /// Follows the log, or the file at `other` that may be the log, from the store's checkpoint. This takes long if
    /// much was written since, so the caller must hold no lock. Errors are ignored here, because they will occur again
    /// when the result is used.
    pub(crate) fn follow<K: Deref<Target = [LineKey]>>(
        &self,
        keys: &K,
        store_id: &[u8],
        before: Option<&Checkpoint>,
        other: Option<&Path>,
    ) -> Followed {
        let Some(before) = before else { return Followed::default() };
        if other.is_none() && self.lock().followed_from.as_ref() == Some(&before.head) {
            return Followed::default();
        }
        let Ok(macs) = Macs::new(keys, store_id) else { return Followed::default() };
        let paths = [Some(self.path()), other];
        let follow = |path: &Path| -> Option<FollowedFile> {
            let (file, len) = whole_lines(path).ok()?;
            let tail = Tail { file: &file, path, macs: &macs, asked: u64::MAX };
            let last = tail.follow(before, len).ok()?;
            Some(FollowedFile { file, from: before.head.clone(), len, last })
        };
        Followed(paths.into_iter().flatten().filter_map(follow).collect())
    }

    /// Syncs the file, so that little is left to sync while the store is locked.
    ///
    /// The system reports a write error once to each open file, so this opens the file separately: the later sync still
    /// gets the error.
    pub(crate) fn sync_ahead(&self) {
        if let Ok(file) = os::open_to_read(self.path()) {
            let _ = file.sync_data();
        }
    }

    /// Returns the name of a new file before it replaces the log. The name is fixed, so that a file left by a crash is
    /// found.
    pub(super) fn new_name(&self) -> Option<PathBuf> {
        let place = self.place();
        let name = place.file_name()?;
        let mut new = OsString::from(".");
        match name.len() <= LONGEST_NAME {
            true => new.push(name),
            false => new.push(hex(&sha256(name.as_encoded_bytes()))),
        }
        new.push(".manila-new");
        Some(place.with_file_name(new))
    }

    pub(super) fn remove_left_over(&self) {
        if let Some(name) = self.new_name() {
            let _ = fs::remove_file(name);
        }
    }

    /// Returns whether an interrupted rotation left its new file behind.
    pub(crate) fn has_left_over(&self) -> bool {
        self.new_name().is_some_and(|name| fs::symlink_metadata(name).is_ok())
    }

    /// Returns the log's path with symbolic links resolved.
    pub(super) fn place(&self) -> PathBuf {
        fs::canonicalize(self.path()).unwrap_or_else(|_| self.path().to_owned())
    }
}

impl Checkpoint {
    /// Returns the number of lines before the file that contains it.
    pub(super) fn start(&self) -> u64 {
        self.begins.as_ref().map_or(0, |begins| begins.lines)
    }
}

impl Beginning {
    /// Returns the end of the previous file.
    pub(super) fn end(&self) -> EndOfLog {
        EndOfLog { start: self.since, last: self.last.clone(), cut: None }
    }
}

/// Returns the ends of the file that contains a checkpoint, and of the file before one that begins after it. There may
/// be files between the two, whose ends are unknown and not required.
pub(super) fn ends_between(before: &Checkpoint, beginning: &Beginning) -> Vec<EndOfLog> {
    let start = before.start();
    if beginning.since == start {
        let cut = Some(before.head.clone()).filter(|head| *head != beginning.last);
        return vec![EndOfLog { cut, ..beginning.end() }];
    }
    vec![EndOfLog { start, last: before.head.clone(), cut: None }, beginning.end()]
}

/// Opens a file, and returns it with its length at a moment when no line was being written.
pub(super) fn whole_lines(path: &Path) -> io::Result<(File, u64)> {
    let file = os::open_to_read(path)?;
    let len = {
        let _lock = Locked::new(&file, Access::Read)?;
        file.metadata()?.len()
    };
    Ok((file, len))
}
