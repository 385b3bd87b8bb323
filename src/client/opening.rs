//! Messages decrypted from one source: header and body are read by the same call.

use std::io::{BufReader, Read};
use std::pin::pin;

use manila_core::Result;

use crate::client::Client;
use crate::expected_context::ExpectedContext;
use crate::stream::decrypt_engine::Start;
use crate::stream::read::DecryptReader;
use crate::stream::seek::SeekableMessage;
use crate::stream::source::{ReadAt, Sequential};

impl Client {
    /// Opens a message for reading as a stream: reads its header from `source`, and returns a reader of the plaintext
    /// that goes on where the header ended.
    ///
    /// The source is buffered, so it may be a `File` or a socket. The message must end where the source ends; if more
    /// bytes follow, pass `source.take(length)`. To look at the header before any key is requested, use
    /// [`read_header`](Self::read_header) and [`decryptor`](Self::decryptor) instead.
    ///
    /// In signed suites, all frames except the final one are released **before the signature is verified**: do nothing
    /// irreversible with them until the reader has returned the end of the message. To refuse such messages, set
    /// [`unsigned_only`](crate::ClientBuilder::unsigned_only).
    ///
    /// ```
    /// use std::fs::File;
    /// use std::io::{Read, Write};
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    ///
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("message");
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let mut writer = client.encryptor(&context)?.writer(File::create(&path)?);
    /// writer.write_all(b"hello")?;
    /// writer.finish()?;
    ///
    /// let mut reader = client.open(File::open(&path)?, &context)?;
    /// assert_eq!(reader.header().encryption_context().get("tenant"), Some("acme"));
    /// let mut plaintext = String::new();
    /// reader.read_to_string(&mut plaintext)?;
    /// assert_eq!(plaintext, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`decrypt`](Self::decrypt) that the header alone can cause, and
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if reading fails. If the source returns `WouldBlock`, what has been read
    /// of the header is lost with that error.
    pub fn open<R: Read>(
        &self,
        source: R,
        expected: impl Into<ExpectedContext>,
    ) -> Result<DecryptReader<BufReader<R>>> {
        self.poll_local(pin!(self.open_blocking(source, expected.into())))
    }

    /// Opens a message like [`open`](Self::open), with keys that may be accessed over a network.
    pub(crate) async fn open_blocking<R: Read>(
        &self,
        source: R,
        expected: ExpectedContext,
    ) -> Result<DecryptReader<BufReader<R>>> {
        let expected = expected.stated()?;
        let mut source = BufReader::new(source);
        let header = self.read_header(&mut source)?;
        let decryptor = self.decryptor_expecting(header, expected).await?;
        Ok(DecryptReader::new(decryptor, source, Start::AfterHeader))
    }

    /// Opens a message for reading at any offset. `message` is all of it, from the first byte of its header.
    ///
    /// The header is read first, and then the final frame is verified, as [`Decryptor::seekable`] says. To look at the
    /// header before any key is requested, use [`read_header`](Self::read_header) and [`decryptor`](Self::decryptor)
    /// instead.
    ///
    /// Only unsigned messages can be read like this: write them with
    /// [`AlgorithmSuite::Aes256GcmHkdfSha512CommitKey`].
    ///
    /// ```
    /// use std::fs::File;
    ///
    /// use manila::keyring::RawAesKeyring;
    /// use manila::{AlgorithmSuite, Client, EncryptionContext};
    ///
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("message");
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let client = Client::builder(keyring).suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).build()?;
    /// std::fs::write(&path, client.encrypt(&[7; 100_000], &context)?)?;
    ///
    /// let message = client.open_seekable(File::open(&path)?, &context)?;
    /// let mut buf = [0; 10];
    /// assert_eq!(message.read_at(50_000, &mut buf)?, 10); // decrypts one frame
    /// assert_eq!(buf, [7; 10]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`decrypt`](Self::decrypt) that the header alone can cause, and those of [`Decryptor::seekable`].
    ///
    /// [`AlgorithmSuite::Aes256GcmHkdfSha512CommitKey`]: crate::AlgorithmSuite::Aes256GcmHkdfSha512CommitKey
    /// [`Decryptor::seekable`]: crate::Decryptor::seekable
    pub fn open_seekable<R: ReadAt>(
        &self,
        message: R,
        expected: impl Into<ExpectedContext>,
    ) -> Result<SeekableMessage<R>> {
        self.check_local()?;
        let expected = expected.into().stated()?;
        let header = self.read_header(BufReader::new(Sequential::new(&message)))?;
        self.poll_local(pin!(self.decryptor_expecting(header, expected)))?.seekable(message)
    }
}
