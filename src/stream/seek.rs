//! [`SeekableMessage`]: decrypts a message at any offset.

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
    /// Returns the message for reading at any offset. `message` is all of it, from the first byte of its header.
    ///
    /// The final frame is verified first, and with it the length of the message, which is read only once. A truncated
    /// message is refused here; if it is truncated later, reading the missing bytes fails. A frame is verified each
    /// time it is read. Frames that are not read are not verified.
    ///
    /// [`Client::open_seekable`](crate::Client::open_seekable) reads the header as well.
    ///
    /// ```
    /// use manila::{Client, EncryptionContext, ExpectedContext};
    /// use manila::keyring::RawAesKeyring;
    ///
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// let client = Client::builder(keyring).unsigned_only(true).build()?;
    /// # let message = client.encrypt(b"any offset will do", &EncryptionContext::empty())?;
    /// let header = client.read_header(message.as_slice())?; // or `BufReader::new(&file)`
    /// assert!(!header.suite().is_signed());
    /// let seekable = client.decryptor(header, ExpectedContext::any())?.seekable(message)?; // or `file`
    /// let mut buf = [0; 5];
    /// assert_eq!(seekable.read_at(4, &mut buf)?, 5);
    /// assert_eq!(&buf, b"offse");
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::PolicyViolation`] if the message is signed, because a signature can only be verified by reading all
    /// of the message: [`Client::reencrypt`](crate::Client::reencrypt) converts it to a suite that is not signed.
    /// [`ErrorKind::InvalidInput`] if it is non-framed. [`ErrorKind::Truncated`], [`ErrorKind::Malformed`] or
    /// [`ErrorKind::AuthenticationFailed`] if the message does not end with its final frame and footer.
    /// [`ErrorKind::Io`] if reading fails.
    pub fn seekable<R: ReadAt>(self, message: R) -> Result<SeekableMessage<R>> {
        if self.header().suite().is_signed() {
            let detail = "the message is signed, and its signature can only be verified by reading all of it: write \
                          messages that are read at offsets with AlgorithmSuite::Aes256GcmHkdfSha512CommitKey \
                          (ClientBuilder::suite), convert this one with Client::reencrypt, or give up its signature \
                          with seekable_ignoring_signature";
            return Err(Error::new(ErrorKind::PolicyViolation, detail));
        }
        SeekableMessage::open(self, message)
    }

    /// Returns the message for reading at any offset, like [`seekable`](Self::seekable), but accepts signed messages
    /// too, **without verifying their signature**.
    ///
    /// Each frame is still verified with its tag, under a key that everyone who may read the message has. Without the
    /// signature, nothing shows that a message was not written by someone who may only read.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let message = client.encrypt(b"signed", &EncryptionContext::empty())?;
    /// let header = client.read_header(message.as_slice())?;
    /// let decryptor = client.decryptor(header, ExpectedContext::any())?;
    /// let seekable = decryptor.seekable_ignoring_signature(message)?;
    /// assert_eq!(seekable.plaintext_len(), 6);
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`seekable`](Self::seekable), except for signed messages.
    pub fn seekable_ignoring_signature<R: ReadAt>(self, message: R) -> Result<SeekableMessage<R>> {
        SeekableMessage::open(self, message)
    }
}

/// A message whose plaintext can be read at any offset. Only the frames that hold the requested bytes are decrypted.
///
/// Obtain one from [`Client::open_seekable`](crate::Client::open_seekable). It can be shared between threads, which can
/// all read at the same time.
///
/// ```
/// use std::fs::File;
///
/// use manila::{Client, EncryptionContext, ExpectedContext};
/// # use manila::keyring::RawAesKeyring;
///
/// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("message");
/// let client = Client::builder(keyring).unsigned_only(true).build()?;
/// std::fs::write(&path, client.encrypt(&[7; 100_000], &EncryptionContext::empty())?)?;
///
/// let message = client.open_seekable(File::open(&path)?, ExpectedContext::any())?;
/// let mut buf = [0; 10];
/// assert_eq!(message.read_at(50_000, &mut buf)?, 10); // decrypts one frame
/// assert_eq!(buf, [7; 10]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SeekableMessage<R> {
    header: Header,
    frames: FrameDecryptor,
    map: FrameMap,
    /// Buffers for frames of which only a part is requested, kept for the next read.
    spare: Mutex<Vec<Vec<u8>>>,
    message: R,
}

impl<R: ReadAt> SeekableMessage<R> {
    fn open(decryptor: Decryptor, message: R) -> Result<Self> {
        let header_len = decryptor.header_len() as u64;
        let (header, frames) = decryptor.into_parts();
        let ContentType::Framed(frame_length) = header.content_type() else {
            let detail = "the message is non-framed and cannot be read at an offset: decrypt all of it";
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        };
        let len = message.size()?;
        let mut last_error = None;
        for footer_len in possible_footers(&header, &message, len)? {
            let Some(map) = FrameMap::of_len(header_len, frame_length, len, footer_len) else {
                continue;
            };
            match verify_end(&frames, &message, &map) {
                Ok(()) => return Ok(Self { header, frames, map, spare: Mutex::default(), message }),
                Err(error) if error.kind() == ErrorKind::Io => return Err(error),
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.unwrap_or_else(no_end))
    }

    /// Returns the verified header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the length of the plaintext in bytes. It has been verified.
    pub fn plaintext_len(&self) -> u64 {
        self.map.plaintext_len()
    }

    /// Returns the positions of the frames.
    pub fn frame_map(&self) -> &FrameMap {
        &self.map
    }

    /// Returns the source of the message.
    pub fn get_ref(&self) -> &R {
        &self.message
    }

    /// Reads plaintext starting at `offset` until `buf` is full or the plaintext ends, and returns the number of bytes.
    /// It is less than requested only at the end, and 0 past the end.
    ///
    /// Frames are fetched in blocks of about 64 KiB, or one frame at a time if frames are longer.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// # let client = Client::builder(keyring).unsigned_only(true).build()?;
    /// # let message = client.encrypt(b"hello, world", &EncryptionContext::empty())?;
    /// # let seekable = client.open_seekable(message, ExpectedContext::any())?;
    /// let mut buf = [0; 100];
    /// let count = seekable.read_at(7, &mut buf)?;
    /// assert_eq!(&buf[..count], b"world");
    /// assert_eq!(seekable.read_at(1000, &mut buf)?, 0);
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::AuthenticationFailed`], [`ErrorKind::Malformed`] or [`ErrorKind::Truncated`] if one of the frames
    /// has been modified since it was written, and [`ErrorKind::Io`] if reading fails. The contents of `buf` are
    /// unspecified then.
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

    /// Returns a seekable reader, positioned at the first byte of the plaintext. Any number of readers can be in use.
    ///
    /// ```
    /// use std::io::Read;
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    ///
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// # let client = Client::builder(keyring).unsigned_only(true).build()?;
    /// # let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
    /// # let seekable = client.open_seekable(message, ExpectedContext::any())?;
    /// let mut plaintext = String::new();
    /// seekable.cursor().read_to_string(&mut plaintext)?;
    /// assert_eq!(plaintext, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cursor(&self) -> MessageCursor<'_, R> {
        MessageCursor { message: self, position: 0, buffer: Vec::new(), start: 0 }
    }

    /// Reads from the first batch of the frames that hold the requested bytes.
    fn read_frames_at(&self, offset: u64, buf: &mut [u8], ciphertext: &mut Vec<u8>) -> Result<usize> {
        let end = offset.saturating_add(buf.len() as u64).min(self.plaintext_len());
        let (Some(first), true) = (self.map.frame_at(offset), offset < end) else {
            return Ok(0);
        };
        let most = frames_in_batch(1, self.frames.shape().frame_len());
        let last = first.saturating_add(u32::try_from(most).unwrap_or(u32::MAX).saturating_sub(1));
        let last = self.map.frame_at(end.saturating_sub(1)).map_or(first, |end| end.min(last));
        fetch(&self.message, &self.map, first..=last, ciphertext)?;
        let (mut rest, mut out, mut filled) = (ciphertext.as_mut_slice(), buf, 0_usize);
        for number in first..=last {
            let frame_len = length(&self.map.frame_ciphertext(number).unwrap_or_default())?;
            let content = self.map.frame_plaintext(number).unwrap_or_default();
            let (frame, remaining) = rest.split_at_mut_checked(frame_len).ok_or_else(no_end)?;
            let wanted = offset.max(content.start)..end.min(content.end);
            let (space, free) = out.split_at_mut_checked(length(&wanted)?).ok_or_else(no_end)?;
            let skipped = length(&(content.start..wanted.start))?;
            decrypt_part(&self.frames, &self.map, number, frame, skipped, space)?;
            filled = filled.saturating_add(space.len());
            (rest, out) = (remaining, free);
        }
        Ok(filled)
    }

    fn lock_spare(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the lengths in bytes that the footer may have. Other implementations write signatures of varying length, and
/// nothing before the footer states it. The right length is the one for which the final frame authenticates.
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

/// Verifies the frame that must be the final one.
fn verify_end(frames: &FrameDecryptor, message: &impl ReadAt, map: &FrameMap) -> Result<()> {
    let mut ciphertext = Vec::new();
    fetch(message, map, map.frames()..=map.frames(), &mut ciphertext)?;
    decrypt_part(frames, map, map.frames(), &mut ciphertext, 0, &mut [])
}

/// Reads encrypted frames from the source.
fn fetch(message: &impl ReadAt, map: &FrameMap, frames: RangeInclusive<u32>, ciphertext: &mut Vec<u8>) -> Result<()> {
    let start = map.frame_ciphertext(*frames.start()).map_or(0, |range| range.start);
    let end = map.frame_ciphertext(*frames.end()).map_or(start, |range| range.end);
    buffer::resize(ciphertext, end.saturating_sub(start))?;
    if read_fully_at(message, start, ciphertext)? < ciphertext.len() { Err(truncated()) } else { Ok(()) }
}

/// Decrypts frame `number`, skips the first `skipped` bytes of its content, and fills `out` with the next ones.
fn decrypt_part(
    frames: &FrameDecryptor,
    map: &FrameMap,
    number: u32,
    frame: &mut [u8],
    skipped: usize,
    out: &mut [u8],
) -> Result<()> {
    let kind = if number == map.frames() { FrameKind::Final } else { FrameKind::Regular };
    let len = length(&map.frame_plaintext(number).unwrap_or_default())?;
    let head = match frames.shape().read_head(number, frame)? {
        NextFrame::Head(head) if head.kind == kind && head.content_len == len as u64 => head,
        _ => return Err(no_end()),
    };
    let sealed = frame.get_mut(head.len()..).unwrap_or_default();
    if skipped == 0 && out.len() == len {
        return frames.decrypt_frame(&head, sealed, out);
    }
    frames.decrypt_frame_in_place(&head, sealed)?;
    let part = sealed.get(skipped..).and_then(|rest| rest.get(..out.len())).ok_or_else(no_end)?;
    out.copy_from_slice(part);
    Ok(())
}

/// Returns the length of a range as that of a buffer.
fn length(range: &Range<u64>) -> Result<usize> {
    buffer::check_len(range.end.saturating_sub(range.start))
}

fn no_end() -> Error {
    let detail = "the length of the message does not match its header: part of it is missing, or more bytes follow it";
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

/// Reads the plaintext of a [`SeekableMessage`] as a seekable stream.
///
/// It buffers the frames at its position, about 64 KiB of them or one frame if that is longer, so that consecutive
/// small reads decrypt each frame only once.
///
/// ```
/// use std::io::{Read, Seek, SeekFrom};
/// # use manila::{Client, EncryptionContext, ExpectedContext};
/// # use manila::keyring::RawAesKeyring;
///
/// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
/// # let client = Client::builder(keyring).unsigned_only(true).build()?;
/// # let message = client.encrypt(b"hello, world", &EncryptionContext::empty())?;
/// # let seekable = client.open_seekable(message, ExpectedContext::any())?;
/// let mut cursor = seekable.cursor();
/// cursor.seek(SeekFrom::End(-5))?;
/// let mut word = String::new();
/// cursor.read_to_string(&mut word)?;
/// assert_eq!(word, "world");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a cursor does nothing until read"]
pub struct MessageCursor<'a, R> {
    message: &'a SeekableMessage<R>,
    position: u64,
    /// Plaintext that starts at offset `start`.
    buffer: Vec<u8>,
    start: u64,
}

impl<R: ReadAt> MessageCursor<'_, R> {
    /// Returns the buffered plaintext from the position on.
    fn buffered(&self) -> &[u8] {
        let skipped = self.position.checked_sub(self.start).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| self.buffer.get(skipped..)).unwrap_or_default()
    }

    /// Fills the buffer with the frames at the position.
    fn fill(&mut self) -> Result<()> {
        let map = self.message.frame_map();
        let Some(content) = map.frame_at(self.position).and_then(|number| map.frame_plaintext(number)) else {
            return Ok(());
        };
        buffer::resize(&mut self.buffer, content.end.saturating_sub(content.start).max(BATCH as u64))?;
        match self.message.read_at(content.start, &mut self.buffer) {
            Ok(count) => self.buffer.truncate(count),
            Err(error) => {
                self.buffer.clear();
                return Err(error);
            }
        }
        self.start = content.start;
        Ok(())
    }
}

impl<R: ReadAt> Read for MessageCursor<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = if self.buffered().is_empty() && buf.len() >= BATCH {
            self.message.read_at(self.position, buf)?
        } else {
            self.fill_buf()?.read(buf)?
        };
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

impl<R: ReadAt> BufRead for MessageCursor<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.buffered().is_empty() {
            self.fill()?;
        }
        Ok(self.buffered())
    }

    fn consume(&mut self, count: usize) {
        self.position = self.position.saturating_add(count.min(self.buffered().len()) as u64);
    }
}

/// Seeking past the end is allowed. Reads there return 0 bytes.
impl<R: ReadAt> Seek for MessageCursor<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(by) => self.message.plaintext_len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let invalid = || {
            io::Error::new(io::ErrorKind::InvalidInput, "cannot seek to a position that is negative or over 2^64 - 1")
        };
        self.position = position.ok_or_else(invalid)?;
        Ok(self.position)
    }
}

impl<R> fmt::Debug for MessageCursor<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageCursor").field("position", &self.position).finish_non_exhaustive()
    }
}
