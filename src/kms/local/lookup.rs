//! From the names of keys to keys, and back into the store.

use crate::error::{Error, Result, quoted};
use crate::kms::KeyArn;
use crate::kms::local::answer::refused;
use crate::kms::local::place::{Place, row};
use crate::kms::local::record::alias::{ALIAS_PREFIX, AliasRecord};
use crate::kms::local::record::key::{Key, KeyRecord, MaterialRecord};
use crate::kms::local::store::{Table, Tables, Writing, damaged};

/// The key that an id, ARN, alias or alias ARN names.
pub(super) fn find(tables: &impl Tables, place: &Place<'_>, name: &str) -> Result<Key> {
    let id = match resource(place, name).ok_or_else(|| not_found(name))? {
        Resource::Key(id) => id.to_owned(),
        Resource::Alias(alias) => {
            let record: Option<AliasRecord> = tables.get(Table::Aliases, &place.row(&alias))?;
            record.ok_or_else(|| not_found(name))?.key_id
        }
    };
    load(tables, place, &id)?.ok_or_else(|| not_found(name))
}

/// The key of an id.
pub(super) fn load(tables: &impl Tables, place: &Place<'_>, id: &str) -> Result<Option<Key>> {
    let record: Option<KeyRecord> = tables.get(Table::Keys, &place.row(id))?;
    let Some(record) = record else { return Ok(None) };
    let material: MaterialRecord = tables.get(Table::Materials, id)?.ok_or_else(damaged)?;
    let (id, region, arn) = (id.to_owned(), place.region.to_owned(), place.key_arn(id));
    Ok(Some(Key { id, arn, region, record, material }))
}

/// Stores a key.
pub(super) fn put(tables: &mut Writing<'_>, key: &Key) -> Result<()> {
    tables.put(Table::Keys, &row(&key.region, &key.id), &key.record)?;
    tables.put(Table::Materials, &key.id, &key.material)
}

pub(super) fn not_found(name: &str) -> Error {
    refused("NotFoundException", format!("there is no key {}", quoted(name)))
}

/// Whether a name is an alias or the ARN of one.
pub(super) fn is_alias(name: &str) -> bool {
    name.starts_with(ALIAS_PREFIX) || matches!(KeyArn::parse_any(name), Ok((_, "alias")))
}

/// What the name of a key can be.
enum Resource<'a> {
    Key(&'a str),
    Alias(String),
}

/// What a name stands for, unless it is an ARN of another KMS or region.
fn resource<'a>(place: &Place<'_>, name: &'a str) -> Option<Resource<'a>> {
    if !name.starts_with("arn:") {
        return Some(if is_alias(name) { Resource::Alias(name.to_owned()) } else { Resource::Key(name) });
    }
    let (parts, kind) = KeyArn::parse_any(name).ok()?;
    let ours = (parts.partition, parts.region, parts.account) == ("aws", place.region, place.account);
    match kind {
        _ if !ours => None,
        "alias" => Some(Resource::Alias(format!("{ALIAS_PREFIX}{}", parts.key_id))),
        _ => Some(Resource::Key(parts.key_id)),
    }
}
