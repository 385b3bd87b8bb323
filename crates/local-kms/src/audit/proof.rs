//! The proof that a log gives of its store.
//!
//! Commit numbers increase, but those of a store that was set back increase as well, so a high number proves nothing.
//! Therefore a log proves descent. The store keeps the number of its latest *named* commit, the latest one with a line
//! in the log from which it descends; a commit without a line keeps this number. The log knows the named commit that it
//! found last, and the one that its last write announced: the store is at one of the two. The order of numbers only
//! tells an earlier state of the store from one that the log does not know.

use std::cmp::Ordering;

use crate::audit::Commits;
use manila_core::{Error, ErrorKind};

/// The state of the store that a call found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Tells the store from others that were restored from a backup of it, or of which it is a restored backup. Never
    /// zero.
    pub(crate) copy: u64,
    /// The latest commit.
    pub(crate) commit: u64,
    /// The latest commit with a line in the log; zero if there is none.
    pub(crate) named: u64,
}

/// The knowledge of the store that a log has after some line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The copy of the store to which the log belongs; zero if no line has found a store yet.
    pub(crate) copy: u64,
    /// The latest named commit that a line found.
    pub(crate) named: u64,
    /// The latest commit found with that named commit.
    pub(crate) commit: u64,
    /// The commit that a line announced and that no line has found yet.
    pub(crate) pending: Option<u64>,
}

/// The relation of the state that a call found to the proof of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The store is at the proven commit.
    Fits,
    /// The store is at the pending commit, which this proves.
    Proves,
    /// The store was set back, or the state that was found is out of date.
    Behind,
    /// The store is another copy.
    OtherCopy,
    /// The store is at a named commit without a line in this log.
    Unlogged,
}

/// The conclusion from a line about the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shown {
    #[default]
    Nothing,
    /// The pending commit was made.
    Done(u64),
    /// The pending commit was not made, and never will be.
    NotDone(u64),
    /// The owner restored a backup.
    Restored,
    Behind,
    OtherCopy,
    Unlogged,
}

/// The reason to refuse a call because of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    SetBack,
    OtherCopy,
}

impl Proof {
    /// Returns the proof after the first line of a log, which found this state.
    pub(super) fn of(found: &Found) -> Self {
        Self { copy: found.copy, named: found.named, commit: found.commit, pending: None }
    }

    /// Returns the proof itself or, if no line has found a store yet, the one that begins with this state.
    pub(super) fn or_of(self, found: Option<&Found>) -> Self {
        if self.copy == 0 { found.map_or(self, Self::of) } else { self }
    }

    pub(super) fn standing(&self, found: &Found) -> Standing {
        let proof = self.or_of(Some(found));
        if found.copy != proof.copy {
            return Standing::OtherCopy;
        }
        if proof.pending == Some(found.named) {
            return Standing::Proves;
        }
        match found.named.cmp(&proof.named) {
            Ordering::Less => Standing::Behind,
            Ordering::Equal if found.commit < proof.commit => Standing::Behind,
            Ordering::Equal => Standing::Fits,
            Ordering::Greater => Standing::Unlogged,
        }
    }

    /// Returns whether the proof contains a named commit.
    pub(super) fn tells_of(&self, named: u64) -> bool {
        self.named == named || self.pending == Some(named)
    }

    /// Returns why a call that found this state must be refused, if it must.
    pub(super) fn refusal(&self, found: &Found) -> Option<Refusal> {
        match self.standing(found) {
            Standing::Behind => Some(Refusal::SetBack),
            Standing::OtherCopy => Some(Refusal::OtherCopy),
            Standing::Fits | Standing::Proves | Standing::Unlogged => None,
        }
    }

    /// Moves on to the proof after a line with these commits, and returns what the line shows.
    ///
    /// A write has exclusive access to the store while its line is written. So if it does not find the pending commit,
    /// that commit was never made. The line of a read may only be late.
    pub(super) fn step(&mut self, commits: &Commits) -> Shown {
        if commits.failed.is_some() && commits.failed == self.pending {
            self.pending = None;
        }
        let Some(found) = &commits.found else { return Shown::Nothing };
        if commits.restored {
            *self = Self::of(found);
            return Shown::Restored;
        }
        *self = self.or_of(Some(found));
        let shown = match self.standing(found) {
            Standing::Behind => return Shown::Behind,
            Standing::OtherCopy => return Shown::OtherCopy,
            Standing::Fits => {
                self.commit = self.commit.max(found.commit);
                // Several lines may announce one commit, for instance a change of the root key that rotates keys.
                let replaced = self.pending.filter(|_| commits.made.is_some() && commits.made != self.pending);
                replaced.map_or(Shown::Nothing, Shown::NotDone)
            }
            Standing::Proves => {
                *self = Self::of(found);
                Shown::Done(found.named)
            }
            Standing::Unlogged => {
                *self = Self::of(found);
                Shown::Unlogged
            }
        };
        self.pending = commits.made.or(self.pending);
        shown
    }
}

impl Refusal {
    /// Returns the outcome for the line.
    pub(super) fn outcome(self) -> &'static str {
        match self {
            Self::SetBack => "StoreSetBack",
            Self::OtherCopy => "OtherCopy",
        }
    }

    pub(crate) fn error(self) -> Error {
        let detail = match self {
            Self::SetBack => {
                "the key store was set back to an earlier state than its audit log proves: if this is intended, restore \
                 it to a new file with LocalKms::restore, which the log records"
            }
            Self::OtherCopy => {
                "the audit log belongs to a copy of this key store that was restored from a backup: use another log for \
                 one of them, or, if this one is to continue the log, restore it to a new file with LocalKms::restore, \
                 which the log records"
            }
        };
        Error::new(ErrorKind::Storage, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(named: u64, commit: u64) -> Found {
        Found { copy: 1, commit, named }
    }

    fn read(named: u64, commit: u64) -> Commits {
        Commits { found: Some(found(named, commit)), ..Commits::default() }
    }

    fn write(named: u64, made: u64) -> Commits {
        Commits { made: Some(made), ..read(named, named) }
    }

    /// Returns what each of the lines shows, and the proof in the end.
    fn shown(lines: &[Commits]) -> (Vec<Shown>, Proof) {
        let mut proof = Proof::default();
        (lines.iter().map(|commits| proof.step(commits)).collect(), proof)
    }

    #[test]
    fn a_commit_is_proven_by_being_found_and_by_nothing_else() {
        use Shown::{Behind, Done, NotDone, Nothing, Unlogged};
        let of = |lines: &[Commits]| shown(lines).0;
        assert_eq!(of(&[write(0, 5), read(5, 5), write(5, 9), write(9, 11)]), [Nothing, Done(5), Nothing, Done(9)]);
        // Commits without a line are later, and prove nothing.
        let later = Commits { made: Some(9), ..read(0, 7) };
        assert_eq!(of(&[write(0, 5), read(0, 7), later]), [Nothing, Nothing, NotDone(5)]);
        assert_eq!(of(&[write(0, 5), write(0, 5), read(0, 0), write(0, 9)]), [Nothing, Nothing, Nothing, NotDone(5)]);
        // Nor do they make a store pass for a later one that was set back.
        assert_eq!(of(&[write(0, 5), read(5, 5), read(0, 7)]), [Nothing, Done(5), Behind]);
        assert_eq!(of(&[read(5, 9), read(5, 7)]), [Nothing, Behind]);
        assert_eq!(of(&[write(0, 5), read(8, 8), write(8, 9)]), [Nothing, Unlogged, Nothing]);
    }

    #[test]
    fn what_is_behind_or_another_copy_moves_nothing() {
        let (_, before) = shown(&[write(0, 5), read(5, 6)]);
        let other = Found { copy: 2, ..found(9, 9) };
        let other = Commits { found: Some(other), made: Some(10), ..Commits::default() };
        for (line, expected) in [(write(0, 9), Shown::Behind), (other, Shown::OtherCopy)] {
            let mut proof = before;
            assert_eq!((proof.step(&line), proof), (expected, before));
        }
        let mut proof = before;
        assert_eq!(proof.step(&Commits { restored: true, made: None, ..other }), Shown::Restored);
        assert_eq!((proof.copy, proof.named), (2, 9));
    }

    #[test]
    fn what_failed_is_not_waited_for() {
        let failed = |commit| Commits { failed: Some(commit), ..read(0, 0) };
        assert_eq!(shown(&[write(0, 5), failed(5)]).1.pending, None);
        assert_eq!(shown(&[write(0, 5), failed(4)]).1.pending, Some(5));
    }
}
