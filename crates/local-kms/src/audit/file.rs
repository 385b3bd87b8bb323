//! Appending to a log's file, which other handles and processes append to as well.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::line::{self, Macs};
use crate::audit::os::{self, Access, Locked};
use crate::audit::tail::{self, End, Tail};
use crate::audit::{AuditLog, Checkpoint, EndOfLog, Event, LineKey};
use crate::disk;
use crate::root_key::io_error;
use manila_core::{Error, Result};

/// How often in one call a log may turn out to have been rotated.
const MAX_ROTATIONS: usize = 16;

/// A log that is open for appending.
pub(crate) struct Log {
    pub(super) options: AuditLog,
    pub(super) state: Mutex<State>,
    #[cfg(test)]
    pub(super) hooks: tests::Hooks,
}

/// The open file. Whoever holds the lock may move the file's position.
pub(super) struct State {
    /// The file at the log's path, or one that was there before.
    pub(super) file: Arc<File>,
    /// The file as this handle last saw it; `None` before its first line.
    pub(super) known: Option<End>,
    /// The line of the opening, while it is not in the log. Nothing else is written before it.
    pub(super) opening: Option<Opening>,
}

/// The opening of a handle, for its line.
pub(crate) struct Opening {
    pub(crate) event: Event<'static>,
    /// Whether the store knows of lines, so that an empty file is not the log.
    pub(crate) expects_lines: bool,
}

/// Whether a line is in the log.
pub(crate) enum Written {
    Whole,
    /// It is not, and the log is kept at best effort.
    Missing(Error),
}

impl Log {
    /// Opens the file, or makes it. Nothing is read before the first line is written.
    ///
    /// # Errors
    /// `ErrorKind::Io` if that fails, or if the path names something else than a file.
    pub(crate) fn open(mut options: AuditLog) -> Result<Self> {
        let failed = |error| io_error("open the audit log", &options.path, error);
        let path = std::path::absolute(&options.path).map_err(failed)?;
        let file = Arc::new(os::open_or_make(&path).map_err(failed)?);
        sync_folder_of(&path);
        options.path = path;
        Ok(Self {
            options,
            state: Mutex::new(State { file, known: None, opening: None }),
            #[cfg(test)]
            hooks: tests::Hooks::default(),
        })
    }

    pub(crate) fn keeps_context_keys_only(&self) -> bool {
        self.options.context_keys_only
    }

    pub(crate) fn is_best_effort(&self) -> bool {
        self.options.best_effort
    }

    pub(crate) fn path(&self) -> &Path {
        &self.options.path
    }

    /// Writes the line of an opening, and returns the latest commit of the store that the log proves. A log that cannot
    /// take the line now, as when it has been moved, takes it before any other.
    ///
    /// # Errors
    /// As [`append`](Self::append), at best effort too.
    pub(crate) fn open_with<K: Deref<Target = [LineKey]>>(
        &self,
        opening: Opening,
        keys: impl Fn() -> K,
        store_id: &[u8],
    ) -> Result<u64> {
        let mut state = self.lock();
        state.opening = Some(opening);
        let keys = keys();
        let macs = Macs::new(&keys, store_id)?;
        self.at_end(&mut state, &macs, |state, end| {
            let proven = end.proven_commit;
            self.write_opening(state, end, &macs).map(|_| proven)
        })
    }

    /// Writes the line of an event.
    ///
    /// The line follows the last genuine one, wherever that is: torn and tampered lines behind it stay where they are,
    /// for `verify` to name.
    ///
    /// # Errors
    /// `ErrorKind::AuditFailed` if the line is not in the file afterwards, `ErrorKind::RootKeyChanged` if the last
    /// line is of a later root key than `keys`; none if the log is kept at best effort.
    pub(crate) fn append<K: Deref<Target = [LineKey]>>(
        &self,
        event: &Event<'_>,
        keys: impl Fn() -> K,
        store_id: &[u8],
    ) -> Result<Written> {
        match self.write(event, keys, store_id) {
            Ok(()) => Ok(Written::Whole),
            Err(error) if self.options.best_effort => Ok(Written::Missing(error)),
            Err(error) => Err(error),
        }
    }

    fn write<K: Deref<Target = [LineKey]>>(
        &self,
        event: &Event<'_>,
        keys: impl Fn() -> K,
        store_id: &[u8],
    ) -> Result<()> {
        let mut state = self.lock();
        // Only now, so that of two threads the one with an older key does not come second.
        let keys = keys();
        let macs = Macs::new(&keys, store_id)?;
        self.write_event(&mut state, event, &macs).map(drop)
    }

    pub(super) fn write_event(&self, state: &mut State, event: &Event<'_>, macs: &Macs<'_>) -> Result<End> {
        self.at_end(state, macs, |state, end| {
            let end = self.write_opening(state, end, macs)?;
            let end = self.write_line(&state.file, event, &end, macs)?;
            state.known = Some(end.clone());
            Ok(end)
        })
    }

    /// The end of the log as of now, on the disk: what the store remembers must not be ahead of the file after a power
    /// failure. The second result is the end of the log before, if the store has missed a rotation: it was interrupted, or
    /// the store is a backup from before.
    ///
    /// # Errors
    /// As [`append`](Self::append), at best effort too; `ErrorKind::AuditFailed` if there are no lines, or if the line of
    /// the checkpoint `before` is no longer there: to forget that one would hide that the log was cut off.
    pub(crate) fn end(
        &self,
        keys: &[LineKey],
        store_id: &[u8],
        before: Option<&Checkpoint>,
    ) -> Result<(Checkpoint, Option<EndOfLog>)> {
        let mut state = self.lock();
        let macs = Macs::new(keys, store_id)?;
        self.at_end(&mut state, &macs, |state, end| {
            disk::sync(&state.file).map_err(|error| self.failed("cannot be synced", error))?;
            let tail = Tail { file: &state.file, path: &self.options.path, macs: &macs };
            if end.last.head.lines == 0 {
                return Err(self.refusal("has no lines, so there is no end to remember"));
            }
            let missed = before.map_or(Ok(None), |before| self.missed_rotation(&tail, before, &end))?;
            let checkpoint = Checkpoint { head: end.last.head.clone(), len: end.len };
            state.known = Some(end);
            Ok((checkpoint, missed))
        })
    }

    /// The end of the log before, if the checkpoint is in that one. Fails if it is in neither.
    fn missed_rotation(&self, tail: &Tail<'_>, before: &Checkpoint, end: &End) -> Result<Option<EndOfLog>> {
        if tail.goes_on(before, end)? {
            return Ok(None);
        }
        match tail.beginning()?.filter(|last| last.lines >= before.head.lines) {
            Some(last) => Ok(Some(EndOfLog { last, cut: Some(before.head.clone()) })),
            None => Err(self.refusal(
                "does not go on from the last line that the store remembers, so that line is not forgotten: verify the \
                 log, then begin a new one with LocalKms::rotate_audit_log",
            )),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works at the end of the file that is the log now, while nobody else does.
    fn at_end<T>(
        &self,
        state: &mut State,
        macs: &Macs<'_>,
        work: impl FnOnce(&mut State, End) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..MAX_ROTATIONS {
            let file = state.file.clone();
            let lock = Locked::new(&file, Access::Write).map_err(|error| self.failed("cannot be locked", error))?;
            if os::is_at(&self.options.path, &file).map_err(|error| self.failed("cannot be read", error))? {
                let end = self.look(state, macs)?;
                #[cfg(test)]
                self.hooks.between();
                return work(state, end);
            }
            // Rotation moves the file while it holds this lock, so nobody writes to the old file behind its end.
            drop(lock);
            (state.file, state.known) = (Arc::new(self.successor(state, macs)?), None);
        }
        Err(self.moved("was moved"))
    }

    /// The file at the log's path, if it goes on from the one that this handle has open.
    fn successor(&self, state: &State, macs: &Macs<'_>) -> Result<File> {
        let opened = os::open_existing(&self.options.path).map_err(|error| self.failed("cannot be opened", error))?;
        let file = opened.ok_or_else(|| self.moved("was moved or deleted"))?;
        let seen = state.known.as_ref().map_or(0, |known| known.last.head.lines);
        let beginning = Tail { file: &file, path: &self.options.path, macs }.beginning()?;
        // Of a rotation that this handle saw nothing of there may have been several.
        if beginning.is_some_and(|before| before.lines >= seen) {
            return Ok(file);
        }
        Err(self.moved("was moved or deleted, and another file is in its place"))
    }

    /// Looks at what the file is now. If nobody else wrote, nothing is read.
    fn look(&self, state: &State, macs: &Macs<'_>) -> Result<End> {
        let tail = Tail { file: &state.file, path: &self.options.path, macs };
        let len = tail.len()?;
        match &state.known {
            Some(known) if len == known.len => Ok(known.clone()),
            Some(known) if len < known.len => Err(self.moved("was cut short")),
            Some(known) => tail.catch_up(known, len)?.ok_or_else(|| self.moved("was replaced")),
            None => {
                let end = tail.find()?;
                if end.last.head.lines == 0 && state.opening.as_ref().is_some_and(|opening| opening.expects_lines) {
                    return Err(self.moved("is empty, and the store knows of earlier lines: it was moved or deleted"));
                }
                Ok(end)
            }
        }
    }

    /// Writes the line of the opening, if it is not in the log yet.
    fn write_opening(&self, state: &mut State, end: End, macs: &Macs<'_>) -> Result<End> {
        let Some(opening) = &state.opening else { return Ok(end) };
        let end = self.write_line(&state.file, &opening.event, &end, macs)?;
        (state.opening, state.known) = (None, Some(end.clone()));
        Ok(end)
    }

    fn write_line(&self, file: &File, event: &Event<'_>, end: &End, macs: &Macs<'_>) -> Result<End> {
        let (mut line, last) = line::write(event, self.options.context_keys_only, false, &end.last, macs)?;
        if !end.ends_in_newline {
            line.insert(0, b'\n');
        }
        let mut writer = file;
        let written = writer.write_all(&line).and_then(|()| match self.options.sync_each_call {
            true => disk::sync(file),
            false => Ok(()),
        });
        if let Err(error) = written {
            // The call will not be answered, so no part of its line should stay. If it does, the next line begins
            // behind it.
            let _ = file.set_len(end.len);
            return Err(self.failed("cannot be written", error));
        }
        let proven_commit = end.proven_commit.max(event.commits.found.unwrap_or_default());
        Ok(End { len: end.len.saturating_add(line.len() as u64), ends_in_newline: true, last, proven_commit })
    }

    pub(super) fn failed(&self, what: &str, error: io::Error) -> Error {
        tail::failed(&self.options.path, what, error)
    }

    pub(super) fn refusal(&self, what: &str) -> Error {
        tail::refusal(&self.options.path, what)
    }

    fn moved(&self, what: &str) -> Error {
        let advice = "see what happened to it, then put it back, or begin a new log with LocalKms::rotate_audit_log";
        self.refusal(&format!("{what} while it was in use: {advice}"))
    }
}

pub(super) fn sync_folder_of(path: &Path) {
    if let Some(folder) = path.parent() {
        disk::sync_folder(folder);
    }
}
