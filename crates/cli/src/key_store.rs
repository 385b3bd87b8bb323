//! The keys that files are encrypted with, in the key store.

use manila::HeaderFields;
use manila::keyring::{KmsKeyring, MultiKeyring};
use manila::local_kms::{CreateKey, LocalKms};

use crate::arguments::KeyStore;
use crate::failure::{Failure, Result};
use crate::place::Place;

/// The name of the key that encrypts.
pub const ALIAS: &str = "alias/file";

/// Opens the key store, and creates it and the key that encrypts if they do not exist.
pub fn open_or_make(arguments: &KeyStore) -> Result<LocalKms> {
    let kms = Place::of(arguments)?.open_or_make()?;
    kms.find_or_create_key(ALIAS, CreateKey::default().description("encrypts files"))?;
    Ok(kms)
}

/// Returns a keyring of the keys that the header names, which it looks for in the key store.
pub fn keyring_for(header: &HeaderFields, arguments: &KeyStore) -> Result<MultiKeyring> {
    let place = Place::of(arguments)?;
    if !place.is_taken() {
        let folder = place.folder;
        let text = format!("there is no key store in {folder:?}: give --store with the one that encrypted the file");
        return Err(Failure::Work(text));
    }
    let kms = place.open()?;
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
