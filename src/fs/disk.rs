//! Files and folders on the disk: opened without surprises, read whole, and synced.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

use manila_core::Result;
use manila_core::internal::crypto::Sha256;

use crate::fs::failed;

/// Opens a regular file, without following a symbolic link and without waiting for a pipe.
pub(super) fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    #[cfg(unix)]
    let file = {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            rustix::io::Errno::LOOP => io::Error::other("it is a symbolic link"),
            error => error.into(),
        })?)
    };
    #[cfg(not(unix))]
    let file = match std::fs::symlink_metadata(path)?.is_file() {
        true => File::open(path)?,
        false => return Err(io::Error::other("it is not a regular file")),
    };
    regular(file)
}

/// Refuses what is not a regular file.
pub(super) fn regular(file: File) -> io::Result<(File, Metadata)> {
    let metadata = file.metadata()?;
    if metadata.is_file() { Ok((file, metadata)) } else { Err(io::Error::other("it is not a regular file")) }
}

/// True if [`sync_all`] syncs the files in the folder, so that none has to be synced by itself.
pub(super) const SYNCS_AT_ONCE: bool = cfg!(target_os = "linux");

/// Waits until the folder is on the disk, on Linux with everything in it.
pub(super) fn sync_all(folder: &Path) -> Result<()> {
    let cannot = |error: io::Error| failed("cannot write", folder, &error);
    let opened = File::open(folder).map_err(cannot)?;
    #[cfg(target_os = "linux")]
    return rustix::fs::syncfs(&opened).map_err(|error| cannot(error.into()));
    #[cfg(not(target_os = "linux"))]
    return opened.sync_all().map_err(cannot);
}

/// Waits until the names in a folder are on the disk, where a folder can be synced.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| failed("cannot write", folder, &error))?;
    }
    Ok(())
}

/// Returns the digest of everything that can be read.
pub(super) fn digest_of(source: &mut impl Read) -> io::Result<[u8; Sha256::LEN]> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(digest.finish()),
            Ok(count) => digest.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
