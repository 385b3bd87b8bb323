//! The keys of messages, one derivation at a time and side by side: nanoseconds a derivation, for groups of several
//! sizes.
//!
//! `cargo bench -p manila-lanes`. Both take turns in one process. A derivation is that of a message: a salt and a
//! secret of 32 bytes, two infos of 11 and 9 bytes, two outputs of 32 bytes.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../../../benches/shared/rounds.rs"]
mod rounds;

use std::hint::black_box;
use std::sync::Mutex;

use hkdf::Hkdf;
use manila_lanes::{Derivation, Expansion, hkdf_sha512, lanes};
use rounds::{Variant, median, take_turns};
use sha2::Sha512;

const ROUNDS: usize = 41;
const INFOS: [&[u8]; 2] = [b"\x04\x78DERIVEKEY", b"COMMITKEY"];

type Keys = Vec<[[u8; 32]; 2]>;

fn one_at_a_time(inputs: &[[[u8; 32]; 2]], keys: &mut Keys) {
    for ([salt, secret], keys) in inputs.iter().zip(keys) {
        let hkdf = Hkdf::<Sha512>::new(Some(salt), secret);
        for (info, key) in INFOS.iter().zip(keys) {
            hkdf.expand(info, key).unwrap();
        }
    }
}

fn side_by_side(inputs: &[[[u8; 32]; 2]], keys: &mut Keys) {
    let mut derivations: Vec<_> = inputs
        .iter()
        .zip(keys)
        .map(|([salt, secret], [one, two])| {
            let expansions = [Expansion { info: INFOS[0], out: one }, Expansion { info: INFOS[1], out: two }];
            Derivation { salt, secret, expansions }
        })
        .collect();
    hkdf_sha512(&mut derivations).unwrap();
}

fn main() {
    println!("{} at once; ns a derivation", lanes());
    println!("{:>5}  {:>13}  {:>12}  {:>5}", "group", "one at a time", "side by side", "ratio");
    for count in [1, 2, 3, 4, 5, 8, 9, 10, 12, 16, 17, 64] {
        let inputs: Vec<_> = (0_u8..).map(|n| [[n; 32], [!n; 32]]).take(count).collect();
        let keys = Mutex::new(vec![[[0; 32]; 2]; count]);
        let times = |work: fn(&[[[u8; 32]; 2]], &mut Keys), times| {
            let mut keys = keys.lock().unwrap();
            (0..times).for_each(|_| work(black_box(&inputs), black_box(&mut keys)));
        };
        let one = |_: usize, count: u64| times(one_at_a_time, count);
        let all = |_: usize, count: u64| times(side_by_side, count);
        let rates = take_turns(ROUNDS, &[Variant::new(1, &one), Variant::new(1, &all)]);
        let time = |of: usize| median(rates.iter().map(|rates| 1e9 / rates[of] / count as f64));
        let ratio = median(rates.iter().map(|rates| rates[1] / rates[0]));
        println!("{count:>5}  {:>13.0}  {:>12.0}  {ratio:>5.2}", time(0), time(1));
    }
}
