//! The work of `manila reencrypt` on files: several at once, with a journal and a report.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Instant, SystemTime};

use manila::fs::Files;
use manila::{Error, ErrorKind, UnverifiedHeader};
use manila_core::internal::crypto::hex;
use serde::Serialize;

use super::Reencrypt;
use super::which::{self, Condition, Verdict};
use crate::batch::cores;
use crate::census::{Head, MOST_FAILURES, Unreadable};
use crate::console::say;
use crate::failure::{Failure, Result};
use crate::folder_lock::FolderLock;
use crate::interrupt::{self, Stage};
use crate::journal::{Earlier, Job, Journal, Key, Name};
use crate::key_store::OnDemand;
use crate::progress::JobProgress;
use crate::report::{self, plain};
use crate::time::shown;
use crate::walk::{Found, Locking, Roots};

/// The report at the end.
#[derive(Default, Serialize)]
struct Report {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    /// Re-encrypted, or to be re-encrypted.
    done: u64,
    /// Left as they are, because they are as they should be.
    skipped: u64,
    /// Left as they are, because no version of a key is known.
    skipped_unknown: u64,
    /// Done by an earlier run of the job.
    done_before: u64,
    failed: u64,
    /// Of those that were done.
    bytes: u64,
    seconds: f64,
    failures: Vec<Unreadable>,
}

impl Report {
    fn add_failure(&mut self, failure: Unreadable) {
        self.failed = self.failed.saturating_add(1);
        if self.failures.len() < MOST_FAILURES {
            self.failures.push(failure);
        }
    }

    /// Prints it for people, or as JSON.
    fn print(&self, json: bool) -> Result<()> {
        #[derive(Serialize)]
        struct ForPeople {
            done: u64,
            skipped: Option<u64>,
            skipped_unknown: Option<u64>,
            done_before: Option<u64>,
            failed: Option<u64>,
            bytes: u64,
            seconds: Option<String>,
        }
        if json {
            return report::print(self, true);
        }
        let unless_none = |count: u64| (count > 0).then_some(count);
        report::print(
            &ForPeople {
                done: self.done,
                skipped: unless_none(self.skipped),
                skipped_unknown: unless_none(self.skipped_unknown),
                done_before: unless_none(self.done_before),
                failed: unless_none(self.failed),
                bytes: self.bytes,
                seconds: (!self.dry_run).then(|| format!("{:.1}", self.seconds)),
            },
            false,
        )
    }
}

/// A file at work.
struct Item {
    key: Key,
    input: PathBuf,
    output: PathBuf,
    len: u64,
    /// The id of its message, if the new one goes elsewhere.
    old_id: Option<String>,
    _lock: Option<Arc<FolderLock>>,
}

impl Item {
    /// Returns the ids that tell later whether the files are still those that were read and written.
    fn message_ids(&self) -> Option<String> {
        Head::read(&self.output).ok().map(|head| ids_of(self.old_id.as_deref(), &head.header))
    }
}

fn ids_of(old: Option<&str>, new: &UnverifiedHeader) -> String {
    old.map_or_else(String::new, |old| format!("{old} ")) + &hex(new.message_id())
}

/// Re-encrypts the files.
pub fn run(command: &Reencrypt, roots: &Roots) -> Result<()> {
    let begun = Instant::now();
    if let Some(folder) = &command.to {
        check_apart(folder, roots)?;
    }
    let store = OnDemand::new(&command.key_store);
    command.check_new_keys(&store)?;
    let (old, new) = command.clients(&store)?;
    let expected = command.expected()?;
    let targets = which::targets(&command.keys.selection(store.profile()?), &store)?;
    let condition = condition(command, &targets, &store)?;

    let job = job(command, roots)?;
    let place = match &command.journal {
        Some(file) => file.clone(),
        None => Journal::place(&job)?,
    };
    let keys: Vec<_> = targets.iter().map(ToString::to_string).collect();
    let journal = Journal::open(place, &job, &keys, &shown(SystemTime::now()))?;
    if let Some(begun) = &journal.begun {
        say(&format!("note: going on with the job that was begun at {begun}"));
    }
    *interrupt::stage() = Stage::Reencrypting;

    let progress = JobProgress::new();
    let report = RefCell::new(Report::default());
    let failure: RefCell<Option<Failure>> = RefCell::new(None);
    let fails = |file: Option<&Path>, failure: &Failure| {
        let file = file.map(|file| file.to_string_lossy().into_owned());
        let failed = Unreadable { file, error: failure.to_string() };
        progress.say(&failed.line());
        report.borrow_mut().add_failure(failed);
    };
    let mut choice = Choice::new(command, roots, &targets, condition, &journal)?;
    let items = roots.walk(Locking::Exclusive).filter_map(|found| {
        let found = found.map_err(|failure| fails(None, &failure)).ok()?;
        let input = found.path.clone();
        let chosen = choice.of(found).map_err(|failure| fails(Some(&input), &failure)).ok()?;
        let mut report = report.borrow_mut();
        let (count, len) = match chosen {
            Chosen::Item(item) => return Some((item.input.clone(), item.output.clone(), item)),
            Chosen::DoneBefore(len) => (&mut report.done_before, len),
            Chosen::Skipped(Verdict::Unknown, len) => (&mut report.skipped_unknown, len),
            Chosen::Skipped(_, len) => (&mut report.skipped, len),
        };
        *count = count.saturating_add(1);
        progress.add(len);
        None
    });
    let files = Files::new(&old)
        .replace(command.to.is_none() || command.force)
        .keep_attributes(true)
        .keep_format(command.suite().is_none())
        .list_in(interrupt::outputs())
        .on_temporary(|temporary, output| journal.begin(temporary, output))
        .on_progress(|bytes| progress.add(bytes));
    let jobs = command.jobs.map_or_else(cores, Into::into);
    let each = |item: Item, done: manila::Result<()>| {
        journal.end(&item.key, &item.output, done.is_ok().then(|| item.message_ids()).flatten());
        match done {
            Ok(()) => {
                let report = &mut *report.borrow_mut();
                report.done = report.done.saturating_add(1);
                report.bytes = report.bytes.saturating_add(item.len);
                progress.set_files(report.done);
            }
            Err(error) => {
                let text = Failure::from(error).to_string().replace("another -o", "another --to");
                fails(Some(&item.input), &Failure::Work(text));
            }
        }
        journal.check().map_err(|cause| {
            *failure.borrow_mut() = Some(cause);
            Error::new(ErrorKind::Io, "the journal cannot be written")
        })
    };
    let over = AtomicBool::new(false);
    let worked = thread::scope(|scope| {
        if progress.is_shown() {
            scope.spawn(|| progress.count(roots, &over));
        }
        let items = items.map(|(from, to, item)| (item, from, to));
        let worked = files.reencrypt_all(items, |_| Ok(expected.clone()), &new, jobs, each);
        over.store(true, Ordering::Relaxed);
        worked
    });
    drop(files);
    drop(progress);
    if let Some(failure) = failure.into_inner() {
        return Err(failure);
    }
    worked?;

    let mut report = report.into_inner();
    report.seconds = begun.elapsed().as_secs_f64();
    if report.failed == 0 {
        journal.finish()?;
    }
    report.print(command.json)?;
    if report.failed == 0 {
        return Ok(());
    }
    say("note: the rest is done: give the same command again to try those that failed");
    Err(Failure::Reported)
}

/// Shows what would be done. Neither encrypts nor decrypts.
pub fn show(command: &Reencrypt, roots: &Roots) -> Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        file: &'a str,
        output: &'a str,
        reencrypt: bool,
        reason: Option<&'a str>,
    }
    if let Some(folder) = &command.to {
        check_apart(folder, roots)?;
    }
    let store = OnDemand::new(&command.key_store);
    command.keys.check(&store)?;
    command.check_new_keys(&store)?;
    let targets = match command.older_than.is_some() || command.if_needed {
        true => which::targets(&command.keys.selection(store.profile()?), &store)?,
        false => Vec::new(),
    };
    let mut condition = condition(command, &targets, &store)?;
    let mut report = Report { dry_run: true, ..Report::default() };
    for found in roots.walk(Locking::None) {
        let place = found.as_ref().ok().map(|found| (found.root, found.relative.clone(), found.path.clone()));
        let (head, root, relative, path) = match (Head::of(found), place) {
            (Ok(head), Some((root, relative, path))) => (head, root, relative, path),
            (Err(failure), _) => {
                say(&failure.line());
                report.add_failure(failure);
                continue;
            }
            (Ok(_), None) => continue,
        };
        let output = command.output(roots, root, &relative);
        let (count, reason) = match condition.judge(&head.header) {
            Verdict::Reencrypt => {
                report.bytes = report.bytes.saturating_add(head.len);
                (&mut report.done, None)
            }
            Verdict::Current => (&mut report.skipped, Some("it is as it should be")),
            Verdict::Unknown => (&mut report.skipped_unknown, Some("no version of a key is known")),
        };
        *count = count.saturating_add(1);
        let (file, output) = (&*path.to_string_lossy(), &*output.to_string_lossy());
        match (command.json, reason) {
            (true, _) => report::print_line(&Line { file, output, reencrypt: reason.is_none(), reason })?,
            (false, Some(reason)) => report::print_text(&format!("skip        {}: {reason}\n", plain(file)))?,
            (false, None) => report::print_text(&format!("re-encrypt  {}\n", plain(file)))?,
        }
    }
    match command.json {
        true => report::print_line(&report)?,
        false => report.print(false)?,
    }
    if report.failed == 0 { Ok(()) } else { Err(Failure::Reported) }
}

fn condition(command: &Reencrypt, targets: &[which::Target], store: &OnDemand<'_>) -> Result<Condition> {
    match command.older_than {
        Some(rotation) => Condition::older_than(rotation, targets, store.open()?),
        None if command.if_needed => Ok(Condition::NotUnder { keys: targets.to_vec(), suite: command.suite() }),
        None => Ok(Condition::Always),
    }
}

/// Fails if a new file could be written in the place of an old one, or two of them in one place.
fn check_apart(folder: &Path, roots: &Roots) -> Result<()> {
    let real = real_path(folder)?;
    let real_roots = roots.canonical()?;
    if let Some(root) = real_roots.iter().find(|root| real.starts_with(root)) {
        return Err(Failure::Usage(format!("the folder {folder:?} of --to is in {root:?}: give another")));
    }
    for output in roots.paths_in(folder)? {
        let real = real_path(&output)?;
        if let Some(root) = real_roots.iter().find(|root| root.starts_with(&real) || real.starts_with(root)) {
            let text = format!("{output:?} would be written, and {root:?} is read: give another --to");
            return Err(Failure::Usage(text));
        }
    }
    Ok(())
}

/// Returns an absolute path without links, as far as it is there already.
fn real_path(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|error| Failure::file("cannot write in", path, error))?;
    let real = absolute.ancestors().find_map(|ancestor| {
        let rest = absolute.strip_prefix(ancestor).ok()?;
        Some(fs::canonicalize(ancestor).ok()?.join(rest))
    });
    Ok(real.unwrap_or(absolute))
}

/// Returns what tells this job from others.
fn job(command: &Reencrypt, roots: &Roots) -> Result<Job> {
    let names = |paths: &[PathBuf]| paths.iter().map(|path| Name::from(&**path)).collect();
    let to = command.to.as_ref().map(std::path::absolute).transpose()?;
    let mut options = vec![format!("store {:?}", crate::place::Place::of(&command.key_store)?.folder)];
    options.extend(command.suite().map(|suite| format!("suite {suite}")));
    options.extend(command.older_than.map(|rotation| format!("older than {rotation}")));
    options.extend(command.if_needed.then(|| "if needed".to_owned()));
    options.extend(command.key_store.profile()?.with_pairs(&command.context).iter().map(|pair| format!("{pair:?}")));
    Ok(Job { paths: names(&roots.canonical()?), to: to.map(|to| Name::from(&*to)), options })
}

/// The choice of what is done with each file.
struct Choice<'a> {
    command: &'a Reencrypt,
    roots: &'a Roots,
    real_roots: Vec<PathBuf>,
    targets: &'a [which::Target],
    condition: Condition,
    earlier: Earlier<'a>,
    /// The outputs that the last run had begun.
    unfinished: &'a [PathBuf],
}

enum Chosen {
    Item(Item),
    Skipped(Verdict, u64),
    DoneBefore(u64),
}

impl<'a> Choice<'a> {
    fn new(
        command: &'a Reencrypt,
        roots: &'a Roots,
        targets: &'a [which::Target],
        condition: Condition,
        journal: &'a Journal,
    ) -> Result<Self> {
        let (real_roots, earlier) = (roots.canonical()?, journal.earlier()?);
        Ok(Self { command, roots, real_roots, targets, condition, earlier, unfinished: &journal.unfinished })
    }

    fn of(&mut self, found: Found) -> Result<Chosen> {
        let Found { root, relative, path: input, lock } = found;
        let output = self.command.output(self.roots, root, &relative);
        let key = (root, relative);
        let Head { header, len } = Head::read(&input)?;
        let verdict = self.condition.judge(&header);
        if verdict != Verdict::Reencrypt {
            return Ok(Chosen::Skipped(verdict, len));
        }
        // Of a file in its place, the old message is gone afterwards.
        let old_id = self.command.to.as_ref().map(|_| hex(header.message_id()));
        let there = match self.command.to {
            Some(_) => Head::read(&output).ok().map(|head| head.header),
            None => Some(header),
        };
        let done = self.earlier.message_ids(&key)?;
        if let Some(there) = there
            && (done.is_some_and(|ids| ids == ids_of(old_id.as_deref(), &there)) || self.is_placed(&output, &there))
        {
            return Ok(Chosen::DoneBefore(len));
        }
        if self.command.to.is_some()
            && let Some(folder) = output.parent()
        {
            self.check_folder(folder)?;
            fs::create_dir_all(folder).map_err(|error| Failure::file("cannot make", folder, error))?;
        }
        Ok(Chosen::Item(Item { key, input, output, len, old_id, _lock: lock }))
    }

    /// Returns whether an output that the last run had begun is there: a new file is put in its place whole.
    fn is_placed(&self, output: &Path, there: &UnverifiedHeader) -> bool {
        let is_new = self.command.to.is_some() && !self.command.force;
        is_new && self.unfinished.iter().any(|begun| begun == output) && which::is_under(self.targets, there)
    }

    /// Fails if a link leads from the folder of an output to the old files.
    fn check_folder(&self, folder: &Path) -> Result<()> {
        let real = real_path(folder)?;
        match self.real_roots.iter().find(|root| real.starts_with(root)) {
            None => Ok(()),
            Some(root) => Err(Failure::Work(format!("{folder:?} leads to {root:?}, which is read: give another --to"))),
        }
    }
}
