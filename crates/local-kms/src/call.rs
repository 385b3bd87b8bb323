//! Calls to the embedded KMS, from the time and the caller to the line in the audit log.
//!
//! Every operation goes through [`LocalKms::read`], [`LocalKms::write`] or [`LocalKms::maintain`], and says first what
//! it is, what it concerns (a [`Subject`]) and what is asked for. Its work then gets what the subject found: keys that
//! are there, that the caller may use so, in a state that allows it, and that the line will name. No work comes to a
//! key by another way, and none ends without its line, so an operation cannot forget permission, state or log.

mod subject;

use std::borrow::Cow;
use std::sync::MutexGuard;
use std::time::SystemTime;

use crate::access::{Access, Permission};
use crate::audit::{Commits, Details, Event, OK};
use crate::clock::from_millis;
use crate::deadlines;
use crate::error::{code_of, refused};
use crate::local_kms::LocalKms;
use crate::lookup;
use crate::operation::Operation;
use crate::record::key::{Key, KeyMetadata};
use crate::recorder::{Recorder, commits_of};
use crate::store::{ReadTxn, Tables, WriteTxn};
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use subject::Subject;
pub(super) use subject::{
    OnAlias, OnKey, Owner, PassingOn, PrimaryAndReplica, ReEncrypting, Retargeting, Retiring, check_primary,
};

/// A call that is under way.
#[expect(clippy::struct_excessive_bools, reason = "five findings that do not depend on each other")]
pub(super) struct Call<'a> {
    kms: &'a LocalKms,
    operation: Operation,
    context: Option<&'a EncryptionContext>,
    /// The names of the subject and the other parameters.
    request: &'a Details<'a>,
    /// The present when the store was looked at last, in milliseconds since 1970. No look takes it over from an earlier
    /// one: the call may have waited since, and the store's time have been set back.
    pub(super) now: u64,
    key_arn: Option<String>,
    source_arn: Option<String>,
    /// The commits of the store that the call found and makes.
    commits: Commits,
    /// True if something speaks against that time.
    is_doubted: bool,
    /// True if something was past its deadline when the call came: a call that writes has removed it.
    pub(super) late: bool,
    /// Keys that are due to be rotated.
    due: Vec<String>,
    pub(super) access: Access<'a>,
    /// The number of keys that were removed on the way.
    pub(super) swept: usize,
    /// True if the call's line was to be written.
    attempted: bool,
    /// True if the log has the call's line.
    recorded: bool,
    /// True if that says that the call was refused because the store was set back.
    is_set_back: bool,
    pub(super) recorder: Recorder<'a>,
}

/// The result of a call that changes the store, for its line.
pub(super) trait Answer {
    /// The key that the call made.
    fn key_arn(&self) -> Option<&str> {
        None
    }

    /// Members of the line's `response`.
    fn details(&self) -> Details<'static> {
        Details::new()
    }
}

impl Answer for () {}

impl Answer for usize {}

impl Answer for KeyMetadata {
    fn key_arn(&self) -> Option<&str> {
        Some(self.arn())
    }

    fn details(&self) -> Details<'static> {
        Details::new().owned_text("keyId", self.arn().to_owned())
    }
}

/// The date of a deletion.
impl Answer for SystemTime {
    fn details(&self) -> Details<'static> {
        Details::new().time("deletionDate", *self)
    }
}

impl LocalKms {
    /// Makes a call that changes nothing, unless it finds that something is overdue: then that is done first, and the
    /// call made again.
    pub(super) fn read<S: Subject, T>(
        &self,
        operation: Operation,
        subject: &S,
        request: Details<'_>,
        work: impl Fn(&ReadTxn<'_>, S::Found, &Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let request = subject.describe(request);
        let mut call = Call::new(self, operation, subject.context(), &request);
        let mut done = call.pass(subject, &work);
        let due = std::mem::take(&mut call.due);
        // Nothing is removed by a clock that is in doubt, so there is no writer to wait for.
        if call.late && !call.is_doubted || !due.is_empty() {
            match self.settle_for_reader(&due) {
                Ok(()) => done = call.pass(subject, &work),
                // What is past its deadline is refused in any case; a key that should be rotated is not used as it is.
                Err(error) if !due.is_empty() => done = done.and(Err(error)),
                Err(_) => {}
            }
        }
        call.conclude(done)
    }

    /// Makes a call that changes the store, whole and durably, or not at all.
    pub(super) fn write<S: Subject, T: Answer>(
        &self,
        operation: Operation,
        subject: &S,
        request: Details<'_>,
        work: impl FnOnce(&mut WriteTxn<'_>, S::Found, &mut Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let request = subject.describe(request);
        let mut call = Call::new(self, operation, subject.context(), &request);
        let mut work = Some(work);
        let mut attempt = |call: &mut Call<'_>| {
            self.shared.write_now(|tables, now| {
                call.now = now;
                call.will_commit(tables);
                let found = subject.find(call, tables)?;
                let work =
                    work.take().ok_or_else(|| Error::new(ErrorKind::Internal, "a call was begun again too late"))?;
                let done = work(tables, found, call)?;
                call.succeeds_in(tables, &done)?;
                Ok(done)
            })
        };
        let swept = call.sweep();
        let done = swept.and_then(|()| call.decided(&mut attempt));
        call.conclude(done)
    }

    /// Makes a call that changes one key.
    pub(super) fn change(
        &self,
        operation: Operation,
        key_id: &str,
        request: Details<'_>,
        work: impl FnOnce(&mut Key, &Call<'_>) -> Result<()>,
    ) -> Result<()> {
        self.write(operation, &OnKey::new(key_id), request, |tables, mut key, call| {
            work(&mut key, call)?;
            key.store(tables)
        })
    }

    /// Makes a call for the owner alone, whose work is more than a transaction. Before its effect can be seen the work
    /// says that the call [succeeds](Call::succeeds).
    pub(super) fn maintain<T>(
        &self,
        operation: Operation,
        request: Details<'_>,
        work: impl FnOnce(&mut Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let request = Owner.describe(request);
        let mut call = Call::new(self, operation, None, &request);
        // A call has its line even if the store cannot be read.
        call.commits.found = self.shared.commit_number().ok();
        let done = call.check_owner().and_then(|()| work(&mut call));
        call.conclude(done)
    }

    /// Does what is overdue before a call that reads, unless there is nothing left to do. A call that no rotation is
    /// due for does not wait for another that is at it: what is past its deadline is refused before it is removed too.
    pub(super) fn settle_for_reader(&self, key_ids: &[String]) -> Result<()> {
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

    /// Does what is overdue: removes what is past its deadline, and rotates these keys. Returns the number of deleted
    /// keys.
    pub(super) fn settle(&self, key_ids: &[String]) -> Result<usize> {
        self.settle_in(self.shared.settling.begin(), key_ids)
    }

    fn settle_in(&self, settling: MutexGuard<'_, ()>, key_ids: &[String]) -> Result<usize> {
        let mut recorder = Recorder::new(&self.shared);
        let done = self.shared.write_now(|tables, now| {
            let swept = deadlines::sweep(self.account(), tables, now)?;
            key_ids.iter().try_for_each(|id| deadlines::rotate(self.account(), tables, &mut recorder, id, now))?;
            for key_arn in &swept {
                recorder.write_own(tables, Operation::DeleteKey, key_arn, now)?;
            }
            if !recorder.did_something() {
                self.shared.check_not_set_back(tables)?;
            }
            Ok(swept.len())
        });
        if let Err(error) = &done {
            recorder.take_back(&code_of(error));
        }
        // A subscriber that is told may call the KMS, and find something overdue.
        drop(settling);
        recorder.tell();
        done
    }
}

impl<'a> Call<'a> {
    fn new(
        kms: &'a LocalKms,
        operation: Operation,
        context: Option<&'a EncryptionContext>,
        request: &'a Details<'a>,
    ) -> Self {
        Self {
            kms,
            operation,
            context,
            request,
            now: kms.shared.clock.shown(),
            key_arn: None,
            source_arn: None,
            commits: Commits::default(),
            is_doubted: false,
            late: false,
            due: Vec::new(),
            access: Access::new(kms.caller(), &kms.shared.policies),
            swept: 0,
            attempted: false,
            recorded: false,
            is_set_back: false,
            recorder: Recorder::new(&kms.shared),
        }
    }

    fn pass<S: Subject, T>(
        &mut self,
        subject: &S,
        work: impl Fn(&ReadTxn<'_>, S::Found, &Call<'_>) -> Result<T>,
    ) -> Result<T> {
        self.decided(|call| {
            call.due.clear();
            call.kms.shared.store.read(|tables| {
                call.look_at_the_time(tables)?;
                let found = subject.find(call, tables)?;
                work(tables, found, call)
            })
        })
    }

    /// Makes an attempt in a transaction, and again where it was given up because a policy takes long to decide by:
    /// that is done in between, while others can go on.
    fn decided<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        loop {
            let done = attempt(self);
            if done.is_ok() || !self.access.catch_up()? {
                return done;
            }
        }
    }

    fn look_at_the_time(&mut self, tables: &impl Tables) -> Result<()> {
        let present = self.kms.shared.clock.present(tables);
        self.now = present.time;
        self.is_doubted = present.doubt.is_some();
        self.commits.found = Some(tables.commit_number());
        self.late = deadlines::is_any(tables, self.now)?;
        Ok(())
    }

    /// Removes what is past its deadline, in a transaction of its own: it is gone even if the call is refused.
    fn sweep(&mut self) -> Result<()> {
        self.kms.shared.store.read(|tables| self.look_at_the_time(tables))?;
        if self.late {
            self.swept = self.kms.settle(&[])?;
        }
        Ok(())
    }

    /// Notes which commit the call is about to make.
    pub(super) fn will_commit(&mut self, tables: &WriteTxn<'_>) {
        self.commits = commits_of(tables);
    }

    /// Writes the line of a call that is about to succeed: what the log does not tell of does not happen. No
    /// transaction is open.
    pub(super) fn succeeds(&mut self, answer: &impl Answer) -> Result<()> {
        self.record(None, OK.to_owned(), answer)?;
        self.recorded = true;
        Ok(())
    }

    /// The same in the transaction that does it.
    pub(super) fn succeeds_in(&mut self, tables: &WriteTxn<'_>, answer: &impl Answer) -> Result<()> {
        self.will_commit(tables);
        self.record(Some(tables), OK.to_owned(), answer)?;
        self.recorded = true;
        Ok(())
    }

    /// Writes the line, unless the log has it, and tells `tracing`. If what was to succeed did not, as when the disk is
    /// full, it gets another.
    fn conclude<T>(mut self, done: Result<T>) -> Result<T> {
        let is_refused = self.is_set_back;
        if let Err(error) = &done {
            self.recorder.take_back(&code_of(error));
        }
        let recorded = match &done {
            Ok(_) if self.recorded => Ok(()),
            Ok(_) => self.succeeds(&()),
            // Its line says so.
            Err(_) if is_refused => Ok(()),
            // A log that did not take the call's line does not take another.
            Err(error) if error.kind() == ErrorKind::AuditFailed && self.attempted && !self.recorded => Ok(()),
            Err(error) => {
                self.commits.failed = self.commits.made.take().filter(|_| self.recorded);
                self.record(None, code_of(error), &())
            }
        };
        self.recorder.tell();
        match done {
            // A store that was set back or fails is told, whatever becomes of the line.
            Err(error) if matches!(error.kind(), ErrorKind::AuditFailed | ErrorKind::Storage) => Err(error),
            done => recorded.and(done),
        }
    }

    fn record(&mut self, tables: Option<&WriteTxn<'_>>, outcome: String, answer: &impl Answer) -> Result<()> {
        self.attempted = true;
        if self.key_arn.is_none() {
            self.key_arn = answer.key_arn().map(str::to_owned);
        }
        let event = self.event(outcome, answer.details());
        let written = match tables {
            Some(tables) => self.recorder.write_in(tables, event),
            None => self.recorder.write(event),
        };
        self.is_set_back = self.recorder.is_set_back;
        written
    }

    /// Says that the call's line is in the log already.
    pub(super) fn is_recorded(&mut self) {
        self.recorded = true;
    }

    /// Lets `write` put the line of a call that is about to succeed where it belongs: into a new log.
    pub(super) fn succeeds_by<T>(&mut self, write: impl FnOnce(&Event<'_>) -> Result<T>) -> Result<T> {
        let event = self.event(OK.to_owned(), Details::new());
        let written = write(&event)?;
        self.recorder.wrote(event);
        self.recorded = true;
        Ok(written)
    }

    fn event(&self, outcome: String, response: Details<'static>) -> Event<'a> {
        Event {
            time: from_millis(self.now),
            principal: self.kms.principal().into(),
            operation: self.operation.name().into(),
            key_arn: self.key_arn.clone(),
            source_arn: self.source_arn.clone(),
            encryption_context: self.context,
            request: Some(Cow::Borrowed(self.request)),
            commits: self.commits,
            response,
            outcome,
        }
    }

    /// Finds the key that a name stands for, notes it for the line, and checks what every operation on a key checks.
    fn permitted(
        &mut self,
        operation: Operation,
        context: Option<&EncryptionContext>,
        tables: &impl Tables,
        name: &str,
    ) -> Result<(Key, Permission)> {
        let key = self.find(operation, tables, name)?;
        match operation {
            Operation::ReEncryptFrom => self.source_arn = Some(key.arn.clone()),
            _ => self.key_arn = Some(key.arn.clone()),
        }
        let permission = self.access.permission(tables, &key, operation, context)?;
        operation.check_state(key.state(self.now))?;
        // By a clock that is in doubt nothing is rotated, and a key goes on with the material that it has.
        if operation.uses_newest_material()
            && !self.is_doubted
            && deadlines::due_rotation(tables, &key.id, &key.material, self.now)?.is_some()
        {
            self.due.push(key.id.clone());
        }
        Ok((key, permission))
    }

    /// The key that a name stands for, whoever may use it.
    fn find(&self, operation: Operation, tables: &impl Tables, name: &str) -> Result<Key> {
        if lookup::is_alias(name) && !operation.takes_alias() {
            let message = format!("{} takes a key by its id or ARN, not by an alias", operation.name());
            return Err(refused("NotFoundException", message));
        }
        self.named(operation, tables, name)
    }

    /// The key that a name stands for, be it an alias or not. Who may learn nothing of it is refused all the same.
    fn named(&self, operation: Operation, tables: &impl Tables, name: &str) -> Result<Key> {
        self.access.check_account(operation)?;
        let found = lookup::find(tables, &self.kms.location(), name).and_then(|key| self.existing(key, name));
        found.map_err(|error| self.access.missing(operation, error))
    }

    fn existing(&self, key: Key, name: &str) -> Result<Key> {
        if key.is_deleted(self.now) { Err(lookup::not_found(name)) } else { Ok(key) }
    }

    /// Fails unless the owner calls: what concerns no one key is up to IAM policies on AWS, and to the owner here.
    fn check_owner(&self) -> Result<()> {
        if self.kms.is_owner() {
            return Ok(());
        }
        let message = format!("only the owner of the account may call {}", self.operation.name());
        Err(refused("AccessDeniedException", message))
    }
}
