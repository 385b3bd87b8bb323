//! `manila audit follow`.

use std::fs::{File, Metadata};
use std::io::{BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::filter::{Chosen, Filter};
use super::lines;
use super::show::no_log;
use crate::arguments::Common;
use crate::failure::{Failure, Result};
use crate::interrupt::{Stage, stage};
use crate::place::Place;

const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Continues with the new file when the log is rotated, until it is interrupted. With --since, shows the lines since
/// then first. With --json, prints each line of the log unchanged, for alarms: one object per line.
#[derive(Args)]
pub struct Follow {
    #[command(flatten)]
    filter: Filter,
}

impl Follow {
    pub fn run(&self, common: &Common) -> Result<()> {
        let log = Place::of(&common.key_store)?.audit_log();
        if !log.exists() {
            return Err(no_log(&log));
        }
        let chosen = self.filter.of(common)?;
        *stage() = Stage::Watching;
        let mut followed = Followed::open(log)?;
        if self.filter.since.is_none() {
            followed.skip_to_end()?;
        }
        loop {
            followed.print_new(&chosen, common.json)?;
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}

/// A file that others append to, and sometimes put another in the place of.
struct Followed {
    path: PathBuf,
    file: BufReader<File>,
    /// The beginning of a line that is not complete yet.
    line: Vec<u8>,
}

impl Followed {
    fn open(path: PathBuf) -> Result<Self> {
        let file = open(&path)?;
        Ok(Self { path, file, line: Vec::new() })
    }

    fn skip_to_end(&mut self) -> Result<()> {
        self.file.seek(SeekFrom::End(0)).map_err(|error| Failure::file("cannot read", &self.path, error))?;
        Ok(())
    }

    /// Prints the lines written since the last look.
    fn print_new(&mut self, chosen: &Chosen<'_>, json: bool) -> Result<()> {
        loop {
            // Checked before reading, so that lines written to the file before it was moved away are still read.
            let is_replaced = self.is_replaced();
            while lines::read(&mut self.file, &mut self.line)
                .map_err(|error| Failure::file("cannot read", &self.path, error))?
                > 0
            {
                if self.line.ends_with(b"\n") {
                    lines::print(&self.path, &self.line, chosen, json)?;
                    self.line.clear();
                }
            }
            if !is_replaced {
                return Ok(());
            }
            self.file = open(&self.path)?;
            self.line.clear();
        }
    }

    /// Returns whether another file has the name now. Between the two there may be none.
    fn is_replaced(&self) -> bool {
        let there = std::fs::metadata(&self.path);
        let open = self.file.get_ref().metadata();
        matches!((there, open), (Ok(there), Ok(open)) if !are_one(&there, &open))
    }
}

fn open(path: &Path) -> Result<BufReader<File>> {
    Ok(BufReader::new(File::open(path).map_err(|error| Failure::file("cannot read", path, error))?))
}

#[cfg(unix)]
fn are_one(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn are_one(one: &Metadata, other: &Metadata) -> bool {
    one.created().ok() == other.created().ok()
}
