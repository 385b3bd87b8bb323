//! [`Objects`]: encrypted objects in a store.

use std::sync::Arc;

use manila::{Client, Decrypted, EncryptionContext, ExpectedContext, Result, SeekableMessage};
use object_store::path::Path;
use object_store::{GetResult, ObjectStore, ObjectStoreExt, PutResult};

use crate::download::Download;
use crate::error::failed;
use crate::part_size::{self, LONGEST, SHORTEST, USUAL};
use crate::parts::Parts;
use crate::source::ObjectSource;
use crate::upload::Upload;

/// The number of parts under way at once by default.
const PARALLEL: usize = 4;

/// Writes and reads the objects of a store as encrypted messages of a client.
///
/// All calls take keys that are accessed over a network, and need no particular executor, except for uploads of several
/// parts, which need a tokio runtime. Stores for the cloud need one too.
///
/// ```
/// # use manila::keyring::RawAesKeyring;
/// # use manila::{Client, EncryptionContext};
/// use std::sync::Arc;
///
/// use manila_object_store::Objects;
/// use manila_object_store::object_store::{local::LocalFileSystem, path::Path};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let folder = tempfile::tempdir()?;
/// let store = Arc::new(LocalFileSystem::new_with_prefix(folder.path())?);
/// let objects = Objects::new(client, store);
///
/// let (location, context) = (Path::from("acme/note"), EncryptionContext::new([("object", "acme/note")])?);
/// objects.put(&location, b"hello", &context).await?;
/// assert_eq!(objects.get(&location, &context).await?.plaintext, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Objects {
    client: Client,
    store: Arc<dyn ObjectStore>,
    part_size: u64,
    parallel: usize,
}

impl Objects {
    /// Returns the objects of a store, with the default settings.
    #[must_use]
    pub fn new(client: Client, store: Arc<dyn ObjectStore>) -> Self {
        Self { client, store, part_size: USUAL, parallel: PARALLEL }
    }

    /// Sets the length of the parts of an upload in bytes: 8 MiB by default, which is enough for messages of 78 GiB, as
    /// an upload has at most 10,000 parts. Stores take 5 MiB to 5 GiB; other values become the nearest of these.
    #[must_use]
    pub fn part_size(mut self, bytes: u64) -> Self {
        self.part_size = bytes.clamp(SHORTEST, LONGEST);
        self
    }

    /// Sets the maximum number of parts that are uploaded at once: 4 by default. An upload takes memory for as many,
    /// and for one more.
    #[must_use]
    pub fn parallel_parts(mut self, parts: usize) -> Self {
        self.parallel = parts.max(1);
        self
    }

    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Encrypts a plaintext into an object with one request, and replaces the object that is there.
    ///
    /// # Errors
    /// The errors of [`Client::encrypt_async`]; [`ErrorKind::Io`](manila::ErrorKind::Io) if the store fails.
    pub async fn put(&self, location: &Path, plaintext: &[u8], context: &EncryptionContext) -> Result<PutResult> {
        let message = self.client.encrypt_async(plaintext, context).await?;
        self.store.put(location, message.into()).await.map_err(|error| failed("write", location, error))
    }

    /// Fetches an object, and decrypts all of it in memory. Returns nothing until all of it has been verified.
    ///
    /// # Errors
    /// The errors of [`Client::decrypt_async`]; [`ErrorKind::Io`](manila::ErrorKind::Io) if the store fails or there is
    /// no such object.
    pub async fn get(&self, location: &Path, expected: impl Into<ExpectedContext>) -> Result<Decrypted> {
        let answer = self.fetch(location).await?;
        let message = answer.bytes().await.map_err(|error| failed("read", location, error))?;
        self.client.decrypt_async(&message, expected).await
    }

    /// Starts to encrypt a stream into an object, whose length need not be known. It replaces the object that is there
    /// when it is finished.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use manila::keyring::RawAesKeyring;
    /// # use manila::{Client, EncryptionContext};
    /// # use manila_object_store::Objects;
    /// # use manila_object_store::object_store::{memory::InMemory, path::Path};
    /// use tokio::io::AsyncWriteExt;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let objects = Objects::new(client, Arc::new(InMemory::new()));
    /// # let (location, context) = (Path::from("log"), EncryptionContext::new([("object", "log")])?);
    /// let mut upload = objects.upload(&location, &context).await?;
    /// upload.write_all(b"piece by piece").await?;
    /// println!("its ETag is {:?}", upload.finish().await?.e_tag);
    /// # assert_eq!(objects.get(&location, &context).await?.plaintext, b"piece by piece");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Client::encryptor_async`].
    pub async fn upload(&self, location: &Path, context: &EncryptionContext) -> Result<Upload> {
        let encryptor = self.client.encryptor_async(context).await?;
        Ok(Upload::new(encryptor, self.parts(location, self.part_size)?, None))
    }

    /// Starts to encrypt a stream of exactly `plaintext_len` bytes into an object, like [`upload`](Self::upload).
    ///
    /// The length of the message follows from that of the plaintext, so the parts are made as long as they must be for
    /// 10,000 of them to suffice, whatever [`part_size`](Self::part_size) says. A client with a cache of data keys uses
    /// it. A source that ends too early, or does not end in time, is an error: there is no object then.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use manila::keyring::RawAesKeyring;
    /// # use manila::{Client, EncryptionContext};
    /// # use manila_object_store::Objects;
    /// # use manila_object_store::object_store::{memory::InMemory, path::Path};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let objects = Objects::new(client, Arc::new(InMemory::new()));
    /// # let (location, context) = (Path::from("log"), EncryptionContext::new([("object", "log")])?);
    /// let source = [7; 10_000]; // or a `tokio::fs::File`, and the length in its metadata
    /// let mut upload = objects.upload_sized(&location, &context, 10_000).await?;
    /// upload.write_from(&source[..]).await?;
    /// upload.finish().await?;
    /// # assert_eq!(objects.get(&location, &context).await?.plaintext, source);
    /// # Ok::<(), manila::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Client::encryptor_up_to_async`]; [`ErrorKind::LimitExceeded`](manila::ErrorKind::LimitExceeded)
    /// if no upload can be that long.
    pub async fn upload_sized(
        &self,
        location: &Path,
        context: &EncryptionContext,
        plaintext_len: u64,
    ) -> Result<Upload> {
        let encryptor = self.client.encryptor_up_to_async(context, plaintext_len).await?;
        let part_size = part_size::of_message(encryptor.ciphertext_len(plaintext_len)?, self.part_size)?;
        Ok(Upload::new(encryptor, self.parts(location, part_size)?, Some(plaintext_len)))
    }

    /// Starts to fetch an object, and returns its plaintext as a stream.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use manila::keyring::RawAesKeyring;
    /// # use manila::{Client, EncryptionContext};
    /// # use manila_object_store::Objects;
    /// # use manila_object_store::object_store::{memory::InMemory, path::Path};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let objects = Objects::new(client, Arc::new(InMemory::new()));
    /// # let (location, context) = (Path::from("log"), EncryptionContext::new([("object", "log")])?);
    /// # objects.put(&location, b"hello", &context).await?;
    /// let mut download = objects.download(&location, &context).await?;
    /// let mut plaintext = Vec::new(); // or a `tokio::fs::File`
    /// tokio::io::copy_buf(&mut download, &mut plaintext).await?;
    /// assert_eq!(plaintext, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Client::open_async`]; [`ErrorKind::Io`](manila::ErrorKind::Io) if the store fails or there is no
    /// such object.
    pub async fn download(&self, location: &Path, expected: impl Into<ExpectedContext>) -> Result<Download> {
        let expected = expected.into();
        Download::start(&self.client, self.fetch(location).await?, expected).await
    }

    /// Opens an object for reading ranges of its plaintext, as [`Client::open_seekable_async`] says, which fetch only
    /// the frames that they need. [`ObjectSource`] says what happens if the object is changed meanwhile.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use manila::keyring::RawAesKeyring;
    /// # use manila::{Client, EncryptionContext};
    /// # use manila_object_store::Objects;
    /// # use manila_object_store::object_store::{memory::InMemory, path::Path};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    /// # let client = Client::builder(keyring).unsigned_only(true).build()?;
    /// # let objects = Objects::new(client, Arc::new(InMemory::new()));
    /// # let (location, context) = (Path::from("log"), EncryptionContext::new([("object", "log")])?);
    /// # objects.put(&location, &[7; 100_000], &context).await?;
    /// let message = objects.open(&location, &context).await?;
    /// let ranges = message.read_ranges_async(&[10..20, 90_000..90_010]).await?; // fetched at once
    /// assert_eq!(ranges, [[7; 10], [7; 10]]);
    /// # Ok::<(), manila::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Client::open_seekable_async`]; [`ErrorKind::Io`](manila::ErrorKind::Io) if the store fails or
    /// there is no such object.
    pub async fn open(
        &self,
        location: &Path,
        expected: impl Into<ExpectedContext>,
    ) -> Result<SeekableMessage<ObjectSource>> {
        let expected = expected.into();
        let source = ObjectSource::open(self.store.clone(), location).await?;
        self.client.open_seekable_async(source, expected).await
    }

    async fn fetch(&self, location: &Path) -> Result<GetResult> {
        self.store.get(location).await.map_err(|error| failed("read", location, error))
    }

    fn parts(&self, location: &Path, part_size: u64) -> Result<Parts> {
        Parts::new(self.store.clone(), location.clone(), part_size, self.parallel)
    }
}
