//! Files of the operating system: opening them, their identity, and locks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a file for appending, and creates it if it does not exist.
pub(super) fn open_or_make(path: &Path) -> io::Result<File> {
    open(path, true)
}

/// Opens a file for appending, if it exists.
pub(super) fn open_existing(path: &Path) -> io::Result<Option<File>> {
    match open(path, false) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file for reading.
pub(super) fn open_to_read(path: &Path) -> io::Result<File> {
    check_is_file(path)?;
    File::open(path).and_then(regular)
}

/// Fails if the path leads to something other than a file. Checked before opening, because opening a pipe would block.
fn check_is_file(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(there) if !there.is_file() => Err(not_a_file()),
        _ => Ok(()),
    }
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_a_file()) }
}

fn not_a_file() -> io::Error {
    io::Error::other("it is not a file")
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    check_is_file(path)?;
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(create);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).and_then(regular)
}

pub(super) fn is_empty(file: &File) -> io::Result<bool> {
    file.metadata().map(|metadata| metadata.len() == 0)
}

/// Returns whether two open files are the same file.
#[cfg(unix)]
pub(super) fn are_one(one: &File, other: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Returns false: on other systems, two names of one file are not recognised.
#[cfg(not(unix))]
pub(super) fn are_one(_: &File, _: &File) -> io::Result<bool> {
    Ok(false)
}

/// Returns whether the open file is still the one at `path`.
#[cfg(unix)]
pub(super) fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let file = file.metadata()?;
    Ok(fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino())))
}

/// Returns true: on other systems, open files are not easily moved.
#[cfg(not(unix))]
pub(super) fn is_at(path: &Path, _: &File) -> io::Result<bool> {
    Ok(fs::exists(path).unwrap_or(false))
}

/// Returns whether two paths lead to the same name in the same folder, after resolving links.
pub(crate) fn is_same_path(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    real(one).is_some_and(|one| Some(one) == real(other))
}
