//! Encryption of one message: keys and bytes meet here.
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

use frames::{FrameSealer, no_room, too_many_frames};
use manila_core::internal::crypto::{self, AeadKey, IV_LEN, Signer};
use manila_core::{Error, ErrorKind, Result};

/// The IV under which a header is authenticated: no frame has sequence number 0.
const HEADER_IV: [u8; IV_LEN] = [0; IV_LEN];

/// Everything that seals one message. Its key seals this message and no other.
///
/// Made by [`Client::encryptor`](crate::Client::encryptor); [`writer`](Self::writer) is what to do with it.
#[must_use = "an encryptor does nothing until written to"]
pub struct Encryptor {
    suite: AlgorithmSuite,
    header: Vec<u8>,
    sealer: FrameSealer,
    /// Behind a pointer, as few messages have one and all are moved about.
    signer: Option<Box<Signer>>,
    max_plaintext_len: Option<u64>,
    threads: usize,
}

impl Encryptor {
    pub(crate) fn new(
        materials: EncryptionMaterials,
        max_plaintext_len: Option<u64>,
        settings: &Settings,
    ) -> Result<Self> {
        let suite = materials.suite();
        settings.commitment_policy.check_encrypt(suite)?;
        let Some(data_key) = materials.data_key() else {
            return Err(Error::new(ErrorKind::Internal, "the materials manager returned no data key"));
        };
        if materials.encrypted_data_keys().is_empty() {
            let detail = "no keyring wrapped the data key, so that nobody could open the message";
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        if suite.is_signed() != materials.has_signing_key() {
            let detail = "the materials manager returned a signing key where none belongs, or none where one does";
            return Err(Error::new(ErrorKind::Internal, detail));
        }
        settings.header_limits.check_data_keys(materials.encrypted_data_keys().len())?;

        let mut message_id = MessageId::zeros(suite.message_id_len());
        crypto::random(&mut message_id)?;
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
        let header = seal_header(&fields, &key, &parts.authenticated_context.to_bytes()?)?;
        settings.header_limits.check_length(header.len())?;

        let mut signer = parts.signing_key.map(|key| Box::new(key.into_signer()));
        if let Some(signer) = &mut signer {
            signer.update(&header);
        }
        let sealer = FrameSealer { key, message_id: fields.message_id, frame_length: settings.frame_length };
        Ok(Self { suite, header, sealer, signer, max_plaintext_len, threads: settings.threads })
    }

    /// Length in bytes of the whole message of `plaintext_len` bytes.
    ///
    /// Exact in every suite: signatures are written with a fixed length.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] if so long a plaintext takes more than the 4,294,967,295 frames of the format.
    pub fn ciphertext_len(&self, plaintext_len: u64) -> Result<u64> {
        Ok(self.frame_map(plaintext_len)?.ciphertext_len())
    }

    /// Where the frames will lie in the message of `plaintext_len` bytes.
    ///
    /// # Errors
    /// As [`ciphertext_len`](Self::ciphertext_len).
    pub fn frame_map(&self, plaintext_len: u64) -> Result<FrameMap> {
        let (header, footer) = (self.header.len() as u64, self.footer_len() as u64);
        FrameMap::to_write(header, self.sealer.frame_length, plaintext_len, footer).ok_or_else(too_many_frames)
    }

    pub(crate) fn header(&self) -> &[u8] {
        &self.header
    }

    /// Plaintext bytes in every frame but the final one.
    pub(crate) fn frame_length(&self) -> usize {
        self.sealer.frame_length()
    }

    /// Length in bytes of every frame but the final one.
    pub(crate) fn regular_len(&self) -> usize {
        self.sealer.regular_len()
    }

    /// How many threads the caller allows.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Fails if a plaintext of `len` bytes is over the bound that was given.
    pub(crate) fn check_plaintext_len(&self, len: u64) -> Result<()> {
        match self.max_plaintext_len {
            Some(max) if len > max => {
                let detail = format!("the plaintext is longer than the bound of {max} bytes that was given for it");
                Err(Error::new(ErrorKind::LimitExceeded, detail))
            }
            _ => Ok(()),
        }
    }

    /// Length in bytes of the footer.
    pub(crate) fn footer_len(&self) -> usize {
        self.suite.curve().map_or(0, |curve| footer::LENGTH_FIELD + curve.signature_len())
    }

    /// Seals `plaintext`, whole frames of which none is the last, into the front of `out`, the first as frame `first`,
    /// and returns the length of all.
    pub(crate) fn encrypt_regular(&mut self, first: u32, plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        self.sealer.seal_regular(self.threads, self.signer.as_deref_mut(), first, plaintext, out)
    }

    /// Seals the final frame into the front of `out`, and behind it the footer of suites that sign; returns the length
    /// of both. Nothing can be sealed afterwards.
    pub(crate) fn encrypt_final(&mut self, sequence: u32, plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        let len = self.sealer.encrypt_frame(sequence, true, plaintext, out)?;
        let (frame, behind) = out.split_at_mut_checked(len).ok_or_else(no_room)?;
        let Some(mut signer) = self.signer.take() else {
            return Ok(len);
        };
        signer.update(frame);
        let mut footer = Vec::new();
        footer::put(&mut footer, &signer.finish()?).map_err(|_| header_does_not_fit())?;
        behind.get_mut(..footer.len()).ok_or_else(no_room)?.copy_from_slice(&footer);
        Ok(len.saturating_add(footer.len()))
    }

    /// The whole message of `plaintext`, in place of what `message` holds.
    pub(crate) fn encrypt_all(mut self, plaintext: &[u8], message: &mut Vec<u8>) -> Result<()> {
        let map = self.frame_map(plaintext.len() as u64)?;
        buffer::fit(message, map.ciphertext_len())?;
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

fn seal_header(fields: &HeaderFields, key: &AeadKey, authenticated_only: &[u8]) -> Result<Vec<u8>> {
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
            .field("frame_length", &self.sealer.frame_length)
            .finish_non_exhaustive()
    }
}
