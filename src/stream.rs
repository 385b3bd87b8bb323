//! Messages piece by piece, in memory that does not grow with them.
//!
//! # The rules of a stream
//!
//! - One engine for each direction ([`seal`], [`open`]) takes bytes and gives bytes and does no IO. What reads and
//!   writes ([`read`], [`write`]) only carries bytes between an engine and a stream.
//! - A message is whole when its final frame, the footer of signed suites, and then the end of the input have been
//!   seen. A stream that merely ends is truncated, never complete.
//! - Plaintext leaves only when its frame's tag has verified; that of the final frame only when all the rest has.
//! - The first error is kept, and every later call fails the same way. `Interrupted` is retried; `WouldBlock` is
//!   passed on, loses nothing, and the call can be repeated (but for `finish` and the reading of a header).
//! - Dropping a writer seals nothing: the final frame is written by `finish` alone.

pub(crate) mod open;
pub(crate) mod read;
pub(crate) mod seal;
pub(crate) mod write;

/// Frames are handled in batches of about this many bytes: few calls to the stream, and all in the cache.
const BATCH: usize = 64 << 10;
