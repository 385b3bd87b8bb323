//! Files and folders: encrypts, decrypts and re-encrypts one file to another, complete and verified or not at all, and
//! whole folders.
//!
//! ```text
//! fs           Files: the three operations on a file
//! folders      Folders: encrypts and decrypts a folder with everything in it
//! many         Files::reencrypt_all: many files, several at once
//! disk         opening, reading and syncing
//! new_file     NewFile: a file that appears under its name complete, or not at all
//! unfinished   Unfinished: what a program that is interrupted removes
//! ```

mod disk;
mod folders;
mod many;
mod new_file;
mod unfinished;

use std::fs::{File, Metadata};
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use manila_core::internal::crypto::Sha256;
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use crate::client::Client;
use crate::expected_context::ExpectedContext;
use crate::message::header::Header;
use crate::threads::write_behind::write_behind;

pub use folders::{FolderEvent, FolderItem, FolderReport, Folders};
pub use new_file::NewFile;
pub use unfinished::Unfinished;

/// Encrypts, decrypts and re-encrypts files with a client.
///
/// An output appears under its name once all of it has been written, verified and synced to the disk, or not at all:
/// see [`NewFile`]. By default it must not exist, and only the current user can read it.
///
/// If the client has several [threads](crate::ClientBuilder::threads), another one writes the output of a file of more
/// than 8 MiB.
///
/// The streams are blocking ones in the `_async` methods too: these are for keys that are accessed over a network. Run
/// them where blocking is allowed, as in tokio's `spawn_blocking` with a handle.
///
/// ```
/// # use manila::keyring::RawAesKeyring;
/// # use manila::{Client, EncryptionContext};
/// use manila::fs::Files;
///
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let folder = tempfile::tempdir()?;
/// # let path = |name: &str| folder.path().join(name);
/// # std::fs::write(path("report.txt"), "figures")?;
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let files = Files::new(&client);
/// files.encrypt(path("report.txt"), path("report.txt.manila"), &context)?;
/// files.decrypt(path("report.txt.manila"), path("copy.txt"), &context)?;
/// assert_eq!(std::fs::read(path("copy.txt"))?, b"figures");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Files<'a> {
    client: &'a Client,
    replaces: bool,
    keeps_attributes: bool,
    syncs: bool,
    keeps_format: bool,
    unfinished: Unfinished,
    progress: Option<Arc<dyn Fn(u64) + Send + Sync + 'a>>,
    announce: Option<Arc<Announce<'a>>>,
}

/// A function that is told of a temporary file and the output that it is for.
type Announce<'a> = dyn Fn(&Path, &Path) + Send + Sync + 'a;

impl<'a> Files<'a> {
    /// Returns an encryptor and decryptor of files with the default settings.
    #[must_use]
    pub fn new(client: &'a Client) -> Self {
        Self {
            client,
            replaces: false,
            keeps_attributes: false,
            syncs: true,
            keeps_format: false,
            unfinished: Unfinished::new(),
            progress: None,
            announce: None,
        }
    }

    /// Sets whether an existing output is replaced. Off by default. Symbolic links, folders and devices never are.
    #[must_use]
    pub fn replace(mut self, replace: bool) -> Self {
        self.replaces = replace;
        self
    }

    /// Sets whether an output gets the permissions and the time of modification of its input. Off by default: only the
    /// current user can read it.
    ///
    /// A file that is re-encrypted in its place then keeps its owner and its group too, and stays as it is if they
    /// cannot be kept. Access control lists and other extended attributes are lost, and of several hard links only the
    /// one that was named leads to the new file.
    #[must_use]
    pub fn keep_attributes(mut self, keep: bool) -> Self {
        self.keeps_attributes = keep;
        self
    }

    /// Sets whether an output is on the disk before it gets its name. On by default; without it, many small files are
    /// written faster, and a power failure can leave an empty or partial file.
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.syncs = sync;
        self
    }

    /// Sets whether re-encryption keeps the frame length of a file and, as far as the commitment policy of the new
    /// client allows, its suite: a signed file stays signed, and one that does not commit to its key commits from then
    /// on. Off by default: the new client decides both.
    #[must_use]
    pub fn keep_format(mut self, keep: bool) -> Self {
        self.keeps_format = keep;
        self
    }

    /// Lists the outputs that have been started, so that a program that is interrupted can remove them.
    ///
    /// ```
    /// # use manila::keyring::RawAesKeyring;
    /// # use manila::{Client, ExpectedContext};
    /// use manila::fs::{Files, Unfinished};
    ///
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let folder = tempfile::tempdir()?;
    /// # let path = |name: &str| folder.path().join(name);
    /// # std::fs::write(path("report.txt"), "figures")?;
    /// # let context = manila::EncryptionContext::empty();
    /// let unfinished = Unfinished::new(); // a thread that waits for signals has a clone of it
    /// let files = Files::new(&client).list_in(&unfinished);
    /// files.encrypt(path("report.txt"), path("report.txt.manila"), &context)?;
    /// assert_eq!(unfinished.stop(), 1);
    /// assert!(files.decrypt(path("report.txt.manila"), path("copy.txt"), ExpectedContext::any()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn list_in(mut self, unfinished: &Unfinished) -> Self {
        self.unfinished = unfinished.clone();
        self
    }

    /// Calls `announce` with the path of each temporary file before it is created, and with that of the output that it
    /// is for. A process that is killed leaves the temporary file: one that has written down its name can find it.
    #[must_use]
    pub fn on_temporary(mut self, announce: impl Fn(&Path, &Path) + Send + Sync + 'a) -> Self {
        self.announce = Some(Arc::new(announce));
        self
    }

    /// Calls `progress` with the number of input bytes each time some have been read.
    #[must_use]
    pub fn on_progress(mut self, progress: impl Fn(u64) + Send + Sync + 'a) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Encrypts a file. Returns the number of plaintext bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if a file cannot be read or written, the output exists, or a regular file was changed while it
    /// was being read; the errors of [`Client::encrypt`].
    pub fn encrypt(&self, from: impl AsRef<Path>, to: impl AsRef<Path>, context: &EncryptionContext) -> Result<u64> {
        self.client.poll_local(pin!(self.encrypt_async(from, to, context)))
    }

    /// The async version of [`encrypt`](Self::encrypt), for keys that are accessed over a network.
    ///
    /// # Errors
    /// The same as [`encrypt`](Self::encrypt), except [`ErrorKind::NeedsAsync`].
    pub async fn encrypt_async(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        context: &EncryptionContext,
    ) -> Result<u64> {
        let from = from.as_ref();
        let Input { metadata, mut reader } = Input::open(from, self)?;
        let output = self.output(to.as_ref())?;
        let encryptor = self.client.encryptor_async(context).await?;
        let (len, output) = self.write(output, &metadata, |sink| {
            let mut writer = encryptor.writer(sink);
            let len = writer.write_from(&mut reader)?;
            writer.finish()?;
            Ok(len)
        })?;
        // Else the message could hold what was in the file at no time. The times of pipes and devices say nothing.
        if metadata.is_file() && !is_unchanged(from, &metadata) {
            let detail = format!("{from:?} was changed while it was being encrypted: try again");
            return Err(Error::new(ErrorKind::Io, detail));
        }
        self.put_in_place(output, &metadata)?;
        Ok(len)
    }

    /// Decrypts a file. Returns its header, which holds the encryption context.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if a file cannot be read or written, or the output exists; the errors of [`Client::decrypt`].
    pub fn decrypt(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        expected: impl Into<ExpectedContext>,
    ) -> Result<Header> {
        self.client.poll_local(pin!(self.decrypt_async(from, to, expected)))
    }

    /// The async version of [`decrypt`](Self::decrypt), for keys that are accessed over a network.
    ///
    /// # Errors
    /// The same as [`decrypt`](Self::decrypt), except [`ErrorKind::NeedsAsync`].
    pub async fn decrypt_async(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        expected: impl Into<ExpectedContext>,
    ) -> Result<Header> {
        let Input { metadata, reader } = Input::open(from.as_ref(), self)?;
        let reader = self.client.open_blocking(reader, expected.into()).await?;
        let header = reader.header().clone();
        let output = self.output(to.as_ref())?;
        let ((), output) =
            self.write(output, &metadata, |sink| for_each_chunk(reader, |plaintext| sink.write_all(plaintext)))?;
        self.put_in_place(output, &metadata)?;
        Ok(header)
    }

    /// Decrypts a file and encrypts it again with the keys and settings of `new`, as [`Client::reencrypt`] does. `from`
    /// and `to` may be one file, which is then replaced, if [`replace`](Self::replace) is on.
    ///
    /// The new message appears under its name only once it has been decrypted with `new` and its plaintext compared
    /// with the old one's, so the keys of `new` must be able to decrypt. `from` must not change meanwhile.
    ///
    /// # Errors
    /// The errors of [`decrypt`](Self::decrypt) on this client, and of [`encrypt`](Self::encrypt) and
    /// [`decrypt`](Self::decrypt) on `new`; [`ErrorKind::Io`] if `from` was changed meanwhile.
    pub fn reencrypt(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        expected: impl Into<ExpectedContext>,
        new: &Client,
    ) -> Result<()> {
        new.check_local()?;
        self.client.poll_local(pin!(self.reencrypt_async(from, to, expected, new)))
    }

    /// The async version of [`reencrypt`](Self::reencrypt), for keys that are accessed over a network.
    ///
    /// # Errors
    /// The same as [`reencrypt`](Self::reencrypt), except [`ErrorKind::NeedsAsync`].
    pub async fn reencrypt_async(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        expected: impl Into<ExpectedContext>,
        new: &Client,
    ) -> Result<()> {
        let from = from.as_ref();
        let Input { metadata, reader } = Input::open(from, self)?;
        let output = self.output(to.as_ref())?;
        if self.keeps_attributes && is_at(to.as_ref(), &metadata) {
            output.copy_owner(&metadata)?;
        }
        let mut old_digest = Sha256::new();
        let observe = |plaintext: &[u8]| old_digest.update(plaintext);
        let keep = self.keeps_format;
        let (output, context) =
            self.client.reencrypt_observed(reader, output, expected.into(), new, keep, observe).await?;
        if digest(new, output.reopen()?, &context).await? != old_digest.finish() {
            let detail =
                format!("the new message of {from:?} does not decrypt to the same plaintext: it was discarded");
            return Err(Error::new(ErrorKind::Internal, detail));
        }
        if !is_unchanged(from, &metadata) {
            let detail = format!("{from:?} was changed while it was being re-encrypted: try again");
            return Err(Error::new(ErrorKind::Io, detail));
        }
        self.put_in_place(output, &metadata)
    }

    /// Writes an output with `work`: on a thread of its own if there is enough to write, because the system takes
    /// longer to write a file than a core to encrypt it.
    fn write<T>(
        &self,
        mut output: NewFile,
        input: &Metadata,
        work: impl FnOnce(&mut dyn Write) -> Result<T>,
    ) -> Result<(T, NewFile)> {
        const ENOUGH: u64 = 8 << 20;
        if self.client.settings.workers.threads > 1 && input.len() >= ENOUGH {
            return write_behind(output, work);
        }
        Ok((work(&mut output)?, output))
    }

    fn output(&self, target: &Path) -> Result<NewFile> {
        let announce = |temporary: &Path| {
            if let Some(announce) = &self.announce {
                announce(temporary, target);
            }
        };
        let start = || NewFile::start_announced(target, self.replaces, announce);
        Ok(NewFile::start_listed(&self.unfinished, start)?.sync(self.syncs))
    }

    fn put_in_place(&self, output: NewFile, input: &Metadata) -> Result<()> {
        if self.keeps_attributes {
            output.copy_attributes(input)?;
        }
        output.put_in_place()
    }
}

impl std::fmt::Debug for Files<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client, replaces, keeps_attributes, syncs, keeps_format, .. } = self;
        let mut out = f.debug_struct("Files");
        out.field("client", client).field("replaces", replaces).field("keeps_attributes", keeps_attributes);
        out.field("syncs", syncs).field("keeps_format", keeps_format).finish_non_exhaustive()
    }
}

/// A file to read, and its metadata when it was opened.
struct Input<'a> {
    metadata: Metadata,
    reader: Counted<'a, File>,
}

impl<'a> Input<'a> {
    fn open(path: &Path, files: &Files<'a>) -> Result<Self> {
        let cannot = |error| failed("cannot read", path, &error);
        let file = File::open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if metadata.is_dir() {
            return Err(Error::new(ErrorKind::Io, format!("{path:?} is a folder: give a file")));
        }
        Ok(Self { metadata, reader: Counted { source: file, progress: files.progress.clone() } })
    }
}

/// A source that reports each read.
struct Counted<'a, R> {
    source: R,
    progress: Option<Arc<dyn Fn(u64) + Send + Sync + 'a>>,
}

impl<R: io::Read> io::Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buf)?;
        if let Some(progress) = &self.progress {
            progress(count as u64);
        }
        Ok(count)
    }
}

/// Returns the digest of the plaintext of a message that has just been written.
async fn digest(client: &Client, file: File, context: &EncryptionContext) -> Result<[u8; Sha256::LEN]> {
    Ok(disk::digest_of(&mut client.open_blocking(file, ExpectedContext::of_written(context)).await?)?)
}

fn for_each_chunk(mut reader: impl BufRead, mut work: impl FnMut(&[u8]) -> io::Result<()>) -> Result<()> {
    loop {
        let plaintext = reader.fill_buf()?;
        if plaintext.is_empty() {
            return Ok(());
        }
        let count = plaintext.len();
        work(plaintext)?;
        reader.consume(count);
    }
}

/// Returns whether a path is one of the names of a file.
fn is_at(path: &Path, file: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (file.dev(), file.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = (path, file);
        false
    }
}

/// Returns whether a path still leads to a file as it was when it was opened, as far as its attributes tell.
fn is_unchanged(path: &Path, then: &Metadata) -> bool {
    std::fs::metadata(path).is_ok_and(|now| is_unchanged_since(then, &now))
}

/// Returns whether the attributes of a file tell of no change between two moments.
fn is_unchanged_since(then: &Metadata, now: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        if (now.dev(), now.ino(), now.ctime(), now.ctime_nsec())
            != (then.dev(), then.ino(), then.ctime(), then.ctime_nsec())
        {
            return false;
        }
    }
    now.len() == then.len() && now.modified().ok() == then.modified().ok()
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::other(ErrorKind::Io, format!("{what} {path:?}: {error}"), io::Error::from(error.kind()))
}
