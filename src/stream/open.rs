//! The engine that opens: message in, plaintext out, no IO.

use manila_core::Result;

use crate::decrypt::Decryptor;
use crate::message::footer::{self, Footer};
use crate::message::frame::{BodyShape, NextFrame};
use crate::message::header::Header;
use crate::message::{trailing_bytes, truncated};
use crate::stream::window::Window;
use crate::stream::{BATCH, frames_in_batch};

/// Opens the body of a message as it arrives.
pub(crate) struct OpenStream {
    decryptor: Decryptor,
    /// Sequence number of the next frame.
    sequence: u32,
    phase: Phase,
    wire: Window,
    plain: Window,
    input_ended: bool,
    /// Whether the source gave as much as there was room for.
    source_is_ahead: bool,
    /// Bytes of message that are opened at once, where they are whole frames.
    batch_len: usize,
    /// The least room for plaintext that is worth opening into.
    direct_len: usize,
}

/// What comes next in the message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Body,
    Footer,
    /// Nothing may come any more: the final frame is held back until that is seen.
    End,
    Complete,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Put bytes into [`OpenStream::space`].
    Read,
    /// Take bytes from [`OpenStream::plaintext`].
    Take,
    /// The message is complete, and all of it was taken.
    Complete,
}

impl OpenStream {
    pub(crate) fn new(decryptor: Decryptor) -> Self {
        let threads = decryptor.threads();
        let shape = decryptor.shape();
        let (batch_len, direct_len) = match shape.regular_len() {
            None => (BATCH, usize::MAX),
            Some(len) => {
                let frames = frames_in_batch(threads, len);
                let direct = if threads > 1 { frames } else { 1 };
                (frames.saturating_mul(len), direct.saturating_mul(shape.frame_length()))
            }
        };
        let (wire, plain) = (Window::new(BATCH.min(batch_len)), Window::new(0));
        let phase = Phase::Body;
        Self {
            decryptor,
            sequence: 1,
            phase,
            wire,
            plain,
            input_ended: false,
            source_is_ahead: false,
            batch_len,
            direct_len,
        }
    }

    pub(crate) fn header(&self) -> &Header {
        self.decryptor.header()
    }

    /// Room for bytes of the message; never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        // What is wrong with it, `advance` tells.
        let next = self.next_frame_len().ok().flatten().unwrap_or(0);
        if self.source_is_ahead {
            self.wire.grow(self.batch_len);
        }
        self.wire.space(next.max(self.batch_len))
    }

    /// Takes note that `count` bytes were put into [`space`](Self::space); none: the input has ended.
    pub(crate) fn filled(&mut self, count: usize) {
        self.source_is_ahead = count == self.wire.room();
        self.wire.filled(count);
        self.input_ended |= count == 0;
    }

    /// Plaintext that may be released.
    pub(crate) fn plaintext(&self) -> &[u8] {
        // A final frame is held back until the message is complete.
        if matches!(self.phase, Phase::Body | Phase::Complete) { self.plain.bytes() } else { &[] }
    }

    /// Takes note that the first `count` bytes of [`plaintext`](Self::plaintext) were taken.
    pub(crate) fn taken(&mut self, count: usize) {
        self.plain.taken(count);
    }

    /// Goes on as far as the bytes at hand allow.
    pub(crate) fn advance(&mut self) -> Result<Step> {
        loop {
            if !self.plaintext().is_empty() {
                return Ok(Step::Take);
            }
            let advanced = match self.phase {
                Phase::Body => self.open_frames()?,
                Phase::Footer => self.check_footer()?,
                Phase::End => self.check_end()?,
                Phase::Complete => return Ok(Step::Complete),
            };
            if !advanced {
                return if self.input_ended { Err(truncated()) } else { Ok(Step::Read) };
            }
        }
    }

    /// Opens what has arrived of regular frames straight into `out`, and returns the length of their plaintext: 0 where
    /// something else comes first, or `out` is too small to be worth it.
    pub(crate) fn open_into(&mut self, out: &mut [u8]) -> usize {
        if self.phase != Phase::Body || !self.plain.is_empty() || out.len() < self.direct_len {
            return 0;
        }
        let frames = self.decryptor.decrypt_regular(self.sequence, self.wire.bytes(), out);
        self.opened_regular(frames)
    }

    /// Opens the frames that have arrived. False: more bytes are needed for the next one.
    fn open_frames(&mut self) -> Result<bool> {
        let frames = self.wire.len().min(self.batch_len.max(self.shape().frame_len())) / self.shape().frame_len();
        let out = self.plain.space_for(frames.saturating_mul(self.shape().frame_length()));
        let frames = self.decryptor.decrypt_regular(self.sequence, self.wire.bytes(), out);
        let len = self.opened_regular(frames);
        self.plain.filled(len);
        if len > 0 { Ok(true) } else { self.open_next_frame() }
    }

    /// Opens the next frame, which is the last one, or tells what is wrong with it. False: it has not arrived.
    fn open_next_frame(&mut self) -> Result<bool> {
        let Some(frame_len) = self.next_frame_len()? else {
            return Ok(false);
        };
        if self.wire.len() < frame_len {
            return Ok(false);
        }
        let out = self.plain.space_for(frame_len);
        let frame = self.decryptor.decrypt_next(self.sequence, self.wire.bytes(), out)?;
        self.plain.filled(frame.plaintext_len);
        self.wire.taken(frame.frame_len);
        self.sequence = self.sequence.saturating_add(1);
        if frame.last {
            self.phase = if self.header().suite().is_signed() { Phase::Footer } else { Phase::End };
        }
        Ok(true)
    }

    /// Length in bytes of the next frame; none: its head has not arrived.
    fn next_frame_len(&self) -> Result<Option<usize>> {
        match self.shape().read_head(self.sequence, self.wire.bytes())? {
            NextFrame::Needs(_) => Ok(None),
            NextFrame::Head(head) => head.frame_len().map(Some),
        }
    }

    /// Takes note that `frames` regular frames were opened, and returns the length of their plaintext.
    fn opened_regular(&mut self, frames: usize) -> usize {
        self.wire.taken(frames.saturating_mul(self.shape().frame_len()));
        self.sequence = self.sequence.saturating_add(u32::try_from(frames).unwrap_or(u32::MAX));
        frames.saturating_mul(self.shape().frame_length())
    }

    fn shape(&self) -> BodyShape {
        self.decryptor.shape()
    }

    fn check_footer(&mut self) -> Result<bool> {
        let Footer::Signature(signature) = footer::read(self.wire.bytes()) else {
            return Ok(false);
        };
        self.decryptor.verify_signature(signature)?;
        let len = footer::LENGTH_FIELD + signature.len();
        self.wire.taken(len);
        self.phase = Phase::End;
        Ok(true)
    }

    fn check_end(&mut self) -> Result<bool> {
        if !self.wire.bytes().is_empty() {
            return Err(trailing_bytes());
        }
        if self.input_ended {
            self.phase = Phase::Complete;
        }
        Ok(self.input_ended)
    }
}
