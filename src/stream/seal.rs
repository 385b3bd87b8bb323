//! The engine that seals: plaintext in, message out, no IO.

use manila_core::{Error, ErrorKind, Result};

use crate::encrypt::Encryptor;
use crate::message::frame::FINAL_OVERHEAD;
use crate::stream::frames_in_batch;
use crate::stream::window::Window;

/// Seals a message as its plaintext arrives.
pub(crate) struct SealStream {
    encryptor: Encryptor,
    /// Frames that are sealed at once at most.
    batch: usize,
    /// Frames that are worth being sealed at once: one, or the batch where threads share it.
    unit: usize,
    /// Plaintext that waits: only what comes behind a frame tells that it is not the last.
    waiting: Window,
    /// Length in bytes of the plaintext so far.
    taken: u64,
    /// Sequence number of the next frame.
    sequence: u32,
    sealed: Window,
    finished: bool,
}

impl SealStream {
    pub(crate) fn new(encryptor: Encryptor) -> Self {
        let batch = frames_in_batch(encryptor.threads(), encryptor.regular_len());
        let unit = if encryptor.threads() > 1 { batch } else { 1 };
        let around = FINAL_OVERHEAD.saturating_add(encryptor.footer_len());
        let len = batch.saturating_mul(encryptor.regular_len()).saturating_add(around);
        let mut sealed = Window::new(len.max(encryptor.header().len()));
        sealed.put(encryptor.header());
        let waiting = Window::new(0);
        Self { encryptor, batch, unit, waiting, taken: 0, sequence: 1, sealed, finished: false }
    }

    /// Bytes of the message that are ready to be sent.
    pub(crate) fn ready(&self) -> &[u8] {
        self.sealed.bytes()
    }

    /// Takes note that the first `count` bytes of [`ready`](Self::ready) were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.sealed.taken(count);
    }

    /// Whether plaintext can be taken before something is sent.
    pub(crate) fn has_room(&self) -> bool {
        self.room() >= self.unit
    }

    /// Whether the final frame has been sealed.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Takes plaintext, sealing frames that certainly are not the last one, and returns how much it took:
    /// something, if there is anything and [`has_room`](Self::has_room).
    pub(crate) fn take(&mut self, plaintext: &[u8]) -> Result<usize> {
        self.check_open(plaintext.len())?;
        let frame_length = self.encryptor.frame_length();
        let unit_len = self.unit.saturating_mul(frame_length);
        let mut rest = plaintext;
        while !rest.is_empty() {
            let certain = rest.len().saturating_sub(1) / frame_length.max(1);
            let direct = self.waiting.is_empty() && certain >= self.unit;
            let full = self.waiting.len() >= unit_len;
            if (direct || full) && !self.has_room() && (full || rest.len() < plaintext.len()) {
                break;
            }
            if direct && self.has_room() {
                // So much has come in one piece: seal it from where it lies.
                let len = certain.min(self.room()).saturating_mul(frame_length);
                let (frames, behind) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                seal(&mut self.encryptor, &mut self.sequence, frames, &mut self.sealed)?;
                rest = behind;
            } else if full {
                // More plaintext has come, so what waits is not the last of it.
                self.seal_waiting(unit_len)?;
            } else {
                let missing = unit_len.saturating_sub(self.waiting.len());
                let (piece, behind) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
                self.waiting.put(piece);
                rest = behind;
            }
        }
        let count = plaintext.len() - rest.len();
        self.taken = self.taken.saturating_add(count as u64);
        Ok(count)
    }

    /// Room for plaintext that is put where it will be sealed from; never empty. Everything ready must have been sent.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        // One byte more than a batch, which tells that its last frame is not the last of all.
        let most = self.batch_len().saturating_add(1);
        let missing = most.saturating_sub(self.waiting.len());
        self.waiting.space_for(missing)
    }

    /// Takes note that `count` bytes were put into [`space`](Self::space), and seals what is a batch.
    pub(crate) fn filled(&mut self, count: usize) -> Result<()> {
        self.check_open(count)?;
        self.waiting.filled(count);
        self.taken = self.taken.saturating_add(count as u64);
        if self.waiting.len() > self.batch_len() { self.seal_waiting(self.batch_len()) } else { Ok(()) }
    }

    /// Seals what waits of whole frames that certainly are not the last one. Everything ready must have been sent.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let frame_length = self.encryptor.frame_length().max(1);
        let certain = self.waiting.len().saturating_sub(1) / frame_length;
        self.seal_waiting(certain.saturating_mul(frame_length))
    }

    /// Seals what waits, the final frame last, and signs. Everything ready must have been sent.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.finished = true;
        self.settle()?;
        let most = self.waiting.len().saturating_add(FINAL_OVERHEAD).saturating_add(self.encryptor.footer_len());
        let out = self.sealed.space_for(most);
        let len = self.encryptor.encrypt_final(self.sequence, self.waiting.bytes(), out)?;
        self.sealed.filled(len);
        self.waiting.taken(self.waiting.len());
        Ok(())
    }

    /// Fails if `more` plaintext may not come.
    fn check_open(&self, more: usize) -> Result<()> {
        if self.finished {
            return Err(Error::new(ErrorKind::InvalidInput, "the message is finished: nothing can be added to it"));
        }
        self.encryptor.check_plaintext_len(self.taken.saturating_add(more as u64))
    }

    /// Whole frames that there is room for.
    fn room(&self) -> usize {
        self.sealed.room() / self.encryptor.regular_len()
    }

    fn batch_len(&self) -> usize {
        self.batch.saturating_mul(self.encryptor.frame_length())
    }

    /// Seals the first `len` bytes of what waits, whole frames.
    fn seal_waiting(&mut self, len: usize) -> Result<()> {
        let frames = self.waiting.bytes().get(..len).unwrap_or_default();
        seal(&mut self.encryptor, &mut self.sequence, frames, &mut self.sealed)?;
        self.waiting.taken(len);
        Ok(())
    }
}

/// Seals `frames`, none of which is the last.
fn seal(encryptor: &mut Encryptor, sequence: &mut u32, frames: &[u8], sealed: &mut Window) -> Result<()> {
    let count = frames.len() / encryptor.frame_length().max(1);
    let out = sealed.space_for(count.saturating_mul(encryptor.regular_len()));
    let len = encryptor.encrypt_regular(*sequence, frames, out)?;
    sealed.filled(len);
    *sequence = sequence.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    Ok(())
}
