//! Tests of appending.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::*;
use crate::ErrorKind;
use crate::audit::AuditFaultKind;
use crate::audit::ends::Kept;
use crate::audit::heard::listen;
use crate::audit::tests::{Heard, STORE, event, keys, tenant};
use crate::audit::{Checkpoint, Commits, Found, Memory, Told, verify};

/// Hooks that let tests inspect a log and act in the middle of an append.
#[derive(Default)]
pub(in crate::audit) struct Hooks {
    /// Called between finding the end of the file and writing there.
    between: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
}

impl Hooks {
    pub(in crate::audit) fn between(&self) {
        if let Some(hook) = &*self.between.lock().unwrap() {
            hook();
        }
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("audit.jsonl")
    }
    fn open(&self) -> Log {
        Log::open(AuditLog::file(self.path())).unwrap()
    }
    fn append_raw(&self, bytes: &[u8]) {
        OpenOptions::new().append(true).open(self.path()).unwrap().write_all(bytes).unwrap();
    }
    /// Returns the number of whole lines, and the faults with their lines.
    fn verify(&self) -> (u64, Vec<(u64, AuditFaultKind)>) {
        let report = verify(&self.path(), &keys([1, 2]), STORE, &Memory::default(), None, true).unwrap().report;
        (report.events, report.faults.iter().map(|fault| (fault.line, fault.kind)).collect())
    }
}

/// Returns the word of a store whose root key has this number.
fn word(epoch: u64) -> Word {
    Word { found: Found { copy: 1, commit: 0, named: 0 }, epoch, begins: None, holds: false }
}

/// Returns the end of a log for the store to remember, given the checkpoint of another log that it may remember.
fn end_of(log: &Log, before: Option<&Checkpoint>) -> Result<Kept> {
    let word = Word { holds: true, ..word(1) };
    let followed = log.follow(&keys([1]), STORE, before, None);
    log.end(&keys([1]), STORE, before, word, &followed)
}

fn call(log: &Log) -> Result<()> {
    log.append(&event("Decrypt", &tenant()), || keys([1]), STORE, &|| Ok(word(1))).map(drop)
}

fn calls(log: &Log, count: usize) {
    (0..count).for_each(|_| call(log).unwrap());
}

fn refusal(log: &Log) -> String {
    let error = call(log).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuditFailed);
    error.to_string()
}

#[test]
fn handles_and_threads_share_one_chain() {
    let folder = Folder::new();
    let logs = [folder.open(), folder.open()];
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for number in 0..4 {
            let (log, together) = (&logs[number % 2], &together);
            scope.spawn(move || {
                together.wait();
                calls(log, 250);
            });
        }
    });
    assert_eq!(folder.verify(), (1000, vec![]));
    let text = fs::read_to_string(folder.path()).unwrap();
    let seq = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap();
    assert_eq!(text.lines().map(seq).collect::<HashSet<_>>().len(), 1000);
    let heads = logs.map(|log| end_of(&log, None).unwrap().checkpoint.head);
    assert_eq!(heads[0], heads[1]);
    assert_eq!(heads[0].lines, 1000);
    let memory =
        Memory { checkpoint: Some(Checkpoint { head: heads[0].clone(), len: 0, begins: None }), ..Memory::default() };
    let verified = verify(&folder.path(), &keys([1]), STORE, &memory, None, true).unwrap();
    assert!(verified.report.is_intact());
}

#[test]
fn keys_are_those_of_the_moment_when_the_line_is_written() {
    let folder = Folder::new();
    let log = folder.open();
    let in_turn = || {
        assert!(log.state.try_lock().is_err(), "another thread could write before this one");
        keys([1])
    };
    log.append(&event("Decrypt", &tenant()), in_turn, STORE, &|| Ok(word(1))).unwrap();
    assert_eq!(folder.verify(), (1, vec![]));
}

#[test]
fn a_checkpoint_is_gone_on_from_only_where_it_stands() {
    let folder = Folder::new();
    let end = |before: Option<&Checkpoint>| {
        let Kept { checkpoint, missed } = end_of(&folder.open(), before).unwrap();
        assert_eq!(missed, []);
        checkpoint
    };
    calls(&folder.open(), 3);
    let third = end(None);
    assert_eq!((third.head.lines, third.len), (3, fs::metadata(folder.path()).unwrap().len()));
    // Anything may follow the last line, at the checkpoint and after it.
    folder.append_raw("x".repeat(3 << 20).as_bytes());
    let with_filler = end(Some(&third));
    calls(&folder.open(), 2);
    assert_eq!(end(Some(&with_filler)).head.lines, 5);
    let fifth = end(Some(&third));
    let text = fs::read_to_string(folder.path()).unwrap();
    fs::write(folder.path(), text.split_inclusive('\n').take(2).collect::<String>()).unwrap();
    let refused = |before| {
        let error = end_of(&folder.open(), Some(before)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuditFailed);
        assert!(error.to_string().contains("rotate_audit_log"), "{error}");
    };
    refused(&third);
    let cut = folder.open();
    (0..9).for_each(|_| drop(cut.append(&event("Encrypt", &tenant()), || keys([1]), STORE, &|| Ok(word(1))).unwrap()));
    refused(&third);
    refused(&fifth);
    assert_eq!(end(None).head.lines, 11);
}

#[test]
fn what_was_followed_before_the_lock_is_not_read_again() {
    let folder = Folder::new();
    calls(&folder.open(), 3);
    let third = end_of(&folder.open(), None).unwrap().checkpoint;
    calls(&folder.open(), 5);
    let log = folder.open();
    let followed = log.follow(&keys([1]), STORE, Some(&third), None);
    calls(&folder.open(), 2);
    // A line that was already followed is changed, and the log continues after it.
    let text = fs::read_to_string(folder.path()).unwrap();
    let changed = text.split_inclusive('\n').enumerate();
    let changed =
        changed.map(|(number, line)| if number == 4 { line.replace("Decrypt", "Encrypt") } else { line.to_owned() });
    fs::write(folder.path(), changed.collect::<String>()).unwrap();
    let end = |followed: &Followed| {
        let log = folder.open();
        log.end(&keys([1]), STORE, Some(&third), Word { holds: true, ..word(1) }, followed)
    };
    assert_eq!(end(&followed).unwrap().checkpoint.head.lines, 10);
    assert!(end(&Followed::default()).is_err());
    // Nor does a handle that stored the end itself follow the part it knows again.
    let kept = end_of(&log, None).unwrap().checkpoint;
    calls(&log, 2);
    fs::write(folder.path(), fs::read_to_string(folder.path()).unwrap().replace("Decrypt", "Encrypt")).unwrap();
    assert_eq!(end_of(&log, Some(&kept)).unwrap().checkpoint.head.lines, 12);
}

#[test]
fn a_line_that_takes_another_back_comes_before_the_next_one() {
    let folder = Folder::new();
    let log = folder.open();
    calls(&log, 1);
    let bytes = fs::read(folder.path()).unwrap();
    fs::write(folder.path(), b"").unwrap();
    let context = tenant();
    let commits = Commits { failed: Some(7), ..Commits::default() };
    let failed = Event { commits, outcome: "Storage".to_owned(), ..event("PutKeyPolicy", &context) };
    assert!(log.append(&failed, || keys([1]), STORE, &|| Ok(word(1))).is_err());
    assert!(call(&log).is_err());
    fs::write(folder.path(), bytes).unwrap();
    calls(&log, 2);
    assert_eq!(folder.verify(), (4, vec![]));
    let text = fs::read_to_string(folder.path()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[1]["failed"], &lines[1]["outcome"]), (&7.into(), &"Storage".into()));
    assert_eq!(lines[2]["operation"], "Decrypt");
}

#[test]
fn a_log_continues_after_a_torn_line() {
    let folder = Folder::new();
    let log = folder.open();
    assert!(end_of(&log, None).unwrap_err().to_string().contains("has no lines"));
    calls(&log, 2);
    folder.append_raw(b"{\"seq\":3,\"epo");
    calls(&log, 1);
    folder.append_raw(b"{");
    calls(&folder.open(), 2);
    calls(&log, 1);
    assert_eq!(folder.verify(), (6, vec![(3, AuditFaultKind::Torn), (5, AuditFaultKind::Torn)]));
}

#[test]
fn a_log_whose_first_line_is_torn_starts_again() {
    let folder = Folder::new();
    fs::write(folder.path(), b"{\"seq\":1,").unwrap();
    calls(&folder.open(), 2);
    assert_eq!(folder.verify(), (2, vec![(1, AuditFaultKind::Torn)]));
}

#[test]
fn a_lost_newline_is_made_good() {
    let folder = Folder::new();
    calls(&folder.open(), 2);
    let len = fs::metadata(folder.path()).unwrap().len();
    OpenOptions::new().write(true).open(folder.path()).unwrap().set_len(len - 1).unwrap();
    calls(&folder.open(), 2);
    assert_eq!(folder.verify(), (4, vec![]));
}

#[test]
fn tampering_with_the_end_stays_visible_and_stops_nothing() {
    let folder = Folder::new();
    calls(&folder.open(), 3);
    let text = fs::read_to_string(folder.path()).unwrap();
    let (rest, _) = text.trim_end().rsplit_once('\n').unwrap();
    let changed = text[rest.len() + 1..].replace("Decrypt", "Encrypt");
    // Foreign text of every length that is searched in one go.
    for filler in [1, 100 << 10, 3 << 20] {
        fs::write(folder.path(), format!("{rest}\n{changed}{}\n", "x".repeat(filler))).unwrap();
        calls(&folder.open(), 1);
        let faults = vec![(3, AuditFaultKind::Changed), (4, AuditFaultKind::Malformed)];
        assert_eq!(folder.verify(), (3, faults), "{filler}");
    }
    // The first line repeated.
    fs::write(folder.path(), format!("{rest}\n{changed}{}\n", text.lines().next().unwrap())).unwrap();
    let log = folder.open();
    calls(&log, 1);
    folder.append_raw(b"hello\n");
    calls(&log, 1);
    let faults = [(3, AuditFaultKind::Changed), (4, AuditFaultKind::OutOfSequence), (6, AuditFaultKind::Malformed)];
    assert_eq!(folder.verify(), (4, faults.to_vec()));
}

#[test]
fn a_file_that_shrinks_or_changes_under_an_open_log_is_an_error() {
    let folder = Folder::new();
    let log = folder.open();
    calls(&log, 3);
    let bytes = fs::read(folder.path()).unwrap();
    fs::write(folder.path(), &bytes[..bytes.len() / 2]).unwrap();
    assert!(refusal(&log).contains("cut short"));
    assert!(refusal(&log).contains("cut short"), "the second time too");
    assert_eq!(end_of(&log, None).unwrap_err().kind(), ErrorKind::AuditFailed);
    // Grown again, with other lines; the end that this handle knows is now within one of them, or between two.
    for operation in ["Encrypt", "GenerateDataKey", "Sign"] {
        fs::write(folder.path(), b"").unwrap();
        let other = folder.open();
        (0..6).for_each(|_| {
            drop(other.append(&event(operation, &tenant()), || keys([1]), STORE, &|| Ok(word(1))).unwrap());
        });
        assert!(refusal(&log).contains("replaced"), "{operation}");
        assert_eq!(folder.verify(), (6, vec![]));
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_is_moved_or_deleted_is_an_error() {
    let folder = Folder::new();
    let log = folder.open();
    calls(&log, 1);
    let aside = folder.0.path().join("aside");
    fs::rename(folder.path(), &aside).unwrap();
    assert!(refusal(&log).contains("moved or deleted"));
    calls(&folder.open(), 1);
    assert!(refusal(&log).contains("moved or deleted"), "another file has its name");
    fs::rename(&aside, folder.path()).unwrap();
    calls(&log, 1);
    assert_eq!(folder.verify(), (2, vec![]));
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let folder = Folder::new();
    for other in ["root:x:0:0:root:/root:/bin/bash\n", "\n\nx\n"] {
        fs::write(folder.path(), other).unwrap();
        assert!(refusal(&folder.open()).contains("choose another file"));
        assert_eq!(fs::read_to_string(folder.path()).unwrap(), other);
    }
    fs::remove_file(folder.path()).unwrap();
    let another = folder.open();
    another.append(&event("Decrypt", &tenant()), || keys([1]), b"another store", &|| Ok(word(1))).unwrap();
    assert!(refusal(&folder.open()).contains("choose another file"));
}

#[test]
fn the_newest_key_writes_and_an_outdated_handle_stops() {
    let folder = Folder::new();
    let (log, outdated) = (folder.open(), folder.open());
    calls(&log, 1);
    calls(&outdated, 1);
    log.append(&event("Decrypt", &tenant()), || keys([2, 1]), STORE, &|| Ok(word(1))).unwrap();
    for log in [&outdated, &folder.open()] {
        let called = log.append(&event("Decrypt", &tenant()), || keys([1]), STORE, &|| Ok(word(2)));
        assert_eq!(called.err().map(|error| error.kind()), Some(ErrorKind::RootKeyChanged));
    }
    assert_eq!(folder.verify(), (3, vec![]));
    assert!(fs::read_to_string(folder.path()).unwrap().contains("{\"seq\":3,\"epoch\":2,"));
}

#[test]
fn at_best_effort_a_missing_line_is_a_warning() {
    let folder = Folder::new();
    let options = AuditLog::file(folder.path()).best_effort().sync_each_call();
    let log = Log::open(options).unwrap();
    calls(&log, 2);
    fs::write(folder.path(), b"").unwrap();
    let context = tenant();
    let event = event("Decrypt", &context);
    let written = log.append(&event, || keys([1]), STORE, &|| Ok(word(1))).unwrap();
    let heard = Heard::default();
    listen(heard.subscriber(), || Told::new(event, Ok(written)).0.tell(false));
    let [told, warning] = heard.texts().try_into().unwrap();
    assert!(told.starts_with("manila::audit INFO"), "{told}");
    assert!(warning.starts_with("manila::audit WARN") && warning.contains("was cut short"), "{warning}");
    assert_eq!(folder.verify(), (0, vec![]));
}

#[test]
fn a_panic_elsewhere_does_not_stop_the_log() {
    let folder = Folder::new();
    let log = folder.open();
    thread::scope(|scope| {
        let panics = scope.spawn(|| {
            let _state = log.state.lock().unwrap();
            panic!("on purpose");
        });
        assert!(panics.join().is_err());
    });
    calls(&log, 1);
    assert_eq!(folder.verify(), (1, vec![]));
}

#[cfg(unix)]
#[test]
fn the_file_is_its_owners_alone_and_nothing_but_a_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    calls(&folder.open(), 1);
    assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let error = Log::open(AuditLog::file("/dev/null")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(Log::open(AuditLog::file(folder.0.path())).is_err());
}

/// A file size limit stands in for a full disk: writing stops half way through a line. A shell sets it, and then runs
/// this test again.
#[cfg(unix)]
#[test]
fn a_line_that_is_half_written_is_taken_back() {
    const FOLDER: &str = "MANILA_TEST_FULL_DISK";
    if let Some(folder) = std::env::var_os(FOLDER) {
        let log = Log::open(AuditLog::file(Path::new(&folder).join("audit.jsonl"))).unwrap();
        calls(&log, 2);
        assert!(refusal(&log).contains("cannot be written"));
        return;
    }
    let folder = Folder::new();
    let status = std::process::Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 2; exec \"$0\" --exact \"$1\"",
            std::env::current_exe().unwrap().to_str().unwrap(),
        ])
        .arg(format!("{}::a_line_that_is_half_written_is_taken_back", module_path!().split_once("::").unwrap().1))
        .env(FOLDER, folder.0.path())
        .stdout(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
    assert!(String::from_utf8_lossy(&status.stdout).contains("1 passed"), "{status:?}");
    assert_eq!(folder.verify(), (2, vec![]));
    assert!(fs::read(folder.path()).unwrap().ends_with(b"\"}\n"));
    calls(&folder.open(), 1);
    assert_eq!(folder.verify(), (3, vec![]));
}

/// Returns how often this thread waited for the disk.
fn waits(work: impl FnOnce()) -> usize {
    let ((), events) = disk::events(work);
    events.iter().filter(|event| matches!(event, disk::Event::Synced { .. })).count()
}

#[test]
fn each_line_waits_for_the_disk_if_that_is_asked_for() {
    let folder = Folder::new();
    for (options, each) in [(AuditLog::file(folder.path()), 0), (AuditLog::file(folder.path()).sync_each_call(), 1)] {
        let log = Log::open(options).unwrap();
        for _ in 0..3 {
            assert_eq!(waits(|| calls(&log, 1)), each);
        }
    }
}

#[test]
fn what_the_store_is_to_remember_is_on_the_disk_first() {
    let folder = Folder::new();
    let log = folder.open();
    calls(&log, 3);
    assert_eq!(waits(|| assert!(end_of(&log, None).is_ok())), 1);
}

#[test]
fn no_other_handle_comes_between_finding_the_end_and_writing_there() {
    let folder = Folder::new();
    let log = folder.open();
    let (path, asked) = (folder.path(), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    *log.hooks.between.lock().unwrap() = Some(Box::new(move || {
        let other = File::open(&path).unwrap();
        assert!(matches!(other.try_lock_shared(), Err(fs::TryLockError::WouldBlock)), "the file is not locked");
        count.fetch_add(1, Ordering::SeqCst);
    }));
    calls(&log, 2);
    end_of(&log, None).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}
