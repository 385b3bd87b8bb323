//! Rotation: beginning a new file that continues from the last line of the old one.
//!
//! The new file is written completely next to the log, the old file is renamed, and the new file replaces it
//! atomically: there is always exactly one log that is written to. The store records the rotation only afterwards. A
//! crash in between leaves one of a few states, which [`Log::rotate`] recognises and completes when it is called again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use tempfile::NamedTempFile;

use crate::audit::ends::ends_between;
use crate::audit::file::{Log, Logged, State, sync_folder_of};
use crate::audit::followed::Followed;
use crate::audit::line::{self, Macs, Position, Slot};
use crate::audit::os::{self, is_same_path};
use crate::audit::proof::{Proof, Standing};
use crate::audit::tail::{Beginning, End, Tail};
use crate::audit::word::{Asked, Word};
use crate::audit::{Checkpoint, Commits, EndOfLog, Event, Head, LineKey};
use crate::disk;
use crate::file_lock::{Access, Locked};
use crate::root_key::{io_error, new_private_file_named};
use manila_core::{Error, Result};

/// The result of a rotation, to be recorded in the store.
#[derive(Debug)]
pub(crate) struct Rotated {
    /// The ends of the old file, and of earlier files that the store has not recorded.
    pub(crate) ends: Vec<EndOfLog>,
    /// The end of the new file.
    pub(crate) checkpoint: Checkpoint,
    /// True if the line names the commit of the rotation.
    pub(crate) names_commit: bool,
}

/// The parameters of a rotation.
pub(crate) struct Rotation<'a> {
    /// The new path of the old log, at which it may already be; `None` if it is lost.
    pub(crate) to: Option<&'a Path>,
    /// The store's checkpoint.
    pub(crate) before: Option<&'a Checkpoint>,
    pub(crate) keys: &'a [LineKey],
    pub(crate) store_id: &'a [u8],
    pub(crate) word: Word,
    pub(crate) followed: &'a Followed,
}

/// The state that the parts of a rotation share.
struct Work<'a, 'e> {
    macs: &'a Macs<'a>,
    event: &'a Event<'e>,
    before: Option<&'a Checkpoint>,
    asked: Asked,
    followed: &'a Followed,
}

/// The old log in the state in which a rotation finds it.
enum Old {
    /// It is at the log's path and will be renamed.
    InPlace(File),
    /// It is at its new path, after a rename or an interrupted rotation. Nothing of value is at the log's path.
    Moved(File),
    /// It is at its new path, and the file at the log's path may already continue it.
    Replaced(File),
    Lost,
}

/// The end of the old log.
struct OldEnd {
    /// The end from which the new file continues, which is the last of `ends`.
    last: Head,
    /// The number of lines before the old file.
    start: u64,
    proof: Proof,
    /// True if the store has recorded lines that it lacks.
    is_cut: bool,
    ends: Vec<EndOfLog>,
}

impl Log {
    /// Begins a new file with the line of `event`. The old file is at the log's path and is renamed to `to`, or is
    /// already there. Without `to` it is lost, and the new file continues from the store's checkpoint, `before`.
    ///
    /// The caller holds the store's write transaction, so no other handle is rotating.
    ///
    /// # Errors
    /// `ErrorKind::Io` if `to` is another file or a file cannot be created or moved, `ErrorKind::AuditFailed` if the
    /// old log is missing or cannot be read, `ErrorKind::Storage` if it proves that the store was set back.
    pub(crate) fn rotate(&self, event: &Event<'_>, rotation: &Rotation<'_>) -> Result<Rotated> {
        let mut state = self.lock();
        let macs = Macs::new(rotation.keys, rotation.store_id)?;
        let Rotation { before, followed, .. } = *rotation;
        let work = Work { macs: &macs, event, before, asked: Asked::held(rotation.word.clone()), followed };
        let to = rotation.to.map(std::path::absolute).transpose().map_err(|error| self.cannot_rotate(error))?;
        match self.old_log(to.as_deref())? {
            Old::InPlace(file) => self.go_on_from(&mut state, &file, to.as_deref(), &work),
            Old::Moved(file) => self.go_on_from(&mut state, &file, None, &work),
            Old::Replaced(file) => {
                let end = self.end_of(&file, &work)?;
                self.finish(&mut state, end, &work)?.ok_or_else(|| taken(to.as_deref()))
            }
            Old::Lost => {
                let (last, start) = match before {
                    Some(before) => (before.head.clone(), before.start()),
                    None => (macs.start().head, 0),
                };
                let ends = vec![EndOfLog { start, last: last.clone(), cut: None }];
                let old = OldEnd { last, start, proof: Proof::default(), is_cut: true, ends };
                self.begin(&mut state, old, None, &work)
            }
        }
    }

    fn old_log(&self, to: Option<&Path>) -> Result<Old> {
        let open = |path: &Path| os::open_existing(path).map_err(|error| self.cannot_rotate(error));
        // Whatever other names the log has, it must not be renamed to the name of the new log.
        if to.is_some_and(|to| is_same_path(to, self.path())) {
            return Err(taken(to));
        }
        let here = open(&self.options.path)?;
        let Some(to) = to else {
            return match here {
                Some(file) if !os::is_empty(&file).map_err(|error| self.cannot_rotate(error))? => {
                    Err(self.refusal("is not lost: rotate it with LocalKms::rotate_audit_log"))
                }
                _ => Ok(Old::Lost),
            };
        };
        // A symbolic link to the log is not a second name of its file.
        if fs::symlink_metadata(to).is_ok_and(|there| there.is_symlink()) {
            return Err(taken(Some(to)));
        }
        match (here, open(to)?) {
            (Some(here), None) => Ok(Old::InPlace(here)),
            (None, Some(there)) => Ok(Old::Moved(there)),
            (Some(here), Some(there)) => {
                let is_moved = os::are_one(&here, &there)
                    .and_then(|are_one| Ok(are_one || os::is_empty(&here)? && !os::is_empty(&there)?));
                match is_moved.map_err(|error| self.cannot_rotate(error))? {
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

    /// Begins a new file that continues `old`, which is renamed to `to` if there is one.
    fn go_on_from(&self, state: &mut State, old: &File, to: Option<&Path>, work: &Work<'_, '_>) -> Result<Rotated> {
        // Anyone waiting for this lock then finds another file at the log's path, and continues there.
        let _lock = Locked::new(old, Access::Write).map_err(|error| self.failed("cannot be locked", error))?;
        let end = self.end_of(old, work)?;
        self.begin(state, end, to, work)
    }

    /// Writes the new file and moves it to the log's path.
    fn begin(&self, state: &mut State, old: OldEnd, to: Option<&Path>, work: &Work<'_, '_>) -> Result<Rotated> {
        let found = work.event.commits.found;
        let refusal = found.and_then(|found| old.proof.refusal(&found));
        if let Some(refusal) = refusal.filter(|_| !self.options.best_effort) {
            return Err(refusal.error());
        }
        // The old file shows that lines are missing.
        let is_unlogged = found.is_some_and(|found| old.proof.standing(&found) == Standing::Unlogged);
        let proof = if old.is_cut && is_unlogged { Proof::default() } else { old.proof };
        let before = Position { head: old.last.clone(), epoch: 0 };
        let slot = Slot { last: &before, at: 0, proof, begins: Some(old.start) };
        let (line, last) = line::write(work.event, self.options.context_keys_only, &slot, work.macs)?;
        let file = self.put_in_place(&line, to).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(to),
            _ => self.cannot_rotate(error),
        })?;
        let (head, len) = (last.head.clone(), line.len() as u64);
        let mut after = proof;
        after.step(&work.event.commits);
        state.go_on_in(Arc::new(file), Some(End { len, ends_in_newline: true, last, proof: after }));
        state.followed_from = Some(head.clone());
        let checkpoint = Checkpoint { head, len, begins: Some(old.last) };
        Ok(Rotated { ends: old.ends, checkpoint, names_commit: refusal.is_none() })
    }

    fn put_in_place(&self, line: &[u8], to: Option<&Path>) -> io::Result<File> {
        let path = self.place();
        let mut new = self.new_file()?;
        new.write_all(line)?;
        disk::sync(new.as_file())?;
        if let Some(to) = to {
            // Linked before it is replaced, so that the log always has a name. Some file systems have no hard links.
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

    /// Creates the new file next to the log. A file that a crash left there is not in use.
    fn new_file(&self) -> io::Result<NamedTempFile> {
        let name = self.new_name().ok_or_else(|| io::Error::other("the log has no name"))?;
        self.remove_left_over();
        new_private_file_named(&name)
    }

    /// Completes a rotation whose new file is at the log's path. Returns `None` if the file there does not continue
    /// `old`.
    fn finish(&self, state: &mut State, old: OldEnd, work: &Work<'_, '_>) -> Result<Option<Rotated>> {
        let path = &self.options.path;
        let new = Arc::new(os::open_or_make(path).map_err(|error| self.cannot_rotate(error))?);
        let beginning = self.certain(self.tail(&new, work.macs, Some(&work.asked)).beginning())?;
        if beginning.map(|beginning| beginning.last).as_ref() != Some(&old.last) {
            return Ok(None);
        }
        state.go_on_in(new, None);
        // The rotation that the line records was made before, whether or not the commit succeeds.
        let commits = Commits { made: None, ..work.event.commits };
        let event = Event { commits, ..work.event.clone() };
        match self.certain(self.write_event(state, &event, work.macs, Some(&work.asked)))? {
            Logged::Whole(End { last, len, .. }) | Logged::Doubted(End { last, len, .. }) => {
                let checkpoint = Checkpoint { head: last.head, len, begins: Some(old.last) };
                Ok(Some(Rotated { ends: old.ends, checkpoint, names_commit: false }))
            }
            Logged::Refused(refusal) => Err(refusal.error()),
        }
    }

    /// Returns the end of an old file. If the file lacks the line of the store's checkpoint, the checkpoint is kept, so
    /// that the cut remains visible.
    fn end_of(&self, old: &File, work: &Work<'_, '_>) -> Result<OldEnd> {
        let tail = Tail { file: old, path: &self.options.path, macs: work.macs, asked: u64::MAX };
        let now = self.certain(tail.find())?;
        disk::sync(old).map_err(|error| self.failed("cannot be synced", error))?;
        let beginning = self.certain(tail.beginning())?;
        let mut last = now.last.head.clone();
        let mut start = beginning.as_ref().map_or(0, |beginning| beginning.last.lines);
        let (mut ends, mut cut, mut is_cut) = (Vec::new(), None, false);
        match (work.before, &beginning) {
            (Some(before), _)
                if work.followed.goes_on(&tail, before, &now)? || self.is_behind(&last, before, work)? => {}
            // Rotations that the store has not recorded.
            (Some(before), Some(beginning)) if beginning.last.lines >= before.head.lines => {
                ends = ends_between(before, beginning);
            }
            (Some(before), _) if before.head.lines >= last.lines => {
                (last, start, is_cut) = (before.head.clone(), before.start(), true);
            }
            (Some(before), _) => (cut, is_cut) = (Some(before.head.clone()), true),
            (None, beginning) => ends.extend(beginning.as_ref().map(Beginning::end)),
        }
        ends.push(EndOfLog { start, last: last.clone(), cut });
        Ok(OldEnd { last, start, proof: now.proof, is_cut, ends })
    }

    /// Returns whether the file at the log's path already continues from `last` and contains the checkpoint.
    fn is_behind(&self, last: &Head, checkpoint: &Checkpoint, work: &Work<'_, '_>) -> Result<bool> {
        let path = &self.options.path;
        let Some(here) = os::open_existing(path).map_err(|error| self.cannot_rotate(error))? else { return Ok(false) };
        let beginning = Tail { file: &here, path, macs: work.macs, asked: u64::MAX }.beginning();
        let beginning = self.certain(beginning)?.map(|beginning| beginning.last);
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
