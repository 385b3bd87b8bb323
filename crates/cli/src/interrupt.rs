//! Interruptions: a signal removes the unfinished outputs and ends the program, unless all are already in place.

#[cfg(unix)]
use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use manila::fs::Unfinished;

/// The progress of the work, which decides what a signal does.
pub enum Stage {
    /// Nothing has been written.
    Nothing,
    /// So many files are being written: those that are in place stay, of the others nothing does.
    Writing { files: usize },
    /// The files of a folder are being written. The same command continues.
    Folder,
    /// Files are being re-encrypted: those that are in place stay, and the others are as they were.
    Reencrypting,
    /// Some of the output may have been printed.
    Printing,
    /// The key store is at work: each of its changes is made completely or not at all.
    Changing,
    /// A secret is being typed on a terminal that does not show it, which was set so before.
    #[cfg(unix)]
    Asking(Option<rustix::termios::Termios>),
    /// New lines are printed until somebody has seen enough.
    Watching,
}

impl Stage {
    /// Returns the stage of asking for a secret, before the terminal is told not to show it.
    pub fn asking() -> Self {
        #[cfg(unix)]
        return Self::Asking(rustix::termios::tcgetattr(io::stderr()).ok());
        #[cfg(not(unix))]
        return Self::Nothing;
    }
}

static STAGE: Mutex<Stage> = Mutex::new(Stage::Nothing);

static OUTPUTS: LazyLock<Unfinished> = LazyLock::new(Unfinished::new);

/// Returns the list of the files that are being written. A signal removes them.
pub fn outputs() -> &'static Unfinished {
    &OUTPUTS
}

/// Returns the stage, to read or to change. No signal is heeded while the guard is held.
pub fn stage() -> MutexGuard<'static, Stage> {
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread that waits for SIGINT, SIGTERM and SIGHUP. Those that the program was started to ignore, as by
/// `nohup`, stay ignored.
#[cfg(unix)]
pub fn clean_up_on_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let ignored = ignored_signals();
    let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let Ok(mut signals) = signal_hook::iterator::Signals::new(heeded) else {
        return;
    };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            let stage = stage();
            let outcome = match &*stage {
                Stage::Nothing => "nothing was written".to_owned(),
                Stage::Writing { files } => match outputs().stop() {
                    0 => "nothing was written".to_owned(),
                    // It is too late to stop.
                    placed if placed >= *files => continue,
                    placed => format!("{placed} of {files} files were written, and nothing of the others"),
                },
                Stage::Folder => {
                    outputs().stop();
                    "what is done is kept: give the same command again to continue".to_owned()
                }
                Stage::Reencrypting => {
                    let placed = outputs().stop();
                    format!("{placed} files were re-encrypted: give the same command again to continue")
                }
                Stage::Printing => "discard what was printed".to_owned(),
                Stage::Changing => "manila audit show tells whether it was done".to_owned(),
                Stage::Asking(settings) => {
                    if let Some(settings) = settings {
                        use rustix::termios::{OptionalActions, tcsetattr};
                        let _ = tcsetattr(io::stderr(), OptionalActions::Now, settings);
                        crate::console::say("");
                    }
                    "nothing was done".to_owned()
                }
                Stage::Watching => std::process::exit(0),
            };
            crate::console::say(&format!("error: interrupted: {outcome}"));
            std::process::exit(1);
        }
    });
}

/// Returns a bit for each signal that this process was started to ignore, where the system reports it.
#[cfg(unix)]
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Does nothing: where there are no signals, the system removes the program and the temporary file stays.
#[cfg(not(unix))]
pub fn clean_up_on_signals() {}
