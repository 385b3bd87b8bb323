//! [`Upload`]: encrypts a stream into an object.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use manila::{EncryptWriter, Encryptor, Error, ErrorKind, Result};
use object_store::PutResult;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};

use crate::parts::Parts;

/// Length in bytes of a read of the source.
const READ: usize = 64 << 10;

/// Encrypts everything written to it into an object, which appears when [`finish`](Self::finish) has returned and not
/// before. Made by [`Objects::upload`](crate::Objects::upload).
///
/// A message of less than one part is one request. A longer one is a multipart upload with several parts under way at
/// once; memory is bounded by their number and length. It must be used within a tokio runtime, whose tasks upload the
/// parts.
///
/// After an error of the plaintext's source ([`write_from`](Self::write_from)), of the encryption or of the store, the
/// multipart upload is aborted before the error is returned, and every later call fails with it. If the upload is
/// dropped before it is finished, within a runtime, a task aborts it. A process that dies leaves parts behind, which
/// stores keep and charge for: give a bucket a lifecycle rule that removes incomplete uploads.
///
/// As an `AsyncWrite`, it finishes the object when it is shut down. Flushing does nothing.
#[must_use = "there is no object before `finish` has returned"]
pub struct Upload {
    /// Collects what is to be pushed next.
    writer: EncryptWriter<Vec<u8>>,
    parts: Parts,
    /// The length of the plaintext in bytes, if it was announced.
    announced: Option<u64>,
    written: u64,
}

impl Upload {
    pub(crate) fn new(encryptor: Encryptor, parts: Parts, announced: Option<u64>) -> Self {
        Self { writer: encryptor.writer(Vec::new()), parts, announced, written: 0 }
    }

    /// Encrypts everything that `source` returns until its end, and returns the number of bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the source or the store fails, [`ErrorKind::LimitExceeded`] if the plaintext is longer than
    /// was announced, or the message longer than 10,000 parts. The upload has been aborted then.
    pub async fn write_from(&mut self, source: impl AsyncRead + Unpin) -> Result<u64> {
        let mut source = BufReader::with_capacity(READ, source);
        match tokio::io::copy_buf(&mut source, self).await {
            Ok(count) => Ok(count),
            Err(error) => {
                self.parts.fail(error.into());
                match poll_fn(|context| self.parts.poll_ready(context)).await {
                    Err(error) => Err(error),
                    Ok(()) => {
                        Err(Error::new(ErrorKind::Internal, "the upload has not failed: this is a bug in manila"))
                    }
                }
            }
        }
    }

    /// Completes the object, and returns what the store tells about it.
    ///
    /// If the future is dropped before it completes, the object may appear all the same, complete.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the plaintext is shorter than was announced, [`ErrorKind::Io`] if the store
    /// fails, or the error of an earlier call. There is no object then, and the upload has been aborted.
    pub async fn finish(mut self) -> Result<PutResult> {
        poll_fn(|context| self.poll_finish(context)).await
    }

    /// Gives the upload up, and removes what has been uploaded.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the store fails.
    pub async fn abort(mut self) -> Result<()> {
        self.parts.abort().await
    }

    fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<PutResult>> {
        if !self.parts.is_finishing() {
            ready!(self.parts.poll_ready(context))?;
            match self.complete_message() {
                Ok(rest) => {
                    self.parts.push(rest);
                    self.parts.finish();
                }
                Err(error) => self.parts.fail(error),
            }
        }
        self.parts.poll_complete(context)
    }

    /// Encrypts the final frame, and returns the end of the message.
    fn complete_message(&mut self) -> Result<Vec<u8>> {
        if let Some(announced) = self.announced.filter(|announced| *announced != self.written) {
            let detail = format!("{announced} bytes of plaintext were announced, but {} were written", self.written);
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        self.writer.try_finish()?;
        Ok(std::mem::take(self.writer.get_mut()))
    }
}

impl AsyncWrite for Upload {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, plaintext: &[u8]) -> Poll<io::Result<usize>> {
        let Self { writer, parts, written, .. } = self.get_mut();
        ready!(parts.poll_ready(context))?;
        match writer.write(plaintext) {
            Ok(count) => {
                *written = written.saturating_add(count as u64);
                parts.push(std::mem::take(writer.get_mut()));
                Poll::Ready(Ok(count))
            }
            Err(error) => {
                parts.fail(error.into());
                ready!(parts.poll_ready(context))?;
                Poll::Ready(Ok(0))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_finish(context).map(|result| Ok(result.map(drop)?))
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parts, announced, written, .. } = self;
        let mut out = f.debug_struct("Upload");
        out.field("store", &parts.store).field("location", &parts.location);
        out.field("announced", announced).field("written", written).finish_non_exhaustive()
    }
}
