//! Streams: messages written and read in constant memory.
//!
//! # The rules of a stream
//!
//! - Each direction has one engine ([`encrypt_engine`], [`decrypt_engine`]), which consumes and produces bytes and does
//!   no IO, and one driver ([`driver`]), which moves bytes between the engine and a stream. The public types ([`read`],
//!   [`mod@write`], and with tokio [`async_io`]) are thin wrappers around the drivers.
//! - A message is complete once its final frame, the footer of signed suites, and then the end of the input have been
//!   seen. A stream that ends before that is truncated.
//! - Plaintext is released only after its frame's tag has been verified; that of the final frame only after the whole
//!   message has been.
//! - The first error is kept, and every later call fails with it. `Interrupted` is retried. `WouldBlock` is returned to
//!   the caller, loses nothing, and the call can be repeated, except for calls that consume the stream and for reading
//!   a header.
//! - Dropping a writer writes nothing: only finishing it writes the final frame.
//! - If a message is not read from start to end, its final frame is verified first, so that its length can be trusted.
//!   One engine ([`ranges`]) says what to fetch and decrypts it; [`seek`], `async_seek` and callers fetch.

#[cfg(feature = "tokio")]
mod async_io;
#[cfg(feature = "tokio")]
mod async_seek;
#[cfg(feature = "tokio")]
pub(crate) mod async_source;
pub(crate) mod decrypt_engine;
pub(crate) mod driver;
pub(crate) mod encrypt_engine;
pub(crate) mod ranges;
pub(crate) mod read;
pub(crate) mod seek;
pub(crate) mod source;
mod window;
pub(crate) mod write;

/// Approximate length in bytes of a batch of frames on one thread: large enough to make few calls to the stream, and
/// small enough for the processor's cache.
const BATCH: usize = 64 << 10;

/// Approximate length in bytes of each thread's share of a batch on several threads. Starting a thread takes some tens
/// of microseconds, and encrypting this much takes about a hundred. Twice as much is 2% faster, and half as much is 20%
/// slower (`cargo bench --bench limits -- stream`).
const THREAD_BATCH: usize = 2 << 20;

/// The number of threads beyond which batches no longer grow, so that memory is bounded for any number of threads.
const MAX_BATCH_THREADS: usize = 64;

/// Length in bytes of the longest batch, unless one frame is longer. It is enough for [`MAX_BATCH_THREADS`] threads
/// with short frames, and limits the memory for long ones: 64 frames of 64 MiB, the longest by default, would take 4
/// GiB.
const MAX_BATCH: usize = 256 << 20;

/// Returns the number of frames of `frame_len` bytes in a batch.
fn frames_in_batch(threads: usize, frame_len: usize) -> usize {
    let frame_len = frame_len.max(1);
    match threads.min(MAX_BATCH_THREADS) {
        0 | 1 => (BATCH / frame_len).max(1),
        threads => {
            let wanted = (THREAD_BATCH.saturating_mul(threads) / frame_len).saturating_add(1).max(threads);
            wanted.min(MAX_BATCH / frame_len).max(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_a_bound_whatever_threads_and_frames_are() {
        for threads in [1, 2, 7, 64, usize::MAX] {
            for frame_len in [0, 1, 4128, 65_568, 2 << 20, 64 << 20, 300 << 20, u32::MAX as usize, usize::MAX] {
                let frames = frames_in_batch(threads, frame_len);
                assert!(frames == 1 || frames.saturating_mul(frame_len) <= MAX_BATCH, "{threads} of {frame_len}");
                // If frames are not longer than a thread's share, every thread has work.
                let busy = frame_len > THREAD_BATCH || frames >= threads.min(MAX_BATCH_THREADS);
                assert!(busy, "{frames} frames of {frame_len} for {threads} threads");
            }
        }
    }
}
