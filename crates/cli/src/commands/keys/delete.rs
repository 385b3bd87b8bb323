//! `manila keys delete` and `cancel-deletion`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::described::{Changed, Key, print_changed};
use crate::census::Deletion;
use crate::console::say;
use crate::failure::Result;
use crate::session::Session;
use crate::terminal::confirm;
use crate::walk::Roots;

#[derive(Args)]
pub struct Delete {
    /// The id, ARN or alias of the key.
    key: String,
    /// The waiting period, 7 to 30 days.
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Say first how many of these files could no longer be decrypted, as their headers tell; of folders, the files in
    /// them that end in .manila.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    census: Vec<PathBuf>,
}

/// The answer, with what was counted before.
#[derive(Serialize)]
struct Deleted {
    #[serde(flatten)]
    changed: Changed,
    #[serde(skip_serializing_if = "Option::is_none")]
    census: Option<Deletion>,
}

impl Delete {
    pub fn run(&self, session: &Session) -> Result<()> {
        let key = Key::of(&session.kms, &session.key(&self.key)?)?;
        let census = match &self.census[..] {
            [] => None,
            paths => Some(Deletion::of_key(&key.arn, &Roots::new(paths, true)?)),
        };
        if let Some(census) = &census {
            say(&format!("note: without this key {}", census.sentence()));
        }
        let question = format!(
            "Delete the key {} in {} days? From then on nobody can decrypt what was encrypted under it.",
            key.title(),
            self.days
        );
        confirm(&question, self.yes)?;
        session.kms.schedule_key_deletion_in(&key.arn, self.days)?;
        session.print(&Deleted { changed: Changed::of(session, &key.arn)?, census })
    }
}

#[derive(Args)]
pub struct CancelDeletion {
    /// The id, ARN or alias of the key.
    key: String,
}

impl CancelDeletion {
    pub fn run(&self, session: &Session) -> Result<()> {
        let key_id = session.key(&self.key)?;
        session.kms.cancel_key_deletion(&key_id)?;
        print_changed(session, &key_id)
    }
}
