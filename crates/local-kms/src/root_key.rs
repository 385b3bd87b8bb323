//! [`RootKey`]: the key that seals the file of an embedded KMS.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use manila_core::internal::crypto;
use manila_core::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::disk;
use crate::secret_file::check_secret_file;

/// Length of a root key in bytes.
const LEN: usize = 32;

/// The key that seals the file of an embedded KMS. Zeroized on drop.
///
/// Store it separately from the file, and keep a copy: without it every key in the file is lost.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("root.key");
/// use manila_local_kms::RootKey;
///
/// let root_key = RootKey::create_file(&path)?; // once
/// let root_key = RootKey::open_file(&path)?; // from then on
/// # Ok::<(), manila_local_kms::Error>(())
/// ```
#[derive(Clone)]
pub struct RootKey(pub(super) Source);

#[derive(Clone)]
pub(super) enum Source {
    Key(Zeroizing<[u8; LEN]>),
    Passphrase(Zeroizing<Vec<u8>>),
    /// The key of an open store, whatever its origin, and the number of root keys that the store had before it.
    Derived {
        key: Zeroizing<[u8; LEN]>,
        epoch: u64,
    },
}

impl RootKey {
    /// Generates a root key and writes its 32 bytes to a new file that only its owner can read.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file exists or cannot be written.
    pub fn create_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let key = Zeroizing::new(crypto::random_array::<LEN>()?);
        let failed = |error| io_error("make", path, error);
        let mut file = new_private_file(path).map_err(failed)?;
        file.write_all(key.as_slice()).map_err(failed)?;
        put_in_place(file, path).map_err(failed)?;
        Ok(Self(Source::Key(key)))
    }

    /// Reads a root key from a file that [`create_file`](Self::create_file) wrote. Never creates one.
    ///
    /// On Unix the file must belong to root or to the user that runs the program, and only its owner may have access to
    /// it (`chmod 600`). A file that is not writable, not even by its owner, may be readable by others: Kubernetes
    /// (mode 0440 with `fsGroup`) and Docker (mode 0444) mount secrets into containers in this way. Set
    /// `defaultMode: 0440` or `0400` on the volume of a Kubernetes secret, because the default is 0644.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be read, or on Unix if it belongs to another user or other users have
    /// access to it; [`ErrorKind::Storage`] if it does not hold 32 bytes.
    pub fn open_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let mut bytes = Zeroizing::new(Vec::with_capacity(LEN + 1));
        let failed = |error| io_error("read", path, error);
        let file = File::open(path).map_err(failed)?;
        check_secret_file(&file).map_err(failed)?;
        file.take(LEN as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        let key = bytes.as_slice().try_into().map_err(|_| {
            let detail = format!("{path:?} does not hold a root key of {LEN} bytes");
            Error::new(ErrorKind::Storage, detail)
        })?;
        Ok(Self(Source::Key(Zeroizing::new(key))))
    }

    /// Creates a root key from 32 random bytes that are kept elsewhere, for instance in a hardware token or a secrets
    /// manager.
    #[must_use]
    pub fn from_bytes(key: &[u8; LEN]) -> Self {
        Self(Source::Key(Zeroizing::new(*key)))
    }

    /// Creates a root key that is derived from a passphrase with Argon2id (RFC 9106: 64 MiB, 3 passes). The derivation
    /// takes about a tenth of a second at each opening.
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

/// Returns a temporary file next to `path`, accessible only to its owner.
pub(super) fn new_private_file(path: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".manila-").tempfile_in(folder_of(path))
}

/// Returns a temporary file with this name, accessible only to its owner.
pub(super) fn new_private_file_named(path: &Path) -> io::Result<NamedTempFile> {
    let name = path.file_name().unwrap_or_default();
    tempfile::Builder::new().prefix(name).rand_bytes(0).tempfile_in(folder_of(path))
}

/// Durably gives a written file its name, unless the name exists.
pub(super) fn put_in_place(file: NamedTempFile, path: &Path) -> io::Result<()> {
    disk::sync(file.as_file())?;
    disk::name(file, path)?;
    disk::sync_folder(folder_of(path));
    Ok(())
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn io_error(what: &str, path: &Path, error: io::Error) -> Error {
    Error::other(ErrorKind::Io, format!("cannot {what} {path:?}: {error}"), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Event;

    #[test]
    fn a_file_is_synced_before_it_gets_its_name_and_the_name_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let (made, events) = disk::events(|| RootKey::create_file(folder.path().join("root.key")));
        made.unwrap();
        assert_eq!(events, [Event::Synced { len: LEN as u64 }, Event::Named, Event::SyncedFolder]);
    }
}
