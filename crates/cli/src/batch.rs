//! Work on files, several at once: each is reported, and the failure of one does not stop the others.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use clap::{Args, ValueHint};
use manila::Client;
use manila::fs::Files;
use serde::Serialize;

use crate::arguments::is_stdio;
use crate::console::say;
use crate::failure::{Failure, Result, naming};
use crate::folder::{self, Direction, FolderOptions};
use crate::interrupt::{self, Stage};
use crate::output::check_target;
use crate::plan::{Place, Plan, Step};
use crate::progress::Progress;
use crate::report;

/// More threads than this gain little for one file.
const MOST_THREADS: usize = 4;
/// Shorter files are done before other threads have begun.
const WORTH_THREADS: u64 = 8 << 20;

/// The options of commands that write a file for each that they read.
#[derive(Args)]
pub struct Outputs {
    /// The file to write, for a single PATH, or - for stdout. By default one beside PATH: encrypt adds .manila to its
    /// name, decrypt takes it away. Stdout for stdin.
    ///
    /// Only you can read the file that is written. What decrypt writes to stdout is first kept in an unnamed file in
    /// the temporary folder (TMPDIR), until all of it has been verified.
    #[arg(short, long, conflicts_with = "to")]
    output: Option<PathBuf>,
    /// Write into this folder, which is made if it is missing.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    to: Option<PathBuf>,
    /// Replace outputs that exist.
    #[arg(long)]
    pub force: bool,
    /// Check and show what would be read and written. Writes nothing, makes no key store and uses no key.
    #[arg(long)]
    pub dry_run: bool,
    /// Print a line of JSON for each file: input, output, their sizes in bytes, message id and error.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub folders: FolderOptions,
    /// The number of files to work on at once. By default that of the cores.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// The number of threads for each file. By default one, and for a single long file that of the cores, up to 4.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

impl Outputs {
    /// Plans the outputs of these inputs.
    pub fn plan(&self, inputs: &[PathBuf], rename: impl Fn(&Path) -> Option<PathBuf>) -> Result<Plan> {
        let place = match (&self.output, &self.to) {
            (Some(output), _) => Place::At(output),
            (None, Some(folder)) => Place::In(folder),
            (None, None) => Place::Beside,
        };
        let plan = Plan::new(inputs, place, rename)?;
        match &plan {
            Plan::Stream(step) if self.json && !self.dry_run && is_stdio(&step.target) => {
                Err(Failure::Usage("--json prints on stdout, where the output goes: give -o OUTPUT".to_owned()))
            }
            _ => Ok(plan),
        }
    }

    /// Returns whether an output was named.
    pub fn is_named(&self) -> bool {
        self.output.is_some()
    }

    /// Returns the number of threads for a file of so many bytes, or for a pipe.
    pub fn threads_for_one(&self, bytes: Option<u64>) -> usize {
        match (self.threads, bytes) {
            (Some(threads), _) => threads.get(),
            // Their buffers would take longer to make than the file to encrypt.
            (None, Some(bytes)) if bytes < WORTH_THREADS => 1,
            (None, _) => cores().min(MOST_THREADS),
        }
    }

    fn threads_for(&self, files: &[Checked]) -> usize {
        match files {
            [file] => self.threads_for_one(file.len),
            _ => self.threads.map_or(1, NonZeroUsize::get),
        }
    }

    fn jobs(&self, files: usize) -> usize {
        match (self.jobs, files) {
            (_, 0 | 1) => 1,
            (Some(jobs), _) => jobs.get().min(files),
            (None, _) => cores().min(files),
        }
    }

    /// Returns the settings of the work on folders. Makes the folder to write into.
    pub fn for_folders(&self, direction: Direction) -> Result<folder::Settings> {
        self.make_folder()?;
        Ok(folder::Settings { direction, force: self.force, json: self.json, jobs: self.jobs(usize::MAX) })
    }

    fn make_folder(&self) -> Result<()> {
        let Some(folder) = &self.to else { return Ok(()) };
        fs::create_dir_all(folder).map_err(|error| Failure::file("cannot make", folder, error))
    }

    /// Does `work` on each of the files that can be read and written, several at once. It returns the id of the
    /// message.
    ///
    /// The client is made with `client`, for so many threads for each file, before the first file is written, and only
    /// if there is one to write.
    pub fn work(
        &self,
        steps: Vec<Step>,
        client: impl FnOnce(usize) -> Result<Client>,
        work: impl Fn(&Files<'_>, &Step) -> Result<String> + Sync,
    ) -> Result<()> {
        let count = steps.len();
        let checked: Vec<_> = steps.into_iter().map(|step| Checked::new(step, self.force)).collect();
        let (ready, failed): (Vec<_>, Vec<_>) = checked.into_iter().partition(|checked| checked.failure.is_none());
        let bytes = ready.iter().filter_map(|checked| checked.len).fold(0, u64::saturating_add);
        let progress = Progress::new(ready.len(), bytes);
        let (failures, lines) = (AtomicUsize::new(0), report::Lines::default());
        let report = |outcome: Outcome| {
            if let Some(error) = &outcome.error {
                failures.fetch_add(1, Ordering::Relaxed);
                progress.say(&format!("error: {}", naming(&outcome.input, error)));
            }
            if self.json {
                lines.print(&outcome);
            }
        };
        for checked in failed {
            report(checked.outcome());
        }
        if !ready.is_empty() {
            let client = client(self.threads_for(&ready))?;
            self.make_folder()?;
            *interrupt::stage() = Stage::Writing { files: count };
            let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let one_after_the_other = || {
                while let Some(checked) = ready.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let file = progress.of_file(&checked.step.input, checked.len);
                    let mut files = Files::new(&client).replace(self.force).list_in(interrupt::outputs());
                    if file.is_shown() {
                        files = files.on_progress(|bytes| file.add(bytes));
                    }
                    let outcome = checked.done(work(&files, &checked.step));
                    drop(files);
                    drop(file);
                    progress.set_done(done.fetch_add(1, Ordering::Relaxed).saturating_add(1));
                    report(outcome);
                }
            };
            let one_after_the_other = &one_after_the_other;
            thread::scope(|scope| {
                for _ in 1..self.jobs(ready.len()) {
                    scope.spawn(one_after_the_other);
                }
                one_after_the_other();
            });
        }
        drop(progress);
        lines.check()?;
        match failures.into_inner() {
            0 => Ok(()),
            _ => Err(Failure::Reported),
        }
    }

    /// Shows what would be encrypted or decrypted. `look` tells what can be told of a file without a key: its message
    /// id, and the size of the output.
    pub fn show(
        &self,
        plan: Plan,
        direction: Direction,
        look: impl Fn(&Path) -> Result<(Option<String>, Option<u64>)>,
    ) -> Result<()> {
        let (files, folders) = match plan {
            Plan::Stream(step) => (vec![step], Vec::new()),
            Plan::Files(steps) => self.folders.divide(steps),
        };
        let mut outcomes = Vec::new();
        for step in folders {
            outcomes.push(match folder::look(&step, direction, self.force) {
                Ok(input_bytes) => Outcome { input_bytes, ..Outcome::of(&step) },
                Err(failure) => Outcome { error: Some(failure.to_string()), ..Outcome::of(&step) },
            });
        }
        for step in files {
            let checked = Checked::new(step, self.force).with_folder(self.to.is_some());
            let looked = match checked.failure.is_none() && !is_stdio(&checked.step.input) {
                true => look(&checked.step.input),
                false => Ok((None, None)),
            };
            let mut outcome = checked.outcome();
            match looked {
                Ok((message_id, output_bytes)) => {
                    (outcome.message_id, outcome.output_bytes) = (message_id, output_bytes);
                }
                Err(failure) => outcome.error = Some(failure.to_string()),
            }
            outcomes.push(outcome);
        }
        for outcome in &outcomes {
            if let Some(error) = &outcome.error {
                say(&format!("error: {}", naming(&outcome.input, error)));
            }
        }
        let (fit, failed): (Vec<_>, Vec<_>) = outcomes.iter().partition(|outcome| outcome.error.is_none());
        match self.json {
            true => outcomes.iter().try_for_each(Outcome::print)?,
            false => report::print(&fit.into_iter().map(Outcome::in_short).collect::<Vec<_>>(), false)?,
        }
        if failed.is_empty() { Ok(()) } else { Err(Failure::Reported) }
    }
}

/// Returns the number of cores.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// A step that was looked at before any is made.
struct Checked {
    step: Step,
    /// The size of the input, if it is a regular file.
    len: Option<u64>,
    failure: Option<Failure>,
}

impl Checked {
    fn new(step: Step, force: bool) -> Self {
        let input = &step.input;
        let check = || {
            if !is_stdio(&step.target) {
                check_target(&step.target, force)?;
            }
            if is_stdio(input) {
                return Ok(None);
            }
            let metadata = fs::metadata(input).map_err(|error| Failure::file("cannot read", input, error))?;
            if metadata.is_dir() {
                return Err(Failure::Work(format!("{input:?} is a folder: give -r to take everything in it")));
            }
            Ok(metadata.is_file().then_some(metadata.len()))
        };
        match check() {
            Ok(len) => Self { step, len, failure: None },
            Err(failure) => Self { step, len: None, failure: Some(failure) },
        }
    }

    /// Fails unless the folder of the output is there, or is one that would be made.
    fn with_folder(self, is_made: bool) -> Self {
        let folder = self.step.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let is_there = is_made || folder.is_none_or(Path::is_dir);
        let missing = || Failure::Work(format!("there is no folder for {:?}: make it first", self.step.target));
        let failure = self.failure.or_else(|| (!is_there).then(missing));
        Self { failure, ..self }
    }

    fn outcome(&self) -> Outcome {
        let error = self.failure.as_ref().map(ToString::to_string);
        Outcome { input_bytes: self.len, error, ..Outcome::of(&self.step) }
    }

    fn done(&self, result: Result<String>) -> Outcome {
        let outcome = match result {
            Ok(message_id) => Outcome::written(&self.step, message_id),
            Err(failure) => Outcome { error: Some(failure.to_string()), ..Outcome::of(&self.step) },
        };
        Outcome { input_bytes: self.len, ..outcome }
    }
}

/// The report of a file.
#[derive(Serialize)]
pub struct Outcome {
    pub input: String,
    pub input_bytes: Option<u64>,
    pub output: String,
    pub output_bytes: Option<u64>,
    pub message_id: Option<String>,
    pub error: Option<String>,
}

impl Outcome {
    fn of(step: &Step) -> Self {
        Self {
            input: step.input.to_string_lossy().into_owned(),
            input_bytes: None,
            output: step.target.to_string_lossy().into_owned(),
            output_bytes: None,
            message_id: None,
            error: None,
        }
    }

    /// Returns that of a file that was written.
    pub fn written(step: &Step, message_id: String) -> Self {
        let output_bytes = fs::metadata(&step.target).ok().map(|metadata| metadata.len());
        Self { output_bytes, message_id: Some(message_id), ..Self::of(step) }
    }

    fn in_short(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Short<'a> {
            input: &'a str,
            bytes: Option<u64>,
            output: &'a str,
            output_bytes: Option<u64>,
        }
        Short { input: &self.input, bytes: self.input_bytes, output: &self.output, output_bytes: self.output_bytes }
    }

    /// Prints it as a line of JSON.
    pub fn print(&self) -> Result<()> {
        report::print_line(self)
    }
}
