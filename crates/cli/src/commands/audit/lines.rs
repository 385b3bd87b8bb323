//! Lines of an audit log, read and printed.

use std::io::{self, BufRead, Read as _};
use std::path::Path;

use super::filter::{Chosen, Line};
use crate::console::say;
use crate::failure::Result;
use crate::report::{ascii, plain, print_text};

/// The longest line of a log, in bytes.
const MOST: u64 = 1 << 20;

/// Reads the next line, with its newline if it has one yet. Of one that is too long for a log, a part.
pub fn read(source: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    let room = MOST.saturating_sub(line.len() as u64).saturating_add(1);
    source.by_ref().take(room).read_until(b'\n', line)
}

/// Prints a line, if it is chosen: as the JSON that it is, or in short for people.
pub fn print(file: &Path, line: &[u8], chosen: &Chosen<'_>, json: bool) -> Result<()> {
    let text = str::from_utf8(line).ok().map(str::trim_end);
    let parsed = text.and_then(|text| Some((text, serde_json::from_str::<Line>(text).ok()?)));
    let Some((text, line)) = parsed else {
        say(&format!("note: {file:?} has a line that is not one of an audit log: manila audit verify says which"));
        return Ok(());
    };
    match chosen.takes(&line) {
        false => Ok(()),
        true if json => print_text(&(ascii(text) + "\n")),
        true => print_text(&(in_short(&line) + "\n")),
    }
}

fn in_short(line: &Line) -> String {
    let Line { time, principal, operation, outcome, .. } = line;
    let key = line.key.as_deref().or(line.asked_for()).unwrap_or("-");
    plain(&format!("{time}  {operation:<19}  {outcome:<4}  {key}  {principal}"))
}
