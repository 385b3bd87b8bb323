//! Lines and progress bars for people, on stderr.

use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressStyle};

/// Prints a line, and ignores errors: there may no longer be a reader.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Returns a progress bar for so many bytes, or for as many as come. Shows nothing where stderr is not a terminal, and
/// disappears when it is dropped.
pub fn progress(bytes: Option<u64>) -> ProgressBar {
    match bytes {
        Some(bytes) => {
            ProgressBar::new(bytes).with_style(style("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}"))
        }
        None => ProgressBar::new_spinner().with_style(style("{spinner} {bytes} {bytes_per_sec}")),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
