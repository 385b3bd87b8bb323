//! The program `manila`: encrypts, decrypts and inspects files in the AWS Encryption SDK message format, and keeps the
//! keys for that.
//!
//! ```text
//! main            the command line, and which command it names
//! commands/       one file for each command: its arguments and its work
//! arguments       arguments that several commands take
//! config          the configuration file and its profiles
//! place           the folder with the key store, and the way to open it
//! keys_for_files  the keys that files are encrypted with and decrypted with
//! key_file        keys in files: AES and RSA
//! key_store       the key store of files, and the key in it that encrypts by default
//! regular_file    files that are opened without waiting
//! session         the open key store of a command
//! trail           the files of the audit log
//! input           what is read from a pipe or for one, with a progress bar
//! output          what is written: complete and verified, or not at all
//! copy            from one to the other
//! plan            what is read and what is written for it
//! walk            encrypted files in folders, in a fixed order
//! folder_lock     locks that keep two jobs from the same files
//! journal         what a job has done, to go on after it was killed
//! census          which keys, versions of keys and suites files are under
//! batch           files, several at once: options, work, report
//! folder          folders, with everything in them
//! progress        progress bars
//! interrupt       a signal leaves no unfinished output behind
//! report          the answer of a command, as JSON or as lines for people
//! console         notes on stderr
//! terminal        questions to people
//! time            times as they are printed and given
//! failure         exit codes and error texts
//! ```
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod arguments;
mod batch;
mod census;
mod commands;
mod config;
mod console;
mod copy;
mod failure;
mod folder;
mod folder_lock;
mod input;
mod interrupt;
mod journal;
mod key_file;
mod key_store;
mod keys_for_files;
mod output;
mod place;
mod plan;
mod progress;
mod regular_file;
mod report;
mod session;
mod terminal;
mod time;
mod trail;
mod walk;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use commands::audit::Audit;
use commands::completions::Completions;
use commands::decrypt::Decrypt;
use commands::encrypt::Encrypt;
use commands::inspect::Inspect;
use commands::keys::Keys;
use commands::man::ManPages;
use commands::reencrypt::Reencrypt;
use commands::store::Store;
use failure::{Failure, Result};

/// Encrypts files in the AWS Encryption SDK message format, with keys of an embedded KMS.
///
/// The first file that is encrypted makes a key store. Keep copies of it: no file can be decrypted without it.
#[derive(Parser)]
#[command(name = "manila", version, after_help = "Exit codes: 0 success, 1 failure, 2 wrong command line.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Encrypt files.
    Encrypt(Encrypt),
    /// Decrypt files. An output appears once all of it has been verified, or not at all.
    Decrypt(Decrypt),
    /// Show what encrypted files say about themselves. Needs no key, and verifies nothing.
    Inspect(Inspect),
    /// Encrypt files again, under other keys or newer versions of theirs. Needs a key that decrypts them.
    Reencrypt(Box<Reencrypt>),
    /// Create, show and change keys.
    Keys(Keys),
    /// Make, back up and maintain the key store.
    Store(Store),
    /// Show and verify the log of all calls to the key store.
    Audit(Audit),
    /// Print the completions for a shell.
    Completions(Completions),
    /// Print a man page.
    Man(ManPages),
}

impl Command {
    fn run(&self) -> Result<()> {
        match self {
            Self::Encrypt(command) => command.run(),
            Self::Decrypt(command) => command.run(),
            Self::Inspect(command) => command.run(),
            Self::Reencrypt(command) => command.run(),
            Self::Keys(command) => command.run(),
            Self::Store(command) => command.run(),
            Self::Audit(command) => command.run(),
            Self::Completions(command) => command.run(Cli::command()),
            Self::Man(command) => command.run(Cli::command()),
        }
    }
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    interrupt::clean_up_on_signals();
    match cli.command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Reported) => ExitCode::FAILURE,
        Err(Failure::Usage(text)) => exit_with_usage(&matches, &text),
        Err(Failure::Work(text)) => {
            console::say(&format!("error: {text}"));
            ExitCode::FAILURE
        }
    }
}

/// Ends the program as a wrong command line does, with the usage of the command that was called.
fn exit_with_usage(matches: &ArgMatches, text: &str) -> ! {
    let mut program = Cli::command();
    program.build();
    let (mut command, mut matches) = (&program, matches);
    while let Some((name, of_command)) = matches.subcommand()
        && let Some(called) = command.find_subcommand(name)
    {
        (command, matches) = (called, of_command);
    }
    command.clone().error(ErrorKind::ValueValidation, text).exit()
}
