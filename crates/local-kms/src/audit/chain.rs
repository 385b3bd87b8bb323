//! Checking the order of lines in a log.

use crate::audit::line::{Line, Macs, Position};
use crate::audit::{AuditFaultKind, Commits};
use manila_core::Result;

/// A reader's position in a log, which follows the chain of lines and continues after faults.
pub(super) struct Chain<'a> {
    macs: &'a Macs<'a>,
    /// The last genuine line; `None` before the first one if reading begins in the middle of a log.
    last: Option<Position>,
    /// The number of lines since then that may have replaced genuine ones.
    spoilt: u64,
    /// True if each genuine line must directly follow another.
    strict: bool,
    /// The number of lines in earlier files, according to the last line that begins a file.
    after: u64,
    proven: Proven,
    commits: Commits,
    /// True if the last line that advanced the chain begins a file.
    begins: bool,
}

/// The fault of a line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Findings {
    pub(super) fault: Option<AuditFaultKind>,
    /// True if the line shows that the store was set back, in addition to any other fault.
    pub(super) is_set_back: bool,
}

impl From<AuditFaultKind> for Findings {
    fn from(kind: AuditFaultKind) -> Self {
        Self { fault: Some(kind), is_set_back: false }
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
            proven: Proven::default(),
            commits: Commits::default(),
            begins: false,
        }
    }

    /// Begins after a line that was the last one, from which other writers have continued.
    pub(super) fn strictly_after(position: Position, macs: &'a Macs<'a>) -> Self {
        Self { strict: true, ..Self::after(position, macs) }
    }

    /// Begins in the middle of a log, where the first genuine line is assumed to be in its place.
    pub(super) fn anywhere(macs: &'a Macs<'a>) -> Self {
        Self { last: None, ..Self::after(macs.start(), macs) }
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

    /// Returns the latest commit that the lines so far prove.
    pub(super) fn proven(&self) -> Proven {
        self.proven
    }

    /// Begins with the commits that earlier files prove.
    pub(super) fn with(self, proven: Proven) -> Self {
        Self { proven, ..self }
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
        Ok(Findings { fault, is_set_back: self.proven.is_set_back(&line) })
    }

    fn spoil(&mut self, kind: AuditFaultKind) -> AuditFaultKind {
        self.spoilt = self.spoilt.saturating_add(1);
        kind
    }
}

/// The latest commit of the store that the lines prove.
///
/// A line proves the commit that its call found. It does not prove the commit that the call makes, because the line is
/// written first, and a crash may prevent the commit. A write has exclusive access to the store when its line is
/// written, so it finds the latest commit; if that is earlier than a proven one, the store was set back. The line of a
/// read may be written late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Proven {
    pub(crate) commit: u64,
    /// True if the last write found an earlier commit, which is reported once and not for each write.
    was_set_back: bool,
}

impl Proven {
    fn is_set_back(&mut self, line: &Line<'_>) -> bool {
        if line.commits.restored {
            *self = Self { commit: line.proven, was_set_back: false };
            return false;
        }
        self.commit = self.commit.max(line.proven);
        let (Some(found), Some(_)) = (line.commits.found, line.commits.made) else { return false };
        let before = std::mem::replace(&mut self.was_set_back, found < self.commit);
        self.was_set_back && !before
    }
}
