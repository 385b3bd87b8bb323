//! Failures: the exit code, and the line that says what went wrong.

use std::fmt::Display;
use std::io;
use std::path::Path;

/// The result of a command, or of a part of one.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// One lower-case line that says what went wrong and what to do. The library has escaped what comes from a message.
#[derive(Debug)]
pub enum Failure {
    /// The arguments do not go together. Exit code 2, with the usage of the command.
    Usage(String),
    /// The work failed. Exit code 1.
    Work(String),
}

impl Failure {
    /// Returns the failure of work on a file or folder.
    pub fn file(what: &str, path: &Path, error: impl Display) -> Self {
        Self::Work(format!("{what} {path:?}: {error}"))
    }
}

impl From<manila::Error> for Failure {
    fn from(error: manila::Error) -> Self {
        Self::Work(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        manila::Error::from(error).into()
    }
}
