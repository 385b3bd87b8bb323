//! The audit log as a chain: changes to it are detected, whoever writes to it meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use manila_local_kms::{AuditFaultKind, AuditLog, CreateKey, Error, ErrorKind, LocalKms, RootKey};

use crate::access::ALICE;
use crate::audit::Logged;
use crate::{code, encrypt};

fn faults(kms: &LocalKms, log: &Path) -> Vec<(u64, AuditFaultKind)> {
    let report = kms.verify_audit_log(log).unwrap();
    report.faults().iter().map(|fault| (fault.line(), fault.kind())).collect()
}

fn cut_to(log: &Path, lines: usize) {
    let text = fs::read_to_string(log).unwrap();
    fs::write(log, text.split_inclusive('\n').take(lines).collect::<String>()).unwrap();
}

#[test]
fn lines_that_were_changed_removed_swapped_or_torn_are_found() {
    use AuditFaultKind::{Changed, OutOfSequence, Torn};
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    (0..3).for_each(|_| drop(encrypt(&kms, key.arn(), b"x").unwrap()));
    let text = logged.text();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let copy = logged.0.0.path().join("copy");
    let found = |lines: &[&str]| {
        fs::write(&copy, lines.concat()).unwrap();
        let report = kms.verify_audit_log(&copy).unwrap();
        assert_eq!(report.is_intact(), report.faults().is_empty());
        report.faults().iter().map(|fault| (fault.line(), fault.kind())).collect::<Vec<_>>()
    };
    let [one, two, three, four, five] = *lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(found(&[one, two, three, four, five]), []);
    for (from, to) in
        [(":root", ":toor"), ("Encrypt", "Decrypt"), ("\"ok\"", "\"no\""), ("\"b\"", "\"c\""), ("Z\"", "z\"")]
    {
        assert_eq!(found(&[one, two, &three.replacen(from, to, 1), four, five]), [(3, Changed)], "{from}");
    }
    assert_eq!(found(&[one, two, four, five]), [(3, OutOfSequence)]);
    assert_eq!(found(&[one, three, two, four, five]), [(2, OutOfSequence), (3, OutOfSequence)]);
    assert_eq!(found(&[one, two, two, three, four, five]), [(3, OutOfSequence)]);
    assert_eq!(found(&[one, two, three, four, &five[..five.len() / 2]]), [(5, Torn)]);
    // The lines of another store are not lines of this one.
    let other = Logged::new();
    other.create(|log| log).create_key(CreateKey::default()).unwrap();
    let first = other.text().split_inclusive('\n').next().unwrap().to_owned();
    assert_eq!(found(&[&first, two, three, four, five]), [(1, Changed)]);
}

#[test]
fn a_torn_end_is_named_and_gone_on_from() {
    let logged = Logged::new();
    drop(logged.create(|log| log).create_key(CreateKey::default()).unwrap());
    let text = logged.text();
    fs::write(logged.log(), text.clone() + &text[..20]).unwrap();
    let kms = logged.open();
    kms.create_key(CreateKey::default()).unwrap();
    assert_eq!(faults(&kms, &logged.log()), [(4, AuditFaultKind::Torn)]);
}

#[test]
fn the_log_verifies_after_the_root_key_changed_more_than_once() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    for n in 1..=3 {
        kms.change_root_key(RootKey::from_bytes(&[n; 32])).unwrap();
        encrypt(&kms, key.arn(), b"x").unwrap();
        assert_eq!(faults(&kms, &logged.log()), []);
    }
    drop(kms);
    let root = || RootKey::from_bytes(&[3; 32]);
    let kms = LocalKms::builder().audit(AuditLog::file(logged.log())).open(logged.0.store(), root()).unwrap();
    encrypt(&kms, key.arn(), b"x").unwrap();
    assert_eq!(faults(&kms, &logged.log()), []);
    let epochs: BTreeSet<_> = logged.lines().iter().map(|line| line["epoch"].as_u64().unwrap()).collect();
    assert_eq!(epochs.len(), 4);
    // Old lines are verified under old keys, not skipped.
    let text = logged.text();
    fs::write(logged.log(), text.replacen("CreateKey", "DeleteKey", 1)).unwrap();
    assert_eq!(faults(&kms, &logged.log()), [(2, AuditFaultKind::Changed)]);
}

#[test]
fn handles_and_threads_write_one_log() {
    let logged = Logged::new();
    let first = logged.create(|log| log);
    let key = first.create_key(CreateKey::default()).unwrap();
    let second = logged.open();
    std::thread::scope(|scope| {
        for kms in [&first, &second, &first, &second] {
            let key = &key;
            scope.spawn(move || {
                for round in 0..20 {
                    encrypt(kms, key.arn(), b"x").unwrap();
                    kms.as_principal(ALICE).unwrap().describe_key(key.arn()).unwrap_err();
                    kms.tag_key(key.arn(), [("round", round.to_string())]).unwrap();
                }
            });
        }
    });
    assert_eq!(logged.lines().len(), 3 + 4 * 60);
    let report = second.verify_audit_log(logged.log()).unwrap();
    assert!(report.is_intact() && report.events() == 243, "{report:?}");
    drop((first, second));
    assert_eq!(faults(&logged.open(), &logged.log()), []);
}

#[test]
fn threads_may_call_while_a_clone_changes_the_root_key() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (kms, key) = (kms.clone(), &key);
            scope.spawn(move || (0..300).for_each(|_| drop(encrypt(&kms, key.arn(), b"x").unwrap())));
        }
        for n in 0..10 {
            kms.change_root_key(RootKey::from_bytes(&[n; 32])).unwrap();
        }
    });
    let report = kms.verify_audit_log(logged.log()).unwrap();
    assert!(report.is_intact() && report.events() == 912, "{report:?}");
}

#[test]
fn a_checkpoint_shows_that_the_end_was_cut_off() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    (0..4).for_each(|_| drop(encrypt(&kms, key.arn(), b"x").unwrap()));
    let copy = logged.0.0.path().join("copy");
    let cut = |lines| {
        fs::copy(logged.log(), &copy).unwrap();
        cut_to(&copy, lines);
        faults(&kms, &copy)
    };
    assert_eq!(cut(3), [], "lines after the last checkpoint are not missed");
    kms.checkpoint().unwrap();
    // The checkpoint's own line, the last, is known too; the line of the verification above precedes it.
    let known = logged.lines().len();
    encrypt(&kms, key.arn(), b"x").unwrap();
    assert_eq!(cut(known), []);
    for lines in [0, 3, known - 1] {
        assert_eq!(cut(lines), [(lines as u64 + 1, AuditFaultKind::CutShort)]);
    }
    let without = LocalKms::in_memory().unwrap();
    let error = without.checkpoint().unwrap_err();
    assert_eq!((error.kind(), code(&error)), (ErrorKind::InvalidInput, "ValidationException"));
}

#[test]
fn closing_is_a_checkpoint_and_later_ones_do_not_hide_a_cut() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    (0..4).for_each(|_| drop(encrypt(&kms, key.arn(), b"x").unwrap()));
    let clone = kms.clone();
    drop(kms);
    encrypt(&clone, key.arn(), b"x").unwrap();
    drop(clone);
    cut_to(&logged.log(), 3);
    // Checked by a handle that does not write to the log.
    assert_eq!(faults(&logged.0.open().unwrap(), &logged.log()), [(4, AuditFaultKind::CutShort)]);
    // No handle continues it, however often one is opened and closed, and the error says what to do.
    let cut = logged.text();
    for _ in 0..3 {
        let kms = logged.open();
        for error in [encrypt(&kms, key.arn(), b"x").unwrap_err(), kms.checkpoint().unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::AuditFailed);
            assert!(error.to_string().contains("rotate_audit_log"), "{error}");
        }
        drop(kms);
        assert_eq!(logged.text(), cut);
        let silent = logged.0.open().unwrap();
        assert_eq!(faults(&silent, &logged.log()), [(4, AuditFaultKind::CutShort)]);
    }
    // A new log is not started in its place automatically.
    fs::remove_file(logged.log()).unwrap();
    let kms = logged.open();
    assert_eq!(encrypt(&kms, key.arn(), b"x").unwrap_err().kind(), ErrorKind::AuditFailed);
    drop(kms);
    assert_eq!(faults(&logged.0.open().unwrap(), &logged.log()), [(1, AuditFaultKind::CutShort)]);
}

#[test]
fn checkpoints_follow_a_log_with_torn_lines() -> Result<(), Error> {
    let logged = Logged::new();
    let key = logged.create(|log| log).create_key(CreateKey::default())?;
    for _ in 0..3 {
        let kms = logged.open();
        encrypt(&kms, key.arn(), b"x")?;
        fs::write(logged.log(), logged.text() + "{\"seq\":")?;
        drop(kms);
    }
    let lines = logged.text().lines().count();
    cut_to(&logged.log(), lines - 2);
    let silent = logged.0.open()?;
    assert_eq!(faults(&silent, &logged.log()).last(), Some(&(lines as u64 - 1, AuditFaultKind::CutShort)));
    Ok(())
}

/// Appends `end` to a log whose KMS is closed, continues it with a new handle, and closes that.
fn go_on_behind(logged: &Logged, key: &str, end: &str) {
    fs::write(logged.log(), logged.text() + end).unwrap();
    let kms = logged.open();
    (0..4).for_each(|_| drop(encrypt(&kms, key, b"x").unwrap()));
}

#[test]
fn no_handle_is_led_to_forget_what_the_store_knows_of() {
    // After the log's end, lines from its own beginning: more than a new handle looks back over.
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    (0..200).for_each(|_| drop(encrypt(&kms, key.arn(), b"x").unwrap()));
    drop(kms);
    let known = logged.lines().len();
    let beginning: String = logged.text().split_inclusive('\n').take(190).collect();
    assert!(beginning.len() > 64 << 10);
    go_on_behind(&logged, key.arn(), &beginning);
    // It is not misled: it continues from the end.
    let next: serde_json::Value = serde_json::from_str(logged.text().lines().nth(known + 190).unwrap()).unwrap();
    assert_eq!(next["seq"].as_u64(), Some(known as u64 + 1));
    let forked: Vec<_> = logged.text().split_inclusive('\n').skip(known + 190).map(str::to_owned).collect();
    fs::write(logged.log(), beginning + &forked.concat()).unwrap();
    let found = faults(&logged.0.open().unwrap(), &logged.log());
    assert_eq!(found, [(191, AuditFaultKind::OutOfSequence)]);

    // A truncated line takes the last line's place, without a valid MAC.
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    (0..9).for_each(|_| drop(encrypt(&kms, key.arn(), b"x").unwrap()));
    drop(kms);
    let last = logged.text().lines().last().unwrap().replace("CloseStore", "CloseDoors") + "\n";
    cut_to(&logged.log(), 3);
    let cut = logged.text() + &last;
    fs::write(logged.log(), &cut).unwrap();
    let kms = logged.open();
    assert_eq!(encrypt(&kms, key.arn(), b"x").unwrap_err().kind(), ErrorKind::AuditFailed);
    drop(kms);
    assert_eq!(logged.text(), cut);
    let found = faults(&logged.0.open().unwrap(), &logged.log());
    assert!(found.iter().any(|(_, kind)| *kind == AuditFaultKind::CutShort), "{found:?}");
}

#[test]
fn an_old_root_key_and_store_cannot_rewrite_the_past() {
    let logged = Logged::new();
    let kms = logged.create(|log| log);
    let key = kms.create_key(CreateKey::default()).unwrap();
    let path = |name| logged.0.0.path().join(name);
    kms.backup(path("stolen")).unwrap();
    (0..4).for_each(|_| drop(encrypt(&kms, key.arn(), b"x").unwrap()));
    fs::copy(logged.log(), path("forged")).unwrap();
    cut_to(&path("forged"), 2);
    let old = RootKey::open_file(logged.0.root()).unwrap();
    let forger = LocalKms::builder().audit(AuditLog::file(path("forged"))).open(path("stolen"), old).unwrap();
    (0..9).for_each(|_| drop(forger.describe_key(key.arn()).unwrap()));
    kms.change_root_key(RootKey::from_bytes(&[7; 32])).unwrap();
    let silent = LocalKms::open(logged.0.store(), RootKey::from_bytes(&[7; 32])).unwrap();
    assert_eq!(faults(&silent, &logged.log()), []);
    let forged = faults(&silent, &path("forged"));
    assert!(matches!(forged[..], [(_, AuditFaultKind::CutShort)]), "{forged:?}");
}
