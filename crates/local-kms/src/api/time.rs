//! The owner's word on the time.

use crate::audit::Details;
use crate::deadlines::Deadline;
use crate::error::{invalid, refused};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::key::{KeyRecord, MaterialRecord};
use crate::store::{Table, Tables, WriteTxn};
use manila_core::Result;

/// The first of January 2026, in milliseconds since 1970. There was no store before, so a clock that shows an earlier
/// time is wrong, as that of a board without a battery is.
const FIRST_STORES: u64 = 1_767_225_600_000;

impl LocalKms {
    /// Confirms that the clock is right, after a write was refused with
    /// [`ErrorKind::ClockUnconfirmed`](crate::ErrorKind::ClockUnconfirmed): the store takes the time that it shows now
    /// for the present. For the owner alone.
    ///
    /// The next write removes for good what is past its deadline by that time. Other programs take the store's word for
    /// it.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks,
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

    /// Sets the store's time back to that of the clock, after writes under a clock that ran ahead. For the owner alone,
    /// who says with it that the clock is right now.
    ///
    /// What was dated at a time that is still to come is brought into order: dates become the present, and deletions
    /// and expiries that were set then are as far from the present as they were from the time at which they were set.
    /// Those that were set before stay as they are. A rotation that took place too early stands; the next one is
    /// counted from the present. Grants keep their dates.
    ///
    /// No time before the store's first write can be had: a store that was made under a clock that ran ahead is to be
    /// made anew.
    ///
    /// Programs that have the store open follow with their next call, calls that are under way included.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) (`KMSInvalidStateException`) if a key was deleted or
    /// material expired since then whose deadline is still to come by the clock: that is lost, and a backup from before
    /// is the way back; or if another than the owner asks. [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput)
    /// if the clock is not behind the store, or shows a time before the store's first write or before 2026, as one does
    /// that was not set; [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store cannot be written.
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
    // All that is pending would be dated long ago, and be over once the clock is right.
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

/// Dates nothing of a key later than now, and counts a deletion that was scheduled later from now on.
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

/// The same for key material, its rotation and its expiry.
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
