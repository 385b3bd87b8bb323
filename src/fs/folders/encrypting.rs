//! Encrypts a folder.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use manila_core::internal::crypto::Sha256;
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use super::entry::{Attributes, Digest, Entry, FileEntry, FolderEntry, LinkEntry, RandomName};
use super::layout::{EncryptedFolder, MAX_STORED_NAME, is_folder, make_folder, refused};
use super::manifest::{self, Manifest, ManifestReader, ManifestWriter};
use super::report::Tally;
use super::rules::Rules;
use super::walk::{Found, Walk, What, check_apart};
use super::{FolderReport, Folders, expected_of, in_order, open_regular, sync_all, unlisted};
use crate::expected_context::ExpectedContext;
use crate::fs::{failed, is_unchanged_since};

/// Encrypts the folder `from` into the folder `to`.
pub(super) fn encrypt(
    folders: &Folders<'_>,
    from: &Path,
    to: &Path,
    context: &EncryptionContext,
) -> Result<FolderReport> {
    let attributes = fs::symlink_metadata(from).map(|found| Attributes::of(&found));
    let attributes = attributes.map_err(|error| failed("cannot read", from, &error))?;
    let walk = Walk::start(from)?;
    check_apart(from, to)?;
    let mut id = RandomName::random()?;
    // Before anything is made, because the keys may refuse.
    let mut of_manifest = manifest::encryptor(folders.client, context, &id)?;
    let target = EncryptedFolder::at(to);
    let started = target.start(folders.replaces)?;
    target.reopen()?;
    target.remove_temporaries()?;
    folders.list_temporaries(target.partial());

    let journals = open_journals(folders, &target, context)?;
    if let Some(journal) = journals.first() {
        // What is kept belongs to the folder of that id.
        id = journal.reader.id().clone();
        of_manifest = manifest::encryptor(folders.client, context, &id)?;
    }
    let of_files = manifest::of_files(context, &id)?;
    let job = Job { folders, context: &of_files, target: &target };
    let mut manifest = ManifestWriter::start(target.next_journal()?, of_manifest, attributes)?;
    let mut tally = Tally::new(folders);
    in_order(
        folders.jobs,
        Entries { job: &job, walk, rules: Rules::new(folders.allowed), journals },
        Next::len,
        |next| job.encrypt(next),
        |done| match done.entry {
            Ok(entry) => {
                manifest.add(&entry)?;
                tally.done(&entry, done.is_kept);
                Ok(())
            }
            Err(error) if is_of_all(&error) => Err(error),
            Err(error) => tally.failed(&done.path, error),
        },
    )?;
    if folders.syncs {
        sync_all(to)?;
    }
    manifest.finish(&target.manifest(), folders.syncs)?;
    target.remove_partial()?;
    if !started.is_new {
        remove_unlisted(folders, &target, context, tally.report().files())?;
    }
    tally.finish(from)
}

/// Returns whether an error of a file will be that of all others too, such as that of a key which is refused.
fn is_of_all(error: &Error) -> bool {
    !matches!(error.kind(), ErrorKind::Io | ErrorKind::InvalidInput | ErrorKind::LimitExceeded)
}

/// An encryption of a folder.
struct Job<'a> {
    folders: &'a Folders<'a>,
    /// The encryption context of the files.
    context: &'a EncryptionContext,
    target: &'a EncryptedFolder,
}

/// The next thing to encrypt.
struct Next {
    path: String,
    entry: Result<Thing>,
    /// Entries of the same path in the journals of earlier encryptions that did not finish.
    earlier: Vec<FileEntry>,
}

impl Next {
    fn len(&self) -> u64 {
        if let Ok(Thing::File(_, file)) = &self.entry { file.len } else { 0 }
    }
}

/// A thing in the folder.
enum Thing {
    /// A file, at this path.
    File(PathBuf, NewEntry),
    /// Something that has its place in the manifest alone.
    Listed(Entry),
}

/// The entry of a file that has not been read.
struct NewEntry {
    attributes: Attributes,
    len: u64,
    hidden: Option<RandomName>,
}

/// The outcome.
struct Done {
    path: String,
    entry: Result<Entry>,
    /// True if an earlier encryption had done it.
    is_kept: bool,
}

impl Job<'_> {
    fn encrypt(&self, next: Next) -> Done {
        let Next { path, entry, earlier } = next;
        let (source, file) = match entry {
            Ok(Thing::File(source, file)) => (source, file),
            Ok(Thing::Listed(entry)) => return Done { path, entry: Ok(entry), is_kept: false },
            Err(error) => return Done { path, entry: Err(error), is_kept: false },
        };
        if let Some(kept) = earlier.into_iter().find_map(|earlier| self.keep(earlier, &file)) {
            return Done { path, entry: Ok(Entry::File(kept)), is_kept: true };
        }
        let entry = self.encrypt_file(path.clone(), file, &source).map(Entry::File);
        Done { path, entry, is_kept: false }
    }

    fn encrypt_file(&self, path: String, file: NewEntry, source: &Path) -> Result<FileEntry> {
        let changed = || refused(format!("{source:?} was changed while it was being encrypted: try again"));
        let (input, before) = open_regular(source).map_err(|error| failed("cannot read", source, &error))?;
        let attributes = Attributes::of(&before);
        let digest = Digest::of(&[0; Sha256::LEN]);
        let mut file = FileEntry { path, attributes, len: before.len(), digest, hidden: file.hidden };
        let mut message = self.target.message(&file);
        if is_folder(&message) {
            // There was a folder of that name when the target was encrypted before.
            file.hidden = Some(RandomName::random()?);
            message = self.target.message(&file);
        }
        if let (Some(_), Some(parent)) = (&file.hidden, message.parent()) {
            make_folder(parent)?;
        }
        let output = self.folders.start(&self.target.partial(), &message, true)?.sync(false);
        // With the length, so that a cache can serve it.
        let mut writer = self.folders.client.encryptor_up_to(self.context, file.len)?.writer(output);
        let mut reader = Hashed { source: self.folders.counted(&input), digest: Sha256::new() };
        let len = writer.write_from(&mut reader).map_err(|error| match Error::from(error) {
            // It grew.
            error if error.kind() == ErrorKind::LimitExceeded => changed(),
            error => Error::other(error.kind(), format!("cannot encrypt {source:?}: {error}"), error),
        })?;
        file.digest = Digest::of(&reader.digest.finish());
        let output = writer.finish()?;
        let after = input.metadata().map_err(|error| failed("cannot read", source, &error))?;
        if len != file.len || !is_unchanged_since(&before, &after) {
            return Err(changed());
        }
        output.put_in_place()?;
        Ok(file)
    }

    /// Returns the entry of a file that an earlier encryption has done, if the file is as it was then and its message
    /// is there.
    fn keep(&self, earlier: FileEntry, now: &NewEntry) -> Option<FileEntry> {
        let is_same = earlier.len == now.len
            && earlier.attributes.has_time_of(&now.attributes)
            && (earlier.hidden.is_some() || now.hidden.is_none())
            && self.holds(&earlier).unwrap_or(false);
        is_same.then_some(FileEntry { attributes: now.attributes, ..earlier })
    }

    /// Returns whether there is a message of this folder where that of a file belongs, and of its length: by its header
    /// and its end, or wholly if it is signed. If it is that of another file, decrypting tells by the digest.
    fn holds(&self, file: &FileEntry) -> Result<bool> {
        let client = self.folders.client;
        let message = self.target.message(file);
        let open =
            || Ok::<File, Error>(open_regular(&message).map_err(|error| failed("cannot read", &message, &error))?.0);
        let header = client.read_header(BufReader::new(open()?))?;
        let expected = ExpectedContext::from(self.context);
        if header.suite().is_signed() {
            let plaintext_len = io::copy(&mut client.open(open()?, expected)?, &mut io::sink())?;
            return Ok(plaintext_len == file.len);
        }
        Ok(client.decryptor(header, expected)?.seekable(open()?)?.plaintext_len() == file.len)
    }
}

/// A source whose bytes are hashed as they are read.
struct Hashed<R> {
    source: R,
    digest: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buf)?;
        self.digest.update(buf.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// The journal of an encryption that did not finish, read as far as the walk has come.
struct Journal {
    reader: ManifestReader,
    next: Option<Entry>,
}

/// Opens the journals of earlier encryptions, newest first. One that these keys do not decrypt is of no use, and left
/// out; so is one of a folder with another id.
fn open_journals(folders: &Folders<'_>, target: &EncryptedFolder, context: &EncryptionContext) -> Result<Vec<Journal>> {
    let expected = expected_of(context);
    let open = |path: PathBuf| {
        let reader = Manifest::open(path).and_then(|journal| journal.read(folders.client, &expected));
        reader.ok().map(|reader| Journal { reader, next: None })
    };
    let mut journals: Vec<_> = target.journals()?.into_iter().filter_map(open).collect();
    let id = journals.first().map(|journal| journal.reader.id().clone());
    journals.retain(|journal| Some(journal.reader.id()) == id.as_ref());
    Ok(journals)
}

impl Journal {
    /// Returns the file of a path, if it is in the journal. Paths must be asked for in order.
    fn find(&mut self, path: &str) -> Option<FileEntry> {
        loop {
            let entry = match self.next.take() {
                Some(entry) => entry,
                // The end of a journal is where it was cut off.
                None => self.reader.next().ok().flatten()?,
            };
            match entry.path().split('/').cmp(path.split('/')) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Greater => {
                    self.next = Some(entry);
                    return None;
                }
                std::cmp::Ordering::Equal => match entry {
                    Entry::File(file) => return Some(file),
                    Entry::Folder(_) | Entry::Link(_) => return None,
                },
            }
        }
    }
}

/// The things in the folder, checked and looked up in the journals.
struct Entries<'a> {
    job: &'a Job<'a>,
    walk: Walk,
    rules: Rules,
    journals: Vec<Journal>,
}

impl Iterator for Entries<'_> {
    type Item = Next;

    fn next(&mut self) -> Option<Next> {
        let Found { path, what } = self.walk.next()?;
        let is_folder = matches!(what, Ok(What::Folder(_)));
        let entry = what.and_then(|what| self.thing(&path, what));
        if is_folder && entry.is_err() {
            self.walk.leave_out();
        }
        let earlier = match &entry {
            Ok(Thing::File(..)) => self.journals.iter_mut().filter_map(|journal| journal.find(&path)).collect(),
            _ => Vec::new(),
        };
        Some(Next { path, entry, earlier })
    }
}

impl Entries<'_> {
    fn thing(&mut self, path: &str, what: What) -> Result<Thing> {
        let hides_names = self.job.folders.hides_names;
        let entry = match what {
            What::File { metadata, is_shadowed } => {
                self.rules.check_file(path)?;
                let is_long = path.rsplit('/').next().unwrap_or(path).len() > MAX_STORED_NAME;
                let hidden = (hides_names || is_shadowed || is_long).then(RandomName::random).transpose()?;
                let file = NewEntry { attributes: Attributes::of(&metadata), len: metadata.len(), hidden };
                return Ok(Thing::File(self.walk.path_of(path), file));
            }
            What::Folder(metadata) => {
                Entry::Folder(FolderEntry { path: path.to_owned(), attributes: Attributes::of(&metadata) })
            }
            What::Link { target } => Entry::Link(LinkEntry { path: path.to_owned(), target }),
        };
        self.rules.check(&entry)?;
        if let (Entry::Folder(_), false) = (&entry, hides_names) {
            make_folder(&self.job.target.files().join(path))?;
        }
        Ok(Thing::Listed(entry))
    }
}

/// Removes messages that the manifest does not list, of files that are no longer there, and empty folders.
fn remove_unlisted(
    folders: &Folders<'_>,
    target: &EncryptedFolder,
    context: &EncryptionContext,
    listed: u64,
) -> Result<()> {
    unlisted(folders, target, &expected_of(context), listed, |path| {
        fs::remove_file(path).map_err(|error| failed("cannot remove", path, &error))
    })?;
    let files = target.files();
    let is_folder = |found: &Found| matches!(found.what, Ok(What::Folder(_)));
    let found: Vec<_> = Walk::start(&files)?.filter(is_folder).map(|found| files.join(found.path)).collect();
    for folder in found.iter().rev() {
        // Only the empty ones are removed.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}
