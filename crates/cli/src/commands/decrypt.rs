//! `manila decrypt`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use manila::fs::Folders;
use manila::{Client, ExpectedContext, UnverifiedHeader};
use manila_core::internal::crypto::hex;

use super::EXTENSION;
use crate::arguments::{self, KeyStore};
use crate::batch::{Outcome, Outputs};
use crate::console::say;
use crate::copy::copy;
use crate::failure::{Failure, Result};
use crate::folder::{self, Direction};
use crate::input::Input;
use crate::key_store::OnDemand;
use crate::keys_for_files::DecryptionKeys;
use crate::output::Output;
use crate::plan::{Plan, Step};

#[derive(Args)]
pub struct Decrypt {
    /// The files to decrypt, with -r encrypted folders as well, or - for stdin.
    #[arg(value_name = "PATH", required = true)]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
    #[command(flatten)]
    keys: DecryptionKeys,
    #[command(flatten)]
    key_store: KeyStore,
    /// Require that the file was bound to this pair when it was encrypted. Repeatable.
    #[arg(long = "context", value_name = "KEY=VALUE", value_parser = arguments::pair)]
    context: Vec<(String, String)>,
    /// Print each frame to stdout once it has been verified, before the rest is known.
    ///
    /// If a later part of the file is missing or was changed, or its signature is wrong, the beginning has already been
    /// printed: whatever reads it must be able to discard it when the exit code is not 0.
    #[arg(long)]
    stream: bool,
}

impl Decrypt {
    pub fn run(&self) -> Result<()> {
        let expected = match arguments::context(&self.key_store.profile()?.with_pairs(&self.context))? {
            context if context.is_empty() => ExpectedContext::any(),
            context => ExpectedContext::from(&context),
        };
        let plan = self.outputs.plan(&self.inputs, decrypted_name)?;
        if self.stream && !matches!(&plan, Plan::Stream(step) if arguments::is_stdio(&step.target)) {
            return Err(Failure::Usage("--stream prints to stdout: give -o - with it".to_owned()));
        }
        let store = OnDemand::new(&self.key_store);
        if self.outputs.dry_run {
            self.keys.check(&store)?;
            return self.outputs.show(plan, Direction::Decrypt, look);
        }
        match plan {
            Plan::Files(steps) => {
                let (files, folders) = self.outputs.folders.divide(steps);
                let of_files = self.files(files, &expected, &store);
                self.folders(&folders, &expected, &store).and(of_files)
            }
            Plan::Stream(step) => self.through_pipe(&step, expected, &store),
        }
    }

    fn files(&self, steps: Vec<Step>, expected: &ExpectedContext, store: &OnDemand<'_>) -> Result<()> {
        self.outputs.work(
            steps,
            |threads| self.client(threads, store),
            |files, step| {
                let header = files.decrypt(&step.input, &step.target, expected)?;
                Ok(hex(header.message_id()))
            },
        )
    }

    fn folders(&self, steps: &[Step], expected: &ExpectedContext, store: &OnDemand<'_>) -> Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let keyring = self.keys.keyring(store)?;
        let client = folder::client(keyring)?.build()?;
        let decrypt = |folders: &Folders<'_>, step: &Step| folders.decrypt(&step.input, &step.target, expected);
        self.outputs.folders.work(steps, &self.outputs.for_folders(Direction::Decrypt)?, &client, decrypt)
    }

    /// Reads from a pipe, or writes to one.
    fn through_pipe(&self, step: &Step, expected: ExpectedContext, store: &OnDemand<'_>) -> Result<()> {
        if self.stream {
            say("note: printing before the end has been verified: discard the output if the exit code is not 0");
        }
        let mut input = Input::open(&step.input)?;
        let header = UnverifiedHeader::read(&mut input)?;
        let message_id = hex(header.message_id());
        let mut reader =
            self.client(self.outputs.threads_for_one(None), store)?.decryptor(header, expected)?.reader(input);
        let mut output = match self.stream {
            true => Output::streamed(),
            false => Output::held(&step.target, self.outputs.force)?,
        };
        copy(&mut reader, &mut output)?;
        // Takes the progress bar off the terminal, before anything is printed there.
        drop(reader);
        output.put_in_place()?;
        if self.outputs.json { Outcome::written(step, message_id).print() } else { Ok(()) }
    }

    fn client(&self, threads: usize, store: &OnDemand<'_>) -> Result<Client> {
        let keyring = self.keys.keyring(store)?;
        Ok(Client::builder(keyring).threads(threads).build()?)
    }
}

/// Returns the message id that a file claims, and the size of its plaintext.
fn look(file: &Path) -> Result<(Option<String>, Option<u64>)> {
    let failed = |error| Failure::file("cannot read", file, error);
    let mut input = BufReader::new(File::open(file).map_err(failed)?);
    let header = UnverifiedHeader::read(&mut input)?;
    let summary = header.summarize_body(input)?;
    Ok((Some(hex(header.message_id())), Some(summary.plaintext_len())))
}

/// Returns the input's name without the extension of encrypted files, if it has that.
fn decrypted_name(input: &Path) -> Option<PathBuf> {
    let is_encrypted = input.extension().is_some_and(|extension| extension == EXTENSION);
    is_encrypted.then(|| input.with_extension(""))
}
