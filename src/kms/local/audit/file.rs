//! Appending to a log's file, which other handles and processes append to as well.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Deref;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::kms::local::audit::chain::Chain;
use crate::kms::local::audit::line::{self, Line, Lines, MAX_LEN, Macs, Place};
use crate::kms::local::audit::{AuditFaultKind, AuditLog, Checkpoint, Event, LineKey};
use crate::kms::local::root_key::io_error;

/// How far back the last line is looked for: a little first, then as far as it can be. Behind that lies whatever else
/// was appended to the file, so the last resort is to read all of it.
const TAILS: [u64; 3] = [64 << 10, 2 * MAX_LEN as u64, u64::MAX];

/// A log that is open for appending.
pub(in crate::kms::local) struct Log {
    options: AuditLog,
    file: File,
    /// `None` before the first line of this handle. Whoever holds the lock may move the file's position.
    known: Mutex<Option<Known>>,
}

/// The file as this handle last saw it.
#[derive(Clone)]
struct Known {
    len: u64,
    ends_in_newline: bool,
    last: Place,
}

/// Whether a line is in the log.
pub(in crate::kms::local) enum Written {
    Whole,
    /// It is not, and the log is kept at best effort.
    Missing(Error),
}

impl Log {
    /// Opens the file, or makes it. Nothing is read before the first line is written.
    ///
    /// # Errors
    /// `ErrorKind::Io` if that fails, or if the path names something else than a file.
    pub(in crate::kms::local) fn open(mut options: AuditLog) -> Result<Self> {
        let failed = |error| io_error("open the audit log", &options.path, error);
        let path = std::path::absolute(&options.path).map_err(failed)?;
        let file = open_file(&path).map_err(failed)?;
        // Where a folder cannot be synced the file is in place all the same.
        #[cfg(unix)]
        let _ = path.parent().map(|folder| File::open(folder).and_then(|folder| folder.sync_all()));
        options.path = path;
        Ok(Self { options, file, known: Mutex::new(None) })
    }

    pub(in crate::kms::local) fn keeps_context_keys_only(&self) -> bool {
        self.options.context_keys_only
    }

    /// Writes the line of an event.
    ///
    /// The line follows the last genuine one, wherever that is: torn and tampered lines behind it stay where they are,
    /// for `verify` to name.
    ///
    /// # Errors
    /// `ErrorKind::AuditFailed` if the line is not in the file afterwards, `ErrorKind::RootKeyChanged` if the last
    /// line is of a later root key than `keys`; none if the log is kept at best effort.
    pub(in crate::kms::local) fn append<K: Deref<Target = [LineKey]>>(
        &self,
        event: &Event<'_>,
        keys: impl Fn() -> K,
        store_id: &[u8],
    ) -> Result<Written> {
        match self.write(event, keys, store_id) {
            Ok(()) => Ok(Written::Whole),
            Err(error) if self.options.best_effort => Ok(Written::Missing(error)),
            Err(error) => Err(error),
        }
    }

    /// The end of the log as of now, on the disk: what the store remembers must not be ahead of the file after a power
    /// failure. `None` if there are no lines, or if the line of the checkpoint `before` is no longer there: to forget
    /// that one would hide that the log was cut off.
    ///
    /// # Errors
    /// As [`append`](Self::append), at best effort too.
    pub(in crate::kms::local) fn end(
        &self,
        keys: &[LineKey],
        store_id: &[u8],
        before: Option<&Checkpoint>,
    ) -> Result<Option<Checkpoint>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let macs = Macs::new(keys, store_id)?;
        let _lock = Locked::new(&self.file, Access::Write).map_err(|error| self.failed("cannot be locked", error))?;
        let now = self.look(known.as_ref(), &macs)?;
        self.file.sync_data().map_err(|error| self.failed("cannot be synced", error))?;
        let goes_on = before.map_or(Ok(true), |before| self.goes_on(before, &now, &macs))?;
        let end = Checkpoint { head: now.last.head.clone(), len: now.len };
        *known = Some(now);
        Ok(Some(end).filter(|end| end.head.lines > 0 && goes_on))
    }

    /// Whether the log as it is now goes on from the last line of a checkpoint. That the line is there says little: a log
    /// can be gone on with from an earlier line, if that was repeated at the end, and the line be cut out later. Where
    /// nothing but lines is in the file, and nothing was cut off, it is found at once.
    fn goes_on(&self, checkpoint: &Checkpoint, now: &Known, macs: &Macs<'_>) -> Result<bool> {
        let failed = |error| self.failed("cannot be read", error);
        let mut file = &self.file;
        for tail in TAILS {
            let from = checkpoint.len.saturating_sub(tail);
            file.seek(SeekFrom::Start(from)).map_err(failed)?;
            let mut lines = Lines::new(BufReader::new(file.take(now.len.saturating_sub(from))));
            let mut chain: Option<Chain<'_>> = None;
            while let Some(bytes) = lines.read().map_err(failed)? {
                let Some(chain) = &mut chain else {
                    let line = Line::parse(bytes).ok().filter(|line| line.is(&checkpoint.head));
                    let place = line.map_or(Ok(None), |line| macs.genuine(&line))?;
                    chain = place.map(|place| Chain::strictly_after(place, macs));
                    continue;
                };
                let before = chain.last().map(|place| place.head.lines);
                let fault = chain.step(bytes)?;
                // Lines that are repeated do not move the chain on.
                if fault.is_some() && chain.last().map(|place| place.head.lines) != before {
                    return Ok(false);
                }
            }
            if let Some(chain) = chain {
                return Ok(chain.last().is_some_and(|last| last.head == now.last.head));
            }
        }
        Ok(false)
    }

    fn write<K: Deref<Target = [LineKey]>>(
        &self,
        event: &Event<'_>,
        keys: impl Fn() -> K,
        store_id: &[u8],
    ) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Only now, so that of two threads the one with an older key does not come second.
        let keys = keys();
        let macs = Macs::new(&keys, store_id)?;
        let _lock = Locked::new(&self.file, Access::Write).map_err(|error| self.failed("cannot be locked", error))?;
        let now = self.look(known.as_ref(), &macs)?;
        let (mut line, last) = line::write(event, self.options.context_keys_only, &now.last, &macs)?;
        if !now.ends_in_newline {
            line.insert(0, b'\n');
        }
        let written = (&self.file).write_all(&line).and_then(|()| match self.options.sync_each_call {
            true => self.file.sync_data(),
            false => Ok(()),
        });
        if let Err(error) = written {
            // The call will not be answered, so no part of its line should stay. If it does, the next line begins
            // behind it.
            let _ = self.file.set_len(now.len);
            return Err(self.failed("cannot be written", error));
        }
        *known = Some(Known { len: now.len.saturating_add(line.len() as u64), ends_in_newline: true, last });
        Ok(())
    }

    /// Looks at what the file is now. If nobody else wrote, nothing is read.
    fn look(&self, known: Option<&Known>, macs: &Macs<'_>) -> Result<Known> {
        let metadata = self.file.metadata().map_err(|error| self.failed("cannot be read", error))?;
        if !is_at(&self.options.path, &metadata) {
            return Err(self.moved("was moved or deleted"));
        }
        let len = metadata.len();
        let last = match known {
            Some(known) if len == known.len => return Ok(known.clone()),
            Some(known) if len < known.len => return Err(self.moved("was cut short")),
            Some(known) => self.catch_up(known, len, macs)?,
            None => self.find_last(len, macs)?,
        };
        let ends_in_newline = ends_in_newline(&self.file, len).map_err(|error| self.failed("cannot be read", error))?;
        Ok(Known { len, ends_in_newline, last })
    }

    /// The last line after others have written.
    fn catch_up(&self, known: &Known, len: u64, macs: &Macs<'_>) -> Result<Place> {
        let mut chain = Chain::strictly_after(known.last.clone(), macs);
        if self.scan(known.len, len, &mut chain, macs)?.contains(&AuditFaultKind::OutOfSequence) {
            return Err(self.moved("was replaced"));
        }
        Ok(chain.last().cloned().unwrap_or_else(|| known.last.clone()))
    }

    /// The last line of a file that this handle has not looked at yet.
    fn find_last(&self, len: u64, macs: &Macs<'_>) -> Result<Place> {
        for tail in TAILS {
            let from = len.saturating_sub(tail);
            let mut chain = Chain::anywhere(macs);
            let faults = self.scan(from, len, &mut chain, macs)?;
            if let Some(last) = chain.last() {
                return Ok(last.clone());
            }
            if from == 0 && faults.iter().any(|kind| *kind != AuditFaultKind::Torn) {
                return Err(self.refusal("has no line of this KMS: choose another file"));
            }
            if from == 0 {
                break;
            }
        }
        Ok(macs.start())
    }

    /// Follows the lines of a part of the file, and returns the kinds of faults among them, each once.
    fn scan(&self, from: u64, to: u64, chain: &mut Chain<'_>, macs: &Macs<'_>) -> Result<Vec<AuditFaultKind>> {
        let failed = |error| self.failed("cannot be read", error);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        let mut lines = Lines::new(BufReader::new(file.take(to.saturating_sub(from))));
        let mut faults = Vec::new();
        let newest = macs.newest()?.epoch;
        while let Some(bytes) = lines.read().map_err(failed)? {
            let Some(kind) = chain.step(bytes)? else { continue };
            if Line::parse(bytes).is_ok_and(|line| line.epoch > newest) {
                return Err(self.root_key_changed());
            }
            if !faults.contains(&kind) {
                faults.push(kind);
            }
        }
        Ok(faults)
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        let detail = format!("the audit log {:?} {what}: {error}", self.options.path);
        Error::other(ErrorKind::AuditFailed, detail, error)
    }

    fn refusal(&self, what: &str) -> Error {
        Error::new(ErrorKind::AuditFailed, format!("the audit log {:?} {what}", self.options.path))
    }

    fn moved(&self, what: &str) -> Error {
        self.refusal(&format!("{what} while it was open: see what happened to it, then open the KMS again"))
    }

    fn root_key_changed(&self) -> Error {
        let detail = format!(
            "the audit log {:?} has a line of a later root key than this handle knows: open the KMS again; if that \
             does not help, the line is forged",
            self.options.path
        );
        Error::new(ErrorKind::RootKeyChanged, detail)
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
}

fn ends_in_newline(mut file: &File, len: u64) -> io::Result<bool> {
    let Some(end) = len.checked_sub(1) else { return Ok(true) };
    let mut byte = [0];
    file.seek(SeekFrom::Start(end))?;
    file.read_exact(&mut byte)?;
    Ok(byte == *b"\n")
}

/// Whether the file is still the one at `path`.
#[cfg(unix)]
fn is_at(path: &Path, file: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino()))
}

/// Elsewhere files that are open are not easily moved.
#[cfg(not(unix))]
fn is_at(path: &Path, _: &Metadata) -> bool {
    fs::exists(path).unwrap_or(false)
}

/// What a lock is for.
#[derive(Clone, Copy)]
pub(super) enum Access {
    Read,
    Write,
}

/// Holds a lock on a file, against other handles and processes.
pub(super) struct Locked<'a>(&'a File);

impl<'a> Locked<'a> {
    /// Waits for the lock.
    pub(super) fn new(file: &'a File, access: Access) -> io::Result<Self> {
        loop {
            let locked = match access {
                Access::Read => file.lock_shared(),
                Access::Write => file.lock(),
            };
            match locked {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                locked => return locked.map(|()| Self(file)),
            }
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Closing the file unlocks it too.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread;

    use super::*;
    use crate::kms::local::audit::Told;
    use crate::kms::local::audit::tests::{Heard, STORE, event, keys, tenant};
    use crate::kms::local::audit::verify;

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
        /// Whole lines, and the faults with their lines.
        fn verify(&self) -> (u64, Vec<(u64, AuditFaultKind)>) {
            let report = verify(&self.path(), &keys([1, 2]), STORE, None).unwrap();
            (report.events, report.faults.iter().map(|fault| (fault.line, fault.kind)).collect())
        }
    }

    fn call(log: &Log) -> Result<()> {
        log.append(&event("Decrypt", &tenant()), || keys([1]), STORE).map(drop)
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
        let heads = logs.map(|log| log.end(&keys([1]), STORE, None).unwrap().unwrap().head);
        assert_eq!(heads[0], heads[1]);
        assert_eq!(heads[0].lines, 1000);
        let report = verify(&folder.path(), &keys([1]), STORE, Some(&heads[0])).unwrap();
        assert!(report.is_intact());
    }

    #[test]
    fn keys_are_those_of_the_moment_when_the_line_is_written() {
        let folder = Folder::new();
        let log = folder.open();
        let in_turn = || {
            assert!(log.known.try_lock().is_err(), "another thread could write before this one");
            keys([1])
        };
        log.append(&event("Decrypt", &tenant()), in_turn, STORE).unwrap();
        assert_eq!(folder.verify(), (1, vec![]));
    }

    #[test]
    fn a_checkpoint_is_gone_on_from_only_where_it_stands() {
        let folder = Folder::new();
        let end = |before: Option<&Checkpoint>| folder.open().end(&keys([1]), STORE, before).unwrap();
        calls(&folder.open(), 3);
        let third = end(None).unwrap();
        assert_eq!((third.head.lines, third.len), (3, fs::metadata(folder.path()).unwrap().len()));
        // Behind the last line, at the checkpoint and after it, may be anything.
        folder.append_raw("x".repeat(3 << 20).as_bytes());
        let with_filler = end(Some(&third)).unwrap();
        calls(&folder.open(), 2);
        assert_eq!(end(Some(&with_filler)).unwrap().head.lines, 5);
        let fifth = end(Some(&third)).unwrap();
        let text = fs::read_to_string(folder.path()).unwrap();
        fs::write(folder.path(), text.split_inclusive('\n').take(2).collect::<String>()).unwrap();
        assert_eq!(end(Some(&third)), None);
        let cut = folder.open();
        (0..9).for_each(|_| drop(cut.append(&event("Encrypt", &tenant()), || keys([1]), STORE).unwrap()));
        assert_eq!((end(Some(&third)), end(Some(&fifth))), (None, None));
        assert_eq!(end(None).unwrap().head.lines, 11);
    }

    #[test]
    fn a_log_goes_on_behind_a_torn_line() {
        let folder = Folder::new();
        let log = folder.open();
        assert_eq!(log.end(&keys([1]), STORE, None).unwrap(), None);
        calls(&log, 2);
        folder.append_raw(b"{\"seq\":3,\"epo");
        calls(&log, 1);
        folder.append_raw(b"{");
        calls(&folder.open(), 2);
        calls(&log, 1);
        assert_eq!(folder.verify(), (6, vec![(3, AuditFaultKind::Torn), (5, AuditFaultKind::Torn)]));
    }

    #[test]
    fn a_log_whose_first_line_is_torn_begins_anew() {
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
        // Foreign text of every length that is looked at in one go.
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
        assert_eq!(log.end(&keys([1]), STORE, None).unwrap_err().kind(), ErrorKind::AuditFailed);
        // Grown again, with other lines; where this handle left off is then in the middle of one, or between two.
        for operation in ["Encrypt", "GenerateDataKey", "Sign"] {
            fs::write(folder.path(), b"").unwrap();
            let other = folder.open();
            (0..6).for_each(|_| drop(other.append(&event(operation, &tenant()), || keys([1]), STORE).unwrap()));
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
        another.append(&event("Decrypt", &tenant()), || keys([1]), b"another store").unwrap();
        assert!(refusal(&folder.open()).contains("choose another file"));
    }

    #[test]
    fn the_newest_key_writes_and_an_outdated_handle_stops() {
        let folder = Folder::new();
        let (log, outdated) = (folder.open(), folder.open());
        calls(&log, 1);
        calls(&outdated, 1);
        log.append(&event("Decrypt", &tenant()), || keys([2, 1]), STORE).unwrap();
        assert_eq!(call(&outdated).unwrap_err().kind(), ErrorKind::RootKeyChanged);
        assert_eq!(call(&folder.open()).unwrap_err().kind(), ErrorKind::RootKeyChanged);
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
        let written = log.append(&event, || keys([1]), STORE).unwrap();
        let heard = Heard::default();
        tracing::subscriber::with_default(heard.subscriber(), || Told::new(event, Ok(written)).0.tell(false));
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
                let _known = log.known.lock().unwrap();
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

    /// A limit on the size of files stands in for a full disk: writing stops half way through a line. It is set by a
    /// shell, which then runs this test again.
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
}
