//! Encryption of frames: one, several in a row, and several on more than one thread.

use std::sync::{Mutex, PoisonError};

use manila_core::internal::crypto::{AeadKey, Signer};
use manila_core::{Error, ErrorKind, Result};

use crate::message::frame::{FrameHead, REGULAR_OVERHEAD};
use crate::message::header::MessageId;
use crate::threads::{Workers, frames_per_job};

/// Encrypts frames. It has no mutable state, so threads can share it.
pub(super) struct FrameEncryptor {
    pub(super) key: AeadKey,
    pub(super) message_id: MessageId,
    pub(super) frame_length: u32,
}

impl FrameEncryptor {
    pub(super) fn frame_length(&self) -> usize {
        usize::try_from(self.frame_length).unwrap_or(usize::MAX)
    }

    pub(super) fn regular_len(&self) -> usize {
        self.frame_length().saturating_add(REGULAR_OVERHEAD)
    }

    /// Encrypts `plaintext` as frame `sequence` into the start of `out`, and returns the length of the frame.
    ///
    /// Whole messages, streams and threads all encrypt their frames here. There is no counter: the caller must never
    /// encrypt two plaintexts under one sequence number, which would reuse an IV.
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

    /// Encrypts `plaintext` into the start of `out`, as regular frames of which the first is frame `first`, adds them
    /// to the signature of signed suites, and returns their length.
    pub(super) fn encrypt_regular(
        &self,
        workers: &Workers,
        signer: Option<&mut Signer>,
        first: u32,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize> {
        let frames = plaintext.len() / self.frame_length().max(1);
        // One sequence number must remain for the final frame.
        let next = u32::try_from(frames).ok().and_then(|frames| first.checked_add(frames));
        next.ok_or_else(too_many_frames)?;
        let len = frames.saturating_mul(self.regular_len());
        let out = out.get_mut(..len).ok_or_else(no_room)?;
        let workers = workers.for_bytes(plaintext.len());
        match signer {
            Some(signer) if workers.threads > 1 => self.encrypt_and_sign(&workers, signer, first, plaintext, out)?,
            Some(signer) => self.encrypt(first, plaintext, out, |frame| signer.update(frame))?,
            None if workers.threads > 1 => self.encrypt_on(&workers, first, plaintext, out)?,
            None => self.encrypt(first, plaintext, out, |_| {})?,
        }
        Ok(len)
    }

    /// Encrypts consecutive frames from `plaintext` into `out`, both a whole number of frames, and calls `done` with
    /// each.
    fn encrypt(&self, first: u32, plaintext: &[u8], out: &mut [u8], mut done: impl FnMut(&[u8])) -> Result<()> {
        let contents = plaintext.chunks_exact(self.frame_length().max(1));
        let frames = out.chunks_exact_mut(self.regular_len());
        for (sequence, (content, frame)) in (first..=u32::MAX).zip(contents.zip(frames)) {
            self.encrypt_frame(sequence, false, content, frame)?;
            done(frame);
        }
        Ok(())
    }

    /// Encrypts like [`encrypt`](Self::encrypt), on several threads.
    fn encrypt_on(&self, workers: &Workers, first: u32, plaintext: &[u8], out: &mut [u8]) -> Result<()> {
        let outcome = Mutex::new(Ok(()));
        workers.run(self.jobs(first, plaintext, out), |(first, contents, frames)| {
            if let Err(error) = self.encrypt(first, contents, frames, |_| {}) {
                *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Err(error);
            }
        });
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encrypts like [`encrypt`](Self::encrypt), while a second thread hashes the frames. More threads would not help:
    /// hashing takes about twenty times as long as encrypting, and cannot be divided.
    fn encrypt_and_sign(
        &self,
        workers: &Workers,
        signer: &mut Signer,
        first: u32,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        let mut outcome = Ok(());
        let encrypted = self.jobs(first, plaintext, out).map_while(|(first, contents, frames)| {
            outcome = self.encrypt(first, contents, frames, |_| {});
            outcome.is_ok().then_some(frames)
        });
        workers.pipeline(encrypted, |frames| signer.update(frames));
        outcome
    }

    /// Divides frames into jobs for threads, each with the sequence number of its first frame.
    fn jobs<'a>(
        &self,
        first: u32,
        plaintext: &'a [u8],
        out: &'a mut [u8],
    ) -> impl Iterator<Item = (u32, &'a [u8], &'a mut [u8])> + use<'a> {
        let step = frames_per_job(self.regular_len());
        let contents = plaintext.chunks(self.frame_length().max(1).saturating_mul(step));
        let frames = out.chunks_mut(self.regular_len().saturating_mul(step));
        (first..=u32::MAX)
            .step_by(step)
            .zip(contents.zip(frames))
            .map(|(first, (contents, frames))| (first, contents, frames))
    }
}

pub(super) fn no_room() -> Error {
    Error::new(ErrorKind::Internal, "the buffer for encrypted frames is too short: this is a bug in manila")
}

pub(super) fn too_many_frames() -> Error {
    let detail = "the plaintext needs more than the 4,294,967,295 frames that the format allows: raise frame_length";
    Error::new(ErrorKind::LimitExceeded, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manila_core::internal::crypto::{Curve, SigningKey};

    fn started(threads: usize) -> Workers {
        Workers { threads, pool: None }
    }

    #[test]
    fn several_threads_encrypt_to_the_same_bytes_as_one() {
        let plaintext: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        // Many frames in a job, one in each, and one that is longer than a job.
        for frame_length in [1000, 300_000, 1_500_000] {
            let key = AeadKey::new(&[7; 32]).unwrap();
            let encryptor = FrameEncryptor { key, message_id: MessageId::zeros(32), frame_length };
            let len = plaintext.len() / encryptor.frame_length() * encryptor.regular_len();
            let (mut one, mut many) = (vec![0; len], vec![0; len]);
            let mut alone = SigningKey::generate(Curve::P384).unwrap().into_signer();
            encryptor.encrypt(5, &plaintext, &mut one, |frame| alone.update(frame)).unwrap();
            for threads in [2, 3, 10] {
                many.fill(0);
                encryptor.encrypt_on(&started(threads), 5, &plaintext, &mut many).unwrap();
                assert!(many == one);
            }
            many.fill(0);
            let mut signer = SigningKey::generate(Curve::P384).unwrap().into_signer();
            encryptor.encrypt_and_sign(&started(2), &mut signer, 5, &plaintext, &mut many).unwrap();
            assert!(many == one);
            assert_eq!(signer.digest(), alone.digest(), "the frames are hashed as they were encrypted, in order");
        }
    }

    #[test]
    fn the_last_number_is_left_for_the_final_frame() {
        let key = AeadKey::new(&[7; 32]).unwrap();
        let encryptor = FrameEncryptor { key, message_id: MessageId::zeros(32), frame_length: 10 };
        let mut out = [0; 100];
        for (first, frames) in [(u32::MAX - 1, 2), (u32::MAX, 1)] {
            let error =
                encryptor.encrypt_regular(&Workers::one(), None, first, &[0; 20][..10 * frames], &mut out).unwrap_err();
            assert_eq!((error.kind(), out), (ErrorKind::LimitExceeded, [0; 100]));
        }
        assert_eq!(
            encryptor.encrypt_regular(&Workers::one(), None, u32::MAX - 1, &[0; 10], &mut out).unwrap(),
            10 + REGULAR_OVERHEAD
        );
    }
}
