//! Temporary files in which stores are created, and the removal of those that killed programs left behind.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;

use crate::root_key::folder_of;

/// The time after which a temporary file without writes is considered left behind, because a program that creates a
/// store writes to its file continually.
const LEFT_OVER: Duration = Duration::from_secs(24 * 60 * 60);
const SUFFIX: &str = ".tmp";

/// Returns a temporary file next to `path`, accessible only to its owner. Removes files that earlier attempts to create
/// the same file left behind.
pub(super) fn new_temporary(path: &Path) -> io::Result<NamedTempFile> {
    let (folder, prefix) = (folder_of(path), prefix(path));
    // Failures to find or remove them do no harm.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_temporary = entry.file_name().to_str().is_some_and(|name| is_temporary(name, &prefix));
        if is_temporary && entry.metadata().is_ok_and(|metadata| is_left_over(&metadata)) {
            let _ = fs::remove_file(entry.path());
        }
    }
    tempfile::Builder::new().prefix(&prefix).suffix(SUFFIX).tempfile_in(folder)
}

/// Returns the prefix of the names: as much of the path's file name as leaves room for the rest.
fn prefix(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(".manila-{}-", name.chars().take(40).collect::<String>())
}

/// Returns whether [`new_temporary`] gives such a name for `prefix`.
fn is_temporary(name: &str, prefix: &str) -> bool {
    let random = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(SUFFIX));
    random.is_some_and(|random| random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn is_left_over(metadata: &Metadata) -> bool {
    let age = metadata.modified().ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    metadata.is_file() && age.is_some_and(|age| age > LEFT_OVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_program_left_of_a_file_is_removed_by_the_next_that_makes_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("store"), folder.path().join("store-2"));
        let age = |path: &Path| {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - LEFT_OVER - LEFT_OVER).unwrap();
        };
        let make = |path: &Path| new_temporary(path).unwrap().into_temp_path().keep().unwrap();
        let [left, being_made, of_another] = [make(&path), make(&path), make(&other)];
        let near =
            [".manila-store-abc.tmp", ".manila-store-abcde!.tmp", ".manila-store-abcdef", "store", ".manila-abcdef"]
                .map(|name| folder.path().join(name));
        for path in &near {
            fs::write(path, "x").unwrap();
        }
        near.iter().chain([&left, &of_another]).for_each(|path| age(path));
        new_temporary(&path).unwrap();
        assert!(!left.exists() && being_made.exists() && of_another.exists());
        assert!(near.iter().all(|path| path.exists()));
        new_temporary(&other).unwrap();
        assert!(!of_another.exists() && being_made.exists());
    }
}
