//! Syncing files, in one place, so that tests see whether a file was synced before it gets its name.

use std::fs::File;
use std::io;
use std::path::Path;

/// Waits until the contents and length of a file are on the disk.
pub(super) fn sync(file: &File) -> io::Result<()> {
    file.sync_all()?;
    #[cfg(test)]
    note(Event::Synced { len: file.metadata()?.len() });
    Ok(())
}

/// Waits until the names in a folder are on the disk. Does not fail: if a folder cannot be synced, its files are in
/// place nevertheless.
pub(super) fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = folder;
    #[cfg(test)]
    note(Event::SyncedFolder);
}

/// Gives a file its name, unless the name is taken.
pub(super) fn name(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist_noclobber(path).map_err(|failed| failed.error)?;
    #[cfg(test)]
    note(Event::Named);
    Ok(())
}

/// Gives a file another name, unless that is taken.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = tempfile::TempPath::try_from_path(from)?;
    // It is not a temporary file: it stays where it is if this fails.
    file.disable_cleanup(true);
    file.persist_noclobber(to).map_err(|failed| failed.error)?;
    #[cfg(test)]
    note(Event::Named);
    Ok(())
}

/// A disk operation of a thread.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Synced { len: u64 },
    SyncedFolder,
    Named,
}

#[cfg(test)]
std::thread_local! {
    static EVENTS: std::cell::RefCell<Vec<Event>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[cfg(test)]
fn note(event: Event) {
    EVENTS.with_borrow_mut(|events| events.push(event));
}

/// Returns the result of `work`, and the disk operations of this thread meanwhile.
#[cfg(test)]
pub(super) fn events<T>(work: impl FnOnce() -> T) -> (T, Vec<Event>) {
    EVENTS.take();
    (work(), EVENTS.take())
}
