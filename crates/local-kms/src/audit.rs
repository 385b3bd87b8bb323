//! The audit log: one event for each call to the embedded KMS, including refused calls.
//!
//! Every event is sent to `tracing` and, if a file is configured, written to it as a line of JSON. Each line contains
//! the MAC of the line before it and ends with its own MAC, so a log is a chain.
//!
//! - `line` defines the form of a line, `commits`, `details` and `json` its members.
//! - `chain` checks the order of lines, `tail` finds the end of a file, `verify` checks whole files.
//! - `file` appends, `rotate` begins new files, `os` wraps files and locks.
//! - `word` holds what the log learns from the store, `ends` what the store records about the log; `followed` checks
//!   files against that record; `proof` holds what the log proves about the store; and `undone` finds lines whose
//!   change was not made.

mod chain;
mod commits;
mod details;
mod ends;
mod file;
mod followed;
mod json;
mod line;
mod os;
mod proof;
mod rotate;
mod tail;
mod undone;
mod verify;
mod word;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::operation::Operation;
use manila_core::{EncryptionContext, Error, Result};
use zeroize::Zeroizing;

pub(super) use commits::Commits;
pub(super) use details::Details;
pub(super) use file::{Log, Opening, Written};
pub(super) use followed::Followed;
pub(super) use json::rfc3339;
pub(super) use os::is_same_path;
pub(super) use proof::Found;
pub(super) use rotate::{Rotated, Rotation};
pub(super) use verify::{Memory, verify};
pub(super) use word::Word;

use proof::Refusal;

/// The length of a line's MAC, HMAC-SHA-256, in bytes.
const MAC_LEN: usize = 32;

/// The outcome of a call that succeeded.
pub(super) const OK: &str = "ok";

/// The settings of an embedded KMS's audit log.
///
/// The file gets one line of JSON for each call, including refused calls, and for each opening and closing of a handle.
/// It is append-only, and several processes may share it. Each line contains the MAC of the line before it and its own
/// MAC, under a key derived from the root key, so verification detects lines that were changed, removed, moved or
/// added.
///
/// ```json
/// {"seq":7,"epoch":0,"at":2210,"copy":1892035514,"store":5102936114,"commit":7480021093,
///  "time":"2026-11-22T04:36:41.123Z","principal":"arn:aws:iam::000000000000:root","operation":"CreateGrant",
///  "key":"arn:aws:kms:local:000000000000:key/...",
///  "request":{"granteePrincipal":"arn:aws:iam::000000000000:user/alice","operations":["Decrypt"],"keyId":"..."},
///  "response":{"grantId":"..."},"outcome":"ok","prev":"5c0e...","mac":"d27a..."}
/// ```
///
/// | member | meaning |
/// |---|---|
/// | `seq` | number of the line, from 1, over all files of a log |
/// | `epoch` | number of the root key, from 0 |
/// | `at` | offset of the line in its file, in bytes |
/// | `after`, `since` | in the first line of a file that continues another: the number of lines before this file, and before the other one |
/// | `copy` | the copy of the store to which the log belongs: each restored backup is another copy |
/// | `stray` | the copy that the call found, if it is another one |
/// | `store` | the latest commit of the store that the call found, unless the store could not be read; `restored` instead if the store was restored from a backup |
/// | `named` | the latest commit with a line in the log from which that commit descends, if it is not the same |
/// | `proven` | the latest commit with a line that the log proved before this line, if it differs from the one that the call found |
/// | `reached` | the latest commit that was found after that one, if it differs from the commit that the call found |
/// | `pending` | the commit that an earlier line announced, if no line before this one found it |
/// | `commit` | the commit that the call makes; absent in refused calls and in calls that change nothing |
/// | `failed` | the commit that an earlier line announced and that failed: this line takes the earlier one back |
/// | `unsettled` | the commit that an earlier line announced and whose outcome is unknown, because the disk failed |
/// | `time`, `principal`, `operation` | time, caller and operation, under AWS's names; the principal `manila` is the KMS itself |
/// | `key` | ARN of the key, if one was found or created |
/// | `source` | ARN of the key that `ReEncrypt` decrypts with, or that `UpdateAlias` takes an alias from |
/// | `context` | the encryption context; for `ReEncrypt`, that of the new ciphertext |
/// | `request` | the parameters: names as the caller gave them, found or not, principals, operations, regions, days, paths, the source context of `ReEncrypt`, the SHA-256 of a policy. Texts are cut at 4 KiB |
/// | `response` | the resulting key, grant or date |
/// | `outcome` | `ok`; AWS's name of the error, in `unknown (...)` if the change may have been made; `StoreSetBack` or `OtherCopy` if the call was refused because the store is not the one that the log proves |
/// | `prev`, `mac` | the MACs of the line before and of this line |
///
/// No line contains a secret, a plaintext or a ciphertext, nor descriptions, tag values or policies, which the store
/// seals. Encryption contexts are logged with their values, unless you choose to log [only their
/// keys](Self::context_keys_only). Control characters, bidirectional marks and zero-width characters are written as
/// `\u` escapes.
///
/// If the line of an operation cannot be written, the operation fails without effect. This includes a file that was
/// moved, deleted or cut short: [`LocalKms::rotate_audit_log`](crate::LocalKms::rotate_audit_log) begins a new file,
/// even after the log was renamed. Meanwhile a store can still be opened, including with
/// [`LocalKms::reopen`](crate::LocalKms::reopen), but every other operation fails until the line for the opening is
/// written.
///
/// If an operation fails after its line was written, for instance because the disk is full, a second line takes the
/// first back, and so do further lines for each rotation, deletion and expiry that the KMS would have made with it. If
/// these lines cannot be written either, they are written before any other line. If the program ends before that, the
/// first line remains, and is reported as [`NotDone`](AuditFaultKind::NotDone) once a later write reveals it.
///
/// The store records the ends of its log's files, and accepts only one log: programs that share a store share the log.
/// A log that was cut off or replaced by another is reported as [`CutShort`](AuditFaultKind::CutShort) from then on,
/// and a handle that is opened with it refuses every call until the log is back or
/// [rotated](crate::LocalKms::rotate_audit_log). If a rotation was interrupted, or a backup was restored that has no
/// record of a rotation, the store may not know the ends of some files, and does not miss them. The store also records
/// its latest change with a line. A log without that line, for example after a power failure before the line [was
/// synced](Self::sync_each_call), is continued, and reported as [`Unlogged`](AuditFaultKind::Unlogged) from then on.
///
/// If the store was set back to before a commit that the log proves, it does not open with that log, open handles
/// refuse every call except [`verify_audit_log`](crate::LocalKms::verify_audit_log), and verification reports
/// [`StoreSetBack`](AuditFaultKind::StoreSetBack), whatever is written to the store without the log. The same holds for
/// a store after a backup of it was restored with its log ([`OtherCopy`](AuditFaultKind::OtherCopy)). A line proves the
/// commit that its call found, so the loss of the last write is not detected if no line follows it. Setting back the
/// store and cutting off the log to the same moment is not detected.
///
/// Opening the store with a wrong root key leaves no line in the log, because no key for the line can be derived; the
/// event is sent to `tracing`.
///
/// With or without a log, events are also sent to `tracing`, with the target `manila::audit`. They are sent after the
/// call's transaction, when nothing is locked, so a subscriber may call the KMS.
#[derive(Clone, Debug)]
#[must_use]
pub struct AuditLog {
    path: PathBuf,
    sync_each_call: bool,
    best_effort: bool,
    context_keys_only: bool,
}

impl AuditLog {
    /// Keeps the log in the file at `path`. If the file does not exist, it is created, readable only by its owner.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), sync_each_call: false, best_effort: false, context_keys_only: false }
    }

    /// Syncs each line to the disk, so that a power failure loses no line; each call then waits for the disk.
    ///
    /// Without this setting, a crash of the program loses no line, but a crash of the machine may.
    pub fn sync_each_call(mut self) -> Self {
        self.sync_each_call = true;
        self
    }

    /// Lets operations proceed if their line cannot be written, with a warning in `tracing`.
    ///
    /// They also proceed in a store that was set back to before a commit that the log proves, or that is another copy
    /// than the log's. Their lines show this, verification reports it, and the store does not record the end of the
    /// log. A handle without best effort refuses such a store afterwards, too.
    pub fn best_effort(mut self) -> Self {
        self.best_effort = true;
        self
    }

    /// Logs the keys of encryption contexts without their values, both in the file and in `tracing`.
    pub fn context_keys_only(mut self) -> Self {
        self.context_keys_only = true;
        self
    }
}

/// The result of verifying an audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditReport {
    pub(crate) events: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) faults: Vec<AuditFault>,
}

impl AuditReport {
    /// Returns the number of complete, genuine lines in their order; repeated and moved lines do not count.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Returns the number of the first such line: 1, or more in a file that continues another; 0 if there is none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Returns the number of the last such line, 0 if there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns the first thousand faults, in the order of the lines, and in any case a missing end.
    #[must_use]
    pub fn faults(&self) -> &[AuditFault] {
        &self.faults
    }

    /// Returns whether the log has no faults.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.faults.is_empty()
    }
}

/// A fault in an audit log. Its `Display` text is one line for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AuditFault {
    pub(crate) line: u64,
    pub(crate) kind: AuditFaultKind,
}

impl AuditFault {
    /// Returns the number of the line in the file, from 1.
    #[must_use]
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Returns the kind of fault.
    #[must_use]
    pub fn kind(&self) -> AuditFaultKind {
        self.kind
    }
}

/// The kind of a fault in an audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditFaultKind {
    /// The line is incomplete, as after a crash during writing; its call never returned. Cutting a line short looks the
    /// same, but makes the next line [`OutOfSequence`](Self::OutOfSequence).
    Torn,
    /// The line was changed, or was not written by this KMS.
    Changed,
    /// The line is genuine but does not follow the line before it: lines were removed here, moved or repeated.
    OutOfSequence,
    /// The line does not have the form of a line of an audit log.
    Malformed,
    /// The line announces a change that was not made, because of a crash or a disk failure between the line and its
    /// effect. Its call never returned success. If another line calls the outcome unknown, this is the outcome.
    NotDone,
    /// The log was cut off here: the store has recorded later lines, or a different line with this number, or no line
    /// after which this file could begin.
    CutShort,
    /// The store was set back: the log proves a later commit than this line found, or, at the last line, than the store
    /// has now. Changes in between, such as the disabling of a key, are undone.
    StoreSetBack,
    /// The store contains a change without a line in this log: the call of this line found it or, at the last line, the
    /// store contains it now. The line of the change was lost or cut off, or the change was logged elsewhere.
    Unlogged,
    /// The line says that a change failed, but the change was made.
    NotFailed,
    /// The log belongs to a copy of the store that was restored from a backup, and this line is from another copy or,
    /// at the last line, the log was verified against another copy.
    OtherCopy,
}

impl fmt::Display for AuditFaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torn => "begun and not finished",
            Self::Changed => "changed, or not written by this KMS",
            Self::OutOfSequence => "does not follow the line before it: lines were removed, moved or repeated",
            Self::Malformed => "not a line of an audit log",
            Self::NotDone => "tells of a change that was not made: the program ended or failed before it was",
            Self::CutShort => "the log was cut off here",
            Self::StoreSetBack => "the store was set back to an earlier state than the log proves",
            Self::Unlogged => "the store contains a change without a line in this log",
            Self::NotFailed => "says that a change failed, but the change was made",
            Self::OtherCopy => "the log belongs to another copy of the store, which was restored from a backup",
        })
    }
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.kind)
    }
}

/// A call to the KMS.
#[derive(Clone)]
pub(super) struct Event<'a> {
    pub(super) time: SystemTime,
    pub(super) principal: Cow<'a, str>,
    pub(super) operation: Cow<'a, str>,
    /// Of the key, if there is one.
    pub(super) key_arn: Option<String>,
    /// Of the key that `ReEncrypt` decrypts with, or that `UpdateAlias` takes the alias from.
    pub(super) source_arn: Option<String>,
    pub(super) encryption_context: Option<&'a EncryptionContext>,
    /// The request; `None` if the KMS acts by itself.
    pub(super) request: Option<Cow<'a, Details<'a>>>,
    pub(super) commits: Commits,
    /// The result: a key, a grant or a date.
    pub(super) response: Details<'static>,
    /// `ok`, or AWS's name of the error.
    pub(super) outcome: String,
}

impl Event<'_> {
    /// Returns whether the event is a success that must be refused if the log contradicts the store. Verifying the log
    /// is allowed because it reports the fault, and closing a handle is always allowed.
    fn relies_on_store(&self) -> bool {
        let is_exempt = [Operation::VerifyAuditLog, Operation::CloseStore].map(Operation::name);
        self.outcome == OK && !self.commits.restored && !is_exempt.contains(&self.operation.as_ref())
    }

    /// Returns the same event, refused.
    fn as_refused(&self, refusal: Refusal) -> Self {
        let commits = Commits { made: None, ..self.commits };
        Self { commits, response: Details::new(), outcome: refusal.outcome().to_owned(), ..self.clone() }
    }

    /// Returns the same event without its parameters, for keeping.
    fn in_short(&self) -> Event<'static> {
        Event {
            time: self.time,
            principal: self.principal.clone().into_owned().into(),
            operation: self.operation.clone().into_owned().into(),
            key_arn: self.key_arn.clone(),
            source_arn: self.source_arn.clone(),
            encryption_context: None,
            request: None,
            commits: self.commits,
            response: Details::new(),
            outcome: self.outcome.clone(),
        }
    }
}

/// The key of lines' MACs, one for each root key that the store has had.
#[derive(Clone)]
pub(super) struct LineKey {
    /// The number of the root key, which each line contains.
    pub(super) epoch: u64,
    pub(super) secret: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for LineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineKey").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The end of a log as the store records it: the number of lines, and the MAC of the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) lines: u64,
    pub(super) mac: [u8; MAC_LEN],
}

/// The end of a log that was rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndOfLog {
    /// The number of lines before that file: an end applies only to the file that begins there.
    pub(super) start: u64,
    pub(super) last: Head,
    /// An earlier line that the store has recorded and that the log no longer contained.
    pub(super) cut: Option<Head>,
}

/// The end of a log as the store has recorded it, and the length of the file at that time, by which the line is found
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) head: Head,
    pub(super) len: u64,
    /// The last line of the file that its file continues, if there is one.
    pub(super) begins: Option<Head>,
}

/// An event to send to `tracing`, whether or not its line was written.
pub(super) struct Told<'a> {
    event: Event<'a>,
    missing: Option<Missing>,
}

/// The reason why the log lacks an event.
enum Missing {
    /// The log is kept at best effort, so the call proceeds.
    GoesOn(Error),
    /// The call is refused.
    Refused(String),
}

impl<'a> Told<'a> {
    /// Creates one from an event and the result of writing its line, and returns the result for the call.
    pub(super) fn new(event: Event<'a>, written: Result<Written>) -> (Self, Result<()>) {
        match written {
            Ok(Written::Whole | Written::Doubted) => (Self { event, missing: None }, Ok(())),
            Ok(Written::Missing(error)) => (Self { event, missing: Some(Missing::GoesOn(error)) }, Ok(())),
            Ok(Written::Refused(refusal)) => {
                (Self { event: event.as_refused(refusal), missing: None }, Err(refusal.error()))
            }
            Err(error) => (Self { event, missing: Some(Missing::Refused(error.to_string())) }, Err(error)),
        }
    }

    /// Creates one from an event whose line was written, or was not written because of this error.
    pub(super) fn of(event: Event<'a>, error: Option<&Error>) -> Self {
        Self { event, missing: error.map(|error| Missing::Refused(error.to_string())) }
    }

    /// Sends the event to `tracing`. Subscribers may do anything, so the caller must not hold a lock.
    pub(super) fn tell(&self, context_keys_only: bool) {
        trace(&self.event, context_keys_only);
        match &self.missing {
            None => {}
            Some(Missing::GoesOn(error)) => {
                tracing::warn!(target: "manila::audit", %error, "a call is missing from the audit log");
            }
            Some(Missing::Refused(error)) => {
                tracing::error!(target: "manila::audit", error, "the call was refused: it could not be logged");
            }
        }
    }
}

fn trace(event: &Event<'_>, context_keys_only: bool) {
    if !tracing::enabled!(target: "manila::audit", tracing::Level::INFO) {
        return;
    }
    tracing::info!(
        target: "manila::audit",
        time = rfc3339(event.time),
        principal = event.principal.as_ref(),
        operation = event.operation.as_ref(),
        key = event.key_arn,
        source = event.source_arn,
        context = event.encryption_context.and_then(|context| json::context_json(context, context_keys_only)),
        request = event.request.as_deref().and_then(|details| details::details_json(details, context_keys_only)),
        response = details::details_json(&event.response, context_keys_only),
        outcome = event.outcome,
        "call to the KMS"
    );
}

#[cfg(test)]
#[path = "../../../tests/support/heard.rs"]
mod heard;

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, UNIX_EPOCH};

    use tracing::{Metadata, Subscriber};

    use super::*;

    pub(super) const STORE: &[u8; 16] = b"a store of sixty";

    /// Returns line keys: that of epoch `n` is 32 times the byte `n`.
    pub(super) fn keys(epochs: impl IntoIterator<Item = u8>) -> Vec<LineKey> {
        let key = |epoch: u8| LineKey { epoch: epoch.into(), secret: Zeroizing::new([epoch; 32]) };
        epochs.into_iter().map(key).collect()
    }

    pub(super) fn event<'a>(operation: &'a str, context: &'a EncryptionContext) -> Event<'a> {
        Event {
            time: UNIX_EPOCH + Duration::from_millis(1_795_322_201_123),
            principal: "arn:aws:iam::000000000000:root".into(),
            operation: operation.into(),
            key_arn: Some("arn:aws:kms:local:000000000000:key/1".to_owned()),
            source_arn: None,
            encryption_context: Some(context),
            request: None,
            commits: Commits::default(),
            response: Details::new(),
            outcome: "ok".to_owned(),
        }
    }

    pub(super) fn tenant() -> EncryptionContext {
        EncryptionContext::new([("tenant", "acme")]).unwrap()
    }

    /// Records each event that `tracing` receives as a string.
    #[derive(Clone, Default)]
    pub(super) struct Heard(Arc<Mutex<Vec<String>>>);

    impl Heard {
        pub(super) fn texts(&self) -> Vec<String> {
            self.0.lock().unwrap().clone()
        }

        pub(super) fn subscriber(&self) -> impl Subscriber {
            let heard = self.clone();
            heard::Heard(move |what: &Metadata<'_>, fields: &[(&str, String)]| {
                let mut text = format!("{} {}", what.target(), what.level());
                for (field, value) in fields {
                    write!(text, " {field}={value}").unwrap();
                }
                heard.0.lock().unwrap().push(text);
            })
        }
    }

    #[test]
    fn tracing_hears_of_each_event() {
        let (heard, context) = (Heard::default(), tenant());
        let request = Details::new().text("keyId", "alias/a").context("sourceEncryptionContext", &context);
        heard::listen(heard.subscriber(), || {
            let tell = |event: Event<'_>, keys_only| Told::new(event, Ok(Written::Whole)).0.tell(keys_only);
            tell(event("Decrypt", &context), false);
            tell(Event { request: Some(Cow::Borrowed(&request)), ..event("Encrypt", &context) }, true);
            let outcome = "NotFoundException".to_owned();
            tell(Event { key_arn: None, encryption_context: None, outcome, ..event("", &context) }, false);
        });
        let [decrypt, encrypt, refused] = heard.texts().try_into().unwrap();
        assert_eq!(
            decrypt,
            "manila::audit INFO message=call to the KMS time=\"2026-11-22T04:36:41.123Z\" \
             principal=\"arn:aws:iam::000000000000:root\" operation=\"Decrypt\" \
             key=\"arn:aws:kms:local:000000000000:key/1\" context=\"{\\\"tenant\\\":\\\"acme\\\"}\" outcome=\"ok\""
        );
        for field in [
            r#" operation="Encrypt""#,
            r#" context="[\"tenant\"]""#,
            r#" request="{\"keyId\":\"alias/a\",\"sourceEncryptionContext\":[\"tenant\"]}""#,
        ] {
            assert!(encrypt.contains(field), "{encrypt}");
        }
        assert!(refused.ends_with("operation=\"\" outcome=\"NotFoundException\""), "{refused}");
    }

    #[test]
    fn debug_shows_no_line_key() {
        assert_eq!(format!("{:?}", keys([9])), "[LineKey { epoch: 9, .. }]");
    }

    #[test]
    fn a_fault_says_where_and_what() {
        let fault = AuditFault { line: 7, kind: AuditFaultKind::Torn };
        assert_eq!(fault.to_string(), "line 7: begun and not finished");
    }
}
