//! [`Walk`]: what is in a folder, in the order of names, each folder before what is in it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec;

use manila_core::{Error, Result};

use super::FolderReport;
use super::layout::{EXTENSION, refused};
use crate::fs::disk::{open_regular, regular};
use crate::fs::failed;

/// A thing in a folder, or the error of looking at it.
pub(super) struct Found {
    /// Its path in the folder that is walked, with `/` between the names.
    pub(super) path: String,
    /// The same for the system, from the folder on: it may hold what is not Unicode.
    pub(super) relative: PathBuf,
    pub(super) what: Result<What>,
}

/// The thing that a path leads to. Symbolic links are not followed.
pub(super) enum What {
    Folder(Metadata),
    File {
        metadata: Metadata,
        /// True if a folder next to it has the name that the encrypted file would have.
        is_shadowed: bool,
    },
    Link {
        target: String,
    },
}

/// Walks through a folder. Names are kept of the folders that the walk is in.
pub(super) struct Walk {
    root: Arc<Root>,
    /// The folders that the walk is in, outermost first.
    open: Vec<Open>,
    /// The folder that was returned last, which is entered next unless it is skipped.
    entering: Option<String>,
}

struct Open {
    path: String,
    names: vec::IntoIter<OsString>,
}

impl Walk {
    /// Starts at a folder, which must not be a symbolic link.
    pub(super) fn start(path: &Path) -> Result<Self> {
        let metadata = fs::symlink_metadata(path).map_err(|error| failed("cannot read", path, &error))?;
        if !metadata.is_dir() {
            return Err(refused(format!("{path:?} is not a folder: give a folder")));
        }
        let cannot_read = |error| failed("cannot read", path, &error);
        let root = Root::open(path).map_err(cannot_read)?;
        let names = root.names("").map_err(cannot_read)?;
        let open = vec![Open { path: String::new(), names }];
        Ok(Self { root: Arc::new(root), open, entering: None })
    }

    /// Returns the folder that is walked through, to open files in it.
    pub(super) fn root(&self) -> Arc<Root> {
        self.root.clone()
    }

    /// Leaves out what is in the folder that was returned last.
    pub(super) fn leave_out(&mut self) {
        self.entering = None;
    }

    fn look_at(&self, path: &str, open: &Open) -> Result<What> {
        let full = self.root.path_of(path);
        let cannot_read = |error: io::Error| failed("cannot read", &full, &error);
        let metadata = fs::symlink_metadata(&full).map_err(cannot_read)?;
        if metadata.is_dir() {
            return Ok(What::Folder(metadata));
        }
        if metadata.is_file() {
            let shadow = OsString::from(format!("{}{EXTENSION}", name_of(path)));
            // What comes behind the file in the order of names: a name that is longer does.
            let is_shadowed = open.names.as_slice().binary_search(&shadow).is_ok()
                && fs::symlink_metadata(full.with_file_name(shadow)).is_ok_and(|found| found.is_dir());
            return Ok(What::File { metadata, is_shadowed });
        }
        if metadata.is_symlink() {
            let target = fs::read_link(&full).map_err(cannot_read)?.into_os_string().into_string();
            let not_unicode = |_| refused(format!("{full:?} is a symbolic link whose target is not UTF-8"));
            return Ok(What::Link { target: target.map_err(not_unicode)? });
        }
        Err(refused(format!("{full:?} is not a file, a folder or a symbolic link, and is left out")))
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if let Some(path) = self.entering.take() {
            match self.root.names(&path) {
                Ok(names) => self.open.push(Open { path, names }),
                Err(error) => {
                    let what = Err(failed("cannot read", &self.root.path_of(&path), &error));
                    return Some(Found { relative: PathBuf::from(&path), path, what });
                }
            }
        }
        loop {
            let mut open = self.open.pop()?;
            let Some(name) = open.names.next() else { continue };
            let found = match name.to_str() {
                Some(name) => {
                    let path = if open.path.is_empty() { name.to_owned() } else { format!("{}/{name}", open.path) };
                    let what = self.look_at(&path, &open);
                    Found { relative: PathBuf::from(&path), path, what }
                }
                None => not_unicode(&open.path, &name),
            };
            self.open.push(open);
            if let Ok(What::Folder(_)) = &found.what {
                self.entering = Some(found.path.clone());
            }
            return Some(found);
        }
    }
}

fn not_unicode(folder: &str, name: &OsString) -> Found {
    let path = format!("{folder}/{}", name.to_string_lossy());
    let relative = Path::new(folder).join(name);
    let error = refused(format!("{relative:?} has a name that is not UTF-8: rename it"));
    Found { path: path.trim_start_matches('/').to_owned(), relative, what: Err(error) }
}

/// A folder whose files are opened by their paths in it.
///
/// On Linux, no symbolic link is followed on the way to them, even if someone puts one there meanwhile. Elsewhere only
/// the last name of a path cannot be one.
pub(super) struct Root {
    path: PathBuf,
    #[cfg(target_os = "linux")]
    opened: rustix::fd::OwnedFd,
}

impl Root {
    fn open(path: &Path) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let opened = {
            use rustix::fs::{Mode, OFlags};
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())?
        };
        Ok(Self {
            path: path.to_owned(),
            #[cfg(target_os = "linux")]
            opened,
        })
    }

    /// Returns the path of something in it.
    pub(super) fn path_of(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.path.clone() } else { self.path.join(path) }
    }

    /// Opens a regular file in it.
    pub(super) fn open_regular(&self, path: &str) -> io::Result<(File, Metadata)> {
        #[cfg(target_os = "linux")]
        if let Some(opened) = self.open_beneath(path, rustix::fs::OFlags::NONBLOCK)? {
            return regular(File::from(opened));
        }
        open_regular(&self.path_of(path))
    }

    /// Returns the names in a folder, in the order of their bytes.
    fn names(&self, path: &str) -> io::Result<vec::IntoIter<OsString>> {
        #[cfg(target_os = "linux")]
        if let Some(opened) = self.open_beneath(path, rustix::fs::OFlags::DIRECTORY)? {
            use std::os::unix::ffi::OsStrExt;
            let entries = rustix::fs::Dir::new(opened)?;
            let mut names = entries
                .map(|entry| Ok(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned()))
                .collect::<io::Result<Vec<_>>>()?;
            names.retain(|name| name != "." && name != "..");
            return Ok(sorted(names));
        }
        let entries = fs::read_dir(self.path_of(path))?;
        Ok(sorted(entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?))
    }

    /// Opens something in it to read, without following symbolic links. Returns nothing where the kernel cannot.
    #[cfg(target_os = "linux")]
    fn open_beneath(&self, path: &str, flags: rustix::fs::OFlags) -> io::Result<Option<rustix::fd::OwnedFd>> {
        use rustix::fs::{Mode, OFlags, ResolveFlags};
        let path = if path.is_empty() { "." } else { path };
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&self.opened, path, flags, Mode::empty(), resolve) {
            Ok(opened) => Ok(Some(opened)),
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => Ok(None),
            Err(rustix::io::Errno::LOOP) => Err(io::Error::other("there is a symbolic link on the way to it")),
            Err(error) => Err(error.into()),
        }
    }
}

fn sorted(mut names: Vec<OsString>) -> vec::IntoIter<OsString> {
    names.sort_unstable();
    names.into_iter()
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Counts what is in a folder. What cannot be read is left out.
pub(super) fn count(root: &Path) -> Result<FolderReport> {
    let mut report = FolderReport::default();
    for found in Walk::start(root)? {
        match found.what {
            Ok(What::Folder(_)) => report.add_folder(),
            Ok(What::Link { .. }) => report.add_link(),
            Ok(What::File { metadata, .. }) => report.add_file(metadata.len()),
            Err(_) => {}
        }
    }
    Ok(report)
}

/// Refuses a target within a source, or the other way round: one would be read while it is being written.
pub(super) fn check_apart(source: &Path, target: &Path) -> Result<(), Error> {
    let real = |path: &Path| -> Option<PathBuf> {
        let path = std::path::absolute(path).ok()?;
        // The longest part that exists, and the rest as it is.
        let there = path.ancestors().find_map(|there| Some((there, fs::canonicalize(there).ok()?)))?;
        Some(there.1.join(path.strip_prefix(there.0).ok()?))
    };
    let (Some(from), Some(to)) = (real(source), real(target)) else { return Ok(()) };
    if from.starts_with(&to) || to.starts_with(&from) {
        return Err(refused(format!("{target:?} and {source:?} lie in each other: give another name")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_comes_before_what_is_in_it_and_names_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for made in ["b/c", "b.manila", "a"] {
            fs::create_dir_all(folder.path().join(made)).unwrap();
        }
        for file in ["b/c/1", "b/2", "b.txt", "a/b", "c", "d", "d.manila"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let walk = Walk::start(folder.path()).unwrap();
        let paths: Vec<_> = walk.map(|found| found.path).collect();
        assert_eq!(paths, ["a", "a/b", "b", "b/2", "b/c", "b/c/1", "b.manila", "b.txt", "c", "d", "d.manila"]);
        let mut walk = Walk::start(folder.path()).unwrap();
        assert!(matches!(walk.next().unwrap().what, Ok(What::Folder(_))));
        walk.leave_out();
        assert_eq!(walk.next().unwrap().path, "b");
        let report = count(folder.path()).unwrap();
        assert_eq!((report.files(), report.folders(), report.links(), report.bytes()), (7, 4, 0, 0));
    }

    #[test]
    fn a_file_is_shadowed_by_the_folder_that_has_its_encrypted_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a.manila")).unwrap();
        for file in ["a", "b", "b.manila"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let shadowed: Vec<_> = Walk::start(folder.path())
            .unwrap()
            .filter(|found| matches!(found.what, Ok(What::File { is_shadowed: true, .. })))
            .map(|found| found.path)
            .collect();
        assert_eq!(shadowed, ["a"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_link_that_appears_on_the_way_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for made in ["source/a", "secret"] {
            fs::create_dir_all(path(made)).unwrap();
            fs::write(path(made).join("file"), made).unwrap();
        }
        let mut walk = Walk::start(&path("source")).unwrap();
        assert_eq!(walk.next().unwrap().path, "a");
        let root = walk.root();
        assert!(root.open_regular("a/file").is_ok());
        fs::rename(path("source/a"), path("away")).unwrap();
        std::os::unix::fs::symlink(path("secret"), path("source/a")).unwrap();
        assert!(walk.next().unwrap().what.is_err());
        assert!(root.open_regular("a/file").is_err());
    }

    #[test]
    fn a_target_in_the_source_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        for (target, is_fine) in [("other/x", true), ("source.manila", true), ("source/x/y", false), ("", false)] {
            assert_eq!(check_apart(&source, &folder.path().join(target)).is_ok(), is_fine, "{target}");
        }
        assert!(check_apart(&source, &source).is_err());
    }
}
