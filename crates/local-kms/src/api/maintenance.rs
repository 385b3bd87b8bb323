//! Maintenance of the store: backups, purging and changes of the root key.

use std::path::{Path, PathBuf};

use crate::api::rotation::check_can_rotate;
use crate::audit::Details;
use crate::call::{Call, Owner};
use crate::local_kms::LocalKms;
use crate::location::Location;
use crate::operation::Operation;
use crate::record::audit::{line_keys, remember_key};
use crate::record::key::{MaterialRecord, RotationType};
use crate::record::{alias, grants, identity};
use crate::root_key::RootKey;
use crate::store::{Table, Tables, WriteTxn, damaged};
use manila_core::Result;

/// The result of a change of the root key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootKeyChange {
    purged: bool,
    rotated: Vec<String>,
    not_rotated: Vec<String>,
    pub(super) old_root_key: Option<PathBuf>,
}

impl RootKeyChange {
    /// Returns whether everything that was sealed under the old root key was overwritten. If another process read the
    /// store for too long, it was not; the next [`LocalKms::purge`] or the next opening then overwrites it.
    #[must_use]
    pub fn is_purged(&self) -> bool {
        self.purged
    }

    /// Returns the ARNs of the keys that were rotated.
    #[must_use]
    pub fn rotated(&self) -> &[String] {
        &self.rotated
    }

    /// Returns the ARNs of the keys that cannot be rotated.
    #[must_use]
    pub fn not_rotated(&self) -> &[String] {
        &self.not_rotated
    }

    /// Returns the file of the old root key, if the change was made [in a folder](LocalKms::change_root_key_in):
    /// backups from before need it.
    #[must_use]
    pub fn old_root_key(&self) -> Option<&Path> {
        self.old_root_key.as_deref()
    }
}

impl LocalKms {
    /// Writes a copy of the current store to a new file, sealed under the same root key. Only the owner may call this.
    ///
    /// A backup keeps its contents, including keys that are deleted later: see [`restore`](Self::restore).
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the file exists or cannot be created,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store is damaged (the copy is verified as a whole),
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller is not the owner.
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<()> {
        let request = Details::new().path("path", path.as_ref());
        self.maintain(Operation::Backup, request, |call| {
            self.shared.store.copy_to(path.as_ref(), |_| call.succeeds(&()))
        })
    }

    /// Removes everything past its deadline, overwrites all removed data in the file, and compacts the file. Returns
    /// the number of keys that this call removed.
    ///
    /// Afterwards the file contains no byte of a deleted key, of imported material that was deleted or has expired, or
    /// of anything that was sealed under an earlier root key. The storage medium may keep copies of its own, as flash
    /// memory and snapshots do. Only the owner may call this.
    ///
    /// Other calls continue meanwhile, except during two pauses in which all handles of the store wait. Their length
    /// grows with the store: a tenth of a second each with 500 keys (2.5 MB), a quarter to half a second with 3000 keys
    /// (14 MB). A purge waits for a [`backup`](Self::backup) that this handle is writing. If another handle or process
    /// is reading, all handles also wait for that read to end, for up to a second at a time.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if a single read of another handle or process takes longer
    /// than a second, as a backup may, or if the store is damaged,
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller is not the owner.
    pub fn purge(&self) -> Result<usize> {
        self.maintain(Operation::Purge, Details::new(), |call| {
            call.succeeds(&())?;
            let deleted = self.settle(&[])?;
            self.shared.store.purge()?;
            Ok(deleted)
        })
    }

    /// Seals everything under another root key, in one transaction, and then [purges](Self::purge) everything sealed
    /// under the old one. Only the owner may call this.
    ///
    /// Other handles of the store, in this or another process, then fail with
    /// [`ErrorKind::RootKeyChanged`](crate::ErrorKind::RootKeyChanged) until they are [reopened](Self::reopen_with)
    /// with the new root key. Clones of this handle keep working; they wait while everything is sealed again (a fifth
    /// of a second with 3000 keys). Earlier copies of the file remain sealed under the old key.
    ///
    /// If others may have read the old root key, consider all key material in the file compromised: sealing it again
    /// does not change that. Use [`change_root_key_and_rotate`](Self::change_root_key_and_rotate) in that case.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = |name: &str| folder.path().join(name);
    /// use manila_local_kms::{LocalKms, RootKey};
    ///
    /// let kms = LocalKms::create(path("keys.redb"), RootKey::create_file(path("root.key"))?)?;
    /// let change = kms.change_root_key(RootKey::create_file(path("root-2.key"))?)?;
    /// assert!(change.is_purged());
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller is not the owner;
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if a record is missing from the file or the store cannot be
    /// written; the store then keeps the old root key. If the disk fails during the commit, the file is opened again to
    /// find out which root key it has, and the text of the error names it, or says that it is unknown. If it is the new
    /// one, the error is [`ErrorKind::RootKeyChanged`](crate::ErrorKind::RootKeyChanged): call
    /// [`reopen_with`](Self::reopen_with). After such a failure keep both root keys until the store has been opened
    /// again: a failing disk may lose data that it has returned before.
    pub fn change_root_key(&self, root_key: RootKey) -> Result<RootKeyChange> {
        self.change_root(|| Ok(root_key), false)
    }

    /// Changes the root key, and in the same transaction rotates every key that can be rotated, in any state.
    ///
    /// The call is like [`change_root_key`](Self::change_root_key), but the old root key and an old file do not decrypt
    /// data encrypted afterwards. They do still decrypt data encrypted before: encrypt it again, for instance with
    /// `manila::Client::reencrypt`. Keys that cannot be rotated (imported material, HMAC) are named in the result:
    /// replace them.
    ///
    /// This is maintenance of the store by its owner, so key policies are not consulted: even a key whose policy denies
    /// `kms:RotateKeyOnDemand` to everyone is rotated. These rotations do not count against the limit of on-demand
    /// rotations.
    ///
    /// # Errors
    /// The same as [`change_root_key`](Self::change_root_key).
    pub fn change_root_key_and_rotate(&self, root_key: RootKey) -> Result<RootKeyChange> {
        self.change_root(|| Ok(root_key), true)
    }

    /// Changes the root key. The new one is asked for once the caller may do that.
    pub(super) fn change_root(
        &self,
        root_key: impl FnOnce() -> Result<RootKey>,
        rotate: bool,
    ) -> Result<RootKeyChange> {
        self.maintain(Operation::ChangeRootKey, Details::new(), |call| {
            let root_key = root_key()?;
            let mut keys = Vec::new();
            let followed = self.shared.follow_log(None);
            let mut change = self.shared.store.change_root_key(root_key, |tables, old| {
                remember_key(tables, old)?;
                alias::index_anew(tables)?;
                grants::index_anew(tables)?;
                identity::index_anew(tables)?;
                let change = if rotate { self.rotate_all(tables, call)? } else { RootKeyChange::default() };
                call.succeeds_in(tables, &())?;
                // With the old root key the lines so far can be rewritten, unless the store has recorded their end. A
                // log at best effort does not hold up a change of the root key.
                let _ = self.shared.keep_end(tables, &followed);
                keys = line_keys(tables)?;
                Ok(change)
            })?;
            // The new root key is in effect from here on, so nothing below makes the call fail.
            self.shared.set_line_keys(keys);
            match self.shared.store.purge() {
                Ok(()) => change.purged = true,
                Err(error) => {
                    tracing::warn!(%error, "the key store still holds bytes sealed under the old root key");
                }
            }
            Ok(change)
        })
    }

    fn rotate_all(&self, tables: &mut WriteTxn<'_>, call: &mut Call<'_>) -> Result<RootKeyChange> {
        let mut change = RootKeyChange::default();
        let now = self.shared.clock.trust(tables)?.time;
        tables.observe_time(now);
        for (id, mut material) in tables.all::<MaterialRecord>(Table::Materials, "")? {
            let region = material.regions.first().ok_or_else(damaged)?;
            let arn = Location { region, account: self.account() }.key_arn(&id);
            if check_can_rotate(material.spec, material.origin).is_err() {
                change.not_rotated.push(arn);
                continue;
            }
            material.renew(now, RotationType::RootKeyChange)?;
            tables.put(Table::Materials, &id, &material)?;
            call.recorder.write_own(tables, Operation::RotateKey, &arn, now)?;
            change.rotated.push(arn);
        }
        Ok(change)
    }

    pub(crate) fn settle_restored(&self) -> Result<usize> {
        let mut is_less = false;
        let dropped = self.write(Operation::Restore, &Owner, Details::new(), |_, (), call| {
            is_less = call.late;
            Ok(call.swept)
        })?;
        // The whole backup was copied: keys and imported material that were left out must not stay in the file.
        if is_less {
            self.shared.store.purge()?;
        }
        Ok(dropped)
    }
}
