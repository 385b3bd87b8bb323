//! [`DecryptReader`]: reads plaintext from a stream.

use std::fmt;
use std::io::{self, BufRead, Read};

use crate::decrypt::Decryptor;
use crate::message::header::Header;
use crate::stream::decrypt_engine::Start;
use crate::stream::driver::DecryptDriver;

impl Decryptor {
    /// Returns a reader of the plaintext. `body` must be positioned at the end of the header: give it the reader that
    /// the header was read from. [`Client::open`](crate::Client::open) does both.
    ///
    /// Each frame is released once its tag has been verified, and the final one once the whole message has been. In
    /// signed suites, all frames except the final one are therefore released **before the signature is verified**: do
    /// nothing irreversible with them until the reader has returned the end of the message. To refuse such messages,
    /// set [`unsigned_only`](crate::ClientBuilder::unsigned_only).
    ///
    /// The message must end where `body` ends. If more bytes follow, pass `body.take(length)`.
    ///
    /// ```
    /// use std::io::Read;
    /// # use manila::{Client, EncryptionContext, Error, ErrorKind, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let message = client.encrypt(b"piece by piece", &EncryptionContext::empty())?;
    /// let mut source = message.as_slice(); // or a `BufReader` of a file
    /// let header = client.read_header(&mut source)?;
    /// let mut reader = client.decryptor(header, ExpectedContext::any())?.reader(source);
    /// let mut plaintext = Vec::new();
    /// reader.read_to_end(&mut plaintext)?;
    /// assert_eq!(plaintext, b"piece by piece");
    ///
    /// // An error keeps its kind through `std::io`.
    /// let mut reader = client.open(&message[..message.len() - 1], ExpectedContext::any())?;
    /// let error = Error::from(reader.read_to_end(&mut plaintext).unwrap_err());
    /// assert_eq!(error.kind(), ErrorKind::Truncated);
    ///
    /// // A program that acts on plaintext as it arrives should refuse signed messages.
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// let careful = Client::builder(keyring).unsigned_only(true).build()?;
    /// let refused = careful.open(message.as_slice(), ExpectedContext::any()).unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::PolicyViolation);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reader<R>(self, body: R) -> DecryptReader<R> {
        DecryptReader::new(self, body, Start::AsGiven)
    }
}

/// Reads the plaintext of a message from a stream, in constant memory.
///
/// Each frame is released once its tag has been verified. The message is genuine and complete only when a read has
/// returned `Ok(0)`: an error before that means that the plaintext read so far belongs to a message that was truncated
/// or modified. In signed suites, all frames except the final one are released **before the signature is verified**:
/// see [`Decryptor::reader`]. Obtain one from [`Client::open`](crate::Client::open).
///
/// After an error, every later read fails with the same error. As an [`io::Error`], a truncated message is
/// [`InvalidData`](io::ErrorKind::InvalidData) and never [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), so programs
/// that call [`read_exact`](Read::read_exact) until it returns that kind do not mistake the message for a complete one.
///
/// It implements [`BufRead`] too: [`fill_buf`](BufRead::fill_buf) returns the plaintext where it was decrypted, without
/// copying it. [`Read`] decrypts directly into the caller's buffer if there is room for a frame. With the feature
/// `tokio` it implements `AsyncRead` and `AsyncBufRead`, over a source that implements `AsyncRead`.
///
/// ```
/// use std::io::BufRead;
/// # use manila::{Client, EncryptionContext, ExpectedContext};
/// # use manila::keyring::RawAesKeyring;
///
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let message = client.encrypt(b"one\ntwo\n", &EncryptionContext::empty())?;
/// let reader = client.open(message.as_slice(), ExpectedContext::any())?; // or a `File`
/// let lines = reader.lines().collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(lines, ["one", "two"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a reader does nothing until read"]
pub struct DecryptReader<R> {
    pub(super) driver: DecryptDriver,
    pub(super) body: R,
}

impl<R> DecryptReader<R> {
    pub(crate) fn new(decryptor: Decryptor, body: R, start: Start) -> Self {
        Self { driver: DecryptDriver::new(decryptor, start), body }
    }

    /// Returns the verified header.
    pub fn header(&self) -> &Header {
        self.driver.header()
    }
}

impl<R: Read> Read for DecryptReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.driver.read(&mut self.body, buf)
    }
}

impl<R: Read> BufRead for DecryptReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.driver.fill(&mut self.body)?;
        Ok(self.driver.plaintext())
    }

    fn consume(&mut self, count: usize) {
        self.driver.consume(count.min(self.driver.plaintext().len()));
    }
}

impl<R> fmt::Debug for DecryptReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptReader").field("failed", &self.driver.failed).finish_non_exhaustive()
    }
}
