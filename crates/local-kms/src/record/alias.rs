//! Aliases: their records, and the rules for their names.
//!
//! An alias has two records: the key under its name, and the name under its key, so that deleting a key reads only its
//! own aliases. Only this file writes and removes them, always together.

use manila_core::Result;
use manila_core::internal::quoted;
use serde::{Deserialize, Serialize};

use crate::error::invalid;
use crate::location::Location;
use crate::store::{Table, Tables, WriteTxn, damaged};

/// The prefix of every alias name.
pub(crate) const ALIAS_PREFIX: &str = "alias/";
/// The prefix that is reserved for AWS's own keys.
const AWS_ALIAS_PREFIX: &str = "alias/aws/";
const MAX_ALIAS_LEN: usize = 256;

/// An alias as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct AliasRecord {
    pub(crate) key_id: String,
}

/// Stores a new alias.
pub(crate) fn put_new(tables: &mut WriteTxn<'_>, location: &Location<'_>, alias: &str, key_id: &str) -> Result<()> {
    check_alias(alias)?;
    let row = location.row(alias);
    if tables.get::<AliasRecord>(Table::Aliases, &row)?.is_some() {
        return Err(invalid("AlreadyExistsException", format!("the alias {} is taken", quoted(alias))));
    }
    put(tables, location, alias, key_id)
}

/// Moves an existing alias to another key.
pub(crate) fn retarget(tables: &mut WriteTxn<'_>, location: &Location<'_>, alias: &str, key_id: &str) -> Result<()> {
    remove(tables, location, alias)?;
    put(tables, location, alias, key_id)
}

fn put(tables: &mut WriteTxn<'_>, location: &Location<'_>, alias: &str, key_id: &str) -> Result<()> {
    tables.put(Table::Aliases, &location.row(alias), &AliasRecord { key_id: key_id.to_owned() })?;
    tables.put(Table::KeyAliases, &key_row(tables, location, key_id, alias)?, &alias)
}

/// Removes an alias, if it exists.
pub(crate) fn remove(tables: &mut WriteTxn<'_>, location: &Location<'_>, alias: &str) -> Result<()> {
    let row = location.row(alias);
    let Some(record) = tables.get::<AliasRecord>(Table::Aliases, &row)? else { return Ok(()) };
    tables.remove(Table::Aliases, &row)?;
    tables.remove(Table::KeyAliases, &key_row(tables, location, &record.key_id, alias)?)
}

/// Removes all aliases of a key.
pub(crate) fn remove_all(tables: &mut WriteTxn<'_>, location: &Location<'_>, key_id: &str) -> Result<()> {
    let prefix = key_prefix(tables, location, key_id)?;
    for (rest, alias) in tables.all::<String>(Table::KeyAliases, &prefix)? {
        tables.remove(Table::Aliases, &location.row(&alias))?;
        tables.remove(Table::KeyAliases, &format!("{prefix}{rest}"))?;
    }
    Ok(())
}

/// Returns the aliases of a key.
pub(crate) fn of_key(tables: &impl Tables, location: &Location<'_>, key_id: &str) -> Result<Vec<String>> {
    let aliases = tables.all::<String>(Table::KeyAliases, &key_prefix(tables, location, key_id)?)?;
    Ok(aliases.into_iter().map(|(_, alias)| alias).collect())
}

/// Rewrites the records by key under a new seal, which hides names in their ids.
pub(crate) fn index_anew(tables: &mut WriteTxn<'_>) -> Result<()> {
    for row in tables.ids(Table::KeyAliases, "")? {
        tables.remove(Table::KeyAliases, &row)?;
    }
    for (row, record) in tables.all::<AliasRecord>(Table::Aliases, "")? {
        let (region, alias) = row.split_once('/').ok_or_else(damaged)?;
        let id = key_row(tables, &Location { region, account: "" }, &record.key_id, alias)?;
        tables.put(Table::KeyAliases, &id, &alias)?;
    }
    Ok(())
}

/// Returns the row of an alias under its key. The file reveals which aliases exist, but not their keys.
fn key_row(tables: &impl Tables, location: &Location<'_>, key_id: &str, alias: &str) -> Result<String> {
    let prefix = key_prefix(tables, location, key_id)?;
    let hidden = tables.seal().hide(Table::KeyAliases, &format!("{prefix}{alias}"))?;
    Ok(format!("{prefix}{hidden}"))
}

/// Returns the prefix of the rows of a key's aliases. It does not reveal the key.
fn key_prefix(tables: &impl Tables, location: &Location<'_>, key_id: &str) -> Result<String> {
    let hidden = tables.seal().hide(Table::KeyAliases, &location.row(key_id))?;
    Ok(format!("{hidden}/"))
}

/// Returns the aliases of a region, ordered by name.
pub(crate) fn of_region(tables: &impl Tables, location: &Location<'_>) -> Result<Vec<(String, AliasRecord)>> {
    tables.all(Table::Aliases, &location.row(""))
}

/// Fails unless a name follows AWS's rules for aliases.
pub(crate) fn check_alias(alias: &str) -> Result<()> {
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
        "{} is not a valid alias name: begin it with alias/, but not with alias/aws/, continue with letters, digits, \
         /, _ and -, and use at most {MAX_ALIAS_LEN} characters",
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
