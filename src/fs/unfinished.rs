//! [`Unfinished`]: the outputs that a program has not finished, for a program that is interrupted.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use manila_core::{Error, ErrorKind, Result};

/// The beginning of the names of temporary files.
pub(super) const PREFIX: &str = ".manila-";

/// A list of the outputs that a program has not finished. A thread that waits for signals removes them with
/// [`stop`](Self::stop), before it ends the program.
///
/// Clones share the list.
///
/// ```
/// use std::io::Write;
/// use manila::fs::Unfinished;
///
/// # let folder = tempfile::tempdir()?;
/// let unfinished = Unfinished::new();
/// let mut done = unfinished.create(folder.path().join("done"))?;
/// done.write_all(b"all of it")?;
/// done.put_in_place()?;
/// let mut half = unfinished.create(folder.path().join("half"))?;
/// half.write_all(b"a part")?;
///
/// // In another thread, when a signal has arrived:
/// assert_eq!(unfinished.stop(), 1);
/// assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
/// assert!(half.put_in_place().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Unfinished(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    placed: usize,
    is_stopped: bool,
}

impl Unfinished {
    /// Returns an empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists the temporary file that `start` makes. Nothing is removed between the two.
    pub(super) fn start<T>(&self, start: impl FnOnce() -> Result<(T, PathBuf)>) -> Result<(T, Listed)> {
        let mut state = self.state()?;
        let (started, path) = start()?;
        state.files.push(path.clone());
        Ok((started, Listed { list: self.clone(), path }))
    }

    /// Lists a folder of temporary files: [`stop`](Self::stop) removes those in it that a
    /// [`NewFile`](crate::fs::NewFile) has started.
    ///
    /// ```
    /// use manila::fs::{NewFile, Unfinished};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let unfinished = Unfinished::new();
    /// unfinished.list_folder(folder.path());
    /// let half = NewFile::create(folder.path().join("half"))?;
    /// unfinished.stop();
    /// assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
    /// # drop(half);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list_folder(&self, folder: impl Into<PathBuf>) {
        self.lock().folders.push(folder.into());
    }

    /// Removes the temporary files of all outputs that are listed, and lets none start or be put in place any more.
    /// Returns how many had been put in place before.
    ///
    /// What cannot be removed is left: the program is about to end, and no one would be told.
    #[allow(clippy::must_use_candidate, reason = "it is called for what it removes")]
    pub fn stop(&self) -> usize {
        let mut state = self.lock();
        state.is_stopped = true;
        for file in state.files.drain(..) {
            let _ = fs::remove_file(file);
        }
        for folder in state.folders.drain(..) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
        state.placed
    }

    fn state(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.is_stopped {
            return Err(Error::new(ErrorKind::Io, "the program was interrupted: nothing more is written"));
        }
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a file on the list, until it is dropped.
#[derive(Debug)]
pub(super) struct Listed {
    list: Unfinished,
    path: PathBuf,
}

impl Listed {
    /// Puts the file in place with `place`. Nothing is removed meanwhile.
    pub(super) fn place<T>(&self, place: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut state = self.list.state()?;
        let placed = place()?;
        state.placed = state.placed.saturating_add(1);
        Ok(placed)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.list.lock().files.retain(|listed| *listed != self.path);
    }
}
