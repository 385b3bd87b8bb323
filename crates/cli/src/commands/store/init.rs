//! `manila store init`.

use clap::Args;
use manila::local_kms::{LocalKms, RootKey};
use serde::Serialize;

use crate::arguments::Common;
use crate::failure::Result;
use crate::place::{Place, Root, make_folder};
use crate::session::Session;
use crate::terminal;

/// With --root-key-file the root key is read from that file, which is created if it does not exist. With --passphrase
/// the passphrase is asked for twice.
#[derive(Args)]
pub struct Init {
    /// The region of the keys, as their ARNs name it.
    #[arg(long, default_value = "local")]
    region: String,
    /// The account that the keys belong to, 12 digits.
    #[arg(long, default_value = "000000000000")]
    account: String,
}

#[derive(Serialize)]
struct Answer {
    made: bool,
    folder: String,
    region: String,
    account: String,
}

impl Init {
    pub fn run(&self, common: &Common) -> Result<()> {
        let place = Place::of(&common.key_store)?;
        let kms = if place.is_taken() { place.open()? } else { place.announced(self.make(&place)?) };
        let answer = Answer {
            made: kms.is_new(),
            folder: place.folder.display().to_string(),
            region: kms.region_name().to_owned(),
            account: kms.account().to_owned(),
        };
        Session::over(kms, place, common.json).print(&answer)
    }

    fn make(&self, place: &Place) -> Result<LocalKms> {
        let settings = place.settings().region(&self.region).account(&self.account);
        let root_key = match &place.root {
            Root::InFolder => return Ok(settings.open_or_create(&place.folder)?),
            Root::File(file) if file.exists() => RootKey::open_file(file)?,
            Root::File(file) => RootKey::create_file(file)?,
            Root::Passphrase => RootKey::from_passphrase(&terminal::ask_new_passphrase()?),
        };
        make_folder(&place.folder)?;
        Ok(settings.create(place.store(), root_key)?)
    }
}
