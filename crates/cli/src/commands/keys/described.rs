//! The description of a key, as commands print it.

use manila::local_kms::{Alias, KeyMetadata, LocalKms};
use serde::Serialize;

use crate::failure::Result;
use crate::session::Session;
use crate::time::shown;

/// A key and its aliases.
#[derive(Serialize)]
pub struct Key {
    #[serde(rename = "key_id")]
    id: String,
    pub arn: String,
    aliases: Vec<String>,
    state: &'static str,
    spec: &'static str,
    usage: &'static str,
    origin: &'static str,
    description: String,
    created: String,
    pub deletion_date: Option<String>,
    material_expiry: Option<String>,
    multi_region: bool,
    primary_region: Option<String>,
    replica_regions: Vec<String>,
}

impl Key {
    pub fn new(key: &KeyMetadata, aliases: &[Alias]) -> Self {
        let is_of_it = |alias: &&Alias| alias.key_arn() == key.arn();
        Self {
            id: key.key_id().to_owned(),
            arn: key.arn().to_owned(),
            aliases: aliases.iter().filter(is_of_it).map(|alias| alias.name().to_owned()).collect(),
            state: key.state().name(),
            spec: key.spec().name(),
            usage: key.usage().name(),
            origin: key.origin().name(),
            description: key.description().to_owned(),
            created: shown(key.created()),
            deletion_date: key.deletion_date().map(shown),
            material_expiry: key.material_expiry().map(shown),
            multi_region: key.is_multi_region(),
            primary_region: key.is_multi_region().then(|| key.primary_region().to_owned()),
            replica_regions: key.replica_regions().to_vec(),
        }
    }

    /// Describes the key of an id or ARN.
    pub fn of(kms: &LocalKms, key_id: &str) -> Result<Self> {
        Ok(Self::new(&kms.describe_key(key_id)?, &kms.list_aliases()?))
    }

    /// Returns the ARN, and the aliases behind it in brackets.
    pub fn title(&self) -> String {
        match &self.aliases[..] {
            [] => self.arn.clone(),
            aliases => format!("{} ({})", self.arn, aliases.join(", ")),
        }
    }
}

/// The answer of a command that changes the state of a key: enough to see that it was the right one.
#[derive(Serialize)]
pub struct Changed {
    arn: String,
    aliases: Vec<String>,
    state: &'static str,
    deletion_date: Option<String>,
}

impl Changed {
    /// Describes the state that a key has after a change.
    pub fn of(session: &Session, key_id: &str) -> Result<Self> {
        let Key { arn, aliases, state, deletion_date, .. } = Key::of(&session.kms, key_id)?;
        Ok(Self { arn, aliases, state, deletion_date })
    }
}

/// Prints the state that a key has after a change.
pub fn print_changed(session: &Session, key_id: &str) -> Result<()> {
    session.print(&Changed::of(session, key_id)?)
}
