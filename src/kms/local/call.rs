//! One call to the embedded KMS, from its time and caller to its line in the audit log.
//!
//! Every operation goes through [`LocalKms::read`] or [`LocalKms::write`], and meets its keys through [`Call::key`]:
//! there the key is found, the caller's permission and the key's state are checked, and what is overdue is noticed.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::context::EncryptionContext;
use crate::error::{Error, ErrorKind, Result};
use crate::kms::local::LocalKms;
use crate::kms::local::access::{self, Permission};
use crate::kms::local::answer::{code_of, refused};
use crate::kms::local::audit::Event;
use crate::kms::local::clock::{from_millis, to_millis};
use crate::kms::local::lookup;
use crate::kms::local::operation::Operation;
use crate::kms::local::overdue;
use crate::kms::local::record::key::Key;
use crate::kms::local::store::{Reading, Tables, Writing};

/// The principal of what nobody asked for.
const ITSELF: &str = "manila";

/// The latest time that any handle's call saw, in milliseconds: a clock set back changes nothing.
#[derive(Debug, Default)]
pub(super) struct HighWater(AtomicU64);

impl HighWater {
    fn raise(&self, time: u64) -> u64 {
        self.0.fetch_max(time, Ordering::AcqRel).max(time)
    }
}

/// A call that is under way.
pub(super) struct Call<'a> {
    kms: &'a LocalKms,
    operation: Operation,
    context: Option<&'a EncryptionContext>,
    /// Milliseconds since 1970.
    pub(super) now: u64,
    key_arn: RefCell<Option<String>>,
    /// The key that `ReEncrypt` decrypts with.
    source_arn: RefCell<Option<String>>,
    /// Whether something is past its deadline and not removed yet.
    late: bool,
    /// Keys that are due to be rotated.
    due: RefCell<Vec<String>>,
    /// How many keys were removed on the way.
    pub(super) swept: usize,
    /// Whether the log has the call's line.
    recorded: Cell<bool>,
}

impl LocalKms {
    /// A call that changes nothing, unless it finds that something is overdue: then that is done first, and the call
    /// anew.
    pub(super) fn read<T>(
        &self,
        operation: Operation,
        context: Option<&EncryptionContext>,
        work: impl Fn(&Reading<'_>, &Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut call = self.call(operation, context);
        let mut done = self.pass(&mut call, &work);
        let due = call.due.take();
        if call.late || !due.is_empty() {
            match self.settle(call.now, &due) {
                Ok(_) => done = self.pass(&mut call, &work),
                // What is past its deadline is refused in any case; a key that should be rotated is not used as it is.
                Err(error) if !due.is_empty() => done = done.and(Err(error)),
                Err(_) => {}
            }
        }
        call.conclude(done)
    }

    fn pass<T>(&self, call: &mut Call<'_>, work: impl Fn(&Reading<'_>, &Call<'_>) -> Result<T>) -> Result<T> {
        self.shared.store.read(|tables| {
            call.now = call.now.max(tables.time());
            call.late = overdue::is_any(tables, call.now)?;
            work(tables, call)
        })
    }

    /// A call that changes the store, whole and durably, or not at all.
    pub(super) fn write<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&mut Writing<'_>, &Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut call = self.call(operation, None);
        let done = self.sweep(&mut call).and_then(|()| {
            self.shared.store.write(|tables| {
                call.now = call.now.max(tables.time());
                tables.saw(call.now);
                let done = work(tables, &call)?;
                call.succeeds()?;
                Ok(done)
            })
        });
        call.conclude(done)
    }

    /// Removes what is past its deadline, in a transaction of its own: it is gone even if the call is refused.
    fn sweep(&self, call: &mut Call<'_>) -> Result<()> {
        self.pass(call, |_, _| Ok(()))?;
        if call.late {
            call.swept = self.settle(call.now, &[])?;
        }
        Ok(())
    }

    /// A call for the owner alone, whose work is more than a transaction. Before its effect can be seen the work says
    /// that the call [succeeds](Call::succeeds).
    pub(super) fn maintain<T>(&self, operation: Operation, work: impl FnOnce(&Call<'_>) -> Result<T>) -> Result<T> {
        let call = self.call(operation, None);
        let done = call.check_owner().and_then(|()| work(&call));
        call.conclude(done)
    }

    /// Does what is overdue: removes what is past its deadline, and rotates these keys. Returns the number of deleted
    /// keys.
    pub(super) fn settle(&self, now: u64, key_ids: &[String]) -> Result<usize> {
        self.shared.store.write(|tables| {
            let now = now.max(tables.time());
            let swept = overdue::sweep(self, tables, now)?;
            key_ids.iter().try_for_each(|id| overdue::rotate(self, tables, id, now))?;
            swept.iter().try_for_each(|key_arn| self.record_own(Operation::DeleteKey, key_arn, now))?;
            Ok(swept.len())
        })
    }

    fn call<'a>(&'a self, operation: Operation, context: Option<&'a EncryptionContext>) -> Call<'a> {
        let now = self.shared.high_water.raise(to_millis(self.shared.clock.now()));
        Call {
            kms: self,
            operation,
            context,
            now,
            key_arn: RefCell::default(),
            source_arn: RefCell::default(),
            late: false,
            due: RefCell::default(),
            swept: 0,
            recorded: Cell::default(),
        }
    }

    fn record(&self, call: &Call<'_>, error: Option<&Error>) -> Result<()> {
        let outcome = error.map_or_else(|| "ok".to_owned(), code_of);
        self.shared.audit(&Event {
            time: from_millis(call.now),
            principal: self.principal(),
            operation: call.operation.name(),
            key_arn: call.key_arn.borrow().as_deref(),
            source_arn: call.source_arn.borrow().as_deref(),
            encryption_context: call.context,
            outcome: &outcome,
        })
    }

    /// The line of what the KMS does to a key by itself.
    pub(super) fn record_own(&self, operation: Operation, key_arn: &str, now: u64) -> Result<()> {
        self.shared.audit(&Event {
            time: from_millis(now),
            principal: ITSELF,
            operation: operation.name(),
            key_arn: Some(key_arn),
            source_arn: None,
            encryption_context: None,
            outcome: "ok",
        })
    }
}

impl Call<'_> {
    /// The key that a name stands for, for the operation of this call.
    pub(super) fn key(&self, tables: &impl Tables, name: &str) -> Result<Key> {
        self.key_for(self.operation, self.context, tables, name)
    }

    /// The same for one of the two halves of `ReEncrypt`, each with its own context.
    pub(super) fn key_for(
        &self,
        operation: Operation,
        context: Option<&EncryptionContext>,
        tables: &impl Tables,
        name: &str,
    ) -> Result<Key> {
        self.permitted(operation, context, tables, name).map(|(key, _)| key)
    }

    /// The same, with what permits the operation.
    pub(super) fn permitted(
        &self,
        operation: Operation,
        context: Option<&EncryptionContext>,
        tables: &impl Tables,
        name: &str,
    ) -> Result<(Key, Permission)> {
        check_name(operation, name)?;
        let key = self.find(tables, name)?;
        match operation {
            Operation::ReEncryptFrom => *self.source_arn.borrow_mut() = Some(key.arn.clone()),
            _ => self.names(&key),
        }
        let permission = access::permission(self.kms, tables, &key, operation, context)?;
        operation.check_state(key.state(self.now))?;
        if operation.uses_newest_material()
            && overdue::due_rotation(tables, &key.id, &key.material, self.now)?.is_some()
        {
            self.due.borrow_mut().push(key.id.clone());
        }
        Ok((key, permission))
    }

    /// The key that a name stands for, whoever may use it.
    pub(super) fn find(&self, tables: &impl Tables, name: &str) -> Result<Key> {
        let key = lookup::find(tables, &self.kms.place(), name)?;
        if key.is_deleted(self.now) {
            return Err(lookup::not_found(name));
        }
        Ok(key)
    }

    /// Notes the key that the call is about, for its line.
    pub(super) fn names(&self, key: &Key) {
        *self.key_arn.borrow_mut() = Some(key.arn.clone());
    }

    /// Writes the line of a call that is about to succeed: what the log does not tell of does not happen.
    pub(super) fn succeeds(&self) -> Result<()> {
        self.kms.record(self, None)?;
        self.recorded.set(true);
        Ok(())
    }

    /// Writes the line, unless the log has it. If what was to succeed did not, as when the disk is full, it gets
    /// another.
    fn conclude<T>(&self, done: Result<T>) -> Result<T> {
        match &done {
            Ok(_) if self.recorded.get() => {}
            Ok(_) => self.succeeds()?,
            Err(error) if error.kind() == ErrorKind::AuditFailed => {}
            Err(error) => self.kms.record(self, Some(error))?,
        }
        done
    }

    /// Fails unless the owner calls: what concerns no one key is up to IAM policies on AWS, and to the owner here.
    pub(super) fn check_owner(&self) -> Result<()> {
        if self.kms.is_owner() {
            return Ok(());
        }
        let message = format!("only the owner of the account may call {}", self.operation.name());
        Err(refused("AccessDeniedException", message))
    }
}

/// Fails if a key is named by an alias where that is not taken.
pub(super) fn check_name(operation: Operation, name: &str) -> Result<()> {
    if !lookup::is_alias(name) || operation.takes_alias() {
        return Ok(());
    }
    let message = format!("{} takes a key by its id or ARN, not by an alias", operation.name());
    Err(refused("NotFoundException", message))
}
