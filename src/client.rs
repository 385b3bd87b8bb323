//! The client: settings, and whole messages.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io::Read;
use std::pin::{Pin, pin};
use std::sync::Arc;

use zeroize::Zeroize;

use crate::cmm::{Cmm, DefaultCmm, EncryptionRequest};
use crate::context::{EncryptionContext, ExpectedContext};
use crate::decrypt::{Decryptor, Unopened};
use crate::encrypt::Encryptor;
use crate::error::{Error, ErrorKind, Result};
use crate::keyring::Keyring;
#[cfg(feature = "tokio")]
use crate::message::header::HeaderLimits;
use crate::message::header::{Header, UnverifiedHeader};
use crate::policy::CommitmentPolicy;
use crate::poll::poll_once;
use crate::settings::Settings;
use crate::suite::AlgorithmSuite;

/// Seals and opens messages with the keys of a keyring. Cheap to clone; safe to share between threads.
///
/// Every operation comes as a plain call and as an `_async` twin of the same arguments. The plain call works
/// wherever keys are at hand without waiting, as with `LocalKms` and raw keys, inside and
/// outside of async runtimes; where they come over a network it answers [`ErrorKind::NeedsAsync`] before doing
/// anything. The twins need no particular executor.
#[derive(Clone, Debug)]
pub struct Client {
    cmm: Arc<dyn Cmm>,
    cmm_type: &'static str,
    settings: Settings,
}

/// An opened message: plaintext and header, both verified, the signature of signed suites included.
///
/// `Debug` shows the length of the plaintext alone.
#[derive(Clone)]
#[non_exhaustive]
pub struct Decrypted {
    /// What was sealed.
    pub plaintext: Vec<u8>,
    /// What the message says of itself, its encryption context first of all.
    pub header: Header,
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plaintext = format_args!("{} bytes, redacted", self.plaintext.len());
        f.debug_struct("Decrypted").field("plaintext", &plaintext).field("header", &self.header).finish()
    }
}

impl Client {
    /// A client over a keyring, with the default settings.
    pub fn new(keyring: impl Keyring + 'static) -> Self {
        Self::with_cmm(DefaultCmm::new(keyring))
    }

    /// A client over a materials manager, with the default settings.
    pub fn with_cmm(cmm: impl Cmm + 'static) -> Self {
        Self { cmm_type: std::any::type_name_of_val(&cmm), cmm: Arc::new(cmm), settings: Settings::default() }
    }

    /// A client over a keyring, with settings of its own.
    pub fn builder(keyring: impl Keyring + 'static) -> ClientBuilder {
        Self::builder_with_cmm(DefaultCmm::new(keyring))
    }

    /// A client over a materials manager, with settings of its own.
    pub fn builder_with_cmm(cmm: impl Cmm + 'static) -> ClientBuilder {
        let client = Self::with_cmm(cmm);
        ClientBuilder { client }
    }

    /// The message of `plaintext`, bound to `context`.
    ///
    /// # Errors
    /// What the keyring fails with; [`ErrorKind::PolicyViolation`] and [`ErrorKind::LimitExceeded`] where the
    /// settings do not allow the message; [`ErrorKind::NeedsAsync`] where keys come over a network.
    pub fn encrypt(&self, plaintext: &[u8], context: &EncryptionContext) -> Result<Vec<u8>> {
        self.now(pin!(self.encrypt_async(plaintext, context)))
    }

    /// As [`encrypt`](Self::encrypt), for keys that come over a network.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    pub async fn encrypt_async(&self, plaintext: &[u8], context: &EncryptionContext) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        self.encrypt_into_async(plaintext, context, &mut message).await?;
        Ok(message)
    }

    /// As [`encrypt`](Self::encrypt), in place of what `message` holds: memory that is used again costs no page
    /// faults, which are most of the time of a large message. After an error `message` is empty.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    pub fn encrypt_into(&self, plaintext: &[u8], context: &EncryptionContext, message: &mut Vec<u8>) -> Result<()> {
        self.now(pin!(self.encrypt_into_async(plaintext, context, message)))
    }

    /// As [`encrypt_into`](Self::encrypt_into), for keys that come over a network.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    pub async fn encrypt_into_async(
        &self,
        plaintext: &[u8],
        context: &EncryptionContext,
        message: &mut Vec<u8>,
    ) -> Result<()> {
        let sealed = match self.encryptor_up_to_async(context, plaintext.len() as u64).await {
            Ok(encryptor) => encryptor.encrypt_all(plaintext, message),
            Err(error) => Err(error),
        };
        sealed.inspect_err(|_| message.clear())
    }

    /// Opens a whole message. Nothing is returned before all of it is verified.
    ///
    /// `expected` is what its encryption context must hold: a `&EncryptionContext` of pairs that must be there while
    /// others may be (so an empty one demands nothing), [`ExpectedContext::exactly`], or [`ExpectedContext::any`] to
    /// look at `header` oneself.
    ///
    /// # Errors
    /// One [`ErrorKind`] for each way in which a message can be bad or not be this reader's.
    pub fn decrypt(&self, message: &[u8], expected: impl Into<ExpectedContext>) -> Result<Decrypted> {
        self.now(pin!(self.decrypt_async(message, expected.into())))
    }

    /// As [`decrypt`](Self::decrypt), for keys that come over a network.
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt).
    pub async fn decrypt_async(&self, message: &[u8], expected: impl Into<ExpectedContext>) -> Result<Decrypted> {
        let mut plaintext = Vec::new();
        let header = self.decrypt_into_async(message, expected, &mut plaintext).await?;
        Ok(Decrypted { plaintext, header })
    }

    /// As [`decrypt`](Self::decrypt), in place of what `plaintext` holds: memory that is used again costs no page
    /// faults, which are most of the time of a large message. As much memory as the message takes is enough. After an
    /// error `plaintext` is empty, and wiped.
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt).
    pub fn decrypt_into(
        &self,
        message: &[u8],
        expected: impl Into<ExpectedContext>,
        plaintext: &mut Vec<u8>,
    ) -> Result<Header> {
        self.now(pin!(self.decrypt_into_async(message, expected.into(), plaintext)))
    }

    /// As [`decrypt_into`](Self::decrypt_into), for keys that come over a network.
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt).
    pub async fn decrypt_into_async(
        &self,
        message: &[u8],
        expected: impl Into<ExpectedContext>,
        plaintext: &mut Vec<u8>,
    ) -> Result<Header> {
        let opened = match self.open_message(message, expected.into()).await {
            Ok((decryptor, body)) => decryptor.decrypt_all(message.get(body..).unwrap_or_default(), plaintext),
            Err(error) => Err(error),
        };
        opened.inspect_err(|_| plaintext.zeroize())
    }

    /// As [`decrypt`](Self::decrypt), in the memory of the message, which becomes its plaintext. On one thread, whatever
    /// [`threads`](ClientBuilder::threads) says.
    ///
    /// If no key opens the message, it stays as it was; after an error later on it is empty, and wiped.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext, RawAesKeyring};
    /// # let client = Client::new(RawAesKeyring::new("example", "key-1", &[0; 32])?);
    /// let mut buffer = client.encrypt(b"hello", &EncryptionContext::empty())?;
    /// let header = client.decrypt_in_place(&mut buffer, ExpectedContext::any())?;
    /// assert_eq!(buffer, b"hello");
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt).
    pub fn decrypt_in_place(&self, message: &mut Vec<u8>, expected: impl Into<ExpectedContext>) -> Result<Header> {
        self.now(pin!(self.decrypt_in_place_async(message, expected.into())))
    }

    /// As [`decrypt_in_place`](Self::decrypt_in_place), for keys that come over a network.
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt).
    pub async fn decrypt_in_place_async(
        &self,
        message: &mut Vec<u8>,
        expected: impl Into<ExpectedContext>,
    ) -> Result<Header> {
        let (decryptor, body) = self.open_message(message, expected.into()).await?;
        decryptor.decrypt_in_place(message, body).inspect_err(|_| message.zeroize())
    }

    /// Takes up a message that is there as a whole, and tells where its body starts.
    async fn open_message(&self, message: &[u8], expected: ExpectedContext) -> Result<(Decryptor, usize)> {
        let header = UnverifiedHeader::parse_within(message, self.settings.header_limits)?;
        let start = header.len();
        let unopened = Unopened::new(header, expected, &self.settings)?;
        unopened.check_body(message.get(start..).unwrap_or_default())?;
        Ok((self.open(unopened).await?, start))
    }

    /// Starts a message that is written piece by piece: see [`Encryptor::writer`].
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    pub fn encryptor(&self, context: &EncryptionContext) -> Result<Encryptor> {
        self.now(pin!(self.encryptor_async(context)))
    }

    /// As [`encryptor`](Self::encryptor), for keys that come over a network.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    pub async fn encryptor_async(&self, context: &EncryptionContext) -> Result<Encryptor> {
        self.encryptor_for(context, None).await
    }

    /// As [`encryptor`](Self::encryptor), for a plaintext of at most `max_plaintext_len` bytes: more of it fails.
    ///
    /// A bound lets materials managers that count bytes, as caches do, serve a stream.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt); the writer fails with [`ErrorKind::LimitExceeded`] over the bound.
    pub fn encryptor_up_to(&self, context: &EncryptionContext, max_plaintext_len: u64) -> Result<Encryptor> {
        self.now(pin!(self.encryptor_up_to_async(context, max_plaintext_len)))
    }

    /// As [`encryptor_up_to`](Self::encryptor_up_to), for keys that come over a network.
    ///
    /// # Errors
    /// As [`encryptor_up_to`](Self::encryptor_up_to).
    pub async fn encryptor_up_to_async(
        &self,
        context: &EncryptionContext,
        max_plaintext_len: u64,
    ) -> Result<Encryptor> {
        self.encryptor_for(context, Some(max_plaintext_len)).await
    }

    /// Takes up a message that is read piece by piece, behind its header: see [`Decryptor::reader`].
    ///
    /// Read the header with [`read_header`](Self::read_header).
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt), as far as the header can tell.
    pub fn decryptor(&self, header: UnverifiedHeader, expected: impl Into<ExpectedContext>) -> Result<Decryptor> {
        self.now(pin!(self.decryptor_async(header, expected.into())))
    }

    /// As [`decryptor`](Self::decryptor), for keys that come over a network.
    ///
    /// # Errors
    /// As [`decryptor`](Self::decryptor).
    pub async fn decryptor_async(
        &self,
        header: UnverifiedHeader,
        expected: impl Into<ExpectedContext>,
    ) -> Result<Decryptor> {
        self.open(Unopened::new(header, expected.into(), &self.settings)?).await
    }

    async fn open(&self, unopened: Unopened) -> Result<Decryptor> {
        let given = unopened.request.given_context().clone();
        let opened = match self.cmm.decryption_materials(&unopened.request).await {
            Ok(materials) => unopened.open(&materials.data_key),
            Err(error) => Err(error),
        };
        opened.map_err(|error| Unopened::explain(&given, error))
    }

    /// Reads the header at the start of a stream, and not a byte more, under this client's limits.
    ///
    /// Reads field by field: give it something buffered.
    ///
    /// # Errors
    /// As [`UnverifiedHeader::read`].
    pub fn read_header(&self, reader: impl Read) -> Result<UnverifiedHeader> {
        UnverifiedHeader::read_within(reader, self.settings.header_limits)
    }

    /// How much header this client takes.
    #[cfg(feature = "tokio")]
    pub(crate) fn header_limits(&self) -> HeaderLimits {
        self.settings.header_limits
    }

    async fn encryptor_for(&self, context: &EncryptionContext, max_plaintext_len: Option<u64>) -> Result<Encryptor> {
        let request = EncryptionRequest {
            encryption_context: context.clone(),
            suite: self.settings.suite,
            commitment_policy: self.settings.commitment_policy,
            required_context_keys: BTreeSet::new(),
            max_plaintext_len,
        };
        let materials = self.cmm.encryption_materials(&request).await?;
        Encryptor::new(materials, max_plaintext_len, &self.settings)
    }

    /// Fails unless the keys are at hand without waiting.
    pub(crate) fn check_local(&self) -> Result<()> {
        if self.cmm.is_local() {
            return Ok(());
        }
        let detail = "the keys come over a network, or their keyring does not say that it is_local: call the _async \
                      twin of this function and await it";
        Err(Error::new(ErrorKind::NeedsAsync, detail))
    }

    /// Polls a future once, which is enough where everything is local.
    ///
    /// It comes pinned, as moving it costs as much as a good part of a small message.
    pub(crate) fn now<T>(&self, future: Pin<&mut impl Future<Output = Result<T>>>) -> Result<T> {
        self.check_local()?;
        poll_once(future).unwrap_or_else(|| {
            let detail = format!("a keyring called itself local and then waited: {}", self.cmm_type);
            Err(Error::new(ErrorKind::Internal, detail))
        })
    }
}

/// Settings for a [`Client`].
///
/// ```
/// use manila::{AlgorithmSuite, Client, RawAesKeyring};
///
/// let keyring = RawAesKeyring::new("example", "key-1", &[0; 32])?;
/// let client = Client::builder(keyring)
///     .suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey)
///     .frame_length(65_536)
///     .build()?;
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until built"]
pub struct ClientBuilder {
    /// Its settings are not yet known to go together.
    client: Client,
}

impl ClientBuilder {
    /// The suite to write. By default that of the commitment policy.
    pub fn suite(mut self, suite: AlgorithmSuite) -> Self {
        self.client.settings.suite = Some(suite);
        self
    }

    /// Which suites may be written and read. By default those with key commitment alone.
    pub fn commitment_policy(mut self, policy: CommitmentPolicy) -> Self {
        self.client.settings.commitment_policy = policy;
        self
    }

    /// Plaintext bytes in a frame, 4096 by default. Larger frames make large messages faster and need as much more
    /// memory in streams.
    pub fn frame_length(mut self, bytes: u32) -> Self {
        self.client.settings.frame_length = bytes;
        self
    }

    /// The most encrypted data keys to write or read, 64 by default. Each can cost the reader a call to a KMS.
    pub fn max_encrypted_data_keys(mut self, count: u16) -> Self {
        self.client.settings.header_limits.max_encrypted_data_keys = count;
        self
    }

    /// The longest header to write or read in bytes, 1 MiB by default.
    pub fn max_header_length(mut self, bytes: usize) -> Self {
        self.client.settings.header_limits.max_length = bytes;
        self
    }

    /// The longest frame to read in bytes of plaintext, 64 MiB by default. A stream holds one frame in memory.
    pub fn max_frame_length(mut self, bytes: u32) -> Self {
        self.client.settings.max_frame_length = bytes;
        self
    }

    /// The longest unframed body to read in bytes of plaintext, 64 MiB by default. A stream holds all of it in
    /// memory.
    pub fn max_unframed_length(mut self, bytes: u64) -> Self {
        self.client.settings.max_unframed_length = bytes;
        self
    }

    /// The most threads that work on one message, the caller's among them; 1 by default.
    ///
    /// Whole messages and batches of a stream are spread over them where there are some megabytes to work on. The
    /// bytes are the same on any number of threads. Threads last for the call that they help, and none is started for
    /// small messages. What they bring ends where memory is no faster: whole messages and writers gain most, readers
    /// least, as all that a reader takes passes through one thread before it can be shared. In signed suites, where hashing takes nearly all the time and cannot be split, one thread
    /// hashes while the others do the rest. A stream's memory grows with the threads: about 4 MiB for each, or two frames
    /// if they are longer than 2 MiB.
    pub fn threads(mut self, threads: usize) -> Self {
        self.client.settings.threads = threads;
        self
    }

    /// Refuses signed messages before any key is asked for, so that a stream releases nothing that a signature at
    /// its end could still disown; what this client writes is then unsigned by default too. Off by default.
    pub fn unsigned_only(mut self, only: bool) -> Self {
        self.client.settings.unsigned_only = only;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`ErrorKind::PolicyViolation`] if the policy does not allow the suite, [`ErrorKind::InvalidInput`] if the
    /// frame length is 0 or over what this client reads, if it would write signed messages and not read them, or if
    /// no data key or no thread is allowed.
    pub fn build(self) -> Result<Client> {
        let mut settings = self.client.settings;
        let invalid = |detail: &'static str| Err(Error::new(ErrorKind::InvalidInput, detail));
        if let Some(suite) = settings.suite {
            settings.commitment_policy.check_encrypt(suite)?;
        }
        if settings.unsigned_only {
            let suite = settings.suite.get_or_insert(settings.commitment_policy.default_unsigned_suite());
            if suite.is_signed() {
                return invalid("the client could not read its own messages: choose a suite that does not sign");
            }
        }
        if settings.frame_length == 0 {
            return invalid("a frame length of 0 cannot hold anything: set frame_length to 1 or more");
        }
        if settings.frame_length > settings.max_frame_length {
            return invalid("the client could not read its own frames: raise max_frame_length to frame_length");
        }
        if settings.header_limits.max_encrypted_data_keys == 0 {
            return invalid("a message has at least one data key: set max_encrypted_data_keys to 1 or more");
        }
        if settings.threads == 0 {
            return invalid("a message is worked on by one thread at least: set threads to 1 or more");
        }
        Ok(Client { settings, ..self.client })
    }
}
