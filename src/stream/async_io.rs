//! The streams of this crate over those of tokio.
//!
//! Only the traits are tokio's: no runtime is asked for. Sealing and opening are done where the future is polled, one
//! batch at a time: 64 KiB or a frame on one thread, some microseconds; with [`threads`](crate::ClientBuilder::threads)
//! the polling thread works along with those that it starts, and waits for them for one batch at most.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use manila_core::Result;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::client::Client;
use crate::message::header::{HeaderLimits, UnverifiedHeader};
use crate::message::header_parser::HeaderReader;
use crate::stream::read::DecryptReader;
use crate::stream::write::EncryptWriter;

/// An asynchronous stream with the face of a blocking one, which answers `WouldBlock` where it waits. Streams are
/// polled through it alone, so that each of their answers is one that [`polled`] can turn back.
struct Polled<'a, 'b, T: ?Sized> {
    stream: Pin<&'a mut T>,
    context: &'a mut Context<'b>,
}

impl<'a, 'b, T: Unpin> Polled<'a, 'b, T> {
    fn new(stream: &'a mut T, context: &'a mut Context<'b>) -> Self {
        Self { stream: Pin::new(stream), context }
    }
}

impl<T: AsyncRead> Read for Polled<'_, '_, T> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(buf);
        blocking(self.stream.as_mut().poll_read(self.context, &mut buf))?;
        Ok(buf.filled().len())
    }
}

impl<T: AsyncWrite> Write for Polled<'_, '_, T> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        blocking(self.stream.as_mut().poll_write(self.context, buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        blocking(self.stream.as_mut().poll_flush(self.context))
    }
}

impl<T: AsyncWrite> Polled<'_, '_, T> {
    fn shut_down(&mut self) -> io::Result<()> {
        blocking(self.stream.as_mut().poll_shutdown(self.context))
    }
}

fn blocking<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        // From an asynchronous stream that is a failure: nobody would be woken.
        Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(io::Error::other(error)),
        Poll::Ready(done) => done,
    }
}

fn polled<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        done => Poll::Ready(done),
    }
}

/// `poll_shutdown` completes the message and shuts the sink down; [`finish_async`](EncryptWriter::finish_async)
/// completes it and gives the sink back. One of them must be awaited: without it the message never opens.
impl<W: AsyncWrite + Unpin> AsyncWrite for EncryptWriter<W> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, plaintext: &[u8]) -> Poll<io::Result<usize>> {
        let Self { pump, sink } = &mut *self;
        polled(pump.write(&mut Polled::new(sink, context), plaintext))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { pump, sink } = &mut *self;
        polled(pump.flush(&mut Polled::new(sink, context)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { pump, sink } = &mut *self;
        let mut sink = Polled::new(sink, context);
        ready!(polled(pump.finish(&mut sink)))?;
        polled(sink.shut_down().map_err(|error| pump.failed.of_stream(error)))
    }
}

impl<W: AsyncWrite + Unpin> EncryptWriter<W> {
    /// As [`finish`](Self::finish), for an asynchronous sink, which is flushed and not shut down.
    ///
    /// Once polled it must be awaited to its end: dropped before, it leaves a message that never opens.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub async fn finish_async(mut self) -> Result<W> {
        poll_fn(|context| polled(self.pump.finish(&mut Polled::new(&mut self.sink, context)))).await?;
        Ok(self.sink)
    }
}

/// Each frame is released once its tag has verified, the last one once the whole message has. In signed suites the
/// frames before the last are therefore released **before the signature is known**; see
/// [`Decryptor::reader`](crate::Decryptor::reader), and [`unsigned_only`](crate::ClientBuilder::unsigned_only) to
/// refuse such messages.
impl<R: AsyncRead + Unpin> AsyncRead for DecryptReader<R> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { pump, body } = &mut *self;
        let count = ready!(polled(pump.read(&mut Polled::new(body, context), buf.initialize_unfilled())))?;
        buf.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<R: AsyncRead + Unpin> AsyncBufRead for DecryptReader<R> {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let Self { pump, body } = self.get_mut();
        ready!(polled(pump.fill(&mut Polled::new(body, context))))?;
        Poll::Ready(Ok(pump.plaintext()))
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        let most = self.pump.plaintext().len();
        self.pump.taken(count.min(most));
    }
}

impl UnverifiedHeader {
    /// As [`read`](Self::read), from an asynchronous stream, of which it takes the header and not a byte more.
    ///
    /// If the future is dropped before its end, what it has read is lost.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_async(reader: impl AsyncRead + Unpin) -> Result<Self> {
        Self::read_within_async(reader, HeaderLimits::default()).await
    }

    /// As [`read_async`](Self::read_async), under other limits.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn read_within_async(mut reader: impl AsyncRead + Unpin, limits: HeaderLimits) -> Result<Self> {
        let mut header = HeaderReader::new(limits);
        let read = poll_fn(|context| polled(header.read(&mut Polled::new(&mut reader, context))));
        Ok(read.await?)
    }
}

impl Client {
    /// As [`read_header`](Self::read_header), from an asynchronous stream.
    ///
    /// If the future is dropped before its end, what it has read is lost.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let client = Client::new(RawAesKeyring::new("example", "key-1", &[0; 32])?);
    /// let mut writer = client.encryptor_async(&EncryptionContext::empty()).await?.writer(Vec::new());
    /// writer.write_all(b"piece by piece").await?;
    /// let sealed = writer.finish_async().await?;
    ///
    /// let mut source = sealed.as_slice(); // or a `BufReader` of a `tokio::fs::File`
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
    /// As [`read_header`](Self::read_header).
    pub async fn read_header_async(&self, reader: impl AsyncRead + Unpin) -> Result<UnverifiedHeader> {
        UnverifiedHeader::read_within_async(reader, self.header_limits()).await
    }
}
