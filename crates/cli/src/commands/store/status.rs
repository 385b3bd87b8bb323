//! `manila store status`.

use std::fs;
use std::path::Path;

use manila::local_kms::{KeyMetadata, KeyState};
use serde::Serialize;

use crate::failure::Result;
use crate::session::Session;
use crate::time::shown;

#[derive(Serialize)]
struct Answer {
    folder: String,
    root_key: String,
    bytes: Option<u64>,
    region: String,
    account: String,
    keys: usize,
    enabled: usize,
    disabled: usize,
    pending_import: usize,
    pending_deletion: usize,
    next_deletion: Option<String>,
    aliases: usize,
    audit_log: String,
    audit_log_bytes: Option<u64>,
}

pub fn run(session: &Session) -> Result<()> {
    let (kms, place) = (&session.kms, &session.place);
    let keys = kms.list_keys()?;
    // A key whose policy does not let the owner describe it counts only towards the total.
    let described: Vec<_> = keys.iter().filter_map(|key| kms.describe_key(key.arn()).ok()).collect();
    let count = |state| described.iter().filter(|key| key.state() == state).count();
    session.print(&Answer {
        folder: place.folder.display().to_string(),
        root_key: place.root_key_file().map_or("passphrase".to_owned(), |file| file.display().to_string()),
        bytes: len(&place.store()),
        region: kms.region_name().to_owned(),
        account: kms.account().to_owned(),
        keys: keys.len(),
        enabled: count(KeyState::Enabled),
        disabled: count(KeyState::Disabled),
        pending_import: count(KeyState::PendingImport),
        pending_deletion: count(KeyState::PendingDeletion),
        next_deletion: described.iter().filter_map(KeyMetadata::deletion_date).min().map(shown),
        aliases: kms.list_aliases()?.len(),
        audit_log: place.audit_log().display().to_string(),
        audit_log_bytes: len(&place.audit_log()),
    })
}

fn len(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.len())
}
