//! Encryption of one message: keys and bytes meet here.
//!
//! Source: the ESDK specification, `client-apis/encrypt.md`.

use std::fmt;

use crate::crypto::{self, AeadKey, Signer};
use crate::error::{Error, ErrorKind, Result};
use crate::materials::EncryptionMaterials;
use crate::message::footer;
use crate::message::frame::{self, FrameHead};
use crate::message::header::{Content, HeaderAuthentication, HeaderFields, header_does_not_fit};
use crate::settings::Settings;
use crate::suite::{AlgorithmSuite, IV_LEN};

/// The IV under which a header is authenticated: no frame has sequence number 0.
const HEADER_IV: [u8; IV_LEN] = [0; IV_LEN];

/// Everything that seals one message. Its key seals this message and no other.
///
/// Made by [`Client::encryptor`](crate::Client::encryptor); [`writer`](Self::writer) is what to do with it.
#[must_use = "an encryptor does nothing until written to"]
pub struct Encryptor {
    suite: AlgorithmSuite,
    message_id: Vec<u8>,
    frame_length: u32,
    key: AeadKey,
    header: Vec<u8>,
    signer: Option<Signer>,
    max_plaintext_len: Option<u64>,
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

        let mut message_id = vec![0; suite.message_id_len()];
        crypto::random(&mut message_id)?;
        let derived = data_key.derive(suite, &message_id)?;
        let key = AeadKey::new(&derived.key)?;
        let left_out = materials.required_context_keys();
        let stored = materials.encryption_context().filtered(|key| !left_out.contains(key));
        let fields = HeaderFields {
            suite,
            message_id,
            context_bytes: stored.to_bytes()?,
            encryption_context: stored,
            encrypted_data_keys: materials.shared_data_keys(),
            content: Content::Framed(settings.frame_length),
            commitment: derived.commitment,
        };
        let authenticated_only = materials.encryption_context().filtered(|key| left_out.contains(key));
        let header = seal_header(&fields, &key, &authenticated_only.to_bytes()?)?;
        settings.header_limits.check_length(header.len())?;

        let mut signer = materials.into_signing_key().map(crypto::SigningKey::into_signer);
        if let Some(signer) = &mut signer {
            signer.update(&header);
        }
        Ok(Self {
            suite,
            message_id: fields.message_id,
            frame_length: settings.frame_length,
            key,
            header,
            signer,
            max_plaintext_len,
        })
    }

    /// Length in bytes of the whole message of `plaintext_len` bytes.
    ///
    /// Exact in every suite: signatures are written with a fixed length.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] if so long a plaintext takes more than the 4,294,967,295 frames of the format.
    pub fn ciphertext_len(&self, plaintext_len: u64) -> Result<u64> {
        let body = frame::body_len(plaintext_len, self.frame_length).ok_or_else(too_many_frames)?;
        let around = self.header.len().saturating_add(self.footer_len()) as u64;
        body.checked_add(around).ok_or_else(too_many_frames)
    }

    pub(crate) fn header(&self) -> &[u8] {
        &self.header
    }

    /// Plaintext bytes in every frame but the final one.
    pub(crate) fn frame_length(&self) -> usize {
        usize::try_from(self.frame_length).unwrap_or(usize::MAX)
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

    /// Seals frame `sequence` from `plaintext` into the front of `out`, and returns the frame's length.
    ///
    /// The one way to seal a frame, whichever way the message takes. It keeps no state: the caller counts, and
    /// never seals two plaintexts under one number.
    pub(crate) fn encrypt_frame(&self, sequence: u32, last: bool, plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        let no_room = || Error::new(ErrorKind::Internal, "no room for a frame");
        let content_len = u32::try_from(plaintext.len()).map_err(|_| no_room())?;
        let head = FrameHead::to_write(last, sequence, content_len);
        let (head_out, rest) = out.split_at_mut_checked(head.len()).ok_or_else(no_room)?;
        let (content, rest) = rest.split_at_mut_checked(plaintext.len()).ok_or_else(no_room)?;
        head_out.copy_from_slice(&head.to_bytes());
        let tag = self.key.seal(head.iv, &head.aad(&self.message_id), plaintext, content)?;
        *rest.first_chunk_mut().ok_or_else(no_room)? = tag;
        head.frame_len().ok_or_else(no_room)
    }

    /// Feeds sealed frames, in order, to the signature of signed suites.
    pub(crate) fn sign(&mut self, frames: &[u8]) {
        if let Some(signer) = &mut self.signer {
            signer.update(frames);
        }
    }

    /// The footer, behind the final frame; empty in suites that do not sign.
    pub(crate) fn finish(&mut self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        if let Some(signer) = self.signer.take() {
            footer::put(&mut out, &signer.finish()?).map_err(|_| header_does_not_fit())?;
        }
        Ok(out)
    }

    /// The whole message of `plaintext`.
    pub(crate) fn encrypt_all(mut self, plaintext: &[u8]) -> Result<Vec<u8>> {
        let len = usize::try_from(self.ciphertext_len(plaintext.len() as u64)?).map_err(|_| too_many_frames())?;
        let mut message = vec![0; len];
        let no_room = || Error::new(ErrorKind::Internal, "no room for the message");
        let (header, mut rest) = message.split_at_mut_checked(self.header.len()).ok_or_else(no_room)?;
        header.copy_from_slice(&self.header);
        let mut frames = plaintext.chunks(self.frame_length().max(1)).peekable();
        for sequence in 1..=u32::MAX {
            let content = frames.next().unwrap_or_default();
            let last = frames.peek().is_none();
            let frame_len = self.encrypt_frame(sequence, last, content, rest)?;
            let (frame, behind) = rest.split_at_mut_checked(frame_len).ok_or_else(no_room)?;
            self.sign(frame);
            rest = behind;
            if last {
                break;
            }
        }
        let footer = self.finish()?;
        if rest.len() != footer.len() {
            return Err(no_room());
        }
        rest.copy_from_slice(&footer);
        Ok(message)
    }
}

fn seal_header(fields: &HeaderFields, key: &AeadKey, authenticated_only: &[u8]) -> Result<Vec<u8>> {
    let mut header = fields.body_to_bytes().map_err(|_| header_does_not_fit())?;
    let tag = key.seal(HEADER_IV, &[&header, authenticated_only].concat(), &[], &mut [])?;
    HeaderAuthentication { iv: HEADER_IV, tag }.put(fields.suite, &mut header);
    Ok(header)
}

pub(crate) fn too_many_frames() -> Error {
    let detail = "the plaintext takes more than the 4,294,967,295 frames of the format: take a larger frame length";
    Error::new(ErrorKind::LimitExceeded, detail)
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryptor")
            .field("suite", &self.suite)
            .field("frame_length", &self.frame_length)
            .finish_non_exhaustive()
    }
}
