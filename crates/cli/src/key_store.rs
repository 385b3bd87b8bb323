//! The key store of a command about files, and the key in it that encrypts them by default.

use std::cell::OnceCell;

use manila::local_kms::{CreateKey, KeyMetadata, LocalKms};

use crate::arguments::KeyStore;
use crate::config::Profile;
use crate::console::say;
use crate::failure::{Failure, Result};
use crate::place::{Place, Root};

/// The name of the key that encrypts by default.
pub const ALIAS: &str = "alias/file";

/// The key store of a command, opened once a key of it is needed, and once only: a passphrase is not asked for twice.
pub struct OnDemand<'a> {
    arguments: &'a KeyStore,
    opened: OnceCell<LocalKms>,
}

impl<'a> OnDemand<'a> {
    pub fn new(arguments: &'a KeyStore) -> Self {
        Self { arguments, opened: OnceCell::new() }
    }

    /// Returns the profile that goes with it.
    pub fn profile(&self) -> Result<&'a Profile> {
        self.arguments.profile()
    }

    /// Returns the key store, which must exist.
    pub fn open(&self) -> Result<LocalKms> {
        if let Some(kms) = self.opened.get() {
            return Ok(kms.clone());
        }
        Ok(self.keep(self.existing()?.open()?))
    }

    /// Fails unless the key store exists, or would be made, which a note says then.
    pub fn check(&self, is_made: bool) -> Result<()> {
        let place = Place::of(self.arguments)?;
        match is_made && place.root == Root::InFolder && !place.is_taken() {
            true => say(&format!("note: a key store would be made in {:?}", place.folder)),
            false => drop(self.existing()?),
        }
        Ok(())
    }

    fn existing(&self) -> Result<Place> {
        let place = Place::of(self.arguments)?;
        if place.is_taken() {
            return Ok(place);
        }
        let folder = place.folder;
        let text = format!("there is no key store in {folder:?}: give --store with the one that has the key");
        Err(Failure::Work(text))
    }

    /// Returns a key of the store by its id, ARN or alias.
    pub fn key(&self, name: &str) -> Result<KeyMetadata> {
        match name {
            ALIAS => self.default_key(),
            _ => Ok(self.open()?.describe_key(name)?),
        }
    }

    /// Returns the key that encrypts by default. Creates it, and the key store, if they do not exist.
    pub fn default_key(&self) -> Result<KeyMetadata> {
        let kms = match self.opened.get() {
            Some(kms) => kms.clone(),
            None => self.keep(Place::of(self.arguments)?.open_or_make()?),
        };
        Ok(kms.find_or_create_key(ALIAS, CreateKey::default().description("encrypts files"))?)
    }

    fn keep(&self, kms: LocalKms) -> LocalKms {
        self.opened.get_or_init(|| kms).clone()
    }
}
