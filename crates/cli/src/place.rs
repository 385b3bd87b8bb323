//! The folder with an embedded KMS, its root key and its audit log.

use std::fs;
use std::path::{Path, PathBuf};

use manila::local_kms::{AuditLog, LocalKms, LocalKmsBuilder, RootKey};

use crate::arguments::KeyStore;
use crate::console::say;
use crate::failure::{Failure, Result};
use crate::terminal;

/// The name of the audit log in the folder.
const AUDIT_LOG: &str = "audit.jsonl";

/// The place of the root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// In the folder of the store, under the name that the library gives it.
    InFolder,
    /// In a file elsewhere.
    File(PathBuf),
    /// Nowhere: it comes from a passphrase.
    Passphrase,
}

/// The folder of a key store, whether it is there or not, and the way to open it.
pub struct Place {
    pub folder: PathBuf,
    pub root: Root,
}

impl Place {
    pub fn of(arguments: &KeyStore) -> Result<Self> {
        let profile = arguments.profile()?;
        // Its root key is that of its store, and of no other.
        let (of_profile, is_its_passphrase) = match arguments.store {
            None => (profile.root_key_file.as_ref(), profile.passphrase),
            Some(_) => (None, false),
        };
        let folder = match arguments.store.as_ref().or(profile.store.as_ref()) {
            Some(folder) => folder.clone(),
            None => default_folder()?,
        };
        let root = match (&arguments.root_key_file, of_profile) {
            _ if arguments.passphrase => Root::Passphrase,
            (Some(file), _) => Root::File(file.clone()),
            _ if is_its_passphrase => Root::Passphrase,
            (None, Some(file)) => Root::File(file.clone()),
            (None, None) => Root::InFolder,
        };
        let failed = |error| Failure::file("cannot find the key store in", &folder, error);
        Ok(Self { folder: std::path::absolute(&folder).map_err(failed)?, root })
    }

    pub fn store(&self) -> PathBuf {
        self.folder.join(LocalKms::STORE_FILE)
    }

    pub fn audit_log(&self) -> PathBuf {
        self.folder.join(AUDIT_LOG)
    }

    /// Returns the file with the root key, if it is in one.
    pub fn root_key_file(&self) -> Option<PathBuf> {
        match &self.root {
            Root::InFolder => Some(self.folder.join(LocalKms::ROOT_KEY_FILE)),
            Root::File(file) => Some(file.clone()),
            Root::Passphrase => None,
        }
    }

    /// Returns whether the folder has a store, or a part of one.
    pub fn is_taken(&self) -> bool {
        let is_there = |name| fs::symlink_metadata(self.folder.join(name)).is_ok();
        is_there(LocalKms::STORE_FILE) || self.root == Root::InFolder && is_there(LocalKms::ROOT_KEY_FILE)
    }

    /// Settings for the store: its audit log is next to it.
    ///
    /// At best effort, so that no file stays encrypted because its log was lost, or its store restored from a copy:
    /// `manila audit verify` tells of both.
    pub fn settings(&self) -> LocalKmsBuilder {
        LocalKms::builder().audit(AuditLog::file(self.audit_log()).best_effort())
    }

    /// Opens the store, which must be there.
    pub fn open(&self) -> Result<LocalKms> {
        if !self.is_taken() {
            let folder = &self.folder;
            let text = format!("there is no key store in {folder:?}: give --store, or make one with manila store init");
            return Err(Failure::Work(text));
        }
        match &self.root {
            Root::InFolder => Ok(self.settings().open_or_create(&self.folder)?),
            _ => Ok(self.settings().open(self.store(), self.root_key()?)?),
        }
    }

    /// Opens the store, creating it first if it does not exist. If the root key is kept elsewhere than in the folder,
    /// nothing is created: only `manila store init` does that.
    pub fn open_or_make(&self) -> Result<LocalKms> {
        match &self.root {
            Root::InFolder => Ok(self.announced(self.settings().open_or_create(&self.folder)?)),
            _ => self.open(),
        }
    }

    /// The root key of an existing store: read from a file, or derived from a passphrase that is asked for.
    pub fn root_key(&self) -> Result<RootKey> {
        match self.root_key_file() {
            Some(file) => Ok(RootKey::open_file(file)?),
            None => Ok(RootKey::from_passphrase(&terminal::ask_passphrase("Passphrase of the key store")?)),
        }
    }

    /// Says that a store is new, if it is.
    pub fn announced(&self, kms: LocalKms) -> LocalKms {
        if kms.is_new() {
            let (folder, store) = (&self.folder, LocalKms::STORE_FILE);
            say(&match &self.root {
                Root::InFolder => format!(
                    "made a key store in {folder:?}: keep copies of its {} and {store}, \
                     without which no file can be decrypted",
                    LocalKms::ROOT_KEY_FILE
                ),
                Root::File(file) => format!(
                    "made a key store in {folder:?}: keep copies of its {store} and of the root key {file:?}, \
                     without which no file can be decrypted"
                ),
                Root::Passphrase => format!(
                    "made a key store in {folder:?}: keep a copy of its {store}, and do not forget the passphrase: \
                     without them no file can be decrypted"
                ),
            });
        }
        kms
    }
}

fn default_folder() -> Result<PathBuf> {
    let none = || Failure::Work("there is no home directory: give the folder of the key store with --store".to_owned());
    Ok(directories::ProjectDirs::from("", "", "manila").ok_or_else(none)?.data_dir().to_owned())
}

/// Creates a folder that only its owner can access, unless it exists.
pub fn make_folder(folder: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| Failure::file("cannot make", folder, error))
}
