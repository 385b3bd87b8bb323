//! How lines follow each other.

use crate::error::Result;
use crate::kms::local::audit::AuditFaultKind;
use crate::kms::local::audit::line::{Line, Macs, Place};

/// Follows a log, line by line, past whatever is wrong with it.
pub(super) struct Chain<'a> {
    macs: &'a Macs<'a>,
    /// The last genuine line; `None` before the first one of a log that is read from somewhere in its middle.
    last: Option<Place>,
    /// Lines since then that stand where genuine ones may have stood.
    spoilt: u64,
    /// Whether each genuine line must follow another.
    strict: bool,
}

impl<'a> Chain<'a> {
    /// From a line that is known. Where lines were changed, that is the fault, and not also that the next one does not
    /// follow.
    pub(super) fn after(place: Place, macs: &'a Macs<'a>) -> Self {
        Self { macs, last: Some(place), spoilt: 0, strict: false }
    }

    /// From a line that was the last one. Others have gone on from there, whatever else they found in the file.
    pub(super) fn strictly_after(place: Place, macs: &'a Macs<'a>) -> Self {
        Self { strict: true, ..Self::after(place, macs) }
    }

    /// From somewhere in the middle: the first genuine line is believed to be in its place.
    pub(super) fn anywhere(macs: &'a Macs<'a>) -> Self {
        Self { macs, last: None, spoilt: 0, strict: false }
    }

    pub(super) fn last(&self) -> Option<&Place> {
        self.last.as_ref()
    }

    /// Takes the next line and says what is wrong with it.
    ///
    /// Only genuine lines with higher numbers move the chain on. So one bad line, or one that is repeated, does not
    /// make those after it bad.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Option<AuditFaultKind>> {
        let line = match Line::parse(bytes) {
            Ok(line) => line,
            // A torn line never had a number: the KMS gave it to the next one.
            Err(AuditFaultKind::Torn) => return Ok(Some(AuditFaultKind::Torn)),
            Err(kind) => return Ok(Some(self.spoil(kind))),
        };
        let Some(place) = self.macs.genuine(&line)? else { return Ok(Some(self.spoil(AuditFaultKind::Changed))) };
        let fault = match &self.last {
            None => None,
            Some(last) if line.seq <= last.head.lines => return Ok(Some(AuditFaultKind::OutOfSequence)),
            // No handle writes under an older root key after a newer one: someone has that key.
            Some(last) if line.epoch < last.epoch => return Ok(Some(self.spoil(AuditFaultKind::Changed))),
            Some(last) if line.follows(&last.head) => None,
            // The lines between were changed, and that has been said.
            Some(last) if !self.strict && (1..=self.spoilt).contains(&(line.seq - last.head.lines - 1)) => None,
            Some(_) => Some(AuditFaultKind::OutOfSequence),
        };
        self.spoilt = 0;
        self.last = Some(place);
        Ok(fault)
    }

    fn spoil(&mut self, kind: AuditFaultKind) -> AuditFaultKind {
        self.spoilt = self.spoilt.saturating_add(1);
        kind
    }
}
