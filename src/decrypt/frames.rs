//! Frames, opened: one, a run of them, a run on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use zeroize::Zeroize;

use crate::crypto::{AeadKey, Refused, Verifier};
use crate::error::{Error, ErrorKind, Result};
use crate::message::frame::{BodyShape, FrameHead, FrameKind, NextFrame, REGULAR_OVERHEAD};
use crate::message::header::MessageId;
use crate::message::survey::truncated;
use crate::suite::TAG_LEN;
use crate::threads::{frames_at_a_time, on_threads, worthwhile};

/// What opens frames. It keeps no state, so that threads share it.
pub(crate) struct FrameOpener {
    pub(super) key: AeadKey,
    pub(super) message_id: MessageId,
    pub(super) shape: BodyShape,
}

impl FrameOpener {
    pub(crate) fn shape(&self) -> BodyShape {
        self.shape
    }

    /// Opens the frame of `head` from `sealed`, content and tag, into `plaintext`, which is as long as the content.
    ///
    /// The one way to open a frame, whichever way the message takes. After an error `plaintext` is zero.
    pub(crate) fn decrypt_frame(&self, head: &FrameHead, sealed: &[u8], plaintext: &mut [u8]) -> Result<()> {
        let (content, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or_else(truncated)?;
        let aad = head.aad(&self.message_id);
        self.key.open(head.iv, &aad, content, tag, plaintext).map_err(|Refused| not_authentic(head))
    }

    /// As [`decrypt_frame`](Self::decrypt_frame), in the place of the content, whose length it returns.
    pub(crate) fn decrypt_frame_in_place(&self, head: &FrameHead, sealed: &mut [u8]) -> Result<usize> {
        let (content, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or_else(truncated)?;
        let aad = head.aad(&self.message_id);
        self.key.open_in_place(head.iv, &aad, content, tag).map_err(|Refused| not_authentic(head))?;
        Ok(content.len())
    }

    /// Opens the regular frames at the front of `body`, of which the first is frame `first`, one behind the other into
    /// `plaintext`, feeds them to the verification of signed suites, and returns how many: as many as there are, have
    /// room, and authenticate.
    pub(super) fn open_regular(
        &self,
        threads: usize,
        verifier: Option<&mut Verifier>,
        first: u32,
        body: &[u8],
        plaintext: &mut [u8],
    ) -> usize {
        let Some(frame_len) = self.shape.regular_len() else {
            return 0;
        };
        let threads = worthwhile(threads, body.len().min(plaintext.len()));
        if threads > 1 {
            let room = plaintext.len() / frame_len.saturating_sub(REGULAR_OVERHEAD).max(1);
            let frames = self.count_regular(first, body).min(room);
            let body = body.get(..frames.saturating_mul(frame_len)).unwrap_or_default();
            return self.open_on(threads, verifier, first, body, plaintext);
        }
        match verifier {
            Some(verifier) => self.open(first, body, plaintext, |frame| verifier.update(frame)),
            None => self.open(first, body, plaintext, |_| {}),
        }
    }

    /// Opens regular frames one after the other, and shows each when it is opened.
    fn open(&self, first: u32, body: &[u8], plaintext: &mut [u8], mut opened: impl FnMut(&[u8])) -> usize {
        let frame_len = self.shape.regular_len().unwrap_or(usize::MAX);
        let frames = body.chunks_exact(frame_len);
        let contents = plaintext.chunks_exact_mut(frame_len.saturating_sub(REGULAR_OVERHEAD).max(1));
        let mut count = 0;
        for (sequence, (frame, content)) in (first..=u32::MAX).zip(frames.zip(contents)) {
            let Some(head) = self.regular_head(sequence, frame) else {
                break;
            };
            let sealed = frame.get(head.len()..).unwrap_or_default();
            if self.decrypt_frame(&head, sealed, content).is_err() {
                break;
            }
            opened(frame);
            count += 1;
        }
        count
    }

    /// As [`open`](Self::open) of whole regular frames, on several threads, while one more hashes them where the suite
    /// is signed. All are hashed, opened or not: with one that does not open the message is refused anyway.
    fn open_on(
        &self,
        threads: usize,
        verifier: Option<&mut Verifier>,
        first: u32,
        body: &[u8],
        plaintext: &mut [u8],
    ) -> usize {
        enum Job<'a> {
            Verify(&'a mut Verifier),
            Open(usize, &'a [u8], &'a mut [u8]),
        }
        let frame_len = self.shape.regular_len().unwrap_or(usize::MAX);
        let step = frames_at_a_time(frame_len);
        let bodies = body.chunks(frame_len.saturating_mul(step));
        let contents = plaintext.chunks_mut(frame_len.saturating_sub(REGULAR_OVERHEAD).max(1).saturating_mul(step));
        let runs = (0..).step_by(step).zip(bodies.zip(contents));
        let runs = runs.map(|(before, (body, content))| Job::Open(before, body, content));
        let all = body.len() / frame_len;
        let opened = AtomicUsize::new(all);
        on_threads(threads, verifier.map(Job::Verify).into_iter().chain(runs), |job| match job {
            Job::Verify(verifier) => verifier.update(body),
            Job::Open(before, body, content) => {
                let Some(first) = u32::try_from(before).ok().and_then(|before| first.checked_add(before)) else {
                    opened.fetch_min(before, Ordering::Relaxed);
                    return;
                };
                let count = self.open(first, body, content, |_| {});
                if count < body.len() / frame_len {
                    opened.fetch_min(before.saturating_add(count), Ordering::Relaxed);
                }
            }
        });
        let opened = opened.into_inner();
        if opened < all {
            // Other threads may have opened frames behind the first that fails: nobody is to see them.
            let frame_length = frame_len.saturating_sub(REGULAR_OVERHEAD);
            let behind = opened.saturating_mul(frame_length)..all.saturating_mul(frame_length);
            plaintext.get_mut(behind).unwrap_or_default().zeroize();
        }
        opened
    }

    /// How many regular frames follow one another at the front of `body`.
    fn count_regular(&self, first: u32, body: &[u8]) -> usize {
        let frames = body.chunks_exact(self.shape.regular_len().unwrap_or(usize::MAX));
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

    /// The most plaintext that a body of `body_len` bytes can hold.
    pub(super) fn most_plaintext(&self, body_len: usize) -> usize {
        let overhead = match self.shape.regular_len() {
            None => 0,
            Some(frame_len) => (body_len / frame_len).saturating_mul(REGULAR_OVERHEAD),
        };
        body_len.saturating_sub(overhead)
    }
}

fn not_authentic(head: &FrameHead) -> Error {
    let detail = match head.kind {
        FrameKind::Unframed => "the body does not authenticate: the message was changed".to_owned(),
        _ => format!("frame {} does not authenticate: the message was changed", head.sequence),
    };
    Error::new(ErrorKind::AuthenticationFailed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::Content;

    #[test]
    fn no_more_frames_are_opened_than_there_is_room_for() {
        const FRAME: usize = 65_536;
        const ROOM: usize = 40;
        let (key, message_id) = (AeadKey::new(&[7; 32]).unwrap(), MessageId::zeros(32));
        let mut body = Vec::new();
        for sequence in 1..=60 {
            let head = FrameHead::to_write(false, sequence, 65_536);
            body.extend_from_slice(&head.to_bytes());
            body.extend_from_slice(&key.seal_to_vec(head.iv, &head.aad(&message_id), &vec![7; FRAME]).unwrap());
        }
        let shape = BodyShape { content: Content::Framed(65_536), max_unframed_length: 0 };
        let opener = FrameOpener { key, message_id, shape };
        for threads in [1, 2, 5] {
            let mut plaintext = vec![0; ROOM * FRAME + FRAME / 2];
            assert_eq!(opener.open_regular(threads, None, 1, &body, &mut plaintext), ROOM);
            assert!(plaintext[..ROOM * FRAME].iter().all(|byte| *byte == 7));
            assert_eq!(opener.open_regular(threads, None, 2, &body, &mut plaintext), 0, "another frame belongs there");
        }
    }
}
