//! Finding the end of a log's file, by reading it backwards.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::audit::chain::Chain;
use crate::audit::line::{Line, Lines, MAX_LEN, Macs, Position};
use crate::audit::proof::Proof;
use crate::audit::{AuditFaultKind, Checkpoint, Head};
use manila_core::{Error, ErrorKind, Result};

/// The lengths of the parts of the file's end in which the last line is searched: first a short one, then one that
/// contains it unless something else was appended to the file, and finally the whole file.
const TAILS: [u64; 3] = [64 << 10, 2 * MAX_LEN as u64, u64::MAX];

/// The present end of a file.
#[derive(Clone)]
pub(super) struct End {
    pub(super) len: u64,
    pub(super) ends_in_newline: bool,
    pub(super) last: Position,
    /// The proof after the last line.
    pub(super) proof: Proof,
}

/// The first line of a file that continues another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    /// The last line of the previous file.
    pub(super) last: Head,
    /// The number of lines before the previous file.
    pub(super) since: u64,
}

/// The reason why work at the end of a file stops.
pub(super) enum Halt {
    Failed(Error),
    /// The store must be read first.
    Doubt,
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(super) type Outcome<T> = std::result::Result<T, Halt>;

/// A file that is read while its lock is held. Reading changes the file's position.
pub(super) struct Tail<'a> {
    pub(super) file: &'a File,
    /// The path, for errors.
    pub(super) path: &'a Path,
    pub(super) macs: &'a Macs<'a>,
    /// The offset up to which a line under a root key later than the newest one is forged, because the store was read
    /// since.
    pub(super) asked: u64,
}

impl Tail<'_> {
    pub(super) fn len(&self) -> Result<u64> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| self.failed("cannot be read", error))
    }

    /// Returns the end of a file about which nothing is known. Without lines it is the start of a log.
    ///
    /// The last line is the one with the highest number, and contains all that the log proves. Lines that were repeated
    /// after the end are not at the offset in them: then the search goes further back. Lines of earlier files may be at
    /// the offset in them, but have lower numbers than this file.
    pub(super) fn find(&self) -> Outcome<End> {
        let floor = self.beginning()?.map_or(0, |beginning| beginning.last.lines);
        let len = self.len()?;
        for tail in TAILS {
            let from = len.saturating_sub(tail);
            let mut chain = Chain::anywhere(floor, self.macs);
            let found = self.scan(from, len, &mut chain)?;
            if let Some(last) = chain.last()
                && (found.ends_in_place || from == 0)
            {
                return Ok(self.end(len, last.clone(), chain.proof())?);
            }
            if from == 0 && found.faults.iter().any(|kind| *kind != AuditFaultKind::Torn) {
                return Err(refusal(self.path, "has no line of this KMS: choose another file").into());
            }
            if from == 0 {
                break;
            }
        }
        Ok(self.end(len, self.macs.start(), Proof::default())?)
    }

    /// Returns the end after other writers have appended; `None` if they did not continue from the known end.
    pub(super) fn catch_up(&self, known: &End, len: u64) -> Outcome<Option<End>> {
        let mut chain = Chain::strictly_after(known.last.clone(), self.macs);
        if self.scan(known.len, len, &mut chain)?.faults.contains(&AuditFaultKind::OutOfSequence) {
            return Ok(None);
        }
        let proof = match chain.last() {
            Some(last) if last.head.lines > known.last.head.lines => chain.proof(),
            _ => known.proof,
        };
        let last = chain.last().cloned().unwrap_or_else(|| known.last.clone());
        Ok(Some(self.end(len, last, proof)?))
    }

    fn end(&self, len: u64, last: Position, proof: Proof) -> Result<End> {
        let ends_in_newline = self.ends_in_newline(len).map_err(|error| self.failed("cannot be read", error))?;
        Ok(End { len, ends_in_newline, last, proof })
    }

    fn ends_in_newline(&self, len: u64) -> io::Result<bool> {
        let Some(end) = len.checked_sub(1) else { return Ok(true) };
        let (mut file, mut byte) = (self.file, [0]);
        file.seek(SeekFrom::Start(end))?;
        file.read_exact(&mut byte)?;
        Ok(byte == *b"\n")
    }

    /// Follows the log from the last line of a checkpoint to its end at `to`; returns `None` if it does not continue
    /// from there. Finding the line is not enough: if an earlier line is repeated at the end, the log continues from
    /// that one, and the lines in between can be cut out later. If the file contains only lines, and nothing was cut
    /// off, the line is found immediately.
    pub(super) fn follow(&self, checkpoint: &Checkpoint, to: u64) -> Result<Option<Position>> {
        let failed = |error| self.failed("cannot be read", error);
        for tail in TAILS {
            let mut lines = self.lines(checkpoint.len.saturating_sub(tail), to)?;
            let mut chain: Option<Chain<'_>> = None;
            while let Some(bytes) = lines.read().map_err(failed)? {
                let Some(chain) = &mut chain else {
                    let line = Line::parse(bytes).ok().filter(|line| line.is(&checkpoint.head));
                    let position = line.map_or(Ok(None), |line| self.macs.genuine(&line))?;
                    chain = position.map(|position| Chain::strictly_after(position, self.macs));
                    continue;
                };
                if !goes_on(chain, bytes)? {
                    return Ok(None);
                }
            }
            if let Some(chain) = chain {
                return Ok(chain.last().cloned());
            }
        }
        Ok(None)
    }

    /// Follows the log from a line that ends at or before `from`.
    pub(super) fn follow_from(&self, last: Position, from: u64, to: u64) -> Result<Option<Position>> {
        let mut lines = self.lines(from, to)?;
        let mut chain = Chain::strictly_after(last, self.macs);
        while let Some(bytes) = lines.read().map_err(|error| self.failed("cannot be read", error))? {
            if !goes_on(&mut chain, bytes)? {
                return Ok(None);
            }
        }
        Ok(chain.last().cloned())
    }

    /// Returns the beginning of the file, if its first line says that it continues another.
    pub(super) fn beginning(&self) -> Outcome<Option<Beginning>> {
        let mut lines = self.lines(0, MAX_LEN as u64 + 1)?;
        let Some(bytes) = lines.read().map_err(|error| self.failed("cannot be read", error))? else { return Ok(None) };
        let Ok(line) = Line::parse(bytes) else { return Ok(None) };
        if line.epoch > self.macs.newest()?.epoch && self.asked == 0 {
            return Err(Halt::Doubt);
        }
        let (Some(lines), Some(since)) = (line.after, line.since) else { return Ok(None) };
        let genuine = self.macs.genuine(&line)?.is_some();
        let last = line.prev_mac().filter(|_| genuine).map(|mac| Head { lines, mac });
        Ok(last.map(|last| Beginning { last, since }))
    }

    /// Follows the lines in a part of the file.
    fn scan(&self, from: u64, to: u64, chain: &mut Chain<'_>) -> Outcome<Scanned> {
        let mut lines = self.lines(from, to)?;
        let mut found = Scanned::default();
        let newest = self.macs.newest()?.epoch;
        loop {
            let begin = from.saturating_add(lines.next);
            let Some(bytes) = lines.read().map_err(|error| self.failed("cannot be read", error))? else { break };
            let before = chain.last().map(|position| position.head.lines);
            let findings = chain.step(bytes)?;
            let moved = chain.last().map(|position| position.head.lines) != before;
            let line = Line::parse(bytes).ok();
            let is_later = line.as_ref().is_some_and(|line| line.epoch > newest);
            let at = line.map(|line| line.at);
            if is_later && begin >= self.asked {
                return Err(Halt::Doubt);
            }
            if moved {
                found.ends_in_place = at == Some(begin);
            }
            if let Some(kind) = findings.fault.filter(|kind| !found.faults.contains(kind)) {
                found.faults.push(kind);
            }
        }
        Ok(found)
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

/// The result of following a part of a file.
#[derive(Default)]
struct Scanned {
    /// The kinds of faults found, each once.
    faults: Vec<AuditFaultKind>,
    /// True if the last line is at the offset at which it was written.
    ends_in_place: bool,
}

/// Processes the next line, and returns whether the chain continues strictly. Repeated lines do not advance it.
fn goes_on(chain: &mut Chain<'_>, bytes: &[u8]) -> Result<bool> {
    let before = chain.last().map(|position| position.head.lines);
    let is_wrong = chain.step(bytes)?.fault.is_some();
    Ok(!is_wrong || chain.last().map(|position| position.head.lines) == before)
}
