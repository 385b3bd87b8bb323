//! The output: it appears under its name complete and verified, or not at all.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::Path;

use manila::fs::NewFile;

use crate::arguments::is_stdio;
use crate::copy::copy;
use crate::failure::{Failure, Result};
use crate::interrupt::{Stage, stage};

/// The place of the bytes until [`put_in_place`](Self::put_in_place).
pub enum Output {
    /// In a temporary file next to the target.
    Beside(NewFile),
    /// In an unnamed temporary file that is printed at the end.
    Spooled(File),
    /// On stdout, immediately.
    Stdout,
}

impl Output {
    /// Starts an output that may go to stdout as it comes.
    pub fn new(target: &Path, force: bool) -> Result<Self> {
        if is_stdio(target) { Ok(Self::streamed()) } else { Self::beside(target, force) }
    }

    /// Starts an output that must not appear before it is complete, not even on stdout.
    pub fn held(target: &Path, force: bool) -> Result<Self> {
        if !is_stdio(target) {
            return Self::beside(target, force);
        }
        let folder = std::env::temp_dir();
        let spool = tempfile::tempfile();
        Ok(Self::Spooled(spool.map_err(|error| Failure::file("cannot keep the plaintext in", &folder, error))?))
    }

    /// Starts an output that goes to stdout as it comes.
    pub fn streamed() -> Self {
        *stage() = Stage::Printing;
        Self::Stdout
    }

    fn beside(target: &Path, force: bool) -> Result<Self> {
        match fs::symlink_metadata(target) {
            Ok(found) if !found.is_file() => {
                return Err(Failure::Work(format!("{target:?} exists and is not a regular file: give another -o")));
            }
            Ok(_) if !force => {
                return Err(Failure::Work(format!("{target:?} exists: replace it with --force, or give another -o")));
            }
            _ => {}
        }
        // Held, so that no signal finds the file before its name is noted.
        let mut stage = stage();
        let file = if force { NewFile::replace(target)? } else { NewFile::create(target)? };
        *stage = Stage::Unfinished(file.temporary_path().to_owned());
        Ok(Self::Beside(file))
    }

    /// Gives the output its final name, or prints the bytes held back. Call this only once everything has been written
    /// and verified.
    pub fn put_in_place(self) -> Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::Spooled(mut spool) => {
                spool.rewind()?;
                copy(&mut spool, &mut Self::streamed())
            }
            Self::Beside(file) => {
                // Held, so that no signal removes the file under its new name.
                let mut stage = stage();
                let placed = file.put_in_place();
                *stage = Stage::Placed;
                Ok(placed?)
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Beside(file) => file.write(bytes),
            Self::Spooled(spool) => spool.write(bytes),
            // Unbuffered: the reader of a stream wants each frame when it is there.
            Self::Stdout => {
                let mut out = io::stdout();
                out.write_all(bytes)?;
                out.flush()?;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Beside(file) => file.flush(),
            Self::Spooled(spool) => spool.flush(),
            Self::Stdout => io::stdout().flush(),
        }
    }
}
