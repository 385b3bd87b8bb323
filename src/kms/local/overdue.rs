//! What time does to keys: deletion, expiry and rotation.
//!
//! Nothing runs by itself. A deadline holds from its moment on, since every call looks at the time; the next write
//! after it, or the first call that meets it, does the work for good.

use crate::error::Result;
use crate::kms::local::LocalKms;
use crate::kms::local::call::Recorder;
use crate::kms::local::clock::days_after;
use crate::kms::local::operation::Operation;
use crate::kms::local::place::{Place, row};
use crate::kms::local::record::alias;
use crate::kms::local::record::grant;
use crate::kms::local::record::key::{KeyRecord, MaterialRecord};
use crate::kms::local::store::{Table, Tables, Writing, damaged};

/// What happens at a deadline.
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

    /// Where the deadline is stored, so that the earliest one comes first. `of` is what meets it: the row of a key in
    /// its region for a deletion, the id of a key for an expiry, which meets all its regions.
    fn row(self, time: u64, of: &str) -> String {
        format!("{time:020}/{}/{of}", self.letter())
    }

    pub(super) fn set(self, tables: &mut Writing<'_>, time: u64, of: &str) -> Result<()> {
        tables.put(Table::Deadlines, &self.row(time, of), &())
    }

    pub(super) fn unset(self, tables: &mut Writing<'_>, time: u64, of: &str) -> Result<()> {
        tables.remove(Table::Deadlines, &self.row(time, of))
    }
}

/// Whether something is past its deadline that [`sweep`] would remove.
pub(super) fn is_any(tables: &impl Tables, now: u64) -> Result<bool> {
    match tables.first_ids(Table::Deadlines, "", 1)?.first() {
        Some(first) => Ok(parse(first)?.0 <= now),
        None => Ok(false),
    }
}

/// Removes all that is past its deadline, and notes the time. Returns the ARNs of the deleted keys, for the log: it is
/// told of them only once nothing else can undo this.
pub(super) fn sweep(kms: &LocalKms, tables: &mut Writing<'_>, now: u64) -> Result<Vec<String>> {
    let mut deleted = Vec::new();
    tables.saw(now);
    while let Some(first) = tables.first_ids(Table::Deadlines, "", 1)?.pop() {
        let (time, what, of) = parse(&first)?;
        if time > now {
            break;
        }
        // Ids are in the clear: this one is acted upon only if the manifest knows it.
        tables.get::<()>(Table::Deadlines, &first)?.ok_or_else(damaged)?;
        if what == Deadline::Deletion.letter() {
            let (region, key_id) = of.split_once('/').ok_or_else(damaged)?;
            let place = Place { region, account: kms.account() };
            delete(tables, &place, key_id)?;
            deleted.push(place.key_arn(key_id));
        } else {
            forget_material(tables, of)?;
        }
        tables.remove(Table::Deadlines, &first)?;
    }
    Ok(deleted)
}

/// The time, the letter and the rest of the row of a deadline.
fn parse(row: &str) -> Result<(u64, &str, &str)> {
    let (time, rest) = row.split_once('/').ok_or_else(damaged)?;
    let (what, of) = rest.split_once('/').ok_or_else(damaged)?;
    Ok((time.parse().map_err(|_| damaged())?, what, of))
}

/// Removes a key of a region, and its material with the last region.
fn delete(tables: &mut Writing<'_>, place: &Place<'_>, key_id: &str) -> Result<()> {
    tables.remove(Table::Keys, &place.row(key_id))?;
    alias::remove_all(tables, place, key_id)?;
    grant::remove_all(tables, place, key_id)?;
    let mut material: MaterialRecord = tables.get(Table::Materials, key_id)?.ok_or_else(damaged)?;
    material.regions.retain(|region| region != place.region);
    if !material.regions.is_empty() {
        return tables.put(Table::Materials, key_id, &material);
    }
    if let Some(expiry) = material.expiry {
        Deadline::Expiry.unset(tables, expiry, key_id)?;
    }
    tables.remove(Table::Materials, key_id)
}

/// Removes imported material that has expired.
fn forget_material(tables: &mut Writing<'_>, key_id: &str) -> Result<()> {
    if let Some(mut material) = tables.get::<MaterialRecord>(Table::Materials, key_id)? {
        material.forget();
        tables.put(Table::Materials, key_id, &material)?;
    }
    Ok(())
}

/// When a key was due to be rotated last, if it was not and its primary is enabled.
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
    // Of several that were missed only the last one matters: nothing was encrypted in between.
    Ok(usable.then(|| material.rotation_base.saturating_add(periods.saturating_mul(period))))
}

/// Rotates a key if that is due. Looked at again here, inside the write transaction, so that two processes rotate once.
pub(super) fn rotate(
    kms: &LocalKms,
    tables: &mut Writing<'_>,
    recorder: &mut Recorder<'_>,
    key_id: &str,
    now: u64,
) -> Result<()> {
    let Some(mut material) = tables.get::<MaterialRecord>(Table::Materials, key_id)? else { return Ok(()) };
    let Some(due) = due_rotation(tables, key_id, &material, now)? else { return Ok(()) };
    material.rotation_base = due;
    material.renew(due, false)?;
    tables.put(Table::Materials, key_id, &material)?;
    let primary = material.regions.first().ok_or_else(damaged)?;
    let place = Place { region: primary, account: kms.account() };
    recorder.write_own(Operation::RotateKey, &place.key_arn(key_id), now)
}
