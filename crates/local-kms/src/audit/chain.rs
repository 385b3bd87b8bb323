//! Checking the order of lines in a log.

use crate::audit::line::{Line, Macs, Position};
use crate::audit::proof::{Proof, Shown};
use crate::audit::{AuditFaultKind, Commits};
use manila_core::Result;

/// A reader's position in a log, which follows the chain of lines and continues after faults.
pub(super) struct Chain<'a> {
    macs: &'a Macs<'a>,
    /// The last genuine line; `None` before the first one if reading begins in the middle of a log.
    last: Option<Position>,
    /// The number of later lines that may have replaced genuine ones.
    spoilt: u64,
    /// True if each genuine line must directly follow another.
    strict: bool,
    /// The number of lines in earlier files, according to the last line that begins a file.
    after: u64,
    /// The number that the first line must exceed.
    floor: u64,
    /// The proof after the last line.
    proof: Proof,
    shown: Shown,
    commits: Commits,
    /// True if the last line that advanced the chain begins a file.
    begins: bool,
    /// True if the last write found a store that was set back, or another copy, which is reported once and not for each
    /// write.
    was_wrong: bool,
}

/// The fault of a line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Findings {
    pub(super) fault: Option<AuditFaultKind>,
    /// The fault of the store that the line shows, in addition to any other fault.
    pub(super) of_store: Option<AuditFaultKind>,
}

impl From<AuditFaultKind> for Findings {
    fn from(kind: AuditFaultKind) -> Self {
        Self { fault: Some(kind), of_store: None }
    }
}

impl<'a> Chain<'a> {
    /// Begins after a known line. If lines were changed, only that is reported, and not also that the next line does
    /// not follow.
    pub(super) fn after(position: Position, macs: &'a Macs<'a>) -> Self {
        let after = position.head.lines;
        Self {
            macs,
            last: Some(position),
            spoilt: 0,
            strict: false,
            after,
            floor: 0,
            proof: Proof::default(),
            shown: Shown::default(),
            commits: Commits::default(),
            begins: false,
            was_wrong: false,
        }
    }

    /// Begins after a line that was the last one, from which other writers have continued.
    pub(super) fn strictly_after(position: Position, macs: &'a Macs<'a>) -> Self {
        Self { strict: true, ..Self::after(position, macs) }
    }

    /// Begins in the middle of a file that continues after `floor` lines. Its first genuine line is assumed to be in
    /// its place; lines of earlier files do not belong to it.
    pub(super) fn anywhere(floor: u64, macs: &'a Macs<'a>) -> Self {
        Self { last: None, floor, ..Self::after(macs.start(), macs) }
    }

    pub(super) fn last(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// Returns the number of lines in the files before this one.
    pub(super) fn lines_before(&self) -> u64 {
        self.after
    }

    /// Returns the commits in the last line that advanced the chain.
    pub(super) fn commits(&self) -> &Commits {
        &self.commits
    }

    /// Returns whether the last line that advanced the chain begins a file.
    pub(super) fn begins_file(&self) -> bool {
        self.begins
    }

    /// Returns the proof after the last line that moved the chain.
    pub(super) fn proof(&self) -> Proof {
        self.proof
    }

    /// Returns what that line shows.
    pub(super) fn shown(&self) -> Shown {
        self.shown
    }

    /// Processes the next line, and returns its faults.
    ///
    /// Only genuine lines with higher numbers advance the chain, so a bad or repeated line does not make the following
    /// ones faulty.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Findings> {
        let line = match Line::parse(bytes) {
            Ok(line) => line,
            // A torn line does not use up its number: the KMS gave it to the next line.
            Err(AuditFaultKind::Torn) => return Ok(AuditFaultKind::Torn.into()),
            Err(kind) => return Ok(self.spoil(kind).into()),
        };
        let Some(position) = self.macs.genuine(&line)? else { return Ok(self.spoil(AuditFaultKind::Changed).into()) };
        let fault = match &self.last {
            None if line.seq <= self.floor => return Ok(AuditFaultKind::OutOfSequence.into()),
            None => None,
            Some(last) if line.seq <= last.head.lines => return Ok(AuditFaultKind::OutOfSequence.into()),
            // No handle writes under an older root key after a newer one: someone else has that key.
            Some(last) if line.epoch < last.epoch => return Ok(self.spoil(AuditFaultKind::Changed).into()),
            Some(last) if line.follows(&last.head) => None,
            // A file that continues another begins with a line that says so.
            Some(last) if last.head.lines == 0 && line.after.is_some() => None,
            // The lines in between were changed, which has been reported.
            Some(last) if !self.strict && (1..=self.spoilt).contains(&(line.seq - last.head.lines - 1)) => None,
            Some(_) => Some(AuditFaultKind::OutOfSequence),
        };
        self.spoilt = 0;
        self.after = line.after.unwrap_or(self.after);
        self.last = Some(position);
        (self.commits, self.begins) = (line.commits, line.after.is_some());
        self.proof = line.before;
        self.shown = self.proof.step(&line.commits);
        Ok(Findings { fault, of_store: self.fault_of_store() })
    }

    /// Returns the fault of the store that the last line shows. The line of a read may only be late.
    fn fault_of_store(&mut self) -> Option<AuditFaultKind> {
        let wrong = match self.shown {
            Shown::Unlogged => return Some(AuditFaultKind::Unlogged),
            Shown::Behind => Some(AuditFaultKind::StoreSetBack),
            Shown::OtherCopy => Some(AuditFaultKind::OtherCopy),
            Shown::Restored => {
                self.was_wrong = false;
                None
            }
            Shown::Nothing | Shown::Done(_) | Shown::NotDone(_) => None,
        };
        self.commits.made?;
        let before = std::mem::replace(&mut self.was_wrong, wrong.is_some());
        wrong.filter(|_| !before)
    }

    fn spoil(&mut self, kind: AuditFaultKind) -> AuditFaultKind {
        self.spoilt = self.spoilt.saturating_add(1);
        kind
    }
}
