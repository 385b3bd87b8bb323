//! The body: frames, or one non-framed piece, and what authenticates their place in the message.
//!
//! Source: the ESDK specification, `data-format/message-body.md` and `message-body-aad.md`.

use manila_core::internal::codec::{Cursor, EndOfBytes, ShortBytes};
use manila_core::internal::crypto::{IV_LEN, TAG_LEN};
use manila_core::{Error, ErrorKind, Result};

use crate::message::header::ContentType;

/// Stands where a regular frame has its sequence number.
const FINAL_FRAME: u32 = 0xffff_ffff;
/// Bytes around the content of a regular frame: sequence number, IV, tag.
pub(crate) const REGULAR_OVERHEAD: usize = 4 + IV_LEN + TAG_LEN;
/// Bytes around the content of a final frame: marker, sequence number, IV, length, tag.
pub(crate) const FINAL_OVERHEAD: usize = 4 + 4 + IV_LEN + 4 + TAG_LEN;
/// The longest content of a non-framed body in bytes (NIST SP 800-38D, section 5.2.1.1).
const MAX_UNFRAMED: u64 = (1 << 36) - 32;

/// The longest AAD of a body in bytes: message id, label, sequence number, length.
const MAX_AAD: usize = 32 + FrameKind::NonFramed.label().len() + 4 + 8;

/// What kind of piece of a body is sealed.
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
    /// The head of a frame that is to be written: its IV is its sequence number.
    pub(crate) fn to_write(last: bool, sequence: u32, content_len: u32) -> Self {
        Self {
            kind: if last { FrameKind::Final } else { FrameKind::Regular },
            sequence,
            iv: sequence_iv(sequence),
            content_len: u64::from(content_len),
        }
    }

    /// Length in bytes of the fields before the content.
    pub(crate) const fn len(&self) -> usize {
        match self.kind {
            FrameKind::Regular => REGULAR_OVERHEAD - TAG_LEN,
            FrameKind::Final => FINAL_OVERHEAD - TAG_LEN,
            FrameKind::NonFramed => IV_LEN + 8,
        }
    }

    /// Length in bytes of the whole frame.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] if this machine cannot address it.
    pub(crate) fn frame_len(&self) -> Result<usize> {
        addressable_frame_len(self.content_len, self.len() + TAG_LEN).ok_or_else(|| too_long(self.content_len))
    }

    /// The fields of a frame (a non-framed body is never written).
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

    /// What authenticates the frame's kind, place and length.
    pub(crate) fn aad(&self, message_id: &[u8]) -> ShortBytes<MAX_AAD> {
        let mut aad = ShortBytes::new();
        aad.put(message_id);
        aad.put(self.kind.label());
        aad.put(&self.sequence.to_be_bytes());
        aad.put(&self.content_len.to_be_bytes());
        aad
    }
}

/// The IV of frame `sequence`: the number, left-padded with zeros.
pub(crate) fn sequence_iv(sequence: u32) -> [u8; IV_LEN] {
    let mut iv = [0; IV_LEN];
    if let Some(end) = iv.last_chunk_mut() {
        *end = sequence.to_be_bytes();
    }
    iv
}

/// The shape that a header gives to the body, and the most that a reader takes of a non-framed one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyShape {
    pub(crate) content: ContentType,
    pub(crate) max_non_framed_length: u64,
}

/// What the front of the bytes tells of the next frame.
pub(crate) enum NextFrame {
    /// Not enough to tell: this many bytes in all are needed.
    Needs(usize),
    Head(FrameHead),
}

impl BodyShape {
    /// The shape of a body that is to be opened.
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] if its frames are over the limit, or longer than this machine can address.
    pub(crate) fn within(content: ContentType, max_frame_length: u32, max_non_framed_length: u64) -> Result<Self> {
        if let ContentType::Framed(length) = content {
            if length > max_frame_length {
                let detail = format!(
                    "frames of {length} bytes are over the limit of {max_frame_length}: raise max_frame_length"
                );
                return Err(Error::new(ErrorKind::LimitExceeded, detail));
            }
            // The final frame is the longest there can be.
            addressable_frame_len(length.into(), FINAL_OVERHEAD).ok_or_else(|| too_long(length.into()))?;
        }
        Ok(Self { content, max_non_framed_length })
    }

    /// The head of frame `sequence`, which must be the next one, from the front of `bytes`.
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

    /// Length in bytes of a frame before the final one, or `None` where there is none such or it cannot be addressed.
    pub(crate) fn regular_len(&self) -> Option<usize> {
        match self.content {
            ContentType::Framed(length) => addressable_frame_len(length.into(), REGULAR_OVERHEAD),
            ContentType::NonFramed => None,
        }
    }

    /// Length in bytes of a frame before the final one; more than can arrive where there is none such. Never 0.
    pub(crate) fn frame_len(&self) -> usize {
        self.regular_len().unwrap_or(usize::MAX)
    }

    /// Length in bytes of the plaintext of a frame before the final one. Never 0: no header has such frames.
    pub(crate) fn frame_length(&self) -> usize {
        self.frame_len().saturating_sub(REGULAR_OVERHEAD).max(1)
    }

    fn check_head(&self, head: FrameHead, sequence: u32) -> Result<FrameHead> {
        if head.sequence != sequence {
            let detail =
                format!("frame {} stands where frame {sequence} belongs: frames were moved or lost", head.sequence);
            return Err(Error::new(ErrorKind::Malformed, detail));
        }
        match self.content {
            ContentType::Framed(frame_length) if head.content_len > u64::from(frame_length) => {
                Err(Error::new(ErrorKind::Malformed, "the final frame is longer than the frame length"))
            }
            ContentType::NonFramed if head.content_len > MAX_UNFRAMED => {
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

/// Length in bytes of a frame of so much content, with what is around it; `None` where this machine cannot address twice
/// as much, since streams let their buffers grow by doubling them.
pub(crate) fn addressable_frame_len(content_len: u64, around: usize) -> Option<usize> {
    let len = usize::try_from(content_len).ok()?.checked_add(around)?;
    (len <= isize::MAX.unsigned_abs() / 2).then_some(len)
}

fn too_long(content_len: u64) -> Error {
    let detail = format!(
        "a frame or body of {content_len} bytes is longer than this machine can hold in memory: open the message where \
         addresses have 64 bits"
    );
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
    fn a_frame_that_no_memory_can_hold_is_an_error() {
        // Where addresses have 32 bits, frames of the format can be such.
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
