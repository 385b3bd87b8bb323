//! Reports of an operation on a folder: [`FolderEvent`] while it runs, [`FolderReport`] at its end.

use std::error::Error as StdError;
use std::io;
use std::path::Path;

use manila_core::{Error, Result};

use super::Folders;
use super::entry::Entry;

/// An event of an operation on a folder.
///
/// Paths are relative to the folder, with `/` between names. Escape them before you show them: they may hold anything.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum FolderEvent<'e> {
    /// There are so many files, with so many bytes of plaintext. Only when a folder is decrypted: what there is to
    /// encrypt is not known before all of it has been found.
    Total {
        /// The number of files.
        files: u64,
        /// The number of bytes of plaintext.
        bytes: u64,
    },
    /// The work on a file begins, which has so many bytes of plaintext.
    Started {
        /// The path of the file.
        path: &'e str,
        /// The number of bytes of plaintext.
        len: u64,
    },
    /// So many more bytes of a file have been read: of plaintext when it is encrypted, of its message otherwise.
    Read {
        /// The path of the file.
        path: &'e str,
        /// The number of bytes.
        bytes: u64,
    },
    /// A file is done, and has so many bytes of plaintext.
    Done {
        /// The path of the file.
        path: &'e str,
        /// The number of bytes of plaintext.
        len: u64,
    },
    /// A file was left as it is, because an earlier operation that did not finish has done it.
    Kept {
        /// The path of the file.
        path: &'e str,
        /// The number of bytes of plaintext.
        len: u64,
    },
    /// Something in the folder could not be done, and is left out.
    Failed {
        /// The path of the file, folder or symbolic link.
        path: &'e str,
        /// The error, which names the path.
        error: &'e Error,
    },
}

/// The numbers of things that an operation on a folder has done, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FolderReport {
    files: u64,
    folders: u64,
    links: u64,
    bytes: u64,
    kept: u64,
}

impl FolderReport {
    /// Returns the number of files.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Returns the number of folders, without the one that the operation was on.
    #[must_use]
    pub fn folders(&self) -> u64 {
        self.folders
    }

    /// Returns the number of symbolic links.
    #[must_use]
    pub fn links(&self) -> u64 {
        self.links
    }

    /// Returns the number of bytes of plaintext in files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of files that an earlier operation had done.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::Folder(_) => self.add_folder(),
            Entry::Link(_) => self.add_link(),
            Entry::File(file) => self.add_file(file.len),
        }
    }

    pub(super) fn add_folder(&mut self) {
        self.folders = self.folders.saturating_add(1);
    }

    pub(super) fn add_link(&mut self) {
        self.links = self.links.saturating_add(1);
    }

    pub(super) fn add_file(&mut self, len: u64) {
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(len);
    }
}

/// Counts what is done, and reports it.
pub(super) struct Tally<'t, 'a> {
    folders: &'t Folders<'a>,
    report: FolderReport,
    failures: u64,
    first: Option<Error>,
}

impl<'t, 'a> Tally<'t, 'a> {
    pub(super) fn new(folders: &'t Folders<'a>) -> Self {
        Self { folders, report: FolderReport::default(), failures: 0, first: None }
    }

    pub(super) fn done(&mut self, entry: &Entry, is_kept: bool) {
        self.report.add(entry);
        let Entry::File(file) = entry else { return };
        let (path, len) = (file.path.as_str(), file.len);
        if is_kept {
            self.report.kept = self.report.kept.saturating_add(1);
            self.folders.tell(&FolderEvent::Kept { path, len });
        } else {
            self.folders.tell(&FolderEvent::Done { path, len });
        }
    }

    /// Counts an entry that failed. Returns the error if others would fail in the same way.
    pub(super) fn failed(&mut self, path: &str, error: Error) -> Result<()> {
        if is_no_space(&error) {
            return Err(error);
        }
        self.failures = self.failures.saturating_add(1);
        self.folders.tell(&FolderEvent::Failed { path, error: &error });
        self.first.get_or_insert(error);
        Ok(())
    }

    pub(super) fn has_failures(&self) -> bool {
        self.failures > 0
    }

    /// Returns what is done.
    pub(super) fn report(&self) -> FolderReport {
        self.report
    }

    /// Returns the report, or an error if something in the folder failed.
    pub(super) fn finish(self, folder: &Path) -> Result<FolderReport> {
        let Some(error) = self.first else { return Ok(self.report) };
        let detail = match self.failures {
            1 => format!("one entry of {folder:?} failed, and the rest is done: {error}"),
            failures => format!("{failures} entries of {folder:?} failed, and the rest is done; the first: {error}"),
        };
        Err(Error::other(error.kind(), detail, error))
    }
}

/// Returns whether nothing more can be written.
fn is_no_space(error: &Error) -> bool {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
            if matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem) {
                return true;
            }
        }
        source = error.source();
    }
    false
}
