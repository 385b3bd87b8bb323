//! [`EncryptWriter`]: writes a message to a stream.

use std::fmt;
use std::io::{self, Read, Write};

use manila_core::Result;

use crate::encrypt::Encryptor;
use crate::stream::driver::EncryptDriver;

impl Encryptor {
    /// Returns a writer that encrypts everything written to it, and writes the message to `sink`.
    ///
    /// The message is complete once [`EncryptWriter::finish`] has returned. If the writer is dropped before that,
    /// decrypting the bytes in `sink` fails.
    ///
    /// ```
    /// use std::io::Write;
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let mut writer = client.encryptor(&EncryptionContext::empty())?.writer(Vec::new());
    /// writer.write_all(b"piece by piece")?;
    /// let message = writer.finish()?;
    /// # assert_eq!(client.decrypt(&message, ExpectedContext::any())?.plaintext, b"piece by piece");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writer<W>(self, sink: W) -> EncryptWriter<W> {
        EncryptWriter::new(self, sink)
    }
}

/// Encrypts everything written to it into a message, in constant memory.
///
/// Call [`finish`](Self::finish): without it, the message lacks its final frame, and decrypting it fails. Dropping the
/// writer writes nothing. Encrypted frames are collected and written in batches of about 64 KiB, or one frame if that
/// is longer. With [several threads](crate::ClientBuilder::threads), batches are about 2 MiB for each thread.
/// [`flush`](Write::flush) writes all frames that are complete.
///
/// With the feature `tokio` it implements `AsyncWrite` too, over a sink that implements it.
///
/// After an error, every later call fails with the same error.
///
/// ```
/// use std::io::Write;
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
///
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// let mut writer = client.encryptor(&context)?.writer(Vec::new());
/// for number in 1..=3 {
///     writeln!(writer, "line {number}")?;
/// }
/// let message = writer.finish()?;
/// assert_eq!(client.decrypt(&message, &context)?.plaintext, b"line 1\nline 2\nline 3\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a message is not complete before `finish` has returned"]
pub struct EncryptWriter<W> {
    pub(super) driver: EncryptDriver,
    pub(super) sink: W,
}

impl<W> EncryptWriter<W> {
    pub(crate) fn new(encryptor: Encryptor, sink: W) -> Self {
        Self { driver: EncryptDriver::new(encryptor), sink }
    }

    /// Returns the sink.
    pub fn get_ref(&self) -> &W {
        &self.sink
    }

    /// Returns the sink, for instance to take what has been collected in it. Whatever else is written to it stands in
    /// the middle of the message, and decrypting that fails.
    ///
    /// ```
    /// use std::io::Write;
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    ///
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let mut writer = client.encryptor(&context)?.writer(Vec::new());
    /// let mut chunks = Vec::new(); // of an HTTP request's body, for instance
    /// for piece in [[1; 50_000], [2; 50_000]] {
    ///     writer.write_all(&piece)?;
    ///     chunks.push(std::mem::take(writer.get_mut()));
    /// }
    /// chunks.push(writer.finish()?);
    /// assert_eq!(client.decrypt(&chunks.concat(), &context)?.plaintext, [[1; 50_000], [2; 50_000]].concat());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.sink
    }
}

impl<W: Write> EncryptWriter<W> {
    /// Encrypts everything that `source` returns until its end, and returns the number of bytes.
    ///
    /// It works like [`std::io::copy`], but reads directly into the encryption buffer. If it returns `WouldBlock`,
    /// nothing that it has read is lost, and it can be called again for the rest.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// # let plaintext = vec![7; 100_000];
    /// let mut writer = client.encryptor(&context)?.writer(Vec::new());
    /// let count = writer.write_from(plaintext.as_slice())?; // or a file
    /// assert_eq!(count, 100_000);
    /// let message = writer.finish()?;
    /// # assert_eq!(client.decrypt(&message, &context)?.plaintext, plaintext);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The error of `source` or of the sink. After either, the message cannot be completed.
    pub fn write_from(&mut self, mut source: impl Read) -> io::Result<u64> {
        let mut len = 0_u64;
        loop {
            match self.driver.write_from(&mut self.sink, &mut source)? {
                0 => return Ok(len),
                count => len = len.saturating_add(count as u64),
            }
        }
    }

    /// Completes the message with its final frame and, in signed suites, its signature, flushes the sink, and returns
    /// it.
    ///
    /// It consumes the writer. If the sink may return `WouldBlock`, call [`try_finish`](Self::try_finish) first.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let writer = client.encryptor(&context)?.writer(Vec::new());
    /// let message = writer.finish()?; // of an empty plaintext
    /// assert_eq!(client.decrypt(&message, &context)?.plaintext, b"");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the sink fails, or the error of an earlier call.
    pub fn finish(mut self) -> Result<W> {
        self.try_finish()?;
        Ok(self.sink)
    }

    /// Completes the message like [`finish`](Self::finish), but keeps the sink, which `finish` then returns.
    ///
    /// Use it with sinks that may return `WouldBlock`, and call it again after that error. Nothing more can be written
    /// once it has been called.
    ///
    /// # Errors
    /// The same as [`finish`](Self::finish).
    pub fn try_finish(&mut self) -> io::Result<()> {
        self.driver.finish(&mut self.sink)
    }
}

impl<W: Write> Write for EncryptWriter<W> {
    fn write(&mut self, plaintext: &[u8]) -> io::Result<usize> {
        self.driver.write(&mut self.sink, plaintext)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.driver.flush(&mut self.sink)
    }
}

impl<W> fmt::Debug for EncryptWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptWriter").field("failed", &self.driver.failed).finish_non_exhaustive()
    }
}
