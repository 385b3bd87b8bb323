//! Lines of writes that were not made: the line of a write comes before its commit, and a crash may come between.

use crate::audit::Commits;

/// The maximum number of lines of one commit that are remembered, which is also the maximum in a report.
const MAX_LINES: usize = 1000;

/// The lines of the latest commit whose outcome is not known yet.
///
/// Commit numbers increase, and a write finds the latest commit. So if a write finds an earlier commit than the one
/// that the write before it announced, that commit was never made.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsettled {
    commit: u64,
    /// The numbers of the lines in the file.
    lines: Vec<u64>,
    /// True if the lines are in the previous file.
    of_file_before: bool,
}

/// Lines whose commit was never made, and that no other line takes back.
#[derive(Debug, Default)]
pub(super) struct Undone {
    pub(super) lines: Vec<u64>,
    pub(super) of_file_before: bool,
}

impl Unsettled {
    /// Returns the same lines as seen from the file that continues this one.
    pub(super) fn in_next_file(mut self) -> Self {
        if self.of_file_before {
            return Self::default();
        }
        self.of_file_before = true;
        self
    }

    /// Processes the next genuine line, and returns the earlier lines that it shows to be undone. A line that `begins`
    /// a file exists because the rotation was made, whether or not its commit was.
    pub(super) fn step(&mut self, line: u64, commits: &Commits, begins: bool) -> Undone {
        let is_known = commits.found.is_some_and(|found| found >= self.commit);
        if is_known || commits.restored || commits.failed == Some(self.commit) {
            *self = Self::default();
        }
        let Some(made) = commits.made else { return Undone::default() };
        let mut undone = Undone::default();
        if made != self.commit {
            undone = Undone { lines: std::mem::take(&mut self.lines), of_file_before: self.of_file_before };
            *self = Self { commit: made, ..Self::default() };
        }
        if begins {
            *self = Self::default();
        } else if self.lines.len() < MAX_LINES {
            self.lines.push(line);
        }
        undone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(found: u64, made: u64) -> Commits {
        Commits { found: Some(found), made: Some(made), ..Commits::default() }
    }

    fn read(found: u64) -> Commits {
        Commits { found: Some(found), ..Commits::default() }
    }

    fn failed(found: u64, failed: u64) -> Commits {
        Commits { failed: Some(failed), ..read(found) }
    }

    fn undone(lines: &[Commits]) -> Vec<u64> {
        let mut unsettled = Unsettled::default();
        lines.iter().zip(1..).flat_map(|(commits, line)| unsettled.step(line, commits, false).lines).collect()
    }

    #[test]
    fn a_commit_came_if_it_is_found_and_did_not_if_the_next_write_finds_an_earlier_one() {
        assert_eq!(undone(&[write(1, 5), write(5, 9), write(9, 11)]), [0; 0]);
        assert_eq!(undone(&[write(1, 5), read(5), write(5, 9)]), [0; 0]);
        // Several lines of one commit, and a reader that was late or early.
        assert_eq!(undone(&[write(1, 5), write(1, 5), read(1), write(1, 9)]), [1, 2]);
        assert_eq!(undone(&[write(1, 5), write(1, 9), write(1, 7), write(7, 8)]), [1, 2]);
        // Another program wrote without the log, so the outcome is unknown.
        assert_eq!(undone(&[write(1, 5), write(7, 9)]), [0; 0]);
        assert_eq!(undone(&[write(1, 5), write(3, 9)]), [1]);
    }

    #[test]
    fn what_another_line_takes_back_is_said_already() {
        assert_eq!(undone(&[write(1, 5), failed(1, 5), write(1, 9)]), [0; 0]);
        assert_eq!(undone(&[write(1, 5), failed(1, 4), write(1, 9)]), [1]);
        let restored = Commits { restored: true, ..read(2) };
        assert_eq!(undone(&[write(1, 5), restored, write(2, 4)]), [0; 0]);
    }

    #[test]
    fn the_next_file_shows_what_was_not_done_in_the_one_before_and_no_later_one_does() {
        let mut unsettled = Unsettled::default();
        unsettled.step(7, &write(1, 5), false);
        let mut unsettled = unsettled.in_next_file();
        let late = unsettled.clone().in_next_file().step(1, &write(1, 9), true);
        assert!(late.lines.is_empty());
        let undone = unsettled.step(1, &write(1, 9), true);
        assert_eq!((undone.lines, undone.of_file_before), (vec![7], true));
        assert!(unsettled.step(2, &write(1, 11), false).lines.is_empty(), "the rotation was done");
    }
}
