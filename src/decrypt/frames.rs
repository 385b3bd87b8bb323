//! Frames, opened: one, a run of them, a run on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use manila_core::internal::crypto::{AeadKey, Refused, TAG_LEN, Verifier};
use manila_core::{Error, ErrorKind, Result};
use zeroize::Zeroize;

use crate::message::frame::{BodyShape, FrameHead, FrameKind, NextFrame, REGULAR_OVERHEAD};
use crate::message::header::{ContentType, MessageId};
use crate::message::truncated;
use crate::threads::{followed, frames_at_a_time, on_threads, worthwhile};

/// What opens frames. It keeps no state, so that threads share it.
pub(crate) struct FrameOpener {
    pub(super) key: AeadKey,
    pub(super) message_id: MessageId,
    pub(super) shape: BodyShape,
}

/// Whole regular frames, and where their plaintext goes.
struct Run<'a> {
    /// Frames before it.
    before: usize,
    body: &'a [u8],
    content: &'a mut [u8],
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
        if self.shape.content == ContentType::NonFramed {
            return 0;
        }
        let threads = worthwhile(threads, body.len().min(plaintext.len()));
        if threads > 1 {
            let room = plaintext.len() / self.shape.frame_length();
            let frames = self.count_regular(first, body).min(room);
            let body = body.get(..frames.saturating_mul(self.shape.frame_len())).unwrap_or_default();
            return match verifier {
                Some(verifier) => self.verify_and_open(verifier, first, body, plaintext),
                None => self.open_on(threads, first, body, plaintext),
            };
        }
        match verifier {
            Some(verifier) => self.open(first, body, plaintext, |frame| verifier.update(frame)),
            None => self.open(first, body, plaintext, |_| {}),
        }
    }

    /// Opens regular frames one after the other. Each is shown before, so that whoever hashes it finds it far and opening
    /// finds it in the cache; the last one shown may be one that does not open.
    fn open(&self, first: u32, body: &[u8], plaintext: &mut [u8], mut seen: impl FnMut(&[u8])) -> usize {
        let frames = body.chunks_exact(self.shape.frame_len());
        let contents = plaintext.chunks_exact_mut(self.shape.frame_length());
        let mut count = 0;
        for (sequence, (frame, content)) in (first..=u32::MAX).zip(frames.zip(contents)) {
            let Some(head) = self.regular_head(sequence, frame) else {
                break;
            };
            seen(frame);
            let sealed = frame.get(head.len()..).unwrap_or_default();
            if self.decrypt_frame(&head, sealed, content).is_err() {
                break;
            }
            count += 1;
        }
        count
    }

    /// As [`open`](Self::open) of whole regular frames, on several threads.
    fn open_on(&self, threads: usize, first: u32, body: &[u8], plaintext: &mut [u8]) -> usize {
        let opened = AtomicUsize::new(usize::MAX);
        on_threads(threads, self.runs(body, plaintext), |run| self.open_run(first, run, &opened));
        self.up_to_the_first_fault(opened.into_inner(), body, plaintext)
    }

    /// As [`open`](Self::open) of whole regular frames, while another thread hashes them: it goes ahead, so that what is
    /// opened is in the cache by then. More than two threads would be of no use: hashing takes some twenty times as long
    /// as opening, and cannot be split. All are hashed, opened or not: with one that does not open the message is refused
    /// anyway.
    fn verify_and_open(&self, verifier: &mut Verifier, first: u32, body: &[u8], plaintext: &mut [u8]) -> usize {
        let opened = AtomicUsize::new(usize::MAX);
        let hashed = self.runs(body, plaintext).inspect(|run| verifier.update(run.body));
        followed(hashed, |run| self.open_run(first, run, &opened));
        self.up_to_the_first_fault(opened.into_inner(), body, plaintext)
    }

    /// Cuts whole frames into runs.
    fn runs<'a>(&self, body: &'a [u8], plaintext: &'a mut [u8]) -> impl Iterator<Item = Run<'a>> + use<'a> {
        let step = frames_at_a_time(self.shape.frame_len());
        let bodies = body.chunks(self.shape.frame_len().saturating_mul(step));
        let contents = plaintext.chunks_mut(self.shape.frame_length().saturating_mul(step));
        let runs = (0..).step_by(step).zip(bodies.zip(contents));
        runs.map(|(before, (body, content))| Run { before, body, content })
    }

    /// Opens a run of frames of which the first of all is frame `first`; `opened` becomes the number of frames before the
    /// first that fails, if that is fewer.
    fn open_run(&self, first: u32, run: Run<'_>, opened: &AtomicUsize) {
        let Run { before, body, content } = run;
        let number = u32::try_from(before).ok().and_then(|before| first.checked_add(before));
        let count = number.map_or(0, |number| self.open(number, body, content, |_| {}));
        if count < body.len() / self.shape.frame_len() {
            opened.fetch_min(before.saturating_add(count), Ordering::Relaxed);
        }
    }

    /// The number of frames before the first that failed. Behind it other threads may have opened some: nobody is to see
    /// them.
    fn up_to_the_first_fault(&self, opened: usize, body: &[u8], plaintext: &mut [u8]) -> usize {
        let all = body.len() / self.shape.frame_len();
        if opened < all {
            let frame_length = self.shape.frame_length();
            let behind = opened.saturating_mul(frame_length)..all.saturating_mul(frame_length);
            plaintext.get_mut(behind).unwrap_or_default().zeroize();
        }
        opened.min(all)
    }

    /// How many regular frames follow one another at the front of `body`.
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

    /// The most plaintext that a body of `body_len` bytes can hold.
    pub(super) fn most_plaintext(&self, body_len: usize) -> usize {
        body_len.saturating_sub((body_len / self.shape.frame_len()).saturating_mul(REGULAR_OVERHEAD))
    }
}

fn not_authentic(head: &FrameHead) -> Error {
    let detail = match head.kind {
        FrameKind::NonFramed => "the body does not authenticate: the message was changed".to_owned(),
        _ => format!("frame {} does not authenticate: the message was changed", head.sequence),
    };
    Error::new(ErrorKind::AuthenticationFailed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let shape = BodyShape { content: ContentType::Framed(65_536), max_non_framed_length: 0 };
        let opener = FrameOpener { key, message_id, shape };
        for threads in [1, 2, 5] {
            let mut plaintext = vec![0; ROOM * FRAME + FRAME / 2];
            assert_eq!(opener.open_regular(threads, None, 1, &body, &mut plaintext), ROOM);
            assert!(plaintext[..ROOM * FRAME].iter().all(|byte| *byte == 7));
            assert_eq!(opener.open_regular(threads, None, 2, &body, &mut plaintext), 0, "another frame belongs there");
        }
    }
}
