//! The owner's word on the time.

use crate::api::import::MAX_VALID_DAYS;
use crate::api::lifecycle::DELETION_DAYS;
use crate::audit::Details;
use crate::clock::days_after;
use crate::deadlines::Deadline;
use crate::error::{invalid, refused};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::key::{KeyRecord, MaterialRecord};
use crate::store::{Table, Tables, WriteTxn};
use manila_core::Result;

impl LocalKms {
    /// Confirms that the clock is right, after a write was refused with
    /// [`ErrorKind::ClockUnconfirmed`](crate::ErrorKind::ClockUnconfirmed): the store takes its time for the present. For the
    /// owner alone.
    ///
    /// The next write removes for good what is past its deadline by that time. Other programs take the store's word for it.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store cannot be written.
    pub fn confirm_clock(&self) -> Result<()> {
        self.maintain(Operation::ConfirmClock, Details::new(), |call| {
            let now = self.shared.store.write(|tables| {
                call.now = self.shared.clock.present(call.now, tables).0;
                tables.observe_time(call.now);
                call.will_commit(tables);
                call.succeeds(&())?;
                Ok(call.now)
            })?;
            self.shared.clock.believe(now);
            Ok(())
        })
    }

    /// Sets the store's time back to that of the clock, after writes under a clock that ran ahead. For the owner alone.
    ///
    /// What was dated meanwhile is brought into order: dates that are still to come become the present, a deletion takes
    /// place in 30 days at the latest and imported material expires in 365, the longest that there is. A rotation that took
    /// place too early stands; the next one is counted from the present. Grants keep their dates.
    ///
    /// Programs that have the store open follow with their next call.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) (`KMSInvalidStateException`) if a key was deleted or material
    /// expired since then whose deadline is still to come by the clock: that is lost, and a backup from before is the way
    /// back; or if another than the owner asks. [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the clock is
    /// not behind the store, [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store cannot be written.
    pub fn set_time_back(&self) -> Result<()> {
        self.maintain(Operation::SetTimeBack, Details::new(), |call| {
            self.shared.store.write(|tables| {
                let now = self.shared.clock.shown();
                if tables.time() <= now {
                    let message = "the clock is not behind the store's time, so there is nothing to set back";
                    return Err(invalid("ValidationException", message));
                }
                if tables.removed() > now {
                    let message = "keys or key material were removed whose deadline is still to come by the clock: \
                                   restore a backup from before";
                    return Err(refused("KMSInvalidStateException", message));
                }
                call.now = now;
                order_keys(tables, now)?;
                order_materials(tables, now)?;
                tables.rewind(now);
                call.will_commit(tables);
                call.succeeds(&())
            })?;
            self.shared.clock.forget();
            Ok(())
        })
    }
}

/// Dates nothing of a key later than now, nor its deletion later than one that is scheduled now.
fn order_keys(tables: &mut WriteTxn<'_>, now: u64) -> Result<()> {
    let last = days_after(now, *DELETION_DAYS.end());
    for (row, mut record) in tables.all::<KeyRecord>(Table::Keys, "")? {
        let deletion = record.deletion.filter(|deadline| *deadline > last);
        if record.created <= now && deletion.is_none() {
            continue;
        }
        record.created = record.created.min(now);
        if let Some(deadline) = deletion {
            Deadline::Deletion.unset(tables, deadline, &row)?;
            Deadline::Deletion.set(tables, last, &row)?;
            record.deletion = Some(last);
        }
        tables.put(Table::Keys, &row, &record)?;
    }
    Ok(())
}

/// The same for key material, its rotation and its expiry.
fn order_materials(tables: &mut WriteTxn<'_>, now: u64) -> Result<()> {
    let last = days_after(now, MAX_VALID_DAYS);
    for (id, mut record) in tables.all::<MaterialRecord>(Table::Materials, "")? {
        let expiry = record.expiry.filter(|deadline| *deadline > last);
        let is_late = record.rotation_base > now || record.materials.iter().any(|material| material.created > now);
        if !is_late && expiry.is_none() {
            continue;
        }
        record.rotation_base = record.rotation_base.min(now);
        record.materials.iter_mut().for_each(|material| material.created = material.created.min(now));
        if let Some(deadline) = expiry {
            Deadline::Expiry.unset(tables, deadline, &id)?;
            Deadline::Expiry.set(tables, last, &id)?;
            record.expiry = Some(last);
        }
        tables.put(Table::Materials, &id, &record)?;
    }
    Ok(())
}
