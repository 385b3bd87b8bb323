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
use manila::keyring::KmsKeyring;
use manila::{AlgorithmSuite, Client, EncryptionContext, ExpectedContext, UnverifiedHeader};

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
    /// for stdin. Files are readable by you alone. What is opened to stdout is first kept in an unnamed file in the
    /// temporary folder (TMPDIR), until all of it has verified.
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
            say(&format!("error: {failure}"));
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
    if target == Path::new("-") && command.files.output.is_none() && io::stdout().is_terminal() {
        usage("a sealed file is no text for a terminal: say -o OUTPUT, or -o - if you mean it");
    }
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
        say("note: printing before the end is verified: discard what was printed if the exit code is not 0");
    }
    let (source, progress) = open_input(&command.files.input)?;
    let mut source = progress.wrap_read(source);
    let header = UnverifiedHeader::read(&mut source)?;
    let keyring = keys::of(&header, command.keys.store.as_deref())?;
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
        let no_name = "the input's name does not end in .manila: say with -o where the output goes";
        by_name(&self.input).unwrap_or_else(|| usage(no_name))
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

/// A line for people. Nobody may be listening any more, which is no reason to fail.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
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
            Ok(count) => {
                let written = to.write_all(buffer.get(..count).unwrap_or_default());
                written.map_err(|error| Failure(format!("cannot write the output: {error}")))?;
            }
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
    use super::{Failure, Path, PathBuf, Result, say};
    use manila::HeaderFields;
    use manila::keyring::{KmsKeyring, MultiKeyring};
    use manila::local_kms::{CreateKey, LocalKms, RootKey};

    /// The key that seals.
    pub const ALIAS: &str = "alias/file";
    const ROOT_KEY: &str = "root.key";
    const KEYS: &str = "keys.redb";

    /// The KMS with a key to seal with; made on first use.
    pub fn open_or_make(folder: Option<&Path>) -> Result<LocalKms> {
        let folder = choose(folder)?;
        match open(&folder)? {
            Some(kms) => Ok(kms),
            None => make(&folder),
        }
    }

    /// A keyring of those keys in the store that the message names.
    pub fn of(header: &HeaderFields, folder: Option<&Path>) -> Result<MultiKeyring> {
        let folder = choose(folder)?;
        let kms = open(&folder)?.ok_or_else(|| {
            Failure(format!("there is no key store in {folder:?}: give the one that sealed the file with --store"))
        })?;
        let mut keyring: Option<MultiKeyring> = None;
        for key in header.encrypted_data_keys().iter().filter(|key| key.provider_id == "aws-kms") {
            let Ok(arn) = str::from_utf8(&key.provider_info) else { continue };
            let Ok(one) = KmsKeyring::new(kms.clone(), arn) else { continue };
            keyring = Some(match keyring {
                None => MultiKeyring::without_generator(one),
                Some(others) => others.child(one),
            });
        }
        keyring.ok_or_else(|| Failure("the message was sealed under no key of a KMS".to_owned()))
    }

    /// The KMS in a folder, if there is a key store.
    fn open(folder: &Path) -> Result<Option<LocalKms>> {
        let (root_key, keys) = (folder.join(ROOT_KEY), folder.join(KEYS));
        let (missing, other) = match (root_key.exists(), keys.exists()) {
            (true, true) => return Ok(Some(LocalKms::open(keys, RootKey::open_file(root_key)?)?)),
            (false, false) => return Ok(None),
            (true, false) => (keys, root_key),
            (false, true) => (root_key, keys),
        };
        Err(Failure(format!("{missing:?} is missing beside {other:?}: restore it from your copy")))
    }

    /// Makes a key store in a folder beside the final one, and then gives that its name: it is there whole or not at
    /// all, and of several that are made at a time one stays.
    fn make(folder: &Path) -> Result<LocalKms> {
        let failed = |error: std::io::Error| Failure::file("cannot make the key store", folder, error);
        let folder = std::path::absolute(folder).map_err(failed)?;
        let parent = folder.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent).map_err(failed)?;
        let draft = tempfile::Builder::new().prefix(".manila-").tempdir_in(parent).map_err(failed)?;
        let kms = LocalKms::create(draft.path().join(KEYS), RootKey::create_file(draft.path().join(ROOT_KEY))?)?;
        kms.create_key(CreateKey::default().alias(ALIAS).description("seals files"))?;
        drop(kms);
        // Renaming takes the place of an empty folder, and of nothing else.
        let renamed = std::fs::rename(draft.path(), &folder);
        if renamed.is_ok() {
            let _ = draft.keep();
            say(&format!(
                "made a key store in {folder:?}: without its {ROOT_KEY} and {KEYS} no sealed file opens, keep copies"
            ));
        }
        match (renamed, open(&folder)?) {
            (_, Some(kms)) => Ok(kms),
            (Err(error), None) => Err(failed(error)),
            (Ok(()), None) => Err(Failure(format!("the key store in {folder:?} is gone"))),
        }
    }

    fn choose(folder: Option<&Path>) -> Result<PathBuf> {
        if let Some(folder) = folder {
            return Ok(folder.to_owned());
        }
        let none = || Failure("there is no home directory: say where the keys are with --store".to_owned());
        Ok(directories::ProjectDirs::from("", "", "manila").ok_or_else(none)?.data_dir().to_owned())
    }
}

/// Output that appears under its name whole and verified, or not at all.
mod output {
    use super::{Failure, Path, PathBuf, Result, copy, io, say};
    use std::io::{Seek, Write};
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
        Stdout,
    }

    impl Output {
        /// `hold`: nothing may be printed to stdout before all is there.
        pub fn new(target: &Path, force: bool, hold: bool) -> Result<Self> {
            let sink = if target != Path::new("-") {
                beside(target, force)?
            } else if hold {
                let made = tempfile::tempfile();
                let folder = std::env::temp_dir();
                Sink::Spool(made.map_err(|error| Failure::file("cannot keep the plaintext in", &folder, error))?)
            } else {
                *lock() = State::Printing;
                Sink::Stdout
            };
            Ok(Self { sink })
        }

        /// To be called when everything was written and has verified.
        pub fn put_in_place(self) -> Result<()> {
            match self.sink {
                Sink::Stdout => Ok(()),
                Sink::Spool(mut spool) => {
                    spool.rewind()?;
                    *lock() = State::Printing;
                    copy(&mut spool, &mut Self { sink: Sink::Stdout })
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
                    // Where a folder cannot be synced the output is in place all the same.
                    #[cfg(unix)]
                    let _ = std::fs::File::open(folder_of(&target)).and_then(|folder| folder.sync_all());
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
                // At once: who streams wants each frame when it is there.
                Sink::Stdout => {
                    let mut out = io::stdout();
                    out.write_all(bytes)?;
                    out.flush()?;
                    Ok(bytes.len())
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            match &mut self.sink {
                Sink::File { file, .. } => file.flush(),
                Sink::Spool(spool) => spool.flush(),
                Sink::Stdout => io::stdout().flush(),
            }
        }
    }

    fn beside(target: &Path, force: bool) -> Result<Sink> {
        match std::fs::symlink_metadata(target) {
            Ok(found) if !found.is_file() => return Err(Failure(format!("{target:?} exists and is no ordinary file"))),
            Ok(_) if !force => {
                return Err(Failure(format!("{target:?} exists: replace it with --force, or give another -o")));
            }
            _ => {}
        }
        let folder = folder_of(target);
        let mut unfinished = lock();
        let made = tempfile::Builder::new().prefix(".manila-").tempfile_in(folder);
        let file = made.map_err(|error| Failure(format!("cannot write in the folder {folder:?}: {}", error.kind())))?;
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
        /// Part of the output may be with its reader.
        Printing,
        /// Too late to stop: the output is in place.
        Placed,
    }

    static STATE: Mutex<State> = Mutex::new(State::Nothing);

    fn lock() -> std::sync::MutexGuard<'static, State> {
        STATE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// On SIGINT, SIGTERM and SIGHUP removes the unfinished output and ends the program; not on those that it was
    /// started to ignore, as by `nohup`.
    #[cfg(unix)]
    pub fn remove_on_signals() {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let ignored = ignored_signals();
        let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let Ok(mut signals) = signal_hook::iterator::Signals::new(heeded) else {
            return;
        };
        std::thread::spawn(move || {
            for _ in signals.forever() {
                let state = lock();
                let said = match &*state {
                    State::Placed => continue,
                    State::Unfinished(path) => {
                        let _ = std::fs::remove_file(path);
                        "nothing was written"
                    }
                    State::Nothing => "nothing was written",
                    State::Printing => "discard what was printed",
                };
                say(&format!("error: interrupted; {said}"));
                std::process::exit(1);
            }
        });
    }

    /// A bit for each signal that this process was started to ignore, where the system tells.
    #[cfg(unix)]
    fn ignored_signals() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    }

    #[cfg(not(unix))]
    pub fn remove_on_signals() {}
}

/// What `inspect` prints. Every string of the message is quoted and escaped: a header can hold anything.
mod inspect {
    use super::{Path, Result, Write, io, open_input};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use manila::{BodySummary, ContentType, UnverifiedHeader};
    use serde_json::{Value, json};
    use std::fmt::Write as _;

    pub fn inspect(input: &Path, as_json: bool) -> Result<()> {
        let (mut source, _) = open_input(input)?;
        let header = UnverifiedHeader::read(&mut source)?;
        let summarized = header.summarize_body(source);
        let summary = summarized.as_ref().ok();
        let text = if as_json { ascii(&to_json(&header, summary)) } else { to_text(&header, summary) };
        writeln!(io::stdout(), "{}", text.trim_end())?;
        // A message that is cut or goes on still shows its header.
        summarized?;
        Ok(())
    }

    fn to_text(header: &UnverifiedHeader, summary: Option<&BodySummary>) -> String {
        let mut rows = vec![
            ("version", header.version().to_string()),
            ("suite", format!("{} {}", header.suite(), header.suite().name())),
            ("message id", hex(header.message_id())),
        ];
        rows.extend(header.encryption_context().iter().map(|(key, value)| ("context", format!("{key:?} = {value:?}"))));
        rows.extend(header.encrypted_data_keys().iter().map(|key| {
            let (name, provider) = (key.key_name(), &key.provider_id);
            ("data key", format!("{name:?} of {provider:?}, {} bytes", key.ciphertext.len()))
        }));
        rows.push(match header.content_type() {
            ContentType::Framed(length) => ("frame length", format!("{length} bytes")),
            ContentType::NonFramed => ("frame length", "none: the body is not framed".to_owned()),
        });
        rows.push(("header", format!("{} bytes", header.len())));
        if let Some(summary) = summary {
            rows.push(("body", format!("{} bytes in {} frames", summary.body_len, summary.frames)));
            rows.push(("footer", format!("{} bytes", summary.footer_len)));
            rows.push(("plaintext", format!("{} bytes", summary.plaintext_len)));
        }
        rows.push(("verified", "nothing: anyone can write a header".to_owned()));
        rows.iter().fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name:<12} {value}");
            text
        })
    }

    fn to_json(header: &UnverifiedHeader, summary: Option<&BodySummary>) -> Value {
        let context: serde_json::Map<_, _> =
            header.encryption_context().iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        let data_keys = header.encrypted_data_keys().iter().map(|key| {
            json!({
                "provider_id": key.provider_id,
                "key_name": key.key_name(),
                "provider_info": STANDARD.encode(&key.provider_info),
                "ciphertext": STANDARD.encode(&key.ciphertext),
            })
        });
        let frame_length = match header.content_type() {
            ContentType::Framed(length) => json!(length),
            ContentType::NonFramed => Value::Null,
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
            "frames": summary.map(|summary| summary.frames),
            "header_bytes": header.len(),
            "body_bytes": summary.map(|summary| summary.body_len),
            "footer_bytes": summary.map(|summary| summary.footer_len),
            "plaintext_bytes": summary.map(|summary| summary.plaintext_len),
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
