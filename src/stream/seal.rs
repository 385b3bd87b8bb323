//! The engine that seals: plaintext in, message out, no IO.

use crate::encrypt::{Encryptor, too_many_frames};
use crate::error::{Error, ErrorKind, Result};
use crate::message::frame::{FINAL_OVERHEAD, REGULAR_OVERHEAD};
use crate::stream::BATCH;

/// Seals a message as its plaintext arrives.
pub(crate) struct SealStream {
    encryptor: Encryptor,
    /// Plaintext that waits: at most one frame, since only the end of the input tells which frame is the last.
    waiting: Vec<u8>,
    /// Length in bytes of the plaintext so far.
    taken: u64,
    /// Sequence number of the next frame.
    sequence: u32,
    sealed: Vec<u8>,
    /// What of `sealed` is still to be sent.
    start: usize,
    end: usize,
}

impl SealStream {
    pub(crate) fn new(encryptor: Encryptor) -> Self {
        let mut sealed = encryptor.header().to_vec();
        let end = sealed.len();
        let longest = encryptor.frame_length().saturating_add(FINAL_OVERHEAD).saturating_add(encryptor.footer_len());
        sealed.resize(end.max(longest).max(BATCH), 0);
        Self { encryptor, waiting: Vec::new(), taken: 0, sequence: 1, sealed, start: 0, end }
    }

    /// Bytes of the message that are ready to be sent.
    pub(crate) fn ready(&self) -> &[u8] {
        self.sealed.get(self.start..self.end).unwrap_or_default()
    }

    /// Takes note that the first `count` bytes of [`ready`](Self::ready) were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Whether another frame can be sealed before something is sent.
    pub(crate) fn has_room(&self) -> bool {
        self.sealed.len().saturating_sub(self.end) >= self.regular_len()
    }

    /// Takes plaintext, sealing every frame that certainly is not the last one, and returns how much it took:
    /// something, if there is anything and [`has_room`](Self::has_room).
    pub(crate) fn take(&mut self, plaintext: &[u8]) -> Result<usize> {
        self.encryptor.check_plaintext_len(self.taken.saturating_add(plaintext.len() as u64))?;
        let frame_length = self.encryptor.frame_length();
        let mut rest = plaintext;
        while !rest.is_empty() {
            if self.waiting.len() >= frame_length {
                // More plaintext has come, so this frame is not the last.
                if !self.has_room() {
                    break;
                }
                self.seal_waiting(false)?;
            } else if self.waiting.is_empty() && rest.len() > frame_length && self.has_room() {
                // More than a frame has come in one piece: seal it from where it lies.
                let (frame, behind) = rest.split_at_checked(frame_length).unwrap_or((rest, &[]));
                self.seal_frame(frame, false)?;
                rest = behind;
            } else {
                let missing = frame_length.saturating_sub(self.waiting.len());
                let (piece, behind) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
                self.waiting.extend_from_slice(piece);
                rest = behind;
            }
        }
        let count = plaintext.len() - rest.len();
        self.taken = self.taken.saturating_add(count as u64);
        Ok(count)
    }

    /// Seals what waits as the final frame, and signs. Everything ready must have been sent.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.seal_waiting(true)?;
        let footer = self.encryptor.finish()?;
        let end = self.end.saturating_add(footer.len());
        let no_room = || Error::new(ErrorKind::Internal, "no room for the footer");
        self.sealed.get_mut(self.end..end).ok_or_else(no_room)?.copy_from_slice(&footer);
        self.end = end;
        Ok(())
    }

    fn regular_len(&self) -> usize {
        self.encryptor.frame_length().saturating_add(REGULAR_OVERHEAD)
    }

    fn seal_waiting(&mut self, last: bool) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let sealed = self.seal_frame(&waiting, last);
        waiting.clear();
        self.waiting = waiting;
        sealed
    }

    fn seal_frame(&mut self, plaintext: &[u8], last: bool) -> Result<()> {
        if !last && self.sequence == u32::MAX {
            return Err(too_many_frames());
        }
        let space = self.sealed.get_mut(self.end..).unwrap_or_default();
        let len = self.encryptor.encrypt_frame(self.sequence, last, plaintext, space)?;
        self.encryptor.sign(space.get(..len).unwrap_or_default());
        self.end = self.end.saturating_add(len);
        self.sequence = self.sequence.saturating_add(1);
        Ok(())
    }
}
