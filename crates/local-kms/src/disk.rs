//! Waiting for the disk, in one place, so that a test sees whether a file was synced before it counts.

use std::fs::File;
use std::io;
use std::path::Path;

/// Waits until all that was written to a file, and its length, are on the disk.
pub(super) fn sync(file: &File) -> io::Result<()> {
    file.sync_all()?;
    #[cfg(test)]
    note(Event::Synced { len: file.metadata()?.len() });
    Ok(())
}

/// Waits until the names in a folder are on the disk. Where a folder cannot be synced its files are in place all the
/// same, so this does not fail.
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

/// The work of a thread on disks.
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

/// Returns the work of this thread on disks meanwhile.
#[cfg(test)]
pub(super) fn events<T>(work: impl FnOnce() -> T) -> (T, Vec<Event>) {
    EVENTS.take();
    (work(), EVENTS.take())
}
