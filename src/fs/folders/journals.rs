//! [`Journals`]: the manifests of earlier encryptions of a folder, complete or cut off, read along with a walk.

use std::cmp::Ordering;
use std::path::PathBuf;

use manila_core::{EncryptionContext, Result};

use super::Folders;
use super::entry::{Entry, FileEntry, RandomName, order};
use super::layout::EncryptedFolder;
use super::manifest::{Manifest, ManifestReader};
use crate::expected_context::ExpectedContext;

/// Journals of encryptions that did not finish, newest first, and the manifest of the last one that did. Paths must be
/// asked for in order.
pub(super) struct Journals(Vec<Journal>);

/// A journal, read as far as was asked for.
struct Journal {
    reader: ManifestReader,
    next: Option<Entry>,
}

impl Journals {
    /// Opens those of a folder. One that the keys do not decrypt is of no use, and left out; so is one of a folder with
    /// another id.
    pub(super) fn open(folders: &Folders<'_>, target: &EncryptedFolder, context: &EncryptionContext) -> Result<Self> {
        let expected = ExpectedContext::of_written(context);
        let open = |path: PathBuf| {
            let reader = Manifest::open(path).and_then(|journal| journal.read(folders.client, &expected));
            reader.ok().map(|reader| Journal { reader, next: None })
        };
        let manifest = open(target.manifest());
        let mut journals: Vec<_> = target.journals()?.into_iter().filter_map(open).collect();
        let of_folder = manifest.as_ref().or(journals.first()).map(|journal| journal.reader.id().clone());
        journals.extend(manifest);
        journals.retain(|journal| Some(journal.reader.id()) == of_folder.as_ref());
        Ok(Self(journals))
    }

    /// Returns the id of the folder, if there are any.
    pub(super) fn id(&self) -> Option<&RandomName> {
        self.0.first().map(|journal| journal.reader.id())
    }

    /// Returns the files of a path, newest first.
    pub(super) fn find(&mut self, path: &str) -> Vec<FileEntry> {
        let of_file = |entry| if let Entry::File(file) = entry { Some(file) } else { None };
        let found = self.0.iter_mut().filter_map(|journal| {
            let is_there = journal.peek_from(path).is_some_and(|entry| entry.path() == path);
            if is_there { journal.next.take() } else { None }
        });
        found.filter_map(of_file).collect()
    }

    /// Returns the entries of the next path that is `path` or in it, newest first.
    pub(super) fn next_in(&mut self, path: &str) -> Option<Vec<Entry>> {
        let peeked =
            self.0.iter_mut().filter_map(|journal| journal.peek_from(path).map(|entry| entry.path().to_owned()));
        let next = peeked.filter(|next| is_in(next, path)).min_by(|a, b| order(a, b))?;
        let take = |journal: &mut Journal| journal.next.take_if(|entry| entry.path() == next);
        Some(self.0.iter_mut().filter_map(take).collect())
    }
}

impl Journal {
    /// Returns the first entry that is not before `path`. The end of a journal is where it was cut off.
    fn peek_from(&mut self, path: &str) -> Option<&Entry> {
        loop {
            if self.next.is_none() {
                self.next = self.reader.next().ok().flatten();
            }
            match self.next.as_ref().map(|entry| order(entry.path(), path)) {
                Some(Ordering::Less) => self.next = None,
                _ => return self.next.as_ref(),
            }
        }
    }
}

fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
