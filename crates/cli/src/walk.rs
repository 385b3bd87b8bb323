//! Encrypted files in folders, in a fixed order and constant memory, with a lock on what is being changed.

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::failure::{Failure, Result};
use crate::folder_lock::FolderLock;
use crate::plan::one_case;

/// The extension of encrypted files.
const EXTENSION: &str = "manila";
/// The number of names of a folder that are in memory at a time: a larger folder is read several times.
const NAMES: usize = 65_536;

/// The files and folders that a command was given.
#[derive(Debug)]
pub struct Roots(Vec<Root>);

#[derive(Debug)]
struct Root {
    path: PathBuf,
    is_folder: bool,
}

impl Roots {
    /// Looks at the paths, and fails if one is not there, or cannot be meant.
    pub fn new(paths: &[PathBuf], recursive: bool) -> Result<Self> {
        let mut real: Vec<(PathBuf, &Path)> = Vec::new();
        let mut roots = Vec::new();
        for path in paths {
            let failed = |error| Failure::file("cannot read", path, error);
            let found = fs::symlink_metadata(path).map_err(failed)?;
            if found.is_symlink() {
                return Err(Failure::Work(format!("{path:?} is a symbolic link: give what it leads to")));
            }
            if found.is_dir() && !recursive {
                return Err(Failure::Usage(format!("{path:?} is a folder: give -r to work on the files in it")));
            }
            if !found.is_dir() && !found.is_file() {
                return Err(Failure::Work(format!("{path:?} is not a regular file: give another")));
            }
            let canonical = fs::canonicalize(path).map_err(failed)?;
            let is_in = |(other, _): &&(PathBuf, &Path)| canonical.starts_with(other) || other.starts_with(&canonical);
            if let Some((_, other)) = real.iter().find(is_in) {
                return Err(Failure::Usage(format!("{path:?} and {other:?} have files in common: give one of them")));
            }
            real.push((canonical, path));
            roots.push(Root { path: path.clone(), is_folder: found.is_dir() });
        }
        Ok(Self(roots))
    }

    /// Walks through them.
    pub fn walk(&self, locking: Locking) -> Walk<'_> {
        Walk { roots: &self.0, next: 0, locking, levels: Vec::new(), sealed: None }
    }

    /// Returns the path of a file below a folder to write to, by the name of its root.
    pub fn path_in(&self, folder: &Path, root: usize, relative: &Path) -> PathBuf {
        let name = self.0.get(root).and_then(|root| root.path.file_name());
        joined(&name.map_or_else(|| folder.to_owned(), |name| folder.join(name)), relative)
    }

    /// Returns the path of each root below a folder to write to. Fails if one could be in another.
    pub fn paths_in(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut named: HashMap<PathBuf, &Path> = HashMap::new();
        let mut paths = Vec::new();
        for (number, root) in self.0.iter().enumerate() {
            let path = self.path_in(folder, number, Path::new(""));
            if path == folder && self.0.len() > 1 {
                let text = format!("{:?} has no name in the folder of --to: give it alone, or by its name", root.path);
                return Err(Failure::Usage(text));
            }
            if let Some(other) = named.insert(one_case(path.clone()), &root.path) {
                let this = &root.path;
                let text = format!("{other:?} and {this:?} would both be written to {path:?}: give them one by one");
                return Err(Failure::Usage(text));
            }
            paths.push(path);
        }
        Ok(paths)
    }

    /// Returns the path of a file.
    pub fn path_of(&self, root: usize, relative: &Path) -> PathBuf {
        joined(self.0.get(root).map_or(Path::new(""), |root| &root.path), relative)
    }

    /// Returns the absolute paths.
    pub fn canonical(&self) -> Result<Vec<PathBuf>> {
        let real =
            |root: &Root| fs::canonicalize(&root.path).map_err(|error| Failure::file("cannot read", &root.path, error));
        self.0.iter().map(real).collect()
    }
}

/// Joins two paths, without a slash at the end if the second is empty.
fn joined(folder: &Path, relative: &Path) -> PathBuf {
    if relative.as_os_str().is_empty() { folder.to_owned() } else { folder.join(relative) }
}

/// The locks that a walk takes on what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    None,
    Exclusive,
}

/// A file that was found.
#[derive(Debug)]
pub struct Found {
    /// The number of the root that it is in.
    pub root: usize,
    /// The path from there; empty if the file is the root.
    pub relative: PathBuf,
    pub path: PathBuf,
    /// Keeps others from it until it is dropped.
    pub lock: Option<Arc<FolderLock>>,
}

/// A walk through folders. A folder that cannot be read or locked is an error among the files.
///
/// The order is that of [`Path`]: by the names in each folder. Symbolic links are not followed.
pub struct Walk<'a> {
    roots: &'a [Root],
    next: usize,
    locking: Locking,
    levels: Vec<Level>,
    /// The lock on the encrypted folder around the last root.
    sealed: Option<(PathBuf, Arc<FolderLock>)>,
}

impl Walk<'_> {
    fn start(&mut self, number: usize, root: &Root) -> Result<Option<Found>> {
        let sealed = match self.locking {
            Locking::None => None,
            Locking::Exclusive => self.lock_around(&root.path)?,
        };
        if root.is_folder {
            self.enter(root.path.clone(), PathBuf::new(), sealed)?;
            return Ok(None);
        }
        let lock = match self.locking {
            Locking::None => None,
            Locking::Exclusive => Some(Arc::new(FolderLock::of_file(&root.path, sealed)?)),
        };
        Ok(Some(Found { root: number, relative: PathBuf::new(), path: root.path.clone(), lock }))
    }

    /// Locks the encrypted folder that a path is in, if it is in one.
    fn lock_around(&mut self, path: &Path) -> Result<Option<Arc<FolderLock>>> {
        let real = fs::canonicalize(path).map_err(|error| Failure::file("cannot read", path, error))?;
        let Some(around) = real.ancestors().skip(1).find(|folder| FolderLock::is_sealed(folder)) else {
            return Ok(None);
        };
        if let Some((folder, lock)) = &self.sealed
            && folder == around
        {
            return Ok(Some(lock.clone()));
        }
        let lock = Arc::new(FolderLock::of_sealed(around)?);
        self.sealed = Some((around.to_owned(), lock.clone()));
        Ok(Some(lock))
    }

    fn enter(&mut self, folder: PathBuf, relative: PathBuf, around: Option<Arc<FolderLock>>) -> Result<()> {
        let lock = match self.locking {
            Locking::None => None,
            Locking::Exclusive => Some(Arc::new(FolderLock::of(&folder, around)?)),
        };
        self.levels.push(Level::new(folder, relative, lock));
        Ok(())
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(level) = self.levels.last_mut() else {
                let number = self.next;
                let root = self.roots.get(number)?;
                self.next = number.saturating_add(1);
                match self.start(number, root) {
                    Ok(None) => continue,
                    Ok(Some(found)) => return Some(Ok(found)),
                    Err(failure) => return Some(Err(failure)),
                }
            };
            let root = self.next.saturating_sub(1);
            match level.next_name() {
                Ok(None) => drop(self.levels.pop()),
                Ok(Some(Entry { name, is_folder })) => {
                    let (path, relative) = (level.folder.join(&name), level.relative.join(&name));
                    let lock = level.lock.clone();
                    if !is_folder {
                        return Some(Ok(Found { root, relative, path, lock }));
                    }
                    if let Err(failure) = self.enter(path, relative, lock) {
                        return Some(Err(failure));
                    }
                }
                Err(error) => {
                    let failure = Failure::file("cannot read the folder", &level.folder, error);
                    self.levels.pop();
                    return Some(Err(failure));
                }
            }
        }
    }
}

/// A folder that is being walked through.
struct Level {
    folder: PathBuf,
    relative: PathBuf,
    lock: Option<Arc<FolderLock>>,
    names: Names,
}

impl Level {
    fn new(folder: PathBuf, relative: PathBuf, lock: Option<Arc<FolderLock>>) -> Self {
        Self { folder, relative, lock, names: Names::new(NAMES) }
    }

    fn next_name(&mut self) -> io::Result<Option<Entry>> {
        self.names.next(&self.folder)
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: OsString,
    is_folder: bool,
}

/// The names in a folder, in order, a bounded number of them in memory.
struct Names {
    most: usize,
    ready: VecDeque<Entry>,
    last: Option<OsString>,
    is_exhausted: bool,
}

impl Names {
    fn new(most: usize) -> Self {
        Self { most, ready: VecDeque::new(), last: None, is_exhausted: false }
    }

    fn next(&mut self, folder: &Path) -> io::Result<Option<Entry>> {
        if self.ready.is_empty() && !self.is_exhausted {
            self.read(folder)?;
        }
        Ok(self.ready.pop_front())
    }

    /// Reads the first names behind the last one.
    fn read(&mut self, folder: &Path) -> io::Result<()> {
        // The last of them is on top.
        let mut first = BinaryHeap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if self.last.as_ref().is_some_and(|last| name <= *last) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() || kind.is_file() && Path::new(&name).extension() == Some(OsStr::new(EXTENSION)) {
                first.push(Entry { name, is_folder: kind.is_dir() });
                if first.len() > self.most {
                    first.pop();
                }
            }
        }
        self.is_exhausted = first.len() < self.most;
        self.last = first.peek().map(|entry| entry.name.clone()).or_else(|| self.last.take());
        self.ready = first.into_sorted_vec().into();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(walk: Walk<'_>) -> Vec<String> {
        walk.map(|found| found.unwrap().relative.to_str().unwrap().replace('\\', "/")).collect()
    }

    #[test]
    fn files_come_in_the_order_of_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.manila", "a/b.manila", "a/c/d.manila", "a.b/x.manila", "b.manila", "z/.hidden.manila"];
        for path in paths.iter().chain(&["a/note.txt", ".manila-abc123", "a/.manila-abc123", "z/manila"]) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        #[cfg(unix)]
        for (link, to) in [("link.manila", "b.manila"), ("loop", ".")] {
            std::os::unix::fs::symlink(to, folder.path().join(link)).unwrap();
        }
        let roots = Roots::new(&[folder.path().to_owned()], true).unwrap();
        let mut sorted: Vec<_> = paths.iter().map(PathBuf::from).collect();
        sorted.sort();
        let sorted: Vec<_> = sorted.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(names(roots.walk(Locking::None)), sorted);
        assert_eq!(names(roots.walk(Locking::Exclusive)), sorted);
    }

    #[test]
    fn a_folder_of_any_size_is_read_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..50 {
            fs::write(folder.path().join(format!("{number:02}.manila")), "").unwrap();
        }
        for most in [1, 7, 49, 50, 51] {
            let mut names = Names::new(most);
            let mut found = Vec::new();
            while let Some(entry) = names.next(folder.path()).unwrap() {
                assert!(names.ready.len() < most, "{most}");
                found.push(entry.name);
                // A file that is replaced meanwhile comes once.
                let replaced = folder.path().join(found.last().unwrap());
                fs::write(folder.path().join("new"), "").unwrap();
                fs::rename(folder.path().join("new"), replaced).unwrap();
            }
            assert_eq!(found.len(), 50, "{most}");
            assert!(found.is_sorted(), "{most}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("in")).unwrap();
        fs::write(path("in/a.manila"), "").unwrap();
        let says = |paths: &[PathBuf], recursive| Roots::new(paths, recursive).unwrap_err().to_string();
        assert!(says(&[path("none")], true).contains("cannot read"));
        assert!(says(&[path("in")], false).contains("give -r"));
        assert!(says(&[path("in"), path("in/a.manila")], true).contains("in common"));
        assert!(says(&[path("in"), path("in/../in")], true).contains("in common"));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("in", path("link")).unwrap();
            assert!(says(&[path("link")], true).contains("symbolic link"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_another_works_on_is_an_error_and_the_rest_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["a/1.manila", "b/2.manila", "3.manila"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let all = Roots::new(&[folder.path().to_owned()], true).unwrap();
        let one = Roots::new(&[folder.path().join("b/2.manila")], false).unwrap();
        let held: Vec<_> = one.walk(Locking::Exclusive).collect();
        assert!(held[0].is_ok());
        // Several may work on files of one folder.
        fs::write(folder.path().join("b/4.manila"), "").unwrap();
        let other = Roots::new(&[folder.path().join("b/4.manila")], false).unwrap();
        assert!(other.walk(Locking::Exclusive).all(|found| found.is_ok()));
        let found: Vec<_> = all.walk(Locking::Exclusive).collect();
        assert_eq!(found.iter().filter(|found| found.is_ok()).count(), 2);
        let refused = found.iter().find_map(|found| found.as_ref().err()).unwrap().to_string();
        assert!(refused.contains("another job is at work in") && refused.contains("/b\""), "{refused}");
        // As long as one of its files is in hand, a folder stays locked.
        assert!(one.walk(Locking::Exclusive).all(|found| found.is_err()));
        drop((found, held));
        assert!(one.walk(Locking::Exclusive).all(|found| found.is_ok()));
    }

    #[test]
    fn an_encrypted_folder_is_locked_as_a_whole_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = folder.path().join("photos.manila");
        fs::create_dir_all(sealed.join("files/deep")).unwrap();
        for path in ["manifest.manila", ".lock", "files/deep/a.manila"] {
            fs::write(sealed.join(path), "").unwrap();
        }
        let lock = fs::File::open(sealed.join(".lock")).unwrap();
        for path in [folder.path().to_owned(), sealed.clone(), sealed.join("files"), sealed.join("files/deep/a.manila")]
        {
            let roots = Roots::new(&[path], true).unwrap();
            assert!(roots.walk(Locking::Exclusive).all(|found| found.is_ok()));
            lock.try_lock().unwrap();
            let found: Vec<_> = roots.walk(Locking::Exclusive).collect();
            assert!(matches!(&found[..], [Err(failure)] if failure.to_string().contains("photos.manila")), "{found:?}");
            lock.unlock().unwrap();
        }
    }
}
