//! `manila store backup`.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::failure::Result;
use crate::session::Session;

/// The backup is sealed under the root key of the key store: keep a copy of that key elsewhere. Backups do not change
/// afterwards: keys that are deleted later stay in them.
#[derive(Args)]
pub struct Backup {
    /// The file to write. It must not exist.
    file: PathBuf,
}

#[derive(Serialize)]
struct Written {
    backup: String,
    bytes: Option<u64>,
    root_key: String,
}

impl Backup {
    pub fn run(&self, session: &Session) -> Result<()> {
        session.kms.backup(&self.file)?;
        session.print(&Written {
            backup: self.file.display().to_string(),
            bytes: fs::metadata(&self.file).ok().map(|metadata| metadata.len()),
            root_key: session.place.root_key_file().map_or("passphrase".to_owned(), |file| file.display().to_string()),
        })
    }
}
