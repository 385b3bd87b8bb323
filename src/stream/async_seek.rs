//! [`SeekableMessage`] over [`AsyncReadAt`]: reads at any offset that are awaited.
//!
//! What to fetch and how to decrypt it is the same as for blocking reads ([`ranges`](super::ranges)).

use std::ops::Range;

use manila_core::{ErrorKind, Result};

use crate::buffer::{self, WipeGuard};
use crate::client::Client;
use crate::decrypt::Decryptor;
use crate::expected_context::ExpectedContext;
use crate::message::header::{HeaderLimits, UnverifiedHeader};
use crate::stream::async_source::{AsyncReadAt, fetch, fetch_all};
use crate::stream::ranges::{End, Piece};
use crate::stream::seek::SeekableMessage;

/// Length in bytes of the first read of a header: longer than most of them, which makes it the only one.
const FIRST_READ: u64 = 16 << 10;

/// Length in bytes of the longest read of a source, unless one frame is longer: enough to make the time of a request
/// matter little, and a bound for the memory of long reads.
const LONGEST_READ: u64 = 8 << 20;

impl Client {
    /// Opens a message for reading at any offset, like [`open_seekable`](Self::open_seekable), with an asynchronous
    /// source and keys that may be accessed over a network.
    ///
    /// Two reads of the source: 16 KiB for the header (more if it is longer), and the final frame.
    ///
    /// ```
    /// use manila::{AlgorithmSuite, Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let client = Client::builder(keyring).suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).build()?;
    /// let object = client.encrypt_async(&[7; 100_000], &context).await?; // or any `AsyncReadAt`
    ///
    /// let message = client.open_seekable_async(object, &context).await?;
    /// let mut buf = [0; 10];
    /// assert_eq!(message.read_at_async(50_000, &mut buf).await?, 10); // decrypts one frame
    /// assert_eq!(buf, [7; 10]);
    /// # Ok::<(), manila::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`open_seekable`](Self::open_seekable), except [`ErrorKind::NeedsAsync`].
    pub async fn open_seekable_async<R: AsyncReadAt>(
        &self,
        message: R,
        expected: impl Into<ExpectedContext>,
    ) -> Result<SeekableMessage<R>> {
        let expected = expected.into().stated()?;
        let len = message.size().await?;
        let header = read_header(&message, len, self.header_limits()).await?;
        let decryptor = self.decryptor_expecting(header, expected).await?;
        decryptor.check_seekable()?;
        SeekableMessage::open_async(decryptor, message, len).await
    }
}

impl Decryptor {
    /// Returns the message for reading at any offset, like [`seekable`](Self::seekable), from an asynchronous source.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// # let client = Client::builder(keyring).unsigned_only(true).build()?;
    /// # let message = client.encrypt(b"any offset will do", &EncryptionContext::empty())?;
    /// let header = client.read_header(message.as_slice())?; // look at it here
    /// let decryptor = client.decryptor_async(header, ExpectedContext::any()).await?;
    /// let seekable = decryptor.seekable_async(message).await?; // or any `AsyncReadAt`
    /// let mut buf = [0; 5];
    /// assert_eq!(seekable.read_at_async(4, &mut buf).await?, 5);
    /// assert_eq!(&buf, b"offse");
    /// # Ok::<(), manila::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`seekable`](Self::seekable).
    pub async fn seekable_async<R: AsyncReadAt>(self, message: R) -> Result<SeekableMessage<R>> {
        self.check_seekable()?;
        self.seekable_ignoring_signature_async(message).await
    }

    /// Returns the message for reading at any offset, like [`seekable_async`](Self::seekable_async), but accepts signed
    /// messages too, **without verifying their signature**: see
    /// [`seekable_ignoring_signature`](Self::seekable_ignoring_signature).
    ///
    /// # Errors
    /// The same as [`seekable_async`](Self::seekable_async), except for signed messages.
    pub async fn seekable_ignoring_signature_async<R: AsyncReadAt>(self, message: R) -> Result<SeekableMessage<R>> {
        let len = message.size().await?;
        SeekableMessage::open_async(self, message, len).await
    }
}

/// Reads a header from the start of a source of `len` bytes.
async fn read_header(message: &impl AsyncReadAt, len: u64, limits: HeaderLimits) -> Result<UnverifiedHeader> {
    let (mut bytes, mut end) = (fetch(message, 0..len.min(FIRST_READ)).await?, len.min(FIRST_READ));
    loop {
        match UnverifiedHeader::parse_within(&bytes, limits) {
            // The parser refuses a header as soon as it is over the limit, so this ends there.
            Err(error) if error.kind() == ErrorKind::Truncated && end < len => {}
            done => return done,
        }
        let more = end.saturating_mul(4).min(len);
        bytes = [bytes, fetch(message, end..more).await?].concat().into();
        end = more;
    }
}

impl<R: AsyncReadAt> SeekableMessage<R> {
    async fn open_async(decryptor: Decryptor, message: R, len: u64) -> Result<Self> {
        let end = End::new(&decryptor, len)?;
        let bytes = fetch(&message, end.range()).await?;
        Ok(Self::new(end.verify(decryptor, &bytes)?, message))
    }

    /// Reads plaintext starting at `offset` until `buf` is full or the plaintext ends, and returns the number of bytes,
    /// like [`read_at`](Self::read_at).
    ///
    /// All frames that are needed are fetched with one read of the source, or with several of about 8 MiB, one after
    /// the other. Any number of calls can be under way at once.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// # let client = Client::builder(keyring).unsigned_only(true).build()?;
    /// # let message = client.encrypt(b"hello, world", &EncryptionContext::empty())?;
    /// # let seekable = client.open_seekable_async(message, ExpectedContext::any()).await?;
    /// let mut buf = [0; 100];
    /// let count = seekable.read_at_async(7, &mut buf).await?;
    /// assert_eq!(&buf[..count], b"world");
    /// assert_eq!(seekable.read_at_async(1000, &mut buf).await?, 0);
    /// # Ok::<(), manila::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`read_at`](Self::read_at).
    pub async fn read_at_async(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (mut filled, mut scratch) = (0_usize, Vec::new());
        loop {
            let space = buf.get_mut(filled..).unwrap_or_default();
            let at = offset.saturating_add(filled as u64);
            let Some(piece) = self.ranges.plan(at, space.len() as u64, LONGEST_READ) else {
                return Ok(filled);
            };
            let len = piece.len()?;
            let ciphertext = fetch(&self.message, piece.ciphertext()).await?;
            self.ranges.decrypt(&piece, &ciphertext, space.get_mut(..len).unwrap_or_default(), &mut scratch)?;
            filled = filled.saturating_add(len);
        }
    }

    /// Reads several ranges of the plaintext at once. What is past the end of the plaintext is left out.
    ///
    /// The source gets all ranges that are needed in one call of [`AsyncReadAt::read_ranges`], so it can fetch them
    /// together. They are in memory all at once.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// # let client = Client::builder(keyring).unsigned_only(true).build()?;
    /// # let message = client.encrypt(b"hello, world", &EncryptionContext::empty())?;
    /// # let seekable = client.open_seekable_async(message, ExpectedContext::any()).await?;
    /// assert_eq!(seekable.read_ranges_async(&[0..5, 7..100]).await?, [b"hello", b"world"]);
    /// # Ok::<(), manila::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`read_at`](Self::read_at). Nothing is returned then.
    pub async fn read_ranges_async(&self, ranges: &[Range<u64>]) -> Result<Vec<Vec<u8>>> {
        let plan = |range: &Range<u64>| self.ranges.plan(range.start, range.end.saturating_sub(range.start), u64::MAX);
        let pieces: Vec<_> = ranges.iter().map(plan).collect();
        let wanted: Vec<_> = pieces.iter().flatten().map(Piece::ciphertext).collect();
        let mut fetched = fetch_all(&self.message, &wanted).await?.into_iter();
        let (mut all, mut scratch) = (Vec::with_capacity(ranges.len()), Vec::new());
        for piece in pieces {
            let mut plaintext = Vec::new();
            if let Some(piece) = piece {
                let ciphertext = fetched.next().unwrap_or_default();
                let mut guard = WipeGuard::new(&mut plaintext);
                buffer::resize(guard.buffer(), piece.len()? as u64)?;
                self.ranges.decrypt(&piece, &ciphertext, guard.buffer(), &mut scratch)?;
                guard.keep();
            }
            all.push(plaintext);
        }
        Ok(all)
    }
}
