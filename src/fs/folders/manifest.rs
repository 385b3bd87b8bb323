//! The manifest of an encrypted folder: an encrypted message with a line of JSON for each entry.
//!
//! The same file is the journal of an encryption while it is being written: each frame that has been written completely
//! is verified when it is read, so the entries of a manifest that was cut off are as good as those of a whole one.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind as IoErrorKind, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::pin::pin;

use manila_core::{EncryptionContext, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::entry::{Attributes, Entry, RandomName};
use crate::client::Client;
use crate::encrypt::Encryptor;
use crate::expected_context::ExpectedContext;
use crate::fs::disk::open_regular;
use crate::fs::failed;
use crate::settings::Settings;
use crate::stream::read::DecryptReader;
use crate::stream::write::EncryptWriter;
use crate::threads::Workers;

/// The pair in the encryption context of each file of a folder, with the random id of the folder.
pub(super) const FOLDER_PAIR: &str = "manila-folder";

/// The pair in the encryption context of a manifest, with the same id. Another key, so that no file of the folder can
/// be put in the place of the manifest, whatever is in it.
const MANIFEST_PAIR: &str = "manila-manifest";

/// Length in bytes of a frame: short, because the entries in a frame that was cut off are lost.
const FRAME_LENGTH: u32 = 4096;

/// Length in bytes of the longest line: a path and a target of 4096 bytes each, all of them escaped, and some more.
const MAX_LINE: u64 = 64 << 10;

/// The first line of a manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    manila_folder: u32,
    /// The attributes of the folder itself.
    pub(super) attributes: Attributes,
}

/// The version of the lines.
const VERSION: u32 = 1;

/// Returns the context of the files of a folder.
pub(super) fn of_files(context: &EncryptionContext, id: &RandomName) -> Result<EncryptionContext> {
    with_pair(context, FOLDER_PAIR, id)
}

fn with_pair(context: &EncryptionContext, key: &str, id: &RandomName) -> Result<EncryptionContext> {
    if let Some(taken) = [FOLDER_PAIR, MANIFEST_PAIR].into_iter().find(|key| context.get(key).is_some()) {
        let detail = format!("the key {taken:?} of the encryption context belongs to encrypted folders: use another");
        return Err(Error::new(ErrorKind::InvalidInput, detail));
    }
    EncryptionContext::new(context.iter().chain([(key, id.as_str())]))
}

/// Starts the message of a manifest.
pub(super) fn encryptor(client: &Client, context: &EncryptionContext, id: &RandomName) -> Result<Encryptor> {
    let context = with_pair(context, MANIFEST_PAIR, id)?;
    let settings = Settings { frame_length: FRAME_LENGTH, workers: Workers::one(), ..client.settings.clone() };
    client.poll_local(pin!(client.encryptor_with(&settings, &context, BTreeSet::new(), None)))
}

/// Writes a manifest.
pub(super) struct ManifestWriter {
    path: PathBuf,
    writer: EncryptWriter<File>,
}

impl ManifestWriter {
    /// Starts a manifest in a new file.
    pub(super) fn start(path: PathBuf, encryptor: Encryptor, attributes: Attributes) -> Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|error| failed("cannot write", &path, &error))?;
        let mut manifest = Self { path, writer: encryptor.writer(file) };
        manifest.write(&Head { manila_folder: VERSION, attributes })?;
        Ok(manifest)
    }

    pub(super) fn add(&mut self, entry: &Entry) -> Result<()> {
        self.write(entry)
    }

    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        text.push(b'\n');
        let written = self.writer.write_all(&text).and_then(|()| self.writer.flush());
        written.map_err(|error| failed("cannot write", &self.path, &error))
    }

    /// Completes the manifest, and returns where it is.
    pub(super) fn finish(self, syncs: bool) -> Result<PathBuf> {
        let file = self.writer.finish()?;
        if syncs {
            file.sync_all().map_err(|error| failed("cannot write", &self.path, &error))?;
        }
        Ok(self.path)
    }
}

/// Reads a manifest, which it has not verified to its end before it returns the last entry.
pub(super) struct ManifestReader {
    lines: Lines,
    head: Head,
    id: RandomName,
}

impl ManifestReader {
    pub(super) fn open(file: File, client: &Client, expected: &ExpectedContext) -> Result<Self> {
        let mut source = BufReader::new(file);
        let header = client.read_header(&mut source)?;
        let id = header.encryption_context().get(MANIFEST_PAIR).map(|id| RandomName::try_from(id.to_owned()));
        let Some(Ok(id)) = id else {
            return Err(malformed("is a message that is not the manifest of an encrypted folder"));
        };
        let expected = expected.including(MANIFEST_PAIR, id.as_str())?;
        let mut lines = Lines { reader: client.decryptor(header, expected)?.reader(source), line: Vec::new() };
        let head: Head = lines.next()?.ok_or_else(|| malformed("is empty"))?;
        if head.manila_folder != VERSION {
            return Err(malformed("was written by a newer version of this library: update it"));
        }
        Ok(Self { lines, head, id })
    }

    pub(super) fn attributes(&self) -> Attributes {
        self.head.attributes
    }

    /// Returns the id of the folder.
    pub(super) fn id(&self) -> &RandomName {
        &self.id
    }

    /// Returns the next entry, or `None` at the end of a manifest that is complete and verified.
    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        self.lines.next()
    }
}

/// Lines of JSON of bounded length.
struct Lines {
    reader: DecryptReader<BufReader<File>>,
    line: Vec<u8>,
}

impl Lines {
    fn next<T: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<T>> {
        self.line.clear();
        let count = self.reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut self.line)?;
        if count == 0 {
            return Ok(None);
        }
        if self.line.last() != Some(&b'\n') {
            return Err(malformed("has a line that is too long or cut off"));
        }
        let parsed = serde_json::from_slice(&self.line);
        parsed.map(Some).map_err(|error| malformed(&format!("has an entry that cannot be read: {error}")))
    }
}

/// A manifest that is read several times, always the same file.
pub(super) struct Manifest {
    file: File,
    path: PathBuf,
}

impl Manifest {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let (file, _) = open_regular(&path).map_err(|error| match error.kind() {
            IoErrorKind::NotFound => {
                let detail = format!("{path:?} is missing: the folder is not an encrypted one, or was not finished");
                Error::other(ErrorKind::Io, detail, error)
            }
            _ => failed("cannot read", &path, &error),
        })?;
        Ok(Self { file, path })
    }

    /// Reads it from the start.
    pub(super) fn read(&self, client: &Client, expected: &ExpectedContext) -> Result<ManifestReader> {
        let cannot = |error| failed("cannot read", &self.path, &error);
        let mut file = self.file.try_clone().map_err(cannot)?;
        file.seek(SeekFrom::Start(0)).map_err(cannot)?;
        ManifestReader::open(file, client, expected).map_err(|error| self.named(error))
    }

    /// Returns an error of reading it, with its path.
    pub(super) fn named(&self, error: Error) -> Error {
        Error::other(error.kind(), format!("{:?}: {error}", self.path), error)
    }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Malformed, format!("the manifest {what}"))
}
