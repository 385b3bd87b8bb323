//! [`Encryptor`]: encryption of one message. Together with `decrypt.rs`, the only place where keys and plaintext meet.
//!
//! Source: the ESDK specification, `client-apis/encrypt.md`.

mod frames;

use std::fmt;

use crate::buffer;
use crate::materials::{DataKey, EncryptionMaterials};
use crate::message::footer;
use crate::message::frame_map::FrameMap;
use crate::message::header::{ContentType, HeaderAuthentication, HeaderFields, MessageId, header_does_not_fit};
use crate::message_key::{KeySource, MessageKey};
use crate::settings::Settings;
use crate::suite::{AlgorithmSuite, COMMITMENT_LEN};
use crate::threads::Workers;

use frames::{FrameEncryptor, no_room, too_many_frames};
use manila_core::internal::crypto::{AeadKey, IV_LEN, RandomBytes, Signer, SigningKey};
use manila_core::{Error, ErrorKind, Result};

/// The IV of the header's tag. No frame has sequence number 0, so no frame has this IV.
const HEADER_IV: [u8; IV_LEN] = [0; IV_LEN];

/// The key, header and settings of one message that is to be written as a stream.
///
/// Obtain one from [`Client::encryptor`](crate::Client::encryptor), and pass it a sink with [`writer`](Self::writer).
/// Its key encrypts this message and no other.
///
/// ```
/// use std::io::Write;
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
///
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let context = EncryptionContext::empty();
/// let encryptor = client.encryptor(&context)?;
/// let len = encryptor.ciphertext_len(5)?; // for a `Content-Length`, say
/// let mut writer = encryptor.writer(Vec::new());
/// writer.write_all(b"hello")?;
/// assert_eq!(writer.finish()?.len() as u64, len);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "an encryptor does nothing until `writer` is called"]
pub struct Encryptor {
    suite: AlgorithmSuite,
    header: Vec<u8>,
    frames: FrameEncryptor,
    /// Boxed, because it is large, many messages have none, and an encryptor is moved several times.
    signer: Option<Box<Signer>>,
    max_plaintext_len: Option<u64>,
    workers: Workers,
}

impl Encryptor {
    /// Derives the key of a message and starts it.
    pub(crate) fn new(message: NewMessage, settings: &Settings) -> Result<Self> {
        let mut key = MessageKey::default();
        key.derive(message.key_source())?;
        Self::start(message, &key, settings)
    }

    /// Starts a message under its key.
    pub(crate) fn start(message: NewMessage, key: &MessageKey, settings: &Settings) -> Result<Self> {
        let NewMessage { suite, id, mut header, authenticated_only, signing_key, max_plaintext_len, data_key: _ } =
            message;
        header.extend_from_slice(key.commitment.as_ref().map_or(&[], |commitment| commitment));
        let key = AeadKey::new(key.bytes())?;
        authenticate_header(suite, &mut header, &authenticated_only, &key)?;
        let mut signer = signing_key.map(|key| Box::new(key.into_signer()));
        if let Some(signer) = &mut signer {
            signer.update(&header);
        }
        let frames = FrameEncryptor { key, message_id: id, frame_length: settings.frame_length };
        Ok(Self { suite, header, frames, signer, max_plaintext_len, workers: settings.workers.clone() })
    }

    /// Returns the exact length in bytes of the complete message for a plaintext of `plaintext_len` bytes.
    ///
    /// It is exact in signed suites too, because signatures are written with a fixed length.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let len = client.encryptor(&context)?.ciphertext_len(5)?;
    /// assert_eq!(client.encrypt(b"hello", &context)?.len() as u64, len);
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] if the plaintext needs more than the 4,294,967,295 frames that the format allows.
    pub fn ciphertext_len(&self, plaintext_len: u64) -> Result<u64> {
        Ok(self.frame_map(plaintext_len)?.ciphertext_len())
    }

    /// Returns the positions that the frames will have in the message for a plaintext of `plaintext_len` bytes.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let map = client.encryptor(&EncryptionContext::empty())?.frame_map(10_000)?;
    /// assert_eq!((map.frames(), map.frame_plaintext(3)), (3, Some(8192..10_000)));
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`ciphertext_len`](Self::ciphertext_len).
    pub fn frame_map(&self, plaintext_len: u64) -> Result<FrameMap> {
        let (header, footer) = (self.header.len() as u64, self.footer_len() as u64);
        FrameMap::to_write(header, self.frames.frame_length, plaintext_len, footer).ok_or_else(too_many_frames)
    }

    /// Returns this encryptor with other workers than those of the client.
    pub(crate) fn on(self, workers: &Workers) -> Self {
        Self { workers: workers.clone(), ..self }
    }

    pub(crate) fn header(&self) -> &[u8] {
        &self.header
    }

    /// Returns the number of plaintext bytes in every frame except the final one.
    pub(crate) fn frame_length(&self) -> usize {
        self.frames.frame_length()
    }

    /// Returns the length in bytes of every frame except the final one.
    pub(crate) fn regular_len(&self) -> usize {
        self.frames.regular_len()
    }

    /// Returns the number of threads that the caller allows.
    pub(crate) fn threads(&self) -> usize {
        self.workers.threads
    }

    /// Fails if a plaintext of `len` bytes is longer than the bound that the caller gave.
    pub(crate) fn check_plaintext_len(&self, len: u64) -> Result<()> {
        match self.max_plaintext_len {
            Some(max) if len > max => {
                let detail =
                    format!("the plaintext is over the bound of {max} bytes: give encryptor_up_to a larger one");
                Err(Error::new(ErrorKind::LimitExceeded, detail))
            }
            _ => Ok(()),
        }
    }

    /// Returns the length of the footer in bytes.
    pub(crate) fn footer_len(&self) -> usize {
        footer_len(self.suite)
    }

    /// Encrypts `plaintext` into the start of `out`, as regular frames of which the first is frame `first`, and returns
    /// their length. `plaintext` must be a whole number of frames, none of which is the final one.
    pub(crate) fn encrypt_regular(&mut self, first: u32, plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        self.frames.encrypt_regular(&self.workers, self.signer.as_deref_mut(), first, plaintext, out)
    }

    /// Encrypts the final frame into the start of `out`, appends the footer of signed suites, and returns the length of
    /// both. Nothing can be encrypted afterwards.
    pub(crate) fn encrypt_final(&mut self, sequence: u32, plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = self.frames.encrypt_frame(sequence, true, plaintext, out)?;
        let (frame, rest) = out.split_at_mut_checked(len).ok_or_else(no_room)?;
        let Some(mut signer) = self.signer.take() else {
            return Ok(len);
        };
        signer.update(frame);
        let mut footer = Vec::new();
        footer::put(&mut footer, &signer.finish()?).map_err(|_| header_does_not_fit())?;
        rest.get_mut(..footer.len()).ok_or_else(no_room)?.copy_from_slice(&footer);
        Ok(len.saturating_add(footer.len()))
    }

    /// Encrypts `plaintext` into a complete message, which replaces the contents of `message`.
    pub(crate) fn encrypt_all(self, plaintext: &[u8], message: &mut Vec<u8>) -> Result<()> {
        buffer::resize(message, self.ciphertext_len(plaintext.len() as u64)?)?;
        self.encrypt_to(plaintext, message)
    }

    /// Encrypts `plaintext` into a complete message, which is as long as `message`.
    pub(crate) fn encrypt_to(mut self, plaintext: &[u8], message: &mut [u8]) -> Result<()> {
        self.check_plaintext_len(plaintext.len() as u64)?;
        let map = self.frame_map(plaintext.len() as u64)?;
        let (header, body) = message.split_at_mut_checked(self.header.len()).ok_or_else(no_room)?;
        header.copy_from_slice(&self.header);
        let last = map.frames();
        let start = map.frame_plaintext(last).and_then(|content| usize::try_from(content.start).ok());
        let (regular, content) = start.and_then(|start| plaintext.split_at_checked(start)).ok_or_else(no_room)?;
        let len = self.encrypt_regular(1, regular, body)?;
        let rest = body.get_mut(len..).unwrap_or_default();
        let room = rest.len();
        match self.encrypt_final(last, content, rest)? {
            len if len == room => Ok(()),
            _ => Err(no_room()),
        }
    }
}

/// A message whose materials are complete, and whose key is to be derived: alone, or together with those of others.
pub(crate) struct NewMessage {
    suite: AlgorithmSuite,
    id: MessageId,
    /// Up to the key commitment, which is derived with the key, and the tag.
    header: Vec<u8>,
    /// The pairs that the tag authenticates and the header omits.
    authenticated_only: Vec<u8>,
    data_key: DataKey,
    signing_key: Option<SigningKey>,
    max_plaintext_len: Option<u64>,
}

impl NewMessage {
    /// Checks the materials, and writes the header.
    pub(crate) fn new(
        materials: EncryptionMaterials,
        id: NewMessageId,
        max_plaintext_len: Option<u64>,
        settings: &Settings,
    ) -> Result<Self> {
        let suite = materials.suite();
        settings.commitment_policy.check_encrypt(suite)?;
        if materials.data_key().is_some() && materials.encrypted_data_keys().is_empty() {
            let detail = "no keyring encrypted the data key, so no one could decrypt the message: add one that does";
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        if suite.is_signed() != materials.has_signing_key() {
            let detail = "the materials manager must return a signing key if the suite signs, and none otherwise";
            return Err(Error::new(ErrorKind::Internal, detail));
        }
        settings.header_limits.check_data_keys(materials.encrypted_data_keys().len())?;

        let parts = materials.into_parts();
        let Some(data_key) = parts.data_key else {
            return Err(Error::new(ErrorKind::Internal, "the materials manager must return a data key, but did not"));
        };
        let fields = HeaderFields {
            suite,
            message_id: id.of_suite(suite),
            context_bytes: parts.stored_context.to_bytes()?,
            encryption_context: parts.stored_context,
            encrypted_data_keys: parts.encrypted_data_keys,
            content: ContentType::Framed(settings.frame_length),
            commitment: None,
        };
        let header = fields.body_to_bytes().map_err(|_| header_does_not_fit())?;
        settings.header_limits.check_length(header.len().saturating_add(after_body(suite)))?;
        Ok(Self {
            suite,
            id: fields.message_id,
            header,
            authenticated_only: parts.authenticated_context.to_bytes()?,
            data_key,
            signing_key: parts.signing_key,
            max_plaintext_len,
        })
    }

    /// Returns what the key of this message is derived from.
    pub(crate) fn key_source(&self) -> KeySource<'_> {
        KeySource { data_key: &self.data_key, suite: self.suite, message_id: &self.id }
    }

    /// Returns the length that the message will have.
    pub(crate) fn ciphertext_len(&self, plaintext_len: u64, settings: &Settings) -> Result<u64> {
        let header = self.header.len().saturating_add(after_body(self.suite)) as u64;
        let map = FrameMap::to_write(header, settings.frame_length, plaintext_len, footer_len(self.suite) as u64);
        Ok(map.ok_or_else(too_many_frames)?.ciphertext_len())
    }
}

/// Returns the length in bytes of what follows the header's other fields: key commitment and authentication.
fn after_body(suite: AlgorithmSuite) -> usize {
    let commitment = if suite.is_committing() { COMMITMENT_LEN } else { 0 };
    commitment.saturating_add(HeaderAuthentication::encoded_len(suite))
}

/// Returns the length of the footer in bytes.
fn footer_len(suite: AlgorithmSuite) -> usize {
    suite.curve().map_or(0, |curve| footer::LENGTH_FIELD + curve.signature_len())
}

/// The id of a message that has not been written. It cannot be copied, and is consumed by the message: under one data
/// key, as a cache gives it out, no two messages may have the same.
#[derive(Debug)]
pub(crate) struct NewMessageId([u8; Self::LEN]);

impl NewMessageId {
    /// Length in bytes of the longest id.
    const LEN: usize = 32;

    /// Takes it from the random bytes of its message.
    pub(crate) fn take(random: &RandomBytes) -> Result<Self> {
        let mut id = Self([0; Self::LEN]);
        random.fill(&mut id.0)?;
        Ok(id)
    }

    fn of_suite(self, suite: AlgorithmSuite) -> MessageId {
        let mut id = MessageId::zeros(suite.message_id_len());
        for (to, from) in id.iter_mut().zip(self.0) {
            *to = from;
        }
        id
    }
}

/// Appends its tag to a header, which also authenticates `authenticated_only`.
fn authenticate_header(
    suite: AlgorithmSuite,
    header: &mut Vec<u8>,
    authenticated_only: &[u8],
    key: &AeadKey,
) -> Result<()> {
    let len = header.len();
    header.extend_from_slice(authenticated_only);
    let tag = key.seal(HEADER_IV, header, &[], &mut [])?;
    header.truncate(len);
    HeaderAuthentication { iv: HEADER_IV, tag }.put(suite, header);
    Ok(())
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryptor")
            .field("suite", &self.suite)
            .field("frame_length", &self.frames.frame_length)
            .finish_non_exhaustive()
    }
}
