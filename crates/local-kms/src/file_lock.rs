//! Locks on files, against other handles and processes.

use std::fs::File;
use std::io;

/// The purpose of a lock.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Waits for the lock on a file. Closing the file unlocks it.
pub(crate) fn lock(file: &File, access: Access) -> io::Result<()> {
    loop {
        let locked = match access {
            Access::Read => file.lock_shared(),
            Access::Write => file.lock(),
        };
        match locked {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            locked => return locked,
        }
    }
}

/// A held lock on a file that stays open.
pub(crate) struct Locked<'a>(&'a File);

impl<'a> Locked<'a> {
    /// Waits for the lock.
    pub(crate) fn new(file: &'a File, access: Access) -> io::Result<Self> {
        lock(file, access).map(|()| Self(file))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Closing the file also unlocks it.
        let _ = self.0.unlock();
    }
}
