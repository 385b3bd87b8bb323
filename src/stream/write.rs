//! Sealing into a stream.

use std::fmt;
use std::io::{self, Read, Write};

use manila_core::Result;

use crate::encrypt::Encryptor;
use crate::stream::pump::SealPump;

impl Encryptor {
    /// A writer that seals what is written to it, and writes the message to `sink`.
    ///
    /// The message is complete once [`EncryptWriter::finish`] has returned; a writer dropped before that leaves
    /// bytes that never open.
    ///
    /// ```
    /// use std::io::Write;
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "key-1", &[0; 32])?);
    /// let mut writer = client.encryptor(&EncryptionContext::empty())?.writer(Vec::new());
    /// writer.write_all(b"piece by piece")?;
    /// let sealed = writer.finish()?;
    /// # assert_eq!(client.decrypt(&sealed, ExpectedContext::any())?.plaintext, b"piece by piece");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writer<W>(self, sink: W) -> EncryptWriter<W> {
        EncryptWriter::new(self, sink)
    }
}

/// Seals what is written to it, in constant memory.
///
/// Call [`finish`](Self::finish): without it the message lacks its final frame and never opens. Dropping the
/// writer writes nothing. Sealed frames are collected and written in batches of about 64 KiB, or of one frame if
/// that is longer, and of about 2 MiB for each thread where there are [several](crate::ClientBuilder::threads);
/// [`flush`](Write::flush) passes on those that are whole.
///
/// With the feature `tokio` it is an `AsyncWrite` too, over a sink that is one.
///
/// After an error every later call fails the same way.
#[must_use = "a message is not complete before `finish`"]
pub struct EncryptWriter<W> {
    pub(super) pump: SealPump,
    pub(super) sink: W,
}

impl<W> EncryptWriter<W> {
    pub(crate) fn new(encryptor: Encryptor, sink: W) -> Self {
        Self { pump: SealPump::new(encryptor), sink }
    }
}

impl<W: Write> EncryptWriter<W> {
    /// Seals all that `source` has to give, read straight to where it is sealed from, and returns its length in bytes.
    ///
    /// As `std::io::copy`, without its small buffer. If it answers `WouldBlock`, what it has read so far is not lost,
    /// and it can be called again for the rest.
    ///
    /// # Errors
    /// Those of `source` and of the sink; both end the message.
    pub fn write_from(&mut self, mut source: impl Read) -> io::Result<u64> {
        let mut len = 0_u64;
        loop {
            match self.pump.write_from(&mut self.sink, &mut source)? {
                0 => return Ok(len),
                count => len = len.saturating_add(count as u64),
            }
        }
    }

    /// Writes the final frame, and the signature of signed suites, flushes, and gives the sink back.
    ///
    /// It takes the writer along: where the sink may answer `WouldBlock`, call [`try_finish`](Self::try_finish) first.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the sink fails, or the error of an earlier call.
    pub fn finish(mut self) -> Result<W> {
        self.try_finish()?;
        Ok(self.sink)
    }

    /// As [`finish`](Self::finish), which is still to be called for the sink: for sinks that answer `WouldBlock`, after
    /// which this can be called again. Nothing more can be written.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn try_finish(&mut self) -> io::Result<()> {
        self.pump.finish(&mut self.sink)
    }
}

impl<W: Write> Write for EncryptWriter<W> {
    fn write(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        self.pump.write(&mut self.sink, plaintext)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pump.flush(&mut self.sink)
    }
}

impl<W> fmt::Debug for EncryptWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptWriter").field("failed", &self.pump.failed).finish_non_exhaustive()
    }
}
