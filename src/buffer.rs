//! Buffers that are filled from one end to the other.

use std::io;

/// Makes `buffer` `len` bytes long. What it holds then is of no meaning: some of it is what was there before.
///
/// Memory that is fresh from the system is zero already, so it is asked for as such and not written twice; a buffer
/// that is used again keeps its memory, and only what it grows by is cleared.
pub(crate) fn fit(buffer: &mut Vec<u8>, len: usize) {
    if buffer.capacity() < len {
        // The old memory goes before the new comes.
        *buffer = Vec::new();
        *buffer = vec![0; len];
    } else {
        buffer.resize(len, 0);
    }
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
            fit(&mut buffer, len);
            assert_eq!((buffer.len(), buffer.as_ptr()), (len, at));
        }
        fit(&mut buffer, 101);
        assert_eq!(buffer, [0; 101]);
    }
}
