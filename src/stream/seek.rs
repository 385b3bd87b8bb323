//! [`SeekableMessage`]: decrypts a message at any offset.

use std::fmt;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use manila_core::Result;

use crate::buffer;
use crate::decrypt::Decryptor;
use crate::message::frame_map::FrameMap;
use crate::message::header::Header;
use crate::message::truncated;
use crate::stream::BATCH;
use crate::stream::ranges::{End, RangeDecryptor, range_len};
use crate::stream::source::{ReadAt, read_fully_at};

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
    /// [`ErrorKind::PolicyViolation`](crate::ErrorKind::PolicyViolation) if the message is signed, because a signature
    /// can only be verified by reading all of the message: [`Client::reencrypt`](crate::Client::reencrypt) converts it
    /// to a suite that is not signed. [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is non-framed.
    /// [`ErrorKind::Truncated`](crate::ErrorKind::Truncated), [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) or
    /// [`ErrorKind::AuthenticationFailed`](crate::ErrorKind::AuthenticationFailed) if the message does not end with its
    /// final frame and footer. [`ErrorKind::Io`](crate::ErrorKind::Io) if reading fails.
    pub fn seekable<R: ReadAt>(self, message: R) -> Result<SeekableMessage<R>> {
        self.check_seekable()?;
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
/// all read at the same time. With the feature `tokio`, `Client::open_seekable_async` returns one over a source that is
/// read asynchronously, with the methods `read_at_async` and `read_ranges_async`.
///
/// # Cost
///
/// Opening a message requests its data key, which is one call to the KMS, and reads the header and the final frame. All
/// reads after that, however many there are, call no KMS. So keep an opened message for as long as its ranges are
/// wanted. A program that opens messages anew for each request, as a server does, gives its client a
/// [`CachingCmm`](crate::cmm::CachingCmm): opening a message again, with the same expectation, then takes the data key
/// from the cache, and calls no KMS until the entry expires.
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
    pub(super) ranges: RangeDecryptor,
    /// Buffers for the next read.
    spare: Mutex<Vec<Buffers>>,
    pub(super) message: R,
}

/// The memory of a read.
#[derive(Default)]
struct Buffers {
    ciphertext: Vec<u8>,
    /// The plaintext of a frame of which only a part is requested.
    frame: Vec<u8>,
}

impl<R> SeekableMessage<R> {
    pub(super) fn new(ranges: RangeDecryptor, message: R) -> Self {
        Self { ranges, spare: Mutex::default(), message }
    }

    /// Returns the verified header.
    pub fn header(&self) -> &Header {
        self.ranges.header()
    }

    /// Returns the length of the plaintext in bytes. It has been verified.
    pub fn plaintext_len(&self) -> u64 {
        self.ranges.plaintext_len()
    }

    /// Returns the positions of the frames.
    pub fn frame_map(&self) -> &FrameMap {
        self.ranges.frame_map()
    }

    /// Returns the source of the message.
    pub fn get_ref(&self) -> &R {
        &self.message
    }
}

impl<R: ReadAt> SeekableMessage<R> {
    fn open(decryptor: Decryptor, message: R) -> Result<Self> {
        let end = End::new(&decryptor, message.size()?)?;
        let mut bytes = Vec::new();
        fetch(&message, &end.range(), &mut bytes)?;
        Ok(Self::new(end.verify(decryptor, &bytes)?, message))
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
    /// [`ErrorKind::AuthenticationFailed`](crate::ErrorKind::AuthenticationFailed),
    /// [`ErrorKind::Malformed`](crate::ErrorKind::Malformed) or [`ErrorKind::Truncated`](crate::ErrorKind::Truncated)
    /// if one of the frames has been modified since it was written, and [`ErrorKind::Io`](crate::ErrorKind::Io) if
    /// reading fails. The contents of `buf` are unspecified then.
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
    fn read_frames_at(&self, offset: u64, buf: &mut [u8], buffers: &mut Buffers) -> Result<usize> {
        let Some(piece) = self.ranges.plan(offset, buf.len() as u64, BATCH as u64) else {
            return Ok(0);
        };
        let len = piece.len()?;
        fetch(&self.message, &piece.ciphertext(), &mut buffers.ciphertext)?;
        let out = buf.get_mut(..len).unwrap_or_default();
        self.ranges.decrypt(&piece, &buffers.ciphertext, out, &mut buffers.frame)?;
        Ok(len)
    }

    fn lock_spare(&self) -> std::sync::MutexGuard<'_, Vec<Buffers>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a range of the message from the source.
fn fetch(message: &impl ReadAt, range: &Range<u64>, ciphertext: &mut Vec<u8>) -> Result<()> {
    buffer::resize(ciphertext, range_len(range)? as u64)?;
    if read_fully_at(message, range.start, ciphertext)? < ciphertext.len() { Err(truncated()) } else { Ok(()) }
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
        f.debug_struct("SeekableMessage").field("ranges", &self.ranges).finish_non_exhaustive()
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
