//! Peers that take turns.

use std::sync::Arc;
use std::time::Duration;

use crate::cells::Group;
use crate::peers::{self, Work};

/// The time that a peer works at least in its turn: long beside what a clock, or a request to a program, costs.
const TURN: Duration = Duration::from_millis(10);

/// Prints the time in seconds of each peer in each round, for each cell: one line for each of them.
pub fn group(group: Group) {
    let plaintext: Arc<[u8]> = plaintext(group.len()).into();
    let desk = tempfile::tempdir().expect("a temporary folder");
    let peers = peers::all(desk.path());
    for cell in group.cells() {
        let mut works: Vec<_> = peers
            .iter()
            .filter_map(|peer| Some((peer.name(cell), peer.start(cell, &plaintext)?)))
            .map(|(name, mut work)| (name, count(&mut work), work))
            .collect();
        let mut times = vec![Vec::new(); works.len()];
        for _ in 0..group.rounds {
            for ((_, count, work), times) in works.iter_mut().zip(&mut times) {
                times.push((work(*count).as_secs_f64() / *count as f64).to_string());
            }
        }
        for ((name, ..), times) in works.iter().zip(times) {
            println!("{}\t{}\t{name}\t{}", group.name, cell.column(), times.join("\t"));
        }
    }
}

/// So many times that they take a turn.
fn count(work: &mut Work) -> u64 {
    // The first time of all may fill a cache; where a turn is long, that does not matter.
    if work(1) >= TURN {
        return 1;
    }
    let mut count = 1;
    while work(count) < TURN {
        count *= 2;
    }
    count
}

/// Bytes that do not repeat within a frame, and are the same in each run.
fn plaintext(len: usize) -> Vec<u8> {
    (0_u32..).flat_map(|number| number.wrapping_mul(0x9e37_79b1).to_le_bytes()).take(len).collect()
}
