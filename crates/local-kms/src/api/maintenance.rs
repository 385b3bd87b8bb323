//! Maintenance of the store: backups, another root key, purging.

use std::path::Path;

use crate::api::rotation::check_can_rotate;
use crate::audit::Details;
use crate::call::{Call, Owner};
use crate::local_kms::LocalKms;
use crate::location::Location;
use crate::operation::Operation;
use crate::record::audit::{line_keys, remember_key};
use crate::record::key::{MaterialRecord, RotationType};
use crate::record::{alias, grant};
use crate::root_key::RootKey;
use crate::store::{Table, Tables, WriteTxn, damaged};
use manila_core::Result;

/// The outcome of a change of the root key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootKeyChange {
    purged: bool,
    rotated: Vec<String>,
    not_rotated: Vec<String>,
}

impl RootKeyChange {
    /// Returns whether what was sealed under the old root key was written over. Where another process read the store
    /// for too long it was not: the next [`LocalKms::purge`] does it, or the next opening.
    #[must_use]
    pub fn is_purged(&self) -> bool {
        self.purged
    }

    /// Returns the ARNs of the keys that have new material.
    #[must_use]
    pub fn rotated(&self) -> &[String] {
        &self.rotated
    }

    /// Returns the ARNs of the keys that were to have new material and do not rotate.
    #[must_use]
    pub fn not_rotated(&self) -> &[String] {
        &self.not_rotated
    }
}

impl LocalKms {
    /// Writes a copy of the store as it is now to a new file, sealed under the same root key. For the owner alone.
    ///
    /// A backup keeps what it holds, also of keys that are deleted later: see [`restore`](Self::restore).
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if there is a file already or it cannot be made,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store is damaged (the whole copy is verified),
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks.
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<()> {
        let request = Details::new().path("path", path.as_ref());
        self.maintain(Operation::Backup, request, |call| {
            self.shared.store.copy_to(path.as_ref(), || call.succeeds(&()))
        })
    }

    /// Removes what is past its deadline, writes over what the file still holds of anything removed, and compacts the
    /// file: no byte is left in it of a deleted key, of imported material that was deleted or has expired, or of what
    /// was sealed under an earlier root key. For the owner alone. Returns the number of keys that were removed now.
    ///
    /// Everything else goes on meanwhile, but for two moments that grow with the store, and in which all its handles
    /// wait: a tenth of a second each with 500 keys (2.5 MB), a quarter to half a second with 3000 (14 MB). A purge
    /// waits for a [`backup`](Self::backup) that this handle is making. Where another handle or process is just
    /// reading, all wait for the end of that too, for up to a second at a time. The medium below may keep copies of its
    /// own, as flash memory and snapshots do.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if one read of another handle or process takes longer than a
    /// second, as a backup may, or if the store is damaged, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if
    /// another than the owner asks.
    pub fn purge(&self) -> Result<usize> {
        self.maintain(Operation::Purge, Details::new(), |_| {
            let deleted = self.settle(&[])?;
            // Nobody sees the rest, so its line can say how it went.
            self.shared.store.purge()?;
            Ok(deleted)
        })
    }

    /// Seals everything under another root key, in one transaction, and then [purges](Self::purge) the file of what was
    /// sealed under the old one. For the owner alone.
    ///
    /// Other handles of the store, in this process or others, then fail with
    /// [`ErrorKind::RootKeyChanged`](crate::ErrorKind::RootKeyChanged) until they are given the new root key, by
    /// [`reopen_with`](Self::reopen_with); clones of this handle go on, after they have waited for everything to be
    /// sealed anew (a fifth of a second with 3000 keys). Copies of the file from before are still sealed under the old
    /// key.
    ///
    /// A root key that others may have read has shown them all key material that was in the file: sealing it anew takes
    /// nothing back. Use [`change_root_key_and_rotate`](Self::change_root_key_and_rotate) then.
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
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks;
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if a record is missing from the file or the store cannot be
    /// written: the old root key holds then. If the disk fails while it takes the change, the file is opened once more
    /// to see which root key it has, and the text says which, or that nobody can tell. If that is the new one, the
    /// error is [`ErrorKind::RootKeyChanged`](crate::ErrorKind::RootKeyChanged): call
    /// [`reopen_with`](Self::reopen_with). After such a failure keep both root keys until the store was opened once
    /// more: a disk that fails may lose what it has shown.
    pub fn change_root_key(&self, root_key: RootKey) -> Result<RootKeyChange> {
        self.change_root(root_key, |_, _| Ok(RootKeyChange::default()))
    }

    /// [`change_root_key`](Self::change_root_key), and in the same transaction gives new material to every key that can
    /// be rotated, whatever its state: whoever had the old root key and the file cannot open what is encrypted
    /// afterwards.
    ///
    /// This is the owner's maintenance of the store, so no key's policy is asked: one that denies everyone
    /// `kms:RotateKeyOnDemand` does not keep the key's material from being replaced. These rotations do not count
    /// against the limit of rotations on demand.
    ///
    /// What was encrypted before they can open still: encrypt it again, with `manila::Client::reencrypt`
    /// for instance. Keys that do not rotate (imported material, HMAC) are named in the answer: replace them.
    ///
    /// # Errors
    /// As [`change_root_key`](Self::change_root_key).
    pub fn change_root_key_and_rotate(&self, root_key: RootKey) -> Result<RootKeyChange> {
        self.change_root(root_key, |tables, call| self.rotate_all(tables, call))
    }

    fn change_root(
        &self,
        root_key: RootKey,
        work: impl FnOnce(&mut WriteTxn<'_>, &mut Call<'_>) -> Result<RootKeyChange>,
    ) -> Result<RootKeyChange> {
        self.maintain(Operation::ChangeRootKey, Details::new(), |call| {
            let mut keys = Vec::new();
            let followed = self.shared.follow_log(None);
            let mut change = self.shared.store.change_root_key(root_key, |tables, old| {
                remember_key(tables, old)?;
                alias::index_anew(tables)?;
                grant::index_anew(tables)?;
                let change = work(tables, call)?;
                call.succeeds_in(tables, &())?;
                // Who has the old root key can write the lines so far anew, unless the store knows their end. A change
                // of the root key does not wait for a log that is kept at best effort.
                let _ = self.shared.keep_end(tables, &followed);
                keys = line_keys(tables)?;
                Ok(change)
            })?;
            // The new root key holds from here on, so nothing below is a failure of the call.
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
        // The copy was of all of the backup: what was left out of it, keys or imported material, is not to stay in the
        // file.
        if is_less {
            self.shared.store.purge()?;
        }
        Ok(dropped)
    }
}
