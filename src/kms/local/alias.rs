//! Aliases: names of keys that can be given to other keys.

use serde::{Deserialize, Serialize};

use crate::error::{Result, quoted};
use crate::kms::local::LocalKms;
use crate::kms::local::access;
use crate::kms::local::answer::invalid;
use crate::kms::local::lookup::{self, Place};
use crate::kms::local::operation::Operation;
use crate::kms::local::store::{Table, Tables, Writing};

/// What the names of aliases begin with.
pub(super) const ALIAS_PREFIX: &str = "alias/";
/// Reserved for AWS's own keys.
const AWS_ALIAS_PREFIX: &str = "alias/aws/";
const MAX_ALIAS_LEN: usize = 256;

/// An alias as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AliasRecord {
    pub(super) key_id: String,
}

/// An alias and the key it names. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alias {
    /// The name, such as `alias/app`.
    pub name: String,
    /// ARN of the key.
    pub key_arn: String,
}

impl LocalKms {
    /// Gives a key another name. `target` is its id or ARN.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the alias is taken (`AlreadyExistsException`) or
    /// no alias name, [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is pending
    /// deletion, or the caller may not.
    pub fn create_alias(&self, alias: &str, target: &str) -> Result<()> {
        self.write(Operation::CreateAlias, |tables, call| {
            let key = call.key(tables, target)?;
            put_new(tables, &self.place(), alias, &key.id)
        })
    }

    /// Gives an alias to another key of the same kind, from the next call on. Old ciphertexts stay with the key that
    /// encrypted them.
    ///
    /// The caller needs `kms:UpdateAlias` on both keys.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such alias or key, the key is pending
    /// deletion, or the caller may not; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the one key
    /// encrypts and the other does not.
    pub fn update_alias(&self, alias: &str, target: &str) -> Result<()> {
        self.write(Operation::UpdateAlias, |tables, call| {
            check_alias(alias)?;
            let old = call.find(tables, alias)?;
            call.names(&old);
            access::permission(self, tables, &old, Operation::UpdateAlias, None)?;
            let new = call.key(tables, target)?;
            if old.material.spec.mac_hash().is_some() != new.material.spec.mac_hash().is_some() {
                let message =
                    "an alias goes from a key that encrypts to another such, from an HMAC key to another".to_owned();
                return Err(invalid("ValidationException", message));
            }
            tables.put(Table::Aliases, &self.place().row(alias), &AliasRecord { key_id: new.id })
        })
    }

    /// Takes a name from its key.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such alias or the caller may not.
    pub fn delete_alias(&self, alias: &str) -> Result<()> {
        self.write(Operation::DeleteAlias, |tables, call| {
            check_alias(alias)?;
            call.key(tables, alias)?;
            tables.remove(Table::Aliases, &self.place().row(alias))
        })
    }

    /// All aliases of the region, in the order of their names.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if another than the owner asks.
    pub fn list_aliases(&self) -> Result<Vec<Alias>> {
        self.read(Operation::ListAliases, None, |tables, call| {
            call.check_owner()?;
            let place = self.place();
            let mut aliases = Vec::new();
            for (name, record) in of_region(tables, &place)? {
                if lookup::load(tables, &place, &record.key_id)?.is_some_and(|key| !key.is_deleted(call.now)) {
                    aliases.push(Alias { name, key_arn: place.key_arn(&record.key_id) });
                }
            }
            Ok(aliases)
        })
    }
}

/// Stores an alias that is not there yet.
pub(super) fn put_new(tables: &mut Writing<'_>, place: &Place<'_>, alias: &str, key_id: &str) -> Result<()> {
    check_alias(alias)?;
    let row = place.row(alias);
    if tables.get::<AliasRecord>(Table::Aliases, &row)?.is_some() {
        return Err(invalid("AlreadyExistsException", format!("the alias {} is taken", quoted(alias))));
    }
    tables.put(Table::Aliases, &row, &AliasRecord { key_id: key_id.to_owned() })
}

/// Removes all aliases of a key.
pub(super) fn remove_all(tables: &mut Writing<'_>, place: &Place<'_>, key_id: &str) -> Result<()> {
    for (name, record) in of_region(tables, place)? {
        if record.key_id == key_id {
            tables.remove(Table::Aliases, &place.row(&name))?;
        }
    }
    Ok(())
}

fn of_region(tables: &impl Tables, place: &Place<'_>) -> Result<Vec<(String, AliasRecord)>> {
    let prefix = place.row("");
    let mut aliases = Vec::new();
    for row in tables.ids(Table::Aliases, &prefix)? {
        if let (Some(name), Some(record)) = (row.strip_prefix(&prefix), tables.get(Table::Aliases, &row)?) {
            aliases.push((name.to_owned(), record));
        }
    }
    Ok(aliases)
}

/// AWS's rules for the names of aliases.
pub(super) fn check_alias(alias: &str) -> Result<()> {
    let name = alias.strip_prefix(ALIAS_PREFIX).unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-');
    let valid = !name.is_empty()
        && name.chars().all(allowed)
        && alias.len() <= MAX_ALIAS_LEN
        && !alias.starts_with(AWS_ALIAS_PREFIX);
    if valid {
        return Ok(());
    }
    let message = format!(
        "{} is no name for an alias: it begins with alias/, not with alias/aws/, and goes on with letters, digits, \
         / _ and -, {MAX_ALIAS_LEN} characters at most",
        quoted(alias)
    );
    Err(invalid("InvalidAliasNameException", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alias_names_follow_the_rules_of_aws() {
        for good in ["alias/a", "alias/App_1/x-y"] {
            assert!(check_alias(good).is_ok(), "{good}");
        }
        let long = format!("alias/{}", "a".repeat(251));
        for bad in ["", "alias/", "app", "alias/a b", "alias/é", "alias/aws/s3", &long] {
            assert!(check_alias(bad).is_err(), "{bad}");
        }
    }
}
