//! The body: frames or one non-framed block, and the AAD that binds each to its position in the message.
//!
//! Source: the ESDK specification, `data-format/message-body.md` and `message-body-aad.md`.

use manila_core::internal::codec::{Cursor, EndOfBytes, ShortBytes};
use manila_core::internal::crypto::{IV_LEN, TAG_LEN};
use manila_core::{Error, ErrorKind, Result};

use crate::message::header::ContentType;

/// The marker of a final frame, where a regular frame has its sequence number.
pub(crate) const FINAL_FRAME: u32 = 0xffff_ffff;
/// Bytes of a regular frame besides its content: sequence number, IV, tag.
pub(crate) const REGULAR_OVERHEAD: usize = 4 + IV_LEN + TAG_LEN;
/// Bytes of a final frame besides its content: marker, sequence number, IV, length, tag.
pub(crate) const FINAL_OVERHEAD: usize = 4 + 4 + IV_LEN + 4 + TAG_LEN;
/// Length in bytes of the longest non-framed content (NIST SP 800-38D, section 5.2.1.1).
const MAX_NON_FRAMED: u64 = (1 << 36) - 32;

/// Length in bytes of the longest AAD of a body: message id, label, sequence number, length.
const MAX_AAD: usize = 32 + FrameKind::NonFramed.label().len() + 4 + 8;

/// The kinds of blocks that a body is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Regular,
    Final,
    NonFramed,
}

impl FrameKind {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Regular => b"AWSKMSEncryptionClient Frame",
            Self::Final => b"AWSKMSEncryptionClient Final Frame",
            Self::NonFramed => b"AWSKMSEncryptionClient Single Block",
        }
    }
}

/// The fields of a frame before its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) kind: FrameKind,
    pub(crate) sequence: u32,
    pub(crate) iv: [u8; IV_LEN],
    pub(crate) content_len: u64,
}

impl FrameHead {
    /// Returns the head of a frame to write. Its IV is its sequence number.
    pub(crate) fn to_write(last: bool, sequence: u32, content_len: u32) -> Self {
        Self {
            kind: if last { FrameKind::Final } else { FrameKind::Regular },
            sequence,
            iv: sequence_iv(sequence),
            content_len: u64::from(content_len),
        }
    }

    /// Returns the length in bytes of the fields before the content.
    pub(crate) const fn len(&self) -> usize {
        match self.kind {
            FrameKind::Regular => REGULAR_OVERHEAD - TAG_LEN,
            FrameKind::Final => FINAL_OVERHEAD - TAG_LEN,
            FrameKind::NonFramed => IV_LEN + 8,
        }
    }

    /// Returns the length in bytes of the whole frame.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] if this machine cannot address that many bytes.
    pub(crate) fn frame_len(&self) -> Result<usize> {
        addressable_frame_len(self.content_len, self.len() + TAG_LEN).ok_or_else(|| too_long(self.content_len))
    }

    /// Serializes the fields of a frame. Non-framed bodies are never written.
    pub(crate) fn to_bytes(self) -> ShortBytes<{ FINAL_OVERHEAD - TAG_LEN }> {
        let mut out = ShortBytes::new();
        if self.kind == FrameKind::Final {
            out.put(&FINAL_FRAME.to_be_bytes());
        }
        out.put(&self.sequence.to_be_bytes());
        out.put(&self.iv);
        if self.kind == FrameKind::Final {
            let [_, _, _, _, length @ ..] = self.content_len.to_be_bytes();
            out.put(&length);
        }
        out
    }

    /// Returns the AAD, which authenticates the kind, position and length of the frame.
    pub(crate) fn aad(&self, message_id: &[u8]) -> ShortBytes<MAX_AAD> {
        let mut aad = ShortBytes::new();
        aad.put(message_id);
        aad.put(self.kind.label());
        aad.put(&self.sequence.to_be_bytes());
        aad.put(&self.content_len.to_be_bytes());
        aad
    }
}

/// Returns the IV of frame `sequence`: the number, left-padded with zeros.
pub(crate) fn sequence_iv(sequence: u32) -> [u8; IV_LEN] {
    let mut iv = [0; IV_LEN];
    if let Some(end) = iv.last_chunk_mut() {
        *end = sequence.to_be_bytes();
    }
    iv
}

/// The layout of a body, as its header declares it, and the reader's limit for a non-framed body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyShape {
    pub(crate) content: ContentType,
    pub(crate) max_non_framed_length: u64,
}

/// The result of reading a frame's head from bytes that may be incomplete.
pub(crate) enum NextFrame {
    /// The head is incomplete: at least this many bytes are needed in total.
    Needs(usize),
    Head(FrameHead),
}

impl BodyShape {
    /// Returns the layout of a body to decrypt.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] if its frames are over the limit or longer than this machine can address.
    pub(crate) fn within(content: ContentType, max_frame_length: u32, max_non_framed_length: u64) -> Result<Self> {
        if let ContentType::Framed(length) = content {
            if length > max_frame_length {
                let detail = format!(
                    "frames of {length} bytes are over the limit of {max_frame_length}: raise max_frame_length"
                );
                return Err(Error::new(ErrorKind::LimitExceeded, detail));
            }
            // No frame can be longer than a full final frame.
            addressable_frame_len(length.into(), FINAL_OVERHEAD).ok_or_else(|| too_long(length.into()))?;
        }
        Ok(Self { content, max_non_framed_length })
    }

    /// Returns the length of the longest plaintext of a complete body of `body_len` bytes. Of an unsigned message it is
    /// the length of its plaintext: a buffer of that capacity is enough to decrypt into.
    pub(crate) fn plaintext_len(&self, body_len: usize) -> usize {
        if self.frame_len() == usize::MAX {
            return body_len;
        }
        let rest = body_len.saturating_sub(FINAL_OVERHEAD);
        let (regular, final_len) = (rest / self.frame_len(), rest % self.frame_len());
        let regular = regular.saturating_mul(self.frame_length());
        regular.saturating_add(final_len.min(self.frame_length()))
    }

    /// Reads the head of a frame from the start of `bytes`. It must be frame `sequence`.
    pub(crate) fn read_head(&self, sequence: u32, bytes: &[u8]) -> Result<NextFrame> {
        let mut cursor = Cursor::new(bytes);
        let (needs, head) = match self.content {
            ContentType::NonFramed => (IV_LEN + 8, read_non_framed(&mut cursor)),
            ContentType::Framed(frame_length) => match cursor.u32() {
                Err(EndOfBytes) => (4, Err(EndOfBytes)),
                Ok(FINAL_FRAME) => (FINAL_OVERHEAD - TAG_LEN, read_final(&mut cursor)),
                Ok(number) => (REGULAR_OVERHEAD - TAG_LEN, read_regular(&mut cursor, number, frame_length)),
            },
        };
        match head {
            Err(EndOfBytes) => Ok(NextFrame::Needs(needs)),
            Ok(head) => self.check_head(head, sequence).map(NextFrame::Head),
        }
    }

    /// Returns the length in bytes of a regular frame, or `None` if the body is not framed or the machine cannot
    /// address that many bytes.
    pub(crate) fn regular_len(&self) -> Option<usize> {
        match self.content {
            ContentType::Framed(length) => addressable_frame_len(length.into(), REGULAR_OVERHEAD),
            ContentType::NonFramed => None,
        }
    }

    /// Returns the length in bytes of a regular frame. If there are none, it is longer than any input. Never 0.
    pub(crate) fn frame_len(&self) -> usize {
        self.regular_len().unwrap_or(usize::MAX)
    }

    /// Returns the number of plaintext bytes in a regular frame. Never 0, because headers with such frames are refused.
    pub(crate) fn frame_length(&self) -> usize {
        self.frame_len().saturating_sub(REGULAR_OVERHEAD).max(1)
    }

    fn check_head(&self, head: FrameHead, sequence: u32) -> Result<FrameHead> {
        if head.sequence != sequence {
            let detail = format!(
                "frame {} is in the position of frame {sequence}: frames of the message were moved, repeated or lost",
                head.sequence
            );
            return Err(Error::new(ErrorKind::Malformed, detail));
        }
        match self.content {
            ContentType::Framed(frame_length) if head.content_len > u64::from(frame_length) => {
                Err(Error::new(ErrorKind::Malformed, "the final frame is longer than the frame length in the header"))
            }
            ContentType::NonFramed if head.content_len > MAX_NON_FRAMED => {
                Err(Error::new(ErrorKind::Malformed, "the body is longer than the format allows"))
            }
            ContentType::NonFramed if head.content_len > self.max_non_framed_length => {
                let max = self.max_non_framed_length;
                let detail = format!(
                    "a non-framed body of {} bytes is over the limit of {max}: raise max_non_framed_length",
                    head.content_len
                );
                Err(Error::new(ErrorKind::LimitExceeded, detail))
            }
            _ => Ok(head),
        }
    }
}

/// Returns the length in bytes of a frame with this content and overhead; `None` if this machine cannot address twice
/// as much, because streams double their buffers to grow them.
pub(crate) fn addressable_frame_len(content_len: u64, overhead: usize) -> Option<usize> {
    let len = usize::try_from(content_len).ok()?.checked_add(overhead)?;
    (len <= isize::MAX.unsigned_abs() / 2).then_some(len)
}

fn too_long(content_len: u64) -> Error {
    let detail =
        format!("a frame or body of {content_len} bytes is longer than this machine can address: use a 64-bit machine");
    Error::new(ErrorKind::LimitExceeded, detail)
}

fn read_regular(cursor: &mut Cursor<'_>, sequence: u32, frame_length: u32) -> Result<FrameHead, EndOfBytes> {
    Ok(FrameHead { kind: FrameKind::Regular, sequence, iv: cursor.array()?, content_len: u64::from(frame_length) })
}

fn read_final(cursor: &mut Cursor<'_>) -> Result<FrameHead, EndOfBytes> {
    Ok(FrameHead {
        kind: FrameKind::Final,
        sequence: cursor.u32()?,
        iv: cursor.array()?,
        content_len: u64::from(cursor.u32()?),
    })
}

fn read_non_framed(cursor: &mut Cursor<'_>) -> Result<FrameHead, EndOfBytes> {
    Ok(FrameHead { kind: FrameKind::NonFramed, sequence: 1, iv: cursor.array()?, content_len: cursor.u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let shape = BodyShape { content: ContentType::Framed(10), max_non_framed_length: 0 };
        for head in [FrameHead::to_write(false, 7, 10), FrameHead::to_write(true, 7, 3)] {
            let mut bytes = head.to_bytes().to_vec();
            assert_eq!(bytes.len(), head.len());
            assert!(matches!(shape.read_head(7, &bytes), Ok(NextFrame::Head(read)) if read == head));
            assert!(shape.read_head(8, &bytes).is_err());
            bytes.pop();
            assert!(matches!(shape.read_head(7, &bytes), Ok(NextFrame::Needs(needs)) if needs == head.len()));
        }
    }

    #[test]
    fn a_frame_that_cannot_be_addressed_is_an_error() {
        // On 32-bit machines, frames can be that long.
        let half = isize::MAX as u64 / 2;
        assert_eq!(addressable_frame_len(half - 32, REGULAR_OVERHEAD), Some(isize::MAX as usize / 2));
        for content_len in [half - 31, half * 2, u64::MAX] {
            assert_eq!(addressable_frame_len(content_len, REGULAR_OVERHEAD), None);
            let head = FrameHead { kind: FrameKind::NonFramed, sequence: 1, iv: [0; IV_LEN], content_len };
            assert_eq!(head.frame_len().unwrap_err().kind(), ErrorKind::LimitExceeded);
        }
        assert!(BodyShape::within(ContentType::Framed(u32::MAX), u32::MAX, 0).is_ok() == (usize::BITS > 32));
    }
}
