//! Files of the operating system: opening, identity, locks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a file for appending, and makes it if there is none.
pub(super) fn open_or_make(path: &Path) -> io::Result<File> {
    open(path, true)
}

/// Opens a file for appending, if there is one.
pub(super) fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match open(path, false) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(create);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
}

pub(super) fn is_empty(file: &File) -> io::Result<bool> {
    file.metadata().map(|metadata| metadata.len() == 0)
}

/// Whether two files, opened by different paths, are one under two names. One that has a single name was opened by
/// two spellings of it.
#[cfg(unix)]
pub(super) fn are_two_names(one: &File, other: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()) && one.nlink() > 1)
}

/// Elsewhere two names of one file are not told from two files.
#[cfg(not(unix))]
pub(super) fn are_two_names(_: &File, _: &File) -> io::Result<bool> {
    Ok(false)
}

/// Whether the open file is still the one at `path`.
#[cfg(unix)]
pub(super) fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let file = file.metadata()?;
    Ok(fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino())))
}

/// Elsewhere files that are open are not easily moved.
#[cfg(not(unix))]
pub(super) fn is_at(path: &Path, _: &File) -> io::Result<bool> {
    Ok(fs::exists(path).unwrap_or(false))
}

/// What a lock is for.
#[derive(Clone, Copy)]
pub(super) enum Access {
    Read,
    Write,
}

/// Holds a lock on a file, against other handles and processes.
pub(super) struct Locked<'a>(&'a File);

impl<'a> Locked<'a> {
    /// Waits for the lock.
    pub(super) fn new(file: &'a File, access: Access) -> io::Result<Self> {
        loop {
            let locked = match access {
                Access::Read => file.lock_shared(),
                Access::Write => file.lock(),
            };
            match locked {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                locked => return locked.map(|()| Self(file)),
            }
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Closing the file unlocks it too.
        let _ = self.0.unlock();
    }
}
