//! `manila keys enable` and `disable`.

use clap::Args;

use super::described::print_changed;
use crate::failure::Result;
use crate::session::Session;

#[derive(Args)]
pub struct Enable {
    /// The id, ARN or alias of the key.
    key: String,
}

impl Enable {
    pub fn run(&self, session: &Session) -> Result<()> {
        let key_id = session.key(&self.key)?;
        session.kms.enable_key(&key_id)?;
        print_changed(session, &key_id)
    }
}

#[derive(Args)]
pub struct Disable {
    /// The id, ARN or alias of the key.
    key: String,
}

impl Disable {
    pub fn run(&self, session: &Session) -> Result<()> {
        let key_id = session.key(&self.key)?;
        session.kms.disable_key(&key_id)?;
        print_changed(session, &key_id)
    }
}
