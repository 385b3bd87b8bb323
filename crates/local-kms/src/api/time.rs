//! Confirming and correcting the store's time.

use crate::audit::Details;
use crate::deadlines::Deadline;
use crate::error::{invalid, refused};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::key::{KeyRecord, MaterialRecord};
use crate::store::{Table, Tables, WriteTxn};
use manila_core::Result;

/// The first of January 2026, in milliseconds since 1970. No store existed before, so a clock that shows an earlier
/// time is wrong, like that of a board without a battery.
const FIRST_STORES: u64 = 1_767_225_600_000;

impl LocalKms {
    /// Confirms that the clock is correct, after a write failed with
    /// [`ErrorKind::ClockUnconfirmed`](crate::ErrorKind::ClockUnconfirmed). Only the owner may call this.
    ///
    /// The store accepts the time that the clock shows. The next write permanently removes everything that is past its
    /// deadline at that time. The confirmation applies to all programs that use the store.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller is not the owner,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store cannot be written.
    pub fn confirm_clock(&self) -> Result<()> {
        self.maintain(Operation::ConfirmClock, Details::new(), |call| {
            self.shared
                .store
                .write(|tables| {
                    let present = self.shared.clock.present(tables);
                    call.now = present.time;
                    tables.observe_time(present.time);
                    call.succeeds_in(tables, &())?;
                    Ok(present)
                })
                .map(|confirmed| self.shared.clock.believe(&confirmed))
        })
    }

    /// Sets the store's time back to that of the clock, after writes with a clock that was ahead. Only the owner may
    /// call this, and by doing so confirms that the clock is now correct.
    ///
    /// Dates that are in the future are corrected:
    ///
    /// - Dates of creation and rotation become the current time.
    /// - Deletions and expiries that were scheduled at a future time keep their distance to that time, counted from the
    ///   current time. Those that were scheduled earlier do not change.
    /// - A rotation that took place too early is kept; the next one is counted from the current time.
    /// - Grants keep their dates.
    ///
    /// The time cannot be set to before the store's first write: if a store was created while the clock was ahead,
    /// create a new one.
    ///
    /// Other programs that have the store open use the new time from their next call on, and also in calls in progress.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) (`KMSInvalidStateException`) if a key was deleted or
    /// material was removed before its deadline, as the clock now shows: it is lost, and only an earlier backup
    /// restores it. Also if the caller is not the owner. [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if
    /// the clock is not behind the store, or shows a time before the store's first write or before 2026, as a clock
    /// that was never set does; [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store cannot be written.
    pub fn set_time_back(&self) -> Result<()> {
        self.maintain(Operation::SetTimeBack, Details::new(), |call| {
            self.shared.store.write(|tables| {
                let now = self.shared.clock.shown();
                check_can_be_set_back(tables, now)?;
                order_keys(tables, now)?;
                order_materials(tables, now)?;
                tables.rewind(now);
                call.now = now;
                call.succeeds_in(tables, &())
            })
        })
    }
}

fn check_can_be_set_back(tables: &impl Tables, now: u64) -> Result<()> {
    if tables.time() <= now {
        let message = "the clock is not behind the store's time, so there is nothing to set back";
        return Err(invalid("ValidationException", message));
    }
    // All pending deadlines would be set to long ago, and would have passed once the clock is correct.
    if now < tables.begun().max(FIRST_STORES) {
        let message = "the clock shows a time before the store was created: correct the clock first";
        return Err(invalid("ValidationException", message));
    }
    if tables.removed() > now {
        let message = "a key or material whose deadline is in the future by the clock was removed: restore a backup";
        return Err(refused("KMSInvalidStateException", message));
    }
    Ok(())
}

/// Corrects dates of keys that are later than now, and counts a deletion that was scheduled later from now on.
fn order_keys(tables: &mut WriteTxn<'_>, now: u64) -> Result<()> {
    for (row, mut record) in tables.all::<KeyRecord>(Table::Keys, "")? {
        let deletion = record.deletion.and_then(|deletion| Some((deletion, deletion.set_back(now)?)));
        if record.created <= now && deletion.is_none() {
            continue;
        }
        record.created = record.created.min(now);
        if let Some((ahead, in_time)) = deletion {
            Deadline::Deletion.unset(tables, ahead.at, &row)?;
            Deadline::Deletion.set(tables, in_time.at, &row)?;
            record.deletion = Some(in_time);
        }
        tables.put(Table::Keys, &row, &record)?;
    }
    Ok(())
}

/// Does the same for key material, its rotation and its expiry.
fn order_materials(tables: &mut WriteTxn<'_>, now: u64) -> Result<()> {
    for (id, mut record) in tables.all::<MaterialRecord>(Table::Materials, "")? {
        let expiry = record.expiry.and_then(|expiry| Some((expiry, expiry.set_back(now)?)));
        let is_late = record.rotation_base > now || record.materials.iter().any(|material| material.created > now);
        if !is_late && expiry.is_none() {
            continue;
        }
        record.rotation_base = record.rotation_base.min(now);
        record.materials.iter_mut().for_each(|material| material.created = material.created.min(now));
        if let Some((ahead, in_time)) = expiry {
            Deadline::Expiry.unset(tables, ahead.at, &id)?;
            Deadline::Expiry.set(tables, in_time.at, &id)?;
            record.expiry = Some(in_time);
        }
        tables.put(Table::Materials, &id, &record)?;
    }
    Ok(())
}
