//! [`Download`]: the plaintext of an object as a stream.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use manila::{Client, DecryptReader, ExpectedContext, Header, Result};
use object_store::{GetResult, ObjectMeta};
use tokio::io::{AsyncBufRead, AsyncRead, BufReader, ReadBuf};
use tokio_util::io::StreamReader;

use crate::error::failed;

type Body = BufReader<StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>>;

/// The plaintext of an object as a stream, made by [`Objects::download`](crate::Objects::download).
///
/// Each frame is released once its tag has been verified, and the final one once the whole message has been: an object
/// that is truncated never comes to a regular end. In signed suites, all frames except the final one are released
/// **before the signature is verified**: do nothing irreversible with them until the end has been reached.
///
/// `tokio_util::io::ReaderStream` turns it into a stream of `Bytes`, for the body of an HTTP response.
pub struct Download {
    meta: ObjectMeta,
    reader: DecryptReader<Body>,
}

impl Download {
    pub(crate) async fn start(client: &Client, answer: GetResult, expected: ExpectedContext) -> Result<Self> {
        let meta = answer.meta.clone();
        let location = meta.location.clone();
        let body = answer.into_stream().map_err(move |error| io::Error::from(failed("read", &location, error)));
        let body: BoxStream<'static, _> = Box::pin(body);
        let reader = client.open_async(StreamReader::new(body), expected).await?;
        Ok(Self { meta, reader })
    }

    /// Returns the verified header, which holds the encryption context.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.reader.header()
    }

    /// Returns what the store tells about the object.
    #[must_use]
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
}

impl AsyncRead for Download {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().reader).poll_read(context, buf)
    }
}

impl AsyncBufRead for Download {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().reader).poll_fill_buf(context)
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        AsyncBufRead::consume(Pin::new(&mut self.get_mut().reader), count);
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("meta", &self.meta).finish_non_exhaustive()
    }
}
