//! `manila encrypt`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use manila::{AlgorithmSuite, Client};

use super::EXTENSION;
use crate::arguments::{self, KeyStore};
use crate::copy::copy;
use crate::failure::{Failure, Result};
use crate::input::Input;
use crate::key_store::OnDemand;
use crate::keys_for_files::EncryptionKeys;
use crate::output::Output;

#[derive(Args)]
pub struct Encrypt {
    /// The file to encrypt, or - for stdin.
    input: PathBuf,
    /// The file to write, or - for stdout. By default INPUT.manila, or stdout for stdin.
    ///
    /// Only you can read the file that is written.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Replace the output if it exists.
    #[arg(long)]
    force: bool,
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
    /// The number of plaintext bytes in each frame.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64 << 20))]
    frame_length: u32,
}

impl Encrypt {
    pub fn run(&self) -> Result<()> {
        let context = arguments::context(&self.key_store.profile()?.with_pairs(&self.context))?;
        let target = arguments::target(&self.input, self.output.as_deref(), |input| Some(encrypted_name(input)))?;
        if arguments::is_stdio(&target) && self.output.is_none() && io::stdout().is_terminal() {
            let text = "stdout is a terminal and an encrypted file is binary: give -o OUTPUT, or -o - to print it";
            return Err(Failure::Usage(text.to_owned()));
        }
        let mut input = Input::open(&self.input)?;
        let output = Output::new(&target, self.force)?;

        let keyring = self.keys.keyring(&OnDemand::new(&self.key_store))?;
        let client = Client::builder(keyring).suite(self.suite()).frame_length(self.frame_length).build()?;
        let mut writer = client.encryptor(&context)?.writer(output);
        copy(&mut input, &mut writer)?;
        writer.finish()?.put_in_place()
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
    let mut name = input.as_os_str().to_owned();
    name.push(".");
    name.push(EXTENSION);
    name.into()
}
