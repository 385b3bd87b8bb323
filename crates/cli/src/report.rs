//! Printing: the answer of a command as JSON, or as lines for people, from one value.

mod lines;
mod ordered;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::OnceLock;

use serde::Serialize;

use crate::console::say;
use crate::failure::{Failure, Result};
use ordered::Ordered;

/// Prints the answer of a command on stdout.
///
/// For people an object becomes rows of a name and a value, and a list of objects a table. Members that are empty are
/// left out of the rows. Nothing that a value holds steers a terminal.
pub fn print(answer: &impl Serialize, json: bool) -> Result<()> {
    let failed = |error: serde_json::Error| Failure::Work(format!("cannot print the answer: {error}"));
    if json {
        return print_document(&serde_json::to_string_pretty(answer).map_err(failed)?);
    }
    let json = serde_json::to_string(answer).map_err(failed)?;
    print_text(&lines::of(&serde_json::from_str::<Ordered>(&json).map_err(failed)?))
}

/// Prints a line of JSON.
pub fn print_line(answer: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(answer).map_err(|error| Failure::Work(format!("cannot print: {error}")))?;
    print_text(&(ascii(&json) + "\n"))
}

/// Lines of JSON about work that goes on even if they cannot be printed.
#[derive(Default)]
pub struct Lines(OnceLock<Failure>);

impl Lines {
    /// Prints a line, unless one before it could not be printed.
    pub fn print(&self, answer: &impl Serialize) {
        if self.0.get().is_none()
            && let Err(failure) = print_line(answer)
        {
            self.0.get_or_init(|| failure);
        }
    }

    /// Says that lines are missing, and fails, if some are.
    pub fn check(&self) -> Result<()> {
        let Some(failure) = self.0.get() else { return Ok(()) };
        say(&format!("error: the report cannot be printed to its end: {failure}; the work was done all the same"));
        Err(Failure::Reported)
    }
}

/// Prints a document of JSON, which is one for people too.
pub fn print_document(document: &str) -> Result<()> {
    print_text(&(ascii(document.trim_end()) + "\n"))
}

/// Prints text unchanged. A reader that stops early is not a failure.
pub fn print_text(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Returns the JSON with all characters outside printable ASCII escaped, so that none of them reaches a terminal.
pub fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character == '\n' || (' '..='~').contains(&character) {
            out.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

/// Returns text without what would steer a terminal.
pub fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, character| {
        match character {
            '"' | '\'' | '\\' => out.push(character),
            _ => out.extend(character.escape_debug()),
        }
        out
    })
}
