//! [`EncryptedFolder`] and [`PlainFolder`]: where things are in a folder that is written, and who may write there.
//!
//! ```text
//! photos.manila/                    photos/
//!     manifest.manila                   .manila-partial/   while it is being decrypted: temporary files, a lock
//!     files/…/NAME.manila
//!     hidden/ab/abcd….manila        messages that are stored under random names
//!     partial/                      while it is being encrypted: temporary files, journals
//!     .lock
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use manila_core::{Error, ErrorKind, Result};

use super::entry::{FileEntry, RandomName};
use crate::fs::disk::open_regular;
use crate::fs::failed;

/// The folder of temporary files in a folder that is being decrypted.
pub(super) const PARTIAL: &str = ".manila-partial";

/// The extension of encrypted files.
pub(super) const EXTENSION: &str = ".manila";

/// Length in bytes of the longest name: Linux's `NAME_MAX`.
pub(super) const MAX_NAME: usize = 255;

/// Length in bytes of the longest name that leaves room for the extension.
pub(super) const MAX_STORED_NAME: usize = MAX_NAME - EXTENSION.len();

const MANIFEST: &str = "manifest.manila";
const FILES: &str = "files";
const HIDDEN: &str = "hidden";
const PARTIAL_OF_ENCRYPTED: &str = "partial";
const LOCK: &str = ".lock";
/// The file with the id of the encrypted folder that is being decrypted.
const SOURCE: &str = "source";
const JOURNAL: &str = "journal.";

/// A folder with encrypted files and their manifest.
#[derive(Debug)]
pub(super) struct EncryptedFolder {
    root: PathBuf,
}

impl EncryptedFolder {
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Starts writing: makes the folder if it does not exist, and locks it.
    pub(super) fn start(&self, replaces: bool) -> Result<Started> {
        // Before anything is made in a folder that is something else.
        self.check_target(replaces)?;
        make_folder(&self.root)?;
        let lock = lock(&self.root.join(LOCK), &self.root)?;
        // Another job may have finished since.
        self.check_target(replaces)?;
        let is_new = !is_folder(&self.files());
        for folder in [self.files(), self.hidden(), self.partial()] {
            make_folder(&folder)?;
        }
        Ok(Started { is_new, _lock: lock })
    }

    /// Refuses a folder that is something else, and one that has a manifest unless that may be replaced.
    fn check_target(&self, replaces: bool) -> Result<()> {
        let root = &self.root;
        match fs::symlink_metadata(root) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(refused(format!("{root:?} exists and is not a folder: give another name"))),
            Err(_) => return Ok(()),
        }
        let entries = fs::read_dir(root).map_err(|error| failed("cannot read", root, &error))?;
        let ours = [MANIFEST, FILES, HIDDEN, PARTIAL_OF_ENCRYPTED, LOCK];
        let is_other = |name: &std::ffi::OsStr| !ours.iter().any(|ours| name == *ours);
        if entries.flatten().any(|entry| is_other(&entry.file_name())) {
            return Err(refused(format!("{root:?} exists and is not an encrypted folder: give another name")));
        }
        if !replaces && self.manifest().exists() {
            return Err(refused(format!("{root:?} exists: replace it, or give another name")));
        }
        Ok(())
    }

    pub(super) fn is_unfinished(&self) -> bool {
        is_folder(&self.files()) && (!self.manifest().exists() || is_folder(&self.partial()))
    }

    pub(super) fn manifest(&self) -> PathBuf {
        self.root.join(MANIFEST)
    }

    pub(super) fn files(&self) -> PathBuf {
        self.root.join(FILES)
    }

    pub(super) fn hidden(&self) -> PathBuf {
        self.root.join(HIDDEN)
    }

    pub(super) fn partial(&self) -> PathBuf {
        self.root.join(PARTIAL_OF_ENCRYPTED)
    }

    /// Returns the path of a file's message. The file's path must have been checked.
    pub(super) fn message(&self, file: &FileEntry) -> PathBuf {
        match &file.hidden {
            None => self.files().join(format!("{}{EXTENSION}", file.path)),
            Some(name) => {
                let name = name.as_str();
                // In folders by the first digits, because some systems are slow with many files in one folder.
                self.hidden().join(name.get(..2).unwrap_or(name)).join(format!("{name}{EXTENSION}"))
            }
        }
    }

    /// Returns the journals of encryptions that did not finish, newest first.
    pub(super) fn journals(&self) -> Result<Vec<PathBuf>> {
        let partial = self.partial();
        let entries = fs::read_dir(&partial).map_err(|error| failed("cannot read", &partial, &error))?;
        let number = |name: &str| name.strip_prefix(JOURNAL).and_then(|number| number.parse::<u64>().ok());
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut numbers: Vec<_> = names.filter_map(|name| number(&name)).collect();
        numbers.sort_unstable_by(|a, b| b.cmp(a));
        Ok(numbers.into_iter().map(|number| self.journal(number)).collect())
    }

    /// Returns the path of a new journal.
    pub(super) fn next_journal(&self) -> Result<PathBuf> {
        let last = self.journals()?.first().and_then(|path| path.extension()?.to_str()?.parse::<u64>().ok());
        let partial = self.partial();
        let too_many = || refused(format!("{partial:?} has no number left for a journal: remove it"));
        Ok(self.journal(last.unwrap_or_default().checked_add(1).ok_or_else(too_many)?))
    }

    fn journal(&self, number: u64) -> PathBuf {
        self.partial().join(format!("{JOURNAL}{number}"))
    }

    /// Removes the temporary files of an encryption that did not finish.
    pub(super) fn remove_temporaries(&self) -> Result<()> {
        let partial = self.partial();
        let entries = fs::read_dir(&partial).map_err(|error| failed("cannot read", &partial, &error))?;
        for entry in entries.flatten() {
            if !entry.file_name().to_string_lossy().starts_with(JOURNAL) {
                fs::remove_file(entry.path()).map_err(|error| failed("cannot remove", &entry.path(), &error))?;
            }
        }
        Ok(())
    }

    /// Removes what only an unfinished folder has.
    pub(super) fn remove_partial(&self) -> Result<()> {
        let partial = self.partial();
        fs::remove_dir_all(&partial).map_err(|error| failed("cannot remove", &partial, &error))?;
        // Empty unless names are hidden.
        let _ = fs::remove_dir(self.hidden());
        Ok(())
    }
}

/// An encrypted folder is locked as long as this lives.
pub(super) struct Started {
    /// True if there cannot be anything of an earlier encryption.
    pub(super) is_new: bool,
    _lock: File,
}

/// A folder of plaintext that is being written.
#[derive(Debug)]
pub(super) struct PlainFolder {
    root: PathBuf,
    /// True if an earlier decryption of the same encrypted folder into it did not finish.
    pub(super) resumes: bool,
    _lock: File,
}

impl PlainFolder {
    /// Starts writing what is in the encrypted folder of this id: makes the folder if it does not exist, and locks it
    /// until this value is dropped.
    pub(super) fn start(root: &Path, id: &RandomName, replaces: bool) -> Result<Self> {
        let partial = root.join(PARTIAL);
        // Before anything is made in a folder that is something else.
        Self::check_target(root, id, replaces)?;
        make_folder(root)?;
        make_folder(&partial)?;
        let lock = lock(&partial.join(LOCK), root)?;
        let resumes = Self::check_target(root, id, replaces)?;
        let folder = Self { root: root.to_owned(), resumes, _lock: lock };
        folder.remove_temporaries()?;
        if !resumes {
            let source = partial.join(SOURCE);
            fs::write(&source, id.as_str()).map_err(|error| failed("cannot write", &source, &error))?;
        }
        Ok(folder)
    }

    /// Refuses a folder that is not empty, unless it may be replaced or a decryption of the same encrypted folder did
    /// not finish. Returns whether one did not.
    fn check_target(root: &Path, id: &RandomName, replaces: bool) -> Result<bool> {
        match fs::symlink_metadata(root) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(refused(format!("{root:?} exists and is not a folder: give another name"))),
            Err(_) => return Ok(false),
        }
        let source = open_regular(&root.join(PARTIAL).join(SOURCE));
        let mut text = String::new();
        let read = source.and_then(|(file, _)| file.take(MAX_NAME as u64).read_to_string(&mut text));
        let (is_same, is_other) = (read.is_ok() && text == id.as_str(), read.is_ok() && !text.is_empty());
        if is_same || replaces {
            return Ok(is_same);
        }
        if is_other {
            let detail = format!(
                "{root:?} has a part of another encrypted folder, whose decryption did not finish: finish that, or \
                 give another name"
            );
            return Err(refused(detail));
        }
        let mut entries = fs::read_dir(root).map_err(|error| failed("cannot read", root, &error))?;
        if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != PARTIAL)) {
            return Err(refused(format!("{root:?} exists: replace it, or give another name")));
        }
        Ok(false)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn partial(&self) -> PathBuf {
        self.root.join(PARTIAL)
    }

    /// Returns where an entry belongs. Its path must have been checked.
    pub(super) fn path_of(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn remove_temporaries(&self) -> Result<()> {
        let partial = self.partial();
        let entries = fs::read_dir(&partial).map_err(|error| failed("cannot read", &partial, &error))?;
        for entry in entries.flatten().filter(|entry| ![LOCK, SOURCE].iter().any(|name| entry.file_name() == *name)) {
            fs::remove_file(entry.path()).map_err(|error| failed("cannot remove", &entry.path(), &error))?;
        }
        Ok(())
    }

    /// Removes what only an unfinished folder has.
    pub(super) fn remove_partial(&self) -> Result<()> {
        let partial = self.partial();
        fs::remove_dir_all(&partial).map_err(|error| failed("cannot remove", &partial, &error))
    }
}

/// Locks a folder by a file in it. Nobody waits: two jobs on one folder are a mistake.
fn lock(path: &Path, folder: &Path) -> Result<File> {
    let file = open_lock(path).map_err(|error| failed("cannot lock", folder, &error))?;
    match file.try_lock() {
        Ok(()) if path.exists() => Ok(file),
        // Without the file, the other job has just finished and removed it.
        Ok(()) | Err(TryLockError::WouldBlock) => {
            Err(refused(format!("another job is at work in {folder:?}: wait until it has finished")))
        }
        Err(TryLockError::Error(error)) => Err(failed("cannot lock", folder, &error)),
    }
}

/// Opens a file to lock, and makes it if it does not exist. Whoever can write in the folder may have put a link or a
/// pipe in its place.
fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("its lock is not a regular file")) }
}

/// Makes a folder that only its owner can access, unless it exists. A symbolic link to one is refused: what is written
/// would be elsewhere.
pub(super) fn make_folder(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if is_folder(path) {
                return Ok(());
            }
            Err(refused(format!("{path:?} exists and is not a folder: move it away")))
        }
        Err(error) => Err(failed("cannot make the folder", path, &error)),
    }
}

/// Returns whether there is a folder, and not a symbolic link to one.
pub(super) fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

pub(super) fn refused(detail: String) -> Error {
    Error::new(ErrorKind::Io, detail)
}
