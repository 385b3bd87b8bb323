//! The lines of an audit log that are shown.

use std::time::SystemTime;

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use crate::arguments::Common;
use crate::failure::Result;
use crate::session::Session;
use crate::time;

/// The operations that take something away from somebody, give somebody something, or make earlier states come back.
const RISKY: [&str; 20] = [
    "Backup",
    "ChangeRootKey",
    "ConfirmClock",
    "CreateGrant",
    "DeleteAlias",
    "DeleteImportedKeyMaterial",
    "DeleteKey",
    "DisableKey",
    "DisableKeyRotation",
    "ImportKeyMaterial",
    "Purge",
    "PutKeyPolicy",
    "ReplaceLostAuditLog",
    "ReplicateKey",
    "Restore",
    "RotateAuditLog",
    "ScheduleKeyDeletion",
    "SetTimeBack",
    "UpdateAlias",
    "UpdatePrimaryRegion",
];

#[derive(Args)]
pub struct Filter {
    /// Show only calls on this key, by its id, ARN or alias.
    #[arg(long)]
    key: Option<String>,
    /// Show only calls of this principal, by its ARN or the end of it, such as role/app.
    #[arg(long)]
    principal: Option<String>,
    /// Show only this operation, under AWS's name. Repeatable.
    #[arg(long = "operation", value_name = "OPERATION")]
    operations: Vec<String>,
    /// Show only lines since then: 2hours, or 2026-11-22.
    #[arg(long, value_name = "TIME", value_parser = time::past)]
    pub since: Option<SystemTime>,
    /// Show only refused calls, and those that deserve attention: deleting and disabling keys, changing policies,
    /// grants and aliases, importing, backups, changes of the root key, of the clock and of the log.
    #[arg(long)]
    risky: bool,
}

/// The members of a line that are looked at.
#[derive(Deserialize)]
pub struct Line {
    #[serde(default)]
    pub time: String,
    #[serde(default)]
    pub principal: String,
    #[serde(default)]
    pub operation: String,
    pub key: Option<String>,
    source: Option<String>,
    request: Option<Value>,
    #[serde(default)]
    pub outcome: String,
}

impl Line {
    /// Returns the name by which a key was asked for.
    pub fn asked_for(&self) -> Option<&str> {
        let request = self.request.as_ref()?;
        ["keyId", "aliasName"].into_iter().find_map(|name| request.get(name)?.as_str())
    }

    pub fn is_risky(&self) -> bool {
        self.outcome != "ok" || RISKY.contains(&self.operation.as_str())
    }
}

impl Filter {
    /// Returns the filter with the names of the key that lines may have.
    pub fn of(&self, common: &Common) -> Result<Chosen<'_>> {
        let keys = match &self.key {
            // The key store is opened only for an alias: lines can be read without the root key.
            Some(name) if name.contains("alias/") => vec![name.clone(), Session::open(common)?.key(name)?],
            Some(name) => vec![name.clone()],
            None => Vec::new(),
        };
        Ok(Chosen { filter: self, keys, since: self.since.map(time::shown) })
    }
}

/// A filter, and what its words stand for.
pub struct Chosen<'a> {
    filter: &'a Filter,
    keys: Vec<String>,
    since: Option<String>,
}

impl Chosen<'_> {
    pub fn takes(&self, line: &Line) -> bool {
        let Filter { principal, operations, risky, .. } = self.filter;
        let is_key = |name: &str| self.keys.iter().any(|key| name == key || name.ends_with(&format!(":key/{key}")));
        let names = [line.key.as_deref(), line.source.as_deref(), line.asked_for()];
        (self.keys.is_empty() || names.into_iter().flatten().any(is_key))
            && principal.as_ref().is_none_or(|principal| is_principal(&line.principal, principal))
            && (operations.is_empty() || operations.contains(&line.operation))
            // In UTC and of one form, so that the order of the texts is that of the times.
            && self.since.as_ref().is_none_or(|since| line.time.as_str() >= since.trim_end_matches('Z'))
            && (!risky || line.is_risky())
    }
}

fn is_principal(principal: &str, asked: &str) -> bool {
    principal == asked || principal.ends_with(&format!(":{asked}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> Line {
        serde_json::from_str(json).unwrap()
    }

    fn filter() -> Filter {
        Filter { key: None, principal: None, operations: Vec::new(), since: None, risky: false }
    }

    fn takes(filter: &Filter, keys: &[&str], line: &Line) -> bool {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        Chosen { filter, keys, since: filter.since.map(time::shown) }.takes(line)
    }

    #[test]
    fn a_line_is_taken_if_all_that_is_asked_for_fits() {
        let line = line(
            r#"{"time": "2026-11-22T04:36:41.123Z", "principal": "arn:aws:iam::000000000000:role/app",
                "operation": "ReEncrypt", "key": "arn:aws:kms:local:000000000000:key/2",
                "source": "arn:aws:kms:local:000000000000:key/1", "request": {"keyId": "alias/x"}, "outcome": "ok"}"#,
        );
        assert!(takes(&filter(), &[], &line));
        for key in ["1", "2", "arn:aws:kms:local:000000000000:key/1", "alias/x"] {
            assert!(takes(&filter(), &[key], &line), "{key}");
        }
        assert!(!takes(&filter(), &["3"], &line) && !takes(&filter(), &["key/1"], &line));
        for (principal, is) in [("role/app", true), ("arn:aws:iam::000000000000:role/app", true), ("app", false)] {
            assert_eq!(takes(&Filter { principal: Some(principal.to_owned()), ..filter() }, &[], &line), is);
        }
        for (operations, is) in [(&["ReEncrypt", "Decrypt"][..], true), (&["Decrypt"], false)] {
            let operations = operations.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(takes(&Filter { operations, ..filter() }, &[], &line), is);
        }
        for (since, is) in [("2026-11-22", true), ("2026-11-22T04:36:41Z", true), ("2026-11-22T04:36:42Z", false)] {
            assert_eq!(
                takes(&Filter { since: Some(time::past(since).unwrap()), ..filter() }, &[], &line),
                is,
                "{since}"
            );
        }
        assert!(!takes(&Filter { risky: true, ..filter() }, &[], &line));
    }

    #[test]
    fn what_was_refused_is_risky_too() {
        assert!(line(r#"{"operation": "Decrypt", "outcome": "AccessDeniedException"}"#).is_risky());
        assert!(line(r#"{"operation": "DisableKey", "outcome": "ok"}"#).is_risky());
        assert!(!line(r#"{"operation": "Decrypt", "outcome": "ok"}"#).is_risky());
        assert!(RISKY.is_sorted());
    }
}
