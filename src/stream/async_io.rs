//! [`EncryptWriter`] and [`DecryptReader`] over tokio's asynchronous streams.
//!
//! Only tokio's traits are used, and no runtime is needed. Encryption and decryption happen on the thread that polls,
//! one batch at a time. On one thread a batch is 64 KiB or one frame and takes some microseconds. With
//! [`threads`](crate::ClientBuilder::threads), the polling thread works alongside the threads that it starts, and waits
//! for them during one batch at most.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use manila_core::Result;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, BufReader, ReadBuf};

use crate::client::Client;
use crate::expected_context::ExpectedContext;
use crate::message::header::{HeaderLimits, UnverifiedHeader};
use crate::message::header_parser::HeaderReader;
use crate::stream::decrypt_engine::Start;
use crate::stream::read::DecryptReader;
use crate::stream::write::EncryptWriter;

/// A blocking view of an asynchronous stream, which returns `WouldBlock` when the stream is pending. Streams are only
/// polled through it, so [`into_poll`] can convert every result back.
struct BlockingView<'a, 'b, T: ?Sized> {
    stream: Pin<&'a mut T>,
    context: &'a mut Context<'b>,
}

impl<'a, 'b, T: Unpin> BlockingView<'a, 'b, T> {
    fn new(stream: &'a mut T, context: &'a mut Context<'b>) -> Self {
        Self { stream: Pin::new(stream), context }
    }
}

impl<T: AsyncRead> Read for BlockingView<'_, '_, T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        from_poll(self.stream.as_mut().poll_read(self.context, &mut buf))?;
        Ok(buf.filled().len())
    }
}

impl<T: AsyncWrite> Write for BlockingView<'_, '_, T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        from_poll(self.stream.as_mut().poll_write(self.context, buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        from_poll(self.stream.as_mut().poll_flush(self.context))
    }
}

impl<T: AsyncWrite> BlockingView<'_, '_, T> {
    fn shut_down(&mut self) -> io::Result<()> {
        from_poll(self.stream.as_mut().poll_shutdown(self.context))
    }
}

/// Converts the result of a poll to that of a blocking call.
fn from_poll<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        // From an asynchronous stream this is a failure: no waker has been registered.
        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(io::Error::other(error)),
        Poll::Ready(done) => done,
    }
}

/// Converts the result of a blocking call to that of a poll.
fn into_poll<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

/// `poll_shutdown` completes the message and shuts down the sink; [`finish_async`](EncryptWriter::finish_async)
/// completes it and returns the sink. One of them must be awaited to its end, or decrypting the message fails.
impl<W: AsyncWrite + Unpin> AsyncWrite for EncryptWriter<W> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, plaintext: &[u8]) -> Poll<io::Result<usize>> {
        let Self { driver, sink } = &mut *self;
        into_poll(driver.write(&mut BlockingView::new(sink, context), plaintext))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { driver, sink } = &mut *self;
        into_poll(driver.flush(&mut BlockingView::new(sink, context)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { driver, sink } = &mut *self;
        let mut sink = BlockingView::new(sink, context);
        ready!(into_poll(driver.finish(&mut sink)))?;
        into_poll(sink.shut_down().map_err(|error| driver.failed.latch_io(error)))
    }
}

impl<W: AsyncWrite + Unpin> EncryptWriter<W> {
    /// Completes the message and returns the sink, like [`finish`](Self::finish), for an asynchronous sink. The sink is
    /// flushed, but not shut down.
    ///
    /// The future must be awaited to its end. If it is dropped before, decrypting the message fails.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// use tokio::io::AsyncWriteExt;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let mut writer = client.encryptor_async(&context).await?.writer(Vec::new()); // or a `tokio::fs::File`
    /// writer.write_all(b"hello").await?;
    /// let message = writer.finish_async().await?;
    /// assert_eq!(client.decrypt_async(&message, &context).await?.plaintext, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`finish`](Self::finish).
    pub async fn finish_async(mut self) -> Result<W> {
        poll_fn(|context| into_poll(self.driver.finish(&mut BlockingView::new(&mut self.sink, context)))).await?;
        Ok(self.sink)
    }
}

/// Each frame is released once its tag has been verified, and the final one once the whole message has been. In signed
/// suites, all frames except the final one are therefore released **before the signature is verified**: see
/// [`Decryptor::reader`](crate::Decryptor::reader), and [`unsigned_only`](crate::ClientBuilder::unsigned_only) to
/// refuse such messages.
impl<R: AsyncRead + Unpin> AsyncRead for DecryptReader<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { driver, body } = &mut *self;
        let count = ready!(into_poll(driver.read(&mut BlockingView::new(body, context), buf.initialize_unfilled())))?;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<R: AsyncRead + Unpin> AsyncBufRead for DecryptReader<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let Self { driver, body } = self.get_mut();
        ready!(into_poll(driver.fill(&mut BlockingView::new(body, context))))?;
        Poll::Ready(Ok(driver.plaintext()))
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        let most = self.driver.plaintext().len();
        self.driver.consume(count.min(most));
    }
}

impl UnverifiedHeader {
    /// Reads a header from the start of an asynchronous stream, like [`read`](Self::read), and not one byte more.
    ///
    /// If the future is dropped before it completes, everything it has read is lost.
    ///
    /// # Errors
    /// The same as [`read`](Self::read).
    pub async fn read_async(reader: impl AsyncRead + Unpin) -> Result<Self> {
        Self::read_within_async(reader, HeaderLimits::default()).await
    }

    /// Reads like [`read_async`](Self::read_async), within other limits.
    ///
    /// # Errors
    /// The same as [`read`](Self::read).
    pub async fn read_within_async(mut reader: impl AsyncRead + Unpin, limits: HeaderLimits) -> Result<Self> {
        let mut header = HeaderReader::new(limits);
        let read = poll_fn(|context| into_poll(header.read(&mut BlockingView::new(&mut reader, context))));
        Ok(read.await?)
    }
}

impl Client {
    /// Opens a message for reading as an asynchronous stream, like [`open`](Self::open), with keys that may be
    /// accessed over a network. The source is buffered.
    ///
    /// If the future is dropped before it completes, everything it has read is lost.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// use tokio::io::AsyncReadExt;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let message = client.encrypt_async(b"piece by piece", &context).await?;
    ///
    /// let source = message.as_slice(); // or a `tokio::fs::File`
    /// let mut reader = client.open_async(source, &context).await?;
    /// let mut plaintext = Vec::new();
    /// reader.read_to_end(&mut plaintext).await?;
    /// assert_eq!(plaintext, b"piece by piece");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`open`](Self::open), except [`ErrorKind::NeedsAsync`](crate::ErrorKind::NeedsAsync).
    pub async fn open_async<R: AsyncRead + Unpin>(
        &self,
        source: R,
        expected: impl Into<ExpectedContext>,
    ) -> Result<DecryptReader<BufReader<R>>> {
        let expected = expected.into().stated()?;
        let mut source = BufReader::new(source);
        let header = self.read_header_async(&mut source).await?;
        let decryptor = self.decryptor_expecting(header, expected).await?;
        Ok(DecryptReader::new(decryptor, source, Start::AfterHeader))
    }

    /// Reads the header at the start of an asynchronous stream, like [`read_header`](Self::read_header).
    ///
    /// If the future is dropped before it completes, everything it has read is lost.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let mut writer = client.encryptor_async(&EncryptionContext::empty()).await?.writer(Vec::new());
    /// writer.write_all(b"piece by piece").await?;
    /// let message = writer.finish_async().await?;
    ///
    /// let mut source = message.as_slice(); // or a `BufReader` of a `tokio::fs::File`
    /// let header = client.read_header_async(&mut source).await?;
    /// let mut reader = client.decryptor_async(header, ExpectedContext::any()).await?.reader(source);
    /// let mut plaintext = Vec::new();
    /// reader.read_to_end(&mut plaintext).await?;
    /// assert_eq!(plaintext, b"piece by piece");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`read_header`](Self::read_header).
    pub async fn read_header_async(&self, reader: impl AsyncRead + Unpin) -> Result<UnverifiedHeader> {
        UnverifiedHeader::read_within_async(reader, self.header_limits()).await
    }
}
