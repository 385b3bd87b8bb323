//! A store that notes what is asked of it, and fails on demand.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::stream::{BoxStream, StreamExt};
use manila_object_store::object_store::path::Path;
use manila_object_store::object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// A failure on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A request for a whole object.
    Put,
    /// The start of a multipart upload.
    Start,
    /// The part with this index.
    Part(usize),
    /// The end of a multipart upload.
    Complete,
    /// Answers break off after so many bytes, with an error.
    BreaksOff(usize),
    /// Answers end after so many bytes.
    EndsEarly(usize),
}

/// The requests so far.
#[derive(Debug, Default)]
pub struct Seen {
    pub gets: Vec<(GetOptions, u64)>,
    pub puts: usize,
    pub started: usize,
    pub completed: usize,
    pub aborted: usize,
    pub parts: Vec<usize>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    fault: Mutex<Option<Fault>>,
    told: Mutex<Option<ObjectMeta>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

#[derive(Debug)]
pub struct Watched<S> {
    inner: S,
    shared: Arc<Shared>,
    /// Takes `ETag`s out of the answers, and looks at no condition.
    without_tags: bool,
    /// The version in the answers.
    version: Option<&'static str>,
}

impl<S> Watched<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, shared: Arc::default(), without_tags: false, version: None }
    }

    pub fn fail(&self, fault: Option<Fault>) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Answers as a store does that has no `ETag`s, and these versions.
    pub fn without_tags(self, version: Option<&'static str>) -> Self {
        Self { without_tags: true, version, ..self }
    }

    /// Answers as a store does that looks at no condition, and tells the same of whatever object it returns.
    pub fn tell(&self, meta: &ObjectMeta) {
        *self.shared.told.lock().unwrap() = Some(meta.clone());
    }

    /// Returns what has been asked for since the last time.
    pub fn seen(&self) -> Seen {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }

    /// Returns the number of requests for bytes, and of the bytes.
    pub fn fetched(&self) -> (usize, u64) {
        let gets = self.seen().gets;
        (gets.len(), gets.iter().map(|(_, bytes)| bytes).sum())
    }

    pub fn most_under_way(&self) -> usize {
        self.shared.most_under_way.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn check(&self, fault: Fault) -> Result<()> {
        if *self.fault.lock().unwrap() == Some(fault) {
            return Err(Error::Generic { store: "Watched", source: format!("{fault:?} was to fail").into() });
        }
        Ok(())
    }
}

impl<S> fmt::Display for Watched<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Watched<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.shared.seen.lock().unwrap().puts += 1;
        self.shared.check(Fault::Put)?;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.shared.check(Fault::Start)?;
        self.shared.seen.lock().unwrap().started += 1;
        tokio::task::yield_now().await;
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(WatchedUpload { inner, index: 0, shared: self.shared.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut asked = options.clone();
        let told = self.shared.told.lock().unwrap().clone();
        if self.without_tags || told.is_some() {
            asked.if_match = None;
            asked.version = None;
        }
        let answer = self.inner.get_opts(location, asked).await;
        let len = answer.as_ref().map_or(0, |answer| answer.range.end - answer.range.start);
        let bytes = if options.head { 0 } else { len };
        self.shared.seen.lock().unwrap().gets.push((options, bytes));
        let mut answer = answer?;
        if self.without_tags {
            answer.meta.e_tag = None;
            answer.meta.version = self.version.map(str::to_owned);
        }
        answer.meta = told.unwrap_or(answer.meta);
        let fault = *self.shared.fault.lock().unwrap();
        let (at, error) = match fault {
            Some(Fault::BreaksOff(at)) => (at, true),
            Some(Fault::EndsEarly(at)) => (at, false),
            _ => return Ok(answer),
        };
        let (meta, range, attributes) = (answer.meta.clone(), answer.range.clone(), answer.attributes.clone());
        let extensions = answer.extensions.clone();
        let bytes = answer.bytes().await?;
        let mut chunks = vec![Ok(bytes.slice(..at.min(bytes.len())))];
        if error {
            chunks.push(Err(Error::Generic { store: "Watched", source: "the line is dead".into() }));
        }
        let payload = GetResultPayload::Stream(futures_util::stream::iter(chunks).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct WatchedUpload {
    inner: Box<dyn MultipartUpload>,
    index: usize,
    shared: Arc<Shared>,
}

#[async_trait]
impl MultipartUpload for WatchedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (shared, index) = (self.shared.clone(), self.index);
        self.index += 1;
        shared.seen.lock().unwrap().parts.push(data.content_length());
        let part = self.inner.put_part(data);
        async move {
            let now = shared.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            shared.most_under_way.fetch_max(now, Ordering::Relaxed);
            tokio::task::yield_now().await;
            let done = shared.check(Fault::Part(index));
            let done = if done.is_ok() { part.await } else { done };
            shared.under_way.fetch_sub(1, Ordering::Relaxed);
            done
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        tokio::task::yield_now().await;
        self.shared.check(Fault::Complete)?;
        self.shared.seen.lock().unwrap().completed += 1;
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.shared.seen.lock().unwrap().aborted += 1;
        self.inner.abort().await
    }
}

/// Returns the range that a request was for.
pub fn bounds(options: &GetOptions) -> Range<u64> {
    match &options.range {
        Some(GetRange::Bounded(range)) => range.clone(),
        other => panic!("{other:?} does not have two ends"),
    }
}
