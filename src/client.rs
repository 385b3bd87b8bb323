//! The client: whole messages, and what starts a stream.

pub(crate) mod builder;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io::Read;
use std::pin::{Pin, pin};
use std::sync::Arc;

use manila_core::internal::poll_once;
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use crate::buffer::Refilled;
use crate::cmm::{Cmm, DefaultCmm};
use crate::decrypt::{Decryptor, Unopened};
use crate::encrypt::Encryptor;
use crate::expected_context::ExpectedContext;
use crate::keyring::Keyring;
use crate::materials::EncryptionRequest;
#[cfg(feature = "tokio")]
use crate::message::header::HeaderLimits;
use crate::message::header::{Header, UnverifiedHeader};
use crate::settings::Settings;

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
    /// faults, which are most of the time of a large message.
    ///
    /// After any error `message` is empty and its memory wiped, [`ErrorKind::NeedsAsync`] included. Memory that
    /// `message` outgrows goes back to the allocator as it is.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    pub fn encrypt_into(&self, plaintext: &[u8], context: &EncryptionContext, message: &mut Vec<u8>) -> Result<()> {
        self.now(pin!(self.encrypt_into_async(plaintext, context, message)))
    }

    /// As [`encrypt_into`](Self::encrypt_into), for keys that come over a network. If the future is dropped before its
    /// end, `message` is empty and wiped as after an error.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    pub fn encrypt_into_async(
        &self,
        plaintext: &[u8],
        context: &EncryptionContext,
        message: &mut Vec<u8>,
    ) -> impl Future<Output = Result<()>> {
        // From now on, and not when it is first polled: that may never be.
        let mut message = Refilled::new(message);
        async move {
            let encryptor = self.encryptor_up_to_async(context, plaintext.len() as u64).await?;
            encryptor.encrypt_all(plaintext, message.buffer())?;
            message.keep();
            Ok(())
        }
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
    /// faults, which are most of the time of a large message. As much memory as the message takes is enough.
    ///
    /// After any error `plaintext` is empty and its memory wiped, [`ErrorKind::NeedsAsync`] included: neither what it
    /// held before nor anything of this message is left there. Memory that `plaintext` outgrows goes back to the
    /// allocator as it is.
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

    /// As [`decrypt_into`](Self::decrypt_into), for keys that come over a network. If the future is dropped before its
    /// end, `plaintext` is empty and wiped as after an error.
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt).
    pub fn decrypt_into_async(
        &self,
        message: &[u8],
        expected: impl Into<ExpectedContext>,
        plaintext: &mut Vec<u8>,
    ) -> impl Future<Output = Result<Header>> {
        let (expected, mut plaintext) = (expected.into(), Refilled::new(plaintext));
        async move {
            let (decryptor, body) = self.open_message(message, expected).await?;
            let header = decryptor.decrypt_all(message.get(body..).unwrap_or_default(), plaintext.buffer())?;
            plaintext.keep();
            Ok(header)
        }
    }

    /// As [`decrypt`](Self::decrypt), in the memory of the message, which becomes its plaintext. On one thread,
    /// whatever [`threads`](crate::ClientBuilder::threads) says.
    ///
    /// Until a key has opened the message it stays as it was: after an error up to then, [`ErrorKind::NeedsAsync`]
    /// included, it can be opened again, with other keys or when a KMS can be reached. After an error later on it is
    /// empty, and its memory wiped.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
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

    /// As [`decrypt_in_place`](Self::decrypt_in_place), for keys that come over a network. If the future is dropped
    /// before its end, the message is as it was.
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt).
    pub async fn decrypt_in_place_async(
        &self,
        message: &mut Vec<u8>,
        expected: impl Into<ExpectedContext>,
    ) -> Result<Header> {
        let (decryptor, body) = self.open_message(message, expected.into()).await?;
        let mut message = Refilled::new(message);
        let header = decryptor.decrypt_in_place(message.buffer(), body)?;
        message.keep();
        Ok(header)
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
        self.encryptor_for(context, BTreeSet::new(), None).await
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
        self.encryptor_for(context, BTreeSet::new(), Some(max_plaintext_len)).await
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

    /// An encryptor that leaves the pairs of the keys `left_out` out of the header.
    pub(crate) async fn encryptor_for(
        &self,
        context: &EncryptionContext,
        left_out: BTreeSet<String>,
        max_plaintext_len: Option<u64>,
    ) -> Result<Encryptor> {
        let request = EncryptionRequest {
            encryption_context: context.clone(),
            suite: self.settings.suite,
            commitment_policy: self.settings.commitment_policy,
            required_context_keys: left_out,
            max_plaintext_len,
        };
        let materials = self.cmm.encryption_materials(&request).await?;
        if !materials.required_context_keys().is_superset(&request.required_context_keys) {
            let detail = format!(
                "the materials manager would write encryption context pairs into the header that are to be left out \
                 of it: {} must hand required_context_keys on",
                self.cmm_type
            );
            return Err(Error::new(ErrorKind::Internal, detail));
        }
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
