//! `manila keys alias`.

use clap::Subcommand;
use serde::Serialize;

use crate::failure::Result;
use crate::session::Session;

#[derive(Subcommand)]
pub enum Alias {
    /// Create an alias for a key.
    Create {
        /// The alias, such as alias/app.
        alias: String,
        /// The id, ARN or an alias of the key.
        key: String,
    },
    /// Move an alias to another key. What was encrypted under the old key is still the old key's.
    Update {
        /// The alias, such as alias/app.
        alias: String,
        /// The id, ARN or an alias of the key.
        key: String,
    },
    /// Delete an alias. Its key stays.
    Delete {
        /// The alias, such as alias/app.
        alias: String,
    },
    /// List the aliases, of all keys or of one.
    List {
        /// The id, ARN or an alias of a key.
        key: Option<String>,
    },
}

#[derive(Serialize)]
struct Named {
    alias: String,
    key_arn: String,
}

#[derive(Serialize)]
struct Deleted<'a> {
    deleted: &'a str,
}

impl Alias {
    pub fn run(&self, session: &Session) -> Result<()> {
        let kms = &session.kms;
        match self {
            Self::Create { alias, key } => {
                kms.create_alias(alias, &session.key(key)?)?;
                print_one(session, alias)
            }
            Self::Update { alias, key } => {
                kms.update_alias(alias, &session.key(key)?)?;
                print_one(session, alias)
            }
            Self::Delete { alias } => {
                kms.delete_alias(alias)?;
                session.print(&Deleted { deleted: alias })
            }
            Self::List { key } => {
                let key_arn = match key {
                    Some(key) => Some(kms.describe_key(&session.key(key)?)?.arn().to_owned()),
                    None => None,
                };
                let mut aliases = kms.list_aliases()?;
                aliases.retain(|alias| key_arn.as_ref().is_none_or(|key_arn| alias.key_arn() == key_arn));
                let named = aliases
                    .into_iter()
                    .map(|alias| Named { alias: alias.name().to_owned(), key_arn: alias.key_arn().to_owned() });
                session.print(&named.collect::<Vec<_>>())
            }
        }
    }
}

fn print_one(session: &Session, alias: &str) -> Result<()> {
    session.print(&Named { alias: alias.to_owned(), key_arn: session.key(alias)? })
}
