//! The root key: what seals the file of an embedded KMS.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::crypto;
use crate::error::{Error, ErrorKind, Result};
use crate::kms::local::disk;

/// Length of a root key in bytes.
const LEN: usize = 32;

/// The key that seals an embedded KMS's file. Keep it apart from the file, and keep a copy: without it every key
/// in the file is lost. Zeroized on drop.
#[derive(Clone)]
pub struct RootKey(pub(super) Source);

#[derive(Clone)]
pub(super) enum Source {
    Key(Zeroizing<[u8; LEN]>),
    Passphrase(Zeroizing<Vec<u8>>),
}

impl RootKey {
    /// Makes a random root key and writes it to a new file, 32 bytes, readable by its owner alone.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if there is a file already or it cannot be written.
    pub fn create_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let key = Zeroizing::new(crypto::random_array::<LEN>()?);
        let failed = |error| io_error("make", path, error);
        let mut file = new_private_file(path).map_err(failed)?;
        file.write_all(key.as_slice()).map_err(failed)?;
        put_in_place(file, path).map_err(failed)?;
        Ok(Self(Source::Key(key)))
    }

    /// Reads a root key that [`create_file`](Self::create_file) wrote. It never makes one.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be read, or on Unix if others than its owner have any access to it;
    /// [`ErrorKind::Storage`] if it does not hold 32 bytes.
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut bytes = Zeroizing::new(Vec::with_capacity(LEN + 1));
        let failed = |error| io_error("read", path, error);
        let file = File::open(path).map_err(failed)?;
        check_private(&file).map_err(failed)?;
        file.take(LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        let key = bytes.as_slice().try_into().map_err(|_| {
            let detail = format!("{path:?} does not hold a root key of {LEN} bytes");
            Error::new(ErrorKind::Storage, detail)
        })?;
        Ok(Self(Source::Key(Zeroizing::new(key))))
    }

    /// A root key of 32 random bytes that something else keeps, such as a hardware token or a secrets manager.
    #[must_use]
    pub fn from_bytes(key: &[u8; LEN]) -> Self {
        Self(Source::Key(Zeroizing::new(*key)))
    }

    /// A root key derived from a passphrase with Argon2id (RFC 9106: 64 MiB, 3 passes), which takes a tenth of a
    /// second or so at each opening.
    #[must_use]
    pub fn from_passphrase(passphrase: &str) -> Self {
        Self(Source::Passphrase(Zeroizing::new(passphrase.as_bytes().to_vec())))
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(redacted)")
    }
}

/// Fails if others than its owner may read or write a file.
#[cfg(unix)]
fn check_private(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let of_others = file.metadata()?.permissions().mode() & 0o077;
    if of_others == 0 {
        return Ok(());
    }
    let detail = "others than its owner have access to it: chmod 600";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, detail))
}

#[cfg(not(unix))]
fn check_private(_: &File) -> io::Result<()> {
    Ok(())
}

/// A temporary file beside `path`, for its owner alone.
pub(super) fn new_private_file(path: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".manila-").tempfile_in(folder_of(path))
}

/// Gives a written file its name, durably, unless the name is taken.
pub(super) fn put_in_place(file: NamedTempFile, path: &Path) -> io::Result<()> {
    disk::sync(file.as_file())?;
    disk::name(file, path)?;
    disk::sync_folder(folder_of(path));
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn io_error(what: &str, path: &Path, error: io::Error) -> Error {
    Error::other(ErrorKind::Io, format!("cannot {what} {path:?}: {error}"), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::local::disk::Event;

    #[test]
    fn a_file_is_synced_before_it_gets_its_name_and_the_name_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let (made, events) = disk::events(|| RootKey::create_file(folder.path().join("root.key")));
        made.unwrap();
        assert_eq!(events, [Event::Synced { len: LEN as u64 }, Event::Named, Event::SyncedFolder]);
    }
}
