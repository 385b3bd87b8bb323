//! `manila keys describe`.

use clap::Args;

use super::described::Key;
use crate::failure::Result;
use crate::session::Session;

#[derive(Args)]
pub struct Describe {
    /// The id, ARN or alias of the key.
    key: String,
    /// A text that says what the key is for.
    description: String,
}

impl Describe {
    pub fn run(&self, session: &Session) -> Result<()> {
        let key_id = session.key(&self.key)?;
        session.kms.update_key_description(&key_id, &self.description)?;
        session.print(&Key::of(&session.kms, &key_id)?)
    }
}
