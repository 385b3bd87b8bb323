//! `LocalKms`: the embedded KMS, in memory or in one file.

mod blob;
mod key;
mod root_key;
mod sealed;
mod store;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::context::EncryptionContext;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::kms::{GeneratedDataKey, KeyArn, Kms, KmsCiphertext, KmsError, KmsPlaintext, KmsRequest};
use crate::materials::{DataKey, KeyFuture};

use key::{AliasRecord, KeyRecord};
use store::{Store, Table, Tables, Writing};

pub use key::{CreateKey, KeyMetadata};
pub use root_key::RootKey;

/// Bytes that Encrypt takes, as AWS KMS does.
const PLAINTEXT_LEN: std::ops::RangeInclusive<usize> = 1..=4096;
/// Bytes of a data key, as AWS KMS makes them.
const DATA_KEY_LEN: std::ops::RangeInclusive<usize> = 1..=1024;

/// An AWS KMS in a file, or in memory. Cheap to clone: clones share the store.
///
/// It answers in AWS's forms (ARNs, aliases, error names), so that a program moves to AWS by changing the line that
/// makes the KMS. Keys live in a `redb` file, each record sealed under a key derived from a [`RootKey`] that is kept
/// elsewhere. Several processes may share the file. There is no background thread.
///
/// # What it protects against
///
/// Without the root key the file tells the number of keys, their ids and the names of aliases, and nothing else; a
/// changed or moved record is refused, also one from another store. It cannot tell an older copy of the whole file from
/// the current one, and who holds both file and root key holds every key. Opening a file needs leave to write it.
///
/// ```
/// use manila::{CreateKey, LocalKms};
///
/// let kms = LocalKms::in_memory()?;
/// let key = kms.create_key(CreateKey::default().alias("alias/app"))?;
/// assert_eq!(kms.describe_key("alias/app")?.arn(), key.arn());
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone)]
pub struct LocalKms {
    store: Arc<Store>,
}

impl LocalKms {
    /// A KMS that forgets its keys when the last clone is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if there is no randomness.
    pub fn in_memory() -> Result<Self> {
        Ok(Self { store: Arc::new(Store::in_memory()?) })
    }

    /// A new KMS in a new file at `path`, readable by its owner alone.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if there is a file already or it cannot be made, [`ErrorKind::Storage`] if it cannot be
    /// written.
    pub fn create(path: impl AsRef<Path>, root_key: RootKey) -> Result<Self> {
        Ok(Self { store: Arc::new(Store::create(path.as_ref(), root_key)?) })
    }

    /// The KMS in the file at `path`. Other processes may have it open too.
    ///
    /// The whole file is checked first.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if it is damaged, no key store, or one of another root key.
    pub fn open(path: impl AsRef<Path>, root_key: RootKey) -> Result<Self> {
        Ok(Self { store: Arc::new(Store::open(path.as_ref(), root_key)?) })
    }

    /// Makes a key, with an alias if one is asked for.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the alias is taken (`AlreadyExistsException`) or no alias name, or if the
    /// description has more than 8192 characters.
    #[expect(clippy::needless_pass_by_value, reason = "a request is made for one call")]
    pub fn create_key(&self, request: CreateKey) -> Result<KeyMetadata> {
        let record = KeyRecord::generate(&request, SystemTime::now())?;
        self.store.write(|tables| {
            tables.put(Table::Keys, &record.id, &record)?;
            request.alias.as_deref().map_or(Ok(()), |alias| put_alias(tables, alias, &record.id))
        })?;
        Ok(self.metadata(&record))
    }

    /// Gives a key another name. `target` is its id or ARN.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the alias is taken or no alias name, [`ErrorKind::KeyRefused`] if there is no
    /// such key.
    pub fn create_alias(&self, alias: &str, target: &str) -> Result<()> {
        self.store.write(|tables| {
            let record = self.find(tables, target)?;
            put_alias(tables, alias, &record.id)
        })
    }

    /// What is known of a key: `key_id` is its id, its ARN, an alias or an alias ARN.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`] if there is no such key (`NotFoundException`).
    pub fn describe_key(&self, key_id: &str) -> Result<KeyMetadata> {
        self.store.read(|tables| self.find(tables, key_id)).map(|record| self.metadata(&record))
    }

    /// All keys, in the order of their ids.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if the store cannot be read.
    pub fn list_keys(&self) -> Result<Vec<KeyMetadata>> {
        let records: Vec<(String, KeyRecord)> = self.store.read(|tables| tables.all(Table::Keys))?;
        Ok(records.iter().map(|(_, record)| self.metadata(record)).collect())
    }

    /// All aliases with the ARNs of their keys, in the order of their names.
    ///
    /// # Errors
    /// [`ErrorKind::Storage`] if the store cannot be read.
    pub fn list_aliases(&self) -> Result<Vec<(String, String)>> {
        let records: Vec<(String, AliasRecord)> = self.store.read(|tables| tables.all(Table::Aliases))?;
        Ok(records.into_iter().map(|(alias, record)| (alias, self.arn(&record.key_id))).collect())
    }

    fn metadata(&self, record: &KeyRecord) -> KeyMetadata {
        KeyMetadata::new(record, self.arn(&record.id))
    }

    fn arn(&self, key_id: &str) -> String {
        format!("arn:aws:kms:{}:{}:key/{key_id}", self.store.region(), self.store.account())
    }

    /// The key that an id, ARN, alias or alias ARN names.
    fn find(&self, tables: &impl Tables, name: &str) -> Result<KeyRecord> {
        let not_found = || refused("NotFoundException", format!("there is no key {}", quoted(name)));
        let id = match self.resource(name).ok_or_else(not_found)? {
            Resource::Key(id) => id.to_owned(),
            Resource::Alias(alias) => {
                let record: Option<AliasRecord> = tables.get(Table::Aliases, &alias)?;
                record.ok_or_else(not_found)?.key_id
            }
        };
        tables.get(Table::Keys, &id)?.ok_or_else(not_found)
    }

    /// What a name stands for, unless it is an ARN of another KMS.
    fn resource<'a>(&self, name: &'a str) -> Option<Resource<'a>> {
        if !name.starts_with("arn:") {
            let is_alias = name.starts_with(key::ALIAS_PREFIX);
            return Some(if is_alias { Resource::Alias(name.to_owned()) } else { Resource::Key(name) });
        }
        let (parts, kind) = KeyArn::parse_any(name).ok()?;
        let ours = (parts.partition, parts.region, parts.account) == ("aws", self.store.region(), self.store.account());
        match kind {
            _ if !ours => None,
            "alias" => Some(Resource::Alias(format!("{}{}", key::ALIAS_PREFIX, parts.key_id))),
            _ => Some(Resource::Key(parts.key_id)),
        }
    }

    fn seal(&self, request: KmsRequest<'_>, plaintext: &[u8]) -> Result<KmsCiphertext> {
        let record = self.store.read(|tables| self.find(tables, request.key_id))?;
        let ciphertext = blob::seal(&record, request.encryption_context, plaintext)?;
        Ok(KmsCiphertext { ciphertext, key_arn: self.arn(&record.id) })
    }

    fn generate(&self, request: KmsRequest<'_>, length: usize) -> Result<GeneratedDataKey> {
        check_len("a data key", length, DATA_KEY_LEN)?;
        let plaintext = DataKey::generate(length)?;
        let KmsCiphertext { ciphertext, key_arn } = self.seal(request, plaintext.expose_secret())?;
        Ok(GeneratedDataKey { plaintext, ciphertext, key_arn })
    }

    fn open_blob(&self, key_id: &str, context: &EncryptionContext, ciphertext: &[u8]) -> Result<KmsPlaintext> {
        let blob = blob::parse(ciphertext)?;
        let record = self.store.read(|tables| self.find(tables, key_id))?;
        let plaintext = DataKey::new(&blob.open(&record, context)?);
        Ok(KmsPlaintext { plaintext, key_arn: self.arn(&record.id) })
    }
}

/// What the name of a key can be.
enum Resource<'a> {
    Key(&'a str),
    Alias(String),
}

fn put_alias(tables: &mut Writing<'_>, alias: &str, key_id: &str) -> Result<()> {
    key::check_alias(alias)?;
    if tables.get::<AliasRecord>(Table::Aliases, alias)?.is_some() {
        return Err(invalid("AlreadyExistsException", format!("the alias {} is taken", quoted(alias))));
    }
    tables.put(Table::Aliases, alias, &AliasRecord { key_id: key_id.to_owned() })
}

fn check_len(what: &str, len: usize, allowed: std::ops::RangeInclusive<usize>) -> Result<()> {
    if allowed.contains(&len) {
        return Ok(());
    }
    let message = format!("{what} has {} to {} bytes, not {len}", allowed.start(), allowed.end());
    Err(invalid("ValidationException", message))
}

/// The key or the ciphertext is at fault.
fn refused(code: &'static str, message: String) -> Error {
    answer(ErrorKind::KeyRefused, code, message)
}

/// The request is at fault.
fn invalid(code: &'static str, message: String) -> Error {
    answer(ErrorKind::InvalidInput, code, message)
}

fn answer(kind: ErrorKind, code: &str, message: String) -> Error {
    let error = KmsError::new(code, message);
    Error::other(kind, format!("the embedded KMS refused: {error}"), error)
}

impl Kms for LocalKms {
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
        Box::pin(async move { self.generate(request, length) })
    }

    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        Box::pin(async move {
            check_len("a plaintext", plaintext.len(), PLAINTEXT_LEN)?;
            self.seal(request, plaintext)
        })
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        Box::pin(async move { self.open_blob(request.key_id, request.encryption_context, ciphertext) })
    }

    fn is_local(&self) -> bool {
        true
    }
}

impl fmt::Debug for LocalKms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKms")
            .field("region", &self.store.region())
            .field("account", &self.store.account())
            .finish_non_exhaustive()
    }
}
