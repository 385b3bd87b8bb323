//! `manila reencrypt`: a job over files and folders, a message through a pipe, or a census.
//!
//! ```text
//! reencrypt   the arguments, the keys on both sides, and the pipe
//! which       the choice of files
//! job         the work on files: journal, report, dry run
//! ```

mod job;
mod which;

use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use manila::{AlgorithmSuite, Client, CommitmentPolicy, ExpectedContext, UnverifiedHeader};

use crate::arguments::{self, KeyStore, is_stdio};
use crate::census::Census;
use crate::failure::{Failure, Result};
use crate::key_file::KeyFile;
use crate::key_store::OnDemand;
use crate::keys_for_files::{EncryptionKeys, OfStore, Selection};
use crate::output::Output;
use crate::place::Place;
use crate::walk::Roots;
use which::OlderThan;

/// The frame length of new files whose format is not kept, as that of `manila encrypt`.
const FRAME_LENGTH: u32 = 65_536;

#[derive(Args)]
#[allow(clippy::doc_markdown, reason = "it is printed as it stands")]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Reencrypt {
    /// The encrypted files, or with -r the folders with them, or - for stdin to stdout.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Work on all files in folders that end in .manila. Symbolic links are not followed.
    #[arg(short, long)]
    recursive: bool,
    /// Write the new files into this folder, and leave the old ones as they are.
    ///
    /// By default a file is replaced, once the new one has been decrypted and compared with it. It keeps its
    /// permissions, its owner and group and its time of modification. Access control lists and other extended
    /// attributes are lost, and other hard links still lead to the old file.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Replace files that exist in the folder of --to.
    #[arg(long, requires = "to")]
    force: bool,
    /// Only files whose data key was encrypted under key material from before this rotation: last, a version as keys
    /// show prints it, or a time.
    ///
    /// It is for keys of the key store, whose versions a file tells without any key. A file with several of them is
    /// re-encrypted if one is from before.
    #[arg(long, value_name = "ROTATION", value_parser = OlderThan::parse)]
    older_than: Option<OlderThan>,
    /// Only files that are not under exactly these keys, in their newest versions, or not in the wanted suite.
    #[arg(long, conflicts_with = "older_than")]
    if_needed: bool,
    /// Show how many files are under which keys, versions of keys and suites. Needs no key, and verifies nothing.
    #[arg(long)]
    #[arg(conflicts_with_all = ["to", "older_than", "if_needed", "dry_run", "sign", "unsigned", "journal"])]
    census: bool,
    /// Show which files would be re-encrypted. Writes nothing, and neither encrypts nor decrypts.
    #[arg(long)]
    dry_run: bool,
    /// The number of files to work on at once. By default that of the cores.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Sign all files (suite 0x0578). By default a file keeps its suite, if that commits to the key.
    #[arg(long, conflicts_with = "unsigned")]
    sign: bool,
    /// Sign no file (suite 0x0478). Signatures are verified before they are given up.
    #[arg(long)]
    unsigned: bool,
    /// Require that the files were bound to this pair when they were encrypted. Repeatable.
    #[arg(long = "context", value_name = "KEY=VALUE", value_parser = arguments::pair)]
    context: Vec<(String, String)>,
    /// The file in which the job writes down what it has done, to go on after it was killed. By default one in your
    /// state directory. It is removed when the job is complete.
    ///
    /// It must be yours, and nobody else may be able to write in it.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    keys: EncryptionKeys,
    /// Decrypt with the AES or RSA key in this file too. Repeatable.
    ///
    /// Files are decrypted with the keys of the key store, of the profile, and with those that encrypt.
    #[arg(long = "old-key-file", value_name = "[NAMESPACE/NAME=]FILE", value_parser = KeyFile::parser())]
    #[arg(help_heading = "Keys")]
    old_key_files: Vec<KeyFile>,
    /// Decrypt with this key of AWS KMS too. Repeatable.
    #[arg(long = "old-aws-key", value_name = "ARN", help_heading = "Keys")]
    old_aws_keys: Vec<String>,
    #[command(flatten)]
    key_store: KeyStore,
}

impl Reencrypt {
    pub fn run(&self) -> Result<()> {
        if self.paths.iter().any(|path| is_stdio(path)) {
            return self.through_pipe();
        }
        let roots = Roots::new(&self.paths, self.recursive)?;
        if self.census {
            let census = Census::take(&roots);
            census.print(self.json)?;
            return census.check();
        }
        match self.dry_run {
            true => job::show(self, &roots),
            false => job::run(self, &roots),
        }
    }

    /// Reads from stdin, and writes to stdout.
    fn through_pipe(&self) -> Result<()> {
        let is_alone = self.paths.len() == 1 && self.to.is_none() && self.older_than.is_none();
        if !is_alone || self.census || self.dry_run || self.if_needed || self.json {
            let text = "- stands for one message from stdin to stdout: give files for this option, or for several";
            return Err(Failure::Usage(text.to_owned()));
        }
        let store = OnDemand::new(&self.key_store);
        let (old, new) = self.clients(&store)?;
        let mut input = Recorded { source: io::stdin().lock(), bytes: Vec::new() };
        let signed = UnverifiedHeader::read(&mut input)?.suite().is_signed();
        let new = match self.suite() {
            Some(_) => new,
            None => self.new_client(&store, Some(suite_of(signed)))?,
        };
        let Recorded { source, bytes } = input;
        let message = bytes.as_slice().chain(source);
        // What is printed of a message that fails never decrypts as a whole.
        old.reencrypt(message, Output::streamed(), self.expected()?, &new)?.put_in_place()
    }

    /// Returns the client that decrypts, and the one that encrypts.
    fn clients(&self, store: &OnDemand<'_>) -> Result<(Client, Client)> {
        let keyring = self.old_keys(store)?.keyring_to_decrypt(store)?;
        // Messages that do not commit to their key are what somebody wants to be rid of.
        let old = Client::builder(keyring).commitment_policy(CommitmentPolicy::RequireEncryptAllowDecrypt).build()?;
        Ok((old, self.new_client(store, self.suite())?))
    }

    fn new_client(&self, store: &OnDemand<'_>, suite: Option<AlgorithmSuite>) -> Result<Client> {
        let builder = Client::builder(self.keys.keyring(store)?).frame_length(FRAME_LENGTH);
        Ok(builder.suite(suite.unwrap_or(suite_of(false))).build()?)
    }

    /// Returns the keys that decrypt: all that the user has at hand.
    fn old_keys(&self, store: &OnDemand<'_>) -> Result<Selection> {
        let profile = store.profile()?;
        let new = self.keys.selection(profile);
        let mut old = Selection::to_decrypt_by_default(profile);
        // A job that goes on meets files that it has done. The ARN of an alias does not decrypt.
        let of_keys = new.aws_keys.into_iter().filter(|arn| arn.contains(":key/"));
        old.key_files.extend(self.old_key_files.iter().cloned().chain(new.key_files));
        old.aws_keys.extend(self.old_aws_keys.iter().cloned().chain(of_keys));
        let has_others = !old.key_files.is_empty() || !old.aws_keys.is_empty();
        let has_store = Place::of(&self.key_store)?.is_taken() || new.of_store != OfStore::None;
        old.of_store = if has_store || !has_others { OfStore::Default } else { OfStore::None };
        Ok(old)
    }

    /// Fails unless one of the keys that encrypt can decrypt too: no file is replaced by one that was not decrypted.
    fn check_new_keys(&self, store: &OnDemand<'_>) -> Result<()> {
        let new = self.keys.selection(store.profile()?);
        let mut decrypts = new.of_store != OfStore::None || new.aws_keys.iter().any(|arn| arn.contains(":key/"));
        for file in &new.key_files {
            decrypts |= file.keyring_to_decrypt()?.is_some();
        }
        if decrypts {
            return Ok(());
        }
        let text = "public keys and aliases in AWS only encrypt, and each new file is decrypted before it is put in place: \
                    give the private key, the ARN of the key, or another key too";
        Err(Failure::Usage(text.to_owned()))
    }

    /// Returns the suite of all new files, if they do not keep theirs.
    fn suite(&self) -> Option<AlgorithmSuite> {
        (self.sign || self.unsigned).then(|| suite_of(self.sign))
    }

    fn expected(&self) -> Result<ExpectedContext> {
        match arguments::context(&self.key_store.profile()?.with_pairs(&self.context))? {
            context if context.is_empty() => Ok(ExpectedContext::any()),
            context => Ok(ExpectedContext::from(&context)),
        }
    }

    /// Returns the path to write the new file to.
    fn output(&self, roots: &Roots, root: usize, relative: &Path) -> PathBuf {
        match &self.to {
            Some(folder) => roots.path_in(folder, root, relative),
            None => roots.path_of(root, relative),
        }
    }
}

fn suite_of(signed: bool) -> AlgorithmSuite {
    match signed {
        true => AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384,
        false => AlgorithmSuite::Aes256GcmHkdfSha512CommitKey,
    }
}

/// A source that keeps what was read of it.
struct Recorded<R> {
    source: R,
    bytes: Vec<u8>,
}

impl<R: io::Read> io::Read for Recorded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buf)?;
        self.bytes.extend_from_slice(buf.get(..count).unwrap_or_default());
        Ok(count)
    }
}
