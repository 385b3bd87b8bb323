//! [`Encryptor`]: encryption of one message. Together with `decrypt.rs`, the only place where keys and plaintext meet.
//!
//! Source: the ESDK specification, `client-apis/encrypt.md`.

mod frames;

use std::fmt;

use crate::buffer;
use crate::materials::EncryptionMaterials;
use crate::message::footer;
use crate::message::frame_map::FrameMap;
use crate::message::header::{ContentType, HeaderAuthentication, HeaderFields, MessageId, header_does_not_fit};
use crate::message_key::MessageKey;
use crate::settings::Settings;
use crate::suite::AlgorithmSuite;

use frames::{FrameEncryptor, no_room, too_many_frames};
use manila_core::internal::crypto::{AeadKey, IV_LEN, RandomBytes, Signer};
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
    threads: usize,
}

impl Encryptor {
    pub(crate) fn new(
        materials: EncryptionMaterials,
        message_id: NewMessageId,
        max_plaintext_len: Option<u64>,
        settings: &Settings,
    ) -> Result<Self> {
        let suite = materials.suite();
        settings.commitment_policy.check_encrypt(suite)?;
        let Some(data_key) = materials.data_key() else {
            return Err(Error::new(ErrorKind::Internal, "the materials manager must return a data key, but did not"));
        };
        if materials.encrypted_data_keys().is_empty() {
            let detail = "no keyring encrypted the data key, so no one could decrypt the message: add one that does";
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        if suite.is_signed() != materials.has_signing_key() {
            let detail = "the materials manager must return a signing key if the suite signs, and none otherwise";
            return Err(Error::new(ErrorKind::Internal, detail));
        }
        settings.header_limits.check_data_keys(materials.encrypted_data_keys().len())?;

        let message_id = message_id.of_suite(suite);
        let mut derived = MessageKey::default();
        derived.derive(data_key, suite, &message_id)?;
        let key = AeadKey::new(derived.bytes())?;
        let parts = materials.into_parts();
        let fields = HeaderFields {
            suite,
            message_id,
            context_bytes: parts.stored_context.to_bytes()?,
            encryption_context: parts.stored_context,
            encrypted_data_keys: parts.encrypted_data_keys,
            content: ContentType::Framed(settings.frame_length),
            commitment: derived.commitment,
        };
        let header = authenticate_header(&fields, &key, &parts.authenticated_context.to_bytes()?)?;
        settings.header_limits.check_length(header.len())?;

        let mut signer = parts.signing_key.map(|key| Box::new(key.into_signer()));
        if let Some(signer) = &mut signer {
            signer.update(&header);
        }
        let frames = FrameEncryptor { key, message_id: fields.message_id, frame_length: settings.frame_length };
        Ok(Self { suite, header, frames, signer, max_plaintext_len, threads: settings.threads })
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
        self.threads
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
        self.suite.curve().map_or(0, |curve| footer::LENGTH_FIELD + curve.signature_len())
    }

    /// Encrypts `plaintext` into the start of `out`, as regular frames of which the first is frame `first`, and returns
    /// their length. `plaintext` must be a whole number of frames, none of which is the final one.
    pub(crate) fn encrypt_regular(&mut self, first: u32, plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        self.frames.encrypt_regular(self.threads, self.signer.as_deref_mut(), first, plaintext, out)
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
    pub(crate) fn encrypt_all(mut self, plaintext: &[u8], message: &mut Vec<u8>) -> Result<()> {
        let map = self.frame_map(plaintext.len() as u64)?;
        buffer::resize(message, map.ciphertext_len())?;
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

/// Serializes the header, and appends its tag, which also authenticates `authenticated_only`.
fn authenticate_header(fields: &HeaderFields, key: &AeadKey, authenticated_only: &[u8]) -> Result<Vec<u8>> {
    let mut header = fields.body_to_bytes().map_err(|_| header_does_not_fit())?;
    let len = header.len();
    header.extend_from_slice(authenticated_only);
    let tag = key.seal(HEADER_IV, &header, &[], &mut [])?;
    header.truncate(len);
    HeaderAuthentication { iv: HEADER_IV, tag }.put(fields.suite, &mut header);
    Ok(header)
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryptor")
            .field("suite", &self.suite)
            .field("frame_length", &self.frames.frame_length)
            .finish_non_exhaustive()
    }
}
