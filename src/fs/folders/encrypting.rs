//! Encrypts a folder.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use manila_core::internal::crypto::Sha256;
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use super::entry::{Attributes, Digest, Entry, FileEntry, FolderEntry, LinkEntry, RandomName};
use super::journals::Journals;
use super::layout::{EncryptedFolder, MAX_STORED_NAME, is_folder, make_folder, refused};
use super::manifest::{self, ManifestWriter};
use super::report::Tally;
use super::rules::Rules;
use super::walk::{Found, Root, Walk, What, check_apart};
use super::{FolderReport, Folders, in_order, unlisted};
use crate::expected_context::ExpectedContext;
use crate::fs::disk::{digest_of, open_regular, sync_all, sync_folder};
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
    target.remove_temporaries()?;
    folders.list_temporaries(target.partial());

    let journals = Journals::open(folders, &target, context)?;
    if let Some(of_before) = journals.id() {
        // What is kept belongs to the folder of that id.
        id = of_before.clone();
        of_manifest = manifest::encryptor(folders.client, context, &id)?;
    }
    let of_files = manifest::of_files(context, &id)?;
    let job = Job { folders, context: &of_files, source: walk.root(), target: &target, is_new: started.is_new };
    let mut manifest = ManifestWriter::start(target.next_journal()?, of_manifest, attributes)?;
    let mut tally = Tally::new(folders);
    let rules = Rules::new(folders.allowed);
    in_order(
        folders.jobs,
        Entries { job: &job, walk, rules, journals, lost: None },
        Next::len,
        |next| job.encrypt(next),
        |done| match done {
            Done::Entry(entry, is_kept) => {
                manifest.add(&entry)?;
                tally.done(&entry, is_kept);
                Ok(())
            }
            Done::Failed(_, error, _) if is_of_all(&error) => Err(error),
            Done::Failed(path, error, earlier) => {
                // The file as it was encrypted before is better than none.
                earlier.map_or(Ok(()), |earlier| manifest.add(&Entry::File(earlier)))?;
                tally.failed(&path, error)
            }
        },
    )?;
    if folders.syncs {
        sync_all(to)?;
    }
    let manifest = manifest.finish(folders.syncs)?;
    if !started.is_new && !tally.has_failures() {
        remove_unlisted(folders, &target, &manifest, context, tally.report().files())?;
    }
    fs::rename(&manifest, target.manifest()).map_err(|error| failed("cannot write", &target.manifest(), &error))?;
    if folders.syncs {
        sync_folder(to)?;
    }
    target.remove_partial()?;
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
    source: Arc<Root>,
    target: &'a EncryptedFolder,
    /// True if there cannot be anything of an earlier encryption.
    is_new: bool,
}

/// The next thing to encrypt.
struct Next {
    path: String,
    thing: Result<Thing>,
    /// Files of the same path in the journals of earlier encryptions.
    earlier: Vec<FileEntry>,
}

/// A thing in the folder.
enum Thing {
    File(NewEntry),
    /// Something that has its place in the manifest alone.
    Listed(Entry),
    /// A file that was encrypted before, and cannot be found now because its folder cannot be read.
    Lost,
}

/// The entry of a file that has not been read.
struct NewEntry {
    attributes: Attributes,
    len: u64,
    hidden: Option<RandomName>,
}

impl Next {
    fn len(&self) -> u64 {
        if let Ok(Thing::File(file)) = &self.thing { file.len } else { 0 }
    }
}

/// The outcome.
enum Done {
    /// The entry for the manifest, and whether an earlier encryption had done it.
    Entry(Entry, bool),
    /// The error of a path, and the entry of the file as it was before, if there is one.
    Failed(String, Error, Option<FileEntry>),
}

impl Job<'_> {
    fn encrypt(&self, next: Next) -> Done {
        let Next { path, thing, earlier } = next;
        let file = match thing {
            Ok(Thing::File(file)) => file,
            Ok(Thing::Listed(entry)) => return Done::Entry(entry, false),
            Ok(Thing::Lost) => {
                return match self.that_holds(earlier) {
                    Some(earlier) => Done::Entry(Entry::File(earlier), true),
                    None => Done::Failed(path.clone(), refused(format!("{path:?} cannot be read")), None),
                };
            }
            Err(error) => return Done::Failed(path, error, self.that_holds(earlier)),
        };
        let (same, other): (Vec<_>, Vec<_>) = earlier.into_iter().partition(|earlier| is_same(earlier, &file));
        if let Some(kept) = self.that_holds(same) {
            return Done::Entry(Entry::File(FileEntry { attributes: file.attributes, ..kept }), true);
        }
        match self.encrypt_file(path.clone(), file) {
            Ok(file) => Done::Entry(Entry::File(file), false),
            Err(error) => Done::Failed(path, error, self.that_holds(other)),
        }
    }

    /// Returns the first of the entries whose message is there.
    fn that_holds(&self, earlier: Vec<FileEntry>) -> Option<FileEntry> {
        earlier.into_iter().find(|earlier| self.holds(earlier).unwrap_or(false))
    }

    fn encrypt_file(&self, path: String, file: NewEntry) -> Result<FileEntry> {
        let source = &self.source.path_of(&path);
        let changed = || refused(format!("{source:?} was changed while it was being encrypted: try again"));
        let opened = self.source.open_regular(&path);
        let (input, before) = opened.map_err(|error| failed("cannot read", source, &error))?;
        let attributes = Attributes::of(&before);
        let digest = Digest::of(&[0; Sha256::LEN]);
        let mut file = FileEntry { path, attributes, len: before.len(), digest, hidden: file.hidden };
        let mut message = self.target.message(&file);
        if !self.is_new && is_folder(&message) {
            // There was a folder of that name when the target was encrypted before.
            file.hidden = Some(RandomName::random()?);
            message = self.target.message(&file);
        }
        if let (Some(_), Some(parent)) = (&file.hidden, message.parent()) {
            make_folder(parent)?;
        }
        let output = self.folders.start(&self.target.partial(), &message, !self.is_new)?.sync(false);
        // With the length, so that a cache can serve it.
        let mut writer = self.folders.client.encryptor_up_to(self.context, file.len)?.writer(output);
        let len = {
            let counted = self.folders.counted(&file.path, file.len, &input);
            let mut reader = Hashed { source: counted, digest: Sha256::new() };
            let len = writer.write_from(&mut reader).map_err(|error| match Error::from(error) {
                // It grew.
                error if error.kind() == ErrorKind::LimitExceeded => changed(),
                error => Error::other(error.kind(), format!("cannot encrypt {source:?}: {error}"), error),
            })?;
            file.digest = Digest::of(&reader.digest.finish());
            len
        };
        let output = writer.finish()?;
        let after = input.metadata().map_err(|error| failed("cannot read", source, &error))?;
        if len != file.len || !is_unchanged_since(&before, &after) {
            return Err(changed());
        }
        output.put_in_place()?;
        Ok(file)
    }

    /// Returns whether the message of a file is there: all of it, with this plaintext.
    fn holds(&self, file: &FileEntry) -> Result<bool> {
        let message = self.target.message(file);
        let (opened, _) = open_regular(&message).map_err(|error| failed("cannot read", &message, &error))?;
        let mut plaintext = self.folders.client.open(opened, ExpectedContext::from(self.context))?;
        Ok(Digest::of(&digest_of(&mut plaintext)?) == file.digest)
    }
}

/// Returns whether a file is as it was when it was encrypted, as far as its length and its time of modification tell.
fn is_same(earlier: &FileEntry, now: &NewEntry) -> bool {
    earlier.len == now.len
        && earlier.attributes.has_time_of(&now.attributes)
        && (earlier.hidden.is_some() || now.hidden.is_none())
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

/// The things in the folder, checked and looked up in the journals.
struct Entries<'a> {
    job: &'a Job<'a>,
    walk: Walk,
    rules: Rules,
    journals: Journals,
    /// The path of a thing that could not be read: all that the journals have of it is kept.
    lost: Option<String>,
}

impl Iterator for Entries<'_> {
    type Item = Next;

    fn next(&mut self) -> Option<Next> {
        while let Some(lost) = &self.lost {
            match self.journals.next_in(lost) {
                None => self.lost = None,
                Some(entries) => {
                    if let Some(next) = self.keep_lost(&entries) {
                        return Some(next);
                    }
                }
            }
        }
        let Found { path, what, .. } = self.walk.next()?;
        let is_folder = matches!(what, Ok(What::Folder(_)));
        if what.is_err() {
            self.lost = Some(path.clone());
        }
        let thing = what.and_then(|what| self.thing(&path, what));
        if is_folder && thing.is_err() {
            self.walk.leave_out();
        }
        let earlier = if let Ok(Thing::File(_)) = &thing { self.journals.find(&path) } else { Vec::new() };
        Some(Next { path, thing, earlier })
    }
}

impl Entries<'_> {
    /// Returns what to do with the entries of a path that cannot be read now, newest first.
    fn keep_lost(&mut self, entries: &[Entry]) -> Option<Next> {
        let first = entries.first()?;
        // It is listed already, or may not be.
        self.rules.check(first).ok()?;
        let path = first.path().to_owned();
        let of_file = |entry: &Entry| if let Entry::File(file) = entry { Some(file.clone()) } else { None };
        let thing = if matches!(first, Entry::File(_)) { Thing::Lost } else { Thing::Listed(first.clone()) };
        Some(Next { path, thing: Ok(thing), earlier: entries.iter().filter_map(of_file).collect() })
    }

    fn thing(&mut self, path: &str, what: What) -> Result<Thing> {
        let hides_names = self.job.folders.hides_names;
        let entry = match what {
            What::File { metadata, is_shadowed } => {
                self.rules.check_file(path)?;
                let is_long = path.rsplit('/').next().unwrap_or(path).len() > MAX_STORED_NAME;
                let hidden = (hides_names || is_shadowed || is_long).then(RandomName::random).transpose()?;
                let file = NewEntry { attributes: Attributes::of(&metadata), len: metadata.len(), hidden };
                return Ok(Thing::File(file));
            }
            What::Folder(metadata) => {
                Entry::Folder(FolderEntry { path: path.to_owned(), attributes: Attributes::of(&metadata) })
            }
            What::Link { target } => Entry::Link(LinkEntry { path: path.to_owned(), target }),
        };
        self.rules.check(&entry)?;
        if let (Entry::Folder(_), false) = (&entry, hides_names) {
            self.make_folder(&self.job.target.files().join(path))?;
        }
        Ok(Thing::Listed(entry))
    }

    /// Makes a folder for messages.
    fn make_folder(&self, folder: &Path) -> Result<()> {
        // The message of a file of that name without the extension: it is encrypted anew, under a random name.
        if !self.job.is_new && fs::symlink_metadata(folder).is_ok_and(|found| found.is_file()) {
            fs::remove_file(folder).map_err(|error| failed("cannot replace", folder, &error))?;
        }
        make_folder(folder)
    }
}

/// Removes messages that the manifest does not list, of files that are no longer there, and empty folders.
fn remove_unlisted(
    folders: &Folders<'_>,
    target: &EncryptedFolder,
    manifest: &Path,
    context: &EncryptionContext,
    listed: u64,
) -> Result<()> {
    unlisted(folders, target, manifest, &ExpectedContext::of_written(context), listed, |path| {
        fs::remove_file(path).map_err(|error| failed("cannot remove", path, &error))
    })?;
    let files = target.files();
    let is_folder = |found: &Found| matches!(found.what, Ok(What::Folder(_)));
    let found: Vec<_> = Walk::start(&files)?.filter(is_folder).map(|found| files.join(found.relative)).collect();
    for folder in found.iter().rev() {
        // Only the empty ones are removed.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}
