//! The identity of a store's file, by which a handle notices that the file was moved, replaced or removed.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::root_key::io_error;
use manila_core::{Error, ErrorKind, Result};

/// The number of reads between two checks of the file, because a check takes a tenth of the time of a read.
const READS_BETWEEN_LOOKS: u64 = 16;
/// The time after which a read checks the file in any case.
const TIME_BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// The identity of an open store's file, which tells it from another file at the same path.
#[derive(Debug)]
pub(super) struct Identity {
    path: PathBuf,
    id: Id,
    reads: AtomicU64,
    opened: Instant,
    /// The time of the last check of the file, in milliseconds since it was opened.
    looked: AtomicU64,
}

impl Identity {
    pub(super) fn of(path: &Path, file: &File) -> Result<Self> {
        let metadata = file.metadata().map_err(|error| io_error("open", path, error))?;
        Ok(Self {
            path: path.to_owned(),
            id: Id::of(&metadata),
            reads: AtomicU64::new(0),
            opened: Instant::now(),
            looked: AtomicU64::new(0),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether a path leads to the file.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|there| Id::of(&there) == self.id)
    }

    /// Returns the length of the file, in bytes.
    pub(super) fn len(&self) -> Result<u64> {
        self.look().map(|metadata| metadata.len())
    }

    /// Fails if the path no longer names the file.
    pub(super) fn check(&self) -> Result<()> {
        self.look().map(drop)
    }

    /// Makes the same check for a read, but only at intervals.
    pub(super) fn check_now_and_then(&self) -> Result<()> {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let is_old =
            u128::from(now.saturating_sub(self.looked.load(Ordering::Relaxed))) > TIME_BETWEEN_LOOKS.as_millis();
        let count = self.reads.fetch_add(1, Ordering::Relaxed);
        if !is_old && !count.is_multiple_of(READS_BETWEEN_LOOKS) {
            return Ok(());
        }
        self.check()?;
        self.looked.fetch_max(now, Ordering::Relaxed);
        Ok(())
    }

    fn look(&self) -> Result<Metadata> {
        match fs::metadata(&self.path) {
            Ok(there) if Id::of(&there) == self.id => Ok(there),
            Ok(_) => Err(self.lost("another file is in its place")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.lost("it is no longer there")),
            Err(error) => Err(io_error("look at", &self.path, error)),
        }
    }

    fn lost(&self, what: &str) -> Error {
        let path = &self.path;
        let detail =
            format!("the key store {path:?} was moved, replaced or removed while it was open: {what}; open it again");
        Error::new(ErrorKind::Storage, detail)
    }
}

/// Returns device and inode, which no other file has while this one is open.
#[cfg(unix)]
#[derive(Debug, PartialEq, Eq)]
struct Id(u64, u64);

#[cfg(unix)]
impl Id {
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }
}

/// Returns the time of creation, if available: on other systems than Unix, open files are not easily moved.
#[cfg(not(unix))]
#[derive(Debug, PartialEq, Eq)]
struct Id(Option<std::time::SystemTime>);

#[cfg(not(unix))]
impl Id {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.created().ok())
    }
}
