//! Grants in the store.
//!
//! A grant has two records: itself, and an empty one under its grantee, so that a call reads only the grants of its
//! caller. One that has a retiring principal has a third, empty one under that. A record of each key counts its grants.
//! Only this file writes and removes them, always together. Stores of earlier versions have neither counts nor records
//! by retiring principal: the first grant that is created makes them.

use std::collections::BTreeMap;

use manila_core::internal::quoted;
use manila_core::{EncryptionContext, Error, Result};

use crate::error::refused;
use crate::location::{Location, row};
use crate::operation::Operation;
use crate::policy::{index_name, index_names_of};
use crate::record::grant::GrantRecord;
use crate::record::key::Key;
use crate::store::{Table, Tables, WriteTxn, damaged};

/// The row of the counts that tells that there is one for each key with grants.
const COMPLETE: &str = "complete";

/// A principal that may use its grants, as far as they count already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GrantUser<'a> {
    pub(crate) principal: &'a str,
    pub(crate) source_arn: Option<&'a str>,
    /// The time from which on a new grant counts only for calls with its token, in milliseconds since 1970.
    pub(crate) fresh_from: u64,
    /// The grants whose tokens the call has.
    pub(crate) with_tokens: &'a [String],
}

impl GrantUser<'_> {
    fn may_use(&self, id: &str, grant: &GrantRecord) -> bool {
        grant.created < self.fresh_from || self.with_tokens.iter().any(|with| with == id)
    }
}

/// Returns the id of a grant that allows a principal an operation on a key, if there is one. The grants of others are
/// not read.
pub(crate) fn allowing(
    tables: &impl Tables,
    key: &Key,
    user: &GrantUser<'_>,
    operation: Operation,
    context: Option<&EncryptionContext>,
) -> Result<Option<String>> {
    if !operation.is_grantable() {
        return Ok(None);
    }
    for (id, grant) in of_caller(tables, key, user.principal)? {
        if user.may_use(&id, &grant) && grant.allows(user.principal, operation, context, user.source_arn)? {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Returns whether a principal has a grant that allows it to create `other`.
pub(crate) fn any_covers(tables: &impl Tables, key: &Key, user: &GrantUser<'_>, other: &GrantRecord) -> Result<bool> {
    for (id, grant) in of_caller(tables, key, user.principal)? {
        let may_create = grant.allows(user.principal, Operation::CreateGrant, None, user.source_arn)?;
        if user.may_use(&id, &grant) && may_create && grant.covers(other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes all grants on a key.
pub(crate) fn remove_all(tables: &mut WriteTxn<'_>, location: &Location<'_>, key_id: &str) -> Result<()> {
    let prefix = format!("{}/", location.row(key_id));
    for (grant_id, grant) in tables.all::<GrantRecord>(Table::Grants, &prefix)? {
        unindex_retiring(tables, &prefix, &grant_id, &grant)?;
    }
    for table in [Table::Grants, Table::Grantees] {
        for row in tables.ids(table, &prefix)? {
            tables.remove(table, &row)?;
        }
    }
    tables.remove(Table::GrantCounts, &location.row(key_id))
}

/// Stores a new grant.
pub(crate) fn put_new(tables: &mut WriteTxn<'_>, key: &Key, grant_id: &str, grant: &GrantRecord) -> Result<()> {
    let prefix = prefix(key);
    let count = counted(tables, key)?.saturating_add(1);
    tables.put(Table::GrantCounts, &row(&key.region, &key.id), &count)?;
    index_retiring(tables, &prefix, grant_id, grant)?;
    tables.put(Table::Grants, &format!("{prefix}{grant_id}"), grant)?;
    let row = grantee_prefix(tables, &prefix, &index_name(&grant.grantee)?)? + grant_id;
    tables.put(Table::Grantees, &row, &())
}

/// Removes a grant, and fails if it does not exist.
pub(crate) fn remove(tables: &mut WriteTxn<'_>, key: &Key, grant_id: &str) -> Result<()> {
    let grant = load(tables, key, grant_id)?;
    let prefix = prefix(key);
    let count = counted(tables, key)?.saturating_sub(1);
    tables.put(Table::GrantCounts, &row(&key.region, &key.id), &count)?;
    unindex_retiring(tables, &prefix, grant_id, &grant)?;
    tables.remove(Table::Grants, &format!("{prefix}{grant_id}"))?;
    let row = grantee_prefix(tables, &prefix, &index_name(&grant.grantee)?)? + grant_id;
    tables.remove(Table::Grantees, &row)
}

/// Rewrites the records by grantee under a new seal, which hides grantees in their ids.
pub(crate) fn index_anew(tables: &mut WriteTxn<'_>) -> Result<()> {
    for table in [Table::Grantees, Table::Retirers] {
        for row in tables.ids(table, "")? {
            tables.remove(table, &row)?;
        }
    }
    let is_complete = is_complete(tables)?;
    for (row, grant) in tables.all::<GrantRecord>(Table::Grants, "")? {
        let at = row.rfind('/').ok_or_else(damaged)?;
        let (key, grant_id) = row.split_at_checked(at.saturating_add(1)).ok_or_else(damaged)?;
        let row = grantee_prefix(tables, key, &index_name(&grant.grantee)?)? + grant_id;
        tables.put(Table::Grantees, &row, &())?;
        if is_complete {
            index_retiring(tables, key, grant_id, &grant)?;
        }
    }
    Ok(())
}

/// Returns the number of grants on a key.
pub(crate) fn counted(tables: &mut WriteTxn<'_>, key: &Key) -> Result<u64> {
    complete(tables)?;
    Ok(tables.get(Table::GrantCounts, &row(&key.region, &key.id))?.unwrap_or(0))
}

/// Counts the grants of a store of an earlier version, and makes their records by retiring principal.
fn complete(tables: &mut WriteTxn<'_>) -> Result<()> {
    if is_complete(tables)? {
        return Ok(());
    }
    let mut counts = BTreeMap::<String, u64>::new();
    for (row, grant) in tables.all::<GrantRecord>(Table::Grants, "")? {
        let (key, grant_id) = row.rsplit_once('/').ok_or_else(damaged)?;
        index_retiring(tables, &format!("{key}/"), grant_id, &grant)?;
        let count = counts.entry(key.to_owned()).or_default();
        *count = count.saturating_add(1);
    }
    for (key, count) in counts {
        tables.put(Table::GrantCounts, &key, &count)?;
    }
    tables.put(Table::GrantCounts, COMPLETE, &0_u64)
}

/// Returns whether there are counts and records by retiring principal.
fn is_complete(tables: &impl Tables) -> Result<bool> {
    Ok(tables.get::<u64>(Table::GrantCounts, COMPLETE)?.is_some())
}

fn index_retiring(tables: &mut WriteTxn<'_>, key_prefix: &str, grant_id: &str, grant: &GrantRecord) -> Result<()> {
    let Some(row) = retiring_row(tables, key_prefix, grant_id, grant)? else { return Ok(()) };
    tables.put(Table::Retirers, &row, &())
}

fn unindex_retiring(tables: &mut WriteTxn<'_>, key_prefix: &str, grant_id: &str, grant: &GrantRecord) -> Result<()> {
    let Some(row) = retiring_row(tables, key_prefix, grant_id, grant)? else { return Ok(()) };
    tables.remove(Table::Retirers, &row)
}

/// Returns the row of a grant under its retiring principal, if it has one.
fn retiring_row(tables: &impl Tables, key_prefix: &str, grant_id: &str, grant: &GrantRecord) -> Result<Option<String>> {
    let Some(retiring) = &grant.retiring else { return Ok(None) };
    let (region, _) = key_prefix.split_once('/').ok_or_else(damaged)?;
    Ok(Some(format!("{}{key_prefix}{grant_id}", retiring_prefix(tables, region, retiring)?)))
}

/// Returns the prefix of the rows of the grants in a region that a principal may retire. It does not reveal the
/// principal.
fn retiring_prefix(tables: &impl Tables, region: &str, retiring: &str) -> Result<String> {
    let name = index_name(retiring)?;
    Ok(format!("{}/", tables.seal().hide(Table::Retirers, &format!("{region}/{name}"))?))
}

/// Returns the grants in a region of which a principal is the retiring principal: of each the id of its key, its own
/// and itself.
pub(crate) fn of_retiring(
    tables: &impl Tables,
    region: &str,
    retiring: &str,
) -> Result<Vec<(String, String, GrantRecord)>> {
    let of_region = row(region, "");
    let split = |rest: &str| {
        let (key_id, grant_id) = rest.split_once('/').ok_or_else(damaged)?;
        Ok::<_, Error>((key_id.to_owned(), grant_id.to_owned()))
    };
    let mut found = Vec::new();
    if !is_complete(tables)? {
        for (rest, grant) in tables.all::<GrantRecord>(Table::Grants, &of_region)? {
            if grant.retiring.as_deref().is_some_and(|other| index_name(other).ok() == index_name(retiring).ok()) {
                let (key_id, grant_id) = split(&rest)?;
                found.push((key_id, grant_id, grant));
            }
        }
        return Ok(found);
    }
    let prefix = retiring_prefix(tables, region, retiring)?;
    for row in tables.ids(Table::Retirers, &prefix)? {
        // Ids are not authenticated by themselves, so the entry must be in the manifest.
        tables.get::<()>(Table::Retirers, &row)?.ok_or_else(damaged)?;
        let id = row.strip_prefix(&prefix).unwrap_or_default();
        let grant: GrantRecord = tables.get(Table::Grants, id)?.ok_or_else(damaged)?;
        let (key_id, grant_id) = split(id.strip_prefix(&of_region).ok_or_else(damaged)?)?;
        found.push((key_id, grant_id, grant));
    }
    Ok(found)
}

/// Returns the grant that a request repeats, which has a name.
pub(crate) fn repeated(
    tables: &impl Tables,
    key: &Key,
    request: &GrantRecord,
) -> Result<Option<(String, GrantRecord)>> {
    if request.name.is_none() {
        return Ok(None);
    }
    let same = |(_, grant): &(String, GrantRecord)| grant.is_repeated_by(request);
    Ok(of_names(tables, key, [index_name(&request.grantee)?])?.into_iter().find(same))
}

/// Returns the grants on a key that may apply to a caller, and no others.
fn of_caller(tables: &impl Tables, key: &Key, principal: &str) -> Result<Vec<(String, GrantRecord)>> {
    of_names(tables, key, index_names_of(principal)?)
}

/// Returns the grants on a key to the principals with these names in the index.
fn of_names(
    tables: &impl Tables,
    key: &Key,
    names: impl IntoIterator<Item = String>,
) -> Result<Vec<(String, GrantRecord)>> {
    let prefix = prefix(key);
    let mut grants = Vec::new();
    for name in names {
        let of_grantee = grantee_prefix(tables, &prefix, &name)?;
        for row in tables.ids(Table::Grantees, &of_grantee)? {
            // Ids are not authenticated by themselves, so the entry must be in the manifest.
            tables.get::<()>(Table::Grantees, &row)?.ok_or_else(damaged)?;
            let grant_id = row.strip_prefix(&of_grantee).unwrap_or_default();
            let grant = tables.get(Table::Grants, &format!("{prefix}{grant_id}"))?.ok_or_else(damaged)?;
            grants.push((grant_id.to_owned(), grant));
        }
    }
    Ok(grants)
}

/// Returns the prefix shared by the rows for one grantee's grants on a key. It does not reveal the grantee.
fn grantee_prefix(tables: &impl Tables, key_prefix: &str, index_name: &str) -> Result<String> {
    let hidden = tables.seal().hide(Table::Grantees, &format!("{key_prefix}{index_name}"))?;
    Ok(format!("{key_prefix}{hidden}/"))
}

/// Returns the prefix of the rows of grants on a key.
fn prefix(key: &Key) -> String {
    format!("{}/", row(&key.region, &key.id))
}

pub(crate) fn of_key(tables: &impl Tables, key: &Key) -> Result<Vec<(String, GrantRecord)>> {
    tables.all(Table::Grants, &prefix(key))
}

pub(crate) fn load_in(
    tables: &impl Tables,
    location: &Location<'_>,
    key_id: &str,
    grant_id: &str,
) -> Result<Option<GrantRecord>> {
    tables.get(Table::Grants, &format!("{}/{grant_id}", location.row(key_id)))
}

pub(crate) fn load(tables: &impl Tables, key: &Key, grant_id: &str) -> Result<GrantRecord> {
    let found = tables.get(Table::Grants, &format!("{}{grant_id}", prefix(key)))?;
    found.ok_or_else(|| refused("NotFoundException", format!("the grant {} does not exist", quoted(grant_id))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::Serialize;

    use super::*;
    use crate::error::code_of;
    use crate::local_kms::LocalKms;
    use crate::record::grant::{CreateGrant, GrantOperation};
    use crate::record::key::CreateKey;

    #[test]
    fn a_key_has_fifty_thousand_grants_at_most() {
        let kms = LocalKms::in_memory().unwrap();
        let key = kms.create_key(CreateKey::default()).unwrap();
        let grant = || CreateGrant::to("arn:aws:iam::000000000000:role/app").operation(GrantOperation::Decrypt);
        let first = kms.create_grant(key.arn(), grant().name("a")).unwrap();
        let row = kms.location().row(key.key_id());
        kms.shared.store.write(|tables| tables.put(Table::GrantCounts, &row, &49_999_u64)).unwrap();
        let last = kms.create_grant(key.arn(), grant()).unwrap();
        assert_eq!(code_of(&kms.create_grant(key.arn(), grant()).unwrap_err()), "LimitExceededException");
        assert_eq!(
            kms.create_grant(key.arn(), grant().name("a")).unwrap().id(),
            first.id(),
            "a repeated one is not new"
        );
        kms.retire_grant(key.arn(), last.id()).unwrap();
        kms.create_grant(key.arn(), grant()).unwrap();
    }

    /// The record of a grant of earlier versions.
    #[derive(Serialize)]
    struct OldRecord {
        grantee: String,
        retiring: Option<String>,
        operations: BTreeSet<GrantOperation>,
        constraint: Option<()>,
        issuer: String,
        created: u64,
    }

    #[test]
    fn grants_of_earlier_versions_are_used_listed_and_counted() {
        let [app, bob] = ["arn:aws:iam::000000000000:role/app", "arn:aws:iam::000000000000:user/bob"];
        for first_write in [true, false] {
            let kms = LocalKms::in_memory().unwrap();
            let key = kms.create_key(CreateKey::default()).unwrap();
            let prefix = format!("{}/", kms.location().row(key.key_id()));
            let put = |tables: &mut WriteTxn<'_>, id: &str| {
                let (grantee, retiring, issuer) = (app.to_owned(), Some(bob.to_owned()), app.to_owned());
                let operations = BTreeSet::from([GrantOperation::DescribeKey]);
                let old = OldRecord { grantee, retiring, operations, constraint: None, issuer, created: 7 };
                tables.put(Table::Grants, &format!("{prefix}{id}"), &old)?;
                let row = grantee_prefix(tables, &prefix, &index_name(app)?)? + id;
                tables.put(Table::Grantees, &row, &())
            };
            kms.shared.store.write(|tables| ["1", "2"].iter().try_for_each(|id| put(tables, id))).unwrap();
            kms.as_principal(app).unwrap().describe_key(key.arn()).unwrap();
            assert_eq!(kms.list_retirable_grants(bob).unwrap().len(), 2);
            assert!(kms.list_retirable_grants(app).unwrap().is_empty());
            if first_write {
                kms.create_grant(key.arn(), CreateGrant::to(bob).operation(GrantOperation::Decrypt)).unwrap();
            }
            kms.as_principal(bob).unwrap().retire_grant(key.arn(), "1").unwrap();
            assert_eq!(kms.list_retirable_grants(bob).unwrap()[0].id(), "2");
            let row = kms.location().row(key.key_id());
            let counted = kms.shared.store.read(|tables| tables.get::<u64>(Table::GrantCounts, &row)).unwrap();
            assert_eq!(counted, Some(if first_write { 2 } else { 1 }));
        }
    }
}
