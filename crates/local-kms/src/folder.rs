//! A folder that holds a store and its root key, and the steps that create both and change the root key.
//!
//! A store without its root key is lost, and a root key without its store is a copy that went wrong. So both are
//! created in an order in which every state that a crash can leave shows how to continue:
//!
//! 1. A root key is written under the name `root.key.new`.
//! 2. The store is created with it.
//! 3. The root key is renamed to `root.key`.
//!
//! A change of the root key works the same way: the next root key is `root.key.new` until the store is sealed under it.
//! A file under its final name is complete, and no step overwrites another file. A process that does not find both
//! files, or finds that they do not match, waits for the lock, looks again, and continues from there.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::disk;
use crate::file_lock::{Access, lock};
use crate::local_kms::LocalKms;
use crate::root_key::{RootKey, io_error};
use crate::store::{Store, absolute};
use manila_core::{Error, ErrorKind, Result};

const NEW_ROOT_KEY_FILE: &str = "root.key.new";
/// Locked while the other files are created or renamed. Empty, and never removed: otherwise a process waiting for its
/// lock would get the lock of a file that no longer exists.
const LOCK_FILE: &str = ".lock";

/// The step that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is nothing yet: write a root key.
    WriteRootKey,
    /// There is a root key that is not in use yet: create the store with it.
    MakeStore,
    /// The store is sealed under a root key that does not have its final name yet: rename it.
    NameRootKey,
    /// Both files are there.
    Open,
}

/// A folder that holds a store and its root key, or is about to.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn of(path: &Path) -> Result<Self> {
        Ok(Self { path: absolute(path)? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn store(&self) -> PathBuf {
        self.path.join(LocalKms::STORE_FILE)
    }

    pub(super) fn root_key(&self) -> PathBuf {
        self.path.join(LocalKms::ROOT_KEY_FILE)
    }

    pub(super) fn new_root_key(&self) -> PathBuf {
        self.path.join(NEW_ROOT_KEY_FILE)
    }

    /// Determines which files exist. The answer is consistent only while the lock is held.
    pub(super) fn step(&self) -> Result<Step> {
        match (exists(&self.root_key())?, exists(&self.new_root_key())?, exists(&self.store())?) {
            (false, false, false) => Ok(Step::WriteRootKey),
            (false, true, false) => Ok(Step::MakeStore),
            (false, true, true) => Ok(Step::NameRootKey),
            (true, _, true) => Ok(Step::Open),
            (true, _, false) => Err(half(&self.store(), &self.root_key())),
            (false, false, true) => Err(half(&self.root_key(), &self.store())),
        }
    }

    /// Creates the folder, accessible only to its owner, if it does not exist.
    pub(super) fn make(&self) -> Result<()> {
        let missing = self.path.ancestors().take_while(|folder| !folder.is_dir()).collect::<Vec<_>>();
        for folder in missing.into_iter().rev() {
            make_folder(folder, folder == self.path).map_err(|error| io_error("make", folder, error))?;
            disk::sync_folder(folder.parent().unwrap_or(folder));
        }
        Ok(())
    }

    /// Waits for the lock, which lasts as long as the file is open.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.path.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let failed = |error| io_error("lock", &path, error);
        let file = options.open(&path).map_err(failed)?;
        lock(&file, Access::Write).map_err(failed)?;
        Ok(file)
    }

    /// Finishes a change of the root key that was cut off, under the lock. Fails unless the store opens then.
    pub(super) fn settle(&self) -> Result<()> {
        if self.step()? == Step::NameRootKey {
            return self.name_root_key();
        }
        let Err(error) = self.opens_under(&self.root_key()) else { return Ok(()) };
        let is_changed = error.kind() == ErrorKind::Storage && self.opens_under(&self.new_root_key()).is_ok();
        if is_changed { self.replace_root_key().map(drop) } else { Err(error) }
    }

    /// Gives the root key its name, if it is the one of the store. The name must be free.
    pub(super) fn name_root_key(&self) -> Result<()> {
        let (root_key, new) = (self.root_key(), self.new_root_key());
        self.opens_under(&new).map_err(|error| {
            let detail = format!(
                "{root_key:?} is missing beside {:?}, and {new:?} does not open it: restore {root_key:?} from a copy ({error})",
                self.store()
            );
            Error::other(error.kind(), detail, error)
        })?;
        self.give_name()
    }

    /// Moves the root key out of the way, and gives its name to the one that the store is sealed under now. Returns the
    /// old one's path.
    pub(super) fn replace_root_key(&self) -> Result<PathBuf> {
        let root_key = self.root_key();
        let failed = |error| io_error("move", &root_key, error);
        let old = (1..u64::MAX)
            .map(|number| self.path.join(format!("{}.{number}", LocalKms::ROOT_KEY_FILE)))
            .find_map(|old| match disk::rename(&root_key, &old) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => None,
                renamed => Some(renamed.map(|()| old)),
            })
            .unwrap_or_else(|| Err(io::ErrorKind::AlreadyExists.into()))
            .map_err(failed)?;
        disk::sync_folder(&self.path);
        self.give_name()?;
        Ok(old)
    }

    /// Removes a root key that the store is not sealed under.
    pub(super) fn forget_new_root_key(&self) -> Result<()> {
        let new = self.new_root_key();
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &new, error)),
            _ => Ok(()),
        }
    }

    fn give_name(&self) -> Result<()> {
        let root_key = self.root_key();
        disk::rename(&self.new_root_key(), &root_key).map_err(|error| io_error("make", &root_key, error))?;
        disk::sync_folder(&self.path);
        Ok(())
    }

    fn opens_under(&self, root_key: &Path) -> Result<()> {
        Store::open(&self.store(), RootKey::open_file(root_key)?).map(drop)
    }
}

/// Returns whether a name is taken, even by a dangling link: its target is missing then, and must not be created again.
fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("look at", path, error)),
    }
}

fn half(missing: &Path, other: &Path) -> Error {
    Error::new(ErrorKind::Storage, format!("{missing:?} is missing beside {other:?}: restore it from a copy"))
}

fn make_folder(path: &Path, for_owner_alone: bool) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    if for_owner_alone {
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    }
    #[cfg(not(unix))]
    let _ = for_owner_alone;
    match builder.create(path) {
        // Another program was first.
        Err(_) if path.is_dir() => Ok(()),
        made => made,
    }
}
