//! Seals and opens files with keys of an embedded KMS.
//!
//! ```text
//! cargo run --release --example file -- encrypt INPUT [-o OUTPUT]
//! cargo run --release --example file -- decrypt INPUT [-o OUTPUT]
//! cargo run --release --example file -- inspect INPUT
//! ```
//!
//! The reader finds here: the command line, the key store ([`keys`]), output that appears whole or not at all
//! ([`output`]), and what `inspect` prints ([`inspect`]). The three lines that seal or open are in [`encrypt`] and
//! [`decrypt`]; everything else is what a good tool needs around them.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use manila::{AlgorithmSuite, Client, EncryptionContext, ExpectedContext, KmsKeyring, UnverifiedHeader};

use output::Output;

/// What sealed files are called by default: the input's name and this.
const SEALED_EXTENSION: &str = "manila";
/// How much is read at a time, in bytes.
const CHUNK: usize = 256 << 10;

type Result<T, E = Failure> = std::result::Result<T, E>;

/// Seals and opens files with a key of an embedded KMS, in the AWS Encryption SDK message format.
#[derive(Parser)]
#[command(name = "file", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Seal a file.
    Encrypt(Encrypt),
    /// Open a sealed file. Nothing appears under the output's name before everything has verified.
    Decrypt(Decrypt),
    /// Show what a sealed file says of itself. Needs no key, and verifies nothing.
    Inspect(Inspect),
}

#[derive(Args)]
struct Encrypt {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    keys: Keys,
    /// Also sign the message (suite 0x0578 instead of 0x0478).
    #[arg(long)]
    sign: bool,
    /// Plaintext bytes in a frame.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..=64 << 20))]
    frame_length: u32,
}

#[derive(Args)]
struct Decrypt {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    keys: Keys,
    /// To stdout only: print each frame once it has verified, before the rest is known.
    ///
    /// If the file was cut or changed further on, or its signature is wrong, part of it has been printed by then:
    /// whatever reads it must be ready to undo what it did when the exit code is not 0.
    #[arg(long)]
    stream: bool,
}

#[derive(Args)]
struct Inspect {
    /// The sealed file, or - for stdin.
    input: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Files {
    /// The file to read, or - for stdin.
    input: PathBuf,
    /// The file to write, or - for stdout. By default INPUT.manila to seal, INPUT without it to open, and stdout
    /// for stdin.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Replace the output if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
struct Keys {
    /// Where the keys are, instead of the user's data directory.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// A pair to bind the file to; to open, a pair it must have been bound to. Stored in the clear. Repeatable.
    #[arg(long = "context", value_name = "KEY=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    output::remove_on_signals();
    let done = match &cli.command {
        Command::Encrypt(command) => encrypt(command),
        Command::Decrypt(command) => decrypt(command),
        Command::Inspect(command) => inspect::inspect(&command.input, command.json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn encrypt(command: &Encrypt) -> Result<()> {
    let context = command.keys.context();
    let target = command.files.target(|input| {
        let mut name = input.as_os_str().to_owned();
        name.push(".");
        name.push(SEALED_EXTENSION);
        Some(name.into())
    });
    let suite = match command.sign {
        true => AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384,
        false => AlgorithmSuite::Aes256GcmHkdfSha512CommitKey,
    };
    let (source, progress) = open_input(&command.files.input)?;
    let output = Output::new(&target, command.files.force, false)?;

    let kms = keys::open_or_make(command.keys.store.as_deref())?;
    let keyring = KmsKeyring::new(kms, keys::ALIAS)?;
    let client = Client::builder(keyring).suite(suite).frame_length(command.frame_length).build()?;
    let mut writer = client.encryptor(&context)?.writer(output);
    copy(&mut progress.wrap_read(source), &mut writer)?;
    writer.finish()?.put_in_place()?;

    progress.finish_and_clear();
    Ok(())
}

fn decrypt(command: &Decrypt) -> Result<()> {
    let expected = match command.keys.context() {
        context if context.is_empty() => ExpectedContext::any(),
        context => ExpectedContext::from(&context),
    };
    let target = command.files.target(|input| {
        let sealed = input.extension().is_some_and(|extension| extension == SEALED_EXTENSION);
        sealed.then(|| input.with_extension(""))
    });
    if command.stream && target != Path::new("-") {
        usage("--stream prints to stdout: it goes with -o -");
    }
    if command.stream {
        eprintln!("note: printing before the end is verified: discard what was printed if the exit code is not 0");
    }
    let (source, progress) = open_input(&command.files.input)?;
    let mut source = progress.wrap_read(source);
    let header = UnverifiedHeader::read(&mut source)?;
    let keyring = keys::all(command.keys.store.as_deref())?;
    let mut reader = Client::new(keyring).decryptor(header, expected)?.reader(source);

    let mut output = Output::new(&target, command.files.force, !command.stream)?;
    copy(&mut reader, &mut output)?;
    output.put_in_place()?;

    progress.finish_and_clear();
    Ok(())
}

impl Files {
    /// Where the output goes: as asked, or by the name of the input.
    fn target(&self, by_name: impl Fn(&Path) -> Option<PathBuf>) -> PathBuf {
        if let Some(output) = &self.output {
            return output.clone();
        }
        if self.input == Path::new("-") {
            return self.input.clone();
        }
        by_name(&self.input).unwrap_or_else(|| usage("say with -o where the output goes"))
    }
}

impl Keys {
    fn context(&self) -> EncryptionContext {
        let pairs = self.context.iter().map(|(key, value)| (key, value));
        EncryptionContext::new(pairs).unwrap_or_else(|error| usage(&error.to_string()))
    }
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("give it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Ends the program with exit code 2.
fn usage(message: &str) -> ! {
    Cli::command().error(clap::error::ErrorKind::ValueValidation, message).exit()
}

/// The input, and a progress bar for it, which is silent where there is no terminal.
fn open_input(path: &Path) -> Result<(Box<dyn Read>, ProgressBar)> {
    if path == Path::new("-") {
        let progress = ProgressBar::new_spinner().with_style(style("{spinner} {bytes} {bytes_per_sec}"));
        return Ok((Box::new(BufReader::with_capacity(CHUNK, io::stdin())), progress));
    }
    let file = File::open(path).map_err(|error| Failure::file("cannot read", path, error))?;
    let metadata = file.metadata().map_err(|error| Failure::file("cannot read", path, error))?;
    if metadata.is_dir() {
        return Err(Failure(format!("{path:?} is a folder: give a file")));
    }
    let progress =
        ProgressBar::new(metadata.len()).with_style(style("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}"));
    Ok((Box::new(BufReader::with_capacity(CHUNK, file)), progress))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A line that says what went wrong. What comes from a message is escaped by the library already.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn file(what: &str, path: &Path, error: impl fmt::Display) -> Self {
        Self(format!("{what} {path:?}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<manila::Error> for Failure {
    fn from(error: manila::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        manila::Error::from(error).into()
    }
}

/// The key store: a folder with the root key and the file of an embedded KMS.
mod keys {
    use super::{Failure, Path, PathBuf, Result};
    use manila::{CreateKey, Keyring, KmsKeyring, LocalKms, MultiKeyring, RootKey};

    /// The key that seals.
    pub const ALIAS: &str = "alias/file";

    /// The KMS with a key to seal with; made on first use.
    pub fn open_or_make(folder: Option<&Path>) -> Result<LocalKms> {
        let folder = choose(folder)?;
        let (root, store) = (folder.join("root.key"), folder.join("keys.redb"));
        if store.exists() {
            let kms = open(&folder)?;
            if kms.list_aliases()?.iter().all(|(alias, _)| alias != ALIAS) {
                kms.create_key(CreateKey::default().alias(ALIAS))?;
            }
            return Ok(kms);
        }
        make_private_folder(&folder).map_err(|error| Failure::file("cannot make", &folder, error))?;
        let root_key = if root.exists() { RootKey::open_file(&root)? } else { RootKey::create_file(&root)? };
        let kms = LocalKms::create(&store, root_key)?;
        kms.create_key(CreateKey::default().alias(ALIAS).description("seals files"))?;
        eprintln!("made a key store in {folder:?}: without root.key and keys.redb no sealed file opens, keep copies");
        Ok(kms)
    }

    /// A keyring of every key in the store, to open with.
    pub fn all(folder: Option<&Path>) -> Result<MultiKeyring> {
        let folder = choose(folder)?;
        if !folder.join("keys.redb").exists() {
            return Err(Failure(format!("there is no key store in {folder:?}: give the one that sealed with --store")));
        }
        let kms = open(&folder)?;
        let mut keyrings: Vec<Box<dyn Keyring>> = Vec::new();
        for key in kms.list_keys()? {
            keyrings.push(Box::new(KmsKeyring::new(kms.clone(), key.arn())?));
        }
        let mut keyrings = keyrings.into_iter();
        let first = keyrings.next().ok_or_else(|| Failure(format!("the key store in {folder:?} has no keys")))?;
        Ok(keyrings.fold(MultiKeyring::without_generator(first), MultiKeyring::child))
    }

    fn open(folder: &Path) -> Result<LocalKms> {
        Ok(LocalKms::open(folder.join("keys.redb"), RootKey::open_file(folder.join("root.key"))?)?)
    }

    fn choose(folder: Option<&Path>) -> Result<PathBuf> {
        if let Some(folder) = folder {
            return Ok(folder.to_owned());
        }
        let folders = directories::ProjectDirs::from("", "", "manila");
        let folders = folders
            .ok_or_else(|| Failure("there is no home directory: say where the keys are with --store".to_owned()))?;
        Ok(folders.data_dir().to_owned())
    }

    fn make_private_folder(folder: &Path) -> std::io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)
    }
}

/// Output that appears under its name whole and verified, or not at all.
mod output {
    use super::{CHUNK, Failure, Path, PathBuf, Result, copy, io};
    use std::io::{BufWriter, Seek, Write};
    use std::sync::Mutex;

    use tempfile::NamedTempFile;

    pub struct Output {
        sink: Sink,
    }

    enum Sink {
        /// A temporary file beside the target.
        File {
            file: NamedTempFile,
            target: PathBuf,
            force: bool,
        },
        /// An unnamed temporary file, for stdout.
        Spool(std::fs::File),
        Stdout(BufWriter<io::Stdout>),
    }

    impl Output {
        /// `hold`: nothing may be printed to stdout before all is there.
        pub fn new(target: &Path, force: bool, hold: bool) -> Result<Self> {
            let sink = if target != Path::new("-") {
                beside(target, force)?
            } else if hold {
                Sink::Spool(tempfile::tempfile()?)
            } else {
                Sink::Stdout(BufWriter::with_capacity(CHUNK, io::stdout()))
            };
            Ok(Self { sink })
        }

        /// To be called when everything was written and has verified.
        pub fn put_in_place(self) -> Result<()> {
            match self.sink {
                Sink::Stdout(mut out) => Ok(out.flush()?),
                Sink::Spool(mut spool) => {
                    spool.rewind()?;
                    let mut out = io::stdout();
                    copy(&mut spool, &mut out)?;
                    Ok(out.flush()?)
                }
                Sink::File { file, target, force } => {
                    file.as_file().sync_all()?;
                    let mut unfinished = lock();
                    let placed = if force { file.persist(&target) } else { file.persist_noclobber(&target) };
                    *unfinished = State::Placed;
                    placed.map_err(|failed| {
                        let _ = std::fs::remove_file(failed.file.path());
                        Failure::file("cannot write", &target, failed.error)
                    })?;
                    #[cfg(unix)]
                    std::fs::File::open(folder_of(&target)).and_then(|folder| folder.sync_all())?;
                    Ok(())
                }
            }
        }
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match &mut self.sink {
                Sink::File { file, .. } => file.write(bytes),
                Sink::Spool(spool) => spool.write(bytes),
                Sink::Stdout(out) => out.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            match &mut self.sink {
                Sink::File { file, .. } => file.flush(),
                Sink::Spool(spool) => spool.flush(),
                Sink::Stdout(out) => out.flush(),
            }
        }
    }

    fn beside(target: &Path, force: bool) -> Result<Sink> {
        match std::fs::symlink_metadata(target) {
            Ok(_) if !force => {
                return Err(Failure(format!("{target:?} exists: replace it with --force, or give another -o")));
            }
            Ok(found) if !found.is_file() => return Err(Failure(format!("{target:?} exists and is no ordinary file"))),
            _ => {}
        }
        let mut unfinished = lock();
        let made = tempfile::Builder::new().prefix(".manila-").tempfile_in(folder_of(target));
        let file = made.map_err(|error| Failure::file("cannot write beside", target, error))?;
        *unfinished = State::Unfinished(file.path().to_owned());
        Ok(Sink::File { file, target: target.to_owned(), force })
    }

    fn folder_of(target: &Path) -> &Path {
        target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// What a signal has to clear away.
    enum State {
        Nothing,
        Unfinished(PathBuf),
        /// Too late to stop: the output is in place.
        Placed,
    }

    static STATE: Mutex<State> = Mutex::new(State::Nothing);

    fn lock() -> std::sync::MutexGuard<'static, State> {
        STATE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// On SIGINT, SIGTERM, SIGQUIT and SIGHUP removes the unfinished output and ends the program.
    #[cfg(unix)]
    pub fn remove_on_signals() {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP]) else {
            return;
        };
        std::thread::spawn(move || {
            for _ in signals.forever() {
                let state = lock();
                match &*state {
                    State::Placed => continue,
                    State::Unfinished(path) => drop(std::fs::remove_file(path)),
                    State::Nothing => {}
                }
                eprintln!("error: interrupted; nothing was written");
                std::process::exit(1);
            }
        });
    }

    #[cfg(not(unix))]
    pub fn remove_on_signals() {}
}

/// What `inspect` prints. Every string of the message is quoted and escaped: a header can hold anything.
mod inspect {
    use super::{IsTerminal, Path, Result, Write, io, open_input};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use manila::{Content, Survey, UnverifiedHeader};
    use serde_json::{Value, json};
    use std::fmt::Write as _;

    pub fn inspect(input: &Path, as_json: bool) -> Result<()> {
        let (mut source, _) = open_input(input)?;
        let header = UnverifiedHeader::read(&mut source)?;
        let survey = header.survey(source)?;
        let text = if as_json { ascii(&to_json(&header, &survey)) } else { to_text(&header, &survey) };
        let mut out = io::stdout();
        writeln!(out, "{}", text.trim_end())?;
        if out.is_terminal() && !as_json {
            eprintln!("note: anyone can write a header; nothing of this is verified before the message is opened");
        }
        Ok(())
    }

    fn to_text(header: &UnverifiedHeader, survey: &Survey) -> String {
        let mut rows = vec![
            ("version", header.version().to_string()),
            ("suite", format!("{} {}", header.suite(), header.suite().name())),
            ("message id", hex(header.message_id())),
        ];
        rows.extend(header.encryption_context().iter().map(|(key, value)| ("context", format!("{key:?} = {value:?}"))));
        rows.extend(header.encrypted_data_keys().iter().map(|key| {
            let info = String::from_utf8_lossy(&key.provider_info);
            ("data key", format!("{info:?} of {:?}, {} bytes", key.provider_id, key.ciphertext.len()))
        }));
        rows.push(match header.content() {
            Content::Framed(length) => ("frames", format!("{} of {length} bytes", survey.frames)),
            Content::Unframed => ("frames", "none: the body is not framed".to_owned()),
        });
        rows.push(("header", format!("{} bytes", header.len())));
        rows.push(("body", format!("{} bytes", survey.body_len)));
        rows.push(("footer", format!("{} bytes", survey.footer_len)));
        rows.push(("plaintext", format!("{} bytes", survey.plaintext_len)));
        rows.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name:<11} {value}");
            text
        })
    }

    fn to_json(header: &UnverifiedHeader, survey: &Survey) -> Value {
        let context: serde_json::Map<_, _> =
            header.encryption_context().iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        let data_keys = header.encrypted_data_keys().iter().map(|key| {
            json!({
                "provider_id": key.provider_id,
                "key_id": String::from_utf8_lossy(&key.provider_info),
                "provider_info": STANDARD.encode(&key.provider_info),
                "ciphertext": STANDARD.encode(&key.ciphertext),
            })
        });
        let frame_length = match header.content() {
            Content::Framed(length) => json!(length),
            Content::Unframed => Value::Null,
        };
        json!({
            "verified": false,
            "version": header.version(),
            "suite": header.suite().to_string(),
            "suite_name": header.suite().name(),
            "message_id": hex(header.message_id()),
            "encryption_context": context,
            "encrypted_data_keys": data_keys.collect::<Vec<_>>(),
            "frame_length": frame_length,
            "frames": survey.frames,
            "header_bytes": header.len(),
            "body_bytes": survey.body_len,
            "footer_bytes": survey.footer_len,
            "plaintext_bytes": survey.plaintext_len,
        })
    }

    /// JSON in ASCII alone, so that no character of a message reaches a terminal as it is.
    fn ascii(value: &Value) -> String {
        let mut out = String::new();
        for character in format!("{value:#}").chars() {
            if character == '\n' || (' '..='~').contains(&character) {
                out.push(character);
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
        out
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}
