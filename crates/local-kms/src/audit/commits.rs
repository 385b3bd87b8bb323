//! The commits of the store in a line.

use serde::Serialize;

use crate::audit::proof::{Found, Proof, Standing};

const COPY: &[u8] = b",\"copy\":";
const STRAY: &[u8] = b",\"stray\":";
const STORE: &[u8] = b",\"store\":";
const RESTORED: &[u8] = b",\"restored\":";
const NAMED: &[u8] = b",\"named\":";
const PROVEN: &[u8] = b",\"proven\":";
const REACHED: &[u8] = b",\"reached\":";
const PENDING: &[u8] = b",\"pending\":";
const COMMIT: &[u8] = b",\"commit\":";
const FAILED: &[u8] = b",\"failed\":";
const UNSETTLED: &[u8] = b",\"unsettled\":";

/// The commits of the store in a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Commits {
    /// The state of the store that the call found.
    pub(crate) found: Option<Found>,
    /// True if that is the state of a backup that the owner restored.
    pub(crate) restored: bool,
    /// The commit that the call makes.
    pub(crate) made: Option<u64>,
    /// The commit that an earlier line of the call announced and that failed.
    pub(crate) failed: Option<u64>,
    /// The commit that an earlier line of the call announced and whose outcome is unknown.
    pub(crate) unsettled: Option<u64>,
}

/// The members of a line about commits, in their order. A member that follows from the others is left out.
#[derive(Default, Serialize)]
pub(super) struct CommitFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    copy: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stray: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    named: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsettled: Option<u64>,
}

impl CommitFields {
    /// Returns the members of a line with these commits, after lines that give this proof.
    pub(super) fn new(commits: &Commits, before: &Proof) -> Self {
        let Commits { found, restored, made, failed, unsettled } = commits;
        let rest = Self { commit: *made, failed: *failed, unsettled: *unsettled, ..Self::default() };
        let before = before.or_of(found.as_ref());
        let Proof { copy, named, commit, pending } = before;
        let Some(found) = found else {
            let proven = Some(named).filter(|_| copy != 0);
            let reached = Some(commit).filter(|_| commit != named);
            return Self { copy: Some(copy).filter(|copy| *copy != 0), proven, reached, pending, ..rest };
        };
        let of_found = Some(found.named).filter(|named| *named != found.commit);
        if *restored {
            return Self { copy: Some(found.copy), restored: Some(found.commit), named: of_found, ..rest };
        }
        let is_told = !matches!(before.standing(found), Standing::Proves);
        Self {
            copy: Some(copy),
            stray: Some(found.copy).filter(|stray| *stray != copy),
            store: Some(found.commit),
            named: of_found,
            proven: Some(named).filter(|named| is_told && *named != found.named),
            reached: Some(commit).filter(|commit| is_told && *commit != found.commit),
            pending,
            ..rest
        }
    }

    /// Returns the commits, and the proof that the log gave before the line.
    pub(super) fn read(&self) -> (Commits, Proof) {
        let copy = self.copy.unwrap_or_default();
        let found = self.store.or(self.restored).map(|commit| Found {
            copy: self.stray.unwrap_or(copy),
            commit,
            named: self.named.unwrap_or(commit),
        });
        let (made, failed, unsettled) = (self.commit, self.failed, self.unsettled);
        let commits = Commits { found, restored: self.restored.is_some(), made, failed, unsettled };
        let named = self.proven.or(found.map(|found| found.named)).unwrap_or_default();
        let commit = self.reached.or(found.map(|found| found.commit)).unwrap_or(named);
        (commits, Proof { copy, named, commit, pending: self.pending })
    }

    /// Parses the members, and returns the rest of the line.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (copy, rest) = split_member(bytes, COPY)?;
        let (stray, rest) = split_member(rest, STRAY)?;
        let (store, rest) = split_member(rest, STORE)?;
        let (restored, rest) = split_member(rest, RESTORED)?;
        let (named, rest) = split_member(rest, NAMED)?;
        let (proven, rest) = split_member(rest, PROVEN)?;
        let (reached, rest) = split_member(rest, REACHED)?;
        let (pending, rest) = split_member(rest, PENDING)?;
        let (commit, rest) = split_member(rest, COMMIT)?;
        let (failed, rest) = split_member(rest, FAILED)?;
        let (unsettled, rest) = split_member(rest, UNSETTLED)?;
        let fields = Self { copy, stray, store, restored, named, proven, reached, pending, commit, failed, unsettled };
        Some((fields, rest))
    }
}

/// Splits off the number of an optional member.
pub(super) fn split_member<'a>(bytes: &'a [u8], name: &[u8]) -> Option<(Option<u64>, &'a [u8])> {
    let Some(rest) = bytes.strip_prefix(name) else { return Some((None, bytes)) };
    split_number(rest).map(|(number, rest)| (Some(number), rest))
}

pub(super) fn split_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = bytes.split_at_checked(digits)?;
    Some((str::from_utf8(number).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Event;
    use crate::audit::line::{Line, Macs, Slot, write};
    use crate::audit::tests::{STORE, event, keys, tenant};

    #[test]
    fn a_line_tells_what_was_found_and_what_the_log_proved_before() {
        let found = |named, commit| Found { copy: 7, commit, named };
        let proof = Proof { copy: 7, named: 50, commit: 60, pending: Some(70) };
        let empty = Proof::default();
        let other = Proof { copy: 8, ..proof };
        let of = |proof, found, restored, expected: &str| {
            let commits = Commits { found, restored, made: Some(99), failed: Some(3), unsettled: Some(4) };
            let keys = keys([1]);
            let macs = Macs::new(&keys, STORE).unwrap();
            let slot = Slot { last: &macs.start(), at: 0, proof, begins: None };
            let context = tenant();
            let (line, _) = write(&Event { commits, ..event("Decrypt", &context) }, false, &slot, &macs).unwrap();
            let text = String::from_utf8(line).unwrap();
            let start =
                format!("{{\"seq\":1,\"epoch\":1,\"at\":0{expected}\"commit\":99,\"failed\":3,\"unsettled\":4,");
            assert!(text.starts_with(&start), "{text}");
            let line = Line::parse(text.trim_ascii_end().as_bytes()).ok().unwrap();
            assert_eq!(line.commits, commits, "{text}");
            let (mut after, mut read) = (proof, line.before);
            assert_eq!(after.step(&commits), read.step(&line.commits), "{text}");
            assert_eq!(after, read, "{text}");
        };
        of(empty, None, false, ",");
        of(empty, Some(found(9, 10)), false, ",\"copy\":7,\"store\":10,\"named\":9,");
        of(proof, None, false, ",\"copy\":7,\"proven\":50,\"reached\":60,\"pending\":70,");
        of(proof, Some(found(50, 60)), false, ",\"copy\":7,\"store\":60,\"named\":50,\"pending\":70,");
        of(proof, Some(found(50, 65)), false, ",\"copy\":7,\"store\":65,\"named\":50,\"reached\":60,\"pending\":70,");
        of(proof, Some(found(70, 70)), false, ",\"copy\":7,\"store\":70,\"pending\":70,");
        of(proof, Some(found(50, 55)), false, ",\"copy\":7,\"store\":55,\"named\":50,\"reached\":60,\"pending\":70,");
        of(proof, Some(found(40, 60)), false, ",\"copy\":7,\"store\":60,\"named\":40,\"proven\":50,\"pending\":70,");
        of(proof, Some(found(80, 80)), false, ",\"copy\":7,\"store\":80,\"proven\":50,\"reached\":60,\"pending\":70,");
        of(other, Some(found(50, 60)), false, ",\"copy\":8,\"stray\":7,\"store\":60,\"named\":50,\"pending\":70,");
        of(other, Some(found(9, 10)), true, ",\"copy\":7,\"restored\":10,\"named\":9,");
    }
}
