//! The output: it appears under its name complete and verified, or not at all.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::Path;

use manila::fs::NewFile;

use crate::arguments::is_stdio;
use crate::copy::copy;
use crate::failure::{Failure, Result};
use crate::interrupt::{self, Stage, stage};

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
        check_target(target, force)?;
        *stage() = Stage::Writing { files: 1 };
        let outputs = interrupt::outputs();
        Ok(Self::Beside(if force { outputs.replace(target) } else { outputs.create(target) }?))
    }

    /// Gives the output its final name, or prints the bytes held back. Call this only once everything has been written
    /// and verified.
    pub fn put_in_place(self) -> Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::Spooled(mut spool) => {
                spool.rewind()?;
                copy(&mut spool, &mut Self::streamed()).map(drop)
            }
            Self::Beside(file) => Ok(file.put_in_place()?),
        }
    }
}

/// Fails if a file cannot be written under this name, as far as can be told before.
pub fn check_target(target: &Path, force: bool) -> Result<()> {
    match fs::symlink_metadata(target) {
        Ok(found) if !found.is_file() => {
            Err(Failure::Work(format!("{target:?} exists and is not a regular file: give another -o")))
        }
        Ok(_) if !force => {
            Err(Failure::Work(format!("{target:?} exists: replace it with --force, or give another -o")))
        }
        _ => Ok(()),
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
