//! SHA-384 alone, which decides the speed of signed messages: `manila-peers sha384`, beside
//! `openssl speed -evp sha384 -bytes 1048576`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use sha2::Digest;

const PIECE: usize = 1 << 20;

type Hash<'a> = &'a dyn Fn(&[u8]);

fn first(hash: &[u8]) {
    black_box(hash.first());
}

/// Prints the speed of three implementations that hash pieces of 1 MiB in turns.
pub fn print(time: Duration) {
    let piece = vec![0x61; PIECE];
    let hashes: [(&str, Hash<'_>); 3] = [
        ("aws-lc-rs", &|bytes| first(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, bytes).as_ref())),
        ("ring", &|bytes| first(ring::digest::digest(&ring::digest::SHA384, bytes).as_ref())),
        ("sha2", &|bytes| first(&sha2::Sha384::digest(bytes))),
    ];
    let mut times = hashes.map(|_| Vec::new());
    let end = Instant::now() + time;
    while Instant::now() < end {
        for ((_, hash), times) in hashes.iter().zip(&mut times) {
            let start = Instant::now();
            hash(black_box(&piece));
            times.push(start.elapsed().as_secs_f64());
        }
    }
    for ((name, _), mut times) in hashes.iter().zip(times) {
        times.sort_by(f64::total_cmp);
        let (low, median) = (times[0], times[times.len() / 2]);
        println!(
            "{name:<10} {:>6.1} MB/s, at best {:>6.1} (median of {})",
            1.048576 / median,
            1.048576 / low,
            times.len()
        );
    }
}
