//! The lines of a journal.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{Key, Line};
use crate::failure::{Failure, Result};

/// More bytes than a line has.
const LONGEST_LINE: u64 = 1 << 20;

/// The lines of a journal. The last one is left out if it was cut.
pub struct Lines<R> {
    reader: R,
    path: PathBuf,
    /// The number of bytes of whole lines that have been read.
    pub read: u64,
    /// The number of bytes to read: those behind are of this run.
    end: u64,
}

impl<R: BufRead> Lines<R> {
    pub fn new(reader: R, path: &Path, end: u64) -> Self {
        Self { reader, path: path.to_owned(), read: 0, end }
    }

    pub fn next(&mut self) -> Result<Option<Line>> {
        let mut line = Vec::new();
        let left = self.end.saturating_sub(self.read).min(LONGEST_LINE);
        let read = Read::take(&mut self.reader, left).read_until(b'\n', &mut line);
        read.map_err(|error| Failure::file("cannot read the journal", &self.path, error))?;
        let Some(text) = line.strip_suffix(b"\n") else {
            return if (line.len() as u64) < LONGEST_LINE { Ok(None) } else { Err(damaged(&self.path)) };
        };
        let parsed = serde_json::from_slice(text).map_err(|_| damaged(&self.path))?;
        self.read = self.read.saturating_add(line.len() as u64);
        Ok(Some(parsed))
    }
}

pub fn damaged(path: &Path) -> Failure {
    Failure::Work(format!("{path:?} is not a journal of this program, or is damaged: remove it to start over"))
}

/// The files of earlier runs, in the order of the walk.
pub struct Earlier<'a> {
    lines: Lines<BufReader<File>>,
    /// The ids of its messages, if the file was done.
    next: Option<(Key, Option<String>)>,
    late: &'a HashMap<Key, String>,
}

impl<'a> Earlier<'a> {
    pub fn new(lines: Lines<BufReader<File>>, late: &'a HashMap<Key, String>) -> Self {
        Self { lines, next: None, late }
    }

    /// Returns the ids that an earlier run has written down for a file, if it has done it. To be asked about files in
    /// the order of the walk.
    pub fn message_ids(&mut self, key: &Key) -> Result<Option<String>> {
        if let Some(message_ids) = self.late.get(key) {
            return Ok(Some(message_ids.clone()));
        }
        loop {
            if self.next.is_none() {
                match self.lines.next()? {
                    None => return Ok(None),
                    Some(Line::Done { root, path, message_ids, .. }) => {
                        self.next = Some(((root, path.into()), Some(message_ids)));
                    }
                    Some(Line::Failed { root, path, .. }) => self.next = Some(((root, path.into()), None)),
                    Some(Line::Job { .. } | Line::Temporary { .. }) => continue,
                }
            }
            match &self.next {
                Some((next, _)) if next < key => self.next = None,
                Some((next, message_ids)) => return Ok(message_ids.clone().filter(|_| next == key)),
                None => return Ok(None),
            }
        }
    }
}
