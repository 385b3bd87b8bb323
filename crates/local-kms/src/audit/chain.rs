//! The order of lines, which makes a log a chain.

use crate::audit::line::{Line, Macs, Position};
use crate::audit::{AuditFaultKind, Commits};
use manila_core::Result;

/// Follows a log, line by line, past whatever is wrong with it.
pub(super) struct Chain<'a> {
    macs: &'a Macs<'a>,
    /// The last genuine line; `None` before the first one of a log that is read from somewhere in its middle.
    last: Option<Position>,
    /// Lines since then that stand where genuine ones may have stood.
    spoilt: u64,
    /// True if each genuine line must follow another.
    strict: bool,
    /// The number of lines of earlier logs, as the last line told that begins one.
    after: u64,
    proven: Proven,
    commits: Commits,
    /// True if the last line that moved the chain on begins a file.
    begins: bool,
}

/// The fault of a line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Findings {
    pub(super) fault: Option<AuditFaultKind>,
    /// True if the line shows that the store was set back, whatever else is wrong with it.
    pub(super) is_set_back: bool,
}

impl From<AuditFaultKind> for Findings {
    fn from(kind: AuditFaultKind) -> Self {
        Self { fault: Some(kind), is_set_back: false }
    }
}

impl<'a> Chain<'a> {
    /// Begins at a line that is known. Where lines were changed, that is the fault, and not also that the next one does
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

    /// Begins at a line that was the last one. Others have gone on from there, whatever else they found in the file.
    pub(super) fn strictly_after(position: Position, macs: &'a Macs<'a>) -> Self {
        Self { strict: true, ..Self::after(position, macs) }
    }

    /// Begins somewhere in the middle: the first genuine line is believed to be in its place.
    pub(super) fn anywhere(macs: &'a Macs<'a>) -> Self {
        Self { last: None, ..Self::after(macs.start(), macs) }
    }

    pub(super) fn last(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// The number of lines in the logs before this one.
    pub(super) fn lines_before(&self) -> u64 {
        self.after
    }

    /// The commits that the last line tells of that moved the chain on.
    pub(super) fn commits(&self) -> &Commits {
        &self.commits
    }

    /// Returns whether that line begins a file.
    pub(super) fn begins_file(&self) -> bool {
        self.begins
    }

    /// The latest commit that the lines so far prove.
    pub(super) fn proven(&self) -> Proven {
        self.proven
    }

    /// The same, from what earlier files prove.
    pub(super) fn with(self, proven: Proven) -> Self {
        Self { proven, ..self }
    }

    /// Takes the next line and says what is wrong with it.
    ///
    /// Only genuine lines with higher numbers move the chain on. So one bad line, or one that is repeated, does not
    /// make those after it bad.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Findings> {
        let line = match Line::parse(bytes) {
            Ok(line) => line,
            // A torn line never had a number: the KMS gave it to the next one.
            Err(AuditFaultKind::Torn) => return Ok(AuditFaultKind::Torn.into()),
            Err(kind) => return Ok(self.spoil(kind).into()),
        };
        let Some(position) = self.macs.genuine(&line)? else { return Ok(self.spoil(AuditFaultKind::Changed).into()) };
        let fault = match &self.last {
            None => None,
            Some(last) if line.seq <= last.head.lines => return Ok(AuditFaultKind::OutOfSequence.into()),
            // No handle writes under an older root key after a newer one: someone has that key.
            Some(last) if line.epoch < last.epoch => return Ok(self.spoil(AuditFaultKind::Changed).into()),
            Some(last) if line.follows(&last.head) => None,
            // A file that goes on from another begins with a line that says so.
            Some(last) if last.head.lines == 0 && line.after.is_some() => None,
            // The lines between were changed, and that has been said.
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

/// The commits of the store that lines prove.
///
/// A line proves the commit that its call found. It does not prove the one that the call made: the line comes first,
/// and after a crash in between the commit is not there. A write is alone with the store when its line is written, so
/// it finds the latest commit; if that is earlier than a proven one, the store was set back. A read may come late with
/// its line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Proven {
    pub(crate) commit: u64,
    /// True if the last write found an earlier one: that is said once, and not of each write.
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
