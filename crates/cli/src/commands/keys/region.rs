//! `manila keys replicate` and `set-primary-region`.

use clap::Args;

use super::described::Key;
use crate::failure::Result;
use crate::session::Session;

#[derive(Args)]
pub struct Replicate {
    /// The id, ARN or alias of a multi-Region primary key.
    key: String,
    /// The region of the replica.
    to: String,
}

impl Replicate {
    pub fn run(&self, session: &Session) -> Result<()> {
        let replica = session.kms.replicate_key(&session.key(&self.key)?, &self.to)?;
        session.print(&Key::new(&replica, &[]))
    }
}

#[derive(Args)]
pub struct SetPrimaryRegion {
    /// The id, ARN or alias of a multi-Region primary key.
    key: String,
    /// The region of the replica that becomes the primary key.
    to: String,
}

impl SetPrimaryRegion {
    pub fn run(&self, session: &Session) -> Result<()> {
        let key_id = session.key(&self.key)?;
        session.kms.update_primary_region(&key_id, &self.to)?;
        session.print(&Key::of(&session.kms, &key_id)?)
    }
}
