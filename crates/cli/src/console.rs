//! Lines for people, on stderr.

use std::io::{self, Write};

/// Prints a line, and ignores errors: there may no longer be a reader.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
