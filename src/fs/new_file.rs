//! [`NewFile`]: a file that appears under its name complete, or not at all.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use manila_core::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

use crate::fs::failed;
use crate::fs::unfinished::{Listed, PREFIX, Unfinished};

/// A file to write that appears under its name complete, or not at all.
///
/// Until [`put_in_place`](Self::put_in_place) is called, the bytes are in a temporary file next to the target, which
/// only the current user can read. It is removed when this value is dropped; a process that is killed leaves it, under
/// a name that begins with `.manila-`.
///
/// ```
/// use std::io::Write;
/// # use manila::ErrorKind;
/// use manila::fs::NewFile;
///
/// # let folder = tempfile::tempdir()?;
/// let target = folder.path().join("report.txt");
/// let mut file = NewFile::create(&target)?;
/// file.write_all(b"all of it")?;
/// assert!(!target.exists());
/// file.put_in_place()?;
/// assert_eq!(std::fs::read(&target)?, b"all of it");
///
/// // An existing file is replaced only if that was asked for.
/// assert_eq!(NewFile::create(&target).unwrap_err().kind(), ErrorKind::Io);
/// NewFile::replace(&target)?.put_in_place()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a file does not appear before `put_in_place` is called"]
pub struct NewFile {
    file: NamedTempFile,
    target: PathBuf,
    replaces: bool,
    syncs: bool,
    /// Dropped after the temporary file was removed.
    listed: Option<Listed>,
}

impl NewFile {
    /// Starts a file under a name that is not taken.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the target exists, or its folder cannot be written in.
    pub fn create(target: impl AsRef<Path>) -> Result<Self> {
        Self::start(target.as_ref(), false)
    }

    /// Starts a file that replaces an existing one, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the target exists and is not a regular file (a symbolic link is not followed), or its
    /// folder cannot be written in.
    pub fn replace(target: impl AsRef<Path>) -> Result<Self> {
        Self::start(target.as_ref(), true)
    }

    pub(super) fn start(target: &Path, replaces: bool) -> Result<Self> {
        Self::start_announced(target, replaces, |_| {})
    }

    /// Starts a file, and calls `announce` with the path of the temporary file before it is created.
    pub(super) fn start_announced(target: &Path, replaces: bool, announce: impl Fn(&Path)) -> Result<Self> {
        check_target(target, replaces)?;
        Self::make(folder_of(target), target, replaces, announce)
    }

    /// Starts a file whose temporary file is in `folder`, which must be in the file system of the target.
    pub(super) fn start_in(folder: &Path, target: &Path, replaces: bool) -> Result<Self> {
        if replaces {
            check_target(target, replaces)?;
        }
        // Otherwise its name is taken only if it is free: nothing is gained by looking before many small files.
        Self::make(folder, target, replaces, |_| {})
    }

    fn make(folder: &Path, target: &Path, replaces: bool, announce: impl Fn(&Path)) -> Result<Self> {
        let made = tempfile::Builder::new().prefix(PREFIX).make_in(folder, |path| {
            announce(path);
            private().open(path)
        });
        let file = made.map_err(|error| failed("cannot write in the folder", folder, &strip_path(&error)))?;
        Ok(Self { file, target: target.to_owned(), replaces, syncs: true, listed: None })
    }

    /// The same, on a list until it is put in place or dropped.
    pub(super) fn start_listed(list: &Unfinished, start: impl FnOnce() -> Result<Self>) -> Result<Self> {
        let (file, listed) = list.start(|| {
            let file = start()?;
            let path = file.temporary_path().to_owned();
            Ok((file, path))
        })?;
        Ok(Self { listed: Some(listed), ..file })
    }

    /// Sets whether [`put_in_place`](Self::put_in_place) waits until the file and its name are on the disk. On by
    /// default. Without it, a power failure can leave an empty or partial file under the name.
    pub fn sync(mut self, sync: bool) -> Self {
        self.syncs = sync;
        self
    }

    /// Returns the path of the temporary file.
    #[must_use]
    pub fn temporary_path(&self) -> &Path {
        self.file.path()
    }

    /// Gives the file the permissions (on Unix the mode, without set-user-ID, set-group-ID and sticky bits) and the
    /// time of modification of another.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the system refuses.
    pub fn copy_attributes(&self, other: &Metadata) -> Result<()> {
        let set = || {
            self.set_permissions(other)?;
            self.file.as_file().set_times(fs::FileTimes::new().set_modified(other.modified()?))
        };
        set().map_err(|error| failed("cannot set the attributes of", &self.target, &error))
    }

    /// Gives the file the owner and the group of another, where the system has those of Unix.
    pub(super) fn copy_owner(&self, other: &Metadata) -> Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, fchown};
            let file = self.file.as_file();
            let set = || {
                let own = file.metadata()?;
                match (own.uid(), own.gid()) == (other.uid(), other.gid()) {
                    true => Ok(()),
                    false => fchown(file, Some(other.uid()), Some(other.gid())),
                }
            };
            set().map_err(|error| {
                let what =
                    "cannot keep the owner and the group (do it as them or as root, or write to another file) of";
                failed(what, &self.target, &error)
            })
        }
        #[cfg(not(unix))]
        {
            let _ = other;
            Ok(())
        }
    }

    #[cfg(unix)]
    fn set_permissions(&self, other: &Metadata) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let mode = other.permissions().mode() & 0o777;
        self.file.as_file().set_permissions(fs::Permissions::from_mode(mode))
    }

    #[cfg(not(unix))]
    fn set_permissions(&self, other: &Metadata) -> io::Result<()> {
        self.file.as_file().set_permissions(other.permissions())
    }

    /// Gives the file permissions, where the system has those of Unix, and a time of modification.
    pub(super) fn set_attributes(&self, mode: Option<u32>, modified: Option<SystemTime>) -> Result<()> {
        let file = self.file.as_file();
        let set = || {
            #[cfg(unix)]
            if let Some(mode) = mode {
                file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
            }
            #[cfg(not(unix))]
            let _ = mode;
            modified.map_or(Ok(()), |modified| file.set_times(fs::FileTimes::new().set_modified(modified)))
        };
        set().map_err(|error| failed("cannot set the attributes of", &self.target, &error))
    }

    /// Reads what was written so far, from the start.
    pub(super) fn reopen(&self) -> Result<File> {
        self.file.reopen().map_err(|error| failed("cannot read back", &self.target, &error))
    }

    /// Gives the file its name. Call it when everything has been written and verified.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the file cannot be synced or renamed, or if a file of this name has appeared meanwhile and
    /// is not to be replaced. Nothing is left then.
    pub fn put_in_place(self) -> Result<()> {
        let Self { file, target, replaces, syncs, listed } = self;
        if syncs {
            file.as_file().sync_all().map_err(|error| failed("cannot write", &target, &error))?;
        }
        let place = || {
            let placed = if replaces { file.persist(&target) } else { file.persist_noclobber(&target) };
            placed.map_err(|refused| match refused.error.kind() {
                // Dropping it removes the temporary file.
                io::ErrorKind::AlreadyExists => exists(&target),
                _ => failed("cannot write", &target, &strip_path(&refused.error)),
            })
        };
        match &listed {
            Some(listed) => listed.place(place)?,
            None => place()?,
        };
        // The file is in place even where a folder cannot be synced.
        #[cfg(unix)]
        if syncs {
            let _ = File::open(folder_of(&target)).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

impl Unfinished {
    /// Starts a file as [`NewFile::create`] does, and lists it.
    ///
    /// # Errors
    /// Those of [`NewFile::create`]; [`ErrorKind::Io`] after [`stop`](Self::stop).
    pub fn create(&self, target: impl AsRef<Path>) -> Result<NewFile> {
        NewFile::start_listed(self, || NewFile::create(target))
    }

    /// Starts a file as [`NewFile::replace`] does, and lists it.
    ///
    /// # Errors
    /// Those of [`NewFile::replace`]; [`ErrorKind::Io`] after [`stop`](Self::stop).
    pub fn replace(&self, target: impl AsRef<Path>) -> Result<NewFile> {
        NewFile::start_listed(self, || NewFile::replace(target))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Fails unless a target may be written.
fn check_target(target: &Path, replaces: bool) -> Result<()> {
    match fs::symlink_metadata(target) {
        Ok(found) if !found.is_file() => {
            Err(refused(format!("{target:?} exists and is not a regular file: give another name")))
        }
        Ok(_) if !replaces => Err(exists(target)),
        _ => Ok(()),
    }
}

fn exists(target: &Path) -> Error {
    refused(format!("{target:?} exists: replace it, or give another name"))
}

fn refused(detail: String) -> Error {
    Error::new(ErrorKind::Io, detail)
}

/// Returns an error without the path of the temporary file, which the caller did not choose.
fn strip_path(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// Options to create a file that only the current user can access.
fn private() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
