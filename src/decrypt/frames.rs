//! Decryption of frames: one, several in a row, and several on more than one thread.

use std::sync::atomic::{AtomicUsize, Ordering};

use manila_core::internal::crypto::{AeadKey, Refused, TAG_LEN, Verifier};
use manila_core::{Error, ErrorKind, Result};
use zeroize::Zeroize;

use crate::message::frame::{BodyShape, FrameHead, FrameKind, NextFrame};
use crate::message::header::{ContentType, MessageId};
use crate::message::truncated;
use crate::threads::{Workers, frames_per_job};

/// Decrypts frames. It has no mutable state, so threads can share it.
pub(crate) struct FrameDecryptor {
    pub(super) key: AeadKey,
    pub(super) message_id: MessageId,
    pub(super) shape: BodyShape,
}

/// Regular frames for one thread to decrypt, and the memory for their plaintext.
struct Job<'a> {
    /// The number of frames before this job.
    before: usize,
    body: &'a [u8],
    content: &'a mut [u8],
}

impl FrameDecryptor {
    pub(crate) fn shape(&self) -> BodyShape {
        self.shape
    }

    /// Decrypts the frame of `head` from `sealed`, which is its content and tag, into `plaintext`, which must be as
    /// long as the content.
    ///
    /// Whole messages, streams, threads and reads at an offset all decrypt their frames here or in
    /// [`decrypt_frame_in_place`](Self::decrypt_frame_in_place). After an error `plaintext` is zero.
    pub(crate) fn decrypt_frame(&self, head: &FrameHead, sealed: &[u8], plaintext: &mut [u8]) -> Result<()> {
        let (content, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or_else(truncated)?;
        let aad = head.aad(&self.message_id);
        self.key.open(head.iv, &aad, content, tag, plaintext).map_err(|Refused| not_authentic(head))
    }

    /// Decrypts like [`decrypt_frame`](Self::decrypt_frame), in place, and returns the length of the content.
    pub(crate) fn decrypt_frame_in_place(&self, head: &FrameHead, sealed: &mut [u8]) -> Result<usize> {
        let (content, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or_else(truncated)?;
        let aad = head.aad(&self.message_id);
        self.key.open_in_place(head.iv, &aad, content, tag).map_err(|Refused| not_authentic(head))?;
        Ok(content.len())
    }

    /// Decrypts the regular frames at the start of `body`, of which the first is frame `first`, into `plaintext`, adds
    /// them to the signature verification of signed suites, and returns their number: as many as are complete, fit, and
    /// authenticate.
    pub(super) fn decrypt_regular(
        &self,
        workers: &Workers,
        verifier: Option<&mut Verifier>,
        first: u32,
        body: &[u8],
        plaintext: &mut [u8],
    ) -> usize {
        if self.shape.content == ContentType::NonFramed {
            return 0;
        }
        let workers = workers.for_bytes(body.len().min(plaintext.len()));
        if workers.threads > 1 {
            let room = plaintext.len() / self.shape.frame_length();
            let frames = self.count_regular(first, body).min(room);
            let body = body.get(..frames.saturating_mul(self.shape.frame_len())).unwrap_or_default();
            return match verifier {
                Some(verifier) => self.verify_and_decrypt(&workers, verifier, first, body, plaintext),
                None => self.decrypt_on(&workers, first, body, plaintext),
            };
        }
        match verifier {
            Some(verifier) => self.decrypt(first, body, plaintext, |frame| verifier.update(frame)),
            None => self.decrypt(first, body, plaintext, |_| {}),
        }
    }

    /// Decrypts regular frames one after the other, and calls `before` with each frame first: hashing then brings the
    /// frame into the processor's cache, where decryption finds it. The last frame passed to `before` may be one that
    /// does not authenticate.
    fn decrypt(&self, first: u32, body: &[u8], plaintext: &mut [u8], mut before: impl FnMut(&[u8])) -> usize {
        let frames = body.chunks_exact(self.shape.frame_len());
        let contents = plaintext.chunks_exact_mut(self.shape.frame_length());
        let mut count = 0;
        for (sequence, (frame, content)) in (first..=u32::MAX).zip(frames.zip(contents)) {
            let Some(head) = self.regular_head(sequence, frame) else {
                break;
            };
            before(frame);
            let sealed = frame.get(head.len()..).unwrap_or_default();
            if self.decrypt_frame(&head, sealed, content).is_err() {
                break;
            }
            count += 1;
        }
        count
    }

    /// Decrypts like [`decrypt`](Self::decrypt), on several threads. `body` must be complete regular frames.
    fn decrypt_on(&self, workers: &Workers, first: u32, body: &[u8], plaintext: &mut [u8]) -> usize {
        let decrypted = AtomicUsize::new(usize::MAX);
        workers.run(self.jobs(body, plaintext), |job| self.decrypt_job(first, job, &decrypted));
        self.wipe_after_failure(decrypted.into_inner(), body, plaintext)
    }

    /// Decrypts like [`decrypt`](Self::decrypt), while another thread hashes the frames. `body` must be complete
    /// regular frames.
    ///
    /// The hashing thread goes first, so that frames are in the processor's cache when they are decrypted. More than
    /// two threads would not help: hashing takes about twenty times as long as decrypting, and cannot be divided. All
    /// frames are hashed, even after one that does not authenticate: the message is refused then anyway.
    fn verify_and_decrypt(
        &self,
        workers: &Workers,
        verifier: &mut Verifier,
        first: u32,
        body: &[u8],
        plaintext: &mut [u8],
    ) -> usize {
        let decrypted = AtomicUsize::new(usize::MAX);
        let hashed = self.jobs(body, plaintext).inspect(|job| verifier.update(job.body));
        workers.pipeline(hashed, |job| self.decrypt_job(first, job, &decrypted));
        self.wipe_after_failure(decrypted.into_inner(), body, plaintext)
    }

    /// Divides complete frames into jobs for threads.
    fn jobs<'a>(&self, body: &'a [u8], plaintext: &'a mut [u8]) -> impl Iterator<Item = Job<'a>> + use<'a> {
        let step = frames_per_job(self.shape.frame_len());
        let bodies = body.chunks(self.shape.frame_len().saturating_mul(step));
        let contents = plaintext.chunks_mut(self.shape.frame_length().saturating_mul(step));
        let jobs = (0..).step_by(step).zip(bodies.zip(contents));
        jobs.map(|(before, (body, content))| Job { before, body, content })
    }

    /// Decrypts the frames of a job; the first frame of the first job is frame `first`. Lowers `decrypted` to the
    /// number of frames before the first failure, if there is one.
    fn decrypt_job(&self, first: u32, job: Job<'_>, decrypted: &AtomicUsize) {
        let Job { before, body, content } = job;
        let number = u32::try_from(before).ok().and_then(|before| first.checked_add(before));
        let count = number.map_or(0, |number| self.decrypt(number, body, content, |_| {}));
        if count < body.len() / self.shape.frame_len() {
            decrypted.fetch_min(before.saturating_add(count), Ordering::Relaxed);
        }
    }

    /// Wipes the plaintext from the first failed frame on, since other threads may have decrypted later frames, and
    /// returns the number of frames before it.
    fn wipe_after_failure(&self, decrypted: usize, body: &[u8], plaintext: &mut [u8]) -> usize {
        let all = body.len() / self.shape.frame_len();
        if decrypted < all {
            let frame_length = self.shape.frame_length();
            let rest = decrypted.saturating_mul(frame_length)..all.saturating_mul(frame_length);
            plaintext.get_mut(rest).unwrap_or_default().zeroize();
        }
        decrypted.min(all)
    }

    /// Returns the number of consecutive regular frames at the start of `body`.
    fn count_regular(&self, first: u32, body: &[u8]) -> usize {
        let frames = body.chunks_exact(self.shape.frame_len());
        (first..=u32::MAX)
            .zip(frames)
            .take_while(|(sequence, frame)| self.regular_head(*sequence, frame).is_some())
            .count()
    }

    fn regular_head(&self, sequence: u32, frame: &[u8]) -> Option<FrameHead> {
        match self.shape.read_head(sequence, frame) {
            Ok(NextFrame::Head(head)) if head.kind == FrameKind::Regular => Some(head),
            _ => None,
        }
    }
}

fn not_authentic(head: &FrameHead) -> Error {
    let detail = match head.kind {
        FrameKind::NonFramed => "the body does not authenticate: the message was modified".to_owned(),
        _ => format!("frame {} does not authenticate: the message was modified", head.sequence),
    };
    Error::new(ErrorKind::AuthenticationFailed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_frames_are_decrypted_than_there_is_room_for() {
        const FRAME: usize = 65_536;
        const ROOM: usize = 40;
        let (key, message_id) = (AeadKey::new(&[7; 32]).unwrap(), MessageId::zeros(32));
        let mut body = Vec::new();
        for sequence in 1..=60 {
            let head = FrameHead::to_write(false, sequence, 65_536);
            body.extend_from_slice(&head.to_bytes());
            body.extend_from_slice(&key.seal_to_vec(head.iv, &head.aad(&message_id), &vec![7; FRAME]).unwrap());
        }
        let shape = BodyShape { content: ContentType::Framed(65_536), max_non_framed_length: 0 };
        let frames = FrameDecryptor { key, message_id, shape };
        for threads in [1, 2, 5] {
            let mut plaintext = vec![0; ROOM * FRAME + FRAME / 2];
            assert_eq!(frames.decrypt_regular(&Workers { threads, pool: None }, None, 1, &body, &mut plaintext), ROOM);
            assert!(plaintext[..ROOM * FRAME].iter().all(|byte| *byte == 7));
            assert_eq!(
                frames.decrypt_regular(&Workers { threads, pool: None }, None, 2, &body, &mut plaintext),
                0,
                "it is frame 1"
            );
        }
    }
}
