//! [`RangeDecryptor`]: decrypts frames from anywhere in a message that were fetched by its caller, without IO.
//!
//! [`seek`](super::seek) fetches them from a source, blocking or asynchronously.

use std::fmt;
use std::ops::Range;

use manila_core::{Error, ErrorKind, Result};

use crate::buffer::{self, WipeGuard};
use crate::decrypt::Decryptor;
use crate::decrypt::frames::FrameDecryptor;
use crate::message::footer::{self, Footer, LENGTH_FIELD};
use crate::message::frame::{FrameKind, NextFrame};
use crate::message::frame_map::{FrameMap, FrameSpan};
use crate::message::header::{ContentType, Header};
use crate::message::{trailing_bytes, truncated};

impl Decryptor {
    /// Returns the range of the message that [`range_decryptor`](Self::range_decryptor) needs: its final frame. The
    /// message is `message_len` bytes long in all.
    ///
    /// In signed suites the range is longer, as their footer has no fixed length, and may start a frame earlier.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the message is non-framed. [`ErrorKind::Truncated`] if no message with this
    /// header has that length.
    pub fn end_range(&self, message_len: u64) -> Result<Range<u64>> {
        Ok(End::new(self, message_len)?.range)
    }

    /// Verifies the end of the message, and returns a decryptor of the ranges that the caller fetches, for instance
    /// from an object store. `end` is the range of the message that [`end_range`](Self::end_range) names for this
    /// `message_len`.
    ///
    /// The final frame authenticates its number, and with it the length of the message. So a truncated message is
    /// refused here, before anything of it is decrypted.
    ///
    /// [`seekable`](Self::seekable) and, with the feature `tokio`, `seekable_async` fetch what they need themselves.
    ///
    /// ```
    /// use manila::{AlgorithmSuite, Client, EncryptionContext, UnverifiedHeader};
    /// # use manila::keyring::RawAesKeyring;
    ///
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let client = Client::builder(keyring).suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).build()?;
    /// let object = client.encrypt(&[7; 100_000], &context)?;
    /// let fetch = |range: std::ops::Range<u64>| &object[range.start as usize..range.end as usize]; // an HTTP request
    ///
    /// let header = UnverifiedHeader::parse(fetch(0..1000))?; // and the object's length is in the response
    /// let decryptor = client.decryptor(header, &context)?;
    /// let end = decryptor.end_range(object.len() as u64)?;
    /// let ranges = decryptor.range_decryptor(object.len() as u64, fetch(end))?;
    ///
    /// let wanted = 50_000..50_010;
    /// let span = ranges.frame_map().frames_of(wanted.clone()).unwrap();
    /// let plaintext = ranges.open_frames(span.first(), fetch(span.ciphertext()))?;
    /// let skipped = (wanted.start - span.plaintext().start) as usize;
    /// assert_eq!(plaintext[skipped..skipped + 10], [7; 10]);
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::PolicyViolation`] if the message is signed, as [`seekable`](Self::seekable) says. The errors of
    /// [`end_range`](Self::end_range). [`ErrorKind::Truncated`], [`ErrorKind::Malformed`] or
    /// [`ErrorKind::AuthenticationFailed`] if the message does not end with its final frame and footer, or `end` is
    /// another range.
    pub fn range_decryptor(self, message_len: u64, end: &[u8]) -> Result<RangeDecryptor> {
        self.check_seekable()?;
        self.range_decryptor_ignoring_signature(message_len, end)
    }

    /// Returns a decryptor like [`range_decryptor`](Self::range_decryptor), but accepts signed messages too, **without
    /// verifying their signature**: see [`seekable_ignoring_signature`](Self::seekable_ignoring_signature).
    ///
    /// # Errors
    /// The same as [`range_decryptor`](Self::range_decryptor), except for signed messages.
    pub fn range_decryptor_ignoring_signature(self, message_len: u64, end: &[u8]) -> Result<RangeDecryptor> {
        End::new(&self, message_len)?.verify(self, end)
    }

    /// Fails if the message is signed.
    pub(super) fn check_seekable(&self) -> Result<()> {
        if !self.header().suite().is_signed() {
            return Ok(());
        }
        let detail = "the message is signed, and its signature can only be verified by reading all of it: write \
                      messages that are read at offsets with AlgorithmSuite::Aes256GcmHkdfSha512CommitKey \
                      (ClientBuilder::suite), convert this one with Client::reencrypt, or give up its signature \
                      with seekable_ignoring_signature";
        Err(Error::new(ErrorKind::PolicyViolation, detail))
    }
}

/// The end of a message of known length: the range to fetch, and the layouts that the message may have.
///
/// Other implementations write signatures of varying length, and nothing before the footer states it. The right length
/// is the one for which the final frame authenticates.
pub(super) struct End {
    range: Range<u64>,
    /// For each length in bytes that the footer may have.
    layouts: Vec<(usize, FrameMap)>,
}

impl End {
    pub(super) fn new(decryptor: &Decryptor, message_len: u64) -> Result<Self> {
        let header = decryptor.header();
        let ContentType::Framed(frame_length) = header.content_type() else {
            let detail = "the message is non-framed and cannot be read at an offset: decrypt all of it";
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        };
        let footers = match header.suite().curve() {
            None => 0..=0,
            Some(curve) => LENGTH_FIELD..=LENGTH_FIELD.saturating_add(curve.longest_signature_len()),
        };
        let header_len = decryptor.header_len() as u64;
        let layouts: Vec<_> = footers
            .filter_map(|footer| {
                Some((footer, FrameMap::of_len(header_len, frame_length, message_len, footer as u64)?))
            })
            .collect();
        let starts = layouts.iter().filter_map(|(_, map)| map.frame_ciphertext(map.frames())).map(|frame| frame.start);
        let start = starts.min().ok_or_else(no_end)?;
        Ok(Self { range: start..message_len, layouts })
    }

    /// Returns the range of the message that [`verify`](Self::verify) needs.
    pub(super) fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Verifies the final frame in the bytes of the range.
    pub(super) fn verify(self, decryptor: Decryptor, end: &[u8]) -> Result<RangeDecryptor> {
        if end.len() as u64 != self.range.end.saturating_sub(self.range.start) {
            return Err(no_end());
        }
        let (header, frames) = decryptor.into_parts();
        let (mut last_error, mut scratch) = (None, Vec::new());
        for (footer_len, map) in self.layouts {
            let (rest, footer) = end.split_at_checked(end.len().saturating_sub(footer_len)).unwrap_or_default();
            if footer_len > 0 && !is_footer(footer) {
                continue;
            }
            let final_len = range_len(&map.frame_ciphertext(map.frames()).unwrap_or_default())?;
            let final_frame =
                rest.len().checked_sub(final_len).and_then(|start| rest.get(start..)).ok_or_else(no_end)?;
            match decrypt_part(&frames, &map, map.frames(), final_frame, 0, &mut [], &mut scratch) {
                Ok(()) => return Ok(RangeDecryptor { header, frames, map }),
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.unwrap_or_else(no_end))
    }
}

/// Returns true if a footer takes exactly these bytes.
fn is_footer(bytes: &[u8]) -> bool {
    matches!(footer::read(bytes), Footer::Signature(signature) if LENGTH_FIELD + signature.len() == bytes.len())
}

/// The verified header, key and length of one message, and the positions of its frames: decrypts ranges of it that the
/// caller fetched.
///
/// Obtain one from [`Decryptor::range_decryptor`], which verifies the length; `open_frames` is a method of this type
/// and not of [`Decryptor`] so that no frame is decrypted before that. It has no source of its own, unlike
/// [`SeekableMessage`](crate::SeekableMessage), and can be shared between threads.
///
/// ```
/// # use manila::{Client, EncryptionContext, ExpectedContext, UnverifiedHeader};
/// # use manila::keyring::RawAesKeyring;
/// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
/// # let client = Client::builder(keyring).unsigned_only(true).build()?;
/// # let object = client.encrypt(&[7; 10_000], &EncryptionContext::empty())?;
/// # let fetch = |range: std::ops::Range<u64>| &object[range.start as usize..range.end as usize];
/// let len = object.len() as u64;
/// let decryptor = client.decryptor(UnverifiedHeader::parse(&object)?, ExpectedContext::any())?;
/// let end = decryptor.end_range(len)?;
/// let ranges = decryptor.range_decryptor(len, fetch(end))?;
/// assert_eq!((ranges.plaintext_len(), ranges.frame_map().frames()), (10_000, 3));
/// # Ok::<(), manila::Error>(())
/// ```
pub struct RangeDecryptor {
    header: Header,
    frames: FrameDecryptor,
    map: FrameMap,
}

impl RangeDecryptor {
    /// Returns the verified header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the length of the plaintext in bytes. It has been verified.
    #[must_use]
    pub fn plaintext_len(&self) -> u64 {
        self.map.plaintext_len()
    }

    /// Returns the positions of the frames. [`FrameMap::frames_of`] names the bytes to fetch for a range of the
    /// plaintext.
    #[must_use]
    pub fn frame_map(&self) -> &FrameMap {
        &self.map
    }

    /// Decrypts whole frames and returns their plaintext. `bytes` are the frames from number `first` on, as many as one
    /// likes: those of a [`FrameSpan`].
    ///
    /// Each frame is verified: its tag, its number, that it is the final one if and only if it is the last of the
    /// message, and its length. That these are the right frames for a range of the plaintext is therefore certain; that
    /// other frames of the message are unchanged is not.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ErrorKind, ExpectedContext, UnverifiedHeader};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// # let client = Client::builder(keyring).unsigned_only(true).build()?;
    /// # let object = client.encrypt(&[7; 10_000], &EncryptionContext::empty())?;
    /// # let fetch = |range: std::ops::Range<u64>| &object[range.start as usize..range.end as usize];
    /// # let len = object.len() as u64;
    /// # let decryptor = client.decryptor(UnverifiedHeader::parse(&object)?, ExpectedContext::any())?;
    /// # let end = decryptor.end_range(len)?;
    /// # let ranges = decryptor.range_decryptor(len, fetch(end))?;
    /// let span = ranges.frame_map().frames_of(4000..5000).unwrap();
    /// let frames = fetch(span.ciphertext());
    /// assert_eq!(ranges.open_frames(span.first(), frames)?, [7; 8192]);
    /// // Elsewhere in the message, the same bytes are refused.
    /// assert_eq!(ranges.open_frames(2, &frames[..4128]).unwrap_err().kind(), ErrorKind::Malformed);
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no frame `first`. [`ErrorKind::Truncated`] if `bytes` ends within a
    /// frame or is empty, [`ErrorKind::TrailingBytes`] if it goes on after the final frame.
    /// [`ErrorKind::AuthenticationFailed`], [`ErrorKind::Malformed`] or [`ErrorKind::Truncated`] if one of the frames
    /// has been modified or stands elsewhere in the message.
    pub fn open_frames(&self, first: u32, bytes: &[u8]) -> Result<Vec<u8>> {
        let span = self.map.span_of_len(first, bytes.len() as u64).ok_or_else(|| self.not_whole(first, bytes.len()))?;
        let piece = Piece { plaintext: span.plaintext(), span };
        let mut plaintext = Vec::new();
        let mut guard = WipeGuard::new(&mut plaintext);
        buffer::resize(guard.buffer(), piece.plaintext.end.saturating_sub(piece.plaintext.start))?;
        self.decrypt(&piece, bytes, guard.buffer(), &mut Vec::new())?;
        guard.keep();
        Ok(plaintext)
    }

    /// Returns the error for bytes that are not whole frames from frame `first` on.
    fn not_whole(&self, first: u32, len: usize) -> Error {
        let Some(frame) = self.map.frame_ciphertext(first) else {
            let detail = format!("there is no frame {first}: the message has frames 1 to {}", self.map.frames());
            return Error::new(ErrorKind::InvalidInput, detail);
        };
        let end = self.map.frame_ciphertext(self.map.frames()).unwrap_or_default().end;
        if frame.start.saturating_add(len as u64) > end {
            return trailing_bytes();
        }
        let detail = format!(
            "{len} bytes are not whole frames from frame {first} on: fetch the range that FrameMap::frames_of names"
        );
        Error::new(ErrorKind::Truncated, detail)
    }

    /// Returns what to fetch first to read `len` bytes of plaintext at `offset`: the frames of as many of them as fit
    /// into `most` bytes of the message, but at least one frame. `None` at the end, or if nothing is wanted.
    pub(super) fn plan(&self, offset: u64, len: u64, most: u64) -> Option<Piece> {
        let end = offset.saturating_add(len).min(self.plaintext_len());
        let span = self.map.frames_of(offset..end)?;
        let more = u32::try_from(most / self.frames.shape().frame_len() as u64).unwrap_or(u32::MAX).saturating_sub(1);
        let span = self.map.span(span.first(), span.last().min(span.first().saturating_add(more)))?;
        Some(Piece { plaintext: offset..end.min(span.plaintext().end), span })
    }

    /// Decrypts a piece from `ciphertext`, the bytes of its span, into `out`, which is as long as the piece's
    /// plaintext. `scratch` is memory for frames of which only a part is wanted.
    pub(super) fn decrypt(
        &self,
        piece: &Piece,
        ciphertext: &[u8],
        out: &mut [u8],
        scratch: &mut Vec<u8>,
    ) -> Result<()> {
        let (mut rest, mut out) = (ciphertext, out);
        for number in piece.span.first()..=piece.span.last() {
            let frame_len = range_len(&self.map.frame_ciphertext(number).unwrap_or_default())?;
            let content = self.map.frame_plaintext(number).unwrap_or_default();
            let (frame, remaining) = rest.split_at_checked(frame_len).ok_or_else(truncated)?;
            let wanted = piece.plaintext.start.max(content.start)..piece.plaintext.end.min(content.end);
            let (space, free) = out.split_at_mut_checked(range_len(&wanted)?).ok_or_else(no_end)?;
            let skipped = range_len(&(content.start..wanted.start))?;
            decrypt_part(&self.frames, &self.map, number, frame, skipped, space, scratch)?;
            (rest, out) = (remaining, free);
        }
        Ok(())
    }
}

/// A range of the plaintext, and the frames that hold it.
pub(super) struct Piece {
    plaintext: Range<u64>,
    span: FrameSpan,
}

impl Piece {
    /// Returns the length of the plaintext.
    pub(super) fn len(&self) -> Result<usize> {
        range_len(&self.plaintext)
    }

    /// Returns the range of the message to fetch.
    pub(super) fn ciphertext(&self) -> Range<u64> {
        self.span.ciphertext()
    }
}

/// Decrypts frame `number`, skips the first `skipped` bytes of its content, and fills `out` with the next ones.
fn decrypt_part(
    frames: &FrameDecryptor,
    map: &FrameMap,
    number: u32,
    frame: &[u8],
    skipped: usize,
    out: &mut [u8],
    scratch: &mut Vec<u8>,
) -> Result<()> {
    let kind = if number == map.frames() { FrameKind::Final } else { FrameKind::Regular };
    let len = range_len(&map.frame_plaintext(number).unwrap_or_default())?;
    let head = match frames.shape().read_head(number, frame)? {
        NextFrame::Head(head) if head.kind == kind && head.content_len == len as u64 => head,
        _ => return Err(no_end()),
    };
    let sealed = frame.get(head.len()..).unwrap_or_default();
    if skipped == 0 && out.len() == len {
        return frames.decrypt_frame(&head, sealed, out);
    }
    buffer::resize(scratch, len as u64)?;
    frames.decrypt_frame(&head, sealed, scratch)?;
    let part = scratch.get(skipped..).and_then(|rest| rest.get(..out.len())).ok_or_else(no_end)?;
    out.copy_from_slice(part);
    Ok(())
}

/// Returns the length of a range as that of a buffer.
pub(super) fn range_len(range: &Range<u64>) -> Result<usize> {
    buffer::check_len(range.end.saturating_sub(range.start))
}

fn no_end() -> Error {
    let detail = "the length of the message does not match its header: part of it is missing, or more bytes follow it";
    Error::new(ErrorKind::Truncated, detail)
}

impl fmt::Debug for RangeDecryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RangeDecryptor").field("header", &self.header).field("map", &self.map).finish_non_exhaustive()
    }
}
