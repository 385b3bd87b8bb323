//! Decrypts a folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use manila_core::internal::crypto::Sha256;
use manila_core::{Error, ErrorKind, Result};

use super::entry::{Attributes, Digest, Entry, FileEntry, LinkEntry, RandomName};
use super::layout::{EncryptedFolder, PlainFolder, is_folder, make_folder, refused};
use super::manifest::{FOLDER_PAIR, Manifest, ManifestReader};
use super::report::{FolderEvent, Tally};
use super::rules::Rules;
use super::walk::check_apart;
use super::{FolderReport, Folders, in_order, unlisted};
use crate::expected_context::ExpectedContext;
use crate::fs::disk::{SYNCS_AT_ONCE, digest_of, open_regular, sync_all, sync_folder};
use crate::fs::{failed, for_each_chunk};

/// Decrypts the folder `from` into the folder `to`.
pub(super) fn decrypt(
    folders: &Folders<'_>,
    from: &Path,
    to: &Path,
    expected: &ExpectedContext,
) -> Result<FolderReport> {
    check_apart(from, to)?;
    let source = EncryptedFolder::at(from);
    let manifest = Manifest::open(source.manifest())?;
    let (listed, id, attributes) = verify(folders, &manifest, expected)?;
    let of_files = expected.including(FOLDER_PAIR, id.as_str())?;
    folders.tell(&FolderEvent::Total { files: listed.files(), bytes: listed.bytes() });

    let target = PlainFolder::start(to, &id, folders.replaces)?;
    folders.list_temporaries(target.partial());
    let job = Job { folders, expected, of_files: &of_files, source: &source, target: &target };
    let mut tally = Tally::new(folders);
    let mut made = Vec::new();
    in_order(
        folders.jobs,
        Entries::read(&job, &manifest)?,
        |next| if let Next::Entry(Entry::File(file)) = next { file.len } else { 0 },
        |next| job.decrypt(next),
        |done| match done {
            // Made behind everything else.
            Done::Entry(Entry::Link(_), _) => Ok(()),
            Done::Entry(entry, is_kept) => {
                tally.done(&entry, is_kept);
                if let Entry::Folder(folder) = entry {
                    made.push(folder);
                }
                Ok(())
            }
            Done::Failed(path, error) => tally.failed(&path, error),
            Done::Stopped(error) => Err(error),
        },
    )?;
    if listed.links() > 0 {
        job.make_links(&manifest, &mut tally)?;
    }
    unlisted(folders, &source, &source.manifest(), expected, listed.files(), |path| {
        let error =
            refused(format!("{path:?} is not in the manifest: it was added to the encrypted folder, and is left out"));
        tally.failed(&path.to_string_lossy(), error)
    })?;
    // The innermost first: a folder may not let its owner in.
    for folder in made.iter().rev() {
        if let Err(error) = set_attributes(&target.path_of(&folder.path), &folder.attributes) {
            tally.failed(&folder.path, error)?;
        }
    }
    if folders.syncs {
        sync_all(to)?;
    }
    target.remove_partial()?;
    set_attributes(to, &attributes)?;
    if folders.syncs {
        sync_folder(to)?;
    }
    tally.finish(from)
}

/// Reads a manifest to its end and checks every entry, so that nothing is written by one that is forged, cut off or
/// unfit. Returns what is in it, and the id and the attributes of the folder.
fn verify(
    folders: &Folders<'_>,
    manifest: &Manifest,
    expected: &ExpectedContext,
) -> Result<(FolderReport, RandomName, Attributes)> {
    let mut report = FolderReport::default();
    let (id, attributes) = for_each_entry(folders, manifest, expected, |entry| {
        report.add(entry);
        Ok(())
    })?;
    Ok((report, id, attributes))
}

/// Calls `work` with the entries of a manifest, each checked, and returns the id and the attributes of the folder.
pub(super) fn for_each_entry(
    folders: &Folders<'_>,
    manifest: &Manifest,
    expected: &ExpectedContext,
    mut work: impl FnMut(&Entry) -> Result<()>,
) -> Result<(RandomName, Attributes)> {
    let mut reader = manifest.read(folders.client, expected)?;
    let mut rules = Rules::new(folders.allowed);
    while let Some(entry) = reader.next().map_err(|error| manifest.named(error))? {
        rules.check(&entry).map_err(|error| manifest.named(error))?;
        work(&entry)?;
    }
    Ok((reader.id().clone(), reader.attributes()))
}

/// A decryption of a folder.
struct Job<'a> {
    folders: &'a Folders<'a>,
    /// The expectation of the manifest.
    expected: &'a ExpectedContext,
    /// The expectation of the files.
    of_files: &'a ExpectedContext,
    source: &'a EncryptedFolder,
    target: &'a PlainFolder,
}

/// The outcome of an entry.
enum Done {
    /// It is done, or was before.
    Entry(Entry, bool),
    Failed(String, Error),
    /// The manifest could not be read on.
    Stopped(Error),
}

impl Job<'_> {
    fn decrypt(&self, next: Next) -> Done {
        let entry = match next {
            Next::Entry(entry) => entry,
            Next::Failed(path, error) => return Done::Failed(path, error),
            Next::Stopped(error) => return Done::Stopped(error),
        };
        let Entry::File(file) = &entry else { return Done::Entry(entry, false) };
        if self.is_kept(file) {
            return Done::Entry(entry, true);
        }
        match self.decrypt_file(file) {
            Ok(()) => Done::Entry(entry, false),
            Err(error) => Done::Failed(file.path.clone(), error),
        }
    }

    /// Returns whether an earlier decryption that did not finish has written a file: its plaintext is there.
    fn is_kept(&self, file: &FileEntry) -> bool {
        self.target.resumes && self.holds(file).unwrap_or(false)
    }

    fn holds(&self, file: &FileEntry) -> io::Result<bool> {
        let (mut plaintext, metadata) = open_regular(&self.target.path_of(&file.path))?;
        if metadata.len() != file.len || !Attributes::of(&metadata).has_time_of(&file.attributes) {
            return Ok(false);
        }
        Ok(Digest::of(&digest_of(&mut plaintext)?) == file.digest)
    }

    fn decrypt_file(&self, file: &FileEntry) -> Result<()> {
        let message = self.source.message(file);
        let source = self.folders.counted(&file.path, file.len, open_message(&message)?);
        let in_message = |error: Error| Error::other(error.kind(), format!("{message:?}: {error}"), error);
        let another = || {
            let detail = format!("{message:?} is not the file that the manifest lists: another was put in its place");
            Error::new(ErrorKind::ContextMismatch, detail)
        };
        let reader = self.folders.client.open(source, self.of_files).map_err(in_message)?;

        let target = self.target.path_of(&file.path);
        let output = self.folders.start(&self.target.partial(), &target, self.folders.replaces)?;
        let mut output = output.sync(self.folders.syncs && !SYNCS_AT_ONCE);
        let mut digest = Sha256::new();
        let copied = for_each_chunk(reader, |plaintext| {
            digest.update(plaintext);
            output.write_all(plaintext).map_err(|error| failed("cannot write", &target, &error).into())
        });
        copied.map_err(in_message)?;
        if Digest::of(&digest.finish()) != file.digest {
            return Err(another());
        }
        output.set_attributes(file.attributes.mode(), file.attributes.modified())?;
        output.put_in_place()
    }

    /// Makes the symbolic links, behind everything else: so nothing is written through one of them.
    fn make_links(&self, manifest: &Manifest, tally: &mut Tally<'_, '_>) -> Result<()> {
        for_each_entry(self.folders, manifest, self.expected, |entry| {
            if let Entry::Link(link) = entry {
                match self.make_link(link) {
                    Ok(()) => tally.done(entry, false),
                    Err(error) => tally.failed(&link.path, error)?,
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    fn make_link(&self, link: &LinkEntry) -> Result<()> {
        let path = self.target.path_of(&link.path);
        let folders = Path::new(&link.path).ancestors().skip(1);
        if !folders.map(|folder| self.target.root().join(folder)).all(|folder| is_folder(&folder)) {
            return Err(refused(format!("{:?} is left out because its folder could not be made", link.path)));
        }
        if fs::read_link(&path).is_ok_and(|target| target.as_os_str() == link.target.as_str()) {
            return Ok(());
        }
        if self.folders.replaces && fs::symlink_metadata(&path).is_ok_and(|found| !found.is_dir()) {
            fs::remove_file(&path).map_err(|error| failed("cannot replace", &path, &error))?;
        }
        symlink(&link.target, &path).map_err(|error| failed("cannot make the symbolic link", &path, &error))
    }
}

fn open_message(message: &Path) -> Result<File> {
    let opened = open_regular(message).map(|(file, _)| file);
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let detail = format!("{message:?} is missing: the manifest lists it");
            Error::other(ErrorKind::Io, detail, error)
        }
        _ => failed("cannot read", message, &error),
    })
}

/// The entries to decrypt, in order. Makes the folders.
struct Entries<'a> {
    job: &'a Job<'a>,
    reader: ManifestReader,
    rules: Rules,
    /// The folder that could not be made, whose entries fail too.
    unmade: Option<String>,
}

impl<'a> Entries<'a> {
    fn read(job: &'a Job<'a>, manifest: &Manifest) -> Result<Self> {
        let reader = manifest.read(job.folders.client, job.expected)?;
        Ok(Self { job, reader, rules: Rules::new(job.folders.allowed), unmade: None })
    }

    fn prepare(&mut self, entry: Entry) -> Next {
        // Again: the file may have changed since all of it was verified.
        if let Err(error) = self.rules.check(&entry) {
            return Next::Stopped(error);
        }
        if matches!(entry, Entry::Link(_)) {
            return Next::Entry(entry);
        }
        let path = entry.path();
        let is_in = |folder: &String| path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if self.unmade.as_ref().is_some_and(is_in) {
            let error = refused(format!("{path:?} is left out because its folder could not be made"));
            return Next::Failed(path.to_owned(), error);
        }
        if matches!(entry, Entry::Folder(_))
            && let Err(error) = make_folder(&self.job.target.path_of(path))
        {
            self.unmade = Some(path.to_owned());
            return Next::Failed(path.to_owned(), error);
        }
        Next::Entry(entry)
    }
}

/// The next entry, or what is wrong with it.
enum Next {
    Entry(Entry),
    Failed(String, Error),
    Stopped(Error),
}

impl Iterator for Entries<'_> {
    type Item = Next;

    fn next(&mut self) -> Option<Next> {
        match self.reader.next() {
            Ok(entry) => Some(self.prepare(entry?)),
            Err(error) => Some(Next::Stopped(error)),
        }
    }
}

/// Gives a folder its permissions and its time of modification.
fn set_attributes(folder: &Path, attributes: &Attributes) -> Result<()> {
    let failed = |error| failed("cannot set the attributes of", folder, &error);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Opened first: the permissions may not let its owner in.
        let opened = File::open(folder).map_err(failed)?;
        if let Some(modified) = attributes.modified() {
            opened.set_times(fs::FileTimes::new().set_modified(modified)).map_err(failed)?;
        }
        if let Some(mode) = attributes.mode() {
            opened.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
        }
    }
    #[cfg(not(unix))]
    let _ = (attributes, failed);
    Ok(())
}

#[cfg(unix)]
fn symlink(target: &str, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(not(unix))]
fn symlink(_: &str, _: &Path) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no symbolic links that anyone may make"))
}
