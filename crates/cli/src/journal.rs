//! The journal of a job: which files it has done, so that it can go on after it was killed, and which temporary files
//! it may have left.
//!
//! It is a file with a line for each event. The first line says which job it is of; the others follow as things happen.
//! Files are journaled in the order of the walk, so a job that goes on compares the two as it walks, and has no list of
//! files in memory.
//!
//! ```text
//! journal  what is written down, and what an earlier run has left
//! file     the file, which nobody else may have written
//! lines    its lines, and what they say of each file
//! ```

mod file;
mod lines;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};
use crate::place::make_folder;
pub use lines::Earlier;
use lines::{Lines, damaged};

/// The beginning of the names of temporary files, and the number of characters behind it.
const TEMPORARY: (&str, usize) = (".manila-", 6);
/// The beginning of every journal.
const BEGINNING: &[u8] = b"{\"job\":";

/// A path as it is written down: as text if it is Unicode, and byte by byte otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Name {
    Text(String),
    Other(OsString),
}

impl From<&Path> for Name {
    fn from(path: &Path) -> Self {
        match path.to_str() {
            Some(text) => Self::Text(text.to_owned()),
            None => Self::Other(path.into()),
        }
    }
}

impl From<Name> for PathBuf {
    fn from(name: Name) -> Self {
        match name {
            Name::Text(text) => text.into(),
            Name::Other(other) => other.into(),
        }
    }
}

/// The arguments that make two runs of the program the same job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub paths: Vec<Name>,
    pub to: Option<Name>,
    /// The other options, as they are printed.
    pub options: Vec<String>,
}

/// A file of a job: the number of its root, and the path from there.
pub type Key = (usize, PathBuf);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Job {
        job: Job,
        /// The keys of the new messages, with their versions.
        keys: Vec<String>,
        begun: String,
    },
    /// A temporary file that is about to be created, and the output that it is for.
    Temporary {
        temporary: Name,
        output: Name,
    },
    Done {
        root: usize,
        path: Name,
        output: Name,
        /// The ids of the new message and, if that is elsewhere, of the old one before it.
        message_ids: String,
    },
    Failed {
        root: usize,
        path: Name,
        output: Name,
    },
}

/// The journal of a job that is running.
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    failure: Mutex<Option<Failure>>,
    /// The time when the job was begun, if it goes on.
    pub begun: Option<String>,
    /// The outputs that the last run had begun and not finished.
    pub unfinished: Vec<PathBuf>,
    late: HashMap<Key, String>,
}

impl Journal {
    /// Returns the place of the journal of a job.
    pub fn place(job: &Job) -> Result<PathBuf> {
        let none =
            || Failure::Work("there is no home directory: give a file for the journal with --journal".to_owned());
        let folders = directories::ProjectDirs::from("", "", "manila").ok_or_else(none)?;
        let folder = folders.state_dir().unwrap_or(folders.data_local_dir());
        make_folder(folder)?;
        Ok(folder.join(format!("reencrypt-{:016x}.jsonl", digest(&to_json(job)?))))
    }

    /// Opens the journal of a job. If a run was killed, removes the temporary files that it left.
    pub fn open(path: PathBuf, job: &Job, keys: &[String], now: &str) -> Result<Self> {
        let failed = |error| Failure::file("cannot open the journal", &path, error);
        let file = file::open(&path)?;
        let past = Past::read(&file, &path)?;
        let goes_on = match &past.of {
            None => false,
            Some((of, _, _)) if of != job => {
                return Err(Failure::Work(format!("{path:?} is the journal of another job: give another file")));
            }
            Some((_, of_keys, _)) => of_keys == keys,
        };
        let unfinished = past.remove_temporaries();
        let late = past.late;
        let begun = past.of.map(|(_, _, begun)| begun).filter(|_| goes_on);
        // What was done under other keys does not count, and the rest of a line that was cut does not go on.
        file.set_len(if goes_on { past.end } else { 0 }).map_err(failed)?;
        let journal = Self { path, file: Mutex::new(file), failure: Mutex::new(None), begun, unfinished, late };
        if !goes_on {
            journal.write(&Line::Job { job: job.clone(), keys: keys.to_vec(), begun: now.to_owned() });
        }
        journal.check()?;
        Ok(journal)
    }

    /// Returns the files that earlier runs have done or failed at, to be compared with a walk.
    pub fn earlier(&self) -> Result<Earlier<'_>> {
        let failed = |error| Failure::file("cannot read the journal", &self.path, error);
        let file = File::open(&self.path).map_err(failed)?;
        let end = file.metadata().map_err(failed)?.len();
        Ok(Earlier::new(Lines::new(BufReader::new(file), &self.path, end), &self.late))
    }

    /// Notes that a temporary file is about to be created.
    pub fn begin(&self, temporary: &Path, output: &Path) {
        self.write(&Line::Temporary { temporary: temporary.into(), output: output.into() });
    }

    /// Notes that a file is done, with the ids of its messages, or has failed.
    pub fn end(&self, (root, path): &Key, output: &Path, message_ids: Option<String>) {
        let (root, path, output) = (*root, Name::from(&**path), Name::from(output));
        self.write(&match message_ids {
            Some(message_ids) => Line::Done { root, path, output, message_ids },
            None => Line::Failed { root, path, output },
        });
    }

    /// Fails if something could not be written down.
    pub fn check(&self) -> Result<()> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Removes the journal: the job is complete.
    pub fn finish(self) -> Result<()> {
        fs::remove_file(&self.path).map_err(|error| Failure::file("cannot remove", &self.path, error))
    }

    /// Writes a line, in one call, so that a killed program leaves all of it or none.
    fn write(&self, line: &Line) {
        let write = || -> Result<()> {
            let line = to_json(line)? + "\n";
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(line.as_bytes())
                .map_err(|error| Failure::file("cannot write the journal", &self.path, error))
        };
        if let Err(failure) = write() {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        }
    }
}

/// The earlier runs, as a journal tells of them.
struct Past {
    of: Option<(Job, Vec<String>, String)>,
    /// The temporary files by their outputs, of those that were not finished.
    temporaries: HashMap<PathBuf, PathBuf>,
    /// The files that were done behind later ones, and the ids of their messages: those that had failed in an earlier
    /// run, or were changed after one.
    late: HashMap<Key, String>,
    /// Behind the last whole line.
    end: u64,
}

impl Past {
    fn read(mut file: &File, path: &Path) -> Result<Self> {
        let failed = |error| Failure::file("cannot read the journal", path, error);
        file.rewind().map_err(failed)?;
        let mut beginning = Vec::new();
        file.take(BEGINNING.len() as u64).read_to_end(&mut beginning).map_err(failed)?;
        // A program that was killed at once can have left a part of it.
        if !BEGINNING.starts_with(&beginning) {
            return Err(damaged(path));
        }
        file.rewind().map_err(failed)?;
        let end = file.metadata().map_err(failed)?.len();
        let mut lines = Lines::new(BufReader::new(file), path, end);
        let (mut of, mut temporaries) = (None, HashMap::new());
        let (mut latest, mut late) = (None, HashMap::new());
        while let Some(line) = lines.next()? {
            match line {
                Line::Job { job, keys, begun } => of = Some((job, keys, begun)),
                Line::Temporary { temporary, output } => {
                    temporaries.insert(output.into(), temporary.into());
                }
                Line::Done { root, path, output, message_ids } => {
                    temporaries.remove(&PathBuf::from(output));
                    let key = (root, PathBuf::from(path));
                    match latest {
                        Some(ref latest) if key <= *latest => drop(late.insert(key, message_ids)),
                        _ => latest = Some(key),
                    }
                }
                Line::Failed { output, .. } => {
                    temporaries.remove(&PathBuf::from(output));
                }
            }
        }
        Ok(Self { of, temporaries, late, end: lines.read })
    }

    /// Removes the temporary files. Returns their outputs.
    ///
    /// Each was written down before it was created, under a name that no other program uses, by a run that has ended:
    /// the journal was locked. So nothing of anybody else is removed.
    fn remove_temporaries(&self) -> Vec<PathBuf> {
        for temporary in self.temporaries.values().filter(|path| is_temporary(path)) {
            if fs::symlink_metadata(temporary).is_ok_and(|found| found.is_file()) {
                let _ = fs::remove_file(temporary);
            }
        }
        self.temporaries.keys().cloned().collect()
    }
}

fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(TEMPORARY.0));
    name.is_some_and(|rest| rest.len() == TEMPORARY.1 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Failure::Work(format!("cannot write the journal: {error}")))
}

/// Returns a digest that stays the same from version to version (FNV-1a). It need not keep anybody from a collision:
/// the first line of a journal says whose it is.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(options: &[&str]) -> Job {
        Job {
            paths: vec![Name::from(Path::new("/a"))],
            to: None,
            options: options.iter().map(ToString::to_string).collect(),
        }
    }

    fn open(path: &Path, keys: &[&str]) -> Result<Journal> {
        let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
        Journal::open(path.to_owned(), &job(&[]), &keys, "now")
    }

    fn key(name: &str) -> Key {
        (0, name.into())
    }

    #[test]
    fn a_job_goes_on_where_it_was_cut_at_any_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let journal = open(&path, &["k 1"]).unwrap();
        assert_eq!((&journal.begun, journal.unfinished.len()), (&None, 0));
        for name in ["a", "b", "c"] {
            journal.begin(&folder.path().join(".manila-abc123"), Path::new(name));
            journal.end(&key(name), Path::new(name), (name != "b").then(|| name.to_owned()));
        }
        drop(journal);
        let whole = fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap();
        for len in first + 1..=whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            let journal = open(&path, &["k 1"]).unwrap();
            assert_eq!(journal.begun.as_deref(), Some("now"));
            let lines = std::str::from_utf8(&whole[..len]).unwrap().matches('\n').count() - 1;
            let ended = |nth: usize| lines >= 2 * nth;
            let mut earlier = journal.earlier().unwrap();
            let found = ["a", "aa", "b", "c"].map(|name| earlier.message_ids(&key(name)).unwrap());
            let id = |nth, name: &str| ended(nth).then(|| name.to_owned());
            assert_eq!(found, [id(1, "a"), None, None, id(3, "c")], "{len}");
            assert_eq!(journal.unfinished.len(), lines % 2, "{len}");
            // What comes next begins a line of its own.
            journal.end(&key("d"), Path::new("d"), Some("d".to_owned()));
            drop(journal);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.lines().all(|line| serde_json::from_str::<Line>(line).is_ok()), "{text}");
        }
        for len in 0..first {
            fs::write(&path, &whole[..len]).unwrap();
            assert_eq!(open(&path, &["k 1"]).unwrap().begun, None, "{len}");
        }
    }

    #[test]
    fn what_failed_first_and_was_done_later_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let runs = [
            &[("a", Some("1")), ("b", None), ("c", Some("1")), ("x", Some("1"))][..],
            &[("b", Some("2")), ("d", Some("2")), ("x", Some("2"))],
            &[("e", None), ("a", Some("3"))],
        ];
        for run in runs {
            let journal = open(&path, &[]).unwrap();
            for (name, id) in run {
                journal.end(&key(name), Path::new(name), id.map(str::to_owned));
            }
        }
        let journal = open(&path, &[]).unwrap();
        let mut earlier = journal.earlier().unwrap();
        let found = ["a", "b", "c", "d", "e", "x"].map(|name| earlier.message_ids(&key(name)).unwrap());
        let found = found.each_ref().map(|id| id.as_deref());
        // What was done again has the id of the last time.
        assert_eq!(found, [Some("3"), Some("2"), Some("1"), Some("2"), None, Some("2")]);
    }

    #[test]
    fn only_temporary_files_that_are_written_down_and_not_finished_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let names = [".manila-abc123", ".manila-abc124", ".manila-abc125", ".manila-abcdefg", "a.manila"];
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let journal = open(&path, &[]).unwrap();
        journal.begin(&folder.path().join(names[0]), Path::new("ended"));
        journal.end(&key("ended"), Path::new("ended"), Some("1".to_owned()));
        for name in [names[1], names[3], names[4]] {
            journal.begin(&folder.path().join(name), Path::new(name));
        }
        drop(journal);
        let left = |journal: Journal| {
            assert_eq!(journal.unfinished.len(), 3);
            names.map(|name| folder.path().join(name).exists())
        };
        // For other keys the job starts over, and cleans up first.
        let saved = fs::read(&path).unwrap();
        assert_eq!(left(open(&path, &["k 2"]).unwrap()), [true, false, true, true, true]);
        assert!(open(&path, &["k 2"]).unwrap().unfinished.is_empty());
        fs::write(folder.path().join(names[1]), "").unwrap();
        fs::write(&path, saved).unwrap();
        assert_eq!(left(open(&path, &[]).unwrap()), [true, false, true, true, true]);
    }

    #[test]
    fn a_file_that_is_something_else_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        for other in ["hello", "hello\n", "{\"jo\n", "{\"done\":{\"root\":0}}\n"] {
            fs::write(&path, other).unwrap();
            assert!(open(&path, &[]).err().unwrap().to_string().contains("is not a journal"));
            assert_eq!(fs::read_to_string(&path).unwrap(), other);
        }
        fs::remove_file(&path).unwrap();
        drop(Journal::open(path.clone(), &job(&["--sign"]), &[], "now").unwrap());
        let before = fs::read(&path).unwrap();
        assert!(open(&path, &[]).err().unwrap().to_string().contains("of another job"));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[cfg(unix)]
    #[test]
    fn a_job_runs_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let running = open(&path, &[]).unwrap();
        assert!(open(&path, &[]).err().unwrap().to_string().contains("at work already"));
        running.finish().unwrap();
        assert!(open(&path, &[]).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn names_need_not_be_unicode() {
        use std::os::unix::ffi::OsStrExt;
        for name in [&b"plain \"\n"[..], b"\xff\x00x"] {
            let path = Path::new(std::ffi::OsStr::from_bytes(name));
            let json = to_json(&Name::from(path)).unwrap();
            assert_eq!(PathBuf::from(serde_json::from_str::<Name>(&json).unwrap()), path, "{json}");
        }
    }

    #[test]
    fn the_place_of_a_journal_stays_the_same() {
        assert_eq!(digest(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest("foobar"), 0x8594_4171_f739_67e8);
    }
}
