//! [`BodySummary`]: the contents of a body, counted without keys.

use std::io::{self, Read};

use manila_core::Result;
use manila_core::internal::crypto::TAG_LEN;

use crate::message::footer::{self, Footer};
use crate::message::frame::{BodyShape, FrameKind, NextFrame};
use crate::message::header::UnverifiedHeader;
use crate::message::{trailing_bytes, truncated};

/// The contents of a message's body and footer, counted without keys. None of it is verified.
///
/// ```
/// use manila::UnverifiedHeader;
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let message = client.encrypt(&[7; 5000], &EncryptionContext::empty())?; // in frames of 4096 bytes
///
/// let header = UnverifiedHeader::parse(&message)?;
/// let summary = header.summarize_body(&message[header.len()..])?;
/// assert_eq!((summary.frames(), summary.plaintext_len()), (2, 5000));
/// let len = header.len() as u64 + summary.body_len() + summary.footer_len();
/// assert_eq!(len, message.len() as u64);
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BodySummary {
    frames: u32,
    plaintext_len: u64,
    body_len: u64,
    footer_len: u64,
}

impl UnverifiedHeader {
    /// Reads the rest of the message, from the end of the header to the end of the message, and counts its contents.
    ///
    /// It needs no keys, verifies nothing, and uses little memory whatever the length of the message. It reads field by
    /// field, so give it a buffered reader.
    ///
    /// ```
    /// use manila::{ErrorKind, UnverifiedHeader};
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
    ///
    /// let header = UnverifiedHeader::parse(&message)?;
    /// let body = &message[header.len()..];
    /// assert_eq!(header.summarize_body(body)?.plaintext_len(), 5);
    /// let error = header.summarize_body(&body[..20]).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Truncated);
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed), [`ErrorKind::Truncated`](crate::ErrorKind::Truncated) or
    /// [`ErrorKind::TrailingBytes`](crate::ErrorKind::TrailingBytes) if a message with this header cannot continue like
    /// this, and [`ErrorKind::Io`](crate::ErrorKind::Io) if reading fails.
    pub fn summarize_body(&self, mut body: impl Read) -> Result<BodySummary> {
        let shape = BodyShape { content: self.content_type(), max_non_framed_length: u64::MAX };
        let mut summary = BodySummary::default();
        for sequence in 1..=u32::MAX {
            let kind = summary.skip_frame(&mut body, shape, sequence)?;
            if kind != FrameKind::NonFramed {
                summary.frames = sequence;
            }
            if kind != FrameKind::Regular {
                break;
            }
        }
        if self.suite().is_signed() {
            summary.footer_len = skip_footer(&mut body)?;
        }
        match io::copy(&mut body.take(1), &mut io::sink())? {
            0 => Ok(summary),
            _ => Err(trailing_bytes()),
        }
    }
}

impl BodySummary {
    /// Returns the number of frames in the body; 0 if it is non-framed.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Returns the length of the plaintext in bytes.
    #[must_use]
    pub fn plaintext_len(&self) -> u64 {
        self.plaintext_len
    }

    /// Returns the length of the body in bytes.
    #[must_use]
    pub fn body_len(&self) -> u64 {
        self.body_len
    }

    /// Returns the length of the footer in bytes; 0 in unsigned suites.
    #[must_use]
    pub fn footer_len(&self) -> u64 {
        self.footer_len
    }

    fn skip_frame(&mut self, body: &mut impl Read, shape: BodyShape, sequence: u32) -> Result<FrameKind> {
        let mut front = Vec::new();
        loop {
            match shape.read_head(sequence, &front)? {
                NextFrame::Needs(needs) => read_up_to(body, &mut front, needs)?,
                NextFrame::Head(head) => {
                    let rest = head.content_len.saturating_add(TAG_LEN as u64);
                    if io::copy(&mut body.take(rest), &mut io::sink())? < rest {
                        return Err(truncated());
                    }
                    self.plaintext_len = self.plaintext_len.saturating_add(head.content_len);
                    self.body_len = self.body_len.saturating_add(rest).saturating_add(head.len() as u64);
                    return Ok(head.kind);
                }
            }
        }
    }
}

fn skip_footer(body: &mut impl Read) -> Result<u64> {
    let mut front = Vec::new();
    loop {
        match footer::read(&front) {
            Footer::Needs(needs) => read_up_to(body, &mut front, needs)?,
            Footer::Signature(signature) => return Ok((footer::LENGTH_FIELD + signature.len()) as u64),
        }
    }
}

/// Reads until `front` holds `needs` bytes, which is a small number.
fn read_up_to(body: &mut impl Read, front: &mut Vec<u8>, needs: usize) -> Result<()> {
    let missing = needs.saturating_sub(front.len());
    if body.take(missing as u64).read_to_end(front)? < missing {
        return Err(truncated());
    }
    Ok(())
}
