//! Encryption of one message: keys and bytes meet here.
//!
//! Source: the ESDK specification, `client-apis/encrypt.md`.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use crate::buffer;
use crate::crypto::{self, AeadKey, Signer};
use crate::error::{Error, ErrorKind, Result};
use crate::materials::EncryptionMaterials;
use crate::message::footer;
use crate::message::frame::{FrameHead, REGULAR_OVERHEAD};
use crate::message::frame_map::FrameMap;
use crate::message::header::{Content, HeaderAuthentication, HeaderFields, MessageId, header_does_not_fit};
use crate::settings::Settings;
use crate::suite::{AlgorithmSuite, IV_LEN};
use crate::threads::{frames_at_a_time, on_threads, worthwhile};

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

/// What seals frames. It keeps no state, so that threads share it.
struct FrameSealer {
    key: AeadKey,
    message_id: MessageId,
    frame_length: u32,
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
        let derived = data_key.derive(suite, &message_id)?;
        let key = AeadKey::new(derived.key())?;
        let left_out = |key: &str| materials.required_context_keys().contains(key);
        let stored = materials.encryption_context().filtered(|key| !left_out(key));
        let fields = HeaderFields {
            suite,
            message_id,
            context_bytes: stored.to_bytes()?,
            encryption_context: stored,
            encrypted_data_keys: materials.shared_data_keys(),
            content: Content::Framed(settings.frame_length),
            commitment: derived.commitment,
        };
        let authenticated_only = materials.encryption_context().filtered(left_out);
        let header = seal_header(&fields, &key, &authenticated_only.to_bytes()?)?;
        settings.header_limits.check_length(header.len())?;

        let mut signer = materials.into_signing_key().map(|key| Box::new(key.into_signer()));
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
        let frames = plaintext.len() / self.frame_length().max(1);
        let behind = u32::try_from(frames).ok().and_then(|frames| first.checked_add(frames));
        behind.ok_or_else(too_many_frames)?;
        let len = frames.saturating_mul(self.regular_len());
        let out = out.get_mut(..len).ok_or_else(no_room)?;
        let threads = worthwhile(self.threads, plaintext.len());
        match &mut self.signer {
            Some(signer) if threads > 1 => self.sealer.seal_and_sign(signer, first, plaintext, out)?,
            None if threads > 1 => self.sealer.seal_on(threads, first, plaintext, out)?,
            signer => self.sealer.seal(first, plaintext, out, |frame| {
                if let Some(signer) = signer {
                    signer.update(frame);
                }
            })?,
        }
        Ok(len)
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
        buffer::fit(message, usize::try_from(map.ciphertext_len()).map_err(|_| too_many_frames())?);
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

impl FrameSealer {
    fn frame_length(&self) -> usize {
        usize::try_from(self.frame_length).unwrap_or(usize::MAX)
    }

    fn regular_len(&self) -> usize {
        self.frame_length().saturating_add(REGULAR_OVERHEAD)
    }

    /// Seals frame `sequence` from `plaintext` into the front of `out`, and returns the frame's length.
    ///
    /// The one way to seal a frame, whichever way the message takes. It keeps no state: the caller counts, and
    /// never seals two plaintexts under one number.
    fn encrypt_frame(&self, sequence: u32, last: bool, plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        let content_len = u32::try_from(plaintext.len()).map_err(|_| no_room())?;
        let head = FrameHead::to_write(last, sequence, content_len);
        let (head_out, rest) = out.split_at_mut_checked(head.len()).ok_or_else(no_room)?;
        let (content, rest) = rest.split_at_mut_checked(plaintext.len()).ok_or_else(no_room)?;
        head_out.copy_from_slice(&head.to_bytes());
        let tag = self.key.seal(head.iv, &head.aad(&self.message_id), plaintext, content)?;
        *rest.first_chunk_mut().ok_or_else(no_room)? = tag;
        head.frame_len().ok_or_else(no_room)
    }

    /// Seals a run of frames, `plaintext` into `out`, both of whole frames, and shows each when it is sealed.
    fn seal(&self, first: u32, plaintext: &[u8], out: &mut [u8], mut sealed: impl FnMut(&[u8])) -> Result<()> {
        let contents = plaintext.chunks_exact(self.frame_length().max(1));
        let frames = out.chunks_exact_mut(self.regular_len());
        for (sequence, (content, frame)) in (first..=u32::MAX).zip(contents.zip(frames)) {
            self.encrypt_frame(sequence, false, content, frame)?;
            sealed(frame);
        }
        Ok(())
    }

    /// As [`seal`](Self::seal), on several threads.
    fn seal_on(&self, threads: usize, first: u32, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        let outcome = Mutex::new(Ok(()));
        on_threads(threads, self.runs(first, plaintext, out), |(first, contents, frames)| {
            if let Err(error) = self.seal(first, contents, frames, |_| {}) {
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
            }
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`seal`](Self::seal), while what is sealed is hashed on another thread. More than two would be of no use:
    /// hashing takes some twenty times as long as sealing, and cannot be split.
    fn seal_and_sign(&self, signer: &mut Signer, first: u32, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        enum Job<'a> {
            Seal(Sender<&'a [u8]>),
            Sign(Receiver<&'a [u8]>, &'a mut Signer),
        }
        let (sealed, to_sign) = channel();
        let runs = Mutex::new(self.runs(first, plaintext, out));
        let outcome = Mutex::new(Ok(()));
        // In this order, so that one thread alone does one after the other.
        let jobs = [Job::Seal(sealed), Job::Sign(to_sign, signer)];
        on_threads(2, jobs.into_iter(), |job| match job {
            Job::Seal(sealed) => {
                for (first, contents, frames) in &mut *runs.lock().unwrap_or_else(PoisonError::into_inner) {
                    if let Err(error) = self.seal(first, contents, frames, |_| {}) {
                        *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
                        return;
                    }
                    // It goes on being received until this end is dropped.
                    let _ = sealed.send(frames);
                }
            }
            Job::Sign(to_sign, signer) => to_sign.iter().for_each(|frames| signer.update(frames)),
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts frames into runs, each with the number of its first.
    fn runs<'a>(
        &self,
        first: u32,
        plaintext: &'a [u8],
        out: &'a mut [u8],
    ) -> impl Iterator<Item = (u32, &'a [u8], &'a mut [u8])> + use<'a> {
        let step = frames_at_a_time(self.regular_len());
        let contents = plaintext.chunks(self.frame_length().max(1).saturating_mul(step));
        let frames = out.chunks_mut(self.regular_len().saturating_mul(step));
        (first..=u32::MAX)
            .step_by(step)
            .zip(contents.zip(frames))
            .map(|(first, (contents, frames))| (first, contents, frames))
    }
}

fn no_room() -> Error {
    Error::new(ErrorKind::Internal, "no room for a frame")
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

pub(crate) fn too_many_frames() -> Error {
    let detail = "the plaintext takes more than the 4,294,967,295 frames of the format: take a larger frame length";
    Error::new(ErrorKind::LimitExceeded, detail)
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryptor")
            .field("suite", &self.suite)
            .field("frame_length", &self.sealer.frame_length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Curve;

    #[test]
    fn several_threads_seal_to_the_same_bytes_as_one() {
        let plaintext: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        // Many frames in a thread's share, one in each, and one that is longer than a share.
        for frame_length in [1000, 300_000, 1_500_000] {
            let key = AeadKey::new(&[7; 32]).unwrap();
            let sealer = FrameSealer { key, message_id: MessageId::zeros(32), frame_length };
            let len = plaintext.len() / sealer.frame_length() * sealer.regular_len();
            let (mut one, mut many) = (vec![0; len], vec![0; len]);
            let mut alone = crypto::SigningKey::generate(Curve::P384).unwrap().into_signer();
            sealer.seal(5, &plaintext, &mut one, |frame| alone.update(frame)).unwrap();
            for threads in [2, 3, 10] {
                many.fill(0);
                sealer.seal_on(threads, 5, &plaintext, &mut many).unwrap();
                assert!(many == one);
            }
            many.fill(0);
            let mut signer = crypto::SigningKey::generate(Curve::P384).unwrap().into_signer();
            sealer.seal_and_sign(&mut signer, 5, &plaintext, &mut many).unwrap();
            assert!(many == one);
            assert_eq!(signer.digest(), alone.digest(), "what was hashed is what was sealed, in order");
        }
    }

    #[cfg(feature = "testing")]
    #[test]
    fn the_last_number_is_left_for_the_final_frame() {
        let keyring = crate::testing::FixedKeyKeyring::new(&[7; 32]);
        let client = crate::client::Client::builder(keyring).unsigned_only(true).frame_length(10).build().unwrap();
        let mut encryptor = client.encryptor(&crate::context::EncryptionContext::empty()).unwrap();
        let mut out = [0; 100];
        for (first, frames) in [(u32::MAX - 1, 2), (u32::MAX, 1)] {
            let error = encryptor.encrypt_regular(first, &[0; 20][..10 * frames], &mut out).unwrap_err();
            assert_eq!((error.kind(), out), (ErrorKind::LimitExceeded, [0; 100]));
        }
        encryptor.encrypt_regular(u32::MAX - 1, &[0; 10], &mut out).unwrap();
        encryptor.encrypt_final(u32::MAX, &[0; 10], &mut out).unwrap();
    }
}
