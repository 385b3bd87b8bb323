//! Opening from a stream.

use std::fmt;
use std::io::{self, BufRead, Read};

use crate::decrypt::Decryptor;
use crate::message::header::Header;
use crate::stream::pump::OpenPump;

impl Decryptor {
    /// A reader of the plaintext; `body` goes on where the header ended.
    ///
    /// Each frame is released once its tag has verified, the last one once the whole message has. In signed suites
    /// the frames before the last are therefore released **before the signature is known**: do nothing with them
    /// that cannot be undone until the reader has returned its end. Set
    /// [`unsigned_only`](crate::ClientBuilder::unsigned_only) to refuse such messages.
    ///
    /// The message must end where `body` does: where more follows, give it `body.take(length)`.
    ///
    /// ```
    /// use std::io::Read;
    /// # use manila::{Client, EncryptionContext, Error, ErrorKind, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "key-1", &[0; 32])?);
    /// # let sealed = client.encrypt(b"piece by piece", &EncryptionContext::empty())?;
    /// let mut source = sealed.as_slice(); // or a `BufReader` of a file
    /// let header = client.read_header(&mut source)?;
    /// let mut reader = client.decryptor(header, ExpectedContext::any())?.reader(source);
    /// let mut plaintext = Vec::new();
    /// reader.read_to_end(&mut plaintext)?;
    /// assert_eq!(plaintext, b"piece by piece");
    ///
    /// // An error on the way tells its kind through `std::io`.
    /// let mut cut = &sealed[..sealed.len() - 1];
    /// let header = client.read_header(&mut cut)?;
    /// let mut reader = client.decryptor(header, ExpectedContext::any())?.reader(cut);
    /// let error = Error::from(reader.read_to_end(&mut plaintext).unwrap_err());
    /// assert_eq!(error.kind(), ErrorKind::Truncated);
    ///
    /// // Who cannot undo what it does with a stream takes none that is signed.
    /// # let keyring = RawAesKeyring::new("example", "key-1", &[0; 32])?;
    /// let careful = Client::builder(keyring).unsigned_only(true).build()?;
    /// let header = careful.read_header(sealed.as_slice())?;
    /// let refused = careful.decryptor(header, ExpectedContext::any()).unwrap_err();
    /// assert_eq!(refused.kind(), ErrorKind::PolicyViolation);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reader<R>(self, body: R) -> DecryptReader<R> {
        DecryptReader::new(self, body)
    }
}

/// The plaintext of a message, in constant memory.
///
/// Each frame is released once its tag has verified. The message is genuine and complete only when a read has
/// returned `Ok(0)`: an error later on means that what was read so far is part of a message that was cut or changed.
/// In signed suites all but the last frame are released **before the signature is known**; see
/// [`Decryptor::reader`].
///
/// After an error every later read fails the same way. As an [`io::Error`] a message that was cut is
/// [`InvalidData`](io::ErrorKind::InvalidData), never [`UnexpectedEof`](io::ErrorKind::UnexpectedEof): programs that call
/// [`read_exact`](Read::read_exact) until it answers that do not take it for whole.
///
/// It is a [`BufRead`] too: [`fill_buf`](BufRead::fill_buf) shows the plaintext where it was opened, without copying
/// it. [`Read`] opens straight into the caller's buffer if that has room for a frame. With the feature `tokio` it is an
/// `AsyncRead` and an `AsyncBufRead`, over a source that is an `AsyncRead`.
#[must_use = "a reader does nothing until read"]
pub struct DecryptReader<R> {
    pub(super) pump: OpenPump,
    pub(super) body: R,
}

impl<R> DecryptReader<R> {
    pub(crate) fn new(decryptor: Decryptor, body: R) -> Self {
        Self { pump: OpenPump::new(decryptor), body }
    }

    /// The verified header.
    pub fn header(&self) -> &Header {
        self.pump.header()
    }
}

impl<R: Read> Read for DecryptReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.pump.read(&mut self.body, buf)
    }
}

impl<R: Read> BufRead for DecryptReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.pump.fill(&mut self.body)?;
        Ok(self.pump.plaintext())
    }

    fn consume(&mut self, count: usize) {
        self.pump.taken(count.min(self.pump.plaintext().len()));
    }
}

impl<R> fmt::Debug for DecryptReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptReader").field("failed", &self.pump.failed).finish_non_exhaustive()
    }
}
