//! Lines of writes that were not made: the line of a write comes before its commit, and a crash may come between.

use crate::audit::proof::Shown;
use crate::audit::{AuditFault, AuditFaultKind, Commits};

/// The maximum number of lines of one commit that are remembered, and of lines without a commit.
const MAX_LINES: usize = 1000;

/// The lines whose outcome is not known yet, and those that turned out to be wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsettled {
    /// The lines that announce the pending commit.
    made: OfCommit,
    /// The lines that take back the commit that was taken back last.
    failed: OfCommit,
    /// The lines of commits that were not made. The line that takes them back may be late.
    undone: Vec<OfCommit>,
    wrong: Vec<(Place, AuditFaultKind)>,
}

/// The lines of a commit.
#[derive(Clone, Debug, Default)]
struct OfCommit {
    commit: u64,
    places: Vec<Place>,
}

/// The position of a line in a series of files.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The number of files between its file and the present one, including the latter.
    files_back: usize,
    line: u64,
}

/// A fault that a later line revealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late {
    /// The number of files between its file and the one with that line, including the latter.
    pub(crate) files_back: usize,
    pub(crate) fault: AuditFault,
}

impl OfCommit {
    fn push(&mut self, commit: u64, line: u64) {
        if self.commit != commit {
            *self = Self { commit, places: Vec::new() };
        }
        if self.places.len() < MAX_LINES {
            self.places.push(Place { files_back: 0, line });
        }
    }
}

impl Unsettled {
    /// Returns the same lines as seen from the file that continues this one.
    pub(super) fn in_next_file(mut self) -> Self {
        for place in self.made.places.iter_mut().chain(&mut self.failed.places) {
            place.files_back = place.files_back.saturating_add(1);
        }
        self
    }

    /// Processes the next genuine line, and what it shows. A line that `begins` a file exists because the rotation was
    /// made, whether or not its commit was. Returns whether the store is at a commit that earlier lines took back.
    pub(super) fn step(&mut self, line: u64, commits: &Commits, shown: Shown, begins: bool) -> bool {
        if let Some(failed) = commits.failed {
            self.undone.retain(|undone| undone.commit != failed);
            if self.made.commit == failed {
                self.made = OfCommit::default();
            }
            self.failed.push(failed, line);
        }
        let mut is_explained = false;
        match shown {
            Shown::NotDone(commit) if commit == self.made.commit => {
                let lines: usize = self.undone.iter().map(|undone| undone.places.len()).sum();
                if lines < MAX_LINES {
                    self.undone.push(std::mem::take(&mut self.made));
                }
            }
            Shown::Unlogged => {
                is_explained = commits.found.is_some_and(|found| found.named == self.failed.commit);
                if is_explained {
                    let failed = std::mem::take(&mut self.failed);
                    self.wrong.extend(failed.places.iter().map(|place| (*place, AuditFaultKind::NotFailed)));
                }
                self.made = OfCommit::default();
            }
            Shown::Done(_) | Shown::Restored => self.made = OfCommit::default(),
            Shown::Nothing | Shown::NotDone(_) | Shown::Behind | Shown::OtherCopy => {}
        }
        let is_made = !begins && !matches!(shown, Shown::Behind | Shown::OtherCopy);
        if let Some(made) = commits.made.filter(|_| is_made) {
            self.made.push(made, line);
        }
        is_explained
    }

    /// Takes the faults that the lines so far revealed.
    pub(super) fn take_faults(&mut self) -> Vec<Late> {
        let undone = std::mem::take(&mut self.undone);
        let undone = undone.into_iter().flat_map(|undone| undone.places).map(|place| (place, AuditFaultKind::NotDone));
        let late = |(Place { files_back, line }, kind)| Late { files_back, fault: AuditFault { line, kind } };
        std::mem::take(&mut self.wrong).into_iter().chain(undone).map(late).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::proof::{Found, Proof};
    use AuditFaultKind::{NotDone, NotFailed};

    fn read(named: u64) -> Commits {
        Commits { found: Some(Found { copy: 1, commit: named, named }), ..Commits::default() }
    }

    fn write(named: u64, made: u64) -> Commits {
        Commits { made: Some(made), ..read(named) }
    }

    fn failed(named: u64, failed: u64) -> Commits {
        Commits { failed: Some(failed), ..read(named) }
    }

    /// Returns the faults of files of these lines: how many files before the last one, in which line.
    fn faults(files: &[&[Commits]]) -> Vec<(usize, u64, AuditFaultKind)> {
        let (mut unsettled, mut proof, mut found) = (Unsettled::default(), Proof::default(), Vec::new());
        for (lines, number) in files.iter().zip(0..) {
            if number > 0 {
                unsettled = unsettled.in_next_file();
            }
            for (commits, line) in lines.iter().zip(1..) {
                let shown = proof.step(commits);
                unsettled.step(line, commits, shown, number > 0 && line == 1);
            }
            let back = files.len() - 1 - number;
            let late = unsettled.take_faults().into_iter();
            found.extend(late.map(|late| (late.files_back + back, late.fault.line, late.fault.kind)));
        }
        found
    }

    #[test]
    fn lines_are_named_whose_commit_never_came() {
        assert_eq!(faults(&[&[write(1, 5), write(5, 9), write(9, 11)]]), []);
        assert_eq!(faults(&[&[write(1, 5), read(5), write(5, 9)]]), []);
        // Several lines of one commit, and a reader that was late or early.
        assert_eq!(faults(&[&[write(1, 5), write(1, 5), read(1), write(1, 9)]]), [(0, 1, NotDone), (0, 2, NotDone)]);
        assert_eq!(
            faults(&[&[write(1, 5), write(1, 9), write(1, 7), write(7, 8)]]),
            [(0, 1, NotDone), (0, 2, NotDone)]
        );
        // The store is at a commit without a line, so the outcome is unknown.
        assert_eq!(faults(&[&[write(1, 5), write(7, 9)]]), []);
    }

    #[test]
    fn what_another_line_takes_back_is_said_already() {
        assert_eq!(faults(&[&[write(1, 5), failed(1, 5), write(1, 9)]]), []);
        assert_eq!(faults(&[&[write(1, 5), write(1, 9), failed(1, 5)]]), [], "late");
        assert_eq!(faults(&[&[write(1, 5), failed(1, 4), write(1, 9)]]), [(0, 1, NotDone)]);
        let restored = Commits { restored: true, ..read(2) };
        assert_eq!(faults(&[&[write(1, 5), restored, write(2, 4)]]), []);
    }

    #[test]
    fn a_line_that_takes_back_what_was_done_is_wrong() {
        assert_eq!(faults(&[&[write(1, 5), failed(1, 5), read(5)]]), [(0, 2, NotFailed)]);
        assert_eq!(faults(&[&[write(1, 5), failed(1, 5)], &[read(5)]]), [(1, 2, NotFailed)]);
    }

    #[test]
    fn later_files_show_what_was_not_done() {
        assert_eq!(faults(&[&[write(1, 5)], &[write(1, 9), write(1, 11)]]), [(1, 1, NotDone)], "the rotation was done");
        assert_eq!(faults(&[&[write(1, 5)], &[read(1)], &[write(1, 9)]]), [(2, 1, NotDone)]);
    }
}
