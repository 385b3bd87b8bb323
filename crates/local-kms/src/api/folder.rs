//! A KMS in a folder, with its root key.

use std::path::Path;

use crate::api::maintenance::RootKeyChange;
use crate::builder::LocalKmsBuilder;
use crate::error::invalid;
use crate::folder::{Folder, Step};
use crate::local_kms::LocalKms;
use crate::root_key::RootKey;
use manila_core::{ErrorKind, Result};

impl LocalKms {
    /// The name of the root key in a folder of [`open_or_create`](Self::open_or_create).
    pub const ROOT_KEY_FILE: &str = "root.key";
    /// The name of the store in a folder of [`open_or_create`](Self::open_or_create).
    pub const STORE_FILE: &str = "keys.redb";

    /// The KMS in a folder; a new one with a new root key if there is none. See
    /// [`LocalKmsBuilder::open_or_create`].
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let folder = folder.path().join("kms");
    /// use manila_local_kms::{CreateKey, LocalKms};
    ///
    /// let kms = LocalKms::open_or_create(&folder)?; // the same at each start
    /// let key = kms.find_or_create_key("alias/app", CreateKey::default())?;
    /// # assert_eq!(LocalKms::open_or_create(&folder)?.describe_key("alias/app")?, key);
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`LocalKmsBuilder::open_or_create`].
    pub fn open_or_create(folder: impl AsRef<Path>) -> Result<Self> {
        LocalKmsBuilder::default().open_or_create(folder)
    }

    /// [`change_root_key`](Self::change_root_key) for a KMS in a folder of [`open_or_create`](Self::open_or_create):
    /// makes the new root key, and gives it the old one's name once the store is sealed under it. If the program ends
    /// in between, the next opening of the folder finishes that.
    ///
    /// The old root key stays in the folder, under a name with a number: backups from before need it. Remove it with
    /// the last of them.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let folder = folder.path().join("kms");
    /// use manila_local_kms::LocalKms;
    ///
    /// let kms = LocalKms::open_or_create(&folder)?;
    /// let change = kms.change_root_key_in(&folder)?;
    /// assert_eq!(change.old_root_key(), Some(folder.join("root.key.1").as_path()));
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`change_root_key`](Self::change_root_key);
    /// [`ErrorKind::InvalidInput`] if the KMS is not the one in the folder,
    /// [`ErrorKind::Io`] if the new root key cannot be written.
    pub fn change_root_key_in(&self, folder: impl AsRef<Path>) -> Result<RootKeyChange> {
        self.change_root_in(folder.as_ref(), false)
    }

    /// [`change_root_key_and_rotate`](Self::change_root_key_and_rotate) for a KMS in a folder, as
    /// [`change_root_key_in`](Self::change_root_key_in).
    ///
    /// # Errors
    /// The same as [`change_root_key_in`](Self::change_root_key_in).
    pub fn change_root_key_in_and_rotate(&self, folder: impl AsRef<Path>) -> Result<RootKeyChange> {
        self.change_root_in(folder.as_ref(), true)
    }

    fn change_root_in(&self, folder: &Path, rotate: bool) -> Result<RootKeyChange> {
        let mut begun = None;
        let changed = self.change_root(
            || {
                let folder = Folder::of(folder)?;
                if !self.shared.store.is_at(&folder.store()) {
                    let path = folder.path();
                    let message = format!("the KMS is not the one in {path:?}: name the folder that it was opened in");
                    return Err(invalid("ValidationException", message));
                }
                let lock = folder.lock()?;
                folder.settle()?;
                // The store opens under the other root key, so this one is of use to nobody.
                folder.forget_new_root_key()?;
                let root_key = RootKey::create_file(folder.new_root_key())?;
                begun = Some((folder, lock));
                Ok(root_key)
            },
            rotate,
        );
        let Some((folder, _lock)) = begun else { return changed };
        match changed {
            Ok(mut change) => {
                // The new root key holds, so nothing here is a failure of the call.
                match folder.replace_root_key() {
                    Ok(old) => change.old_root_key = Some(old),
                    Err(error) => {
                        tracing::warn!(%error, "the new root key did not get its name: the next opening gives it");
                    }
                }
                Ok(change)
            }
            Err(error) => {
                match error.kind() {
                    // The disk may have failed with either root key in the store: both stay.
                    ErrorKind::Storage | ErrorKind::RootKeyChanged => drop(folder.settle()),
                    _ => folder.forget_new_root_key()?,
                }
                Err(error)
            }
        }
    }
}

impl LocalKmsBuilder {
    /// The KMS in a folder, in the files [`root.key`](LocalKms::ROOT_KEY_FILE) and [`keys.redb`](LocalKms::STORE_FILE);
    /// a new one with a new root key if there is none. [`LocalKms::is_new`] tells which.
    ///
    /// If a program ends at any moment while it creates a KMS, the next call finishes the job; programs that call this
    /// at the same time get the same KMS. A folder that is created is accessible only to its owner, as the files are.
    /// If only one of the two files exists, nothing is created: without its root key a store can never be opened. Keep
    /// copies of both files. The empty file `.lock` next to them needs no copy.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let folder = folder.path().join("kms");
    /// use manila_local_kms::{AuditLog, LocalKms};
    ///
    /// let log = AuditLog::file(folder.join("audit.jsonl"));
    /// let kms = LocalKms::builder().region("eu-west-1").audit(log).open_or_create(&folder)?;
    /// assert!(kms.is_new());
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if only one of the two files exists: restore the other from a
    /// copy. Otherwise the same as [`open`](Self::open), [`create`](Self::create) and [`RootKey::open_file`].
    pub fn open_or_create(self, folder: impl AsRef<Path>) -> Result<LocalKms> {
        self.check()?;
        let folder = Folder::of(folder.as_ref())?;
        let open = || self.clone().open(folder.store(), RootKey::open_file(folder.root_key())?);
        let mut failed = None;
        if matches!(folder.step(), Ok(Step::Open)) {
            match open() {
                // Another program may be changing the root key just now, or have ended while it did.
                Err(error) if matches!(error.kind(), ErrorKind::Storage | ErrorKind::Io) => failed = Some(error),
                opened => return opened,
            }
        }
        folder.make()?;
        let _lock = match folder.lock() {
            Ok(lock) => lock,
            // A folder that cannot be written is as it was found.
            Err(error) => return Err(folder.step().err().or(failed).unwrap_or(error)),
        };
        let mut made = None;
        loop {
            match folder.step()? {
                Step::WriteRootKey => drop(RootKey::create_file(folder.new_root_key())?),
                Step::MakeStore => {
                    let root_key = RootKey::open_file(folder.new_root_key())?;
                    made = Some(self.clone().create(folder.store(), root_key)?);
                }
                Step::NameRootKey => folder.name_root_key()?,
                Step::Open => {
                    return made.map_or_else(
                        || {
                            folder.settle()?;
                            open()
                        },
                        Ok,
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{self, Event};

    #[test]
    fn each_step_is_on_the_disk_before_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("kms");
        let (made, events) = disk::events(|| LocalKms::open_or_create(&folder));
        let kms = made.unwrap();
        let is_written = |events: &[Event]| match events {
            [Event::Synced { len }, Event::Named, Event::SyncedFolder] => *len > 0,
            _ => false,
        };
        let [Event::SyncedFolder, steps @ ..] = &events[..] else {
            panic!("the folder is not on the disk: {events:?}")
        };
        let (root_key, rest) = steps.split_at(3);
        let (store, name) = rest.split_at(3);
        assert!(is_written(root_key) && root_key[0] == Event::Synced { len: 32 }, "{events:?}");
        assert!(is_written(store), "{events:?}");
        assert_eq!(name, [Event::Named, Event::SyncedFolder]);

        let (changed, events) = disk::events(|| kms.change_root_key_in(&folder));
        changed.unwrap();
        let (root_key, names) = events.split_at(3);
        assert!(is_written(root_key), "{events:?}");
        assert_eq!(names, [Event::Named, Event::SyncedFolder, Event::Named, Event::SyncedFolder]);
    }
}
