//! `manila audit rotate`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::failure::Result;
use crate::session::Session;
use crate::trail::rotated_name;

/// The new log continues from the old one: both are one chain, and each shows if an end was cut off.
#[derive(Args)]
pub struct Rotate {
    /// The new name of the old log, on the same file system. By default audit-TIME.jsonl next to it. If the log was
    /// moved already, as logrotate does, the name that it has now.
    #[arg(long, value_name = "FILE", conflicts_with = "lost")]
    to: Option<PathBuf>,
    /// Begin a new log where the old one is lost.
    #[arg(long)]
    lost: bool,
}

#[derive(Serialize)]
struct Rotated {
    log: String,
    old: Option<String>,
}

impl Rotate {
    pub fn run(&self, session: &Session) -> Result<()> {
        let log = session.place.audit_log();
        let old = (!self.lost).then(|| self.to.clone().unwrap_or_else(|| rotated_name(&log)));
        match &old {
            Some(old) => session.kms.rotate_audit_log(old)?,
            None => session.kms.replace_lost_audit_log()?,
        }
        session.print(&Rotated { log: log.display().to_string(), old: old.map(|old| old.display().to_string()) })
    }
}
