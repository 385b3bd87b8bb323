//! Drivers: move bytes between an engine and a stream.
//!
//! They use the traits of `std::io`. Asynchronous streams are wrapped so that they return `WouldBlock` when they are
//! pending.

use std::io::{self, Read, Write};

use manila_core::Error;

use crate::buffer;
use crate::decrypt::Decryptor;
use crate::encrypt::Encryptor;
use crate::message::header::Header;
use crate::stream::decrypt_engine::{DecryptEngine, Start, Step};
use crate::stream::encrypt_engine::EncryptEngine;

/// Keeps the first error, with which every later call fails.
#[derive(Debug, Default)]
pub(super) struct Latch(Option<Error>);

impl Latch {
    fn check(&self) -> io::Result<()> {
        self.0.clone().map_or(Ok(()), |error| Err(error.into()))
    }

    fn latch(&mut self, error: impl Into<Error>) -> io::Error {
        let error = error.into();
        self.0 = Some(error.clone());
        error.into()
    }

    /// Keeps an error of a stream, unless it is `WouldBlock`, which is not a failure.
    pub(super) fn latch_io(&mut self, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::WouldBlock { error } else { self.latch(error) }
    }
}

/// Encrypts into a sink.
pub(super) struct EncryptDriver {
    engine: EncryptEngine,
    /// True once the whole message has been written to the sink.
    complete: bool,
    pub(super) failed: Latch,
}

impl EncryptDriver {
    pub(super) fn new(encryptor: Encryptor) -> Self {
        Self { engine: EncryptEngine::new(encryptor), complete: false, failed: Latch::default() }
    }

    /// Encrypts plaintext, and returns how many bytes it consumed; at least one unless `plaintext` is empty.
    pub(super) fn write(&mut self, sink: &mut impl Write, plaintext: &[u8]) -> io::Result<usize> {
        self.failed.check()?;
        if !self.engine.has_room() {
            self.drain(sink)?;
        }
        self.engine.write(plaintext).map_err(|error| self.failed.latch(error))
    }

    /// Reads from `source` once, and returns the number of bytes, which is 0 at its end.
    pub(super) fn write_from(&mut self, sink: &mut impl Write, source: &mut impl Read) -> io::Result<usize> {
        self.failed.check()?;
        self.drain(sink)?;
        let count = read_once(source, self.engine.space()).map_err(|error| self.failed.latch_io(error))?;
        self.engine.filled(count).map_err(|error| self.failed.latch(error))?;
        Ok(count)
    }

    /// Writes all frames that are complete to the sink, and flushes it.
    pub(super) fn flush(&mut self, sink: &mut impl Write) -> io::Result<()> {
        self.failed.check()?;
        self.drain(sink)?;
        if !self.engine.is_finished() {
            self.engine.flush().map_err(|error| self.failed.latch(error))?;
            self.drain(sink)?;
        }
        retry(|| sink.flush()).map_err(|error| self.failed.latch_io(error))
    }

    /// Completes the message. If it returns `WouldBlock`, it can be called again. Once it has succeeded, it does
    /// nothing.
    pub(super) fn finish(&mut self, sink: &mut impl Write) -> io::Result<()> {
        self.failed.check()?;
        if self.complete {
            return Ok(());
        }
        self.drain(sink)?;
        if !self.engine.is_finished() {
            self.engine.finish().map_err(|error| self.failed.latch(error))?;
        }
        self.flush(sink)?;
        self.complete = true;
        Ok(())
    }

    /// Writes all bytes that are ready to the sink.
    fn drain(&mut self, sink: &mut impl Write) -> io::Result<()> {
        while !self.engine.ready().is_empty() {
            let ready = self.engine.ready();
            match retry(|| sink.write(ready)).and_then(|count| buffer::check_count(count, ready.len())) {
                Ok(0) => {
                    let error = io::Error::new(io::ErrorKind::WriteZero, "the sink accepts no more bytes");
                    return Err(self.failed.latch(error));
                }
                Ok(count) => self.engine.consume(count),
                Err(error) => return Err(self.failed.latch_io(error)),
            }
        }
        Ok(())
    }
}

/// Decrypts from a source.
pub(super) struct DecryptDriver {
    engine: DecryptEngine,
    pub(super) failed: Latch,
}

impl DecryptDriver {
    pub(super) fn new(decryptor: Decryptor, start: Start) -> Self {
        Self { engine: DecryptEngine::new(decryptor, start), failed: Latch::default() }
    }

    pub(super) fn header(&self) -> &Header {
        self.engine.header()
    }

    /// Returns the plaintext that may be released.
    pub(super) fn plaintext(&self) -> &[u8] {
        self.engine.plaintext()
    }

    /// Consumes the first `count` bytes of [`plaintext`](Self::plaintext).
    pub(super) fn consume(&mut self, count: usize) {
        self.engine.consume(count);
    }

    /// Reads plaintext. Returns 0 at the end of a complete message.
    pub(super) fn read(&mut self, body: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
        self.failed.check()?;
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let count = self.engine.decrypt_into(buf);
            if count > 0 {
                return Ok(count);
            }
            if self.step(body)? {
                let count = self.engine.plaintext().read(buf)?;
                self.engine.consume(count);
                return Ok(count);
            }
        }
    }

    /// Advances until there is [`plaintext`](Self::plaintext). There is none at the end of a complete message.
    pub(super) fn fill(&mut self, body: &mut impl Read) -> io::Result<()> {
        self.failed.check()?;
        while !self.step(body)? {}
        Ok(())
    }

    /// Advances as far as the bytes that have arrived allow, or reads more. Returns true if there is plaintext, or if
    /// no more will come.
    fn step(&mut self, body: &mut impl Read) -> io::Result<bool> {
        match self.engine.advance().map_err(|error| self.failed.latch(error))? {
            Step::Consume | Step::Complete => Ok(true),
            Step::Read => {
                let count = read_once(body, self.engine.space()).map_err(|error| self.failed.latch_io(error))?;
                self.engine.filled(count);
                Ok(false)
            }
        }
    }
}

/// Reads from `source` once.
fn read_once(source: &mut impl Read, space: &mut [u8]) -> io::Result<usize> {
    let count = retry(|| source.read(space))?;
    buffer::check_count(count, space.len())
}

/// Calls again as long as the call is interrupted.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
