//! Overdue changes, performed before a call.

use std::sync::MutexGuard;

use manila_core::Result;

use crate::deadlines;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::recorder::Recorder;
use crate::store::ReadTxn;

impl LocalKms {
    /// Performs overdue changes before a call that reads, unless nothing is left to do. Without a due rotation the call
    /// does not wait for another call that is doing it: keys past their deadline are refused even before they are
    /// removed.
    pub(crate) fn settle_for_reader(&self, key_ids: &[String]) -> Result<()> {
        let settling =
            if key_ids.is_empty() { self.shared.settling.try_begin() } else { Some(self.shared.settling.begin()) };
        let Some(settling) = settling else { return Ok(()) };
        let is_left =
            |tables: &ReadTxn<'_>| deadlines::is_left(tables, self.shared.clock.present(tables).time, key_ids);
        if self.shared.store.read(is_left)? {
            self.settle_in(settling, key_ids)?;
        }
        Ok(())
    }

    /// Performs overdue changes: removes everything past its deadline, and rotates these keys. Returns the number of
    /// deleted keys.
    pub(crate) fn settle(&self, key_ids: &[String]) -> Result<usize> {
        self.settle_in(self.shared.settling.begin(), key_ids)
    }

    fn settle_in(&self, settling: MutexGuard<'_, ()>, key_ids: &[String]) -> Result<usize> {
        let mut recorder = Recorder::new(&self.shared);
        let done = self.shared.write_now(|tables, now| {
            let swept = deadlines::sweep(self.account(), tables, now)?;
            key_ids.iter().try_for_each(|id| deadlines::rotate(self.account(), tables, &mut recorder, id, now))?;
            for (operation, key_arn) in &swept {
                recorder.write_own(tables, *operation, key_arn, now)?;
            }
            if !recorder.did_something() {
                self.shared.check_not_refused(tables)?;
            }
            Ok(swept)
        });
        for (_, key_arn) in done.iter().flatten() {
            self.shared.key_pairs.forget(key_arn.rsplit('/').next().unwrap_or(key_arn));
        }
        let done = done.map(|swept| swept.iter().filter(|(operation, _)| *operation == Operation::DeleteKey).count());
        if let Err(error) = &done {
            recorder.take_back(error);
        }
        // A subscriber may call the KMS, and find something overdue.
        drop(settling);
        recorder.tell();
        done
    }
}
