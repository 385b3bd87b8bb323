//! The proof that the log and the store give of each other: neither is passed off for what it is not, however many
//! commits follow.

use std::fs;
use std::path::{Path, PathBuf};

use manila_local_kms::{AuditFaultKind, AuditLog, CreateKey, Error, ErrorKind, KeyState, LocalKms, RootKey};
use serde_json::Value;

use crate::audit::Logged;
use crate::{Folder, context, encrypt};
use AuditFaultKind::{CutShort, NotDone, OtherCopy, StoreSetBack, Unlogged};

/// The number of times that a scene is repeated in which a random number decided once.
const ROUNDS: usize = 6;

/// A logged store with a key, which is closed.
struct Scene {
    logged: Logged,
    key: String,
}

impl Scene {
    fn new() -> Self {
        let logged = Logged::new();
        let kms = logged.create(|log| log);
        let key = kms.create_key(CreateKey::default()).unwrap().arn().to_owned();
        Self { logged, key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.logged.0.0.path().join(name)
    }

    fn root(&self) -> RootKey {
        RootKey::open_file(self.logged.0.root()).unwrap()
    }

    fn store(&self) -> Vec<u8> {
        fs::read(self.logged.0.store()).unwrap()
    }

    /// Overwrites the store in place, so that it is the same file.
    fn set_store(&self, bytes: &[u8]) {
        fs::write(self.logged.0.store(), bytes).unwrap();
    }

    fn set_log(&self, text: &str) {
        fs::write(self.logged.log(), text).unwrap();
    }

    fn try_open(&self, options: impl Fn(AuditLog) -> AuditLog) -> Result<LocalKms, Error> {
        let log = options(AuditLog::file(self.logged.log()));
        LocalKms::builder().audit(log).open(self.logged.0.store(), self.root())
    }

    fn assert_refused(&self, why: &str) {
        let error = self.try_open(|log| log).unwrap_err();
        assert!(error.kind() == ErrorKind::Storage && error.to_string().contains(why), "{error}");
    }

    /// Returns the faults of the log, found by a handle that does not write to it.
    fn faults(&self) -> Vec<(u64, AuditFaultKind)> {
        self.faults_of(&self.logged.log())
    }

    fn faults_of(&self, log: &Path) -> Vec<(u64, AuditFaultKind)> {
        faults(&self.logged.0.open().unwrap(), log)
    }

    fn is_disabled(&self, kms: &LocalKms) -> bool {
        kms.describe_key(&self.key).unwrap().state() == KeyState::Disabled
    }
}

fn faults(kms: &LocalKms, log: &Path) -> Vec<(u64, AuditFaultKind)> {
    let report = kms.verify_audit_log(log).unwrap();
    report.faults().iter().map(|fault| (fault.line(), fault.kind())).collect()
}

#[test]
fn what_a_crash_undid_is_not_done_however_many_commits_have_no_line() {
    for _ in 0..ROUNDS {
        let scene = Scene::new();
        let old = scene.store();
        let kms = scene.logged.open();
        kms.disable_key(&scene.key).unwrap();
        let (text, line) = (scene.logged.text(), scene.logged.lines().len() as u64);
        drop(kms);
        scene.set_store(&old);
        scene.set_log(&text);
        // Programs that only read, each with the commit of a checkpoint at its end.
        for _ in 0..3 {
            assert!(!scene.is_disabled(&scene.logged.open()));
        }
        let kms = scene.logged.open();
        kms.update_key_description(&scene.key, "later").unwrap();
        assert_eq!(faults(&kms, &scene.logged.log()), [(line, NotDone)]);
        kms.update_key_description(&scene.key, "later still").unwrap();
        assert_eq!(faults(&kms, &scene.logged.log()), [(line, NotDone)]);
    }
}

#[test]
fn a_store_that_was_set_back_is_refused_after_a_handle_at_best_effort() {
    for _ in 0..ROUNDS {
        let scene = Scene::new();
        let old = scene.store();
        let kms = scene.logged.open();
        kms.disable_key(&scene.key).unwrap();
        encrypt(&kms, &scene.key, b"x").unwrap_err();
        drop(kms);
        scene.set_store(&old);
        let kms = scene.try_open(AuditLog::best_effort).unwrap();
        assert!(!scene.is_disabled(&kms));
        assert_eq!(kms.checkpoint().unwrap_err().kind(), ErrorKind::Storage);
        drop(kms);
        scene.assert_refused("set back");
        // Its writes say what they found, and prove nothing.
        let kms = scene.try_open(AuditLog::best_effort).unwrap();
        (0..4).for_each(|_| kms.update_key_description(&scene.key, "x").unwrap());
        let line = scene.logged.lines().pop().unwrap();
        assert_eq!(line["outcome"], "ok");
        assert!(line["proven"].as_u64() > line["named"].as_u64(), "{line}");
        drop(kms);
        scene.assert_refused("set back");
        let found = scene.faults();
        assert!(found.len() == 2 && found.iter().all(|(_, kind)| *kind == StoreSetBack), "{found:?}");
    }
}

#[test]
fn a_store_that_was_set_back_is_refused_after_writes_without_the_log() {
    for _ in 0..ROUNDS {
        let scene = Scene::new();
        let old = scene.store();
        scene.logged.open().disable_key(&scene.key).unwrap();
        scene.set_store(&old);
        scene.assert_refused("set back");
        let silent = scene.logged.0.open().unwrap();
        (0..8).for_each(|_| silent.update_key_description(&scene.key, "x").unwrap());
        drop(silent);
        scene.assert_refused("set back");
        assert_eq!(scene.faults().last().unwrap().1, StoreSetBack);
    }
    // What was done without the log is proven once a line has found it.
    let scene = Scene::new();
    let old = scene.store();
    scene.logged.0.open().unwrap().disable_key(&scene.key).unwrap();
    encrypt(&scene.logged.open(), &scene.key, b"x").unwrap_err();
    assert_eq!(scene.faults(), []);
    scene.set_store(&old);
    scene.assert_refused("set back");
}

#[test]
fn a_copy_that_was_restored_with_the_log_takes_it_from_the_store() -> Result<(), Error> {
    let scene = Scene::new();
    let kms = scene.logged.open();
    kms.backup(scene.path("backup"))?;
    (0..3).for_each(|_| kms.update_key_description(&scene.key, "x").unwrap());
    drop(kms);
    let old = scene.store();
    let kms = scene.logged.open();
    kms.disable_key(&scene.key)?;
    let restore = |from: &Path, to: &str| {
        LocalKms::builder().audit(AuditLog::file(scene.logged.log())).restore(from, scene.path(to), scene.root())
    };
    let (drilled, _) = restore(&scene.path("backup"), "drill.redb")?;
    drilled.update_key_description(&scene.key, "a drill")?;
    assert_eq!(faults(&drilled, &scene.logged.log()), []);
    // An open handle, and any that is opened, as the store is now or was before.
    let error = kms.update_key_description(&scene.key, "y").unwrap_err();
    assert!(error.kind() == ErrorKind::Storage && error.to_string().contains("restored from a backup"), "{error}");
    assert_eq!(scene.logged.lines().pop().unwrap()["outcome"], "OtherCopy");
    assert_eq!(faults(&kms, &scene.logged.log()).last().unwrap().1, OtherCopy);
    drop((kms, drilled));
    scene.assert_refused("restored from a backup");
    let now = scene.store();
    scene.set_store(&old);
    scene.assert_refused("restored from a backup");
    // The copy has the log, until the owner restores another one with it.
    let drill =
        || LocalKms::builder().audit(AuditLog::file(scene.logged.log())).open(scene.path("drill.redb"), scene.root());
    assert_eq!(drill()?.describe_key(&scene.key)?.description(), "a drill");
    scene.set_store(&now);
    let (kms, _) = restore(&scene.logged.0.store(), "new.redb")?;
    assert!(scene.is_disabled(&kms));
    assert_eq!(faults(&kms, &scene.logged.log()), []);
    assert_eq!(drill().unwrap_err().kind(), ErrorKind::Storage);
    Ok(())
}

#[test]
fn a_line_of_a_file_before_is_not_the_end_of_the_log() {
    let scene = Scene::new();
    let kms = scene.logged.open();
    let wide = context(&[("a", &"b".repeat(2000))]);
    for _ in 0..60 {
        let request = manila_local_kms::KmsRequest::new(&scene.key, &wide);
        manila_core::testing::ready(manila_local_kms::Kms::encrypt(&kms, request, b"x")).unwrap();
    }
    drop(kms);
    let (store, text) = (scene.store(), scene.logged.text());
    let kms = scene.logged.open();
    kms.disable_key(&scene.key).unwrap();
    kms.rotate_audit_log(scene.path("audit.1")).unwrap();
    drop(kms);
    scene.set_store(&store);
    // It stands where it stood in its own file.
    let line = text.lines().last().unwrap();
    let at = serde_json::from_str::<Value>(line).unwrap()["at"].as_u64().unwrap();
    let at = usize::try_from(at).unwrap();
    let mut padded = scene.logged.text();
    assert!(at > padded.len() + (64 << 10), "further than a handle looks back at first");
    padded.push_str(&"x".repeat(at - padded.len() - 1));
    padded.push('\n');
    scene.set_log(&(padded + line + "\n"));
    let error = scene.try_open(|log| log).unwrap_err();
    assert!(error.to_string().contains("set back"), "{error}");
}

/// Copies a closed scene, to do there what never takes place here.
fn elsewhere(scene: &Scene) -> Logged {
    let folder = Folder::new();
    fs::create_dir(folder.0.path().join("logs")).unwrap();
    let other = Logged(folder);
    fs::copy(scene.logged.0.store(), other.0.store()).unwrap();
    fs::copy(scene.logged.0.root(), other.0.root()).unwrap();
    fs::copy(scene.logged.log(), other.log()).unwrap();
    other
}

#[test]
fn the_beginning_of_a_rotation_that_did_not_take_place_is_not_the_log() {
    let scene = Scene::new();
    let other = elsewhere(&scene);
    other.open().rotate_audit_log(other.log().with_extension("1")).unwrap();
    let stolen = other.text().split_inclusive('\n').next().unwrap().to_owned();
    let after = serde_json::from_str::<Value>(&stolen).unwrap()["after"].as_u64().unwrap();
    let kms = scene.logged.open();
    let hidden = kms.create_key(CreateKey::default()).unwrap();
    kms.schedule_key_deletion(hidden.arn()).unwrap();
    drop(kms);
    let kept: String = scene.logged.text().split_inclusive('\n').take(usize::try_from(after).unwrap()).collect();
    for forged in [kept + &stolen, stolen] {
        scene.set_log(&forged);
        assert_eq!(scene.faults().last().unwrap().1, CutShort, "{forged}");
        let silent = scene.logged.0.open().unwrap();
        let reports = silent.verify_audit_logs([scene.logged.log()]).unwrap();
        assert_eq!(reports[0].faults().last().unwrap().kind(), CutShort);
        // Nor does a handle go on in it.
        let kms = scene.logged.open();
        assert_eq!(encrypt(&kms, &scene.key, b"x").unwrap_err().kind(), ErrorKind::AuditFailed);
        assert_eq!(scene.logged.text(), forged);
    }
}

#[test]
fn a_handle_does_not_write_to_another_file_than_the_one_that_the_store_knows() -> Result<(), Error> {
    for is_rotated in [true, false] {
        let scene = Scene::new();
        let kms = scene.logged.open();
        let old = scene.path("audit.1");
        if is_rotated {
            kms.rotate_audit_log(&old)?;
        }
        encrypt(&kms, &scene.key, b"x")?;
        drop(kms);
        let text = scene.logged.text();
        let other = if is_rotated { fs::read_to_string(&old)? } else { text.split_inclusive('\n').take(3).collect() };
        scene.set_log(&other);
        let kms = scene.logged.open();
        let error = kms.disable_key(&scene.key).unwrap_err();
        assert!(error.kind() == ErrorKind::AuditFailed && error.to_string().contains("does not continue"), "{error}");
        assert_eq!(encrypt(&kms, &scene.key, b"x").unwrap_err().kind(), ErrorKind::AuditFailed);
        assert_eq!(scene.logged.text(), other);
        // The true one is back.
        scene.set_log(&text);
        encrypt(&kms, &scene.key, b"x")?;
        assert_eq!(faults(&kms, &scene.logged.log()), []);
        drop(kms);
        assert_eq!(scene.faults(), []);
    }
    Ok(())
}

#[test]
fn a_change_whose_line_is_not_in_the_log_shows_for_ever() -> Result<(), Error> {
    // Lost with the power, or cut off.
    let scene = Scene::new();
    let kms = scene.logged.open();
    kms.checkpoint()?;
    let text = scene.logged.text();
    kms.disable_key(&scene.key)?;
    std::mem::forget(kms);
    scene.set_log(&text);
    let lines = text.lines().count() as u64;
    assert_eq!(scene.faults(), [(lines, Unlogged)]);
    // Opening goes on: this happens to those who did nothing.
    for _ in 0..2 {
        let kms = scene.logged.open();
        assert!(scene.is_disabled(&kms));
        kms.update_key_description(&scene.key, "x")?;
        assert_eq!(faults(&kms, &scene.logged.log()), [(lines + 1, Unlogged)]);
    }
    // Written to another log, which the store knows from then on.
    let scene = Scene::new();
    let other = AuditLog::file(scene.path("other"));
    let kms = LocalKms::builder().audit(other).open(scene.logged.0.store(), scene.root())?;
    kms.replace_lost_audit_log()?;
    kms.disable_key(&scene.key)?;
    drop(kms);
    let kms = scene.logged.open();
    assert_eq!(encrypt(&kms, &scene.key, b"x").unwrap_err().kind(), ErrorKind::AuditFailed);
    let reports = scene.logged.0.open()?.verify_audit_logs([scene.logged.log()])?;
    assert_eq!(reports[0].faults().last().unwrap().kind(), CutShort);
    Ok(())
}
