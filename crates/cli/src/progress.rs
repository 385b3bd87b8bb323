//! Progress bars on stderr: one for each file that takes a while, and one for all of them.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console;
use crate::report::plain;
use crate::walk::{Locking, Roots};

/// Fewer bytes are done before anybody could read a bar.
const WORTH_SHOWING: u64 = 16 << 20;
/// So many files take a while, however small they are.
const MANY: usize = 200;
const UPDATES_PER_SECOND: u8 = 10;

const BYTES: &str = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

/// Returns a progress bar for so many bytes, or for as many as come. Shows nothing where stderr is not a terminal, and
/// disappears when it is dropped.
pub fn of_stream(bytes: Option<u64>) -> ProgressBar {
    let bar = match bytes {
        Some(bytes) if bytes < WORTH_SHOWING => return ProgressBar::hidden(),
        Some(bytes) => ProgressBar::new(bytes).with_style(style(BYTES)),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {bytes} {bytes_per_sec}")),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(UPDATES_PER_SECOND));
    bar
}

/// The progress of a command with its files.
pub struct Progress {
    bars: MultiProgress,
    /// Of all bytes, if there are several files.
    all: Option<ProgressBar>,
}

impl Progress {
    /// Starts the progress of so many files with so many bytes in all. Shows nothing where stderr is not a terminal, or
    /// where it is not worth it.
    pub fn new(files: usize, bytes: u64) -> Self {
        let is_shown = bytes >= WORTH_SHOWING || files >= MANY;
        let target = match is_shown {
            true => ProgressDrawTarget::stderr_with_hz(UPDATES_PER_SECOND),
            false => ProgressDrawTarget::hidden(),
        };
        let bars = MultiProgress::with_draw_target(target);
        let all = (files > 1 && !bars.is_hidden()).then(|| {
            let bar = ProgressBar::new(bytes).with_style(style(&format!("{{prefix}}/{files} files {BYTES}")));
            bars.add(bar.with_prefix("0"))
        });
        Self { bars, all }
    }

    /// Starts the progress of a folder with so many files.
    pub fn of_folder(files: u64, bytes: u64) -> Self {
        Self::new(usize::try_from(files).unwrap_or(usize::MAX).max(2), bytes)
    }

    /// Notes that so many more bytes of some file have been read.
    pub fn add(&self, bytes: u64) {
        if let Some(all) = &self.all {
            all.inc(bytes);
        }
    }

    /// Starts the progress of one file.
    pub fn of_file(&self, path: &Path, bytes: Option<u64>) -> FileProgress {
        let of_it = (bytes.is_none_or(|bytes| bytes >= WORTH_SHOWING) && !self.bars.is_hidden()).then(|| {
            let name = plain(&path.file_name().unwrap_or_default().to_string_lossy());
            match (bytes, &self.all) {
                (Some(bytes), None) => self.bars.add(ProgressBar::new(bytes).with_style(style(BYTES))),
                (Some(bytes), Some(all)) => {
                    let bar = ProgressBar::new(bytes).with_style(style(&format!("{{prefix:24!}} {BYTES}")));
                    self.bars.insert_before(all, bar.with_prefix(name))
                }
                (None, _) => {
                    let bar = ProgressBar::new_spinner().with_style(style("{prefix:24!} {spinner} {bytes}"));
                    self.bars.insert(0, bar.with_prefix(name))
                }
            }
        });
        FileProgress { of_it, of_all: self.all.clone() }
    }

    /// Notes that so many files are done.
    pub fn set_done(&self, files: usize) {
        if let Some(all) = &self.all {
            all.set_prefix(files.to_string());
        }
    }

    /// Prints a line above the bars.
    pub fn say(&self, line: &str) {
        self.bars.suspend(|| console::say(line));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(all) = &self.all {
            all.finish_and_clear();
        }
    }
}

/// The progress of a job over files that are not counted before: one bar, whose end is known once somebody has counted.
pub struct JobProgress {
    bars: MultiProgress,
    bar: ProgressBar,
}

impl JobProgress {
    /// Starts it. Shows nothing where stderr is not a terminal.
    pub fn new() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(UPDATES_PER_SECOND));
        let bar = match bars.is_hidden() {
            true => ProgressBar::hidden(),
            false => bars.add(ProgressBar::new_spinner()),
        };
        bar.set_style(style("{prefix} files {spinner} {bytes} {bytes_per_sec}"));
        bar.set_prefix("0");
        Self { bars, bar }
    }

    pub fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Counts the bytes of all files, until the job is over.
    pub fn count(&self, roots: &Roots, over: &AtomicBool) {
        let mut all = 0_u64;
        for found in roots.walk(Locking::None).flatten() {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let len = fs::symlink_metadata(&found.path).map_or(0, |found| found.len());
            all = all.saturating_add(len);
        }
        self.bar.set_length(all);
        self.bar.set_style(style(&format!("{{prefix}} files {BYTES}")));
    }

    /// Notes that so many more bytes have been read, or passed over.
    pub fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Notes that so many files are done.
    pub fn set_files(&self, files: u64) {
        if self.is_shown() {
            self.bar.set_prefix(files.to_string());
        }
    }

    /// Prints a line above the bar.
    pub fn say(&self, line: &str) {
        self.bars.suspend(|| console::say(line));
    }
}

impl Drop for JobProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The progress of a file, until it is dropped.
pub struct FileProgress {
    of_it: Option<ProgressBar>,
    of_all: Option<ProgressBar>,
}

impl FileProgress {
    /// Returns whether any bar is shown.
    pub fn is_shown(&self) -> bool {
        self.of_it.is_some() || self.of_all.is_some()
    }

    /// Notes that so many more bytes have been read.
    pub fn add(&self, bytes: u64) {
        for bar in self.of_it.iter().chain(&self.of_all) {
            bar.inc(bytes);
        }
    }
}

impl Drop for FileProgress {
    fn drop(&mut self) {
        if let Some(of_it) = &self.of_it {
            of_it.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
