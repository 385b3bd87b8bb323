//! The input: a file or stdin, with a progress bar.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use indicatif::ProgressBarIter;

use crate::arguments::is_stdio;
use crate::copy::CHUNK;
use crate::failure::{Failure, Result};
use crate::progress;

/// A file or stdin. Its progress bar disappears when it is dropped.
pub struct Input(ProgressBarIter<Box<dyn Read>>);

impl Input {
    pub fn open(path: &Path) -> Result<Self> {
        if is_stdio(path) {
            return Ok(Self::new(io::stdin(), None));
        }
        let failed = |error| Failure::file("cannot read", path, error);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Failure::Work(format!("{path:?} is a folder: give a file")));
        }
        Ok(Self::new(file, Some(metadata.len())))
    }

    fn new(source: impl Read + 'static, len: Option<u64>) -> Self {
        let buffered: Box<dyn Read> = Box::new(BufReader::with_capacity(CHUNK, source));
        Self(progress::of_stream(len).wrap_read(buffered))
    }
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}
