//! The embedded KMS: the semantics of AWS KMS, in a file that reveals nothing and in which tampering is detected.

mod access;
mod aliases;
mod asymmetric;
mod audit;
mod audit_chain;
mod audit_proof;
mod audit_rotation;
mod audit_set_back;
mod basics;
mod child;
mod clock;
mod crash;
mod damage;
mod finding;
mod folder;
mod grants;
#[path = "../../../../tests/support/heard.rs"]
mod heard;
mod identities;
mod import;
mod kinds;
mod known_answers;
mod lifecycle;
mod opening;
mod permission_model;
mod processes;
mod raw_file;
mod replicas;
mod root_key;
mod rotation;
mod simulation;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use manila_core::testing::ready;
use manila_local_kms::{Clock, EncryptionContext, Error, KeyMetadata, Kms, KmsRequest, LocalKms, RootKey};

pub(crate) fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
    EncryptionContext::new(pairs.iter().copied()).unwrap()
}

/// Returns AWS's name for an error.
pub(crate) fn code(error: &Error) -> &str {
    error.kms_error().map_or("", |error| error.code())
}

pub(crate) fn encrypt(kms: &LocalKms, key: &str, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
    let context = context(&[("a", "b")]);
    ready(kms.encrypt(KmsRequest::new(key, &context), plaintext)).map(|answer| answer.ciphertext)
}

pub(crate) fn decrypt(kms: &LocalKms, key: &str, ciphertext: &[u8]) -> Result<Vec<u8>, Error> {
    let context = context(&[("a", "b")]);
    let answer = ready(kms.decrypt(KmsRequest::new(key, &context), ciphertext))?;
    Ok(answer.plaintext.expose_secret().to_vec())
}

/// Describes all keys of a region, ordered by id.
pub(crate) fn described(kms: &LocalKms) -> Vec<KeyMetadata> {
    kms.list_keys().unwrap().iter().map(|key| kms.describe_key(key.arn()).unwrap()).collect()
}

pub(crate) struct Folder(pub tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.path().join("keys.redb")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().join("root.key")
    }

    pub(crate) fn create(&self) -> LocalKms {
        LocalKms::create(self.store(), RootKey::create_file(self.root()).unwrap()).unwrap()
    }

    pub(crate) fn open(&self) -> Result<LocalKms, Error> {
        LocalKms::open(self.store(), RootKey::open_file(self.root())?)
    }
}

/// A clock that stands still until it is moved. It starts on 1 January 2026.
#[derive(Clone, Debug)]
pub(crate) struct TestClock {
    shown: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
}

impl TestClock {
    pub(crate) fn new() -> Self {
        Self { shown: Arc::new(AtomicU64::new(1_767_225_600)), passed: Arc::default() }
    }

    /// Returns a clock of another program, which shows the same time.
    pub(crate) fn another(&self) -> Self {
        let another = Self::new();
        another.shown.store(self.shown.load(Ordering::SeqCst), Ordering::SeqCst);
        another
    }

    pub(crate) fn advance_days(&self, days: u64) {
        self.advance_secs(days * 24 * 60 * 60);
    }

    pub(crate) fn advance_secs(&self, secs: u64) {
        self.shown.fetch_add(secs, Ordering::SeqCst);
        self.passed.fetch_add(secs, Ordering::SeqCst);
    }

    /// Shows a later time although none has passed.
    pub(crate) fn leap_hours(&self, hours: u64) {
        self.shown.fetch_add(hours * 60 * 60, Ordering::SeqCst);
    }

    pub(crate) fn set_back_days(&self, days: u64) {
        self.set_back_hours(24 * days);
    }

    pub(crate) fn set_back_hours(&self, hours: u64) {
        self.shown.fetch_sub(hours * 60 * 60, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.shown.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.passed.load(Ordering::SeqCst))
    }
}

/// Makes a KMS in memory and one in a file, each with a clock to move: both must behave the same.
pub(crate) fn both() -> [(LocalKms, TestClock, Folder); 2] {
    let (memory, file) = (TestClock::new(), TestClock::new());
    let folder = Folder::new();
    let in_file =
        LocalKms::builder().clock(file.clone()).create(folder.store(), RootKey::create_file(folder.root()).unwrap());
    let in_memory = LocalKms::builder().clock(memory.clone()).in_memory();
    [(in_memory.unwrap(), memory, Folder::new()), (in_file.unwrap(), file, folder)]
}
