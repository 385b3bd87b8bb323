//! Resolves key ids, ARNs and aliases to keys.

use std::borrow::Cow;

use crate::error::refused;
use crate::location::Location;
use crate::record::alias::{ALIAS_PREFIX, AliasRecord};
use crate::record::key::Key;
use crate::store::{Table, Tables};
use manila_core::internal::quoted;
use manila_core::{Error, KeyArn, Result};

/// Finds the key that an id, ARN, alias or alias ARN names.
pub(super) fn find(tables: &impl Tables, location: &Location<'_>, name: &str) -> Result<Key> {
    let id = match resource(location, name).ok_or_else(|| not_found(name))? {
        Resource::Key(id) => id.to_owned(),
        Resource::Alias(alias) => {
            let record: Option<AliasRecord> = tables.get(Table::Aliases, &location.row(&alias))?;
            record.ok_or_else(|| not_found(name))?.key_id
        }
    };
    Key::load(tables, location, &id)?.ok_or_else(|| not_found(name))
}

pub(super) fn not_found(name: &str) -> Error {
    refused("NotFoundException", format!("there is no key {}", quoted(name)))
}

/// Returns whether a name is an alias or the ARN of one.
pub(super) fn is_alias(name: &str) -> bool {
    name.starts_with(ALIAS_PREFIX) || matches!(KeyArn::parse_any(name), Ok((_, "alias")))
}

/// Returns the alias in a name that is one or the ARN of one.
pub(super) fn alias_in(name: &str) -> Option<Cow<'_, str>> {
    match KeyArn::parse_any(name) {
        Ok((parts, "alias")) => Some(format!("{ALIAS_PREFIX}{}", parts.key_id).into()),
        _ => name.starts_with(ALIAS_PREFIX).then_some(name.into()),
    }
}

/// Returns the id of the key that a name denotes, which may not exist.
pub(super) fn key_id<'a>(tables: &impl Tables, location: &Location<'_>, name: &'a str) -> Result<Option<Cow<'a, str>>> {
    Ok(match resource(location, name) {
        Some(Resource::Key(id)) => Some(id.into()),
        Some(Resource::Alias(alias)) => {
            let record: Option<AliasRecord> = tables.get(Table::Aliases, &location.row(&alias))?;
            record.map(|record| record.key_id.into())
        }
        None => None,
    })
}

/// The kinds of names of a key.
enum Resource<'a> {
    Key(&'a str),
    Alias(String),
}

/// Returns the resource that a name denotes, unless it is an ARN of another KMS or region.
fn resource<'a>(location: &Location<'_>, name: &'a str) -> Option<Resource<'a>> {
    if !name.starts_with("arn:") {
        return Some(if is_alias(name) { Resource::Alias(name.to_owned()) } else { Resource::Key(name) });
    }
    let (parts, kind) = KeyArn::parse_any(name).ok()?;
    let ours = (parts.partition, parts.region, parts.account) == ("aws", location.region, location.account);
    match kind {
        _ if !ours => None,
        "alias" => Some(Resource::Alias(format!("{ALIAS_PREFIX}{}", parts.key_id))),
        _ => Some(Resource::Key(parts.key_id)),
    }
}
