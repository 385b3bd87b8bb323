//! Messages piece by piece, in memory that does not grow with them.
//!
//! # The rules of a stream
//!
//! - One engine for each direction ([`seal`], [`open`]) takes bytes and gives bytes and does no IO. One loop for each
//!   ([`pump`]) carries bytes between an engine and a stream; what programs hold ([`read`], [`write`], and with tokio
//!   [`async_io`]) are skins over it.
//! - A message is whole when its final frame, the footer of signed suites, and then the end of the input have been
//!   seen. A stream that merely ends is truncated, never complete.
//! - Plaintext leaves only when its frame's tag has verified; that of the final frame only when all the rest has.
//! - The first error is kept, and every later call fails the same way. `Interrupted` is retried; `WouldBlock` is
//!   passed on, loses nothing, and the call can be repeated (but for those that take the stream along, and the reading
//!   of a header).
//! - Dropping a writer seals nothing: the final frame is written by finishing alone.
//! - Where a message is not read from its start to its end ([`seek`]), its final frame is verified first, so that its
//!   length can be believed.

#[cfg(feature = "tokio")]
mod async_io;
pub(crate) mod open;
pub(crate) mod pump;
pub(crate) mod read;
pub(crate) mod seal;
pub(crate) mod seek;
pub(crate) mod source;
mod window;
pub(crate) mod write;

/// On one thread frames are handled in batches of about this many bytes: few calls to the stream, and all in the
/// cache.
const BATCH: usize = 64 << 10;

/// On several threads, about this many bytes for each: starting a thread costs some tens of microseconds, sealing this
/// much a hundred. Twice as much is 2% faster, half as much 20% slower (`cargo bench --bench limits -- stream`).
const THREAD_BATCH: usize = 2 << 20;

/// More threads than this share batches that are made for so many: memory has an end where threads have none.
const MOST_THREADS: usize = 64;

/// The longest batch in bytes, but for one frame that is longer. It holds what [`MOST_THREADS`] take of short frames, and
/// bounds what they take of long ones: 64 frames of 64 MiB, the longest by default, would be 4 GiB.
const LONGEST_BATCH: usize = 256 << 20;

/// How many frames of `frame_len` bytes are handled at once.
fn frames_in_batch(threads: usize, frame_len: usize) -> usize {
    let frame_len = frame_len.max(1);
    match threads.min(MOST_THREADS) {
        0 | 1 => (BATCH / frame_len).max(1),
        threads => {
            let wanted = (THREAD_BATCH.saturating_mul(threads) / frame_len).saturating_add(1).max(threads);
            wanted.min(LONGEST_BATCH / frame_len).max(1)
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
                assert!(frames == 1 || frames.saturating_mul(frame_len) <= LONGEST_BATCH, "{threads} of {frame_len}");
                // Frames that are no longer than a thread's share keep all threads at work.
                let busy = frame_len > THREAD_BATCH || frames >= threads.min(MOST_THREADS);
                assert!(busy, "{frames} frames of {frame_len} for {threads} threads");
            }
        }
    }
}
