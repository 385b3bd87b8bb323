//! The encryption engine: turns plaintext into bytes of a message, without IO.

use manila_core::{Error, ErrorKind, Result};

use crate::encrypt::Encryptor;
use crate::message::frame::FINAL_OVERHEAD;
use crate::stream::frames_in_batch;
use crate::stream::window::Window;

/// Encrypts a message as its plaintext arrives.
pub(crate) struct EncryptEngine {
    encryptor: Encryptor,
    /// The number of frames in a full batch.
    batch: usize,
    /// The number of frames to encrypt together: one, or a full batch if several threads share it.
    unit: usize,
    /// Plaintext that has not been encrypted: a frame is known not to be the final one only when more plaintext
    /// follows.
    pending: Window,
    /// Length in bytes of the plaintext so far.
    plaintext_len: u64,
    /// The sequence number of the next frame.
    sequence: u32,
    ciphertext: Window,
    finished: bool,
}

impl EncryptEngine {
    pub(crate) fn new(encryptor: Encryptor) -> Self {
        let batch = frames_in_batch(encryptor.threads(), encryptor.regular_len());
        let unit = if encryptor.threads() > 1 { batch } else { 1 };
        let overhead = FINAL_OVERHEAD.saturating_add(encryptor.footer_len());
        let len = batch.saturating_mul(encryptor.regular_len()).saturating_add(overhead);
        let mut ciphertext = Window::new(len.max(encryptor.header().len()));
        ciphertext.put(encryptor.header());
        let pending = Window::new(0);
        Self { encryptor, batch, unit, pending, plaintext_len: 0, sequence: 1, ciphertext, finished: false }
    }

    /// Returns the bytes of the message that are ready to be written.
    pub(crate) fn ready(&self) -> &[u8] {
        self.ciphertext.bytes()
    }

    /// Consumes the first `count` bytes of [`ready`](Self::ready).
    pub(crate) fn consume(&mut self, count: usize) {
        self.ciphertext.consume(count);
    }

    /// Returns whether plaintext can be accepted before ready bytes are consumed.
    pub(crate) fn has_room(&self) -> bool {
        self.room() >= self.unit
    }

    /// Returns whether the final frame has been encrypted.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Accepts plaintext, encrypts the frames that are known not to be the final one, and returns the number of bytes
    /// accepted: at least one, if there are any and [`has_room`](Self::has_room).
    pub(crate) fn write(&mut self, plaintext: &[u8]) -> Result<usize> {
        self.check_open(plaintext.len())?;
        let frame_length = self.encryptor.frame_length();
        let unit_len = self.unit.saturating_mul(frame_length);
        let mut rest = plaintext;
        while !rest.is_empty() {
            let certain = rest.len().saturating_sub(1) / frame_length.max(1);
            let direct = self.pending.is_empty() && certain >= self.unit;
            let full = self.pending.len() >= unit_len;
            if (direct || full) && !self.has_room() && (full || rest.len() < plaintext.len()) {
                break;
            }
            if direct && self.has_room() {
                // Whole frames arrived at once: encrypt them without copying.
                let len = certain.min(self.room()).saturating_mul(frame_length);
                let (frames, remaining) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                encrypt(&mut self.encryptor, &mut self.sequence, frames, &mut self.ciphertext)?;
                rest = remaining;
            } else if full {
                // More plaintext follows, so the pending frames are not the final one.
                self.encrypt_pending(unit_len)?;
            } else {
                let missing = unit_len.saturating_sub(self.pending.len());
                let (piece, remaining) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
                self.pending.put(piece);
                rest = remaining;
            }
        }
        let count = plaintext.len() - rest.len();
        self.plaintext_len = self.plaintext_len.saturating_add(count as u64);
        Ok(count)
    }

    /// Returns space for plaintext to be read into without copying; never empty. All ready bytes must have been
    /// consumed.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        // One byte more than a batch: it shows that the last frame of the batch is not the final one.
        let len = self.batch_len().saturating_add(1);
        let missing = len.saturating_sub(self.pending.len());
        self.pending.space_for(missing)
    }

    /// Records that `count` bytes were read into [`space`](Self::space), and encrypts a batch if it is complete.
    pub(crate) fn filled(&mut self, count: usize) -> Result<()> {
        self.check_open(count)?;
        self.pending.filled(count);
        self.plaintext_len = self.plaintext_len.saturating_add(count as u64);
        if self.pending.len() > self.batch_len() { self.encrypt_pending(self.batch_len()) } else { Ok(()) }
    }

    /// Encrypts the pending frames that are known not to be the final one. All ready bytes must have been consumed.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let frame_length = self.encryptor.frame_length().max(1);
        let certain = self.pending.len().saturating_sub(1) / frame_length;
        self.encrypt_pending(certain.saturating_mul(frame_length))
    }

    /// Encrypts all pending plaintext and the final frame, and signs. All ready bytes must have been consumed.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.finished = true;
        self.flush()?;
        let len = self.pending.len().saturating_add(FINAL_OVERHEAD).saturating_add(self.encryptor.footer_len());
        let out = self.ciphertext.space_for(len);
        let len = self.encryptor.encrypt_final(self.sequence, self.pending.bytes(), out)?;
        self.ciphertext.filled(len);
        self.pending.consume(self.pending.len());
        Ok(())
    }

    /// Fails if `more` bytes of plaintext are not allowed.
    fn check_open(&self, more: usize) -> Result<()> {
        if self.finished {
            return Err(Error::new(ErrorKind::InvalidInput, "the message is finished: write to a new one"));
        }
        self.encryptor.check_plaintext_len(self.plaintext_len.saturating_add(more as u64))
    }

    /// Returns the number of frames that there is room for.
    fn room(&self) -> usize {
        self.ciphertext.room() / self.encryptor.regular_len()
    }

    fn batch_len(&self) -> usize {
        self.batch.saturating_mul(self.encryptor.frame_length())
    }

    /// Encrypts the first `len` bytes of the pending plaintext, which must be a whole number of frames.
    fn encrypt_pending(&mut self, len: usize) -> Result<()> {
        let frames = self.pending.bytes().get(..len).unwrap_or_default();
        encrypt(&mut self.encryptor, &mut self.sequence, frames, &mut self.ciphertext)?;
        self.pending.consume(len);
        Ok(())
    }
}

/// Encrypts `frames`, none of which is the final one.
fn encrypt(encryptor: &mut Encryptor, sequence: &mut u32, frames: &[u8], ciphertext: &mut Window) -> Result<()> {
    let count = frames.len() / encryptor.frame_length().max(1);
    let out = ciphertext.space_for(count.saturating_mul(encryptor.regular_len()));
    let len = encryptor.encrypt_regular(*sequence, frames, out)?;
    ciphertext.filled(len);
    *sequence = sequence.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    Ok(())
}
