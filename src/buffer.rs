//! Output buffers: sizing them, and wiping them after errors.

use std::io;

use manila_core::{Error, ErrorKind, Result};
use zeroize::Zeroize;

/// A guard for a caller's buffer while its contents are being replaced. Unless [`keep`](Self::keep) is called, dropping
/// the guard empties the buffer and wipes all of its memory: after an error, in a panic, and when a future is dropped
/// before it completes.
pub(crate) struct WipeGuard<'a> {
    buffer: &'a mut Vec<u8>,
    kept: bool,
}

impl<'a> WipeGuard<'a> {
    pub(crate) fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self { buffer, kept: false }
    }

    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer
    }

    /// Keeps the contents of the buffer.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for WipeGuard<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.buffer.zeroize();
        }
    }
}

/// Makes `buffer` `len` bytes long. Its contents are unspecified: part of them may be what was there before.
///
/// New memory is requested zeroed, which the system does without writing to it. A buffer that is large enough keeps its
/// memory, and only the part that it grows by is cleared.
///
/// # Errors
/// The same as [`check_len`].
pub(crate) fn resize(buffer: &mut Vec<u8>, len: u64) -> Result<()> {
    let len = check_len(len)?;
    if buffer.capacity() < len {
        // Free the old memory before allocating the new.
        *buffer = Vec::new();
        *buffer = vec![0; len];
    } else {
        buffer.resize(len, 0);
    }
    Ok(())
}

/// Makes `buffer` at least `len` bytes long, and keeps its contents.
///
/// # Errors
/// The same as [`check_len`].
pub(crate) fn grow(buffer: &mut Vec<u8>, len: u64) -> Result<()> {
    let len = check_len(len)?;
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    Ok(())
}

/// Converts a length in a message to the length of a buffer.
///
/// # Errors
/// [`ErrorKind::LimitExceeded`] if no buffer can be that long. On 32-bit machines, messages can be.
pub(crate) fn check_len(len: u64) -> Result<usize> {
    // No allocation can be longer than `isize::MAX`.
    let addressable = usize::try_from(len).ok().filter(|len| isize::try_from(*len).is_ok());
    addressable.ok_or_else(|| {
        let detail = format!("{len} bytes are more than this machine can address: use a stream, or shorter frames");
        Error::new(ErrorKind::LimitExceeded, detail)
    })
}

/// Checks the number of bytes that a caller's reader or writer returned for a buffer of `len` bytes.
///
/// # Errors
/// An error if the count is larger than the buffer, so that a faulty implementation cannot cause a panic or expose
/// stale bytes.
pub(crate) fn check_count(count: usize, len: usize) -> io::Result<usize> {
    let detail = "the reader or writer returned a count larger than its buffer: its implementation must be corrected";
    if count > len { Err(io::Error::other(detail)) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_large_enough_keeps_its_memory() {
        let mut buffer = vec![7; 100];
        let at = buffer.as_ptr();
        for len in [100, 10, 90, 0, 100] {
            resize(&mut buffer, len).unwrap();
            assert_eq!((buffer.len() as u64, buffer.as_ptr()), (len, at));
        }
        resize(&mut buffer, 101).unwrap();
        assert_eq!(buffer, [0; 101]);
    }

    #[test]
    fn a_length_that_cannot_be_allocated_is_an_error() {
        for len in [u64::MAX, isize::MAX as u64 + 1] {
            let mut buffer = vec![7; 10];
            assert_eq!(resize(&mut buffer, len).unwrap_err().kind(), ErrorKind::LimitExceeded);
            assert_eq!(buffer, [7; 10]);
        }
        assert_eq!(check_len(isize::MAX as u64).unwrap(), isize::MAX as usize);
    }
}
