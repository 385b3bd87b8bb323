//! `manila keys import` and `delete-material`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use zeroize::Zeroizing;

use super::described::Key;
use crate::arguments::is_stdio;
use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::terminal::confirm;
use crate::time;

/// More bytes than the longest key has, so that material that is too long is refused for its length.
const MOST: u64 = 8193;

#[derive(Args)]
pub struct Import {
    /// The id, ARN or alias of the key.
    key: String,
    /// A file with the material, or - for stdin: 32 random bytes, as many as the hash of an HMAC key, or a private key.
    ///
    /// A private key is PKCS #8 in DER, not encrypted. The bytes themselves, neither wrapped as on AWS nor written in
    /// digits. Keep a copy: only the same can be imported again.
    file: PathBuf,
    /// The time at which the material is removed, at most 365 days ahead: 90days, or 2026-11-22.
    #[arg(long, value_name = "TIME", value_parser = time::future)]
    expires: Option<SystemTime>,
}

impl Import {
    pub fn run(&self, session: &Session) -> Result<()> {
        let key_id = session.key(&self.key)?;
        session.kms.import_key_material(&key_id, &read(&self.file)?, self.expires)?;
        session.print(&Key::of(&session.kms, &key_id)?)
    }
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let mut material = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST).unwrap_or_default()));
    let read = match is_stdio(file) {
        true => io::stdin().take(MOST).read_to_end(&mut material),
        false => File::open(file).and_then(|file| file.take(MOST).read_to_end(&mut material)),
    };
    read.map_err(|error| Failure::file("cannot read the key material", file, error))?;
    Ok(material)
}

#[derive(Args)]
pub struct DeleteMaterial {
    /// The id, ARN or alias of the key.
    key: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl DeleteMaterial {
    pub fn run(&self, session: &Session) -> Result<()> {
        let key = Key::of(&session.kms, &session.key(&self.key)?)?;
        let title = key.title();
        confirm(&format!("Delete the material of the key {title}? Without a copy of it the key is lost."), self.yes)?;
        session.kms.delete_imported_key_material(&key.arn)?;
        session.print(&Key::of(&session.kms, &key.arn)?)
    }
}
