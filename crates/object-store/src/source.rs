//! [`ObjectSource`]: an object of which ranges are read.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use manila::{AsyncReadAt, Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, coalesce_ranges};

use crate::error::{changed, failed};

/// Length in bytes of the first read, which also tells the object's length: enough for nearly all headers, and for all
/// of a small object. `manila` reads as much for the header.
const FIRST_READ: u64 = 16 << 10;

/// One version of an object in a store, to be read by ranges.
///
/// [`Objects::open`](crate::Objects::open) makes one. It keeps the first 16 KiB of the object, which were fetched with
/// the first request. Each later request names the `ETag` of the first one's answer, or the version if there is no
/// `ETag`: once the object has been changed, reading fails, and says so. Answers are compared with the first one too,
/// for stores that ignore such conditions.
///
/// ```
/// # use std::sync::Arc;
/// # use manila::keyring::RawAesKeyring;
/// use manila::{Client, ExpectedContext};
/// use manila_object_store::ObjectSource;
/// use manila_object_store::object_store::{ObjectStoreExt, memory::InMemory, path::Path};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
/// # let client = Client::builder(keyring).unsigned_only(true).build()?;
/// # let (store, location) = (Arc::new(InMemory::new()), Path::from("x"));
/// # let message = client.encrypt(b"hello", &manila::EncryptionContext::empty())?;
/// # store.put(&location, message.into()).await?;
/// let source = ObjectSource::open(store, &location).await?;
/// println!("changed at {}", source.meta().last_modified);
/// let message = client.open_seekable_async(source, ExpectedContext::any()).await?;
/// # assert_eq!(message.plaintext_len(), 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ObjectSource {
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
    start: Bytes,
}

impl ObjectSource {
    /// Opens an object: fetches its first 16 KiB, and learns its length and version.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the store fails or there is no such object.
    pub async fn open(store: Arc<dyn ObjectStore>, location: &Path) -> Result<Self> {
        let options = GetOptions::new().with_range(Some(0..FIRST_READ));
        match store.get_opts(location, options).await {
            Ok(answer) => {
                let meta = answer.meta.clone();
                let start = answer.bytes().await.map_err(|error| failed("read", location, error))?;
                Ok(Self { store, meta, start })
            }
            // An empty object has no such range.
            Err(error @ object_store::Error::Generic { .. }) => match store.head(location).await {
                Ok(meta) if meta.size == 0 => Ok(Self { store, meta, start: Bytes::new() }),
                _ => Err(failed("read", location, error)),
            },
            Err(error) => Err(failed("read", location, error)),
        }
    }

    /// Returns what the store tells about the object.
    #[must_use]
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    async fn fetch(&self, range: Range<u64>) -> Result<Bytes> {
        let range = range.start..range.end.min(self.meta.size);
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        if end <= self.start.len() {
            return Ok(self.start.slice(start..end));
        }
        let options = self.this_version().with_range(Some(range.clone()));
        let location = &self.meta.location;
        let answer = self.store.get_opts(location, options).await.map_err(|error| match error {
            object_store::Error::Precondition { .. } => changed(location, Some(error)),
            error => failed("read", location, error),
        })?;
        if !self.is_same(&answer.meta) {
            return Err(changed(location, None));
        }
        let bytes = answer.bytes().await.map_err(|error| failed("read", location, error))?;
        if bytes.len() as u64 == range.end - range.start {
            return Ok(bytes);
        }
        let detail = format!(
            "the store returned {} bytes for the range {range:?} of {:?}: try again",
            bytes.len(),
            location.as_ref()
        );
        Err(Error::new(ErrorKind::Io, detail))
    }

    /// Returns the condition that the object is still the one that was opened.
    ///
    /// The version is named only where there is no `ETag`, because reading a version takes another permission of S3
    /// than reading the object. A weak `ETag` never fulfils a condition.
    fn this_version(&self) -> GetOptions {
        match &self.meta.e_tag {
            Some(e_tag) if !e_tag.starts_with("W/") => GetOptions::new().with_if_match(Some(e_tag)),
            _ => GetOptions::new().with_version(self.meta.version.clone()),
        }
    }

    fn is_same(&self, other: &ObjectMeta) -> bool {
        let tag = |meta: &ObjectMeta| meta.e_tag.clone().ok_or(meta.last_modified);
        self.meta.size == other.size && tag(&self.meta) == tag(other)
    }
}

/// Neighbouring and overlapping ranges are fetched with one request, others with several at once.
impl AsyncReadAt for ObjectSource {
    async fn read_range(&self, range: Range<u64>) -> io::Result<Bytes> {
        Ok(self.fetch(range).await?)
    }

    async fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        Ok(coalesce_ranges(ranges, |range| self.fetch(range), 0).await?)
    }

    async fn size(&self) -> io::Result<u64> {
        Ok(self.meta.size)
    }
}
