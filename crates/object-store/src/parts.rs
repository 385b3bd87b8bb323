//! The parts of an upload: bytes become one request, or a multipart upload once they are more than one part.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use manila::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayloadMut, PutResult, WriteMultipart};
use tokio::runtime::Handle;

use crate::error::failed;
use crate::part_size::MAX_PARTS;

/// The bytes of one upload, on their way to the store.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) location: Path,
    /// Length in bytes of each part, except for the last.
    part_size: usize,
    /// The maximum number of parts under way at once.
    parallel: usize,
    /// The number of bytes that have been pushed.
    len: u64,
    state: State,
}

enum State {
    /// Not more than one part, and no request yet.
    Collecting(PutPayloadMut),
    Starting(BoxFuture<'static, object_store::Result<Box<dyn MultipartUpload>>>, PutPayloadMut),
    Uploading(WriteMultipart),
    /// The only request of a short message.
    Putting(BoxFuture<'static, object_store::Result<PutResult>>),
    /// The last requests of a multipart upload. If they fail, they abort it.
    Completing(BoxFuture<'static, object_store::Result<PutResult>>),
    Complete(PutResult),
    /// The abort of a multipart upload, because of this error.
    Aborting(BoxFuture<'static, ()>, Error),
    Failed(Error),
}

impl Parts {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, location: Path, part_size: u64, parallel: usize) -> Result<Self> {
        let too_long = |_| Error::new(ErrorKind::LimitExceeded, "a part is longer than this machine can address");
        let part_size = usize::try_from(part_size).map_err(too_long)?;
        let state = State::Collecting(PutPayloadMut::new());
        Ok(Self { store, location, part_size, parallel, len: 0, state })
    }

    /// Waits until more bytes can be pushed. After a failure, aborts the upload first and then returns the error.
    pub(crate) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if Handle::try_current().is_err() {
            let detail = "uploads need a tokio runtime: await them within one";
            return Poll::Ready(Err(Error::new(ErrorKind::InvalidInput, detail)));
        }
        loop {
            match &mut self.state {
                State::Collecting(bytes) if bytes.content_length() < self.part_size => return Poll::Ready(Ok(())),
                State::Collecting(bytes) => {
                    let (store, location) = (self.store.clone(), self.location.clone());
                    let start = async move { store.put_multipart(&location).await };
                    self.state = State::Starting(start.boxed(), std::mem::take(bytes));
                }
                State::Starting(start, bytes) => {
                    self.state = match ready!(start.poll_unpin(context)) {
                        Ok(upload) => {
                            let mut upload = WriteMultipart::new_with_chunk_size(upload, self.part_size);
                            std::mem::take(bytes).freeze().into_iter().for_each(|bytes| upload.put(bytes));
                            State::Uploading(upload)
                        }
                        Err(error) => State::Failed(failed("write", &self.location, error)),
                    };
                }
                State::Uploading(upload) => match ready!(upload.poll_for_capacity(context, self.parallel)) {
                    Err(error) => self.fail(failed("write", &self.location, error)),
                    Ok(()) if self.len > MAX_PARTS.saturating_mul(self.part_size as u64) => {
                        self.fail(too_many_parts(self.part_size));
                    }
                    Ok(()) => return Poll::Ready(Ok(())),
                },
                State::Aborting(abort, error) => {
                    ready!(abort.poll_unpin(context));
                    self.state = State::Failed(error.clone());
                }
                State::Failed(error) => return Poll::Ready(Err(error.clone())),
                State::Putting(_) | State::Completing(_) | State::Complete(_) => {
                    let detail = "the upload is finished: start another one";
                    return Poll::Ready(Err(Error::new(ErrorKind::InvalidInput, detail)));
                }
            }
        }
    }

    /// Adds bytes. [`poll_ready`](Self::poll_ready) must have succeeded since the last call.
    pub(crate) fn push(&mut self, bytes: Vec<u8>) {
        self.len = self.len.saturating_add(bytes.len() as u64);
        match &mut self.state {
            _ if bytes.is_empty() => {}
            State::Collecting(collected) => collected.push(Bytes::from(bytes)),
            State::Uploading(upload) => upload.put(Bytes::from(bytes)),
            _ => {}
        }
    }

    /// Returns true once [`finish`](Self::finish) has been called successfully.
    pub(crate) fn is_finishing(&self) -> bool {
        matches!(self.state, State::Putting(_) | State::Completing(_) | State::Complete(_))
    }

    /// Starts to make the object, which [`poll_complete`](Self::poll_complete) waits for. Does nothing after a failure.
    pub(crate) fn finish(&mut self) {
        self.state = match self.take() {
            State::Collecting(bytes) => {
                let (store, location) = (self.store.clone(), self.location.clone());
                State::Putting(async move { store.put(&location, bytes.freeze()).await }.boxed())
            }
            State::Uploading(upload) => State::Completing(upload.finish().boxed()),
            other => other,
        };
    }

    /// Waits until the object is there.
    pub(crate) fn poll_complete(&mut self, context: &mut Context<'_>) -> Poll<Result<PutResult>> {
        if let State::Putting(end) | State::Completing(end) = &mut self.state {
            self.state = match ready!(end.poll_unpin(context)) {
                Ok(result) => State::Complete(result),
                Err(error) => State::Failed(failed("write", &self.location, error)),
            };
        }
        if let State::Complete(result) = &self.state {
            return Poll::Ready(Ok(result.clone()));
        }
        ready!(self.poll_ready(context))?;
        Poll::Ready(Err(Error::new(ErrorKind::Internal, "the upload is not finished: this is a bug in manila")))
    }

    /// Gives up because of an error: [`poll_ready`](Self::poll_ready) returns it once the upload has been aborted.
    pub(crate) fn fail(&mut self, error: Error) {
        self.state = match self.take() {
            State::Uploading(upload) => State::Aborting(upload.abort().map(drop).boxed(), error),
            State::Starting(start, _) => State::Aborting(abort_started(start).boxed(), error),
            aborting @ State::Aborting(..) => aborting,
            _ => State::Failed(error),
        };
    }

    /// Removes what has been uploaded.
    pub(crate) async fn abort(&mut self) -> Result<()> {
        let aborted = match self.take() {
            State::Uploading(upload) => upload.abort().await,
            State::Starting(start, _) => match start.await {
                Ok(mut upload) => upload.abort().await,
                Err(error) => Err(error),
            },
            State::Aborting(abort, _) => {
                abort.await;
                Ok(())
            }
            State::Putting(_) | State::Completing(_) | State::Complete(_) => {
                let detail = "the upload is finished and cannot be aborted: delete the object";
                return Err(Error::new(ErrorKind::InvalidInput, detail));
            }
            State::Collecting(_) | State::Failed(_) => Ok(()),
        };
        aborted.map_err(|error| failed("abort the upload of", &self.location, error))
    }

    /// Takes the state, and leaves a failed one.
    fn take(&mut self) -> State {
        let error = Error::new(ErrorKind::InvalidInput, "the upload was aborted: start another one");
        std::mem::replace(&mut self.state, State::Failed(error))
    }
}

/// Aborts a multipart upload whose start may not have been answered yet.
async fn abort_started(start: BoxFuture<'static, object_store::Result<Box<dyn MultipartUpload>>>) {
    if let Ok(mut upload) = start.await {
        // There is no one to tell: what is left then, the store's rules for old uploads remove.
        let _ = upload.abort().await;
    }
}

fn too_many_parts(part_size: usize) -> Error {
    let detail = format!(
        "the message is longer than {MAX_PARTS} parts of {part_size} bytes: tell its length with upload_sized, or raise \
         part_size"
    );
    Error::new(ErrorKind::LimitExceeded, detail)
}

/// A future that was dropped, say because its HTTP client hung up, is the usual end of an upload that is not finished:
/// what it left is removed by a task of the runtime, if there still is one.
impl Drop for Parts {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        match self.take() {
            State::Uploading(upload) => drop(runtime.spawn(upload.abort().map(drop))),
            State::Starting(start, _) => drop(runtime.spawn(abort_started(start))),
            State::Aborting(abort, _) => drop(runtime.spawn(abort)),
            // No one knows how far it has come, so it goes on: the object appears whole, or the upload is aborted.
            State::Completing(end) => drop(runtime.spawn(end.map(drop))),
            State::Collecting(_) | State::Putting(_) | State::Complete(_) | State::Failed(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn no_upload_has_more_parts_than_a_store_takes() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (store, location) = (Arc::new(InMemory::new()), Path::from("x"));
            let parts = || Parts::new(store.clone(), location.clone(), 10, 4).unwrap();
            let mut most = parts();
            poll_fn(|context| most.poll_ready(context)).await.unwrap();
            most.push(vec![7; 50_000]);
            poll_fn(|context| most.poll_ready(context)).await.unwrap();
            most.push(vec![7; 50_000]);
            poll_fn(|context| most.poll_ready(context)).await.unwrap();
            most.finish();
            poll_fn(|context| most.poll_complete(context)).await.unwrap();
            assert_eq!(store.head(&location).await.unwrap().size, 100_000);

            let mut more = parts();
            more.push(vec![7; 100_001]);
            let error = poll_fn(|context| more.poll_ready(context)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::LimitExceeded);
            assert!(error.to_string().contains("upload_sized"), "{error}");
        });
    }
}
