//! Buffers that are filled from one end to the other.

use std::io;

use manila_core::{Error, ErrorKind, Result};
use zeroize::Zeroize;

/// A caller's buffer that is filled anew. Unless it is [kept](Self::keep) it is emptied, and all of its memory wiped,
/// when this is dropped: after an error, in a panic, and with a future that is dropped before its end.
pub(crate) struct Refilled<'a> {
    buffer: &'a mut Vec<u8>,
    kept: bool,
}

impl<'a> Refilled<'a> {
    pub(crate) fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self { buffer, kept: false }
    }

    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.buffer
    }

    /// Leaves to the caller what the buffer holds.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Refilled<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.buffer.zeroize();
        }
    }
}

/// Makes `buffer` `len` bytes long. What it holds then is of no meaning: some of it is what was there before.
///
/// Memory that is fresh from the system is zero already, so it is asked for as such and not written twice; a buffer
/// that is used again keeps its memory, and only what it grows by is cleared.
///
/// # Errors
/// As [`in_memory`].
pub(crate) fn fit(buffer: &mut Vec<u8>, len: u64) -> Result<()> {
    let len = in_memory(len)?;
    if buffer.capacity() < len {
        // The old memory goes before the new comes.
        *buffer = Vec::new();
        *buffer = vec![0; len];
    } else {
        buffer.resize(len, 0);
    }
    Ok(())
}

/// A length in a message as one in memory.
///
/// # Errors
/// [`ErrorKind::LimitExceeded`] if no buffer can be so long: where addresses have 32 bits, messages can be longer.
pub(crate) fn in_memory(len: u64) -> Result<usize> {
    // The longest allocation that there can be.
    let addressable = usize::try_from(len).ok().filter(|len| isize::try_from(*len).is_ok());
    addressable.ok_or_else(|| {
        let detail =
            format!("{len} bytes are more than this machine can hold in memory: use a stream, or shorter frames");
        Error::new(ErrorKind::LimitExceeded, detail)
    })
}

/// The number of bytes that a stream says it took or gave, which had `room` for so many.
///
/// # Errors
/// If it says more: which bytes those would be nobody knows.
pub(crate) fn believed(count: usize, room: usize) -> io::Result<usize> {
    let detail = "a stream broke its contract: it told of more bytes than there was room for";
    if count > room { Err(io::Error::other(detail)) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_large_enough_keeps_its_memory() {
        let mut buffer = vec![7; 100];
        let at = buffer.as_ptr();
        for len in [100, 10, 90, 0, 100] {
            fit(&mut buffer, len).unwrap();
            assert_eq!((buffer.len() as u64, buffer.as_ptr()), (len, at));
        }
        fit(&mut buffer, 101).unwrap();
        assert_eq!(buffer, [0; 101]);
    }

    #[test]
    fn what_no_memory_can_hold_is_an_error_and_no_panic() {
        for len in [u64::MAX, isize::MAX as u64 + 1] {
            let mut buffer = vec![7; 10];
            assert_eq!(fit(&mut buffer, len).unwrap_err().kind(), ErrorKind::LimitExceeded);
            assert_eq!(buffer, [7; 10]);
        }
        assert_eq!(in_memory(isize::MAX as u64).unwrap(), isize::MAX as usize);
    }
}
