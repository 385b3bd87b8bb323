//! What carries bytes between an engine and a stream, whichever skin it wears.
//!
//! Streams are those of `std::io` here; an asynchronous one stands behind a face that answers `WouldBlock` where it
//! waits.

use std::io::{self, Read, Write};

use manila_core::Error;

use crate::buffer;
use crate::decrypt::Decryptor;
use crate::encrypt::Encryptor;
use crate::message::header::Header;
use crate::stream::open::{OpenStream, Step};
use crate::stream::seal::SealStream;

/// The first error, which every later call fails with.
#[derive(Debug, Default)]
pub(super) struct Latch(Option<Error>);

impl Latch {
    fn check(&self) -> io::Result<()> {
        self.0.clone().map_or(Ok(()), |error| Err(error.into()))
    }

    fn keep(&mut self, error: impl Into<Error>) -> io::Error {
        let error = error.into();
        self.0 = Some(error.clone());
        error.into()
    }

    /// An error of a stream. One that waits has not failed.
    pub(super) fn of_stream(&mut self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::WouldBlock { error } else { self.keep(error) }
    }
}

/// Seals into a sink.
pub(super) struct SealPump {
    engine: SealStream,
    /// Whether the whole message has been passed on.
    complete: bool,
    pub(super) failed: Latch,
}

impl SealPump {
    pub(super) fn new(encryptor: Encryptor) -> Self {
        Self { engine: SealStream::new(encryptor), complete: false, failed: Latch::default() }
    }

    /// Takes plaintext, some of it at least.
    pub(super) fn write(&mut self, sink: &mut impl Write, plaintext: &[u8]) -> io::Result<usize> {
        self.failed.check()?;
        if !self.engine.has_room() {
            self.drain(sink)?;
        }
        self.engine.take(plaintext).map_err(|error| self.failed.keep(error))
    }

    /// Takes what `source` has to give, once, and returns how much; 0 at its end.
    pub(super) fn write_from(&mut self, sink: &mut impl Write, source: &mut impl Read) -> io::Result<usize> {
        self.failed.check()?;
        self.drain(sink)?;
        let count = read_once(source, self.engine.space()).map_err(|error| self.failed.of_stream(error))?;
        self.engine.filled(count).map_err(|error| self.failed.keep(error))?;
        Ok(count)
    }

    /// Passes on what is whole.
    pub(super) fn flush(&mut self, sink: &mut impl Write) -> io::Result<()> {
        self.failed.check()?;
        self.drain(sink)?;
        if !self.engine.is_finished() {
            self.engine.settle().map_err(|error| self.failed.keep(error))?;
            self.drain(sink)?;
        }
        retry(|| sink.flush()).map_err(|error| self.failed.of_stream(error))
    }

    /// Completes the message. If it would block it can be called again; once it has succeeded it does nothing more.
    pub(super) fn finish(&mut self, sink: &mut impl Write) -> io::Result<()> {
        self.failed.check()?;
        if self.complete {
            return Ok(());
        }
        self.drain(sink)?;
        if !self.engine.is_finished() {
            self.engine.finish().map_err(|error| self.failed.keep(error))?;
        }
        self.flush(sink)?;
        self.complete = true;
        Ok(())
    }

    /// Writes all that is ready.
    fn drain(&mut self, sink: &mut impl Write) -> io::Result<()> {
        while !self.engine.ready().is_empty() {
            let ready = self.engine.ready();
            match retry(|| sink.write(ready)).and_then(|count| buffer::check_count(count, ready.len())) {
                Ok(0) => {
                    let error = io::Error::new(io::ErrorKind::WriteZero, "the sink takes no more bytes");
                    return Err(self.failed.keep(error));
                }
                Ok(count) => self.engine.sent(count),
                Err(error) => return Err(self.failed.of_stream(error)),
            }
        }
        Ok(())
    }
}

/// Opens from a source.
pub(super) struct OpenPump {
    engine: OpenStream,
    pub(super) failed: Latch,
}

impl OpenPump {
    pub(super) fn new(decryptor: Decryptor) -> Self {
        Self { engine: OpenStream::new(decryptor), failed: Latch::default() }
    }

    pub(super) fn header(&self) -> &Header {
        self.engine.header()
    }

    /// Plaintext that may be released.
    pub(super) fn plaintext(&self) -> &[u8] {
        self.engine.plaintext()
    }

    /// Takes note that the first `count` bytes of [`plaintext`](Self::plaintext) were taken.
    pub(super) fn taken(&mut self, count: usize) {
        self.engine.taken(count);
    }

    /// Reads plaintext; 0 bytes at the end of a message that is complete.
    pub(super) fn read(&mut self, body: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
        self.failed.check()?;
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let count = self.engine.open_into(buf);
            if count > 0 {
                return Ok(count);
            }
            if self.step(body)? {
                let count = self.engine.plaintext().read(buf)?;
                self.engine.taken(count);
                return Ok(count);
            }
        }
    }

    /// Goes on until there is [`plaintext`](Self::plaintext); none at the end of a message that is complete.
    pub(super) fn fill(&mut self, body: &mut impl Read) -> io::Result<()> {
        self.failed.check()?;
        while !self.step(body)? {}
        Ok(())
    }

    /// Goes on as far as what is at hand allows, or reads. True: there is plaintext, or none will come any more.
    fn step(&mut self, body: &mut impl Read) -> io::Result<bool> {
        match self.engine.advance().map_err(|error| self.failed.keep(error))? {
            Step::Take | Step::Complete => Ok(true),
            Step::Read => {
                let count = read_once(body, self.engine.space()).map_err(|error| self.failed.of_stream(error))?;
                self.engine.filled(count);
                Ok(false)
            }
        }
    }
}

/// Reads what `source` has to give, once.
fn read_once(source: &mut impl Read, space: &mut [u8]) -> io::Result<usize> {
    let count = retry(|| source.read(space))?;
    buffer::check_count(count, space.len())
}

/// Repeats a call while it is interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
