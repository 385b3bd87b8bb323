//! Sealing into a `std::io::Write`.

use std::fmt;
use std::io::{self, Write};

use crate::encrypt::Encryptor;
use crate::error::{Error, Result};
use crate::stream::seal::SealStream;

impl Encryptor {
    /// A writer that seals what is written to it, and writes the message to `sink`.
    ///
    /// The message is complete once [`EncryptWriter::finish`] has returned; a writer dropped before that leaves
    /// bytes that never open.
    ///
    /// ```
    /// use std::io::Write;
    /// # use manila::{Client, EncryptionContext, ExpectedContext, RawAesKeyring};
    /// # let client = Client::new(RawAesKeyring::new("example", "key-1", &[0; 32])?);
    /// let mut writer = client.encryptor(&EncryptionContext::empty())?.writer(Vec::new());
    /// writer.write_all(b"piece by piece")?;
    /// let sealed = writer.finish()?;
    /// # assert_eq!(client.decrypt(&sealed, ExpectedContext::any())?.plaintext, b"piece by piece");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writer<W: Write>(self, sink: W) -> EncryptWriter<W> {
        EncryptWriter::new(self, sink)
    }
}

/// Seals what is written to it, in constant memory.
///
/// Call [`finish`](Self::finish): without it the message lacks its final frame and never opens. Dropping the
/// writer writes nothing. Sealed frames are collected and written in batches of about 64 KiB, or of one frame if
/// that is longer; [`flush`](Write::flush) passes on those that are whole.
///
/// After an error every later call fails the same way.
#[must_use = "a message is not complete before `finish`"]
pub struct EncryptWriter<W> {
    engine: SealStream,
    sink: W,
    failed: Option<Error>,
}

impl<W: Write> EncryptWriter<W> {
    pub(crate) fn new(encryptor: Encryptor, sink: W) -> Self {
        Self { engine: SealStream::new(encryptor), sink, failed: None }
    }

    /// Writes the final frame, and the signature of signed suites, flushes, and gives the sink back. The sink must not
    /// answer `WouldBlock` any more: the writer is taken along.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the sink fails, or the error of an earlier call.
    pub fn finish(mut self) -> Result<W> {
        self.check()?;
        self.drain()?;
        self.engine.finish()?;
        self.drain()?;
        loop {
            match self.sink.flush() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                flushed => break flushed?,
            }
        }
        Ok(self.sink)
    }

    /// Writes all that is ready.
    fn drain(&mut self) -> io::Result<()> {
        while !self.engine.ready().is_empty() {
            match self.sink.write(self.engine.ready()) {
                Ok(0) => {
                    let error = io::Error::new(io::ErrorKind::WriteZero, "the sink takes no more bytes");
                    return Err(self.latch(error.into()));
                }
                Ok(count) => self.engine.sent(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(error) => return Err(self.latch(error.into())),
            }
        }
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        self.failed.clone().map_or(Ok(()), |error| Err(error.into()))
    }

    fn latch(&mut self, error: Error) -> io::Error {
        self.failed = Some(error.clone());
        error.into()
    }
}

impl<W: Write> Write for EncryptWriter<W> {
    fn write(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        self.check()?;
        if !self.engine.has_room() {
            self.drain()?;
        }
        self.engine.take(plaintext).map_err(|error| self.latch(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.drain()?;
        match self.sink.flush() {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Err(error),
            flushed => flushed.map_err(|error| self.latch(error.into())),
        }
    }
}

impl<W> fmt::Debug for EncryptWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptWriter").field("failed", &self.failed).finish_non_exhaustive()
    }
}
