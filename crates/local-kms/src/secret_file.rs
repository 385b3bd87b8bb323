//! Files with secrets: who may have access to them.

use std::fs::File;
use std::io;

/// Fails unless only its owner has access to an open file with a secret, as [`RootKey::open_file`] requires it.
///
/// On Unix the file must belong to root or to the user that runs the program, and only its owner may have access to it
/// (`chmod 600`). A file that is not writable, not even by its owner, may be readable by others: Kubernetes (mode 0440
/// with `fsGroup`) and Docker (mode 0444) mount secrets into containers in this way. On other systems every file is
/// accepted.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("root.key");
/// use manila_local_kms::{RootKey, check_secret_file};
///
/// RootKey::create_file(&path)?;
/// check_secret_file(&std::fs::File::open(&path)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] if the file belongs to another user or other users have access to it, with a
/// text that says how to change that.
///
/// [`RootKey::open_file`]: crate::RootKey::open_file
pub fn check_secret_file(file: &File) -> io::Result<()> {
    check(file)
}

#[cfg(unix)]
fn check(file: &File) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    check_owner_and_mode(metadata.uid(), metadata.mode(), user())
}

/// Secrets that Kubernetes and Docker mount belong to root and cannot be written by anyone: the container decides who
/// may read them. A file that a user created is writable, so it must be accessible only to its owner.
#[cfg(unix)]
fn check_owner_and_mode(owner: u32, mode: u32, user: Option<u32>) -> io::Result<()> {
    const ROOT: u32 = 0;
    const OF_OTHERS: u32 = 0o077;
    const WRITE_OR_EXECUTE: u32 = 0o333;
    let failed = |detail: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, detail));
    if owner != ROOT && Some(owner) != user {
        return failed(format!(
            "it belongs to another user, number {owner}: change its owner to root or to this program's user, or copy \
             it as that user"
        ));
    }
    if mode & OF_OTHERS == 0 || mode & WRITE_OR_EXECUTE == 0 {
        return Ok(());
    }
    failed(format!(
        "its mode gives other users access, {:04o}: chmod 600 the file, or mount the secret with mode 0440 or 0400",
        mode & 0o7777
    ))
}

/// Returns the user that new files of this process belong to, if that can be determined.
#[cfg(unix)]
fn user() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let of_process = || std::fs::metadata("/proc/self").ok();
    let of_new_file = || tempfile::tempfile().ok()?.metadata().ok();
    of_process().or_else(of_new_file).map(|metadata| metadata.uid())
}

#[cfg(not(unix))]
fn check(_: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use tempfile::NamedTempFile;

    use super::*;

    #[test]
    fn a_file_is_taken_by_its_owner_and_its_mode() {
        let taken = |owner, mode: u32, user| check_owner_and_mode(owner, 0o100_000 | mode, user).is_ok();
        for (owner, user) in [(0, Some(0)), (0, Some(1000)), (1000, Some(1000)), (0, None)] {
            for mode in [0o600, 0o400, 0o700, 0o440, 0o444] {
                assert!(taken(owner, mode, user), "{mode:o} of {owner} for {user:?}");
            }
            for mode in [0o640, 0o644, 0o660, 0o604, 0o610, 0o620, 0o602, 0o460, 0o446, 0o666, 0o777, 0o550] {
                assert!(!taken(owner, mode, user), "{mode:o} of {owner} for {user:?}");
            }
        }
        for (owner, user) in [(1000, Some(0)), (1000, Some(1001)), (1000, None)] {
            for mode in [0o600, 0o400, 0o440, 0o444] {
                assert!(!taken(owner, mode, user), "{mode:o} of {owner} for {user:?}");
            }
        }
        let text = |owner, mode| check_owner_and_mode(owner, mode, Some(1000)).unwrap_err().to_string();
        assert!(text(1001, 0o600).contains("number 1001") && text(1000, 0o644).contains("0644: chmod 600"));
    }

    #[test]
    fn the_user_is_the_one_that_new_files_belong_to() {
        use std::os::unix::fs::MetadataExt;
        let file = NamedTempFile::new().unwrap();
        assert_eq!(user(), Some(file.as_file().metadata().unwrap().uid()));
    }
}
