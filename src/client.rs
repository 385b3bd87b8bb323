//! The client: encrypts and decrypts whole messages, and starts streams.

pub(crate) mod builder;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io::Read;
use std::pin::{Pin, pin};
use std::sync::Arc;

use manila_core::internal::poll_once;
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use crate::buffer::WipeGuard;
use crate::cmm::{Cmm, DefaultCmm};
use crate::decrypt::{Decryptor, PendingDecryption};
use crate::encrypt::Encryptor;
use crate::expected_context::ExpectedContext;
use crate::keyring::Keyring;
use crate::materials::EncryptionRequest;
#[cfg(feature = "tokio")]
use crate::message::header::HeaderLimits;
use crate::message::header::{Header, UnverifiedHeader};
use crate::settings::Settings;

/// Encrypts and decrypts messages with the keys of a keyring. Cheap to clone, and safe to share between threads.
///
/// Every operation comes as a plain call and as an `_async` version with the same arguments. The plain call works
/// wherever keys are available without waiting, as with `LocalKms` and raw keys, both inside and outside async
/// runtimes. If keys come over a network, it fails with [`ErrorKind::NeedsAsync`] before doing anything. The async
/// versions do not need a particular executor.
///
/// ```
/// use manila::keyring::RawAesKeyring;
/// use manila::{Client, EncryptionContext};
///
/// // A key for tests. A real one is 16, 24 or 32 random bytes that only your application knows.
/// let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
///
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let message = client.encrypt(b"hello", &context)?;
/// assert_eq!(client.decrypt(&message, &context)?.plaintext, b"hello");
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    cmm: Arc<dyn Cmm>,
    cmm_type: &'static str,
    settings: Settings,
}

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
    /// Creates a client that uses a keyring, with the default settings. For other settings, see
    /// [`builder`](Self::builder).
    pub fn new(keyring: impl Keyring + 'static) -> Self {
        Self::with_cmm(DefaultCmm::new(keyring))
    }

    /// Creates a client that uses a materials manager, with the default settings.
    ///
    /// ```
    /// use manila::cmm::RequiredContextCmm;
    /// use manila::keyring::RawAesKeyring;
    /// use manila::{Client, EncryptionContext, ErrorKind};
    ///
    /// // This manager insists on an encryption context with the key `tenant`.
    /// let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// let client = Client::with_cmm(RequiredContextCmm::new(keyring, ["tenant"])?);
    /// let error = client.encrypt(b"hello", &EncryptionContext::empty()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::ContextMismatch);
    /// # Ok::<(), manila::Error>(())
    /// ```
    pub fn with_cmm(cmm: impl Cmm + 'static) -> Self {
        Self { cmm_type: std::any::type_name_of_val(&cmm), cmm: Arc::new(cmm), settings: Settings::default() }
    }

    /// Encrypts `plaintext` into a complete message, with `context` authenticated as part of it.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme"), ("kind", "invoice")])?;
    /// let message = client.encrypt(b"hello", &context)?;
    /// # assert_eq!(client.decrypt(&message, &context)?.plaintext, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error of the keyring; [`ErrorKind::PolicyViolation`] or [`ErrorKind::LimitExceeded`] if the settings do not
    /// allow the message; [`ErrorKind::NeedsAsync`] if keys come over a network.
    pub fn encrypt(&self, plaintext: &[u8], context: &EncryptionContext) -> Result<Vec<u8>> {
        self.poll_local(pin!(self.encrypt_async(plaintext, context)))
    }

    /// The async version of [`encrypt`](Self::encrypt), for keys that come over a network.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let message = client.encrypt_async(b"hello", &context).await?;
    /// let decrypted = client.decrypt_async(&message, &context).await?;
    /// assert_eq!(decrypted.plaintext, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// # })?;
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`encrypt`](Self::encrypt), except [`ErrorKind::NeedsAsync`].
    pub async fn encrypt_async(&self, plaintext: &[u8], context: &EncryptionContext) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        self.encrypt_into_async(plaintext, context, &mut message).await?;
        Ok(message)
    }

    /// Encrypts like [`encrypt`](Self::encrypt), and replaces the contents of `message` with the new message.
    ///
    /// Reusing a buffer avoids page faults, which take most of the time for a large message.
    ///
    /// After any error, including [`ErrorKind::NeedsAsync`], `message` is empty and its memory wiped. If `message` has
    /// to grow, its old memory goes back to the allocator without being wiped.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let mut message = Vec::new();
    /// for plaintext in [b"one", b"two"] {
    ///     client.encrypt_into(plaintext, &context, &mut message)?;
    ///     // Send `message`.
    ///     # assert_eq!(client.decrypt(&message, &context)?.plaintext, plaintext);
    /// }
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`encrypt`](Self::encrypt).
    pub fn encrypt_into(&self, plaintext: &[u8], context: &EncryptionContext, message: &mut Vec<u8>) -> Result<()> {
        self.poll_local(pin!(self.encrypt_into_async(plaintext, context, message)))
    }

    /// The async version of [`encrypt_into`](Self::encrypt_into). If the future is dropped before it completes,
    /// `message` is empty and wiped, as after an error.
    ///
    /// # Errors
    /// The same as [`encrypt_async`](Self::encrypt_async).
    pub fn encrypt_into_async(
        &self,
        plaintext: &[u8],
        context: &EncryptionContext,
        message: &mut Vec<u8>,
    ) -> impl Future<Output = Result<()>> {
        // Outside the async block, so that the guard is in place even if the future is never polled.
        let mut message = WipeGuard::new(message);
        async move {
            let encryptor = self.encryptor_up_to_async(context, plaintext.len() as u64).await?;
            encryptor.encrypt_all(plaintext, message.buffer())?;
            message.keep();
            Ok(())
        }
    }

    /// Decrypts a complete message. Returns nothing until all of it has been verified.
    ///
    /// `expected` is what the message's encryption context must hold: a `&EncryptionContext` of pairs that must be
    /// there while others may be (so an empty one demands nothing), [`ExpectedContext::exactly`], or
    /// [`ExpectedContext::any`] to check the returned header yourself.
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
    /// [`ErrorKind::ContextMismatch`] if the encryption context is not as expected. [`ErrorKind::NoUsableDataKey`],
    /// [`ErrorKind::KeyRefused`] or [`ErrorKind::Unavailable`] if no data key can be had.
    /// [`ErrorKind::PolicyViolation`] or [`ErrorKind::LimitExceeded`] if the settings do not allow the message.
    /// [`ErrorKind::Malformed`], [`ErrorKind::Truncated`], [`ErrorKind::TrailingBytes`],
    /// [`ErrorKind::CommitmentMismatch`], [`ErrorKind::AuthenticationFailed`] or [`ErrorKind::SignatureInvalid`] if the
    /// message is damaged. [`ErrorKind::NeedsAsync`] if keys come over a network. Keyrings and KMSs may fail with other
    /// kinds.
    pub fn decrypt(&self, message: &[u8], expected: impl Into<ExpectedContext>) -> Result<Decrypted> {
        self.poll_local(pin!(self.decrypt_async(message, expected.into())))
    }

    /// The async version of [`decrypt`](Self::decrypt), for keys that come over a network.
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
    /// The same as [`decrypt`](Self::decrypt), except [`ErrorKind::NeedsAsync`].
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
    /// After any error, including [`ErrorKind::NeedsAsync`], `plaintext` is empty and its memory wiped: neither its old
    /// contents nor any part of this message is left there. If `plaintext` has to grow, its old memory goes back to the
    /// allocator without being wiped.
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
    /// The message stays unchanged until a key has decrypted its header. After an error before that point, including
    /// [`ErrorKind::NeedsAsync`], it can be decrypted again: with other keys, or once a KMS can be reached. After a
    /// later error it is empty, and its memory wiped.
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

    /// Reads the header of a complete message and obtains its data key. Returns the offset of the body too.
    async fn decryptor_of(&self, message: &[u8], expected: ExpectedContext) -> Result<(Decryptor, usize)> {
        let header = UnverifiedHeader::parse_within(message, self.settings.header_limits)?;
        let start = header.len();
        let pending = PendingDecryption::new(header, expected, &self.settings)?;
        // Decryption checks this again, but a body over the limit must fail before a KMS is called.
        pending.check_body(message.get(start..).unwrap_or_default())?;
        Ok((self.decryptor_for(pending).await?, start))
    }

    /// Starts a message that is written as a stream, with [`Encryptor::writer`].
    ///
    /// ```
    /// use std::io::Write;
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    ///
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let mut writer = client.encryptor(&context)?.writer(Vec::new()); // or a `File`
    /// writer.write_all(b"hello, ")?;
    /// writer.write_all(b"world")?;
    /// let message = writer.finish()?;
    /// # assert_eq!(client.decrypt(&message, &context)?.plaintext, b"hello, world");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`encrypt`](Self::encrypt).
    pub fn encryptor(&self, context: &EncryptionContext) -> Result<Encryptor> {
        self.poll_local(pin!(self.encryptor_async(context)))
    }

    /// The async version of [`encryptor`](Self::encryptor), for keys that come over a network.
    ///
    /// # Errors
    /// The same as [`encrypt_async`](Self::encrypt_async).
    pub async fn encryptor_async(&self, context: &EncryptionContext) -> Result<Encryptor> {
        self.encryptor_for(context, BTreeSet::new(), None).await
    }

    /// Starts a stream like [`encryptor`](Self::encryptor), for a plaintext of at most `max_plaintext_len` bytes.
    /// Writing more fails.
    ///
    /// The bound lets materials managers that count bytes, such as caches, serve a stream.
    ///
    /// ```
    /// use std::io::Write;
    /// # use manila::{Client, EncryptionContext, Error, ErrorKind};
    /// # use manila::keyring::RawAesKeyring;
    ///
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let mut writer = client.encryptor_up_to(&EncryptionContext::empty(), 5)?.writer(Vec::new());
    /// writer.write_all(b"hello")?;
    /// let error = Error::from(writer.write_all(b"!").unwrap_err());
    /// assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`encrypt`](Self::encrypt). The writer fails with [`ErrorKind::LimitExceeded`] when the plaintext
    /// is longer than the bound.
    pub fn encryptor_up_to(&self, context: &EncryptionContext, max_plaintext_len: u64) -> Result<Encryptor> {
        self.poll_local(pin!(self.encryptor_up_to_async(context, max_plaintext_len)))
    }

    /// The async version of [`encryptor_up_to`](Self::encryptor_up_to), for keys that come over a network.
    ///
    /// # Errors
    /// The same as [`encryptor_up_to`](Self::encryptor_up_to), except [`ErrorKind::NeedsAsync`].
    pub async fn encryptor_up_to_async(
        &self,
        context: &EncryptionContext,
        max_plaintext_len: u64,
    ) -> Result<Encryptor> {
        self.encryptor_for(context, BTreeSet::new(), Some(max_plaintext_len)).await
    }

    /// Starts decrypting a message whose header has already been read. Read the body as a stream with
    /// [`Decryptor::reader`], or at any offset with [`Decryptor::seekable`].
    ///
    /// Read the header with [`read_header`](Self::read_header).
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

    /// The async version of [`decryptor`](Self::decryptor), for keys that come over a network.
    ///
    /// # Errors
    /// The same as [`decryptor`](Self::decryptor), except [`ErrorKind::NeedsAsync`].
    pub async fn decryptor_async(
        &self,
        header: UnverifiedHeader,
        expected: impl Into<ExpectedContext>,
    ) -> Result<Decryptor> {
        self.decryptor_for(PendingDecryption::new(header, expected.into(), &self.settings)?).await
    }

    /// Obtains the data key and verifies the header under it.
    async fn decryptor_for(&self, pending: PendingDecryption) -> Result<Decryptor> {
        let given = pending.request.given_context().clone();
        let decryptor = match self.cmm.decryption_materials(&pending.request).await {
            Ok(materials) => pending.into_decryptor(&materials.data_key),
            Err(error) => Err(error),
        };
        decryptor.map_err(|error| PendingDecryption::explain(&given, error))
    }

    /// Reads the header at the start of a stream, and not one byte more, within this client's limits.
    ///
    /// It reads field by field, so give it a buffered reader.
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

    /// Starts a message whose header omits the pairs with the keys `omitted`.
    pub(crate) async fn encryptor_for(
        &self,
        context: &EncryptionContext,
        omitted: BTreeSet<String>,
        max_plaintext_len: Option<u64>,
    ) -> Result<Encryptor> {
        let request = EncryptionRequest {
            encryption_context: context.clone(),
            suite: self.settings.suite,
            commitment_policy: self.settings.commitment_policy,
            required_context_keys: omitted,
            max_plaintext_len,
        };
        let materials = self.cmm.encryption_materials(&request).await?;
        if !materials.required_context_keys().is_superset(&request.required_context_keys) {
            let detail = format!(
                "the materials manager {} did not return all required_context_keys of its request: it would write \
                 pairs into the header that must be omitted",
                self.cmm_type
            );
            return Err(Error::new(ErrorKind::Internal, detail));
        }
        Encryptor::new(materials, max_plaintext_len, &self.settings)
    }

    /// Fails unless keys are available without waiting.
    pub(crate) fn check_local(&self) -> Result<()> {
        if self.cmm.is_local() {
            return Ok(());
        }
        let detail = "keys come over a network, or their keyring does not declare itself local (is_local): call the \
                      _async version of this method and await it";
        Err(Error::new(ErrorKind::NeedsAsync, detail))
    }

    /// Polls a future once, which completes it if everything is local.
    ///
    /// The future is passed pinned because moving it takes a noticeable part of the time for a small message.
    pub(crate) fn poll_local<T>(&self, future: Pin<&mut impl Future<Output = Result<T>>>) -> Result<T> {
        self.check_local()?;
        poll_once(future).unwrap_or_else(|| {
            let detail = format!("a keyring declares itself local, but its future is pending: {}", self.cmm_type);
            Err(Error::new(ErrorKind::Internal, detail))
        })
    }
}
