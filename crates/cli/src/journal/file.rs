//! The file of a journal.
//!
//! Whoever can write in it decides which files count as done and which temporary files are removed.

use std::fs::File;
#[cfg(unix)]
use std::fs::{self, Metadata};
use std::path::Path;

use crate::failure::{Failure, Result};
#[cfg(unix)]
use crate::regular_file::check_writers;

/// Opens the file for this job alone, and makes it if it is missing.
#[cfg(unix)]
pub fn open(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    use rustix::fs::OFlags;
    use rustix::io::Errno;

    let failed = |error| Failure::file("cannot open the journal", path, error);
    let refused = |why: &str| Err(Failure::Work(format!("the journal {path:?} {why}: give another file")));
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = File::options();
    options.read(true).append(true).create(true).mode(0o600).custom_flags(flags.bits().cast_signed());
    let file = match options.open(path) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => return refused("is a symbolic link"),
        opened => opened.map_err(failed)?,
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return refused("is not a regular file");
    }
    check_writers(&file).map_err(|error| Failure::file("cannot take the journal", path, error))?;
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => {
            Err(Failure::Work(format!("this job is at work already: its journal {path:?} is in use")))
        }
        Ok(()) if !is_at(&metadata, path) => {
            Err(Failure::Work("this job has finished just now: see whether there is more to do".to_owned()))
        }
        _ => Ok(file),
    }
}

/// Opens the file, and makes it if it is missing.
#[cfg(not(unix))]
pub fn open(path: &Path) -> Result<File> {
    let opened = File::options().read(true).append(true).create(true).open(path);
    opened.map_err(|error| Failure::file("cannot open the journal", path, error))
}

/// Returns whether a path still leads to an open file.
#[cfg(unix)]
fn is_at(open: &Metadata, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (open.dev(), open.ino()))
}
