//! [`Folders`]: encrypts and decrypts a folder with everything in it.
//!
//! Each file becomes a message of its own. The manifest, an encrypted message too, lists every path with its attributes
//! and, for a file, the digest of its plaintext. So a file that was exchanged with another, brought from elsewhere,
//! added or left out is noticed, files can be re-encrypted one by one, and all share one encryption context: with a
//! cache of data keys, a few calls to a KMS suffice for a folder.
//!
//! ```text
//! encrypting   decrypting    the two operations
//! manifest                   the message that lists what is in the folder; a journal while it is being written
//! journals                   the manifests of earlier encryptions
//! entry                      what it says about a file, a folder or a symbolic link
//! rules                      which entries there may be
//! layout                     where things are, temporary files, locks
//! walk                       what is in a folder
//! report                     what is told while an operation runs, and at its end
//! ```

mod decrypting;
mod encrypting;
mod entry;
mod journals;
mod layout;
mod manifest;
mod report;
mod rules;
mod walk;

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::Read;
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use manila_core::{EncryptionContext, Result};

use crate::client::Client;
use crate::expected_context::ExpectedContext;
use crate::fs::Counted;
use crate::fs::new_file::NewFile;
use crate::fs::unfinished::Unfinished;
use crate::threads;
use entry::Entry;
use layout::EncryptedFolder;
use manifest::Manifest;
use rules::Allowed;
use walk::{Walk, What};

pub use report::{FolderEvent, FolderReport};

/// Encrypts folders with a client, and decrypts them.
///
/// An encrypted folder holds an encrypted file for each file, under the same name with `.manila` at its end, and a
/// manifest. Decrypting it gives names, contents, permissions (on Unix the mode, without set-user-ID, set-group-ID and
/// sticky bits), times of modification and symbolic links back. Links are never followed. A file with several hard
/// links becomes several files. Owners, access control lists and extended attributes are not kept.
///
/// **What is refused.** The manifest is verified to its end before anything is written. Then a file that is missing,
/// damaged, exchanged with another or not listed is left out, the others are decrypted, and the operation fails at its
/// end with an error that names the first one: [`on_event`](Self::on_event) tells of each. Paths that lead out of the
/// folder make the whole manifest invalid, as do names that are listed twice. By default this holds as well for names
/// that differ only in case or in the form of their Unicode characters, and for symbolic links that lead out of the
/// folder; neither is encrypted then. While a folder is being decrypted, nobody else should be able to write to the
/// target.
///
/// What no manifest can show is that a whole encrypted folder was set back to an older state of it.
///
/// **Interruptions.** Each file appears complete or not at all. After a crash, the same call continues: what is done
/// is kept if the file has the same length and time of modification, and its message decrypts to the plaintext that was
/// encrypted. Two operations on one target at a time are refused.
///
/// **Memory** does not grow with the number of files, except for the names in one folder at a time, for the number of
/// folders while decrypting, and by some 16 bytes for each file when messages were added that no manifest lists. A path
/// can have 4096 bytes.
///
/// **Calls to a KMS.** All files have the same encryption context, so a client over a
/// [`CachingCmm`](crate::cmm::CachingCmm) makes one call for many of them.
///
/// These calls block, and need keys that are available without waiting.
///
/// ```
/// # use manila::keyring::RawAesKeyring;
/// # use manila::{Client, EncryptionContext};
/// use manila::fs::Folders;
///
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let desk = tempfile::tempdir()?;
/// # let path = |name: &str| desk.path().join(name);
/// # std::fs::create_dir_all(path("photos/2026"))?;
/// # std::fs::write(path("photos/2026/beach.jpg"), "pixels")?;
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let folders = Folders::new(&client).jobs(2);
/// let report = folders.encrypt(path("photos"), path("photos.manila"), &context)?;
/// assert_eq!((report.files(), report.folders()), (1, 1));
/// assert!(path("photos.manila/files/2026/beach.jpg.manila").exists());
///
/// folders.decrypt(path("photos.manila"), path("copy"), &context)?;
/// assert_eq!(std::fs::read(path("copy/2026/beach.jpg"))?, b"pixels");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Folders<'a> {
    client: &'a Client,
    jobs: usize,
    hides_names: bool,
    replaces: bool,
    syncs: bool,
    allowed: Allowed,
    observer: Option<Observer<'a>>,
    unfinished: Option<Unfinished>,
}

type Observer<'a> = Arc<dyn Fn(&FolderEvent<'_>) + Send + Sync + 'a>;

impl<'a> Folders<'a> {
    /// Returns an encryptor and decryptor of folders with the default settings.
    #[must_use]
    pub fn new(client: &'a Client) -> Self {
        let allowed = Allowed::default();
        Self {
            client,
            jobs: 1,
            hides_names: false,
            replaces: false,
            syncs: true,
            allowed,
            observer: None,
            unfinished: None,
        }
    }

    /// Sets the number of files to work on at the same time, each on a thread. 1 by default.
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs.max(1);
        self
    }

    /// Sets whether encrypted files are stored under random names. Off by default. The manifest knows the names. The
    /// number of files and their lengths can be seen in any case.
    #[must_use]
    pub fn hide_names(mut self, hide: bool) -> Self {
        self.hides_names = hide;
        self
    }

    /// Sets whether a target that is complete is written again. Off by default.
    ///
    /// An encrypted folder is brought up to date: files that have not changed since are kept, and those that no longer
    /// exist are removed. What cannot be read now stays as it was, and nothing is removed then. Until it is finished,
    /// the old manifest is in place, and the files that have changed do not decrypt by it. In a folder of plaintext the
    /// files that the manifest lists are replaced, and others stay.
    #[must_use]
    pub fn replace(mut self, replace: bool) -> Self {
        self.replaces = replace;
        self
    }

    /// Sets whether everything is on the disk before the operation returns. On by default. Files are synced together
    /// at the end, where the system can.
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.syncs = sync;
        self
    }

    /// Sets whether names of one folder may differ only in case or in the form of their Unicode characters. Off by
    /// default: some systems take such names for one.
    #[must_use]
    pub fn allow_similar_names(mut self, allow: bool) -> Self {
        self.allowed.similar_names = allow;
        self
    }

    /// Sets whether symbolic links may lead out of the folder. Off by default: whoever writes to such a link later
    /// writes elsewhere.
    #[must_use]
    pub fn allow_outside_links(mut self, allow: bool) -> Self {
        self.allowed.outside_links = allow;
        self
    }

    /// Calls `observer` with each event. With several jobs, several threads call it.
    #[must_use]
    pub fn on_event(mut self, observer: impl Fn(&FolderEvent<'_>) + Send + Sync + 'a) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Lists temporary files, for a program that is interrupted.
    #[must_use]
    pub fn unfinished(mut self, list: &Unfinished) -> Self {
        self.unfinished = Some(list.clone());
        self
    }

    /// Encrypts everything in the folder `from` into the folder `to`, which is made. All files, and the manifest, have
    /// this encryption context and a pair with the random id of the folder.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) or [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if
    /// something in the folder could not be encrypted; the rest is done then. The errors of [`Client::encrypt`], and
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the target exists or cannot be written; then there is no new
    /// manifest, and a later call continues.
    pub fn encrypt(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        context: &EncryptionContext,
    ) -> Result<FolderReport> {
        encrypting::encrypt(self, from.as_ref(), to.as_ref(), context)
    }

    /// Decrypts the encrypted folder `from` into the folder `to`, which is made.
    ///
    /// # Errors
    /// The errors of [`Client::decrypt`], and [`ErrorKind::Io`](crate::ErrorKind::Io) if a file is missing or not
    /// listed, the manifest is missing, or the target exists or cannot be written. If the error is one of files, the
    /// rest is done.
    pub fn decrypt(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        expected: impl Into<ExpectedContext>,
    ) -> Result<FolderReport> {
        decrypting::decrypt(self, from.as_ref(), to.as_ref(), &expected.into())
    }

    /// Reads the manifest of an encrypted folder to its end, and calls `each` with every item in it. The manifest has
    /// been verified when this returns, and not before; the files are not looked at.
    ///
    /// ```
    /// # use manila::keyring::RawAesKeyring;
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// use manila::fs::Folders;
    ///
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let desk = tempfile::tempdir()?;
    /// # let path = |name: &str| desk.path().join(name);
    /// # std::fs::create_dir(path("photos"))?;
    /// # std::fs::write(path("photos/beach.jpg"), "pixels")?;
    /// let folders = Folders::new(&client).hide_names(true);
    /// folders.encrypt(path("photos"), path("photos.manila"), &EncryptionContext::empty())?;
    /// let mut names = Vec::new();
    /// folders.list(path("photos.manila"), ExpectedContext::any(), |item| names.push(item.path().to_owned()))?;
    /// assert_eq!(names, ["beach.jpg"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`decrypt`](Self::decrypt) that the manifest alone can cause.
    pub fn list(
        &self,
        folder: impl AsRef<Path>,
        expected: impl Into<ExpectedContext>,
        mut each: impl FnMut(&FolderItem<'_>),
    ) -> Result<FolderReport> {
        let manifest = Manifest::open(EncryptedFolder::at(folder.as_ref()).manifest())?;
        let mut report = FolderReport::default();
        decrypting::for_each_entry(self, &manifest, &expected.into(), |entry| {
            report.add(entry);
            each(&FolderItem(entry));
            Ok(())
        })?;
        Ok(report)
    }

    /// Counts what is in a folder of plaintext, without reading files.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if it cannot be read. Parts of it that cannot be are left out.
    pub fn count(folder: impl AsRef<Path>) -> Result<FolderReport> {
        walk::count(folder.as_ref())
    }

    /// Returns whether a folder is the target of an operation that did not finish, which the same call continues.
    #[must_use]
    pub fn is_unfinished(folder: impl AsRef<Path>) -> bool {
        let folder = folder.as_ref();
        layout::is_folder(&folder.join(layout::PARTIAL)) || EncryptedFolder::at(folder).is_unfinished()
    }

    /// Returns whether a folder looks like an encrypted one, complete or not. Nothing is verified.
    #[must_use]
    pub fn is_encrypted(folder: impl AsRef<Path>) -> bool {
        let folder = EncryptedFolder::at(folder.as_ref());
        folder.manifest().is_file() || layout::is_folder(&folder.files())
    }

    /// Lists a folder of temporary files.
    fn list_temporaries(&self, folder: PathBuf) {
        if let Some(list) = &self.unfinished {
            list.list_folder(folder);
        }
    }

    /// Starts a file whose temporary file is in `folder`.
    fn start(&self, folder: &Path, target: &Path, replaces: bool) -> Result<NewFile> {
        let start = || NewFile::start_in(folder, target, replaces);
        match &self.unfinished {
            Some(list) => NewFile::start_listed(list, start),
            None => start(),
        }
    }

    fn tell(&self, event: &FolderEvent<'_>) {
        if let Some(observer) = &self.observer {
            observer(event);
        }
    }

    /// Returns a reader of a file that tells of the bytes it reads.
    fn counted<'s, R: Read>(&'s self, path: &'s str, len: u64, source: R) -> Counted<'s, R> {
        self.tell(&FolderEvent::Started { path, len });
        let observer = self.observer.clone();
        let progress = observer.map(|observer| -> Arc<dyn Fn(u64) + Send + Sync> {
            Arc::new(move |bytes| observer(&FolderEvent::Read { path, bytes }))
        });
        Counted { source, progress }
    }
}

impl std::fmt::Debug for Folders<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { client, jobs, hides_names, replaces, syncs, allowed, .. } = self;
        let mut out = f.debug_struct("Folders");
        out.field("client", client).field("jobs", jobs).field("hides_names", hides_names).field("replaces", replaces);
        out.field("syncs", syncs).field("allowed", allowed).finish_non_exhaustive()
    }
}

/// An item in the manifest of an encrypted folder.
#[derive(Debug)]
pub struct FolderItem<'e>(&'e Entry);

impl FolderItem<'_> {
    /// Returns the path in the folder, with `/` between names. Escape it before you show it: it may hold anything.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// Returns the number of bytes of plaintext if the item is a file.
    #[must_use]
    pub fn plaintext_len(&self) -> Option<u64> {
        match self.0 {
            Entry::File(file) => Some(file.len),
            Entry::Folder(_) | Entry::Link(_) => None,
        }
    }

    /// Returns the path that a symbolic link holds, if the item is one.
    #[must_use]
    pub fn link_target(&self) -> Option<&str> {
        match self.0 {
            Entry::Link(link) => Some(&link.target),
            Entry::File(_) | Entry::Folder(_) => None,
        }
    }

    /// Returns the time of modification of a file or folder.
    #[must_use]
    pub fn modified(&self) -> Option<SystemTime> {
        match self.0 {
            Entry::File(file) => file.attributes.modified(),
            Entry::Folder(folder) => folder.attributes.modified(),
            Entry::Link(_) => None,
        }
    }

    /// Returns whether the item is a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        matches!(self.0, Entry::Folder(_))
    }
}

/// Does `work` on the items on several threads, and calls `each` with the results in order. Small files are handed out
/// together: to hand one to another thread takes as long as to encrypt it.
fn in_order<T: Send, U: Send>(
    jobs: usize,
    items: impl Iterator<Item = T>,
    len_of: impl Fn(&T) -> u64,
    work: impl Fn(T) -> U + Sync,
    mut each: impl FnMut(U) -> Result<()>,
) -> Result<()> {
    const ITEMS: usize = 64;
    const BYTES: u64 = 1 << 20;
    let mut items = items.fuse();
    let chunks = iter::from_fn(|| {
        let (mut chunk, mut len) = (Vec::new(), 0_u64);
        while chunk.len() < ITEMS && len < BYTES {
            let Some(item) = items.next() else { break };
            len = len.saturating_add(len_of(&item));
            chunk.push(item);
        }
        (!chunk.is_empty()).then_some(chunk)
    });
    let work = |chunk: Vec<T>| chunk.into_iter().map(&work).collect::<Vec<_>>();
    threads::in_order::in_order(jobs, chunks, work, |done| done.into_iter().try_for_each(&mut each))
}

/// Calls `work` with the path of each message in an encrypted folder that a manifest does not list, if there are more
/// than it lists.
fn unlisted(
    folders: &Folders<'_>,
    folder: &EncryptedFolder,
    manifest: &Path,
    expected: &ExpectedContext,
    listed: u64,
    mut work: impl FnMut(&Path) -> Result<()>,
) -> Result<()> {
    let mut found = 0_u64;
    for_each_message(folder, |_| {
        found = found.saturating_add(1);
        Ok(())
    })?;
    if found <= listed {
        // If one of those that are listed is missing, decrypting it says so.
        return Ok(());
    }
    // Of each path its hash, under a random key, so that nobody can find two with one.
    let hasher = RandomState::new();
    let mut paths = HashSet::new();
    decrypting::for_each_entry(folders, &Manifest::open(manifest.to_owned())?, expected, |entry| {
        if let Entry::File(file) = entry {
            paths.insert(hasher.hash_one(folder.message(file)));
        }
        Ok(())
    })?;
    for_each_message(folder, |path| if paths.contains(&hasher.hash_one(path)) { Ok(()) } else { work(path) })
}

/// Calls `work` with everything in an encrypted folder that is where messages are, except folders.
fn for_each_message(folder: &EncryptedFolder, mut work: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    for root in [folder.files(), folder.hidden()].into_iter().filter(|root| layout::is_folder(root)) {
        for found in Walk::start(&root)? {
            if !matches!(found.what, Ok(What::Folder(_))) {
                work(&root.join(&found.relative))?;
            }
        }
    }
    Ok(())
}
