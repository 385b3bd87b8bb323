//! Calls to the embedded KMS, from the caller's authorisation to the line in the audit log.
//!
//! Every operation goes through [`LocalKms::read`], [`LocalKms::write`] or [`LocalKms::maintain`], and first states its
//! kind, its [`Subject`] and its parameters. Its work then gets the keys that the subject found: keys that exist, that
//! the caller may use, that are in a state which allows the operation, and that the line will name. Work cannot obtain
//! a key in any other way, nor end without its line, so an operation cannot forget permission, state or log.

mod answer;
mod finding;
mod settle;
mod subject;

use std::borrow::Cow;

use crate::access::Access;
use crate::audit::{Commits, Details, Event, OK};
use crate::clock::from_millis;
use crate::deadlines;
use crate::error::refused;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::audit::found;
use crate::record::key::Key;
use crate::recorder::{Recorder, came_to_nothing, commits_of};
use crate::store::{ReadTxn, Tables, WriteTxn};
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

pub(super) use answer::Answer;
use subject::Subject;
pub(super) use subject::{
    Assuming, OfAccount, OnAlias, OnKey, Owner, PassingOn, PrimaryAndReplica, ReEncrypting, Retargeting, Retiring,
    RetiringByToken, check_primary,
};

/// The maximum number of decisions that a call puts off: one for each of two keys, and one more for each if its policy
/// is replaced meanwhile.
const MOST_PUT_OFF: usize = 4;

/// A call in progress.
#[expect(clippy::struct_excessive_bools, reason = "five findings that do not depend on each other")]
pub(super) struct Call<'a> {
    kms: &'a LocalKms,
    operation: Operation,
    context: Option<&'a EncryptionContext>,
    /// The names of the subject and the other parameters.
    request: &'a Details<'a>,
    /// The present time at the last look at the store, in milliseconds since 1970. It is determined anew at each look,
    /// because the call may have waited since, or the store's time may have been set back.
    pub(super) now: u64,
    key_arn: Option<String>,
    source_arn: Option<String>,
    /// The commits of the store that the call found and makes.
    commits: Commits,
    /// True if there is a doubt about that time.
    is_doubted: bool,
    /// True if something was past its deadline at the beginning of the call. A call that writes has removed it.
    pub(super) late: bool,
    /// Keys that are due to be rotated.
    due: Vec<String>,
    pub(super) access: Access<'a>,
    /// The grant tokens of the request.
    tokens: &'a [String],
    /// The number of keys that the call removed because they were past their deadline.
    pub(super) swept: usize,
    /// True once the call has tried to write its line.
    attempted: bool,
    /// True if the log contains the call's line.
    recorded: bool,
    /// True if the line says that the call was refused because the log contradicts the store.
    is_refused: bool,
    pub(super) recorder: Recorder<'a>,
}

impl LocalKms {
    /// Makes a call that changes nothing. If something is overdue, it is done first, and the call is made again.
    pub(super) fn read<S: Subject, T>(
        &self,
        operation: Operation,
        subject: &S,
        request: Details<'_>,
        work: impl Fn(&ReadTxn<'_>, S::Found, &Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let request = subject.describe(request);
        let mut call = Call::new(self, operation, subject.context(), &request, subject.tokens());
        let done = call.pass_settled(subject, &work);
        call.conclude(done)
    }

    /// Makes a call that changes nothing and whose work needs no more of the store than its keys. It is done once the
    /// store is no longer being read, so it may take long. `valid` is what the request alone decides, which as on AWS
    /// comes before everything else.
    pub(super) fn compute<S: Subject, T>(
        &self,
        operation: Operation,
        subject: &S,
        request: Details<'_>,
        valid: Result<()>,
        work: impl FnOnce(S::Found) -> Result<T>,
    ) -> Result<T> {
        let request = subject.describe(request);
        let mut call = Call::new(self, operation, subject.context(), &request, subject.tokens());
        if valid.is_err() {
            call.commits.found = self.shared.found().ok();
        }
        let found = valid.and_then(|()| call.pass_settled(subject, &|_, found, _| Ok(found)));
        let done = found.and_then(work);
        call.conclude(done)
    }

    /// Returns whether the caller may make a call at present, for work that is done ahead of it. It leaves no line.
    pub(super) fn may<S: Subject>(&self, operation: Operation, subject: &S, request: Details<'_>) -> bool {
        let request = subject.describe(request);
        Call::new(self, operation, subject.context(), &request, subject.tokens())
            .pass(subject, |_: &ReadTxn<'_>, _, _: &Call<'_>| Ok(()))
            .is_ok()
    }

    /// Makes a call that changes the store, completely and durably or not at all.
    pub(super) fn write<S: Subject, T: Answer>(
        &self,
        operation: Operation,
        subject: &S,
        request: Details<'_>,
        work: impl FnOnce(&mut WriteTxn<'_>, S::Found, &mut Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let request = subject.describe(request);
        let mut call = Call::new(self, operation, subject.context(), &request, subject.tokens());
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

    /// Makes a call that only the owner may make and that does more than one transaction. Before its effect is visible,
    /// the work declares that the call [succeeds](Call::succeeds), which writes its line. Work that forgets this fails.
    pub(super) fn maintain<T>(
        &self,
        operation: Operation,
        request: Details<'_>,
        work: impl FnOnce(&mut Call<'_>) -> Result<T>,
    ) -> Result<T> {
        self.examine(operation, request, |call| match work(call) {
            Ok(_) if !call.recorded => Err(Error::new(ErrorKind::Internal, "a call changed something without a line")),
            done => done,
        })
    }

    /// Makes a call that only the owner may make and that changes nothing. Its line is written afterwards, so that it
    /// contains the outcome.
    pub(super) fn examine<T>(
        &self,
        operation: Operation,
        request: Details<'_>,
        work: impl FnOnce(&mut Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let request = Owner.describe(request);
        let mut call = Call::new(self, operation, None, &request, &[]);
        // A call gets its line even if the store cannot be read.
        call.commits.found = self.shared.found().ok();
        let done = call.check_owner().and_then(|()| work(&mut call));
        call.conclude(done)
    }
}

impl<'a> Call<'a> {
    fn new(
        kms: &'a LocalKms,
        operation: Operation,
        context: Option<&'a EncryptionContext>,
        request: &'a Details<'a>,
        tokens: &'a [String],
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
            access: Access::new(kms.caller(), &kms.shared.policies, request, kms.shared.grant_delay),
            tokens,
            swept: 0,
            attempted: false,
            recorded: false,
            is_refused: false,
            recorder: Recorder::new(&kms.shared),
        }
    }

    /// Reads, and does what is overdue first if something is.
    fn pass_settled<S: Subject, T>(
        &mut self,
        subject: &S,
        work: &impl Fn(&ReadTxn<'_>, S::Found, &Call<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut done = self.pass(subject, work);
        let due = std::mem::take(&mut self.due);
        // While the clock is in doubt nothing is removed, so there is no writer to wait for.
        if self.late && !self.is_doubted || !due.is_empty() {
            match self.kms.settle_for_reader(&due) {
                Ok(()) => done = self.pass(subject, work),
                // Keys past their deadline are refused in any case, but a key that is due must not be used unrotated.
                Err(error) if !due.is_empty() => done = done.and(Err(error)),
                Err(_) => {}
            }
        }
        done
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

    /// Attempts a transaction, and repeats the attempt if it was given up because the decision of a policy takes long:
    /// that decision is made in between, while others can proceed. The last attempt puts off nothing, so that a policy
    /// that is replaced again and again does not keep the call from ending.
    fn decided<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        // The next attempt may not find what this one found, and the line must not name that then.
        let mut anew = |call: &mut Self| {
            (call.key_arn, call.source_arn) = (None, None);
            attempt(call)
        };
        for _ in 0..MOST_PUT_OFF {
            let done = anew(self);
            if done.is_ok() || !self.access.catch_up()? {
                return done;
            }
        }
        self.access.put_off_nothing();
        anew(self)
    }

    fn look_at_the_time(&mut self, tables: &impl Tables) -> Result<()> {
        let present = self.kms.shared.clock.present(tables);
        self.now = present.time;
        self.is_doubted = present.doubt.is_some();
        self.commits.found = Some(found(tables));
        self.late = deadlines::is_any(tables, self.now)?;
        Ok(())
    }

    /// Removes everything past its deadline, in a separate transaction, so that it is removed even if the call is
    /// refused.
    fn sweep(&mut self) -> Result<()> {
        self.kms.shared.store.read(|tables| self.look_at_the_time(tables))?;
        if self.late {
            self.swept = self.kms.settle(&[])?;
        }
        Ok(())
    }

    /// Records the commit that the call is about to make.
    pub(super) fn will_commit(&mut self, tables: &WriteTxn<'_>) {
        self.commits = commits_of(tables);
    }

    /// Writes the line of a call that is about to succeed, because nothing may happen that the log does not record. No
    /// transaction may be open.
    pub(super) fn succeeds(&mut self, answer: &impl Answer) -> Result<()> {
        self.record(None, OK.to_owned(), answer)?;
        self.recorded = true;
        Ok(())
    }

    /// Writes the line of a call that is about to succeed, in the transaction that makes its change.
    pub(super) fn succeeds_in(&mut self, tables: &mut WriteTxn<'_>, answer: &impl Answer) -> Result<()> {
        self.will_commit(tables);
        self.record(Some(tables), OK.to_owned(), answer)?;
        self.recorded = true;
        Ok(())
    }

    /// Writes the line, unless the log contains it already, and sends the events to `tracing`. If a call whose line
    /// says that it succeeds failed after all, for instance because the disk is full, a second line is written.
    fn conclude<T>(mut self, done: Result<T>) -> Result<T> {
        let is_refused = self.is_refused;
        if let Err(error) = &done {
            self.recorder.take_back(error);
        }
        let recorded = match &done {
            Ok(_) if self.recorded => Ok(()),
            Ok(_) => self.succeeds(&()),
            // Its line already says so.
            Err(_) if is_refused => Ok(()),
            // The call's line could not be written, so neither can another.
            Err(error) if error.kind() == ErrorKind::AuditFailed && self.attempted && !self.recorded => Ok(()),
            Err(error) => {
                let made = self.commits.made.filter(|_| self.recorded);
                let (commits, outcome) = came_to_nothing(Commits { made, ..self.commits }, error);
                self.commits = commits;
                self.record(None, outcome, &())
            }
        };
        self.recorder.tell();
        match done {
            // An error that the store was refused or has failed is always returned.
            Err(error) if matches!(error.kind(), ErrorKind::AuditFailed | ErrorKind::Storage) => Err(error),
            done => recorded.and(done),
        }
    }

    fn record(&mut self, tables: Option<&mut WriteTxn<'_>>, outcome: String, answer: &impl Answer) -> Result<()> {
        self.attempted = true;
        if self.key_arn.is_none() {
            self.key_arn = answer.key_arn().map(str::to_owned);
        }
        let event = self.event(outcome, answer.details());
        let written = match tables {
            Some(tables) => self.recorder.write_in(tables, event),
            None => self.recorder.write(event),
        };
        self.is_refused = self.recorder.is_refused;
        written
    }

    /// Records that the log contains the call's line already. Fails with the refusal, if that line contains one.
    pub(super) fn is_recorded(&mut self, refusal: Option<Error>) -> Result<()> {
        self.recorded = true;
        self.is_refused = refusal.is_some();
        refusal.map_or(Ok(()), Err)
    }

    /// Lets `write` write the line of a call that is about to succeed, into a new log.
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

    /// Fails unless the caller is the owner.
    fn check_owner(&self) -> Result<()> {
        if self.kms.is_owner() {
            return Ok(());
        }
        let message = format!("only the owner of the account may call {}", self.operation.name());
        Err(refused("AccessDeniedException", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::code_of;
    use crate::record::key::CreateKey;

    #[test]
    fn a_policy_that_is_another_at_each_attempt_is_decided_by_in_the_last_unless_that_takes_long() {
        let kms = LocalKms::in_memory().unwrap();
        let key = kms.create_key(CreateKey::default()).unwrap();
        for (len, code) in [(10, "AccessDeniedException"), (60_000, "DependencyTimeoutException")] {
            let (request, mut attempts) = (Details::new(), 0);
            let mut call = Call::new(&kms, Operation::Encrypt, None, &request, &[]);
            let context = EncryptionContext::new([("a", "a".repeat(len))]).unwrap();
            let done = call.decided(|call| {
                attempts += 1;
                assert!(attempts < 100, "it does not end");
                kms.shared.store.read(|tables| {
                    let mut key = call.find(Operation::Encrypt, tables, key.arn())?;
                    key.record.policy = Some(format!(
                        r#"{{"Statement": {{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*",
                           "Condition": {{"StringLike": {{"kms:EncryptionContext:a": "*b*b*{attempts}"}}}}}}}}"#
                    ));
                    call.access.permission(tables, &key, Operation::Encrypt, Some(&context), None)
                })
            });
            assert_eq!((code_of(&done.unwrap_err()).as_str(), attempts), (code, MOST_PUT_OFF + 1));
        }
    }

    #[test]
    fn a_line_names_no_key_of_an_earlier_attempt() {
        let kms = LocalKms::in_memory().unwrap();
        let key = kms.create_key(CreateKey::default()).unwrap();
        let request = Details::new();
        let mut call = Call::new(&kms, Operation::Encrypt, None, &request, &[]);
        let mut names = [key.arn(), "alias/none"].into_iter();
        let find = |call: &mut Call<'_>, tables: &ReadTxn<'_>, name: &str| {
            let mut key = call.find(Operation::Encrypt, tables, name)?;
            (call.key_arn, call.source_arn) = (Some(key.arn.clone()), Some(key.arn.clone()));
            // It is not parsed yet, so the decision is put off.
            let statement = r#"{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}"#;
            key.record.policy = Some(format!(r#"{{"Statement": {statement}}}"#));
            call.access.permission(tables, &key, Operation::Encrypt, None, None)
        };
        let done = call.decided(|call| {
            let name = names.next().unwrap();
            kms.shared.store.read(|tables| find(call, tables, name))
        });
        assert_eq!(code_of(&done.unwrap_err()), "NotFoundException");
        assert_eq!((call.key_arn, call.source_arn), (None, None));
    }
}
