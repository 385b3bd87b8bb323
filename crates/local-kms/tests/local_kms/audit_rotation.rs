//! Rotation of the audit log: one chain across several files, whoever has them open and wherever a rotation was
//! interrupted; and stores set back to before a commit that the log proves.

use std::fs;
use std::path::{Path, PathBuf};

use manila_local_kms::{
    AuditFault, AuditFaultKind, AuditLog, AuditReport, CreateKey, Error, ErrorKind, KeyState, LocalKms, RootKey,
};
use serde_json::json;

use crate::access::ALICE;
use crate::audit::Logged;
use crate::encrypt;

/// A logged store with a key, and a name for its old log.
struct Rotating {
    logged: Logged,
    key: String,
    old: PathBuf,
}

impl Rotating {
    fn new() -> (Self, LocalKms) {
        let logged = Logged::new();
        let kms = logged.create(|log| log);
        let key = kms.create_key(CreateKey::default()).unwrap().arn().to_owned();
        let old = logged.log().with_extension("1");
        (Self { logged, key, old }, kms)
    }

    /// Returns the state after a crash between the line of a write, the third, and its commit.
    fn before_a_commit() -> Result<Self, Error> {
        let (scene, kms) = Self::new();
        let store = fs::read(scene.logged.0.store())?;
        kms.disable_key(&scene.key)?;
        let text = scene.logged.text();
        drop(kms);
        fs::write(scene.logged.0.store(), &store)?;
        fs::write(scene.log(), &text)?;
        Ok(scene)
    }

    fn log(&self) -> PathBuf {
        self.logged.log()
    }

    fn calls(&self, kms: &LocalKms, count: usize) {
        (0..count).for_each(|_| drop(encrypt(kms, &self.key, b"x").unwrap()));
    }

    fn refused(&self, kms: &LocalKms) {
        let error = encrypt(kms, &self.key, b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuditFailed);
        assert!(error.to_string().contains("rotate_audit_log"), "{error}");
    }

    /// Returns the faults of a log, found by a handle that does not write to it.
    fn faults(&self, path: &Path) -> Vec<(u64, AuditFaultKind)> {
        let report = self.logged.0.open().unwrap().verify_audit_log(path).unwrap();
        report.faults().iter().map(|fault| (fault.line(), fault.kind())).collect()
    }

    /// Asserts that the files are intact, each alone and all in order.
    fn assert_intact(kms: &LocalKms, files: &[&Path]) {
        for file in files {
            let report = kms.verify_audit_log(file).unwrap();
            assert!(report.is_intact(), "{file:?}: {report:?}");
        }
        let reports = kms.verify_audit_logs(files).unwrap();
        assert!(reports.iter().all(AuditReport::is_intact), "{reports:?}");
        for pair in reports.windows(2) {
            assert_eq!(pair[0].last() + 1, pair[1].first());
        }
    }
}

fn cut_last_line(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let (rest, _) = text.trim_end().rsplit_once('\n').unwrap();
    fs::write(path, format!("{rest}\n")).unwrap();
}

#[test]
fn a_new_log_goes_on_from_the_old_one() -> Result<(), Error> {
    let (scene, kms) = Rotating::new();
    let other = scene.logged.open();
    scene.calls(&kms, 3);
    scene.calls(&other, 1);
    let last = scene.logged.lines().pop().unwrap();
    let before = fs::read(scene.log())?;
    kms.rotate_audit_log(&scene.old)?;
    assert_eq!(fs::read(&scene.old)?, before);
    let first = scene.logged.lines().pop().unwrap();
    assert_eq!((&first["after"], &first["prev"]), (&last["seq"], &last["mac"]));
    assert_eq!((&first["operation"], &first["outcome"]), (&json!("RotateAuditLog"), &json!("ok")));
    assert_eq!(first["request"], json!({"path": scene.old.to_str()}));
    // Other handles continue in the new file.
    scene.calls(&other, 2);
    scene.calls(&kms, 2);
    assert_eq!(scene.logged.lines().len(), 5);
    assert_eq!(fs::read(&scene.old)?, before);
    Rotating::assert_intact(&kms, &[&scene.old, &scene.log()]);
    // Rotates again, unnoticed by one of the handles.
    let second = scene.logged.log().with_extension("2");
    kms.rotate_audit_log(&second)?;
    let third = scene.logged.log().with_extension("3");
    kms.rotate_audit_log(&third)?;
    scene.calls(&other, 1);
    Rotating::assert_intact(&kms, &[&scene.old, &second, &third, &scene.log()]);
    Rotating::assert_intact(&kms, &[&third, &scene.log()]);
    drop((kms, other));
    Rotating::assert_intact(&scene.logged.open(), &[&scene.old, &second, &third, &scene.log()]);
    // An existing file's name and the log itself are refused, and nothing is changed.
    let kms = scene.logged.open();
    for taken in [&scene.old, &scene.log(), &scene.log().parent().unwrap().join("../logs/audit.jsonl")] {
        assert_eq!(kms.rotate_audit_log(taken).unwrap_err().kind(), ErrorKind::Io, "{taken:?}");
    }
    assert_eq!(kms.as_principal(ALICE)?.rotate_audit_log("x").unwrap_err().kind(), ErrorKind::KeyRefused);
    Rotating::assert_intact(&kms, &[&scene.old, &second, &third, &scene.log()]);
    Ok(())
}

#[test]
fn cutting_or_leaving_out_a_file_of_a_chain_shows() -> Result<(), Error> {
    use AuditFaultKind::{CutShort, OutOfSequence};
    let (scene, kms) = Rotating::new();
    let second = scene.log().with_extension("2");
    scene.calls(&kms, 3);
    kms.rotate_audit_log(&scene.old)?;
    scene.calls(&kms, 3);
    kms.rotate_audit_log(&second)?;
    scene.calls(&kms, 3);
    kms.checkpoint()?;
    Rotating::assert_intact(&kms, &[&scene.old, &second, &scene.log()]);
    let copy = |path: &Path| {
        let copy = path.with_extension("copy");
        fs::copy(path, &copy).unwrap();
        cut_last_line(&copy);
        copy
    };
    kms.checkpoint()?;
    for path in [&scene.old, &second, &scene.log()] {
        let lines = fs::read_to_string(path)?.lines().count() as u64;
        assert_eq!(scene.faults(&copy(path)), [(lines, CutShort)], "{path:?}");
    }
    // A file is left out; the last one is missing; an older file stands in place of the log.
    let faults = |paths: &[&Path]| -> Vec<_> {
        let reports = kms.verify_audit_logs(paths).unwrap();
        reports.iter().map(|report| report.faults().iter().map(AuditFault::kind).collect::<Vec<_>>()).collect()
    };
    assert_eq!(faults(&[&scene.old, &scene.log()]), [vec![], vec![OutOfSequence]]);
    assert_eq!(faults(&[&scene.old, &second]), [vec![], vec![CutShort]]);
    // The first line of a file is removed.
    let text = fs::read_to_string(scene.log())?;
    let beheaded = scene.log().with_extension("beheaded");
    fs::write(&beheaded, text.split_once('\n').unwrap().1)?;
    assert_eq!(scene.faults(&beheaded)[0], (1, OutOfSequence));
    drop(kms);
    fs::copy(&second, scene.log())?;
    let kms = LocalKms::open(scene.logged.0.store(), RootKey::open_file(scene.logged.0.root())?)?;
    assert!(kms.verify_audit_log(scene.log())?.is_intact(), "a handle without a log does not know which one it is");
    let reports = kms.verify_audit_logs([scene.log()])?;
    assert_eq!(reports[0].faults()[0].kind(), CutShort);
    Ok(())
}

#[test]
fn a_log_that_was_renamed_is_taken_up_where_it_is() -> Result<(), Error> {
    // With the file that logrotate creates, and without it; through the handle that has the log open, and through a
    // later one.
    for (creates, reopens) in [(false, false), (true, false), (false, true), (true, true)] {
        let (scene, mut kms) = Rotating::new();
        scene.calls(&kms, 3);
        fs::rename(scene.log(), &scene.old)?;
        if creates {
            fs::write(scene.log(), "")?;
        }
        scene.refused(&kms);
        if reopens {
            drop(kms);
            kms = scene.logged.open();
            // It has not started a new chain.
            scene.refused(&kms);
            assert_eq!(scene.logged.text(), "");
        }
        kms.rotate_audit_log(&scene.old)?;
        scene.calls(&kms, 3);
        Rotating::assert_intact(&kms, &[&scene.old, &scene.log()]);
        let operations: Vec<_> = scene.logged.lines().iter().map(|line| line["operation"].clone()).collect();
        assert_eq!(operations.contains(&json!("OpenStore")), reopens, "the opening is completed");
    }
    Ok(())
}

#[test]
fn a_lost_log_is_replaced_and_a_cut_one_rotated_and_both_stay_known() -> Result<(), Error> {
    let (scene, kms) = Rotating::new();
    scene.calls(&kms, 3);
    kms.checkpoint()?;
    let lost = fs::read(scene.log())?;
    assert_eq!(kms.replace_lost_audit_log().unwrap_err().kind(), ErrorKind::AuditFailed, "it is there");
    fs::remove_file(scene.log())?;
    scene.refused(&kms);
    let error = kms.rotate_audit_log(&scene.old).unwrap_err();
    assert!(error.kind() == ErrorKind::AuditFailed && error.to_string().contains("replace_lost"), "{error}");
    kms.replace_lost_audit_log()?;
    scene.calls(&kms, 3);
    kms.checkpoint()?;
    Rotating::assert_intact(&kms, &[&scene.log()]);
    // The lost file is found again.
    fs::write(&scene.old, &lost)?;
    assert_eq!(scene.faults(&scene.old), []);

    // Cut short while no handle was open, also behind the line of the store's latest change.
    for lines in [4, 5] {
        let (scene, kms) = Rotating::new();
        scene.calls(&kms, 3);
        drop(kms);
        (0..lines).for_each(|_| cut_last_line(&scene.log()));
        let kms = scene.logged.open();
        scene.refused(&kms);
        kms.checkpoint().unwrap_err();
        kms.rotate_audit_log(&scene.old)?;
        scene.calls(&kms, 3);
        kms.checkpoint()?;
        assert_eq!(scene.faults(&scene.log()), []);
        assert_eq!(
            scene.faults(&scene.old).iter().map(|(_, kind)| *kind).collect::<Vec<_>>(),
            [AuditFaultKind::CutShort]
        );
    }
    Ok(())
}

#[test]
fn a_rotation_that_is_repeated_does_not_forget_that_the_old_log_was_cut_off() -> Result<(), Error> {
    let (scene, kms) = Rotating::new();
    scene.calls(&kms, 3);
    let earlier = fs::read(scene.logged.0.store())?;
    drop(kms);
    (0..4).for_each(|_| cut_last_line(&scene.log()));
    // Continued past the checkpoint, with a store that does not have it.
    let store = fs::read(scene.logged.0.store())?;
    fs::write(scene.logged.0.store(), earlier)?;
    scene.calls(&scene.logged.open(), 9);
    fs::write(scene.logged.0.store(), store)?;
    let kms = scene.logged.open();
    scene.refused(&kms);
    for _ in 0..3 {
        kms.rotate_audit_log(&scene.old)?;
        let faults = scene.faults(&scene.old);
        assert!(matches!(faults.as_slice(), [(_, AuditFaultKind::CutShort)]), "{faults:?}");
        assert_eq!(scene.faults(&scene.log()), []);
    }
    Ok(())
}

#[test]
fn a_rotation_that_was_interrupted_is_finished() -> Result<(), Error> {
    // Interrupted before the store recorded it: the files are as after a rotation, the store is as before.
    let (scene, kms) = Rotating::new();
    scene.calls(&kms, 3);
    kms.checkpoint()?;
    drop(kms);
    let store = fs::read(scene.logged.0.store())?;
    let text = scene.logged.text();
    scene.logged.open().rotate_audit_log(&scene.old)?;
    let (old, new) = (fs::read(&scene.old)?, scene.logged.text());
    let first = new.split_inclusive('\n').next().unwrap();
    let reset = |old_is: Option<&[u8]>, new_is: &str| {
        fs::write(scene.logged.0.store(), &store).unwrap();
        fs::write(scene.log(), new_is).unwrap();
        let _ = fs::remove_file(&scene.old);
        if let Some(bytes) = old_is {
            fs::write(&scene.old, bytes).unwrap();
        }
    };
    assert!(old.starts_with(text.as_bytes()));
    // Other handles continue in the new file; closing records the rotation in the store.
    reset(Some(&old), first);
    let kms = scene.logged.open();
    scene.calls(&kms, 2);
    Rotating::assert_intact(&kms, &[&scene.old, &scene.log()]);
    drop(kms);
    Rotating::assert_intact(&scene.logged.open(), &[&scene.old, &scene.log()]);
    cut_last_line(&scene.old);
    assert_eq!(scene.faults(&scene.old).len(), 1);
    // The call is repeated, more than once.
    reset(Some(&old), first);
    let kms = scene.logged.open();
    for _ in 0..2 {
        kms.rotate_audit_log(&scene.old)?;
        scene.calls(&kms, 2);
        Rotating::assert_intact(&kms, &[&scene.old, &scene.log()]);
    }
    // The old file had its second name already, but the new one was not yet in place.
    drop(kms);
    reset(None, std::str::from_utf8(&old).unwrap());
    fs::hard_link(scene.log(), &scene.old)?;
    let kms = scene.logged.open();
    kms.rotate_audit_log(&scene.old)?;
    scene.calls(&kms, 2);
    Rotating::assert_intact(&kms, &[&scene.old, &scene.log()]);
    Ok(())
}

#[test]
fn handles_and_threads_go_on_while_the_log_is_rotated() -> Result<(), Error> {
    let (scene, kms) = Rotating::new();
    let other = scene.logged.open();
    let mut files = Vec::new();
    std::thread::scope(|scope| {
        for kms in [&kms, &other, &kms, &other] {
            let scene = &scene;
            scope.spawn(move || {
                for round in 0..30 {
                    scene.calls(kms, 1);
                    kms.tag_key(&scene.key, [("round", round.to_string())]).unwrap();
                }
            });
        }
        for number in 1..=5 {
            let old = scene.log().with_extension(number.to_string());
            [&kms, &other][number % 2].rotate_audit_log(&old).unwrap();
            files.push(old);
        }
    });
    files.push(scene.log());
    Rotating::assert_intact(&kms, &files.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    let events: u64 = kms.verify_audit_logs(&files)?.iter().map(AuditReport::events).sum();
    assert_eq!(events, 3 + 4 * 60 + 5 + 7);
    Ok(())
}

#[test]
fn a_store_that_was_set_back_is_found_out_by_its_log() -> Result<(), Error> {
    let (scene, kms) = Rotating::new();
    drop(kms);
    let old = fs::read(scene.logged.0.store())?;
    let backup = scene.logged.0.0.path().join("backup");
    let kms = scene.logged.open();
    kms.backup(&backup)?;
    kms.disable_key(&scene.key)?;
    let line = scene.logged.lines().pop().unwrap();
    assert!(line["commit"].as_u64() > line["store"].as_u64(), "{line}");
    drop(kms);
    assert_eq!(scene.faults(&scene.log()), []);
    fs::write(scene.logged.0.store(), &old)?;
    let lines = scene.logged.lines().len() as u64;
    assert_eq!(scene.faults(&scene.log()), [(lines, AuditFaultKind::StoreSetBack)]);
    // The store does not open with its log, and the log records the refusal.
    let root = || RootKey::open_file(scene.logged.0.root()).unwrap();
    let builder = || LocalKms::builder().audit(AuditLog::file(scene.log()));
    let error = builder().open(scene.logged.0.store(), root()).unwrap_err();
    assert!(error.kind() == ErrorKind::Storage && error.to_string().contains("set back"), "{error}");
    assert_eq!(scene.logged.lines().pop().unwrap()["outcome"], "StoreSetBack");
    // With best effort it opens and continues; the line of the first write records the fault for ever, and the store
    // does not pass for a later one.
    let log = AuditLog::file(scene.log()).best_effort();
    let kms = LocalKms::builder().audit(log).open(scene.logged.0.store(), root())?;
    assert_eq!(kms.describe_key(&scene.key)?.state(), KeyState::Enabled);
    (0..40).for_each(|round| kms.update_key_description(&scene.key, &format!("{round}")).unwrap());
    drop(kms);
    let found = scene.faults(&scene.log());
    let [(_, AuditFaultKind::StoreSetBack), (last, AuditFaultKind::StoreSetBack)] = found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(last, scene.logged.lines().len() as u64, "it still is");

    // A store that its owner restores does not count as set back.
    let (scene, kms) = Rotating::new();
    kms.backup(&backup.with_extension("2"))?;
    (0..9).for_each(|round| kms.update_key_description(&scene.key, &format!("{round}")).unwrap());
    drop(kms);
    let root = RootKey::open_file(scene.logged.0.root())?;
    let path = scene.logged.0.0.path().join("restored");
    let (kms, _) =
        LocalKms::builder().audit(AuditLog::file(scene.log())).restore(backup.with_extension("2"), path, root)?;
    scene.calls(&kms, 2);
    kms.update_key_description(&scene.key, "restored")?;
    assert!(kms.verify_audit_log(scene.log())?.is_intact());
    Ok(())
}

#[test]
fn a_write_that_failed_after_its_line_proves_no_commit() -> Result<(), Error> {
    // The write's line is the last: whether its commit took place is unknown, so no fault is reported.
    let scene = Rotating::before_a_commit()?;
    assert_eq!(scene.faults(&scene.log()), []);
    let kms = scene.logged.open();
    // The next write finds an earlier commit than that line announced, and records that the change was not made.
    kms.update_key_description(&scene.key, "after the crash")?;
    assert_eq!(scene.faults(&scene.log()), [(3, AuditFaultKind::NotDone)]);
    // The first line of a new file does the same.
    let scene = Rotating::before_a_commit()?;
    let kms = scene.logged.open();
    kms.rotate_audit_log(&scene.old)?;
    let reports = kms.verify_audit_logs([&scene.old, &scene.log()])?;
    let faults: Vec<Vec<_>> = reports
        .iter()
        .map(|report| report.faults().iter().map(|fault| (fault.line(), fault.kind())).collect())
        .collect();
    assert_eq!(faults, [vec![(3, AuditFaultKind::NotDone)], vec![]]);
    Ok(())
}

#[test]
fn nothing_is_missed_where_rotations_were_that_the_store_does_not_know() -> Result<(), Error> {
    // A rotation was interrupted before the store recorded it, and the next one uses another name.
    let (scene, kms) = Rotating::new();
    kms.checkpoint()?;
    scene.calls(&kms, 3);
    let store = fs::read(scene.logged.0.store())?;
    kms.rotate_audit_log(&scene.old)?;
    let files = [fs::read(&scene.old)?, fs::read(scene.log())?];
    drop(kms);
    fs::write(scene.logged.0.store(), &store)?;
    fs::write(&scene.old, &files[0])?;
    fs::write(scene.log(), &files[1])?;
    let kms = scene.logged.open();
    scene.calls(&kms, 3);
    let second = scene.log().with_extension("2");
    kms.rotate_audit_log(&second)?;
    scene.calls(&kms, 3);
    let all: [&Path; 3] = [&scene.old, &second, &scene.log()];
    Rotating::assert_intact(&kms, &all);
    // The store now knows where the first file ends.
    cut_last_line(&scene.old);
    assert_eq!(scene.faults(&scene.old).len(), 1);

    // The store is replaced by a backup from before two or three rotations.
    for rotations in [2, 3] {
        let (scene, kms) = Rotating::new();
        kms.checkpoint()?;
        let backup = scene.logged.0.0.path().join("backup");
        kms.backup(&backup)?;
        let mut files = Vec::new();
        for number in 0..rotations {
            scene.calls(&kms, 3);
            files.push(scene.log().with_extension(number.to_string()));
            kms.rotate_audit_log(&files[number])?;
        }
        scene.calls(&kms, 3);
        drop(kms);
        files.push(scene.log());
        let root = RootKey::open_file(scene.logged.0.root())?;
        let restored = scene.logged.0.0.path().join("restored");
        let (kms, _) = LocalKms::builder().audit(AuditLog::file(scene.log())).restore(&backup, restored, root)?;
        for _ in 0..2 {
            Rotating::assert_intact(&kms, &files.iter().map(PathBuf::as_path).collect::<Vec<_>>());
            kms.checkpoint()?;
        }
        // The first line of the last file states an end that counts.
        let last = &files[rotations - 1];
        cut_last_line(last);
        let report = kms.verify_audit_log(last)?;
        assert!(report.faults().iter().any(|fault| fault.kind() == AuditFaultKind::CutShort), "{report:?}");
    }
    Ok(())
}

#[test]
fn other_handles_go_on_in_the_log_that_takes_the_place_of_a_lost_one() -> Result<(), Error> {
    let (scene, kms) = Rotating::new();
    let others = [scene.logged.open(), scene.logged.open()];
    for kms in [&kms, &others[0], &others[1]] {
        scene.calls(kms, 3);
    }
    fs::remove_file(scene.log())?;
    kms.replace_lost_audit_log()?;
    scene.calls(&kms, 1);
    // Continued by a read, and by a write.
    scene.calls(&others[0], 1);
    others[1].update_key_description(&scene.key, "x")?;
    assert!(kms.verify_audit_log(scene.log())?.is_intact());
    // Not in a file that the store does not know.
    let aside = scene.log().with_extension("aside");
    fs::rename(scene.log(), &aside)?;
    let text = fs::read_to_string(&aside)?;
    fs::write(scene.log(), text.split_once('\n').unwrap().1)?;
    scene.refused(&others[0]);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_log_with_two_names_keeps_the_one_that_it_is_found_by() -> Result<(), Error> {
    let (scene, kms) = Rotating::new();
    fs::hard_link(scene.log(), &scene.old)?;
    let before = scene.logged.lines().len();
    assert_eq!(kms.rotate_audit_log(scene.log()).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(scene.logged.lines().len(), before + 1, "the refusal");
    Ok(())
}

#[test]
fn what_an_interrupted_rotation_leaves_is_removed() -> Result<(), Error> {
    let (scene, kms) = Rotating::new();
    let left = scene.log().with_file_name(".audit.jsonl.manila-new");
    fs::write(&left, "")?;
    kms.rotate_audit_log(&scene.old)?;
    assert!(!left.exists());
    drop(kms);
    fs::write(&left, "")?;
    let kms = scene.logged.open();
    assert!(!left.exists());
    Rotating::assert_intact(&kms, &[&scene.old, &scene.log()]);
    Ok(())
}
