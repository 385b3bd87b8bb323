//! The peers. Each is asked for a cell, tries once that what it encrypts decrypts, and hands over the work to repeat.

mod age;
mod aws_esdk;
mod kms_aead;
mod ours;
mod primitives;
mod programs;
mod tink;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cells::Cell;

/// Does it so often, and returns the time that it took.
pub type Work = Box<dyn FnMut(u64) -> Duration>;

pub trait Peer {
    /// The name of its row.
    fn name(&self, cell: Cell) -> String;

    /// Returns the work of a cell, unless the peer does not have it.
    fn start(&self, cell: Cell, plaintext: &Arc<[u8]>) -> Option<Work>;
}

/// Every peer that can run here, ours first and the limit last.
pub fn all(desk: &Path) -> Vec<Box<dyn Peer>> {
    let mut peers: Vec<Box<dyn Peer>> = vec![
        Box::new(ours::Plain),
        Box::new(ours::IntoUsedMemory),
        Box::new(ours::TwoThreads),
        Box::new(aws_esdk::AwsEsdk::new()),
    ];
    peers.extend(programs::all(desk));
    peers.push(Box::new(tink::Tink));
    peers.push(Box::new(age::Age));
    peers.push(Box::new(kms_aead::KmsAead));
    peers.push(Box::new(primitives::Primitives));
    peers
}

/// Work in this process.
fn timed(mut once: impl FnMut() + 'static) -> Work {
    Box::new(move |count| {
        let start = Instant::now();
        (0..count).for_each(|_| once());
        start.elapsed()
    })
}

/// The wrapping key of all peers that take one.
const TEST_KEY: [u8; 32] = [7; 32];
const NAMESPACE: &str = "peers";
const KEY_NAME: &str = "test-key";
