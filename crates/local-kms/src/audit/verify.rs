//! Verifying a file of a log, from its first line to its last, in constant memory.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::Path;

use crate::audit::chain::Chain;
use crate::audit::ends::whole_lines;
use crate::audit::line::{Lines, Macs, Position};
use crate::audit::proof::{Found, Proof, Standing};
use crate::audit::undone::{Late, Unsettled};
use crate::audit::{AuditFault, AuditFaultKind, AuditReport, Checkpoint, EndOfLog, LineKey, MAC_LEN};
use crate::root_key::io_error;
use manila_core::Result;

/// The maximum number of faults in a report.
const MAX_FAULTS: usize = 1000;

/// The store's records about its log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// The end of the current file, or a line shortly before.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The ends of the rotated files, in order.
    pub(crate) ends: Vec<EndOfLog>,
    /// The latest commit with a line; zero if there is none.
    pub(crate) named: u64,
}

impl Memory {
    /// Returns the lines that the store has recorded, by number.
    fn known(&self) -> HashMap<u64, Vec<[u8; MAC_LEN]>> {
        let ends = self.ends.iter().flat_map(|end| [Some(&end.last), end.cut.as_ref()]);
        let checkpoint = self.checkpoint.as_ref().map(|checkpoint| &checkpoint.head);
        let mut known: HashMap<_, Vec<_>> = HashMap::new();
        for head in ends.chain([checkpoint]).flatten() {
            known.entry(head.lines).or_default().push(head.mac);
        }
        known
    }

    /// Returns whether the file that begins after `lines` was rotated.
    fn is_old(&self, lines: u64) -> bool {
        self.ends.iter().any(|end| end.last.lines > lines)
    }

    /// Returns the number of lines up to which the file that begins after `lines` must be complete. If the store has no
    /// record of the file, nothing is required: its rotation may have been interrupted.
    fn needed_after(&self, lines: u64) -> u64 {
        let ends = self.ends.iter().map(|end| (end.start, end.last.lines));
        let checkpoint = self.checkpoint.iter().map(|checkpoint| (checkpoint.start(), checkpoint.head.lines));
        ends.chain(checkpoint).filter(|(start, _)| *start == lines).map(|(_, last)| last).max().unwrap_or(0)
    }

    /// Returns whether no file can continue after `lines`: a file that the store knows contains the next line, or the
    /// file would be the current one and is not the one that the store knows, nor a later one.
    fn rules_out(&self, lines: u64, is_current: bool) -> bool {
        let checkpoint = self.checkpoint.iter().map(|checkpoint| (checkpoint.start(), checkpoint.head.lines));
        let ends = self.ends.iter().map(|end| (end.start, end.last.lines));
        let is_inside = ends.chain(checkpoint.clone()).any(|(start, last)| start < lines && lines < last);
        let mut follows = checkpoint.map(|(start, last)| lines == start || lines >= last);
        is_inside || is_current && !follows.all(|follows| follows)
    }
}

/// The result of verifying a file.
pub(crate) struct Verified {
    pub(crate) report: AuditReport,
    /// The end from which the next file must continue.
    pub(crate) end: Before,
    /// True if this is the current file, as far as the store knows. Then the store must be what the log proves. Compare
    /// them only after this, because lines may have been added in the meantime.
    pub(crate) is_current: bool,
    /// True if the file or an earlier one contains the line of the latest commit that the store knew before this, or is
    /// reported as cut off.
    has_latest: bool,
    /// The number of lines in the file.
    lines: u64,
    /// The faults of earlier files that this one reveals.
    pub(crate) of_files_before: Vec<Late>,
}

impl Verified {
    /// Returns the fault of the store, as found after this, if it is not what the log proves.
    pub(crate) fn fault_of(&self, found: &Found) -> Option<AuditFault> {
        let kind = match self.end.proof.standing(found) {
            Standing::Behind => AuditFaultKind::StoreSetBack,
            Standing::OtherCopy => AuditFaultKind::OtherCopy,
            _ if !self.has_latest => AuditFaultKind::Unlogged,
            _ => return None,
        };
        Some(AuditFault { line: self.lines, kind })
    }
}

/// The end of a file, and the commits that it proves.
#[derive(Clone)]
pub(crate) struct Before {
    position: Position,
    proof: Proof,
    unsettled: Unsettled,
}

/// Verifies the file at `path`. `keys` are the line keys of all root keys that the store has had. `memory` is the
/// store's records, which must be read before this call, because the log may grow meanwhile. `before` is the end of the
/// file that this one must continue, if known. `is_current` requires that the file is the current one.
///
/// # Errors
/// `ErrorKind::Io` if the file cannot be read. Faults in its lines are part of the report instead.
pub(crate) fn verify(
    path: &Path,
    keys: &[LineKey],
    store_id: &[u8],
    memory: &Memory,
    before: Option<&Before>,
    is_current: bool,
) -> Result<Verified> {
    let failed = |error| io_error("read", path, error);
    let macs = Macs::new(keys, store_id)?;
    let mut chain = match before {
        Some(before) => Chain::after(before.position.clone(), &macs),
        None => Chain::after(macs.start(), &macs),
    };
    let (file, len) = whole_lines(path).map_err(failed)?;
    let mut lines = Lines::new(BufReader::new(file.take(len)));
    let mut report = AuditReport::default();
    let mut unsettled = before.map_or_else(Unsettled::default, |before| before.unsettled.clone().in_next_file());
    let known = memory.known();
    let mut start = None;
    let mut has_latest = memory.named == 0 || before.is_some_and(|before| before.proof.tells_of(memory.named));
    while let Some(bytes) = lines.read().map_err(failed)? {
        let reached = chain.last().map(|last| last.head.lines);
        let findings = chain.step(bytes)?;
        let moved = chain.last().map(|last| &last.head).filter(|head| Some(head.lines) != reached);
        // Only the first line of a file begins it.
        let begins = start.is_none() && chain.begins_file();
        let is_explained = moved.is_some() && unsettled.step(lines.number, chain.commits(), chain.shown(), begins);
        for kind in findings.fault.into_iter().chain(findings.of_store.filter(|_| !is_explained)) {
            if report.faults.len() < MAX_FAULTS {
                report.faults.push(AuditFault { line: lines.number, kind });
            }
        }
        let Some(head) = moved else { continue };
        start.get_or_insert(chain.lines_before());
        // The log may have been rotated since.
        let is_later = begins && chain.proof().named > memory.named;
        has_latest |= is_later || chain.proof().tells_of(memory.named);
        report.events = report.events.saturating_add(1);
        report.last = head.lines;
        report.first = if report.first == 0 { head.lines } else { report.first };
        // Only after a cut can the KMS have given a number a second time.
        if known.get(&head.lines).is_some_and(|macs| macs.iter().any(|mac| *mac != head.mac)) {
            report.faults.push(AuditFault { line: lines.number, kind: AuditFaultKind::CutShort });
            has_latest = true;
        }
    }
    let start = start.unwrap_or(chain.lines_before());
    let is_old = memory.is_old(start);
    let (late, of_files_before) =
        unsettled.take_faults().into_iter().partition::<Vec<_>, _>(|late| late.files_back == 0);
    let room = MAX_FAULTS.saturating_sub(report.faults.len());
    report.faults.extend(late.iter().map(|late| late.fault).take(room));
    // Stable: several faults of a line stay in their order.
    report.faults.sort_by_key(|fault| fault.line);
    if is_current && is_old || report.last < memory.needed_after(start) || memory.rules_out(start, is_current) {
        let line = lines.number.saturating_add(1);
        report.faults.push(AuditFault { line, kind: AuditFaultKind::CutShort });
        has_latest = true;
    }
    let position = chain.last().cloned().unwrap_or_else(|| macs.start());
    let end = Before { position, proof: chain.proof(), unsettled };
    Ok(Verified { report, end, is_current: !is_old, has_latest, lines: lines.number, of_files_before })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use AuditFaultKind::{Changed, CutShort, Malformed, OutOfSequence, Torn};

    use super::*;
    use crate::audit::Head;
    use crate::audit::line::{Position, Slot, write};
    use crate::audit::tests::{STORE, event, keys, tenant};
    use manila_core::EncryptionContext;

    fn slot(last: &Position) -> Slot<'_> {
        Slot { last, at: 0, proof: Proof::default(), begins: None }
    }

    /// Returns `count` lines after `place` under the newest of the keys, each with its newline.
    fn continue_log(count: u64, place: &mut Position, keys: &[LineKey], store_id: &[u8]) -> Vec<Vec<u8>> {
        let macs = Macs::new(keys, store_id).unwrap();
        let mut next = |_| {
            let (line, after) = write(&event("Decrypt", &tenant()), false, &slot(place), &macs).unwrap();
            *place = after;
            line
        };
        (0..count).map(&mut next).collect()
    }

    /// Returns a log of `count` lines, and the head after each.
    fn log(count: u64) -> (Vec<Vec<u8>>, Vec<Head>) {
        let keys = keys([1]);
        let mut place = Macs::new(&keys, STORE).unwrap().start();
        let next = |_| (continue_log(1, &mut place, &keys, STORE).remove(0), place.head.clone());
        (0..count).map(next).unzip()
    }

    fn check(bytes: &[u8], keys: &[LineKey], checkpoint: Option<&Head>) -> (u64, Vec<(u64, AuditFaultKind)>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        let checkpoint = checkpoint.map(|head| Checkpoint { head: head.clone(), len: 0, begins: None });
        let memory = Memory { checkpoint, ..Memory::default() };
        let report = verify(file.path(), keys, STORE, &memory, None, true).unwrap().report;
        assert_eq!(report.is_intact(), report.faults.is_empty());
        (report.events, report.faults.iter().map(|fault| (fault.line, fault.kind)).collect())
    }

    /// Returns the faults of a log of the lines with these numbers; for `-n`, line `n` has a changed principal.
    fn found(numbers: &[isize]) -> (u64, Vec<(u64, AuditFaultKind)>) {
        let (lines, _) = log(9);
        let pick = |number: &isize| {
            let line = String::from_utf8(lines[number.unsigned_abs() - 1].clone()).unwrap();
            if *number < 0 { line.replace(":root", ":toor") } else { line }
        };
        check(numbers.iter().map(pick).collect::<String>().as_bytes(), &keys([1]), None)
    }

    #[test]
    fn what_was_done_to_lines_is_found_where_it_was_done() {
        assert_eq!(found(&[1, 2, 3, 4, 5]), (5, vec![]));
        assert_eq!(found(&[]), (0, vec![]));
        // One or several lines changed, including the first and the last.
        assert_eq!(found(&[1, -2, 3, 4]), (3, vec![(2, Changed)]));
        assert_eq!(found(&[-1, 2, -3, -4, 5, -6]), (2, vec![(1, Changed), (3, Changed), (4, Changed), (6, Changed)]));
        // Lines removed.
        assert_eq!(found(&[1, 3, 4]), (3, vec![(2, OutOfSequence)]));
        assert_eq!(found(&[2, 3]), (2, vec![(1, OutOfSequence)]));
        assert_eq!(found(&[1, 5, 6, 8]), (4, vec![(2, OutOfSequence), (4, OutOfSequence)]));
        // A line removed next to a changed one.
        assert_eq!(found(&[1, -2, 4, 5]), (3, vec![(2, Changed), (3, OutOfSequence)]));
        assert_eq!(found(&[1, -2, 3, 5]), (3, vec![(2, Changed), (4, OutOfSequence)]));
        // Lines swapped, moved, repeated.
        assert_eq!(found(&[1, 3, 2, 4, 5]), (4, vec![(2, OutOfSequence), (3, OutOfSequence)]));
        assert_eq!(found(&[1, 2, 3, 1, 4]), (4, vec![(4, OutOfSequence)]));
        assert_eq!(found(&[1, 2, 2, 3]), (3, vec![(3, OutOfSequence)]));
        assert_eq!(found(&[1, 2, -2, 3]), (3, vec![(3, Changed)]));
    }

    #[test]
    fn other_text_and_torn_lines_are_found() {
        let (lines, _) = log(3);
        let [one, two, three] = [&lines[0][..], &lines[1], &lines[2]];
        let of = |parts: &[&[u8]]| check(&parts.concat(), &keys([1]), None);
        assert_eq!(of(&[one, b"hello\n", two, b"\n", three]), (3, vec![(2, Malformed), (4, Malformed)]));
        assert_eq!(of(&[one, &two[..100], b"\n", two, three]), (3, vec![(2, Torn)]));
        assert_eq!(of(&[one, two, &three[..100]]), (2, vec![(3, Torn)]));
        // Cut short by hand, which the next line reveals.
        assert_eq!(of(&[one, &two[..100], b"\n", three]), (2, vec![(2, Torn), (3, OutOfSequence)]));
        // A line without its newline is whole.
        assert_eq!(of(&[one, two.trim_ascii_end()]), (2, vec![]));
        let long = "x".repeat(3 << 20) + "\n";
        assert_eq!(of(&[one, long.as_bytes(), two]), (2, vec![(2, Malformed)]));
    }

    #[test]
    fn a_change_of_any_byte_is_found() {
        let (lines, heads) = log(3);
        let bytes = lines.concat();
        let last = bytes.len() - 1;
        for at in 0..bytes.len() {
            for change in [0x01, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                let (events, faults) = check(&changed, &keys([1]), None);
                assert!(!faults.is_empty() && events < 3, "byte {at}: {faults:?}");
                assert!(check(&changed, &keys([1]), heads.last()).1.len() >= faults.len());
            }
            let mut removed = bytes.clone();
            removed.remove(at);
            // The last newline carries no information.
            assert_eq!(check(&removed, &keys([1]), None).1.is_empty(), at == last, "byte {at}");
        }
    }

    #[test]
    fn the_stores_memory_shows_a_missing_end() {
        let (lines, heads) = log(5);
        let with =
            |count: usize, checkpoint: usize| check(&lines[..count].concat(), &keys([1]), Some(&heads[checkpoint - 1]));
        assert_eq!(with(5, 5), (5, vec![]));
        assert_eq!(with(5, 2), (5, vec![]));
        assert_eq!(with(3, 5), (3, vec![(4, CutShort)]));
        assert_eq!(with(0, 1), (0, vec![(1, CutShort)]));
        // Cut off after the second line, and continued from there.
        let keys = keys([1]);
        let mut place = Position { head: heads[1].clone(), epoch: 1 };
        let macs = Macs::new(&keys, STORE).unwrap();
        let context = EncryptionContext::empty();
        let other = event("Encrypt", &context);
        let (third, after) = write(&other, false, &slot(&place), &macs).unwrap();
        place = after;
        let gone_on = [lines[..2].concat(), third, continue_log(3, &mut place, &keys, STORE).concat()].concat();
        assert_eq!(check(&gone_on, &keys, None), (6, vec![]));
        assert_eq!(check(&gone_on, &keys, Some(&heads[4])), (6, vec![(5, CutShort)]));
        // The end of that log after the beginning of the other: the numbers match, but the lines do not.
        let gone_on: Vec<_> = gone_on.split_inclusive(|byte| *byte == b'\n').collect();
        let joined = [lines[..3].concat(), gone_on[3..].concat()].concat();
        assert_eq!(check(&joined, &keys, None), (6, vec![(4, OutOfSequence)]));
    }

    #[test]
    fn keys_change_forwards_only_and_only_known_ones_count() {
        let (old, new, both) = (keys([1]), keys([2]), keys([1, 2]));
        let mut place = Macs::new(&old, STORE).unwrap().start();
        let mut lines = continue_log(2, &mut place, &old, STORE);
        lines.extend(continue_log(2, &mut place, &both, STORE));
        assert_eq!(check(&lines.concat(), &both, None), (4, vec![]));
        assert_eq!(check(&lines.concat(), &old, None), (2, vec![(3, Changed), (4, Changed)]));
        assert_eq!(check(&lines.concat(), &new, None), (2, vec![(1, Changed), (2, Changed)]));
        // Someone with only the old key cannot continue after a line under the new one.
        lines.extend(continue_log(2, &mut place, &old, STORE));
        assert_eq!(check(&lines.concat(), &both, None), (4, vec![(5, Changed), (6, Changed)]));
    }

    #[test]
    fn a_log_of_another_store_is_foreign() {
        let keys = keys([1]);
        let mut place = Macs::new(&keys, b"another").unwrap().start();
        let lines = continue_log(2, &mut place, &keys, b"another");
        assert_eq!(check(&lines.concat(), &keys, None), (0, vec![(1, Changed), (2, Changed)]));
    }

    #[test]
    fn a_report_has_room_for_a_thousand_faults_and_the_missing_end() {
        let (_, heads) = log(1);
        let (_, faults) = check("x\n".repeat(5000).as_bytes(), &keys([1]), heads.last());
        assert_eq!(faults.len(), 1001);
        assert_eq!(faults[999..], [(1000, Malformed), (5001, CutShort)]);
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = verify(&dir.path().join("none"), &keys([1]), STORE, &Memory::default(), None, true).err().unwrap();
        assert_eq!(error.kind(), crate::ErrorKind::Io);
    }
}
