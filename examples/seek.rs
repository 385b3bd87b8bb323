//! Reads the middle of a message without decrypting the rest, from a source that hands out ranges of bytes.
//!
//! ```text
//! 3900000 bytes of plaintext in 953 frames
//! 12 bytes from the middle: line 0123456
//! 12968 bytes of the message were fetched
//! ```

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use manila::keyring::RawAesKeyring;
use manila::{AlgorithmSuite, Client, EncryptionContext, ExpectedContext, ReadAt, Result};

/// Stands for an object in a store that is fetched by ranges, and counts the bytes that are fetched.
struct Object(Vec<u8>, AtomicU64);

impl ReadAt for Object {
    fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_some_at(offset, buf)?;
        self.1.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

fn main() -> Result<()> {
    // Not signed, since a reader that starts in the middle never verifies the signature at the end.
    let keyring = RawAesKeyring::new("example", "key-1", &[7; 32])?;
    let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
    let client = Client::builder(keyring).suite(suite).frame_length(4096).build()?;
    let lines: Vec<u8> = (0..300_000).flat_map(|n| format!("line {n:07}\n").into_bytes()).collect();
    let message = client.encrypt(&lines, &EncryptionContext::empty())?;

    // Verifies the final frame first, and with it the length; then each frame that is read, and no other.
    let file = client.open_seekable(Object(message, AtomicU64::new(0)), ExpectedContext::any())?;
    println!("{} bytes of plaintext in {} frames", file.plaintext_len(), file.frame_map().frames());

    // `file.cursor()` is a `Read` and `Seek` over the same bytes.
    let mut line = [0; 12];
    let read = file.read_at(123_456 * 13, &mut line)?;
    println!("{read} bytes from the middle: {}", String::from_utf8_lossy(&line));
    println!("{} bytes of the message were fetched", file.get_ref().1.load(Ordering::Relaxed));
    Ok(())
}
