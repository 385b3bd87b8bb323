//! Decryption of whole messages, and the start of decrypting streams and reading at any offset.

use std::fmt;
use std::future::Future;
use std::io::Read;
use std::pin::pin;

use manila_core::Result;

use crate::buffer::WipeGuard;
use crate::client::Client;
use crate::decrypt::{Decryptor, PendingDecryption};
use crate::expected_context::{ExpectedContext, StatedExpectation};
use crate::materials::DataKey;
#[cfg(feature = "tokio")]
use crate::message::header::HeaderLimits;
use crate::message::header::{Header, UnverifiedHeader};

/// A decrypted message: plaintext and header, both verified, including the signature of signed suites.
///
/// `Debug` shows only the length of the plaintext.
///
/// ```
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// # let message = client.encrypt(b"hello", &context)?;
/// let decrypted = client.decrypt(&message, &context)?;
/// assert_eq!(decrypted.plaintext, b"hello");
/// assert_eq!(decrypted.header.encryption_context().get("tenant"), Some("acme"));
/// assert!(format!("{decrypted:?}").contains("5 bytes, redacted"));
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Decrypted {
    /// The plaintext.
    pub plaintext: Vec<u8>,
    /// The verified header, which holds the encryption context.
    pub header: Header,
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plaintext = format_args!("{} bytes, redacted", self.plaintext.len());
        f.debug_struct("Decrypted").field("plaintext", &plaintext).field("header", &self.header).finish()
    }
}

impl Client {
    /// Decrypts a complete message. Returns nothing until all of it has been verified.
    ///
    /// `expected` is what the message's encryption context must hold: a `&EncryptionContext` of at least one pair,
    /// which must be there while others may be, [`ExpectedContext::exactly`], or [`ExpectedContext::any`] to check the
    /// returned header yourself.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ErrorKind};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme"), ("kind", "invoice")])?;
    /// let message = client.encrypt(b"hello", &context)?;
    ///
    /// let decrypted = client.decrypt(&message, &EncryptionContext::new([("tenant", "acme")])?)?;
    /// assert_eq!(decrypted.plaintext, b"hello");
    ///
    /// let error = client.decrypt(&message, &EncryptionContext::new([("tenant", "globex")])?).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::ContextMismatch);
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::ContextMismatch`](crate::ErrorKind::ContextMismatch) if the encryption context is not as expected.
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if an empty one is expected: nothing is read then.
    /// [`ErrorKind::NoUsableDataKey`](crate::ErrorKind::NoUsableDataKey),
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) or
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if no data key can be obtained.
    /// [`ErrorKind::PolicyViolation`](crate::ErrorKind::PolicyViolation) or
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) if the settings do not allow the message.
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed), [`ErrorKind::Truncated`](crate::ErrorKind::Truncated),
    /// [`ErrorKind::TrailingBytes`](crate::ErrorKind::TrailingBytes),
    /// [`ErrorKind::CommitmentMismatch`](crate::ErrorKind::CommitmentMismatch),
    /// [`ErrorKind::AuthenticationFailed`](crate::ErrorKind::AuthenticationFailed) or
    /// [`ErrorKind::SignatureInvalid`](crate::ErrorKind::SignatureInvalid) if the message is damaged.
    /// [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync) if keys are accessed over a network. Keyrings and KMSs
    /// may fail with other kinds.
    pub fn decrypt(&self, message: &[u8], expected: impl Into<ExpectedContext>) -> Result<Decrypted> {
        self.poll_local(pin!(self.decrypt_async(message, expected.into())))
    }

    /// The async version of [`decrypt`](Self::decrypt), for keys that are accessed over a network.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
    /// let decrypted = client.decrypt_async(&message, ExpectedContext::any()).await?;
    /// assert_eq!(decrypted.plaintext, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// # })?;
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`decrypt`](Self::decrypt), except [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync).
    pub async fn decrypt_async(&self, message: &[u8], expected: impl Into<ExpectedContext>) -> Result<Decrypted> {
        let mut plaintext = Vec::new();
        let header = self.decrypt_into_async(message, expected, &mut plaintext).await?;
        Ok(Decrypted { plaintext, header })
    }

    /// Decrypts like [`decrypt`](Self::decrypt), and replaces the contents of `plaintext` with the new plaintext.
    ///
    /// Reusing a buffer avoids page faults, which take most of the time for a large message. A buffer as long as the
    /// message is always large enough.
    ///
    /// After any error, including [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync), `plaintext` is empty and its
    /// memory wiped: neither its old contents nor any part of this message is left there. If `plaintext` has to grow,
    /// its old memory goes back to the allocator without being wiped.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// # let messages = [client.encrypt(b"one", &context)?, client.encrypt(b"two", &context)?];
    /// let mut plaintext = Vec::new();
    /// for message in &messages {
    ///     let header = client.decrypt_into(message, &context, &mut plaintext)?;
    ///     assert_eq!((header.encryption_context().get("tenant"), plaintext.len()), (Some("acme"), 3));
    /// }
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`decrypt`](Self::decrypt).
    pub fn decrypt_into(
        &self,
        message: &[u8],
        expected: impl Into<ExpectedContext>,
        plaintext: &mut Vec<u8>,
    ) -> Result<Header> {
        self.poll_local(pin!(self.decrypt_into_async(message, expected.into(), plaintext)))
    }

    /// The async version of [`decrypt_into`](Self::decrypt_into). If the future is dropped before it completes,
    /// `plaintext` is empty and wiped, as after an error.
    ///
    /// # Errors
    /// The same as [`decrypt_async`](Self::decrypt_async).
    pub fn decrypt_into_async(
        &self,
        message: &[u8],
        expected: impl Into<ExpectedContext>,
        plaintext: &mut Vec<u8>,
    ) -> impl Future<Output = Result<Header>> {
        let (expected, mut plaintext) = (expected.into(), WipeGuard::new(plaintext));
        async move {
            let (decryptor, body) = self.decryptor_of(message, expected).await?;
            let header = decryptor.decrypt_all(message.get(body..).unwrap_or_default(), plaintext.buffer())?;
            plaintext.keep();
            Ok(header)
        }
    }

    /// Decrypts like [`decrypt`](Self::decrypt), and replaces the message in its own memory with its plaintext. Uses
    /// one thread, whatever [`threads`](crate::ClientBuilder::threads) is set to.
    ///
    /// The message stays unchanged until its header has been verified under a data key. After an error before that
    /// point, including [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync), it can be decrypted again: with other
    /// keys, or once a KMS can be reached. After a later error it is empty, and its memory wiped.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let mut buffer = client.encrypt(b"hello", &EncryptionContext::empty())?;
    /// let header = client.decrypt_in_place(&mut buffer, ExpectedContext::any())?;
    /// assert_eq!(buffer, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`decrypt`](Self::decrypt).
    pub fn decrypt_in_place(&self, message: &mut Vec<u8>, expected: impl Into<ExpectedContext>) -> Result<Header> {
        self.poll_local(pin!(self.decrypt_in_place_async(message, expected.into())))
    }

    /// The async version of [`decrypt_in_place`](Self::decrypt_in_place). If the future is dropped before it completes,
    /// the message is unchanged.
    ///
    /// # Errors
    /// The same as [`decrypt_async`](Self::decrypt_async).
    pub async fn decrypt_in_place_async(
        &self,
        message: &mut Vec<u8>,
        expected: impl Into<ExpectedContext>,
    ) -> Result<Header> {
        let (decryptor, body) = self.decryptor_of(message, expected.into()).await?;
        let mut message = WipeGuard::new(message);
        let header = decryptor.decrypt_in_place(message.buffer(), body)?;
        message.keep();
        Ok(header)
    }

    /// Starts decrypting a message whose header has already been read. Read the body as a stream with
    /// [`Decryptor::reader`], or at any offset with [`Decryptor::seekable`].
    ///
    /// It is for programs that look at the header before a key is requested, with [`read_header`](Self::read_header):
    /// others call [`open`](Self::open) or [`open_seekable`](Self::open_seekable). Header and body must come from one
    /// reader, because a buffered one takes more from its source than the header.
    ///
    /// ```
    /// use std::io::Read;
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    ///
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// # let message = client.encrypt(b"hello", &context)?;
    /// let mut source = message.as_slice(); // or a `BufReader` of a file
    /// let header = client.read_header(&mut source)?;
    /// println!("of tenant {:?}, not verified", header.encryption_context().get("tenant"));
    /// let mut plaintext = Vec::new();
    /// client.decryptor(header, &context)?.reader(source).read_to_end(&mut plaintext)?;
    /// assert_eq!(plaintext, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`decrypt`](Self::decrypt) that the header alone can cause.
    pub fn decryptor(&self, header: UnverifiedHeader, expected: impl Into<ExpectedContext>) -> Result<Decryptor> {
        self.poll_local(pin!(self.decryptor_async(header, expected.into())))
    }

    /// The async version of [`decryptor`](Self::decryptor), for keys that are accessed over a network.
    ///
    /// # Errors
    /// The same as [`decryptor`](Self::decryptor), except [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync).
    pub async fn decryptor_async(
        &self,
        header: UnverifiedHeader,
        expected: impl Into<ExpectedContext>,
    ) -> Result<Decryptor> {
        self.decryptor_expecting(header, expected.into().stated()?).await
    }

    /// Reads the header at the start of a stream, and not one byte more, within this client's limits.
    ///
    /// It reads field by field, so give it a buffered reader, and use the same reader for the body:
    /// [`open`](Self::open) does both.
    ///
    /// ```
    /// use std::io::{BufReader, Read};
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    ///
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let message = client.encrypt(b"hello", &EncryptionContext::new([("tenant", "acme")])?)?;
    /// let mut source = BufReader::new(message.as_slice());
    /// let header = client.read_header(&mut source)?;
    /// assert_eq!(header.encryption_context().get("tenant"), Some("acme"));
    /// // The body follows.
    /// assert_eq!(source.read_to_end(&mut Vec::new())?, message.len() - header.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`UnverifiedHeader::read`].
    pub fn read_header(&self, reader: impl Read) -> Result<UnverifiedHeader> {
        UnverifiedHeader::read_within(reader, self.settings.header_limits)
    }

    /// The limits for headers that this client reads.
    #[cfg(feature = "tokio")]
    pub(crate) fn header_limits(&self) -> HeaderLimits {
        self.settings.header_limits
    }

    /// Reads the header of a complete message and obtains its data key. Also returns the offset of the body.
    async fn decryptor_of(&self, message: &[u8], expected: ExpectedContext) -> Result<(Decryptor, usize)> {
        let (pending, start) = self.pending(message, expected)?;
        Ok((self.decryptor_for(pending).await?, start))
    }

    /// Makes every check of a complete message that needs no key. Also returns the offset of the body.
    pub(crate) fn pending(&self, message: &[u8], expected: ExpectedContext) -> Result<(PendingDecryption, usize)> {
        let expected = expected.stated()?;
        let header = UnverifiedHeader::parse_within(message, self.settings.header_limits)?;
        let start = header.len();
        let pending = PendingDecryption::new(header, expected, &self.settings)?;
        // Decryption checks this again, but a body over the limit must fail before a KMS is called.
        pending.check_body(message.get(start..).unwrap_or_default())?;
        Ok((pending, start))
    }

    /// Starts decrypting a message whose header has already been read, with an expectation that was checked before.
    pub(crate) async fn decryptor_expecting(
        &self,
        header: UnverifiedHeader,
        expected: StatedExpectation,
    ) -> Result<Decryptor> {
        self.decryptor_for(PendingDecryption::new(header, expected, &self.settings)?).await
    }

    /// Obtains the data key and verifies the header under it.
    async fn decryptor_for(&self, pending: PendingDecryption) -> Result<Decryptor> {
        let data_key = self.data_key_of(&pending).await?;
        pending.into_decryptor(&data_key)
    }

    /// Obtains the data key of a message.
    pub(crate) async fn data_key_of(&self, pending: &PendingDecryption) -> Result<DataKey> {
        match self.cmm.decryption_materials(&pending.request).await {
            Ok(materials) => Ok(materials.data_key),
            Err(error) => Err(PendingDecryption::explain(pending.request.given_context(), error)),
        }
    }
}
