//! Appending to a log's file, which other handles and processes may also append to.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::followed::Followed;
use crate::audit::line::{self, Macs, Slot};
use crate::audit::os;
use crate::audit::proof::Refusal;
use crate::audit::tail::{self, End, Halt, Outcome, Tail};
use crate::audit::word::{Asked, Word};
use crate::audit::{AuditLog, Checkpoint, Event, Head, LineKey};
use crate::disk;
use crate::file_lock::{Access, Locked};
use crate::root_key::io_error;
use manila_core::{Error, ErrorKind, Result};

/// The maximum number of times in one call that the log may have been rotated, and that the store may have to be read.
const MAX_ROTATIONS: usize = 16;
const MAX_QUESTIONS: usize = 64;

/// A log, open for appending.
pub(crate) struct Log {
    pub(super) options: AuditLog,
    pub(super) state: Mutex<State>,
    #[cfg(test)]
    pub(super) hooks: tests::Hooks,
}

/// The open file. The holder of the lock may change the file's position.
pub(super) struct State {
    /// The file at the log's path, or an earlier one.
    pub(super) file: Arc<File>,
    /// The end of the file when this handle last saw it; `None` before its first line.
    pub(super) known: Option<End>,
    /// A line that the store had recorded, and from which the log was followed to the known end.
    pub(super) followed_from: Option<Head>,
    /// The event of the opening while its line is not in the log. No other line is written before it.
    pub(super) opening: Option<Opening>,
    /// Events that take back others and whose lines could not be written. They are written before any other line.
    owed: VecDeque<Event<'static>>,
}

/// The opening of a handle, to be logged.
pub(crate) struct Opening {
    pub(crate) event: Event<'static>,
    /// True if the store has recorded lines, so that an empty file is not its log.
    pub(crate) expects_lines: bool,
    /// The last line that the store has recorded, from which the log must continue.
    pub(crate) before: Option<Checkpoint>,
    /// The log's files from that line on.
    pub(crate) followed: Followed,
}

/// The result of writing a line.
pub(crate) enum Written {
    Whole,
    /// The line is in the log, and the call proceeds at best effort although the log contradicts the store. The line
    /// proves nothing.
    Doubted,
    /// The line is not in the log, which is kept at best effort.
    Missing(Error),
    /// The line is in the log, and says that the call was refused because the log contradicts the store.
    Refused(Refusal),
}

/// The lines that were written for an event.
pub(super) enum Logged {
    Whole(End),
    Doubted(End),
    Refused(Refusal),
}

impl State {
    /// Returns why a successful event must be refused, if the log contradicts the store. The line of a read may merely
    /// be late, so the present state of the store decides.
    fn refusal(&self, event: &Event<'_>, end: &End, asked: Option<&Asked>) -> Outcome<Option<Refusal>> {
        let found = event.commits.found.filter(|_| event.relies_on_store());
        if found.is_none_or(|found| end.proof.refusal(&found).is_none()) {
            return Ok(None);
        }
        let Some(asked) = asked else { return Err(Halt::Doubt) };
        match end.proof.refusal(&asked.word.found) {
            Some(_) if asked.covers(&self.file) < end.len => Err(Halt::Doubt),
            refusal => Ok(refusal),
        }
    }

    /// Switches to another file.
    pub(super) fn go_on_in(&mut self, file: Arc<File>, known: Option<End>) {
        (self.file, self.known, self.followed_from) = (file, known, None);
    }
}

impl Log {
    /// Opens the file, or creates it. Nothing is read before the first line is written.
    ///
    /// # Errors
    /// `ErrorKind::Io` if this fails, or if the path names something other than a file.
    pub(crate) fn open(mut options: AuditLog) -> Result<Self> {
        let failed = |error| io_error("open the audit log", &options.path, error);
        let path = std::path::absolute(&options.path).map_err(failed)?;
        let file = Arc::new(os::open_or_make(&path).map_err(failed)?);
        sync_folder_of(&path);
        options.path = path;
        let state = State { file, known: None, followed_from: None, opening: None, owed: VecDeque::new() };
        Ok(Self {
            options,
            state: Mutex::new(state),
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

    /// Writes the line of an opening. If it cannot be written now, for instance because the log was moved, it is
    /// written before any other line.
    ///
    /// # Errors
    /// The same as [`append`](Self::append), even at best effort.
    pub(crate) fn open_with<K: Deref<Target = [LineKey]>>(
        &self,
        opening: Opening,
        keys: impl Fn() -> K,
        store_id: &[u8],
        look: &dyn Fn() -> Result<Word>,
    ) -> Result<Written> {
        self.lock().opening = Some(opening);
        let refusal = self.ask_in_doubt(look, |asked| {
            let mut state = self.lock();
            let keys = keys();
            let macs = Macs::new(&keys, store_id)?;
            self.at_end(&mut state, &macs, asked, |state, end| {
                self.write_opening(state, end, &macs, asked).map(|(_, refusal)| refusal)
            })
        })?;
        Ok(refusal.map_or(Written::Whole, Written::Refused))
    }

    /// Writes the line of an event. `look` reads the state of the store, if the line depends on it.
    ///
    /// The line follows the last genuine one, wherever that is: torn and tampered lines after it remain, for `verify`
    /// to report. If the event is a success, but the log contradicts the store, the line says that the call was
    /// refused.
    ///
    /// # Errors
    /// `ErrorKind::AuditFailed` if the line could not be written, `ErrorKind::RootKeyChanged` if the store has a later
    /// root key than `keys`; no error if the log is kept at best effort. A line that takes another back and could not
    /// be written is written before the next line.
    pub(crate) fn append<K: Deref<Target = [LineKey]>>(
        &self,
        event: &Event<'_>,
        keys: impl Fn() -> K,
        store_id: &[u8],
        look: &dyn Fn() -> Result<Word>,
    ) -> Result<Written> {
        let written = self.ask_in_doubt(look, |asked| {
            let mut state = self.lock();
            // Read only now, so that of two threads the one with the older key does not write second.
            let keys = keys();
            let macs = Macs::new(&keys, store_id)?;
            self.write_event(&mut state, event, &macs, asked)
        });
        if written.is_err() && (event.commits.failed.is_some() || event.commits.unsettled.is_some()) {
            self.lock().owed.push_back(event.in_short());
        }
        match written {
            Ok(Logged::Whole(_)) => Ok(Written::Whole),
            Ok(Logged::Doubted(_)) => Ok(Written::Doubted),
            Ok(Logged::Refused(refusal)) => Ok(Written::Refused(refusal)),
            Err(error) if self.options.best_effort => Ok(Written::Missing(error)),
            Err(error) => Err(error),
        }
    }

    /// Runs `attempt`. If it depends on the store, reads the store while nothing is locked, and tries again.
    fn ask_in_doubt<T>(
        &self,
        look: &dyn Fn() -> Result<Word>,
        attempt: impl Fn(Option<&Asked>) -> Outcome<T>,
    ) -> Result<T> {
        let mut asked = None;
        for _ in 0..MAX_QUESTIONS {
            match attempt(asked.as_ref()) {
                Ok(done) => return Ok(done),
                Err(Halt::Failed(error)) => return Err(error),
                Err(Halt::Doubt) => {}
            }
            // The length is read first: the state of the store does not cover lines that are written later.
            let file = self.lock().file.clone();
            let len = file.metadata().map_err(|error| self.failed("cannot be read", error))?.len();
            asked = Some(Asked::new(look()?, file, len));
        }
        Err(self.refusal("changes faster than it can be read: call again"))
    }

    /// Writes the lines that are due, and that of the event.
    pub(super) fn write_event(
        &self,
        state: &mut State,
        event: &Event<'_>,
        macs: &Macs<'_>,
        asked: Option<&Asked>,
    ) -> Outcome<Logged> {
        self.at_end(state, macs, asked, |state, end| {
            let (mut end, _) = self.write_opening(state, end, macs, asked)?;
            while let Some(owed) = state.owed.front() {
                end = self.write_line(&state.file, owed, &end, macs)?;
                state.owed.pop_front();
                state.known = Some(end.clone());
            }
            let refusal = state.refusal(event, &end, asked)?;
            let event = match refusal.filter(|_| !self.options.best_effort) {
                Some(refusal) => Cow::Owned(event.as_refused(refusal)),
                None => Cow::Borrowed(event),
            };
            let end = self.write_line(&state.file, &event, &end, macs)?;
            state.known = Some(end.clone());
            Ok(match refusal {
                Some(_) if self.options.best_effort => Logged::Doubted(end),
                Some(refusal) => Logged::Refused(refusal),
                None => Logged::Whole(end),
            })
        })
    }

    /// Fails if the log contradicts the store, unless the log is kept at best effort.
    pub(crate) fn check_not_refused(&self, keys: &[LineKey], store_id: &[u8], word: Word) -> Result<()> {
        if self.options.best_effort {
            return Ok(());
        }
        let mut state = self.lock();
        let (macs, asked) = (Macs::new(keys, store_id)?, Asked::held(word));
        self.certain(self.at_end(&mut state, &macs, Some(&asked), |state, end| {
            let refusal = end.proof.refusal(&asked.word.found);
            state.known = Some(end);
            refusal.map_or(Ok(()), |refusal| Err(refusal.error().into()))
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` at the end of the log's present file, under the file's lock.
    pub(super) fn at_end<T>(
        &self,
        state: &mut State,
        macs: &Macs<'_>,
        asked: Option<&Asked>,
        work: impl FnOnce(&mut State, End) -> Outcome<T>,
    ) -> Outcome<T> {
        if asked.is_some_and(|asked| macs.newest().is_ok_and(|key| asked.word.epoch > key.epoch)) {
            return Err(self.root_key_changed().into());
        }
        for _ in 0..MAX_ROTATIONS {
            let file = state.file.clone();
            let lock = Locked::new(&file, Access::Write).map_err(|error| self.failed("cannot be locked", error))?;
            if os::is_at(&self.options.path, &file).map_err(|error| self.failed("cannot be read", error))? {
                let end = self.look(state, macs, asked)?;
                #[cfg(test)]
                self.hooks.between();
                return work(state, end);
            }
            // Rotation moves the file while it holds this lock, so nothing is written after the end of the old file.
            drop(lock);
            let next = Arc::new(self.successor(state, macs, asked)?);
            state.go_on_in(next, None);
        }
        Err(self.moved("was moved").into())
    }

    /// Returns the file at the log's path, if it continues the one that this handle has open, or if the store says that
    /// it is the log: the successor of a lost log may continue from an earlier line than the last one that this handle
    /// has seen.
    fn successor(&self, state: &State, macs: &Macs<'_>, asked: Option<&Asked>) -> Outcome<File> {
        let opened = os::open_existing(&self.options.path).map_err(|error| self.failed("cannot be opened", error))?;
        let file = opened.ok_or_else(|| self.moved("was moved or deleted"))?;
        let seen = state.known.as_ref().map_or(0, |known| known.last.head.lines);
        let tail = Tail { file: &file, path: &self.options.path, macs, asked: asked.map_or(0, |_| u64::MAX) };
        match (tail.beginning()?, asked) {
            // There may have been several rotations that this handle did not see.
            (Some(beginning), _) if beginning.last.lines >= seen => Ok(file),
            // A handle that was opened while the log was away has seen no line of it.
            _ if state.opening.is_some() => Ok(file),
            (Some(_), None) => Err(Halt::Doubt),
            (Some(beginning), Some(asked)) if asked.word.begins.as_ref() == Some(&beginning.last) => Ok(file),
            _ => Err(self.moved("was moved or deleted, and another file is in its place").into()),
        }
    }

    pub(super) fn tail<'a>(&'a self, file: &'a Arc<File>, macs: &'a Macs<'a>, asked: Option<&Asked>) -> Tail<'a> {
        Tail { file, path: &self.options.path, macs, asked: asked.map_or(0, |asked| asked.covers(file)) }
    }

    /// Determines the present end of the file. If no other handle wrote, nothing is read.
    fn look(&self, state: &State, macs: &Macs<'_>, asked: Option<&Asked>) -> Outcome<End> {
        let tail = self.tail(&state.file, macs, asked);
        let len = tail.len()?;
        match &state.known {
            Some(known) if len == known.len => Ok(known.clone()),
            Some(known) if len < known.len => Err(self.moved("was cut short").into()),
            Some(known) => tail.catch_up(known, len)?.ok_or_else(|| self.moved("was replaced").into()),
            None => {
                let end = tail.find()?;
                if end.last.head.lines == 0 && state.opening.as_ref().is_some_and(|opening| opening.expects_lines) {
                    let what = "is empty, and the store knows of earlier lines: it was moved or deleted";
                    return Err(self.moved(what).into());
                }
                Ok(end)
            }
        }
    }

    /// Writes the line of the opening, if it is not in the log yet, and also returns why it says that the opening was
    /// refused, if it does.
    fn write_opening(
        &self,
        state: &mut State,
        end: End,
        macs: &Macs<'_>,
        asked: Option<&Asked>,
    ) -> Outcome<(End, Option<Refusal>)> {
        let Some(opening) = &state.opening else { return Ok((end, None)) };
        let goes_on_from = self.held_against(state, opening, &end, macs, asked)?;
        let refusal = state.refusal(&opening.event, &end, asked)?;
        let event = match refusal {
            Some(refusal) => Cow::Owned(opening.event.as_refused(refusal)),
            None => Cow::Borrowed(&opening.event),
        };
        let end = self.write_line(&state.file, &event, &end, macs)?;
        (state.opening, state.known) = (None, Some(end.clone()));
        state.followed_from = goes_on_from.or(state.followed_from.take());
        Ok((end, refusal))
    }

    /// Fails if the file does not continue from the line that the store has recorded, because it is another file or was
    /// cut off. Returns that line if it is in this file.
    fn held_against(
        &self,
        state: &State,
        opening: &Opening,
        end: &End,
        macs: &Macs<'_>,
        asked: Option<&Asked>,
    ) -> Outcome<Option<Head>> {
        let Some(before) = &opening.before else { return Ok(None) };
        let tail = self.tail(&state.file, macs, asked);
        let beginning = tail.beginning()?;
        let missed = self.missed(state, &tail, Some(before), end, beginning.as_ref(), &opening.followed)?;
        Ok(missed.is_empty().then(|| before.head.clone()))
    }

    fn write_line(&self, file: &File, event: &Event<'_>, end: &End, macs: &Macs<'_>) -> Result<End> {
        let at = end.len.saturating_add(u64::from(!end.ends_in_newline));
        let slot = Slot { last: &end.last, at, proof: end.proof, begins: None };
        let (mut line, last) = line::write(event, self.options.context_keys_only, &slot, macs)?;
        if !end.ends_in_newline {
            line.insert(0, b'\n');
        }
        let mut writer = file;
        let written = writer.write_all(&line).and_then(|()| match self.options.sync_each_call {
            true => disk::sync(file),
            false => Ok(()),
        });
        if let Err(error) = written {
            // The call will fail, so no part of its line should remain. If it does, the next line begins after it.
            let _ = file.set_len(end.len);
            return Err(self.failed("cannot be written", error));
        }
        let mut proof = end.proof;
        proof.step(&event.commits);
        Ok(End { len: end.len.saturating_add(line.len() as u64), ends_in_newline: true, last, proof })
    }

    /// Returns the result of work in a write transaction, in which the store need not be read again.
    pub(super) fn certain<T>(&self, outcome: Outcome<T>) -> Result<T> {
        outcome.map_err(|halt| match halt {
            Halt::Failed(error) => error,
            Halt::Doubt => self.refusal("cannot be followed: call again"),
        })
    }

    pub(super) fn failed(&self, what: &str, error: io::Error) -> Error {
        tail::failed(&self.options.path, what, error)
    }

    pub(super) fn refusal(&self, what: &str) -> Error {
        tail::refusal(&self.options.path, what)
    }

    fn root_key_changed(&self) -> Error {
        let path = &self.options.path;
        let detail =
            format!("the store of the audit log {path:?} has another root key now: call reopen_with and give it");
        Error::new(ErrorKind::RootKeyChanged, detail)
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
