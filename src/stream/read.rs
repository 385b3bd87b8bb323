//! Opening from a `std::io::Read`.

use std::fmt;
use std::io::{self, Read};

use crate::decrypt::Decryptor;
use crate::error::Error;
use crate::message::header::Header;
use crate::stream::open::{OpenStream, Step};

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
    /// # use manila::{Client, EncryptionContext, Error, ErrorKind, ExpectedContext, RawAesKeyring};
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
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reader<R: Read>(self, body: R) -> DecryptReader<R> {
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
/// After an error every later read fails the same way.
#[must_use = "a reader does nothing until read"]
pub struct DecryptReader<R> {
    engine: OpenStream,
    body: R,
    failed: Option<Error>,
}

impl<R: Read> DecryptReader<R> {
    pub(crate) fn new(decryptor: Decryptor, body: R) -> Self {
        Self { engine: OpenStream::new(decryptor), body, failed: None }
    }

    /// The verified header.
    pub fn header(&self) -> &Header {
        self.engine.header()
    }

    fn latch(&mut self, error: Error) -> io::Error {
        self.failed = Some(error.clone());
        error.into()
    }
}

impl<R: Read> Read for DecryptReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            match self.engine.advance().map_err(|error| self.latch(error))? {
                Step::Complete => return Ok(0),
                Step::Take => {
                    let count = self.engine.plaintext().read(buf)?;
                    self.engine.taken(count);
                    return Ok(count);
                }
                Step::Read => match self.body.read(self.engine.space()) {
                    Ok(count) => self.engine.filled(count),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                    Err(error) => return Err(self.latch(error.into())),
                },
            }
        }
    }
}

impl<R> fmt::Debug for DecryptReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptReader").field("failed", &self.failed).finish_non_exhaustive()
    }
}
