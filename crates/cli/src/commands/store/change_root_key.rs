//! `manila store change-root-key`.

use std::path::{Path, PathBuf};

use clap::Args;
use manila::local_kms::{RootKey, RootKeyChange};
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::place::Root;
use crate::session::Session;
use crate::terminal::{self, confirm};

/// By default the new root key takes the place of root.key in the folder of the key store, and the old one stays next
/// to it with a number in its name: earlier backups need it. Programs that have the key store open must reopen it.
#[derive(Args)]
pub struct ChangeRootKey {
    /// Give every key new material too: for after others may have read the root key.
    #[arg(long)]
    rotate: bool,
    /// Write the new root key to this file, which must not exist. Needed with --root-key-file.
    #[arg(long, value_name = "FILE", conflicts_with = "new_passphrase")]
    new_root_key_file: Option<PathBuf>,
    /// Ask for a new passphrase instead of making a root key.
    #[arg(long)]
    new_passphrase: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Changed {
    root_key: String,
    /// Of backups from before.
    old_root_key: Option<String>,
    purged: bool,
    rotated: Vec<String>,
    not_rotated: Vec<String>,
}

impl ChangeRootKey {
    pub fn run(&self, session: &Session) -> Result<()> {
        let place = &session.place;
        let is_in_folder = self.new_root_key_file.is_none() && !self.new_passphrase;
        if is_in_folder && place.root != Root::InFolder {
            let text =
                "the root key is not in the folder of the key store: give --new-root-key-file or --new-passphrase";
            return Err(Failure::Usage(text.to_owned()));
        }
        let question = format!("Seal the key store in {:?} under another root key?", place.folder);
        confirm(&question, self.yes)?;
        let (root_key, change) = match &self.new_root_key_file {
            _ if self.new_passphrase => {
                let passphrase = terminal::ask_new_passphrase()?;
                ("passphrase".to_owned(), self.change(session, RootKey::from_passphrase(&passphrase))?)
            }
            Some(file) => (file.display().to_string(), self.change(session, RootKey::create_file(file)?)?),
            None => {
                let file = place.root_key_file().map(|file| file.display().to_string()).unwrap_or_default();
                (file, self.change_in_folder(session)?)
            }
        };
        let old = change.old_root_key().map(Path::to_owned).or_else(|| place.root_key_file());
        session.print(&Changed {
            root_key,
            old_root_key: old.map(|file| file.display().to_string()),
            purged: change.is_purged(),
            rotated: change.rotated().to_vec(),
            not_rotated: change.not_rotated().to_vec(),
        })
    }

    fn change(&self, session: &Session, root_key: RootKey) -> Result<RootKeyChange> {
        Ok(match self.rotate {
            false => session.kms.change_root_key(root_key)?,
            true => session.kms.change_root_key_and_rotate(root_key)?,
        })
    }

    fn change_in_folder(&self, session: &Session) -> Result<RootKeyChange> {
        let folder = &session.place.folder;
        Ok(match self.rotate {
            false => session.kms.change_root_key_in(folder)?,
            true => session.kms.change_root_key_in_and_rotate(folder)?,
        })
    }
}
