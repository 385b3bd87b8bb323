//! Locks that keep two jobs from the same files.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::failure::{Failure, Result};

/// The file that those who write in an encrypted folder lock.
const LOCK: &str = ".lock";
/// The other parts of an encrypted folder: the manifest, which is not there while one is written, and folders.
const OTHERS: [&str; 3] = ["manifest.manila", "files", "partial"];

/// Keeps other jobs from a folder, or from a file in it, until it is dropped.
///
/// It is advisory, and where a file system has no locks it keeps nobody: two jobs then do the work twice, and nothing
/// is lost, because each replaces a file only if it is still the one that it read.
#[derive(Debug)]
pub struct FolderLock {
    _files: Vec<File>,
    /// The lock on a folder around it, which lasts as long.
    _around: Option<Arc<Self>>,
}

impl FolderLock {
    /// Locks a folder.
    pub fn of(folder: &Path, around: Option<Arc<Self>>) -> Result<Self> {
        let mut files = Vec::new();
        files.extend(lock_itself(folder, folder, File::try_lock)?);
        if Self::is_sealed(folder) {
            files.push(lock_sealed(folder)?);
        }
        Ok(Self { _files: files, _around: around })
    }

    /// Locks a file against other jobs, and its folder against those that want all of it.
    pub fn of_file(file: &Path, around: Option<Arc<Self>>) -> Result<Self> {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut files = Vec::new();
        files.extend(lock_itself(folder, file, File::try_lock_shared)?);
        files.extend(lock_itself(file, file, File::try_lock)?);
        Ok(Self { _files: files, _around: around })
    }

    /// Locks an encrypted folder by its file, for work on a part of it.
    pub fn of_sealed(folder: &Path) -> Result<Self> {
        Ok(Self { _files: vec![lock_sealed(folder)?], _around: None })
    }

    /// Returns whether a folder is an encrypted one, as `manila encrypt -r` makes them.
    pub fn is_sealed(folder: &Path) -> bool {
        let found = |name: &str| fs::symlink_metadata(folder.join(name));
        found(LOCK).is_ok_and(|lock| lock.is_file()) && OTHERS.iter().any(|name| found(name).is_ok())
    }
}

/// Locks a file or folder through itself. Returns nothing where that is not possible.
#[cfg(unix)]
fn lock_itself(path: &Path, named: &Path, lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<Option<File>> {
    let file = File::open(path).map_err(|error| Failure::file("cannot read", path, error))?;
    match lock(&file) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(at_work(named)),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Windows has no locks that leave readers alone.
#[cfg(not(unix))]
fn lock_itself(_: &Path, _: &Path, _: impl Fn(&File) -> Result<(), TryLockError>) -> Result<Option<File>> {
    Ok(None)
}

fn lock_sealed(folder: &Path) -> Result<File> {
    let path: PathBuf = folder.join(LOCK);
    let failed = |error| Failure::file("cannot lock", folder, error);
    let mut options = File::options();
    options.write(true);
    // It may have been put there to be followed, or to be waited for.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed(),
    );
    let file = options.open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(at_work(folder)),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn at_work(path: &Path) -> Failure {
    Failure::Work(format!("another job is at work in {path:?}: wait until it has finished"))
}
