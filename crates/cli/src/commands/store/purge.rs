//! `manila store purge`.

use serde::Serialize;

use crate::failure::Result;
use crate::session::Session;

#[derive(Serialize)]
struct Purged {
    purged: bool,
    keys_removed: usize,
}

pub fn run(session: &Session) -> Result<()> {
    session.print(&Purged { purged: true, keys_removed: session.kms.purge()? })
}
