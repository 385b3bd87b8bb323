//! `manila keys delete` and `cancel-deletion`.

use clap::Args;

use super::described::{Key, print_changed};
use crate::failure::Result;
use crate::session::Session;
use crate::terminal::confirm;

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
}

impl Delete {
    pub fn run(&self, session: &Session) -> Result<()> {
        let key = Key::of(&session.kms, &session.key(&self.key)?)?;
        let question = format!(
            "Delete the key {} in {} days? From then on nobody can decrypt what was encrypted under it.",
            key.title(),
            self.days
        );
        confirm(&question, self.yes)?;
        session.kms.schedule_key_deletion_in(&key.arn, self.days)?;
        print_changed(session, &key.arn)
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
