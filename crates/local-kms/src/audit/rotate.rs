//! Rotation: a new file that goes on from the last line of the old one.
//!
//! The new file is written whole beside the log, the old one gets its other name, and the new one takes its place in one
//! step: at no moment is there no log, or two that are written to. Only then does the store learn of it. A crash in
//! between leaves one of a few states, which [`Log::rotate`] tells apart and finishes when it is called again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::audit::file::{Log, State, sync_folder_of};
use crate::audit::line::{self, Macs, Position};
use crate::audit::os::{self, Access, Locked};
use crate::audit::tail::Tail;
use crate::audit::{Checkpoint, EndOfLog, Event, Head, LineKey};
use crate::disk;
use crate::root_key::{io_error, new_private_file};
use manila_core::{Error, Result};

/// What a rotation made, for the store to remember.
#[derive(Debug)]
pub(crate) struct Rotated {
    /// The end of the old file.
    pub(crate) end: EndOfLog,
    /// The end of the new one.
    pub(crate) checkpoint: Checkpoint,
}

/// The old log, as a rotation finds it.
enum Old {
    /// At the log's path. It gets its new name.
    InPlace(File),
    /// Under its new name, by a rename or by a rotation that was interrupted. Nothing of worth is at the log's path.
    Moved(File),
    /// Under its new name, and the file at the log's path may go on from it already.
    Replaced(File),
    Lost,
}

impl Log {
    /// Begins a new file with the line of `event`. The old one is at the log's path and gets the name `to`, or has that
    /// already; without `to` it is lost, and the new one goes on from what the store remembers, `before`.
    ///
    /// The caller holds the store's write transaction, so nobody else rotates meanwhile.
    ///
    /// # Errors
    /// `ErrorKind::Io` if `to` is taken by another file or a file cannot be made or moved, `ErrorKind::AuditFailed` if
    /// the old log is not there or cannot be read.
    pub(crate) fn rotate(
        &self,
        to: Option<&Path>,
        event: &Event<'_>,
        keys: &[LineKey],
        store_id: &[u8],
        before: Option<&Checkpoint>,
    ) -> Result<Rotated> {
        let mut state = self.lock();
        let macs = Macs::new(keys, store_id)?;
        let to = to.map(std::path::absolute).transpose().map_err(|error| self.cannot_rotate(error))?;
        match self.old_log(to.as_deref())? {
            Old::InPlace(file) => self.go_on_from(&mut state, &file, to.as_deref(), event, &macs, before),
            Old::Moved(file) => self.go_on_from(&mut state, &file, None, event, &macs, before),
            Old::Replaced(file) => {
                let end = self.end_of(&file, &macs, before)?;
                self.finish(&mut state, end, event, &macs)?.ok_or_else(|| taken(to.as_deref()))
            }
            Old::Lost => {
                let last = before.map_or_else(|| macs.start().head, |before| before.head.clone());
                self.begin(&mut state, EndOfLog { last, cut: None }, None, event, &macs)
            }
        }
    }

    fn old_log(&self, to: Option<&Path>) -> Result<Old> {
        let open = |path: &Path| os::open_existing(path).map_err(|error| self.cannot_rotate(error));
        let here = open(&self.options.path)?;
        let Some(to) = to else {
            return match here {
                Some(file) if !os::is_empty(&file).map_err(|error| self.cannot_rotate(error))? => {
                    Err(self.refusal("is not lost: rotate it with LocalKms::rotate_audit_log"))
                }
                _ => Ok(Old::Lost),
            };
        };
        // A symbolic link to the log is not another name of its file.
        if fs::symlink_metadata(to).is_ok_and(|there| there.is_symlink()) {
            return Err(taken(Some(to)));
        }
        match (here, open(to)?) {
            (Some(here), None) => Ok(Old::InPlace(here)),
            (None, Some(there)) => Ok(Old::Moved(there)),
            (Some(here), Some(there)) => {
                let named = os::are_two_names(&here, &there)
                    .and_then(|named| Ok(named || os::is_empty(&here)? && !os::is_empty(&there)?));
                match named.map_err(|error| self.cannot_rotate(error))? {
                    true => Ok(Old::Moved(there)),
                    false => Ok(Old::Replaced(there)),
                }
            }
            (None, None) => {
                let what = format!(
                    "is neither at its path nor at {to:?}: name the file that it was moved to, or, if it is lost, call \
                     LocalKms::replace_lost_audit_log"
                );
                Err(self.refusal(&what))
            }
        }
    }

    /// Begins a new file that goes on from `old`, which gets the name `to` if there is one.
    fn go_on_from(
        &self,
        state: &mut State,
        old: &File,
        to: Option<&Path>,
        event: &Event<'_>,
        macs: &Macs<'_>,
        before: Option<&Checkpoint>,
    ) -> Result<Rotated> {
        // Whoever waits for this lock finds another file at the log's path, and goes on there.
        let _lock = Locked::new(old, Access::Write).map_err(|error| self.failed("cannot be locked", error))?;
        let end = self.end_of(old, macs, before)?;
        self.begin(state, end, to, event, macs)
    }

    /// Makes the new file and puts it in its place.
    fn begin(
        &self,
        state: &mut State,
        end: EndOfLog,
        to: Option<&Path>,
        event: &Event<'_>,
        macs: &Macs<'_>,
    ) -> Result<Rotated> {
        let before = Position { head: end.last.clone(), epoch: 0 };
        let (line, last) = line::write(event, self.options.context_keys_only, true, &before, macs)?;
        let file = self.put_in_place(&line, to).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(to),
            _ => self.cannot_rotate(error),
        })?;
        (state.file, state.known) = (Arc::new(file), None);
        Ok(Rotated { end, checkpoint: Checkpoint { head: last.head, len: line.len() as u64 } })
    }

    fn put_in_place(&self, line: &[u8], to: Option<&Path>) -> io::Result<File> {
        let path = self.place();
        let mut new = new_private_file(&path)?;
        new.write_all(line)?;
        disk::sync(new.as_file())?;
        if let Some(to) = to {
            // A second name first, so that the log is never without one. Some file systems have no second names.
            fs::hard_link(&path, to).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Err(error),
                _ => fs::rename(&path, to),
            })?;
            sync_folder_of(to);
        }
        new.persist(&path).map_err(|failed| failed.error)?;
        sync_folder_of(&path);
        os::open_or_make(&path)
    }

    /// The log's path, behind symbolic links.
    fn place(&self) -> PathBuf {
        fs::canonicalize(&self.options.path).unwrap_or_else(|_| self.options.path.clone())
    }

    /// Finishes a rotation whose new file is in its place: `None` if the file there does not go on from `end`.
    fn finish(&self, state: &mut State, end: EndOfLog, event: &Event<'_>, macs: &Macs<'_>) -> Result<Option<Rotated>> {
        let path = &self.options.path;
        let new = os::open_or_make(path).map_err(|error| self.cannot_rotate(error))?;
        let Some(beginning) = (Tail { file: &new, path, macs }).beginning()? else { return Ok(None) };
        if beginning != end.last {
            return Ok(None);
        }
        (state.file, state.known) = (Arc::new(new), None);
        let now = self.write_event(state, event, macs)?;
        let checkpoint = Checkpoint { head: now.last.head, len: now.len };
        Ok(Some(Rotated { end, checkpoint }))
    }

    /// The end of an old file. What the store remembers of it is kept where the file does not have it: that it was cut
    /// off stays to be seen.
    fn end_of(&self, old: &File, macs: &Macs<'_>, before: Option<&Checkpoint>) -> Result<EndOfLog> {
        let tail = Tail { file: old, path: &self.options.path, macs };
        let now = tail.find()?;
        disk::sync(old).map_err(|error| self.failed("cannot be synced", error))?;
        let last = now.last.head.clone();
        let Some(before) = before else { return Ok(EndOfLog { last, cut: None }) };
        if tail.goes_on(before, &now)? || self.is_behind(&last, before, macs)? {
            return Ok(EndOfLog { last, cut: None });
        }
        if before.head.lines >= last.lines {
            return Ok(EndOfLog { last: before.head.clone(), cut: None });
        }
        Ok(EndOfLog { last, cut: Some(before.head.clone()) })
    }

    /// Whether the file at the log's path goes on from `last` already, and the checkpoint is in it.
    fn is_behind(&self, last: &Head, checkpoint: &Checkpoint, macs: &Macs<'_>) -> Result<bool> {
        let path = &self.options.path;
        let Some(here) = os::open_existing(path).map_err(|error| self.cannot_rotate(error))? else { return Ok(false) };
        let beginning = Tail { file: &here, path, macs }.beginning()?;
        Ok(checkpoint.head.lines > last.lines && beginning.as_ref() == Some(last))
    }

    fn cannot_rotate(&self, error: io::Error) -> Error {
        io_error("rotate the audit log", &self.options.path, error)
    }
}

fn taken(to: Option<&Path>) -> Error {
    let to = to.unwrap_or(Path::new(""));
    let why = "a file that the log does not go on from is there: choose another name for the old log";
    io_error("move the audit log to", to, io::Error::new(io::ErrorKind::AlreadyExists, why))
}
