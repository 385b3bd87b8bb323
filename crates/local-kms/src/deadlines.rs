//! Time-driven changes of keys: deletion, expiry and rotation.
//!
//! Nothing runs in the background. Every call checks the time, so a deadline takes effect at its moment; the next write
//! after it, or the first call that it concerns, makes the change permanent.

use crate::clock::days_after;
use crate::location::{Location, row};
use crate::operation::Operation;
use crate::record::alias;
use crate::record::grants;
use crate::record::key::{Key, KeyRecord, MaterialRecord, RotationType};
use crate::recorder::Recorder;
use crate::store::{Table, Tables, WriteTxn, damaged};
use manila_core::Result;

/// The event at a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// A key of a region is deleted.
    Deletion,
    /// Imported material is removed.
    Expiry,
}

impl Deadline {
    const fn letter(self) -> &'static str {
        match self {
            Self::Deletion => "d",
            Self::Expiry => "e",
        }
    }

    /// Returns the row of the deadline; rows are ordered by time. `of` names its object: for a deletion the row of a
    /// key in its region, for an expiry, which concerns all regions, the id of a key.
    fn row(self, time: u64, of: &str) -> String {
        format!("{time:020}/{}/{of}", self.letter())
    }

    pub(super) fn set(self, tables: &mut WriteTxn<'_>, time: u64, of: &str) -> Result<()> {
        tables.put(Table::Deadlines, &self.row(time, of), &())
    }

    pub(super) fn unset(self, tables: &mut WriteTxn<'_>, time: u64, of: &str) -> Result<()> {
        tables.remove(Table::Deadlines, &self.row(time, of))
    }
}

/// Returns whether [`sweep`] would remove anything.
pub(super) fn is_any(tables: &impl Tables, now: u64) -> Result<bool> {
    match tables.first_ids(Table::Deadlines, "", 1)?.first() {
        Some(first) => Ok(parse(first)?.0 <= now),
        None => Ok(false),
    }
}

/// Returns whether [`sweep`] would remove anything, or [`rotate`] would rotate one of these keys.
pub(super) fn is_left(tables: &impl Tables, now: u64, key_ids: &[String]) -> Result<bool> {
    if is_any(tables, now)? {
        return Ok(true);
    }
    for key_id in key_ids {
        if let Some(material) = tables.get::<MaterialRecord>(Table::Materials, key_id)?
            && due_rotation(tables, key_id, &material, now)?.is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the regions from a key in which it is past its deadline but not yet removed.
pub(super) fn forget_deleted_regions(tables: &impl Tables, key: &mut Key, now: u64) -> Result<()> {
    if key.material.regions.len() < 2 || !is_any(tables, now)? {
        return Ok(());
    }
    let mut left = Vec::with_capacity(key.material.regions.len());
    for region in std::mem::take(&mut key.material.regions) {
        let record: KeyRecord = tables.get(Table::Keys, &row(&region, &key.id))?.ok_or_else(damaged)?;
        if record.deletion.is_none_or(|deletion| !deletion.is_past(now)) {
            left.push(region);
        }
    }
    key.material.regions = left;
    Ok(())
}

/// Removes everything that is past its deadline. Returns for each removal its operation, under the name in AWS's logs,
/// and the ARN of the key, for the log, which records them only once nothing else can undo the removal.
///
/// Source: AWS KMS Developer Guide, "AWS KMS log entries", `DeleteKey` and `DeleteExpiredKeyMaterial`.
pub(super) fn sweep(account: &str, tables: &mut WriteTxn<'_>, now: u64) -> Result<Vec<(Operation, String)>> {
    let mut swept = Vec::new();
    while let Some(first) = tables.first_ids(Table::Deadlines, "", 1)?.pop() {
        let (time, what, of) = parse(&first)?;
        if time > now {
            break;
        }
        // Ids are not authenticated by themselves, so the entry must be in the manifest.
        tables.get::<()>(Table::Deadlines, &first)?.ok_or_else(damaged)?;
        if what == Deadline::Deletion.letter() {
            let (region, key_id) = of.split_once('/').ok_or_else(damaged)?;
            let location = Location { region, account };
            delete(tables, &location, key_id)?;
            swept.push((Operation::DeleteKey, location.key_arn(key_id)));
        } else if let Some(region) = forget_material(tables, of)? {
            let location = Location { region: &region, account };
            swept.push((Operation::DeleteExpiredKeyMaterial, location.key_arn(of)));
        }
        tables.remove(Table::Deadlines, &first)?;
        tables.note_removal(time);
    }
    Ok(swept)
}

/// Returns the time, the letter and the rest of the row of a deadline.
fn parse(row: &str) -> Result<(u64, &str, &str)> {
    let (time, rest) = row.split_once('/').ok_or_else(damaged)?;
    let (what, of) = rest.split_once('/').ok_or_else(damaged)?;
    Ok((time.parse().map_err(|_| damaged())?, what, of))
}

/// Removes a key from a region, and its material from the last region.
fn delete(tables: &mut WriteTxn<'_>, location: &Location<'_>, key_id: &str) -> Result<()> {
    tables.remove(Table::Keys, &location.row(key_id))?;
    alias::remove_all(tables, location, key_id)?;
    grants::remove_all(tables, location, key_id)?;
    let mut material: MaterialRecord = tables.get(Table::Materials, key_id)?.ok_or_else(damaged)?;
    material.regions.retain(|region| region != location.region);
    if !material.regions.is_empty() {
        return tables.put(Table::Materials, key_id, &material);
    }
    if let Some(expiry) = material.expiry {
        Deadline::Expiry.unset(tables, expiry.at, key_id)?;
    }
    tables.remove(Table::Materials, key_id)
}

/// Removes imported material that has expired. Returns the region of its primary key, which alone imports and deletes
/// it for all regions.
fn forget_material(tables: &mut WriteTxn<'_>, key_id: &str) -> Result<Option<String>> {
    let Some(mut material) = tables.get::<MaterialRecord>(Table::Materials, key_id)? else { return Ok(None) };
    material.forget();
    tables.put(Table::Materials, key_id, &material)?;
    material.regions.first().cloned().ok_or_else(damaged).map(Some)
}

/// Returns the latest time at which a key was due to be rotated, if it was not rotated since and its primary is
/// enabled.
pub(super) fn due_rotation(
    tables: &impl Tables,
    key_id: &str,
    material: &MaterialRecord,
    now: u64,
) -> Result<Option<u64>> {
    let Some(days) = material.rotation_days else { return Ok(None) };
    let period = days_after(0, days);
    let periods = now.saturating_sub(material.rotation_base).checked_div(period).unwrap_or(0);
    if periods == 0 {
        return Ok(None);
    }
    let primary = material.regions.first().ok_or_else(damaged)?;
    let record: Option<KeyRecord> = tables.get(Table::Keys, &row(primary, key_id))?;
    let usable = record.is_some_and(|record| record.enabled && record.deletion.is_none());
    // One rotation makes up for several missed ones.
    Ok(usable.then(|| material.rotation_base.saturating_add(periods.saturating_mul(period))))
}

/// Rotates a key if its rotation is due. This is checked again inside the write transaction, so that two processes do
/// not both rotate it.
pub(super) fn rotate(
    account: &str,
    tables: &mut WriteTxn<'_>,
    recorder: &mut Recorder<'_>,
    key_id: &str,
    now: u64,
) -> Result<()> {
    let Some(mut material) = tables.get::<MaterialRecord>(Table::Materials, key_id)? else { return Ok(()) };
    let Some(due) = due_rotation(tables, key_id, &material, now)? else { return Ok(()) };
    // The schedule continues as if the rotation had been on time; the new material is dated to its creation.
    material.rotation_base = due;
    material.renew(now, RotationType::Automatic)?;
    tables.put(Table::Materials, key_id, &material)?;
    let primary = material.regions.first().ok_or_else(damaged)?;
    let location = Location { region: primary, account };
    recorder.write_own(tables, Operation::RotateKey, &location.key_arn(key_id), now)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::audit::AuditLog;
    use crate::clock::for_tests::Days;
    use crate::local_kms::LocalKms;
    use crate::record::key::{CreateKey, KeyMetadata};
    use crate::root_key::RootKey;
    use manila_core::EncryptionContext;
    use manila_core::ErrorKind;
    use manila_core::testing::ready;
    use manila_core::{Kms, KmsCiphertext, KmsRequest};

    fn in_memory() -> (LocalKms, Days) {
        let days = Days::default();
        (LocalKms::builder().clock(days.clone()).in_memory().unwrap(), days)
    }

    fn encrypt(kms: &LocalKms, key: &KeyMetadata) -> Result<KmsCiphertext> {
        ready(kms.encrypt(KmsRequest::new(key.arn(), &EncryptionContext::empty()), b"x"))
    }

    #[test]
    fn a_key_whose_rotation_is_due_and_fails_is_not_used() {
        let (kms, days) = in_memory();
        let key = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
        assert!(encrypt(&kms, &key).is_ok());
        // Further material would have no number.
        let exhaust = |tables: &mut WriteTxn<'_>| {
            let mut material: MaterialRecord = tables.get(Table::Materials, key.key_id())?.ok_or_else(damaged)?;
            material.materials[0].id = u32::MAX;
            tables.put(Table::Materials, key.key_id(), &material)
        };
        kms.shared.store.write(exhaust).unwrap();
        assert!(encrypt(&kms, &key).is_ok(), "until then");
        days.0.store(90, Ordering::SeqCst);
        for error in [
            encrypt(&kms, &key).unwrap_err(),
            ready(kms.generate_data_key(KmsRequest::new(key.arn(), &EncryptionContext::empty()), 32)).unwrap_err(),
            kms.list_key_rotations(key.arn()).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
        }
        assert!(kms.describe_key(key.arn()).is_ok(), "what needs no new material goes on");
    }

    #[test]
    fn each_line_of_a_transaction_that_came_to_nothing_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let kms = LocalKms::builder().audit(AuditLog::file(&log)).in_memory().unwrap();
        let mut keys = [(); 2].map(|()| kms.create_key(CreateKey::default()).unwrap().key_id().to_owned());
        keys.sort();
        // Further material of the second key would have no number.
        let exhaust = |tables: &mut WriteTxn<'_>| {
            let mut material: MaterialRecord = tables.get(Table::Materials, &keys[1])?.ok_or_else(damaged)?;
            material.materials[0].id = u32::MAX;
            tables.put(Table::Materials, &keys[1], &material)
        };
        kms.shared.store.write(exhaust).unwrap();
        kms.change_root_key_and_rotate(RootKey::from_bytes(&[7; 32])).unwrap_err();
        let text = std::fs::read_to_string(&log).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().skip(3).map(|line| serde_json::from_str(line).unwrap()).collect();
        let [done, taken_back, change] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((&done["operation"], &done["outcome"]), (&"RotateKey".into(), &"ok".into()));
        assert_eq!((&taken_back["operation"], &taken_back["outcome"]), (&"RotateKey".into(), &"Storage".into()));
        assert_eq!((&taken_back["failed"], &taken_back["key"]), (&done["commit"], &done["key"]));
        assert_eq!((&change["operation"], &change["outcome"]), (&"ChangeRootKey".into(), &"Storage".into()));
        kms.update_key_description(&keys[0], "x").unwrap();
        assert!(kms.verify_audit_log(&log).unwrap().is_intact());
    }

    #[test]
    fn calls_that_read_do_not_wait_for_the_one_that_removes_what_is_late() {
        let (kms, days) = in_memory();
        let kept = kms.create_key(CreateKey::default().multi_region()).unwrap();
        let gone = kms.replicate_key(kept.arn(), "eu-west-1").unwrap();
        let europe = kms.region("eu-west-1").unwrap();
        europe.schedule_key_deletion_in(gone.arn(), 7).unwrap();
        days.0.store(7, Ordering::SeqCst);
        let left = || kms.shared.store.read(|tables| tables.ids(Table::Deadlines, "")).unwrap().len();
        let settling = kms.shared.settling.begin();
        // Overdue keys are gone for these calls all the same.
        let (send, receive) = mpsc::channel();
        let (here, key) = (kms.clone(), kept.clone());
        let calls = std::thread::spawn(move || {
            let found = (europe.describe_key(gone.arn()).is_ok(), europe.list_keys().unwrap().len());
            let described = here.describe_key(key.arn()).unwrap();
            send.send((encrypt(&here, &key).is_ok(), found, described)).unwrap();
        });
        let (encrypted, found, described) = receive.recv_timeout(Duration::from_secs(60)).expect("they wait");
        calls.join().unwrap();
        assert_eq!((encrypted, found), (true, (false, 0)));
        assert!(described.replica_regions().is_empty());
        assert_eq!(left(), 1);
        drop(settling);
        assert!(encrypt(&kms, &kept).is_ok());
        assert_eq!(left(), 0);
    }

    #[test]
    fn a_caller_that_waited_for_overdue_changes_writes_nothing() {
        let (kms, days) = in_memory();
        let key = kms.create_key(CreateKey::default().rotate_every_days(90)).unwrap();
        days.0.store(90, Ordering::SeqCst);
        let due = [key.key_id().to_owned()];
        let noted = || kms.shared.store.read(|tables| Ok(tables.time())).unwrap();
        kms.settle_for_reader(&due).unwrap();
        let settled = noted();
        assert_eq!(settled, days_after(0, 20_090));
        // A write would record the time.
        days.0.store(91, Ordering::SeqCst);
        kms.settle_for_reader(&due).unwrap();
        assert_eq!(noted(), settled);
        assert_eq!(kms.list_key_rotations(key.arn()).unwrap().len(), 1);
    }
}
