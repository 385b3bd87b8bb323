//! `manila keys tag`.

use std::collections::BTreeMap;

use clap::Subcommand;

use crate::arguments;
use crate::failure::Result;
use crate::session::Session;

#[derive(Subcommand)]
pub enum Tag {
    /// Add tags to a key. Existing ones get the new values.
    Add {
        /// The id, ARN or alias of the key.
        key: String,
        /// The tags.
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = arguments::pair)]
        tags: Vec<(String, String)>,
    },
    /// Remove tags from a key.
    Remove {
        /// The id, ARN or alias of the key.
        key: String,
        /// The keys of the tags.
        #[arg(required = true, value_name = "KEY")]
        tags: Vec<String>,
    },
    /// List the tags of a key.
    List {
        /// The id, ARN or alias of the key.
        key: String,
    },
}

impl Tag {
    pub fn run(&self, session: &Session) -> Result<()> {
        let kms = &session.kms;
        let (Self::Add { key, .. } | Self::Remove { key, .. } | Self::List { key }) = self;
        let key_id = session.key(key)?;
        match self {
            Self::Add { tags, .. } => kms.tag_key(&key_id, tags.iter().cloned())?,
            Self::Remove { tags, .. } => kms.untag_key(&key_id, tags.iter().map(String::as_str))?,
            Self::List { .. } => {}
        }
        session.print(&kms.list_key_tags(&key_id)?.into_iter().collect::<BTreeMap<_, _>>())
    }
}
