//! Maintenance of the store: backups, another root key, purging.

use std::path::Path;

use crate::error::Result;
use crate::kms::local::LocalKms;
use crate::kms::local::audit::Details;
use crate::kms::local::builder::LocalKmsBuilder;
use crate::kms::local::call::Owner;
use crate::kms::local::operation::Operation;
use crate::kms::local::record::audit::remember_key;
use crate::kms::local::record::{alias, grant};
use crate::kms::local::root_key::RootKey;

impl LocalKms {
    /// Writes a copy of the store as it is now to a new file, sealed under the same root key. For the owner alone.
    ///
    /// A backup keeps what it holds, also of keys that are deleted later: see [`restore`](Self::restore).
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if there is a file already or it cannot be made, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the
    /// owner asks.
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<()> {
        let request = Details::new().path("path", path.as_ref());
        self.maintain(Operation::Backup, request, |call| {
            self.shared.store.copy_to(path.as_ref(), || call.succeeds(&()))
        })
    }

    /// Makes the backup at `backup` a new KMS at `path`. Keys whose deletion was due meanwhile are left out: the second
    /// result is their number.
    ///
    /// # Errors
    /// As [`open`](Self::open) of the backup and [`create`](Self::create) of the new file.
    pub fn restore(backup: impl AsRef<Path>, path: impl AsRef<Path>, root_key: RootKey) -> Result<(Self, usize)> {
        LocalKmsBuilder::default().restore(backup, path, root_key)
    }

    /// Removes what is past its deadline, compacts the file, and writes over the space that was given back: no byte of
    /// a deleted key is left in it. For the owner alone. Returns the number of keys that were removed now.
    ///
    /// The medium below may keep copies of its own, as flash memory and snapshots do.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if another process is using the store at the moment, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another
    /// than the owner asks.
    pub fn purge(&self) -> Result<usize> {
        self.maintain(Operation::Purge, Details::new(), |call| {
            let deleted = self.settle(call.now, &[])?;
            // Nobody sees the rest, so its line can say how it went.
            self.shared.store.purge()?;
            Ok(deleted)
        })
    }

    /// Seals everything under another root key, in one transaction. For the owner alone.
    ///
    /// Other handles of the store, in this process or others, then fail with [`ErrorKind::RootKeyChanged`](crate::ErrorKind::RootKeyChanged) until they
    /// are opened with the new one; clones of this handle go on. Copies of the file from before are still sealed under
    /// the old key.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks, [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store cannot be written.
    pub fn change_root_key(&self, root_key: RootKey) -> Result<()> {
        self.maintain(Operation::ChangeRootKey, Details::new(), |call| {
            self.shared.store.change_root_key(root_key, |tables, old| {
                remember_key(tables, old)?;
                alias::index_anew(tables)?;
                grant::index_anew(tables)?;
                call.will_commit(tables);
                call.succeeds(&())?;
                // Who has the old root key can write the lines so far anew, unless the store knows their end. A change of
                // the root key does not wait for a log that is kept at best effort.
                let _ = self.shared.keep_end(tables);
                Ok(())
            })?;
            self.shared.load_line_keys()
        })
    }

    pub(in crate::kms::local) fn settle_restored(&self) -> Result<usize> {
        let dropped = self.write(Operation::Restore, &Owner, Details::new(), |_, (), call| Ok(call.swept))?;
        // The copy was of all of the backup: what was left out of it is not to stay in the file.
        if dropped > 0 {
            self.shared.store.purge()?;
        }
        Ok(dropped)
    }
}
