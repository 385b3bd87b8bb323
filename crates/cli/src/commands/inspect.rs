//! `manila inspect`. Every string of the file is quoted and escaped: its header can hold anything.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use manila::{BodySummary, ContentType, UnverifiedHeader};
use manila_core::internal::crypto::hex;
use serde_json::{Value, json};

use crate::console::say;
use crate::failure::{Failure, Result, naming};
use crate::input::Input;
use crate::report::{ascii, print_text};
use crate::walk::{Locking, Roots};

#[derive(Args)]
pub struct Inspect {
    /// The encrypted files, with -r the folders with them as well, or - for stdin.
    #[arg(value_name = "PATH", required = true)]
    inputs: Vec<PathBuf>,
    /// Take folders too: all files in them that end in .manila. Symbolic links are not followed.
    #[arg(short, long)]
    recursive: bool,
    /// Print JSON: an object for each file.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(&self) -> Result<()> {
        match self.inputs.as_slice() {
            inputs if self.recursive => {
                let roots = Roots::new(inputs, true)?;
                self.show_all(roots.walk(Locking::None).map(|found| found.map(|found| found.path)))
            }
            [input] => self.show(input, false),
            inputs => self.show_all(inputs.iter().cloned().map(Ok)),
        }
    }

    fn show_all(&self, paths: impl Iterator<Item = Result<PathBuf>>) -> Result<()> {
        let mut result = Ok(());
        for (number, path) in paths.enumerate() {
            if number > 0 && !self.json {
                print_text("\n")?;
            }
            let shown = path.and_then(|path| {
                let named = |failure: Failure| naming(&path.to_string_lossy(), &failure.to_string());
                self.show(&path, true).map_err(|failure| Failure::Work(named(failure)))
            });
            if let Err(failure) = shown {
                say(&format!("error: {failure}"));
                result = Err(Failure::Reported);
            }
        }
        result
    }

    fn show(&self, path: &Path, is_one_of_several: bool) -> Result<()> {
        let mut input = Input::open(path)?;
        let header = UnverifiedHeader::read(&mut input)?;
        let summarized = header.summarize_body(input);
        let summary = summarized.as_ref().ok();
        print_text(&match (self.json, is_one_of_several) {
            (true, _) => ascii(&format!("{:#}\n", to_json(path, &header, summary))),
            (false, true) => format!("{:<12} {path:?}\n{}", "file", to_text(&header, summary)),
            (false, false) => to_text(&header, summary),
        })?;
        // Only now: the header of a file that was cut or goes on is worth showing too.
        summarized?;
        Ok(())
    }
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
        ContentType::NonFramed => ("frame length", "none: the body is non-framed".to_owned()),
    });
    rows.push(("header", format!("{} bytes", header.len())));
    if let Some(summary) = summary {
        rows.push(("body", format!("{} bytes in {} frames", summary.body_len(), summary.frames())));
        rows.push(("footer", format!("{} bytes", summary.footer_len())));
        rows.push(("plaintext", format!("{} bytes", summary.plaintext_len())));
    }
    rows.push(("verified", "nothing: anyone can write a header".to_owned()));
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name:<12} {value}");
        text
    })
}

fn to_json(path: &Path, header: &UnverifiedHeader, summary: Option<&BodySummary>) -> Value {
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
        "file": path.to_string_lossy(),
        "verified": false,
        "version": header.version(),
        "suite": header.suite().to_string(),
        "suite_name": header.suite().name(),
        "message_id": hex(header.message_id()),
        "encryption_context": context,
        "encrypted_data_keys": data_keys.collect::<Vec<_>>(),
        "frame_length": frame_length,
        "frames": summary.map(BodySummary::frames),
        "header_bytes": header.len(),
        "body_bytes": summary.map(BodySummary::body_len),
        "footer_bytes": summary.map(BodySummary::footer_len),
        "plaintext_bytes": summary.map(BodySummary::plaintext_len),
    })
}
