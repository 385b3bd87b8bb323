//! [`Entry`]: what the manifest of an encrypted folder says about each thing in it.

use std::cmp::Ordering;
use std::fmt;
use std::time::{Duration, SystemTime};

use manila_core::Result;
use manila_core::internal::crypto::{Sha256, hex, random_array};
use serde::{Deserialize, Serialize};

/// A folder, a file or a symbolic link, by its path in the folder that was encrypted. A path is relative, and `/`
/// stands between its names on every system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Entry {
    Folder(FolderEntry),
    File(FileEntry),
    Link(LinkEntry),
}

impl Entry {
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Folder(folder) => &folder.path,
            Self::File(file) => &file.path,
            Self::Link(link) => &link.path,
        }
    }
}

/// Compares paths by their names, in the order of a manifest: a folder comes before what is in it.
pub(super) fn order(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FolderEntry {
    pub(super) path: String,
    pub(super) attributes: Attributes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileEntry {
    pub(super) path: String,
    pub(super) attributes: Attributes,
    /// Length of the plaintext in bytes.
    pub(super) len: u64,
    /// The SHA-256 digest of the plaintext.
    pub(super) digest: Digest,
    /// The random name that the message is stored under, if it is not stored under the file's path.
    pub(super) hidden: Option<RandomName>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkEntry {
    pub(super) path: String,
    /// The path that the link holds, unchanged.
    pub(super) target: String,
}

/// Attributes of a file or a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attributes {
    /// The permissions of Unix, without set-user-ID, set-group-ID and sticky bits.
    mode: Option<u32>,
    /// The time of modification: seconds and nanoseconds since 1970-01-01, or before it if `modified` is negative.
    modified: (i64, u32),
}

/// The permissions that are kept.
const MODE: u32 = 0o777;

impl Attributes {
    pub(super) fn of(metadata: &std::fs::Metadata) -> Self {
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Self { mode: mode(metadata), modified: to_pair(modified) }
    }

    pub(super) fn mode(&self) -> Option<u32> {
        self.mode.map(|mode| mode & MODE)
    }

    /// Returns the time of modification, if this system has such a time.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        let (seconds, nanoseconds) = self.modified;
        let nanoseconds = Duration::from_nanos(u64::from(nanoseconds));
        let whole = Duration::from_secs(seconds.unsigned_abs());
        let at = match seconds {
            0.. => SystemTime::UNIX_EPOCH.checked_add(whole)?,
            _ => SystemTime::UNIX_EPOCH.checked_sub(whole)?,
        };
        at.checked_add(nanoseconds)
    }

    /// Returns whether a file has these, as far as they tell that it was not changed.
    pub(super) fn has_time_of(&self, other: &Self) -> bool {
        self.modified == other.modified
    }
}

/// Returns the second that the time is in, and the nanoseconds since its start.
fn to_pair(time: SystemTime) -> (i64, u32) {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => (seconds(since), since.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            match before.subsec_nanos() {
                0 => (-seconds(before), 0),
                nanoseconds => (-seconds(before) - 1, 1_000_000_000 - nanoseconds),
            }
        }
    }
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)]
fn mode(metadata: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    Some(metadata.permissions().mode() & MODE)
}

#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> Option<u32> {
    None
}

/// The SHA-256 digest of a plaintext.
pub(super) type Digest = Hex<{ Sha256::LEN }>;

/// A random name of a file, or a random id of a folder.
pub(super) type RandomName = Hex<16>;

/// So many bytes as hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Hex<const LEN: usize>(String);

impl<const LEN: usize> Hex<LEN> {
    pub(super) fn of(bytes: &[u8; LEN]) -> Self {
        Self(hex(bytes))
    }

    pub(super) fn random() -> Result<Self> {
        Ok(Self::of(&random_array()?))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const LEN: usize> TryFrom<String> for Hex<LEN> {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_hex && text.len() == 2 * LEN { Ok(Self(text)) } else { Err("digits are missing or wrong") }
    }
}

impl<const LEN: usize> From<Hex<LEN>> for String {
    fn from(hex: Hex<LEN>) -> Self {
        hex.0
    }
}

impl<const LEN: usize> fmt::Debug for Hex<LEN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_before_and_after_1970() {
        for (seconds, nanoseconds) in [(0, 0), (1, 5), (-1, 999_999_999), (-1, 0), (1_764_000_000, 123_456_789)] {
            let attributes = Attributes { mode: None, modified: (seconds, nanoseconds) };
            assert_eq!(to_pair(attributes.modified().unwrap()), (seconds, nanoseconds));
        }
        let never = Attributes { mode: None, modified: (i64::MAX, u32::MAX) };
        assert_eq!(never.modified(), None);
    }

    #[test]
    fn a_random_name_is_nothing_else() {
        let name = RandomName::random().unwrap();
        assert_eq!(RandomName::try_from(name.as_str().to_owned()).unwrap(), name);
        assert_ne!(RandomName::random().unwrap(), name);
        for other in ["", "..", "../../../../../../etc/passwd.txt", &"A".repeat(32), &"0".repeat(31)] {
            assert!(RandomName::try_from(other.to_owned()).is_err(), "{other}");
        }
    }

    #[test]
    fn an_entry_is_a_line_of_json() {
        let attributes = Attributes { mode: Some(0o644), modified: (1, 2) };
        let digest = Digest::of(&[0xab; 32]);
        let file = FileEntry { path: "a/b".to_owned(), attributes, len: 3, digest, hidden: None };
        let line = serde_json::to_string(&Entry::File(file.clone())).unwrap();
        let known = format!(
            r#"{{"file":{{"path":"a/b","attributes":{{"mode":420,"modified":[1,2]}},"len":3,"digest":"{}","hidden":null}}}}"#,
            "ab".repeat(32)
        );
        assert_eq!(line, known);
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), Entry::File(file));
        for unknown in [r#"{"device":{"path":"a"}}"#, r#"{"link":{"path":"a","target":"b","more":1}}"#] {
            assert!(serde_json::from_str::<Entry>(unknown).is_err(), "{unknown}");
        }
    }
}
