//! The engine that opens: message in, plaintext out, no IO.

use crate::decrypt::Decryptor;
use crate::error::Result;
use crate::message::footer::{self, Footer};
use crate::message::frame::{FrameHead, FrameKind, NextFrame};
use crate::message::header::Header;
use crate::message::survey::{trailing_bytes, truncated};
use crate::stream::BATCH;
use crate::suite::TAG_LEN;

/// Opens the body of a message as it arrives.
pub(crate) struct OpenStream {
    decryptor: Decryptor,
    /// Sequence number of the next frame.
    sequence: u32,
    phase: Phase,
    wire: Window,
    plain: Window,
    input_ended: bool,
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
        let (wire, plain) = (Window::new(BATCH), Window::new(0));
        Self { decryptor, sequence: 1, phase: Phase::Body, wire, plain, input_ended: false }
    }

    pub(crate) fn header(&self) -> &Header {
        self.decryptor.header()
    }

    /// Room for bytes of the message; never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.wire.space()
    }

    /// Takes note that `count` bytes were put into [`space`](Self::space); none: the input has ended.
    pub(crate) fn filled(&mut self, count: usize) {
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

    /// Opens the frames that have arrived, up to a batch of them. False: more bytes are needed for the next one.
    fn open_frames(&mut self) -> Result<bool> {
        while self.phase == Phase::Body && self.plain.bytes().len() < BATCH {
            match self.open_next_frame() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if self.plain.bytes().is_empty() => return Err(error),
                // What was opened before it leaves first; then this frame comes up again, and fails again.
                Err(_) => break,
            }
        }
        Ok(self.phase != Phase::Body || !self.plain.bytes().is_empty())
    }

    /// Opens the next frame. False: not now.
    fn open_next_frame(&mut self) -> Result<bool> {
        let NextFrame::Head(head) = self.decryptor.shape().read_head(self.sequence, self.wire.bytes())? else {
            return Ok(false);
        };
        let Some(frame) = head.frame_len().and_then(|len| self.wire.bytes().get(..len)) else {
            return Ok(false);
        };
        // Those before the final frame may leave at once, so it does not join them.
        if head.kind != FrameKind::Regular && !self.plain.bytes().is_empty() {
            return Ok(false);
        }
        let len = frame.len();
        open_frame(&mut self.decryptor, &head, frame, &mut self.plain)?;
        self.wire.taken(len);
        self.sequence = self.sequence.saturating_add(1);
        if head.kind != FrameKind::Regular {
            self.phase = if self.header().suite().is_signed() { Phase::Footer } else { Phase::End };
        }
        Ok(true)
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

fn open_frame(decryptor: &mut Decryptor, head: &FrameHead, frame: &[u8], plain: &mut Window) -> Result<()> {
    let sealed = frame.get(head.len()..).unwrap_or_default();
    let out = plain.space_for(sealed.len().saturating_sub(TAG_LEN));
    let len = out.len();
    decryptor.decrypt_frame(head, sealed, out)?;
    decryptor.verify(frame);
    plain.filled(len);
    Ok(())
}

/// Bytes that are put in at the end and taken from the start. It grows only when it is full of bytes that are
/// still to be taken, so its size follows what arrived.
struct Window {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    fn new(len: usize) -> Self {
        Self { buffer: vec![0; len], start: 0, end: 0 }
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn taken(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.buffer.len());
    }

    /// All free space, at least one byte of it.
    fn space(&mut self) -> &mut [u8] {
        if self.end == self.buffer.len() {
            self.make_room(1);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Free space of exactly `len` bytes.
    fn space_for(&mut self, len: usize) -> &mut [u8] {
        if self.buffer.len().saturating_sub(self.end) < len {
            self.make_room(len);
        }
        self.buffer.get_mut(self.end..).and_then(|free| free.get_mut(..len)).unwrap_or_default()
    }

    fn make_room(&mut self, len: usize) {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let needed = self.end.saturating_add(len);
        if self.buffer.len() < needed {
            self.buffer.resize(needed.max(self.buffer.len().saturating_mul(2)), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_grows_only_when_full() {
        let mut window = Window::new(4);
        window.space().copy_from_slice(b"abcd");
        window.filled(4);
        window.taken(3);
        let room = window.space();
        assert_eq!(room.len(), 3);
        room.copy_from_slice(b"efg");
        window.filled(3);
        assert_eq!(window.bytes(), b"defg");
        assert_eq!(window.space().len(), 4);
        assert_eq!(window.bytes(), b"defg");
        assert_eq!(window.space_for(100).len(), 100);
        assert_eq!(window.bytes(), b"defg");
    }
}
