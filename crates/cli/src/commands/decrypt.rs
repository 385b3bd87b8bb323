//! `manila decrypt`.

use std::path::{Path, PathBuf};

use clap::Args;
use manila::{Client, ExpectedContext, UnverifiedHeader};

use super::EXTENSION;
use crate::arguments::{self, KeyStore};
use crate::console::say;
use crate::copy::copy;
use crate::failure::{Failure, Result};
use crate::input::Input;
use crate::key_store::OnDemand;
use crate::keys_for_files::DecryptionKeys;
use crate::output::Output;

#[derive(Args)]
pub struct Decrypt {
    /// The file to decrypt, or - for stdin.
    input: PathBuf,
    /// The file to write, or - for stdout. By default INPUT without .manila, or stdout for stdin.
    ///
    /// Only you can read the file that is written. What goes to stdout is first kept in an unnamed file in the
    /// temporary folder (TMPDIR), until all of it has been verified.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Replace the output if it exists.
    #[arg(long)]
    force: bool,
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
        let target = arguments::target(&self.input, self.output.as_deref(), decrypted_name)?;
        if self.stream {
            if !arguments::is_stdio(&target) {
                return Err(Failure::Usage("--stream prints to stdout: give -o - with it".to_owned()));
            }
            say("note: printing before the end has been verified: discard the output if the exit code is not 0");
        }
        let mut input = Input::open(&self.input)?;
        let header = UnverifiedHeader::read(&mut input)?;
        let keyring = self.keys.keyring(&OnDemand::new(&self.key_store))?;
        let mut reader = Client::new(keyring).decryptor(header, expected)?.reader(input);

        let mut output = match self.stream {
            true => Output::streamed(),
            false => Output::held(&target, self.force)?,
        };
        copy(&mut reader, &mut output)?;
        // Takes the progress bar off the terminal, before anything is printed there.
        drop(reader);
        output.put_in_place()
    }
}

/// Returns the input's name without the extension of encrypted files, if it has that.
fn decrypted_name(input: &Path) -> Option<PathBuf> {
    let is_encrypted = input.extension().is_some_and(|extension| extension == EXTENSION);
    is_encrypted.then(|| input.with_extension(""))
}
