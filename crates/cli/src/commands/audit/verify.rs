//! `manila audit verify`.

use std::path::PathBuf;

use clap::Args;

use crate::failure::Result;
use crate::session::Session;
use crate::trail;

#[derive(Args)]
pub struct Verify {
    /// Files of the log, oldest first, the last of which is being written. By default the one of the key store, and
    /// those that manila audit rotate kept next to it. A single file may be any of them.
    files: Vec<PathBuf>,
}

impl Verify {
    pub fn run(&self, session: &Session) -> Result<()> {
        let verified = match &self.files[..] {
            [] => trail::verify(&session.kms, &trail::files(&session.place.audit_log())?)?,
            [file] => vec![trail::verify_one(&session.kms, file)?],
            files => trail::verify(&session.kms, files)?,
        };
        session.print(&verified)?;
        trail::check(&verified)
    }
}
