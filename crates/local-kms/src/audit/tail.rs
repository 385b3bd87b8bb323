//! The end of a log's file, found from behind.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::audit::chain::Chain;
use crate::audit::line::{Line, Lines, MAX_LEN, Macs, Position};
use crate::audit::{AuditFaultKind, Checkpoint, Head};
use manila_core::{Error, ErrorKind, Result};

/// How far back the last line is looked for: a little first, then as far as it can be. Behind that lies whatever else
/// was appended to the file, so the last resort is to read all of it.
const TAILS: [u64; 3] = [64 << 10, 2 * MAX_LEN as u64, u64::MAX];

/// The end of a file as of now.
#[derive(Clone)]
pub(super) struct End {
    pub(super) len: u64,
    pub(super) ends_in_newline: bool,
    pub(super) last: Position,
    /// The latest commit of the store that the lines that were looked at prove.
    pub(super) proven_commit: u64,
}

/// A file that is read while its lock is held. The position of the file moves.
pub(super) struct Tail<'a> {
    pub(super) file: &'a File,
    /// For errors.
    pub(super) path: &'a Path,
    pub(super) macs: &'a Macs<'a>,
}

impl Tail<'_> {
    pub(super) fn len(&self) -> Result<u64> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| self.failed("cannot be read", error))
    }

    /// The end of a file that nothing is known of. Without a line that is the start of all logs.
    pub(super) fn find(&self) -> Result<End> {
        let len = self.len()?;
        for tail in TAILS {
            let from = len.saturating_sub(tail);
            let mut chain = Chain::anywhere(self.macs);
            let faults = self.scan(from, len, &mut chain)?;
            if let Some(last) = chain.last() {
                return self.end(len, last.clone(), chain.proven().commit);
            }
            if from == 0 && faults.iter().any(|kind| *kind != AuditFaultKind::Torn) {
                return Err(refusal(self.path, "has no line of this KMS: choose another file"));
            }
            if from == 0 {
                break;
            }
        }
        self.end(len, self.macs.start(), 0)
    }

    /// The end after others have written; `None` if they did not go on from where this one left off.
    pub(super) fn catch_up(&self, known: &End, len: u64) -> Result<Option<End>> {
        let mut chain = Chain::strictly_after(known.last.clone(), self.macs);
        if self.scan(known.len, len, &mut chain)?.contains(&AuditFaultKind::OutOfSequence) {
            return Ok(None);
        }
        let last = chain.last().cloned().unwrap_or_else(|| known.last.clone());
        self.end(len, last, known.proven_commit.max(chain.proven().commit)).map(Some)
    }

    fn end(&self, len: u64, last: Position, proven_commit: u64) -> Result<End> {
        let ends_in_newline = self.ends_in_newline(len).map_err(|error| self.failed("cannot be read", error))?;
        Ok(End { len, ends_in_newline, last, proven_commit })
    }

    fn ends_in_newline(&self, len: u64) -> io::Result<bool> {
        let Some(end) = len.checked_sub(1) else { return Ok(true) };
        let (mut file, mut byte) = (self.file, [0]);
        file.seek(SeekFrom::Start(end))?;
        file.read_exact(&mut byte)?;
        Ok(byte == *b"\n")
    }

    /// Whether the log up to `now` goes on from the last line of a checkpoint. That the line is there says little: a log
    /// can be gone on with from an earlier line, if that was repeated at the end, and the line be cut out later. Where
    /// nothing but lines is in the file, and nothing was cut off, it is found at once.
    pub(super) fn goes_on(&self, checkpoint: &Checkpoint, now: &End) -> Result<bool> {
        let failed = |error| self.failed("cannot be read", error);
        for tail in TAILS {
            let mut lines = self.lines(checkpoint.len.saturating_sub(tail), now.len)?;
            let mut chain: Option<Chain<'_>> = None;
            while let Some(bytes) = lines.read().map_err(failed)? {
                let Some(chain) = &mut chain else {
                    let line = Line::parse(bytes).ok().filter(|line| line.is(&checkpoint.head));
                    let position = line.map_or(Ok(None), |line| self.macs.genuine(&line))?;
                    chain = position.map(|position| Chain::strictly_after(position, self.macs));
                    continue;
                };
                let before = chain.last().map(|position| position.head.lines);
                let fault = chain.step(bytes)?.filter(|kind| *kind != AuditFaultKind::StoreSetBack);
                // Lines that are repeated do not move the chain on.
                if fault.is_some() && chain.last().map(|position| position.head.lines) != before {
                    return Ok(false);
                }
            }
            if let Some(chain) = chain {
                return Ok(chain.last().is_some_and(|last| last.head == now.last.head));
            }
        }
        Ok(false)
    }

    /// The last line of earlier logs, if the file begins with a line that says that it goes on from them.
    pub(super) fn beginning(&self) -> Result<Option<Head>> {
        let mut lines = self.lines(0, MAX_LEN as u64 + 1)?;
        let Some(bytes) = lines.read().map_err(|error| self.failed("cannot be read", error))? else { return Ok(None) };
        let Ok(line) = Line::parse(bytes) else { return Ok(None) };
        if line.epoch > self.macs.newest()?.epoch {
            return Err(root_key_changed(self.path));
        }
        let Some(after) = line.after else { return Ok(None) };
        let genuine = self.macs.genuine(&line)?.is_some();
        Ok(line.prev_mac().filter(|_| genuine).map(|mac| Head { lines: after, mac }))
    }

    /// Follows the lines of a part of the file, and returns the kinds of faults among them, each once.
    fn scan(&self, from: u64, to: u64, chain: &mut Chain<'_>) -> Result<Vec<AuditFaultKind>> {
        let mut lines = self.lines(from, to)?;
        let mut faults = Vec::new();
        let newest = self.macs.newest()?.epoch;
        while let Some(bytes) = lines.read().map_err(|error| self.failed("cannot be read", error))? {
            let Some(kind) = chain.step(bytes)? else { continue };
            if Line::parse(bytes).is_ok_and(|line| line.epoch > newest) {
                return Err(root_key_changed(self.path));
            }
            if !faults.contains(&kind) {
                faults.push(kind);
            }
        }
        Ok(faults)
    }

    fn lines(&self, from: u64, to: u64) -> Result<Lines<BufReader<io::Take<&File>>>> {
        let mut file = self.file;
        file.seek(SeekFrom::Start(from)).map_err(|error| self.failed("cannot be read", error))?;
        Ok(Lines::new(BufReader::new(file.take(to.saturating_sub(from)))))
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        failed(self.path, what, error)
    }
}

pub(super) fn failed(path: &Path, what: &str, error: io::Error) -> Error {
    Error::other(ErrorKind::AuditFailed, format!("the audit log {path:?} {what}: {error}"), error)
}

pub(super) fn refusal(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::AuditFailed, format!("the audit log {path:?} {what}"))
}

fn root_key_changed(path: &Path) -> Error {
    let detail = format!(
        "the audit log {path:?} has a line of a later root key than this handle knows: open the KMS again; if that \
         does not help, the line is forged"
    );
    Error::new(ErrorKind::RootKeyChanged, detail)
}
