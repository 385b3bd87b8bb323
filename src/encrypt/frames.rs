//! Frames, sealed: one, a run of them, a run on several threads.

use std::sync::{Mutex, PoisonError};

use manila_core::internal::crypto::{AeadKey, Signer};
use manila_core::{Error, ErrorKind, Result};

use crate::message::frame::{FrameHead, REGULAR_OVERHEAD};
use crate::message::header::MessageId;
use crate::threads::{followed, frames_at_a_time, on_threads, worthwhile};

/// What seals frames. It keeps no state, so that threads share it.
pub(super) struct FrameSealer {
    pub(super) key: AeadKey,
    pub(super) message_id: MessageId,
    pub(super) frame_length: u32,
}

impl FrameSealer {
    pub(super) fn frame_length(&self) -> usize {
        usize::try_from(self.frame_length).unwrap_or(usize::MAX)
    }

    pub(super) fn regular_len(&self) -> usize {
        self.frame_length().saturating_add(REGULAR_OVERHEAD)
    }

    /// Seals frame `sequence` from `plaintext` into the front of `out`, and returns the frame's length.
    ///
    /// The one way to seal a frame, whichever way the message takes. It keeps no state: the caller counts, and
    /// never seals two plaintexts under one number.
    pub(super) fn encrypt_frame(&self, sequence: u32, last: bool, plaintext: &[u8], out: &mut [u8]) -> Result<usize> {
        let content_len = u32::try_from(plaintext.len()).map_err(|_| no_room())?;
        let head = FrameHead::to_write(last, sequence, content_len);
        let (head_out, rest) = out.split_at_mut_checked(head.len()).ok_or_else(no_room)?;
        let (content, rest) = rest.split_at_mut_checked(plaintext.len()).ok_or_else(no_room)?;
        head_out.copy_from_slice(&head.to_bytes());
        let tag = self.key.seal(head.iv, &head.aad(&self.message_id), plaintext, content)?;
        *rest.first_chunk_mut().ok_or_else(no_room)? = tag;
        head.frame_len()
    }

    /// Seals `plaintext`, whole frames of which none is the last, into the front of `out`, the first as frame `first`,
    /// feeds them to the signature of signed suites, and returns the length of all.
    pub(super) fn seal_regular(
        &self,
        threads: usize,
        signer: Option<&mut Signer>,
        first: u32,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize> {
        let frames = plaintext.len() / self.frame_length().max(1);
        // One number must be left for the final frame.
        let behind = u32::try_from(frames).ok().and_then(|frames| first.checked_add(frames));
        behind.ok_or_else(too_many_frames)?;
        let len = frames.saturating_mul(self.regular_len());
        let out = out.get_mut(..len).ok_or_else(no_room)?;
        let threads = worthwhile(threads, plaintext.len());
        match signer {
            Some(signer) if threads > 1 => self.seal_and_sign(signer, first, plaintext, out)?,
            Some(signer) => self.seal(first, plaintext, out, |frame| signer.update(frame))?,
            None if threads > 1 => self.seal_on(threads, first, plaintext, out)?,
            None => self.seal(first, plaintext, out, |_| {})?,
        }
        Ok(len)
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
        let mut outcome = Ok(());
        let sealed = self.runs(first, plaintext, out).map_while(|(first, contents, frames)| {
            outcome = self.seal(first, contents, frames, |_| {});
            outcome.is_ok().then_some(frames)
        });
        followed(sealed, |frames| signer.update(frames));
        outcome
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

pub(super) fn no_room() -> Error {
    Error::new(ErrorKind::Internal, "no room for a frame")
}

pub(super) fn too_many_frames() -> Error {
    let detail = "the plaintext takes more than the 4,294,967,295 frames of the format: take a larger frame length";
    Error::new(ErrorKind::LimitExceeded, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manila_core::internal::crypto::{Curve, SigningKey};

    #[test]
    fn several_threads_seal_to_the_same_bytes_as_one() {
        let plaintext: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        // Many frames in a thread's share, one in each, and one that is longer than a share.
        for frame_length in [1000, 300_000, 1_500_000] {
            let key = AeadKey::new(&[7; 32]).unwrap();
            let sealer = FrameSealer { key, message_id: MessageId::zeros(32), frame_length };
            let len = plaintext.len() / sealer.frame_length() * sealer.regular_len();
            let (mut one, mut many) = (vec![0; len], vec![0; len]);
            let mut alone = SigningKey::generate(Curve::P384).unwrap().into_signer();
            sealer.seal(5, &plaintext, &mut one, |frame| alone.update(frame)).unwrap();
            for threads in [2, 3, 10] {
                many.fill(0);
                sealer.seal_on(threads, 5, &plaintext, &mut many).unwrap();
                assert!(many == one);
            }
            many.fill(0);
            let mut signer = SigningKey::generate(Curve::P384).unwrap().into_signer();
            sealer.seal_and_sign(&mut signer, 5, &plaintext, &mut many).unwrap();
            assert!(many == one);
            assert_eq!(signer.digest(), alone.digest(), "what was hashed is what was sealed, in order");
        }
    }

    #[test]
    fn the_last_number_is_left_for_the_final_frame() {
        let key = AeadKey::new(&[7; 32]).unwrap();
        let sealer = FrameSealer { key, message_id: MessageId::zeros(32), frame_length: 10 };
        let mut out = [0; 100];
        for (first, frames) in [(u32::MAX - 1, 2), (u32::MAX, 1)] {
            let error = sealer.seal_regular(1, None, first, &[0; 20][..10 * frames], &mut out).unwrap_err();
            assert_eq!((error.kind(), out), (ErrorKind::LimitExceeded, [0; 100]));
        }
        assert_eq!(sealer.seal_regular(1, None, u32::MAX - 1, &[0; 10], &mut out).unwrap(), 10 + REGULAR_OVERHEAD);
    }
}
