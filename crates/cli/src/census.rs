//! A census of encrypted files: under which keys, versions of keys and suites they are, as their headers tell.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use manila::local_kms::CiphertextOrigin;
use manila::{EncryptedDataKey, UnverifiedHeader};
use serde::Serialize;

use crate::console::say;
use crate::failure::{Failure, Result, naming};
use crate::report;
use crate::walk::{Found, Locking, Roots};

/// The provider id of keys in a KMS with AWS's ARNs.
pub const KMS: &str = "aws-kms";
/// The number of different groups that are kept: more than anyone has, and few enough for files that are made up.
const MOST_GROUPS: usize = 10_000;
/// The number of failures that a report names. All of them are named on stderr.
pub const MOST_FAILURES: usize = 1_000;

/// A header, and the size of its file in bytes.
pub struct Head {
    pub header: UnverifiedHeader,
    pub len: u64,
}

impl Head {
    /// Reads the header of a file that was found.
    pub fn of(found: Result<Found>) -> Result<Self, Unreadable> {
        let found = found.map_err(|failure| Unreadable { file: None, error: failure.to_string() })?;
        let file = || Some(found.path.to_string_lossy().into_owned());
        Self::read(&found.path).map_err(|failure| Unreadable { file: file(), error: failure.to_string() })
    }

    /// Reads the header of a file.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |error| Failure::file("cannot read", path, error);
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok(Self { header: UnverifiedHeader::read(BufReader::with_capacity(4096, file))?, len })
    }
}

/// Returns the name of the key that a data key is encrypted under: its ARN, or its provider and name.
pub fn key_of(data_key: &EncryptedDataKey) -> String {
    match &*data_key.provider_id {
        KMS => data_key.key_name().into_owned(),
        provider => format!("{provider}/{}", data_key.key_name()),
    }
}

/// Returns the version of the key, if the embedded KMS made it.
pub fn version_of(data_key: &EncryptedDataKey) -> Option<u32> {
    let origin = CiphertextOrigin::of(&data_key.ciphertext).filter(|_| data_key.provider_id == KMS)?;
    Some(origin.key_version())
}

/// The count of what was found.
#[derive(Default)]
pub struct Census {
    files: u64,
    bytes: u64,
    unreadable_files: u64,
    unreadable: Vec<Unreadable>,
    groups: BTreeMap<Group, Count>,
    /// In groups that are not kept.
    others: Count,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    key: String,
    key_version: Option<u32>,
    suite: String,
}

#[derive(Clone, Copy, Default, Serialize)]
struct Count {
    files: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// A file that could not be read or worked on, or a folder, which only the error names.
#[derive(Debug, Serialize)]
pub struct Unreadable {
    pub file: Option<String>,
    pub error: String,
}

impl Unreadable {
    /// Returns the line about it.
    pub fn line(&self) -> String {
        let Self { file, error } = self;
        format!("error: {}", file.as_ref().map_or_else(|| error.clone(), |file| naming(file, error)))
    }

    fn say(&self) {
        say(&self.line());
    }
}

impl Census {
    /// Reads the headers of all files, and names those that it cannot read on stderr.
    pub fn take(roots: &Roots) -> Self {
        let mut census = Self::default();
        for found in roots.walk(Locking::None) {
            census.add(found);
        }
        census
    }

    fn add(&mut self, found: Result<Found>) {
        let Head { header, len } = match Head::of(found) {
            Ok(head) => head,
            Err(unreadable) => return self.add_unreadable(unreadable),
        };
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(len);
        let mut groups: Vec<_> = header
            .encrypted_data_keys()
            .iter()
            .map(|key| Group { key: key_of(key), key_version: version_of(key), suite: header.suite().to_string() })
            .collect();
        groups.sort();
        groups.dedup();
        for group in groups {
            let is_kept = self.groups.len() < MOST_GROUPS || self.groups.contains_key(&group);
            if is_kept { self.groups.entry(group).or_default() } else { &mut self.others }.add(len);
        }
    }

    fn add_unreadable(&mut self, unreadable: Unreadable) {
        unreadable.say();
        self.unreadable_files = self.unreadable_files.saturating_add(1);
        if self.unreadable.len() < MOST_FAILURES {
            self.unreadable.push(unreadable);
        }
    }

    /// Prints it.
    pub fn print(&self, json: bool) -> Result<()> {
        #[derive(Serialize)]
        struct Row<'a> {
            key: &'a str,
            key_version: Option<u32>,
            suite: &'a str,
            #[serde(flatten)]
            count: Count,
        }
        #[derive(Serialize)]
        struct Document<'a> {
            verified: bool,
            files: u64,
            bytes: u64,
            unreadable_files: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            unreadable: Option<&'a [Unreadable]>,
            #[serde(skip_serializing_if = "Option::is_none")]
            keys: Option<Vec<Row<'a>>>,
        }
        let mut rows: Vec<_> = self
            .groups
            .iter()
            .map(|(group, count)| Row {
                key: &group.key,
                key_version: group.key_version,
                suite: &group.suite,
                count: *count,
            })
            .collect();
        if self.others.files > 0 {
            rows.push(Row { key: "others", key_version: None, suite: "", count: self.others });
        }
        let Self { files, bytes, unreadable_files, .. } = *self;
        let document =
            |unreadable, keys| Document { verified: false, files, bytes, unreadable_files, unreadable, keys };
        if json {
            return report::print(&document(Some(&self.unreadable), Some(rows)), true);
        }
        report::print(&rows, false)?;
        say("note: nothing is verified: anyone can write a header");
        report::print(&document(None, None), false)
    }

    /// Fails if some files could not be read.
    pub fn check(&self) -> Result<()> {
        if self.unreadable_files == 0 { Ok(()) } else { Err(Failure::Reported) }
    }
}

/// The files that nobody could decrypt any more without a key.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deletion {
    /// Those that are under this key and no other.
    pub lost_files: u64,
    pub lost_bytes: u64,
    /// Those that another key opens too.
    pub files_with_another_key: u64,
    pub files_under_other_keys: u64,
    pub unreadable_files: u64,
}

impl Deletion {
    /// Counts the files that are under the key with an ARN. Names those that cannot be read on stderr.
    pub fn of_key(arn: &str, roots: &Roots) -> Self {
        let mut lost = Self::default();
        for found in roots.walk(Locking::None) {
            let head = match Head::of(found) {
                Ok(head) => head,
                Err(unreadable) => {
                    unreadable.say();
                    lost.unreadable_files = lost.unreadable_files.saturating_add(1);
                    continue;
                }
            };
            let keys = head.header.encrypted_data_keys();
            let of_it = keys.iter().filter(|key| key.provider_id == KMS && key.provider_info == arn.as_bytes()).count();
            let count = match of_it {
                0 => &mut lost.files_under_other_keys,
                of_it if of_it < keys.len() => &mut lost.files_with_another_key,
                _ => {
                    lost.lost_bytes = lost.lost_bytes.saturating_add(head.len);
                    &mut lost.lost_files
                }
            };
            *count = count.saturating_add(1);
        }
        lost
    }

    /// Returns the sentence that says what would be lost.
    pub fn sentence(&self) -> String {
        let Self { lost_files, lost_bytes, files_with_another_key, files_under_other_keys, unreadable_files } = self;
        let mut text = format!(
            "{lost_files} files of {lost_bytes} bytes could no longer be decrypted; {files_with_another_key} are under \
             another key too, and {files_under_other_keys} under other keys alone"
        );
        if *unreadable_files > 0 {
            let _ = write!(text, "; {unreadable_files} could not be read, and may be lost too");
        }
        text
    }
}
