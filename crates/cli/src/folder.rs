//! Folders: everything in them, several files at once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use clap::Args;
use console::Term;
use manila::cmm::{CacheSettings, CachingCmm, DefaultCmm};
use manila::fs::{FolderEvent, FolderReport, Folders};
use manila::keyring::Keyring;
use manila::{Client, ClientBuilder};
use serde::Serialize;

use crate::console::say;
use crate::failure::{Failure, Result};
use crate::interrupt::{self, Stage};
use crate::plan::Step;
use crate::progress::{FileProgress, Progress};
use crate::report;

/// The options of commands that take folders.
#[derive(Args)]
pub struct FolderOptions {
    /// Take folders too, with everything in them.
    ///
    /// An encrypted folder has a file for each file of the folder, and a manifest with their names, permissions and
    /// times, and the symbolic links, which are never followed. If the work is cut off, the same command continues.
    #[arg(short, long)]
    pub recursive: bool,
    /// Accept names in a folder that differ only in case or in the form of their Unicode characters.
    #[arg(long)]
    allow_similar_names: bool,
    /// Accept symbolic links that lead out of the folder.
    #[arg(long)]
    allow_outside_links: bool,
}

/// The direction of the work on a folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Encrypt {
        /// True if files are stored under random names.
        hides_names: bool,
    },
    Decrypt,
}

/// The time for which a data key is used for more files of a folder.
const DATA_KEY_AGE: Duration = Duration::from_secs(600);

/// Returns the builder of a client that asks for a data key once for many files.
pub fn client(keyring: impl Keyring + 'static) -> Result<ClientBuilder> {
    let cache = CachingCmm::new(DefaultCmm::new(keyring), CacheSettings::new(16, DATA_KEY_AGE))?;
    Ok(Client::builder_with_cmm(cache))
}

impl FolderOptions {
    /// Divides the steps into those of files and those of folders, if folders are taken.
    pub fn divide(&self, steps: Vec<Step>) -> (Vec<Step>, Vec<Step>) {
        steps.into_iter().partition(|step| !(self.recursive && step.input.is_dir()))
    }

    /// Does `work` on each of the folders, one after the other. The failure of one does not stop the others.
    pub fn work(
        &self,
        steps: &[Step],
        settings: &Settings,
        client: &Client,
        work: impl Fn(&Folders<'_>, &Step) -> manila::Result<FolderReport>,
    ) -> Result<()> {
        let mut result = Ok(());
        for step in steps {
            match self.work_on(step, settings, client, &work) {
                Ok(()) => {}
                Err(Failure::Reported) => result = Err(Failure::Reported),
                Err(failure) => {
                    say(&format!("error: {failure}"));
                    result = Err(Failure::Reported);
                }
            }
        }
        result
    }

    fn work_on(
        &self,
        step: &Step,
        settings: &Settings,
        client: &Client,
        work: impl Fn(&Folders<'_>, &Step) -> manila::Result<FolderReport>,
    ) -> Result<()> {
        let (bars, lines) = (Bars::default(), report::Lines::default());
        if settings.direction != Direction::Decrypt && Term::stderr().is_term() {
            let count = Folders::count(&step.input)?;
            bars.start(count.files(), count.bytes());
        }
        let observe = |event: &FolderEvent<'_>| {
            bars.observe(event);
            match event {
                FolderEvent::Done { path, len } | FolderEvent::Kept { path, len } if settings.json => {
                    lines.print(&settings.line(step, path, Some(*len), None));
                }
                FolderEvent::Failed { path, error } => {
                    let text = Failure::from((*error).clone()).to_string();
                    bars.say(&format!("error: {text}"));
                    if settings.json {
                        lines.print(&settings.line(step, path, None, Some(text)));
                    }
                }
                _ => {}
            }
        };
        *interrupt::stage() = Stage::Folder;
        let folders = Folders::new(client)
            .jobs(settings.jobs)
            .hide_names(settings.direction == Direction::Encrypt { hides_names: true })
            .replace(settings.force)
            .allow_similar_names(self.allow_similar_names)
            .allow_outside_links(self.allow_outside_links)
            .unfinished(interrupt::outputs())
            .on_event(observe);
        let report = work(&folders, step);
        drop(folders);
        drop(bars);
        let printed = lines.check();
        let report = report?;
        if report.kept() > 0 {
            say(&format!("note: {} of {} files were done before and are kept", report.kept(), report.files()));
        }
        printed
    }
}

/// The progress of a folder, once its size is known: a bar for everything, and one for each large file at work.
#[derive(Default)]
struct Bars {
    progress: OnceLock<Progress>,
    of_files: Mutex<HashMap<String, FileProgress>>,
    done: AtomicUsize,
}

impl Bars {
    fn start(&self, files: u64, bytes: u64) {
        self.progress.get_or_init(|| Progress::of_folder(files, bytes));
    }

    fn observe(&self, event: &FolderEvent<'_>) {
        if let FolderEvent::Total { files, bytes } = event {
            self.start(*files, *bytes);
        }
        let Some(progress) = self.progress.get() else { return };
        match event {
            FolderEvent::Started { path, len } => {
                let of_file = progress.of_file(Path::new(path), Some(*len));
                if of_file.is_shown() {
                    self.files().insert((*path).to_owned(), of_file);
                }
            }
            FolderEvent::Read { path, bytes } => {
                if let Some(of_file) = self.files().get(*path) {
                    of_file.add(*bytes);
                }
            }
            FolderEvent::Kept { path, len } => {
                progress.add(*len);
                self.end(progress, path);
            }
            FolderEvent::Done { path, .. } | FolderEvent::Failed { path, .. } => self.end(progress, path),
            _ => {}
        }
    }

    fn end(&self, progress: &Progress, path: &str) {
        self.files().remove(path);
        progress.set_done(self.done.fetch_add(1, Ordering::Relaxed).saturating_add(1));
    }

    fn files(&self) -> MutexGuard<'_, HashMap<String, FileProgress>> {
        self.of_files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: &str) {
        match self.progress.get() {
            Some(progress) => progress.say(line),
            None => say(line),
        }
    }
}

/// Looks at a folder without a key: returns the number of bytes in it, if it can be known.
pub fn look(step: &Step, direction: Direction, force: bool) -> Result<Option<u64>> {
    let target = &step.target;
    if target.exists() && !force && !Folders::is_unfinished(target) {
        return Err(Failure::Work(format!("{target:?} exists: replace it with --force, or give another -o")));
    }
    match direction {
        Direction::Encrypt { .. } => Ok(Some(Folders::count(&step.input)?.bytes())),
        Direction::Decrypt if Folders::is_encrypted(&step.input) => Ok(None),
        Direction::Decrypt => Err(Failure::Work(format!("{:?} is not an encrypted folder", step.input))),
    }
}

/// Settings of the work on folders that come from other options.
pub struct Settings {
    pub direction: Direction,
    pub force: bool,
    pub json: bool,
    pub jobs: usize,
}

impl Settings {
    /// Returns the line of JSON for something in a folder.
    fn line(&self, step: &Step, path: &str, len: Option<u64>, error: Option<String>) -> impl Serialize {
        #[derive(Serialize)]
        struct Line {
            input: PathBuf,
            output: PathBuf,
            plaintext_bytes: Option<u64>,
            error: Option<String>,
        }
        let (input, output) = match self.direction {
            Direction::Encrypt { .. } => (step.input.join(path), step.target.clone()),
            Direction::Decrypt => (step.input.clone(), step.target.join(path)),
        };
        Line { input, output, plaintext_bytes: len, error }
    }
}
