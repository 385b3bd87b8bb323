//! The audit log: each call to the embedded KMS, refusals too, as one event.
//!
//! An event goes to `tracing`, always, and to a file of JSON lines, if one is configured. A line names the line before
//! it and ends in a MAC, so that a log is a chain: `line` has the form of one line and `details` and `json` what stands
//! in it, `chain` how lines follow each other, `tail` the end of a file, `file` appends, `rotate` begins new files,
//! `verify` checks, `os` has files and locks. `word` is what the store says to the log, `ends` what the log says to the
//! store, and `undone` how lines show that what they tell of was not done.

mod chain;
mod details;
mod ends;
mod file;
mod json;
mod line;
mod os;
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

pub(super) use details::Details;
pub(super) use ends::Followed;
pub(super) use file::{Log, Opening, Written};
pub(super) use line::Commits;
pub(super) use os::is_same_path;
pub(super) use rotate::{Rotated, Rotation};
pub(super) use verify::{Memory, Verified, verify};
pub(super) use word::Word;

/// Length of a line's MAC in bytes, HMAC-SHA-256.
const MAC_LEN: usize = 32;

/// The outcome of a call that succeeded, and of one that was refused because the store was set back.
pub(super) const OK: &str = "ok";
const SET_BACK: &str = "StoreSetBack";

/// The place of an embedded KMS's audit log, and how it is kept.
///
/// The file gets one line of JSON for each call, refused calls too, and for each opening and closing of a handle. It is
/// only ever appended to, and several processes may share it. Each line names the one before it and carries a MAC under
/// a key that comes from the root key, so a line that was changed, removed, moved or added shows when the log is
/// verified.
///
/// ```json
/// {"seq":7,"epoch":0,"at":2210,"store":5102936114,"commit":7480021093,"time":"2026-11-22T04:36:41.123Z",
///  "principal":"arn:aws:iam::000000000000:root","operation":"CreateGrant",
///  "key":"arn:aws:kms:local:000000000000:key/...",
///  "request":{"granteePrincipal":"arn:aws:iam::000000000000:user/alice","operations":["Decrypt"],"keyId":"..."},
///  "response":{"grantId":"..."},"outcome":"ok","prev":"5c0e...","mac":"d27a..."}
/// ```
///
/// | member | meaning |
/// |---|---|
/// | `seq` | number of the line, from 1, over all files of a log |
/// | `epoch` | number of the root key, from 0 |
/// | `at` | where the line begins in its file, in bytes |
/// | `after`, `since` | in the first line of a file that goes on from another: the number of lines before this file, and before that other one |
/// | `store` | the latest commit of the store that the call found, unless the store could not be read; `restored` instead if a backup became the store |
/// | `proven` | the latest commit that the log proves with this line, where it is not the one that was found |
/// | `commit` | the commit that the call makes; none for calls that change nothing and for refused ones |
/// | `failed` | the commit that an earlier line said would be made, and that failed: this line takes that one back |
/// | `time`, `principal`, `operation` | when, who, and what, under AWS's names; `manila` is the KMS itself |
/// | `key` | ARN of the key, where one was found or made |
/// | `source` | ARN of the key that `ReEncrypt` decrypts with, or that `UpdateAlias` takes an alias from |
/// | `context` | the encryption context, of `ReEncrypt` that of the new ciphertext |
/// | `request` | what was asked for: names as the caller gave them, found or not, principals, operations, regions, days, paths, the source context of `ReEncrypt`, the SHA-256 of a policy. Texts are cut at 4 KiB |
/// | `response` | the key, grant or date that was made |
/// | `outcome` | `ok`, AWS's name of the error, or `StoreSetBack` for what was refused because the store was set back |
/// | `prev`, `mac` | the MAC of the line before, and of this one |
///
/// No line holds a secret, a plaintext or a ciphertext, nor what the store seals: descriptions, values of tags,
/// policies. Encryption contexts are told whole, unless the log is kept [without their
/// values](Self::context_keys_only). Controls, marks that change the direction of text and characters without width are
/// written as `\u` escapes.
///
/// An operation whose line cannot be written fails, and does nothing. That includes a file that was moved, deleted or
/// cut short: [`LocalKms::rotate_audit_log`](crate::LocalKms::rotate_audit_log) begins a new file, also after a log was
/// renamed. An operation that fails after its line was written, as when the disk is full, has a second line that says
/// so, and so has each rotation and deletion that the KMS was to make with it. Where the log cannot take that line
/// either, it takes it before any other. If the program ends before, a line is left that tells of what was not done: it
/// is reported as [`NotDone`](AuditFaultKind::NotDone) once a later write shows it.
///
/// The store remembers the ends of its log's files, and takes the lines of one log only: programs that share a store
/// share the log. A log that was cut off, or was put in the place of another, is reported as
/// [`CutShort`](AuditFaultKind::CutShort) from then on; where a rotation was interrupted, or a backup was restored that
/// knows nothing of a rotation, the ends of single files may be unknown, and are not missed. A store that was set back
/// behind what the log proves does not open with it, a handle that is open refuses every call but
/// [`verify_audit_log`](crate::LocalKms::verify_audit_log), and it is reported as
/// [`StoreSetBack`](AuditFaultKind::StoreSetBack). A line proves what its call found, so the very last write, if
/// nothing was logged after it, is not missed. Who can set back the store and cut off the log alike is not found out.
///
/// Openings with a wrong root key are not in the log, since no key for their line can be had; `tracing` hears of them.
///
/// Events also go to `tracing`, to the target `manila::audit`, with a log or without: after the call's transaction,
/// when nothing is locked, so that a subscriber may call the KMS.
#[derive(Clone, Debug)]
#[must_use]
pub struct AuditLog {
    path: PathBuf,
    sync_each_call: bool,
    best_effort: bool,
    context_keys_only: bool,
}

impl AuditLog {
    /// A log in the file at `path`, which is made if there is none, readable by its owner alone.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), sync_each_call: false, best_effort: false, context_keys_only: false }
    }

    /// Waits for each line to reach the disk: a power failure then loses no line, and each call takes as long as the
    /// disk does. Without it a crash of the program loses none either, one of the machine may.
    pub fn sync_each_call(mut self) -> Self {
        self.sync_each_call = true;
        self
    }

    /// Lets an operation go on whose line cannot be written; a warning in `tracing` says so. It also goes on in a store
    /// that was set back behind what the log proves: the lines say so, and verifying reports it.
    pub fn best_effort(mut self) -> Self {
        self.best_effort = true;
        self
    }

    /// Writes the keys of encryption contexts without their values, to `tracing` too.
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
    /// Returns the number of lines that are whole and genuine and come after those before them; repeated and moved
    /// lines do not count.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Returns the number of the first such line, 0 if there is none: 1, or more for a file that goes on from another.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Returns the number of the last such line, 0 if there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns the faults in the order of the lines: the first thousand, and whether the end is missing.
    #[must_use]
    pub fn faults(&self) -> &[AuditFault] {
        &self.faults
    }

    /// Returns whether nothing is wrong.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Something wrong in an audit log. Its text is one line for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AuditFault {
    pub(crate) line: u64,
    pub(crate) kind: AuditFaultKind,
}

impl AuditFault {
    /// Returns the line in the file, from 1.
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

/// The ways in which a line of an audit log can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuditFaultKind {
    /// It was begun and not finished, as a crash in the middle of writing leaves it; that call was never answered.
    /// Cutting a line short looks the same, but leaves the next line [`OutOfSequence`](Self::OutOfSequence).
    Torn,
    /// It was changed, or not written by this KMS.
    Changed,
    /// It is genuine but does not follow the line before it: lines were removed here, or moved, or repeated.
    OutOfSequence,
    /// It is not a line of an audit log at all.
    Malformed,
    /// It tells of a change that was not made: a crash or a failure of the disk came between the line and its effect.
    /// That call was never answered with success.
    NotDone,
    /// The log was cut off here: the store knows of later lines, or of another one in this place.
    CutShort,
    /// The store was set back: the log proves a later commit than this line found, or, at the last line, than the store
    /// has now. What was done in between is undone, such as the disabling of a key.
    StoreSetBack,
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
    /// The request; none if nobody made one.
    pub(super) request: Option<Cow<'a, Details<'a>>>,
    pub(super) commits: Commits,
    /// The result of the answer: a key, a grant, a date.
    pub(super) response: Details<'static>,
    /// `ok`, or AWS's name of the error.
    pub(super) outcome: String,
}

impl Event<'_> {
    /// Returns whether it tells of something that was done, and that is not done in a store that was set back.
    /// Verifying the log shows that it was, and a handle may end at any time.
    fn relies_on_store(&self) -> bool {
        let is_exempt = [Operation::VerifyAuditLog, Operation::CloseStore].map(Operation::name);
        self.outcome == OK && !self.commits.restored && !is_exempt.contains(&self.operation.as_ref())
    }

    /// The same, refused because the store was set back.
    fn as_set_back(&self) -> Self {
        let commits = Commits { made: None, ..self.commits };
        Self { commits, response: Details::new(), outcome: SET_BACK.to_owned(), ..self.clone() }
    }

    /// The same without what was asked for, to be kept.
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

/// The key of the lines' MACs, one for each root key that the store has had.
#[derive(Clone)]
pub(super) struct LineKey {
    /// Counts the root keys, and stands in each line.
    pub(super) epoch: u64,
    pub(super) secret: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for LineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineKey").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// The end of a log, for the store to remember: how many lines there are, and the MAC of the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) lines: u64,
    pub(super) mac: [u8; MAC_LEN],
}

/// The end of a log that was rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndOfLog {
    /// The number of lines before that log: an end counts for the file that begins there, and for no other.
    pub(super) start: u64,
    pub(super) last: Head,
    /// An earlier line that the store remembers and the log did not have any more.
    pub(super) cut: Option<Head>,
}

/// The end of a log as the store remembers it, and the length of the file then, by which the line is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) head: Head,
    pub(super) len: u64,
    /// The line that its file goes on from, if it goes on from another one.
    pub(super) begins: Option<Head>,
}

/// An event whose line was written, or was not, and what `tracing` is to hear of it.
pub(super) struct Told<'a> {
    event: Event<'a>,
    missing: Option<Missing>,
}

/// The reason why the log lacks an event.
enum Missing {
    /// The log is kept at best effort, so the call goes on.
    GoesOn(Error),
    /// The call is refused.
    Refused(String),
}

impl<'a> Told<'a> {
    /// Takes an event up with the result of writing its line, and returns what becomes of its call.
    pub(super) fn new(event: Event<'a>, written: Result<Written>) -> (Self, Result<()>) {
        match written {
            Ok(Written::Whole) => (Self { event, missing: None }, Ok(())),
            Ok(Written::Missing(error)) => (Self { event, missing: Some(Missing::GoesOn(error)) }, Ok(())),
            Ok(Written::SetBack(error)) => (Self { event: event.as_set_back(), missing: None }, Err(error)),
            Err(error) => (Self { event, missing: Some(Missing::Refused(error.to_string())) }, Err(error)),
        }
    }

    /// Takes an event up whose line was written, or was not for this reason.
    pub(super) fn of(event: Event<'a>, error: Option<&Error>) -> Self {
        Self { event, missing: error.map(|error| Missing::Refused(error.to_string())) }
    }

    /// Tells `tracing`. Subscribers may do anything, so the caller holds no lock.
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
        time = json::rfc3339(event.time),
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

    /// Keeps the events that `tracing` receives, each as one text.
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
