//! Failures: the exit code, and the line that says what went wrong.

use std::fmt::{self, Display};
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
    /// The work failed in parts, each of which has been reported. Exit code 1.
    Reported,
}

impl Failure {
    /// Returns the failure of work on a file or folder.
    pub fn file(what: &str, path: &Path, error: impl Display) -> Self {
        Self::Work(format!("{what} {path:?}: {error}"))
    }
}

/// Returns an error that names the file that it is about.
pub fn naming(file: &str, error: &str) -> String {
    let name = format!("{file:?}");
    if error.contains(&name) { error.to_owned() } else { format!("{name}: {error}") }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Work(text) => f.write_str(text),
            Self::Reported => f.write_str("some of it failed"),
        }
    }
}

impl From<manila::Error> for Failure {
    fn from(error: manila::Error) -> Self {
        Self::Work(in_words_of_the_program(error.to_string()))
    }
}

/// Advice of the library, and the words of the program for it.
const COMMANDS: [(&str, &str); 8] = [
    ("exists: replace it, or give another name", "exists: replace it with --force, or give another -o"),
    ("LocalKms::replace_lost_audit_log", "manila audit rotate --lost"),
    ("LocalKms::rotate_audit_log", "manila audit rotate"),
    ("LocalKms::restore", "manila store restore"),
    ("CreateKey::imported", "manila keys create --imported"),
    ("CreateKey::multi_region", "manila keys create --multi-region"),
    ("confirm_clock", "manila store confirm-clock"),
    ("call reopen_with with the new one", "give the new one"),
];

/// Puts commands of the program in the place of calls of the library.
fn in_words_of_the_program(text: String) -> String {
    COMMANDS.iter().fold(text, |text, (call, command)| text.replace(call, command))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        manila::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn sources(folder: &Path) -> String {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { sources(&path) } else { fs::read_to_string(path).unwrap() }).collect()
    }

    #[test]
    fn the_library_advises_the_calls_that_have_commands() {
        let folder = |name| sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
        let sources = folder("../local-kms/src") + &folder("../../src/fs");
        for (call, _) in COMMANDS {
            let is_advised = sources.lines().any(|line| line.contains(call) && !line.trim_start().starts_with("//"));
            assert!(is_advised, "{call}");
        }
        let text = in_words_of_the_program("if it is lost, call LocalKms::replace_lost_audit_log".to_owned());
        assert_eq!(text, "if it is lost, call manila audit rotate --lost");
    }
}
