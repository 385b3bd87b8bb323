//! Copying, with errors that distinguish reading from writing.

use std::io::{ErrorKind, Read, Write};

use crate::failure::{Failure, Result};

/// The number of bytes that are read at a time.
pub const CHUNK: usize = 256 << 10;

/// Copies everything, and returns the number of bytes.
pub fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut copied: u64 = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(count) => {
                let written = to.write_all(buffer.get(..count).unwrap_or_default());
                written.map_err(|error| Failure::Work(format!("cannot write the output: {error}")))?;
                copied = copied.saturating_add(count as u64);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
