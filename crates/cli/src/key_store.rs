//! The key store: a folder with an embedded KMS and its root key.

use std::fs;
use std::path::{Path, PathBuf};

use manila::HeaderFields;
use manila::keyring::{KmsKeyring, MultiKeyring};
use manila::local_kms::{CreateKey, LocalKms, RootKey};

use crate::console::say;
use crate::failure::{Failure, Result};

/// The name of the key that encrypts.
pub const ALIAS: &str = "alias/file";
const ROOT_KEY: &str = "root.key";
const KEYS: &str = "keys.redb";

/// Opens the key store. If there is none, makes one with a key to encrypt with.
pub fn open_or_make(folder: Option<&Path>) -> Result<LocalKms> {
    let folder = chosen_or_default(folder)?;
    match open(&folder)? {
        Some(kms) => Ok(kms),
        None => make(&folder),
    }
}

/// Returns a keyring of the keys that the header names, which it looks for in the key store.
pub fn keyring_for(header: &HeaderFields, folder: Option<&Path>) -> Result<MultiKeyring> {
    let folder = chosen_or_default(folder)?;
    let kms = open(&folder)?.ok_or_else(|| {
        Failure::Work(format!("there is no key store in {folder:?}: give --store with the one that encrypted the file"))
    })?;
    let mut keyring: Option<MultiKeyring> = None;
    for key in header.encrypted_data_keys().iter().filter(|key| key.provider_id == "aws-kms") {
        let Ok(arn) = str::from_utf8(&key.provider_info) else { continue };
        let Ok(child) = KmsKeyring::new(kms.clone(), arn) else { continue };
        keyring = Some(match keyring {
            None => MultiKeyring::without_generator(child),
            Some(others) => others.child(child),
        });
    }
    keyring.ok_or_else(|| Failure::Work("the file was not encrypted under a KMS key".to_owned()))
}

/// Opens the key store in a folder, if there is one.
fn open(folder: &Path) -> Result<Option<LocalKms>> {
    let (root_key, keys) = (folder.join(ROOT_KEY), folder.join(KEYS));
    let (missing, other) = match (root_key.exists(), keys.exists()) {
        (true, true) => return Ok(Some(LocalKms::open(keys, RootKey::open_file(root_key)?)?)),
        (false, false) => return Ok(None),
        (true, false) => (keys, root_key),
        (false, true) => (root_key, keys),
    };
    Err(Failure::Work(format!("{missing:?} is missing beside {other:?}: restore it from your copy")))
}

/// Makes a key store under a temporary name beside the final one, then renames it: it is there whole or not at all, and
/// if several programs make one at the same time, one of theirs stays.
fn make(folder: &Path) -> Result<LocalKms> {
    let failed = |error| Failure::file("cannot make the key store", folder, error);
    let folder = std::path::absolute(folder).map_err(failed)?;
    let parent = folder.parent().unwrap_or(&folder);
    fs::create_dir_all(parent).map_err(failed)?;
    let draft = tempfile::Builder::new().prefix(".manila-").tempdir_in(parent).map_err(failed)?;
    let kms = LocalKms::create(draft.path().join(KEYS), RootKey::create_file(draft.path().join(ROOT_KEY))?)?;
    kms.create_key(CreateKey::default().alias(ALIAS).description("encrypts files"))?;
    // Closed, so that the folder can be renamed on every system.
    drop(kms);
    // Replaces an empty folder and nothing else.
    let renamed = fs::rename(draft.path(), &folder);
    if renamed.is_ok() {
        let _ = draft.keep();
        say(&format!(
            "made a key store in {folder:?}: keep copies of its {ROOT_KEY} and {KEYS}, \
             without which no file can be decrypted"
        ));
    }
    match (renamed, open(&folder)?) {
        (_, Some(kms)) => Ok(kms),
        (Err(error), None) => Err(failed(error)),
        (Ok(()), None) => Err(Failure::Work(format!("the key store in {folder:?} was removed"))),
    }
}

fn chosen_or_default(folder: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = folder {
        return Ok(folder.to_owned());
    }
    let none = || Failure::Work("there is no home directory: give the folder of the key store with --store".to_owned());
    Ok(directories::ProjectDirs::from("", "", "manila").ok_or_else(none)?.data_dir().to_owned())
}
