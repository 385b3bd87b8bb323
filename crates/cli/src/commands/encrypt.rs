//! `manila encrypt`.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use manila::fs::Folders;
use manila::{AlgorithmSuite, Client, ClientBuilder, EncryptionContext, UnverifiedHeader};
use manila_core::internal::crypto::hex;

use super::EXTENSION;
use crate::arguments::{self, KeyStore};
use crate::batch::{Outcome, Outputs};
use crate::copy::copy;
use crate::failure::{Failure, Result};
use crate::folder::{self, Direction};
use crate::input::Input;
use crate::key_store::OnDemand;
use crate::keys_for_files::EncryptionKeys;
use crate::output::Output;
use crate::plan::{Plan, Step};

#[derive(Args)]
pub struct Encrypt {
    /// The files to encrypt, with -r folders as well, or - for stdin.
    #[arg(value_name = "PATH", required = true)]
    inputs: Vec<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
    #[command(flatten)]
    keys: EncryptionKeys,
    #[command(flatten)]
    key_store: KeyStore,
    /// Bind the file to this pair, which decryption can then ask for. Stored unencrypted. Repeatable.
    #[arg(long = "context", value_name = "KEY=VALUE", value_parser = arguments::pair)]
    context: Vec<(String, String)>,
    /// Sign the file too, with a key pair of its own (suite 0x0578 instead of 0x0478).
    #[arg(long)]
    sign: bool,
    /// Store the files of a folder under random names.
    ///
    /// Their number and sizes can be seen all the same.
    #[arg(long, requires = "recursive")]
    hide_names: bool,
    /// The number of plaintext bytes in each frame.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64 << 20))]
    frame_length: u32,
}

impl Encrypt {
    pub fn run(&self) -> Result<()> {
        let context = arguments::context(&self.key_store.profile()?.with_pairs(&self.context))?;
        let plan = self.outputs.plan(&self.inputs, |input| Some(encrypted_name(input)))?;
        let store = OnDemand::new(&self.key_store);
        if self.outputs.dry_run {
            self.keys.check(&store)?;
            return self.outputs.show(plan, Direction::Encrypt { hides_names: self.hide_names }, |_| Ok((None, None)));
        }
        match plan {
            Plan::Files(steps) => {
                let (files, folders) = self.outputs.folders.divide(steps);
                let of_files = self.files(files, &context, &store);
                self.folders(&folders, &context, &store).and(of_files)
            }
            Plan::Stream(step) => self.through_pipe(&step, &context, &store),
        }
    }

    fn files(&self, steps: Vec<Step>, context: &EncryptionContext, store: &OnDemand<'_>) -> Result<()> {
        self.outputs.work(
            steps,
            |threads| self.client(threads, store),
            |files, step| {
                files.encrypt(&step.input, &step.target, context)?;
                if self.outputs.json { message_id(&step.target) } else { Ok(String::new()) }
            },
        )
    }

    fn folders(&self, steps: &[Step], context: &EncryptionContext, store: &OnDemand<'_>) -> Result<()> {
        if steps.is_empty() {
            return Ok(());
        }
        let keyring = self.keys.keyring(store)?;
        let client = self.settled(folder::client(keyring)?).build()?;
        let settings = self.outputs.for_folders(Direction::Encrypt { hides_names: self.hide_names })?;
        let encrypt = |folders: &Folders<'_>, step: &Step| folders.encrypt(&step.input, &step.target, context);
        self.outputs.folders.work(steps, &settings, &client, encrypt)
    }

    /// Reads from a pipe, or writes to one.
    fn through_pipe(&self, step: &Step, context: &EncryptionContext, store: &OnDemand<'_>) -> Result<()> {
        let is_printed = arguments::is_stdio(&step.target);
        if is_printed && !self.outputs.is_named() && io::stdout().is_terminal() {
            let text = "stdout is a terminal and an encrypted file is binary: give -o OUTPUT, or -o - to print it";
            return Err(Failure::Usage(text.to_owned()));
        }
        let mut input = Input::open(&step.input)?;
        let output = Output::new(&step.target, self.outputs.force)?;
        let mut writer = self.client(self.outputs.threads_for_one(None), store)?.encryptor(context)?.writer(output);
        let input_bytes = copy(&mut input, &mut writer)?;
        writer.finish()?.put_in_place()?;
        if !self.outputs.json {
            return Ok(());
        }
        let message_id = message_id(&step.target)?;
        Outcome { input_bytes: Some(input_bytes), ..Outcome::written(step, message_id) }.print()
    }

    fn client(&self, threads: usize, store: &OnDemand<'_>) -> Result<Client> {
        let keyring = self.keys.keyring(store)?;
        Ok(self.settled(Client::builder(keyring)).threads(threads).build()?)
    }

    fn settled(&self, client: ClientBuilder) -> ClientBuilder {
        client.suite(self.suite()).frame_length(self.frame_length)
    }

    fn suite(&self) -> AlgorithmSuite {
        match self.sign {
            true => AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384,
            false => AlgorithmSuite::Aes256GcmHkdfSha512CommitKey,
        }
    }
}

/// Returns the input's name with the extension of encrypted files behind its own.
fn encrypted_name(input: &Path) -> PathBuf {
    // Without the slash that may end the path of a folder; `.` and `..` have names elsewhere.
    let named = match input.file_name() {
        Some(_) => input.components().as_path().to_owned(),
        None => input.canonicalize().unwrap_or_else(|_| input.to_owned()),
    };
    let mut name = named.into_os_string();
    name.push(".");
    name.push(EXTENSION);
    name.into()
}

/// Returns the id of a message that has just been written.
fn message_id(file: &Path) -> Result<String> {
    let header = UnverifiedHeader::read(io::BufReader::new(File::open(file)?))?;
    Ok(hex(header.message_id()))
}
