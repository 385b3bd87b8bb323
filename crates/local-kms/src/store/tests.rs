//! A store on a disk that fails or loses power: each failure is an error, and what is on the disk afterwards opens and
//! holds a change in full or not at all.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use manila_core::SystemClock;
use redb::{BackendError, ConcurrencyMode, ReadableTable, StorageBackend};

use super::backend::Backend;
use super::open::check_and_open;
use super::tables::verify;
use super::*;
use crate::RootKey;
use crate::audit::{AuditFault, AuditFaultKind, AuditLog, Log};
use crate::clock::{LONGEST_PAUSE, StoreClock};
use crate::local_kms::LocalKms;
use crate::operation::KeyState;
use crate::record::key::CreateKey;
use crate::shared::Shared;

/// A disk in memory that fails on request.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The contents that programs see.
    bytes: Vec<u8>,
    /// The contents that would survive a loss of power, and the changes since then.
    synced: Vec<u8>,
    unsynced: Vec<Change>,
    /// The bytes that were truncated from its end, which the medium still holds.
    cut_off: Vec<u8>,
    fault: Option<Fault>,
    has_failed: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Len(usize),
    Write(usize, Vec<u8>),
}

/// The time and the reason of a disk's failure.
#[derive(Clone, Copy, Debug)]
struct Fault {
    /// The number of calls before the failure.
    after: usize,
    /// True if it fails from then on, false if it fails once.
    lasts: bool,
    /// True if reading fails too.
    reads_too: bool,
    why: io::ErrorKind,
}

impl Fault {
    const NO_SPACE: Self = Self { after: 0, lasts: true, reads_too: false, why: io::ErrorKind::StorageFull };
    const READ_ONLY: Self = Self { why: io::ErrorKind::ReadOnlyFilesystem, ..Self::NO_SPACE };
    const BROKEN: Self = Self { reads_too: true, why: io::ErrorKind::Other, ..Self::NO_SPACE };

    const fn after(self, after: usize) -> Self {
        Self { after, ..self }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Len(len) => bytes.resize(*len, 0),
            Self::Write(at, data) => {
                bytes.resize(bytes.len().max(at + data.len()), 0);
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

impl State {
    fn call(&mut self, reads: bool) -> io::Result<()> {
        let Some(fault) = self.fault.as_mut().filter(|fault| fault.reads_too || !reads) else { return Ok(()) };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        self.has_failed = true;
        let why = fault.why;
        if !fault.lasts {
            self.fault = None;
        }
        Err(why.into())
    }

    fn change(&mut self, change: Change) {
        if let Change::Len(len) = &change {
            self.cut_off.extend_from_slice(self.bytes.get(*len..).unwrap_or_default());
        }
        change.apply(&mut self.bytes);
        self.unsynced.push(change);
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn len(&self) -> u64 {
        self.state().bytes.len() as u64
    }

    /// Opens a store's database as that of a file is opened.
    pub(super) fn open(&self) -> Result<Opened> {
        check_and_open(Path::new("disk"), Backend::new(self.clone()))
    }

    fn of(bytes: &[u8]) -> Self {
        let (bytes, synced) = (bytes.to_vec(), bytes.to_vec());
        Self(Arc::new(Mutex::new(State { bytes, synced, ..State::default() })))
    }

    /// Returns a working disk with the same contents.
    fn copy(&self) -> Self {
        Self::of(&self.state().bytes)
    }

    /// Returns a disk as it would be after a loss of power: with all synced changes, and those unsynced ones for which
    /// `on_their_way` is true.
    fn after_power_cut(&self, on_their_way: impl Fn(usize) -> bool) -> Self {
        let state = self.state();
        let mut bytes = state.synced.clone();
        let survivors = state.unsynced.iter().enumerate().filter(|(number, _)| on_their_way(*number));
        survivors.for_each(|(_, change)| change.apply(&mut bytes));
        Self::of(&bytes)
    }

    fn fail(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    fn has_failed(&self) -> bool {
        self.state().has_failed
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.call(true)?;
        Ok(state.bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        state.call(true)?;
        let from = usize::try_from(offset).unwrap();
        let found = state.bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.call(false)?;
        state.change(Change::Len(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.call(false)?;
        state.synced = state.bytes.clone();
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let called = state.call(false);
        // If no room is left, half of it is written.
        let written = if called.is_ok() { data } else { &data[..data.len() / 2] };
        state.change(Change::Write(usize::try_from(offset).unwrap(), written.to_vec()));
        called
    }

    // Nobody else uses the disk.
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}

const OLD_ROOT: u8 = 1;
const NEW_ROOT: u8 = 2;

fn root(number: u8) -> RootKey {
    RootKey::from_bytes(&[number; 32])
}

fn create(disk: &Disk) -> Result<Store> {
    let (region, account) = ("local".to_owned(), "000000000000".to_owned());
    Store::initialise(disk.clone(), ConcurrencyMode::MultiWriter, region, account, root(OLD_ROOT))
        .map(|store| on(disk, store))
}

/// Connects a store to its disk, so that a purge overwrites the disk as it does a file.
fn on(disk: &Disk, store: Store) -> Store {
    store.state.write().unwrap().disk = Some(disk.clone());
    store
}

/// Opens a store as that of a file is opened.
fn open(disk: &Disk, number: u8) -> Result<Store> {
    Store::of_database(disk.open()?, root(number)).map(|store| on(disk, store))
}

type Contents = BTreeMap<(&'static str, String), String>;

fn contents(store: &Store) -> Result<Contents> {
    store.read(|tables| {
        let mut all = Contents::new();
        for table in Table::ALL {
            for id in tables.ids(table, "")? {
                let record = tables.get(table, &id)?.unwrap();
                all.insert((table.name(), id), record);
            }
        }
        Ok(all)
    })
}

/// Makes a disk with a store of sixty records.
fn prepared() -> Disk {
    let disk = Disk::default();
    let store = create(&disk).unwrap();
    let put = |tables: &mut WriteTxn<'_>, table: Table, number: usize| {
        tables.put(table, &number.to_string(), &format!("{number} of {}", table.name()).repeat(9))
    };
    store.write(|tables| (0..60).try_for_each(|number| put(tables, Table::ALL[number % 3], number))).unwrap();
    drop(store);
    disk
}

/// Removes, replaces and adds records of several tables.
fn change(store: &Store) -> Result<()> {
    store.write(change_in)
}

fn change_in(tables: &mut WriteTxn<'_>) -> Result<()> {
    for number in 0..30 {
        tables.remove(Table::ALL[number % 3], &number.to_string())?;
    }
    for number in 30..90 {
        tables.put(Table::ALL[number % 3], &number.to_string(), &"changed".repeat(number))?;
    }
    Ok(())
}

fn change_root_key(store: &Store) -> Result<()> {
    store.change_root_key(root(NEW_ROOT), |tables, _| tables.put(Table::Audit, "log", &"changed"))
}

/// Returns every row as it is in the file, including the header and the manifest.
fn raw_rows(store: &Store) -> Vec<Vec<u8>> {
    let rows = store.read(|reading| {
        let mut rows = Vec::new();
        let header = reading.transaction.open_table(HEADER_TABLE).unwrap();
        rows.extend(header.get(HEADER).unwrap().map(|row| row.value().to_vec()));
        let manifest = reading.transaction.open_table(MANIFEST_TABLE).unwrap();
        for row in manifest.iter().unwrap() {
            let row = row.unwrap().1.value().to_vec();
            // Most numbers in the manifest's root are zeros, so it is recognised by its tag.
            rows.push(row[row.len() - 32..].to_vec());
        }
        for table in Table::ALL {
            for id in reading.ids(table, "")? {
                rows.extend(reading.row(table, &id)?);
            }
        }
        Ok(rows)
    });
    rows.unwrap()
}

/// Returns the pieces of the old rows that are in no new one: the remains of a row in a page may be incomplete.
fn gone(old: &[Vec<u8>], new: &[Vec<u8>]) -> HashSet<Vec<u8>> {
    let mut pieces: HashSet<_> = old.iter().flat_map(|row| row.chunks_exact(16)).map(<[u8]>::to_vec).collect();
    for piece in new.iter().flat_map(|row| row.windows(16)) {
        pieces.remove(piece);
    }
    pieces
}

/// Counts how often the pieces occur on the disk, including the truncated bytes.
fn left(disk: &Disk, pieces: &HashSet<Vec<u8>>) -> usize {
    let state = disk.state();
    state.bytes.windows(16).chain(state.cut_off.windows(16)).filter(|piece| pieces.contains(*piece)).count()
}

/// Checks that the text of an error says what happened.
fn check_error(error: &Error, why: io::ErrorKind) {
    assert!(matches!(error.kind(), ErrorKind::Storage | ErrorKind::Io | ErrorKind::RootKeyChanged), "{error:?}");
    assert!(error.to_string().contains(&why.to_string()), "{error}");
}

/// Checks that the store on a disk that works again holds all of the change or, unless `must_be_done`, none of it, and
/// that it can be written.
fn check_whole(disk: &Disk, before: &Contents, after: &Contents, must_be_done: bool) {
    let store = open(disk, OLD_ROOT).or_else(|_| open(disk, NEW_ROOT)).unwrap();
    let found = contents(&store).unwrap();
    assert!(found == *after || (found == *before && !must_be_done), "{found:?}");
    store.write(|tables| tables.put(Table::Keys, "further", &"record")).unwrap();
    assert_eq!(contents(&store).unwrap().len(), found.len() + 1);
}

/// Runs `work` on disks that fail at its first call, its second, and so on until it completes without a failure.
fn fail_at_each_call(work: impl Fn(&Store) -> Result<()>) {
    fail_at_calls(1, work);
}

/// Does the same for work of many calls, at each `step`-th of them.
fn fail_at_calls(step: usize, work: impl Fn(&Store) -> Result<()>) {
    let prepared = prepared();
    let (before, after) = {
        let store = open(&prepared.copy(), OLD_ROOT).unwrap();
        let before = contents(&store).unwrap();
        work(&store).unwrap();
        (before, contents(&store).unwrap())
    };
    for fault in [Fault::NO_SPACE, Fault { lasts: false, ..Fault::BROKEN }] {
        let mut failures = 0;
        for number in (0..).step_by(step) {
            let disk = prepared.copy();
            let store = open(&disk, OLD_ROOT).unwrap();
            disk.fail(fault.after(number));
            let done = work(&store);
            failures += usize::from(done.is_err());
            if let Err(error) = &done {
                check_error(error, fault.why);
            }
            match contents(&store) {
                Ok(found) => assert!(found == after || (found == before && done.is_err())),
                Err(error) if done.is_ok() => check_error(&error, fault.why),
                Err(error) => assert!(error.to_string().contains("re-open"), "{error}"),
            }
            let parity = |remainder| move |number| number % 2 == remainder;
            let cut = [disk.after_power_cut(|_| false), disk.after_power_cut(|_| true)];
            let cut = cut.into_iter().chain([0, 1].map(|remainder| disk.after_power_cut(parity(remainder))));
            cut.for_each(|disk| check_whole(&disk, &before, &after, done.is_ok()));
            drop(store);
            check_whole(&disk.copy(), &before, &after, done.is_ok());
            if !disk.has_failed() {
                break;
            }
        }
        assert!(failures > 3, "{fault:?}: {failures}");
    }
}

#[test]
fn a_change_on_a_disk_that_fails_is_done_whole_or_not_at_all() {
    fail_at_each_call(change);
}

#[test]
fn a_change_of_the_root_key_on_a_disk_that_fails_is_done_whole_or_not_at_all() {
    fail_at_each_call(change_root_key);
}

#[test]
fn a_change_of_the_root_key_that_fails_says_which_root_key_the_file_has() {
    let prepared = prepared();
    // Either the whole disk fails, or one call alone: in that case the contents of the file can still be read.
    for lasts in [true, false] {
        let mut said = BTreeMap::<_, usize>::new();
        for number in 0.. {
            let disk = prepared.copy();
            let store = open(&disk, OLD_ROOT).unwrap();
            disk.fail(Fault { lasts, reads_too: true, ..Fault::NO_SPACE }.after(number));
            let Err(error) = change_root_key(&store) else { break };
            let text = error.to_string();
            let which = ["has the new", "has the old", "keep both", ""].into_iter().find(|part| text.contains(part));
            *said.entry((error.kind() == ErrorKind::RootKeyChanged, which.unwrap())).or_default() += 1;
            let has = |number| open(&disk.copy(), number).is_ok();
            match (error.kind() == ErrorKind::RootKeyChanged, which.unwrap()) {
                (true, "has the new") => {
                    assert!(has(NEW_ROOT) && !has(OLD_ROOT));
                    drop(store);
                    assert!(has(NEW_ROOT), "{text}");
                }
                (false, "keep both") => assert!(has(OLD_ROOT) || has(NEW_ROOT)),
                // The same if it failed before anything was committed.
                (false, "has the old" | "") => assert!(has(OLD_ROOT) && !has(NEW_ROOT), "{text}"),
                other => panic!("{other:?}: {text}"),
            }
        }
        assert_eq!(said.contains_key(&(false, "keep both")), lasts, "{said:?}");
        assert_eq!(said.contains_key(&(true, "has the new")), !lasts, "{said:?}");
        assert!(lasts || said.contains_key(&(false, "has the old")), "{said:?}");
    }
}

#[test]
fn a_purge_after_a_change_of_the_root_key_is_done_at_the_next_opening_if_it_was_cut_off() {
    let prepared = prepared();
    let old = raw_rows(&open(&prepared.copy(), OLD_ROOT).unwrap());
    let (mut cut_off, mut whole) = (0, 0);
    for number in (0..).step_by(41) {
        let disk = prepared.copy();
        let store = open(&disk, OLD_ROOT).unwrap();
        change_root_key(&store).unwrap();
        let old = gone(&old, &raw_rows(&store));
        assert!(left(&disk, &old) > 0, "the test looks for what was there");
        disk.fail(Fault::NO_SPACE.after(number));
        let purged = store.purge().is_ok();
        drop(store);
        let disk = disk.after_power_cut(|number| number % 2 == 0);
        let again = open(&disk, NEW_ROOT).unwrap();
        cut_off += usize::from(left(&disk, &old) > 0);
        again.finish_purge().unwrap();
        assert_eq!(left(&disk, &old), 0, "cut off at call {number}");
        // Nothing is left to do.
        let before = disk.state().bytes.clone();
        again.finish_purge().unwrap();
        assert_eq!(disk.state().bytes, before);
        if purged {
            whole += 1;
            break;
        }
    }
    assert!(cut_off > 1 && whole == 1, "{cut_off}");
}

#[test]
fn a_purge_that_began_before_a_change_of_the_root_key_does_not_end_the_one_that_is_due_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = &folder.path().join("keys.redb");
    let (region, account) = ("local".to_owned(), "000000000000".to_owned());
    let store = Store::create(path, region, account, root(OLD_ROOT)).unwrap();
    let other = Store::open(path, root(OLD_ROOT)).unwrap();
    let mark = other.write_anew().unwrap();
    change_root_key(&store).unwrap();
    other.overwrite(&mark, &[Duration::ZERO]).unwrap();
    assert!(store.is_unpurged().unwrap(), "a change of the root key may be interrupted before the purge");
    store.purge().unwrap();
    assert!(!store.is_unpurged().unwrap());
    // The later of two purges completes both.
    let marks = [store.write_anew().unwrap(), store.write_anew().unwrap()];
    for (mark, is_left) in marks.iter().zip([true, false]) {
        store.overwrite(mark, &[Duration::ZERO]).unwrap();
        assert_eq!(store.is_unpurged().unwrap(), is_left);
    }
}

#[test]
fn a_purge_waits_for_the_reads_of_another_program_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = &folder.path().join("keys.redb");
    let (region, account) = ("local".to_owned(), "000000000000".to_owned());
    let store = &Store::create(path, region, account, root(OLD_ROOT)).unwrap();
    let other = &Store::open(path, root(OLD_ROOT)).unwrap();
    let snapshot = other.snapshot().unwrap();
    let mark = &store.write_anew().unwrap();
    let refused = store.overwrite(mark, &[Duration::ZERO]).unwrap_err();
    assert!(refused.to_string().contains("another process reads it"), "{refused}");
    std::thread::scope(|scope| {
        let purging = scope.spawn(|| store.overwrite(mark, &[Duration::from_secs(60)]));
        while store.state.try_read().is_ok() {
            assert!(!purging.is_finished(), "it does not wait");
            std::thread::yield_now();
        }
        // A read that begins now does not delay it.
        let reading = scope.spawn(|| contents(other));
        drop(snapshot);
        purging.join().unwrap().unwrap();
        assert!(reading.join().unwrap().unwrap().is_empty());
    });
    assert!(!store.is_unpurged().unwrap());
}

/// Purges a store of this many records, every tenth of them large, from which those that `goes` selects were removed.
/// Returns how often a piece of what was removed is still there.
fn purged(count: usize, goes: fn(usize) -> bool) -> usize {
    let disk = Disk::default();
    let store = create(&disk).unwrap();
    let id = |number: usize| format!("{number:05}");
    let text = |number: usize| format!("{number} of {count}").repeat(if number.is_multiple_of(10) { 1500 } else { 20 });
    for first in (0..count).step_by(20) {
        let numbers = first..count.min(first + 20);
        store.write(|tables| numbers.clone().try_for_each(|n| tables.put(Table::Keys, &id(n), &text(n)))).unwrap();
    }
    let old = raw_rows(&store);
    // All at once and from the end, so that the rows leave bytes in their pages.
    let mut going = (0..count).rev().filter(|number| goes(*number));
    store.write(|tables| going.try_for_each(|number| tables.remove(Table::Keys, &id(number)))).unwrap();
    let removed = gone(&old, &raw_rows(&store));
    assert!(left(&disk, &removed) > 0, "the test looks for what was there");
    store.purge().unwrap();
    assert_eq!(contents(&store).unwrap().len(), (0..count).filter(|number| !goes(*number)).count());
    left(&disk, &removed)
}

#[test]
fn after_a_purge_nothing_is_left_of_what_was_removed() {
    // The number of pages that a compaction leaves free varies, as do the bytes after the rows of those in use.
    for count in [3, 200] {
        assert_eq!(purged(count, |number| number % 10 > 0 && number % 3 > 0), 0, "{count} records, few left");
        assert_eq!(purged(count, |number| number % 7 > 4 || number == 1), 0, "{count} records, most left");
        assert_eq!(purged(count, |number| number % 20 == 0), 0, "{count} records, some large ones removed");
    }
    // More pages than are filled at once.
    assert_eq!(purged(2000, |number| number % 20 == 0), 0, "many large records");
}

#[test]
fn a_snapshot_stops_nobody_but_a_purge_and_a_purge_that_waits_stops_nobody() {
    let disk = prepared();
    let store = &open(&disk, OLD_ROOT).unwrap();
    let before = contents(store).unwrap().len();
    let purged = &std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let snapshot = store.snapshot().unwrap();
        scope.spawn(|| {
            store.purge().unwrap();
            purged.store(true, Ordering::SeqCst);
        });
        let start = std::time::Instant::now();
        while store.snapshots.waiting() == 0 {
            assert!(start.elapsed().as_secs() < 60, "the purge does not wait");
            std::thread::yield_now();
        }
        // This would hang or fail if the purge held anything while it waits.
        assert!(store.state.try_read().is_ok());
        assert_eq!(contents(store).unwrap().len(), before);
        store.write(|tables| tables.put(Table::Keys, "meanwhile", &"record")).unwrap();
        change_root_key(store).unwrap();
        assert!(!purged.load(Ordering::SeqCst));
        // The snapshot is still of the moment at which it was taken.
        let table = snapshot.transaction.open_table(Table::Keys.definition()).unwrap();
        assert!(table.get("meanwhile".as_bytes()).unwrap().is_none());
    });
    assert!(purged.load(Ordering::SeqCst));
}

#[test]
fn purging_a_disk_that_fails_loses_nothing() {
    fail_at_calls(7, |store| {
        change(store)?;
        store.purge()
    });
}

#[test]
fn a_store_that_cannot_be_made_or_opened_says_why() {
    type Work = fn(&Disk) -> Result<Store>;
    for (prepared, work) in [(Disk::default(), create as Work), (prepared(), |disk| open(disk, OLD_ROOT))] {
        for fault in [Fault::NO_SPACE, Fault::READ_ONLY, Fault::BROKEN] {
            let mut failures = 0;
            for number in 0.. {
                let disk = prepared.copy();
                disk.fail(fault.after(number));
                let Err(error) = work(&disk) else { break };
                check_error(&error, fault.why);
                failures += 1;
            }
            assert!(failures > 3, "{fault:?}: {failures}");
        }
    }
}

#[test]
fn a_store_whose_disk_becomes_read_only_is_read_and_not_changed() {
    let disk = prepared();
    let store = open(&disk, OLD_ROOT).unwrap();
    let before = contents(&store).unwrap();
    disk.fail(Fault::READ_ONLY);
    assert_eq!(contents(&store).unwrap(), before);
    check_error(&change(&store).unwrap_err(), Fault::READ_ONLY.why);
    drop(store);
    assert_eq!(contents(&open(&disk.copy(), OLD_ROOT).unwrap()).unwrap(), before);
    check_error(&open(&disk, OLD_ROOT).err().unwrap(), Fault::READ_ONLY.why);
}

#[test]
fn a_call_that_finds_the_disk_full_fails_and_the_log_tells_of_it() {
    let (disk, folder) = (Disk::default(), tempfile::tempdir().unwrap());
    let log = folder.path().join("audit.log");
    let full = logged(create(&disk).unwrap(), &log);
    let key = full.create_key(CreateKey::default()).unwrap();
    disk.fail(Fault::NO_SPACE);
    check_error(&full.create_key(CreateKey::default()).unwrap_err(), Fault::NO_SPACE.why);
    drop(full);

    let kms = logged(open(&disk.copy(), OLD_ROOT).unwrap(), &log);
    assert_eq!(kms.list_keys().unwrap()[0].key_arn, key.arn());
    assert!(kms.verify_audit_log(&log).unwrap().is_intact());
    let outcome = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["outcome"].clone();
    let outcomes: Vec<_> = std::fs::read_to_string(&log).unwrap().lines().map(outcome).collect();
    let [made, begun, failed, ..] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!((made, begun), (&"ok".into(), &"ok".into()));
    assert_ne!(failed, "ok");
}

/// Makes a KMS over a store, with a log.
fn logged(store: Store, log: &Path) -> LocalKms {
    let clock = StoreClock::new(Arc::new(SystemClock), LONGEST_PAUSE);
    let log = Log::open(AuditLog::file(log)).unwrap();
    LocalKms::over(Shared::new(store, clock, Some(log)).unwrap())
}

#[test]
fn a_line_takes_nothing_back_that_a_failing_disk_took() {
    let (first, folder) = (Disk::default(), tempfile::tempdir().unwrap());
    let begun = folder.path().join("begun");
    let key = logged(create(&first).unwrap(), &begun).create_key(CreateKey::default()).unwrap();
    let (mut taken_back, mut done, mut undone) = (0, 0, 0);
    for number in 0.. {
        let (disk, log) = (first.copy(), folder.path().join(number.to_string()));
        std::fs::copy(&begun, &log).unwrap();
        let kms = logged(open(&disk, OLD_ROOT).unwrap(), &log);
        disk.fail(Fault { lasts: false, ..Fault::BROKEN }.after(number));
        let is_ok = kms.disable_key(key.arn()).is_ok();
        drop(kms);
        if !disk.has_failed() {
            break;
        }
        let kms = logged(open(&disk.copy(), OLD_ROOT).unwrap(), &log);
        let is_disabled = kms.describe_key(key.arn()).unwrap().state() == KeyState::Disabled;
        kms.update_key_description(key.arn(), "later").unwrap();
        let report = kms.verify_audit_log(&log).unwrap();
        let text = std::fs::read_to_string(&log).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [_, line, second, ..] = lines.as_slice() else { panic!("{text}") };
        let outcomes = [&line["outcome"], &second["outcome"]].map(|outcome| outcome.as_str().unwrap());
        let is_not_done = report.faults == [AuditFault { line: 2, kind: AuditFaultKind::NotDone }];
        match (outcomes, is_disabled) {
            (["ok", "ok"], true) => assert!(is_ok && report.is_intact(), "{text}"),
            (["ok", "unknown (Storage)"], true) => assert!(!is_ok && report.is_intact(), "{text}"),
            (["ok", "unknown (Storage)"], false) => assert!(!is_ok && is_not_done, "{text}"),
            (["ok", "Storage"], false) => assert!(!is_ok && report.is_intact(), "{text}"),
            ([_, "ok"], false) => assert!(!is_ok && report.is_intact(), "{text}"),
            other => panic!("{other:?}: {text}"),
        }
        let is_unknown = second["unsettled"] == line["commit"] && second["unsettled"].is_u64();
        assert_eq!(is_unknown, outcomes[1].starts_with("unknown"), "{text}");
        taken_back += usize::from(second["failed"].is_u64());
        done += usize::from(is_unknown && is_disabled);
        undone += usize::from(is_unknown && !is_disabled);
    }
    println!("taken back {taken_back}, unknown and done {done}, unknown and not done {undone}");
    assert!(done > 0 && undone > 0);
}

#[test]
fn a_panic_in_the_database_is_an_error_of_the_handle_until_it_is_reopened_and_stops_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Store::create(&path, "local".to_owned(), "000000000000".to_owned(), root(OLD_ROOT)).unwrap();
    let another = Store::open(&path, root(OLD_ROOT)).unwrap();
    let panics = || -> Result<()> { panic!("a page that nobody wrote") };
    for is_writer in [true, false] {
        let failed = if is_writer {
            store.write(|writing| change_in(writing).and_then(|()| panics()))
        } else {
            store.read(|_| panics())
        };
        let gone_on = [failed, store.read(verify), store.write(|_| Ok(())), store.purge()];
        for failed in gone_on {
            let error = failed.unwrap_err();
            assert!(error.kind() == ErrorKind::Storage && error.to_string().contains("reopen it"), "{error}");
        }
        // Its locks are gone.
        change(&another).unwrap();
        store.reopen(None).unwrap();
        store.read(verify).unwrap();
        change(&store).unwrap();
    }
    drop(store);
    assert_eq!(contents(&another).unwrap(), contents(&Store::open(&path, root(OLD_ROOT)).unwrap()).unwrap());
}

#[test]
fn a_list_is_whole_or_an_error_whatever_was_put_and_removed_before() {
    let store = Store::in_memory("local".to_owned(), "000000000000".to_owned()).unwrap();
    let ids = |store: &Store, prefix: &str, most: usize| {
        let read = store.read(|tables| tables.first_ids(Table::Grants, prefix, most));
        // A write transaction finds the same.
        let written = store.write(|tables| tables.first_ids(Table::Grants, prefix, most));
        assert_eq!(read.is_ok(), written.is_ok());
        assert!(read.is_err() || read.as_ref().unwrap() == written.as_ref().unwrap());
        read
    };
    let mut model = std::collections::BTreeSet::new();
    let mut number = 1_u32;
    for round in 0..40 {
        let changed = store.write(|tables| {
            for _ in 0..=round % 4 {
                number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let id = format!("{}/{}", number >> 8 & 3, number >> 16 & 7);
                // Two of three are put, so that some records are replaced, and some removals find nothing.
                if (number >> 24).is_multiple_of(4) {
                    tables.remove(Table::Grants, &id)?;
                    model.remove(&id);
                } else {
                    tables.put(Table::Grants, &id, &"a record")?;
                    model.insert(id);
                }
            }
            Ok(())
        });
        changed.unwrap();
        store.read(verify).unwrap();
        for prefix in ["", "0/", "1/", "2/3", "3/", "4/"] {
            let expected: Vec<_> = model.iter().filter(|id| id.starts_with(prefix)).cloned().collect();
            assert_eq!(ids(&store, prefix, usize::MAX).unwrap(), expected);
            let first: Vec<_> = expected.into_iter().take(2).collect();
            assert_eq!(ids(&store, prefix, 2).unwrap(), first);
        }
    }
    let set_raw = |id: &str, row: Option<&[u8]>| {
        let state = store.state.read().unwrap();
        let transaction = state.database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(Table::Grants.definition()).unwrap();
            match row {
                Some(row) => drop(table.insert(id.as_bytes(), row).unwrap()),
                None => drop(table.remove(id.as_bytes()).unwrap()),
            }
        }
        transaction.commit().unwrap();
    };
    assert!(model.len() > 10);
    for id in &model {
        let row = store.read(|tables| tables.row(Table::Grants, id)).unwrap().unwrap();
        set_raw(id, None);
        let (group, _) = id.split_once('/').unwrap();
        for prefix in ["", &format!("{group}/"), id] {
            assert_eq!(ids(&store, prefix, usize::MAX).unwrap_err().kind(), ErrorKind::Storage, "{id} of {prefix}");
        }
        // Nor is the gap in the table filled by another record next to it, which would hide the fault.
        for beside in [format!("{id}-"), format!("{group}/")] {
            if store.write(|tables| tables.put(Table::Grants, &beside, &"a record")).is_ok() {
                store.write(|tables| tables.remove(Table::Grants, &beside)).unwrap();
            }
            assert!(ids(&store, "", usize::MAX).is_err());
        }
        set_raw(id, Some(&row));
        store.read(verify).unwrap();
    }
    set_raw("9/more", Some(&[0; 40]));
    assert!(ids(&store, "9/", usize::MAX).is_err() && ids(&store, "", usize::MAX).is_err());
    assert!(ids(&store, "0/", usize::MAX).is_ok());
}
