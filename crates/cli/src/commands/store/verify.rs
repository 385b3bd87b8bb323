//! `manila store verify`.

use std::path::PathBuf;

use clap::Args;
use manila::local_kms::LocalKms;
use serde::Serialize;

use crate::arguments::Common;
use crate::failure::Result;
use crate::place::Place;
use crate::report;
use crate::session::Session;
use crate::trail::{self, Verified};

#[derive(Args)]
pub struct Verify {
    /// A backup, to verify that instead.
    backup: Option<PathBuf>,
}

#[derive(Serialize)]
struct OfStore {
    store: String,
    keys: usize,
    intact: bool,
    audit_log: Vec<Verified>,
}

#[derive(Serialize)]
struct OfBackup {
    backup: String,
    keys: usize,
    intact: bool,
}

impl Verify {
    pub fn run(&self, common: &Common) -> Result<()> {
        let Some(backup) = &self.backup else { return verify(&Session::open(common)?) };
        // Opening verifies all of it.
        let kms = LocalKms::open_read_only(backup, Place::of(&common.key_store)?.root_key()?)?;
        let (backup, keys) = (backup.display().to_string(), kms.list_keys()?.len());
        report::print(&OfBackup { backup, keys, intact: true }, common.json)
    }
}

fn verify(session: &Session) -> Result<()> {
    let audit_log = trail::verify(&session.kms, &trail::files(&session.place.audit_log())?)?;
    session.print(&OfStore {
        store: session.place.store().display().to_string(),
        keys: session.kms.list_keys()?.len(),
        intact: audit_log.iter().all(Verified::is_intact),
        audit_log: audit_log.clone(),
    })?;
    trail::check(&audit_log)
}
