//! The decryption engine: turns bytes of a message into plaintext, without IO.

use manila_core::{Error, ErrorKind, Result};

use crate::decrypt::Decryptor;
use crate::message::footer::{self, Footer};
use crate::message::frame::{BodyShape, NextFrame};
use crate::message::header::Header;
use crate::message::{trailing_bytes, truncated};
use crate::stream::window::Window;
use crate::stream::{BATCH, frames_in_batch};

/// Decrypts the body of a message as its bytes arrive.
pub(crate) struct DecryptEngine {
    decryptor: Decryptor,
    /// The sequence number of the next frame.
    sequence: u32,
    phase: Phase,
    ciphertext: Window,
    plaintext: Window,
    input_ended: bool,
    /// True if the last read filled all the space it was given.
    last_read_was_full: bool,
    /// Length in bytes of a batch of frames.
    batch_len: usize,
    /// The shortest caller's buffer to decrypt into directly, in bytes.
    min_direct_len: usize,
    start: Start,
}

/// The position at which the input starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The end of the header, which was read from the same source.
    AfterHeader,
    /// The position that the caller's reader has, which should be the end of the header.
    AsGiven,
}

/// The part of the message that comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Body,
    Footer,
    /// The end of the input. The plaintext of the final frame is held back until it is seen.
    End,
    Complete,
}

/// The next step for the driver.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read bytes into [`DecryptEngine::space`].
    Read,
    /// Consume bytes of [`DecryptEngine::plaintext`].
    Consume,
    /// Nothing: the message is complete, and all of its plaintext has been consumed.
    Complete,
}

impl DecryptEngine {
    pub(crate) fn new(decryptor: Decryptor, start: Start) -> Self {
        let threads = decryptor.threads();
        let shape = decryptor.shape();
        let (batch_len, min_direct_len) = match shape.regular_len() {
            None => (BATCH, usize::MAX),
            Some(len) => {
                let frames = frames_in_batch(threads, len);
                let direct = if threads > 1 { frames } else { 1 };
                (frames.saturating_mul(len), direct.saturating_mul(shape.frame_length()))
            }
        };
        let (ciphertext, plaintext) = (Window::new(BATCH.min(batch_len)), Window::new(0));
        let phase = Phase::Body;
        Self {
            decryptor,
            sequence: 1,
            phase,
            ciphertext,
            plaintext,
            input_ended: false,
            last_read_was_full: false,
            batch_len,
            min_direct_len,
            start,
        }
    }

    pub(crate) fn header(&self) -> &Header {
        self.decryptor.header()
    }

    /// Returns space for bytes of the message; never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        // If the head is not valid, `advance` returns the error.
        let next = self.next_frame_len().ok().flatten().unwrap_or(0);
        if self.last_read_was_full {
            self.ciphertext.grow(self.batch_len);
        }
        self.ciphertext.space(next.max(self.batch_len))
    }

    /// Records that `count` bytes were read into [`space`](Self::space). A count of 0 means the end of the input.
    pub(crate) fn filled(&mut self, count: usize) {
        self.last_read_was_full = count == self.ciphertext.room();
        self.ciphertext.filled(count);
        self.input_ended |= count == 0;
    }

    /// Returns the plaintext that may be released.
    pub(crate) fn plaintext(&self) -> &[u8] {
        // A final frame is held back until the message is complete.
        if matches!(self.phase, Phase::Body | Phase::Complete) { self.plaintext.bytes() } else { &[] }
    }

    /// Consumes the first `count` bytes of [`plaintext`](Self::plaintext).
    pub(crate) fn consume(&mut self, count: usize) {
        self.plaintext.consume(count);
    }

    /// Advances as far as the bytes that have arrived allow.
    pub(crate) fn advance(&mut self) -> Result<Step> {
        self.try_advance().map_err(|error| self.explain(error))
    }

    /// Adds to an error of the first frame the mistake that it may come from: a reader that was buffered for the header
    /// has read part of the body, and another one starts behind it.
    fn explain(&self, error: Error) -> Error {
        let at_start = self.start == Start::AsGiven && self.phase == Phase::Body && self.sequence == 1;
        let nothing_came = self.ciphertext.is_empty();
        match error.kind() {
            ErrorKind::Malformed if at_start => {}
            ErrorKind::Truncated if at_start && nothing_came => {}
            _ => return error,
        }
        let detail = format!("{error}, or the reader does not start where the header ended: use one reader for both");
        Error::new(error.kind(), detail)
    }

    fn try_advance(&mut self) -> Result<Step> {
        loop {
            if !self.plaintext().is_empty() {
                return Ok(Step::Consume);
            }
            let advanced = match self.phase {
                Phase::Body => self.decrypt_frames()?,
                Phase::Footer => self.check_footer()?,
                Phase::End => self.check_end()?,
                Phase::Complete => return Ok(Step::Complete),
            };
            if !advanced {
                return if self.input_ended { Err(truncated()) } else { Ok(Step::Read) };
            }
        }
    }

    /// Decrypts the regular frames that have arrived directly into `out`, and returns the length of their plaintext.
    /// Returns 0 if something else comes first, or if `out` is too short for this to be worthwhile.
    pub(crate) fn decrypt_into(&mut self, out: &mut [u8]) -> usize {
        if self.phase != Phase::Body || !self.plaintext.is_empty() || out.len() < self.min_direct_len {
            return 0;
        }
        let frames = self.decryptor.decrypt_regular(self.sequence, self.ciphertext.bytes(), out);
        self.consume_regular(frames)
    }

    /// Decrypts the frames that have arrived. Returns false if the next frame needs more bytes.
    fn decrypt_frames(&mut self) -> Result<bool> {
        let frames = self.ciphertext.len().min(self.batch_len.max(self.shape().frame_len())) / self.shape().frame_len();
        let out = self.plaintext.space_for(frames.saturating_mul(self.shape().frame_length()));
        let frames = self.decryptor.decrypt_regular(self.sequence, self.ciphertext.bytes(), out);
        let len = self.consume_regular(frames);
        self.plaintext.filled(len);
        if len > 0 { Ok(true) } else { self.decrypt_next_frame() }
    }

    /// Decrypts the next frame, which is either the final one or one that does not authenticate. Returns false if it
    /// has not arrived completely.
    fn decrypt_next_frame(&mut self) -> Result<bool> {
        let Some(frame_len) = self.next_frame_len()? else {
            return Ok(false);
        };
        if self.ciphertext.len() < frame_len {
            return Ok(false);
        }
        let out = self.plaintext.space_for(frame_len);
        let frame = self.decryptor.decrypt_next(self.sequence, self.ciphertext.bytes(), out)?;
        self.plaintext.filled(frame.plaintext_len);
        self.ciphertext.consume(frame.frame_len);
        self.sequence = self.sequence.saturating_add(1);
        if frame.last {
            self.phase = if self.header().suite().is_signed() { Phase::Footer } else { Phase::End };
        }
        Ok(true)
    }

    /// Returns the length of the next frame in bytes, or `None` if its head has not arrived.
    fn next_frame_len(&self) -> Result<Option<usize>> {
        match self.shape().read_head(self.sequence, self.ciphertext.bytes())? {
            NextFrame::Needs(_) => Ok(None),
            NextFrame::Head(head) => head.frame_len().map(Some),
        }
    }

    /// Records that `frames` regular frames were decrypted, and returns the length of their plaintext.
    fn consume_regular(&mut self, frames: usize) -> usize {
        self.ciphertext.consume(frames.saturating_mul(self.shape().frame_len()));
        self.sequence = self.sequence.saturating_add(u32::try_from(frames).unwrap_or(u32::MAX));
        frames.saturating_mul(self.shape().frame_length())
    }

    fn shape(&self) -> BodyShape {
        self.decryptor.shape()
    }

    fn check_footer(&mut self) -> Result<bool> {
        let Footer::Signature(signature) = footer::read(self.ciphertext.bytes()) else {
            return Ok(false);
        };
        self.decryptor.verify_signature(signature)?;
        let len = footer::LENGTH_FIELD + signature.len();
        self.ciphertext.consume(len);
        self.phase = Phase::End;
        Ok(true)
    }

    fn check_end(&mut self) -> Result<bool> {
        if !self.ciphertext.bytes().is_empty() {
            return Err(trailing_bytes());
        }
        if self.input_ended {
            self.phase = Phase::Complete;
        }
        Ok(self.input_ended)
    }
}
