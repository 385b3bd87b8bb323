//! `manila store restore`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::arguments::Common;
use crate::failure::{Failure, Result};
use crate::place::{Place, make_folder};
use crate::session::Session;

/// The root key must be there already: root.key in the folder of the key store, or --root-key-file. Keys are in the
/// state that they had when the backup was made; those whose deletion was due meanwhile are left out.
#[derive(Args)]
pub struct Restore {
    /// The backup. It is not changed.
    backup: PathBuf,
}

#[derive(Serialize)]
struct Restored {
    folder: String,
    keys: usize,
    left_out: usize,
}

impl Restore {
    pub fn run(&self, common: &Common) -> Result<()> {
        let place = Place::of(&common.key_store)?;
        if place.store().exists() {
            let text = format!("there is a key store already: move {:?} out of the way first", place.store());
            return Err(Failure::Work(text));
        }
        if let Some(file) = place.root_key_file().filter(|file| !file.exists()) {
            let text =
                format!("the root key {file:?} is missing: copy that of the backup there, or give --root-key-file");
            return Err(Failure::Work(text));
        }
        let root_key = place.root_key()?;
        make_folder(&place.folder)?;
        let (kms, left_out) = place.settings().restore(&self.backup, place.store(), root_key)?;
        let restored = Restored { folder: place.folder.display().to_string(), keys: kms.list_keys()?.len(), left_out };
        Session::over(kms, place, common.json).print(&restored)
    }
}
