//! The comparison that users make: this crate, the bare primitives, and what the registries offer for the same purpose.
//!
//! `ci/bench-peers` runs it whole. By hand, from this folder:
//!
//! ```text
//! cargo run --release -- measure GROUP > FILE     one of the groups in `cells.rs`
//! cargo run --release -- report FILE...           the tables of docs/speed.md; PLOT=FILE draws its chart
//! cargo run --release -- sha384                   the hash of signed messages alone
//! ```
//!
//! In each cell of a table the peers take turns, round by round, each with its own natural interface on the same
//! plaintext, so that whatever else the machine does falls on all of them. A peer that does not have a cell is not in
//! it. `MANILA_INTEROP` names the folder in which `tests/interop/setup.sh` has installed the SDKs for Python and
//! JavaScript; without it they are left out, and the table says so by their absence.
//!
//! All keys here are test keys.

#[path = "../../limits/bare.rs"]
#[allow(dead_code, reason = "the bench `limits` uses the rest")]
mod bare;
mod cells;
mod measure;
mod peers;
mod report;
mod sha384;
#[path = "../../shared/svg.rs"]
mod svg;

use std::process::ExitCode;
use std::time::Duration;

use crate::cells::Group;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["measure", name] if Group::named(name).is_some() => measure::group(Group::named(name).unwrap()),
        ["sha384"] => sha384::print(Duration::from_secs(5)),
        ["report", files @ ..] if !files.is_empty() => report::print(files),
        _ => {
            let groups = Group::all().map(|group| group.name).join(", ");
            eprintln!("usage: manila-peers measure GROUP | report FILE... | sha384\ngroups: {groups}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
