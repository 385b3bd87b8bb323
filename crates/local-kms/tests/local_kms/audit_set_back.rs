//! Stores set back to before a commit that their log proves, and log lines that record changes that were not made.

use std::fs;
use std::path::PathBuf;

use manila_local_kms::{AuditFaultKind, AuditLog, CreateKey, Error, ErrorKind, LocalKms, RootKey};
use serde_json::{Value, json};

use crate::access::ALICE;
use crate::audit::Logged;
use crate::encrypt;

/// A logged store from before its key was disabled, and the log from after that.
struct SetBack {
    logged: Logged,
    key: String,
    old: Vec<u8>,
}

impl SetBack {
    /// Makes the scene, with the store closed and not yet set back.
    fn new(calls_before: usize) -> Self {
        let logged = Logged::new();
        let kms = logged.create(|log| log);
        let key = kms.create_key(CreateKey::default()).unwrap().arn().to_owned();
        (0..calls_before).for_each(|_| drop(encrypt(&kms, &key, b"x").unwrap()));
        drop(kms);
        let old = fs::read(logged.0.store()).unwrap();
        let kms = logged.open();
        kms.disable_key(&key).unwrap();
        drop(kms);
        Self { logged, key, old }
    }

    /// Overwrites the store in place, so that it is the same file.
    fn set_back(&self) {
        fs::write(self.logged.0.store(), &self.old).unwrap();
    }

    fn try_open(&self) -> Result<LocalKms, Error> {
        let root = RootKey::open_file(self.logged.0.root())?;
        LocalKms::builder().audit(AuditLog::file(self.logged.log())).open(self.logged.0.store(), root)
    }

    fn assert_refused(&self) {
        assert_set_back(&self.try_open().unwrap_err());
    }
}

fn assert_set_back(error: &Error) {
    assert!(error.kind() == ErrorKind::Storage && error.to_string().contains("set back"), "{error}");
}

fn outcomes(lines: &[Value]) -> Vec<(&str, &str)> {
    let text = |value: &Value| -> &'static str { value.as_str().unwrap().to_owned().leak() };
    lines.iter().map(|line| (text(&line["operation"]), text(&line["outcome"]))).collect()
}

#[test]
fn a_refusal_does_not_wear_off() {
    let scene = SetBack::new(0);
    scene.set_back();
    let before = fs::metadata(scene.logged.log()).unwrap().len();
    let lines = scene.logged.lines().len();
    while fs::metadata(scene.logged.log()).unwrap().len() < before + (70 << 10) {
        scene.assert_refused();
    }
    scene.assert_refused();
    // An opening writes one line, which does not report success.
    let refused = scene.logged.lines().split_off(lines);
    assert!(outcomes(&refused).iter().all(|line| *line == ("OpenStore", "StoreSetBack")), "{refused:?}");
    assert!(refused.iter().all(|line| line["proven"].as_u64() > line["store"].as_u64()));
}

#[test]
fn calls_that_do_nothing_push_no_proof_out_of_sight() {
    let scene = SetBack::new(0);
    let kms = scene.logged.open();
    let alice = kms.as_principal(ALICE).unwrap();
    (0..200).for_each(|_| drop(alice.checkpoint().unwrap_err()));
    assert!(scene.logged.lines().iter().all(|line| line["store"].is_u64()), "each line tells what it found");
    drop((kms, alice));
    scene.set_back();
    scene.assert_refused();
}

#[test]
fn lines_repeated_after_the_end_hide_nothing() {
    let scene = SetBack::new(180);
    let text = scene.logged.text();
    let beginning: String = text.split_inclusive('\n').take(182).collect();
    assert!(beginning.len() > 64 << 10);
    scene.set_back();
    fs::write(scene.logged.log(), text + &beginning).unwrap();
    scene.assert_refused();
    let last = scene.logged.lines().pop().unwrap();
    assert_eq!(last["seq"].as_u64(), Some(scene.logged.lines().len() as u64 - 182), "it continues after the last line");
}

#[cfg(unix)]
#[test]
fn a_log_that_was_away_at_the_opening_is_asked_when_it_is_back() {
    let scene = SetBack::new(0);
    scene.set_back();
    let aside = scene.logged.log().with_extension("1");
    fs::rename(scene.logged.log(), &aside).unwrap();
    let kms = scene.try_open().unwrap();
    assert_set_back(&kms.rotate_audit_log(&aside).unwrap_err());
    assert_eq!(encrypt(&kms, &scene.key, b"x").unwrap_err().kind(), ErrorKind::AuditFailed);
    fs::rename(&aside, scene.logged.log()).unwrap();
    let before = scene.logged.lines().len();
    assert_set_back(&encrypt(&kms, &scene.key, b"x").unwrap_err());
    let lines = scene.logged.lines().split_off(before);
    assert_eq!(outcomes(&lines), [("OpenStore", "StoreSetBack"), ("Encrypt", "StoreSetBack")]);
}

#[test]
fn an_open_handle_does_not_go_on_in_a_store_that_was_set_back() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap().arn().to_owned();
    let old = fs::read(logged.0.store()).unwrap();
    let other = logged.open();
    other.disable_key(&key).unwrap();
    encrypt(&other, &key, b"x").unwrap_err();
    drop(other);
    fs::write(logged.0.store(), &old).unwrap();
    let before = logged.lines().len();
    assert_set_back(&encrypt(&kms, &key, b"x").unwrap_err());
    assert_set_back(&kms.update_key_description(&key, "x").unwrap_err());
    assert_set_back(&kms.checkpoint().unwrap_err());
    assert_set_back(&kms.rotate_audit_log(logged.log().with_extension("1")).unwrap_err());
    assert_set_back(&kms.change_root_key(RootKey::from_bytes(&[7; 32])).unwrap_err());
    let lines = logged.lines().split_off(before);
    assert!(outcomes(&lines).iter().all(|(_, outcome)| *outcome != "ok"), "{lines:?}");
    // The same handle can report what happened.
    let report = kms.verify_audit_log(logged.log()).unwrap();
    assert!(report.faults().iter().any(|fault| fault.kind() == AuditFaultKind::StoreSetBack), "{report:?}");
    // Closing it makes no later commit, which would make the store pass for a different one.
    drop(kms);
    let root = RootKey::open_file(logged.0.root()).unwrap();
    let opened = LocalKms::builder().audit(AuditLog::file(logged.log())).open(logged.0.store(), root);
    assert_set_back(&opened.unwrap_err());
}

#[test]
fn a_line_that_was_removed_does_not_hide_that_the_store_was_set_back() {
    let scene = SetBack::new(0);
    scene.set_back();
    let root = RootKey::open_file(scene.logged.0.root()).unwrap();
    let log = AuditLog::file(scene.logged.log()).best_effort();
    let kms = LocalKms::builder().audit(log).open(scene.logged.0.store(), root).unwrap();
    kms.update_key_description(&scene.key, "x").unwrap();
    drop(kms);
    let text = scene.logged.text();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let write = lines.iter().position(|line| line.contains("UpdateKeyDescription")).unwrap();
    let kept: String = [&lines[..write - 1], &lines[write..]].concat().concat();
    fs::write(scene.logged.log(), kept).unwrap();
    let report = scene.logged.0.open().unwrap().verify_audit_log(scene.logged.log()).unwrap();
    let faults: Vec<_> = report.faults().iter().map(|fault| (fault.line(), fault.kind())).collect();
    let line = write as u64;
    assert!(faults.contains(&(line, AuditFaultKind::OutOfSequence)), "{faults:?}");
    assert!(faults.contains(&(line, AuditFaultKind::StoreSetBack)), "{faults:?}");
}

#[test]
fn one_forged_line_of_a_later_root_key_stops_nothing() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    let zeros = "0".repeat(64);
    let forged = format!("{{\"seq\":1,\"epoch\":9,\"at\":0,\"prev\":\"{zeros}\",\"mac\":\"{zeros}\"}}\n");
    fs::write(logged.log(), logged.text() + &forged).unwrap();
    encrypt(&kms, key.arn(), b"x").unwrap();
    kms.checkpoint().unwrap();
    encrypt(&logged.open(), key.arn(), b"x").unwrap();
    let report = kms.verify_audit_log(logged.log()).unwrap();
    let faults: Vec<_> = report.faults().iter().map(|fault| (fault.line(), fault.kind())).collect();
    assert_eq!(faults, [(3, AuditFaultKind::Changed)]);
    kms.rotate_audit_log(logged.log().with_extension("1")).unwrap();
    // The same under a newer root key.
    kms.change_root_key(RootKey::from_bytes(&[7; 32])).unwrap();
    kms.checkpoint().unwrap();
}

#[test]
fn a_restore_whose_line_cannot_be_written_makes_nothing() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let path = |name: &str| -> PathBuf { logged.0.0.path().join(name) };
    kms.backup(path("backup")).unwrap();
    drop(kms);
    fs::rename(logged.log(), path("aside")).unwrap();
    let restore = || {
        let root = RootKey::open_file(logged.0.root()).unwrap();
        LocalKms::builder().audit(AuditLog::file(logged.log())).restore(path("backup"), path("restored"), root)
    };
    assert_eq!(restore().unwrap_err().kind(), ErrorKind::AuditFailed);
    assert!(!path("restored").exists());
    fs::rename(path("aside"), logged.log()).unwrap();
    restore().unwrap();
    // An existing file is left alone.
    assert_eq!(restore().unwrap_err().kind(), ErrorKind::Io);
    assert!(path("restored").exists());
}

#[test]
fn opening_again_is_the_owners_affair_and_has_its_line() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let before = logged.lines().len();
    let error = kms.as_principal(ALICE).unwrap().reopen().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyRefused);
    kms.reopen().unwrap();
    let lines = logged.lines().split_off(before);
    assert_eq!(outcomes(&lines), [("OpenStore", "AccessDeniedException"), ("OpenStore", "ok")]);
    assert!(lines.iter().all(|line| line["request"] == json!({"mode": "reopen"})), "{lines:?}");
    assert!(kms.verify_audit_log(logged.log()).unwrap().is_intact());
}

#[test]
fn opening_a_store_again_that_was_set_back_has_one_line() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    let old = fs::read(logged.0.store()).unwrap();
    let other = logged.open();
    other.disable_key(key.arn()).unwrap();
    other.describe_key(key.arn()).unwrap();
    fs::write(logged.0.store(), old).unwrap();
    let before = logged.lines().len();
    assert_eq!(kms.reopen().unwrap_err().kind(), ErrorKind::Storage);
    let lines = logged.lines().split_off(before);
    assert_eq!(outcomes(&lines), [("OpenStore", "StoreSetBack")]);
}

#[test]
fn what_is_no_log_is_named_and_waited_for_by_nobody() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let store = logged.0.store();
    let invalid = |error: Error| assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    invalid(kms.verify_audit_logs::<PathBuf>([]).unwrap_err());
    invalid(kms.verify_audit_log(&store).unwrap_err());
    invalid(kms.rotate_audit_log(&store).unwrap_err());
    fs::rename(logged.log(), logged.log().with_extension("1")).unwrap();
    assert!(kms.rotate_audit_log(&store).is_err());
    fs::rename(logged.log().with_extension("1"), logged.log()).unwrap();
    let root = || RootKey::open_file(logged.0.root()).unwrap();
    invalid(LocalKms::builder().audit(AuditLog::file(&store)).open(&store, root()).unwrap_err());
    // Blank lines do not begin a log.
    let blank = logged.log().with_extension("blank");
    fs::write(&blank, "\n\n").unwrap();
    let other = LocalKms::builder().audit(AuditLog::file(&blank)).in_memory().unwrap();
    assert_eq!(other.list_keys().unwrap_err().kind(), ErrorKind::AuditFailed);
    assert_eq!(fs::read_to_string(&blank).unwrap(), "\n\n");
    #[cfg(unix)]
    {
        let pipe = logged.log().with_extension("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(kms.verify_audit_log(&pipe).unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(kms.rotate_audit_log(&pipe).unwrap_err().kind(), ErrorKind::Io);
    }
    kms.create_key(CreateKey::default()).unwrap();
}
