//! Reading a sealed message at any offset.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::ops::{Range, RangeInclusive};
use std::sync::{Mutex, PoisonError};

use manila_core::{Error, ErrorKind, Result};

use crate::buffer;
use crate::decrypt::Decryptor;
use crate::decrypt::frames::FrameDecryptor;
use crate::message::footer::{self, Footer, LENGTH_FIELD};
use crate::message::frame::{FrameKind, NextFrame};
use crate::message::frame_map::FrameMap;
use crate::message::header::{ContentType, Header};
use crate::message::truncated;
use crate::stream::source::{ReadAt, read_fully_at};
use crate::stream::{BATCH, frames_in_batch};

impl Decryptor {
    /// Opens the message at any offset: `message` is all of it, from the first byte of its header on.
    ///
    /// The final frame is verified first, and with it the length, which is read once: a message that is cut is
    /// refused here, and one that shrinks later when its missing bytes are asked for. A frame is verified each time
    /// it is read; those that nobody reads are not.
    ///
    /// ```
    /// use manila::{Client, EncryptionContext, ExpectedContext, UnverifiedHeader};
    /// use manila::keyring::RawAesKeyring;
    ///
    /// # let keyring = RawAesKeyring::new("example", "key-1", &[0; 32])?;
    /// let client = Client::builder(keyring).unsigned_only(true).build()?;
    /// # let message = client.encrypt(b"any place will do", &EncryptionContext::empty())?;
    /// let header = client.read_header(message.as_slice())?; // or `BufReader::new(&file)`
    /// let sealed = client.decryptor(header, ExpectedContext::any())?.seekable(message)?; // or `file`
    /// let mut buf = [0; 5];
    /// assert_eq!(sealed.read_at(4, &mut buf)?, 5);
    /// assert_eq!(&buf, b"place");
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::PolicyViolation`] if the message is signed: what a signature vouches for can only be known once
    /// all of it was read (but see [`seekable_ignoring_signature`](Self::seekable_ignoring_signature)).
    /// [`ErrorKind::InvalidInput`] if it is not framed. [`ErrorKind::Truncated`], [`ErrorKind::Malformed`] or
    /// [`ErrorKind::AuthenticationFailed`] if no message of this header ends where this one does, and
    /// [`ErrorKind::Io`] if reading fails.
    pub fn seekable<R: ReadAt>(self, message: R) -> Result<SeekableMessage<R>> {
        if self.header().suite().is_signed() {
            let detail = "the message is signed, and its signature can only be verified by reading all of it: read it \
                          from its start, or give up the signature with seekable_ignoring_signature";
            return Err(Error::new(ErrorKind::PolicyViolation, detail));
        }
        SeekableMessage::open(self, message)
    }

    /// As [`seekable`](Self::seekable), of signed messages too, **whose signature is not looked at**.
    ///
    /// A frame is still verified by its tag, under a key that everyone has who may read the message. What is given up
    /// is what signing adds: that nobody who may only read the message can have written it.
    ///
    /// # Errors
    /// As [`seekable`](Self::seekable), but for signed messages.
    pub fn seekable_ignoring_signature<R: ReadAt>(self, message: R) -> Result<SeekableMessage<R>> {
        SeekableMessage::open(self, message)
    }
}

/// A sealed message that is read at any offset, opening only the frames that are asked for.
///
/// Made by [`Decryptor::seekable`]. It can be shared between threads, all reading at once.
pub struct SeekableMessage<R> {
    header: Header,
    opener: FrameDecryptor,
    map: FrameMap,
    /// Memory for frames that are read in part, kept for the next reader.
    spare: Mutex<Vec<Vec<u8>>>,
    message: R,
}

impl<R: ReadAt> SeekableMessage<R> {
    fn open(decryptor: Decryptor, message: R) -> Result<Self> {
        let header_len = decryptor.header_len() as u64;
        let (header, opener) = decryptor.into_parts();
        let ContentType::Framed(frame_length) = header.content_type() else {
            let detail = "the message is not framed, so that there is nothing to seek in: decrypt it as a whole";
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        };
        let len = message.size()?;
        let mut refused = None;
        for footer_len in possible_footers(&header, &message, len)? {
            let Some(map) = FrameMap::of_len(header_len, frame_length, len, footer_len) else {
                continue;
            };
            match verify_end(&opener, &message, &map) {
                Ok(()) => return Ok(Self { header, opener, map, spare: Mutex::default(), message }),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(no_end))
    }

    /// The verified header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Length of the plaintext in bytes, verified.
    pub fn plaintext_len(&self) -> u64 {
        self.map.plaintext_len()
    }

    /// Where the frames lie.
    pub fn frame_map(&self) -> &FrameMap {
        &self.map
    }

    /// What is read from.
    pub fn get_ref(&self) -> &R {
        &self.message
    }

    /// Reads plaintext from `offset` on until `buf` is full or the plaintext ends, and returns how many bytes: fewer
    /// than asked for only at the end, 0 behind it.
    ///
    /// The bytes of the frames that hold them are fetched in pieces of about 64 KiB, or of one frame if that is longer.
    ///
    /// # Errors
    /// [`ErrorKind::AuthenticationFailed`], [`ErrorKind::Malformed`] or [`ErrorKind::Truncated`] if one of the frames
    /// was changed since it was written, and [`ErrorKind::Io`] if reading fails. What `buf` holds then is of no
    /// meaning.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut spare = self.lock_spare().pop().unwrap_or_default();
        let mut filled = 0_usize;
        let read = loop {
            let at = offset.saturating_add(filled as u64);
            match self.read_frames_at(at, buf.get_mut(filled..).unwrap_or_default(), &mut spare) {
                Ok(0) => break Ok(filled),
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) => break Err(error),
            }
        };
        self.lock_spare().push(spare);
        read
    }

    /// A reader that starts at the plaintext's first byte and can be moved about. Any number of them can be in use.
    pub fn cursor(&self) -> MessageCursor<'_, R> {
        MessageCursor { file: self, position: 0, held: Vec::new(), start: 0 }
    }

    /// Reads from the first few frames that hold what is asked for.
    fn read_frames_at(&self, offset: u64, buf: &mut [u8], sealed: &mut Vec<u8>) -> Result<usize> {
        let end = offset.saturating_add(buf.len() as u64).min(self.plaintext_len());
        let (Some(first), true) = (self.map.frame_at(offset), offset < end) else {
            return Ok(0);
        };
        let most = frames_in_batch(1, self.opener.shape().frame_len());
        let last = first.saturating_add(u32::try_from(most).unwrap_or(u32::MAX).saturating_sub(1));
        let last = self.map.frame_at(end.saturating_sub(1)).map_or(first, |end| end.min(last));
        fetch(&self.message, &self.map, first..=last, sealed)?;
        let (mut rest, mut out, mut filled) = (sealed.as_mut_slice(), buf, 0_usize);
        for number in first..=last {
            let frame_len = length(&self.map.frame_ciphertext(number).unwrap_or_default())?;
            let content = self.map.frame_plaintext(number).unwrap_or_default();
            let (frame, behind) = rest.split_at_mut_checked(frame_len).ok_or_else(no_end)?;
            let wanted = offset.max(content.start)..end.min(content.end);
            let (space, free) = out.split_at_mut_checked(length(&wanted)?).ok_or_else(no_end)?;
            let skipped = length(&(content.start..wanted.start))?;
            open_part(&self.opener, &self.map, number, frame, skipped, space)?;
            filled = filled.saturating_add(space.len());
            (rest, out) = (behind, free);
        }
        Ok(filled)
    }

    fn lock_spare(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lengths in bytes that the footer may have. Signatures vary in length, and nothing before them tells it: of these the
/// right one is that before which the final frame ends, and authenticates.
fn possible_footers(header: &Header, message: &impl ReadAt, len: u64) -> Result<Vec<u64>> {
    let Some(curve) = header.suite().curve() else {
        return Ok(vec![0]);
    };
    let mut tail = vec![0; LENGTH_FIELD.saturating_add(curve.longest_signature_len())];
    let start = len.checked_sub(tail.len() as u64).ok_or_else(no_end)?;
    if read_fully_at(message, start, &mut tail)? < tail.len() {
        return Err(truncated());
    }
    let footers = (LENGTH_FIELD..=tail.len()).filter(|footer_len| {
        let footer = tail.len().checked_sub(*footer_len).and_then(|start| tail.get(start..)).unwrap_or_default();
        matches!(footer::read(footer), Footer::Signature(signature) if LENGTH_FIELD + signature.len() == *footer_len)
    });
    Ok(footers.map(|footer_len| footer_len as u64).collect())
}

/// Verifies the frame that must be the last one.
fn verify_end(opener: &FrameDecryptor, message: &impl ReadAt, map: &FrameMap) -> Result<()> {
    let mut sealed = Vec::new();
    fetch(message, map, map.frames()..=map.frames(), &mut sealed)?;
    open_part(opener, map, map.frames(), &mut sealed, 0, &mut [])
}

/// Reads frames as they stand in the message.
fn fetch(message: &impl ReadAt, map: &FrameMap, frames: RangeInclusive<u32>, sealed: &mut Vec<u8>) -> Result<()> {
    let start = map.frame_ciphertext(*frames.start()).map_or(0, |range| range.start);
    let end = map.frame_ciphertext(*frames.end()).map_or(start, |range| range.end);
    buffer::resize(sealed, end.saturating_sub(start))?;
    if read_fully_at(message, start, sealed)? < sealed.len() { Err(truncated()) } else { Ok(()) }
}

/// Opens frame `number`, and copies what `out` has room for of its content behind the first `skipped` bytes.
fn open_part(
    opener: &FrameDecryptor,
    map: &FrameMap,
    number: u32,
    frame: &mut [u8],
    skipped: usize,
    out: &mut [u8],
) -> Result<()> {
    let kind = if number == map.frames() { FrameKind::Final } else { FrameKind::Regular };
    let len = length(&map.frame_plaintext(number).unwrap_or_default())?;
    let head = match opener.shape().read_head(number, frame)? {
        NextFrame::Head(head) if head.kind == kind && head.content_len == len as u64 => head,
        _ => return Err(no_end()),
    };
    let sealed = frame.get_mut(head.len()..).unwrap_or_default();
    if skipped == 0 && out.len() == len {
        return opener.decrypt_frame(&head, sealed, out);
    }
    opener.decrypt_frame_in_place(&head, sealed)?;
    let part = sealed.get(skipped..).and_then(|rest| rest.get(..out.len())).ok_or_else(no_end)?;
    out.copy_from_slice(part);
    Ok(())
}

fn length(range: &Range<u64>) -> Result<usize> {
    buffer::check_len(range.end.saturating_sub(range.start))
}

fn no_end() -> Error {
    let detail = "the message does not end where one of its header can: part of it is missing, or more follows it";
    Error::new(ErrorKind::Truncated, detail)
}

impl<R: ReadAt> ReadAt for SeekableMessage<R> {
    fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_at(offset, buf)?)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.plaintext_len())
    }
}

impl<R> fmt::Debug for SeekableMessage<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeekableMessage").field("header", &self.header).field("map", &self.map).finish_non_exhaustive()
    }
}

/// The plaintext of a [`SeekableMessage`] as a stream that can be moved about.
///
/// It holds the frames around its place, about 64 KiB of them or one if that is longer, so that small reads one after
/// the other open each frame once.
#[must_use = "a cursor does nothing until read"]
pub struct MessageCursor<'a, R> {
    file: &'a SeekableMessage<R>,
    position: u64,
    /// Plaintext from `start` on.
    held: Vec<u8>,
    start: u64,
}

impl<R: ReadAt> MessageCursor<'_, R> {
    /// What is held from the position on.
    fn at_hand(&self) -> &[u8] {
        let skipped = self.position.checked_sub(self.start).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| self.held.get(skipped..)).unwrap_or_default()
    }

    fn hold(&mut self) -> Result<()> {
        let map = self.file.frame_map();
        let Some(content) = map.frame_at(self.position).and_then(|number| map.frame_plaintext(number)) else {
            return Ok(());
        };
        buffer::resize(&mut self.held, content.end.saturating_sub(content.start).max(BATCH as u64))?;
        match self.file.read_at(content.start, &mut self.held) {
            Ok(count) => self.held.truncate(count),
            Err(error) => {
                self.held.clear();
                return Err(error);
            }
        }
        self.start = content.start;
        Ok(())
    }
}

impl<R: ReadAt> Read for MessageCursor<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = if self.at_hand().is_empty() && buf.len() >= BATCH {
            self.file.read_at(self.position, buf)?
        } else {
            self.fill_buf()?.read(buf)?
        };
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

impl<R: ReadAt> BufRead for MessageCursor<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at_hand().is_empty() {
            self.hold()?;
        }
        Ok(self.at_hand())
    }

    fn consume(&mut self, count: usize) {
        self.position = self.position.saturating_add(count.min(self.at_hand().len()) as u64);
    }
}

/// Places behind the end can be sought; nothing is read there.
impl<R: ReadAt> Seek for MessageCursor<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(by) => self.file.plaintext_len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let nowhere = || io::Error::new(io::ErrorKind::InvalidInput, "the place is before the start, or too far");
        self.position = place.ok_or_else(nowhere)?;
        Ok(self.position)
    }
}

impl<R> fmt::Debug for MessageCursor<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageCursor").field("position", &self.position).finish_non_exhaustive()
    }
}
