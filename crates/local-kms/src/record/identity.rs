//! Principals and the sessions of roles: what is stored about them, for permissions.
//!
//! A row reveals no principal. A session has two: itself, and an empty one under its end, by which those that have
//! ended are found. Only this file writes and removes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::index_name;
use crate::store::{Table, Tables, WriteTxn, damaged};
use manila_core::Result;

/// The prefix of sessions, and that of their ends.
const SESSION: &str = "session/";
const END: &str = "end/";
/// The number of sessions that have ended and are removed when another begins.
const MOST_REMOVED: usize = 64;

/// A user or a role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct IdentityRecord {
    pub(crate) arn: String,
    /// The policy of a role for those who may assume it, as AWS's JSON.
    pub(crate) trust: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// Its policies by their names, as AWS's JSON.
    pub(crate) policies: BTreeMap<String, String>,
    pub(crate) created: u64,
}

impl IdentityRecord {
    pub(crate) fn new(arn: &str, created: u64) -> Self {
        let (tags, policies) = (BTreeMap::new(), BTreeMap::new());
        Self { arn: arn.to_owned(), trust: None, tags, policies, created }
    }
}

/// A session of a role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) arn: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) issued: u64,
    pub(crate) expiry: u64,
}

/// Loads a principal.
pub(crate) fn load(tables: &impl Tables, arn: &str) -> Result<Option<IdentityRecord>> {
    tables.get(Table::Identities, &row(tables, arn)?)
}

/// Returns all principals.
pub(crate) fn all(tables: &impl Tables) -> Result<Vec<IdentityRecord>> {
    Ok(tables.all(Table::Identities, "")?.into_iter().map(|(_, record)| record).collect())
}

/// Returns the number of principals.
pub(crate) fn count(tables: &impl Tables) -> Result<usize> {
    Ok(tables.ids(Table::Identities, "")?.len())
}

pub(crate) fn put(tables: &mut WriteTxn<'_>, record: &IdentityRecord) -> Result<()> {
    let row = row(tables, &record.arn)?;
    tables.put(Table::Identities, &row, record)
}

pub(crate) fn remove(tables: &mut WriteTxn<'_>, arn: &str) -> Result<()> {
    let row = row(tables, arn)?;
    tables.remove(Table::Identities, &row)
}

/// Loads a session, which may have ended.
pub(crate) fn session(tables: &impl Tables, arn: &str) -> Result<Option<SessionRecord>> {
    tables.get(Table::Sessions, &session_row(tables, arn)?)
}

/// Returns the number of sessions that have not been removed.
pub(crate) fn sessions(tables: &impl Tables) -> Result<usize> {
    Ok(tables.ids(Table::Sessions, SESSION)?.len())
}

/// Stores a session in place of one with the same ARN.
pub(crate) fn put_session(tables: &mut WriteTxn<'_>, record: &SessionRecord) -> Result<()> {
    let row = session_row(tables, &record.arn)?;
    if let Some(older) = tables.get::<SessionRecord>(Table::Sessions, &row)? {
        tables.remove(Table::Sessions, &end_row(older.expiry, &row))?;
    }
    tables.put(Table::Sessions, &row, record)?;
    tables.put(Table::Sessions, &end_row(record.expiry, &row), &())
}

/// Removes some of the sessions that have ended.
pub(crate) fn remove_ended(tables: &mut WriteTxn<'_>, now: u64) -> Result<()> {
    for row in tables.first_ids(Table::Sessions, END, MOST_REMOVED)? {
        let (end, session) = row.strip_prefix(END).and_then(|row| row.split_once('/')).ok_or_else(damaged)?;
        if end.parse::<u64>().map_err(|_| damaged())? > now {
            break;
        }
        // Ids are not authenticated by themselves, so the entry must be in the manifest.
        tables.get::<()>(Table::Sessions, &row)?.ok_or_else(damaged)?;
        tables.remove(Table::Sessions, session)?;
        tables.remove(Table::Sessions, &row)?;
    }
    Ok(())
}

/// Rewrites all records under a new seal, which hides principals in their ids.
pub(crate) fn index_anew(tables: &mut WriteTxn<'_>) -> Result<()> {
    for (row, record) in tables.all::<IdentityRecord>(Table::Identities, "")? {
        tables.remove(Table::Identities, &row)?;
        put(tables, &record)?;
    }
    for row in tables.ids(Table::Sessions, END)? {
        tables.remove(Table::Sessions, &row)?;
    }
    for (rest, record) in tables.all::<SessionRecord>(Table::Sessions, SESSION)? {
        tables.remove(Table::Sessions, &format!("{SESSION}{rest}"))?;
        put_session(tables, &record)?;
    }
    Ok(())
}

fn row(tables: &impl Tables, arn: &str) -> Result<String> {
    tables.seal().hide(Table::Identities, &index_name(arn)?)
}

fn session_row(tables: &impl Tables, arn: &str) -> Result<String> {
    Ok(format!("{SESSION}{}", tables.seal().hide(Table::Sessions, &index_name(arn)?)?))
}

/// Returns the row of the end of the session with this row. Such rows are ordered by time.
fn end_row(end: u64, session: &str) -> String {
    format!("{END}{end:020}/{session}")
}
