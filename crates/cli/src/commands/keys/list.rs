//! `manila keys list` and `show`.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;

use super::described::Key;
use crate::failure::Result;
use crate::session::Session;
use crate::time::shown;

#[derive(Args)]
pub struct List {
    /// List only keys in this state.
    #[arg(long, value_parser = ["Enabled", "Disabled", "PendingDeletion", "PendingImport"])]
    state: Option<String>,
}

/// A key in the list.
#[derive(Serialize)]
struct Listed {
    key_id: String,
    /// Unknown if the policy of the key does not allow the owner to describe it.
    state: Option<&'static str>,
    spec: Option<&'static str>,
    created: Option<String>,
    aliases: Vec<String>,
    description: Option<String>,
}

impl List {
    pub fn run(&self, session: &Session) -> Result<()> {
        let kms = &session.kms;
        let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for alias in kms.list_aliases()? {
            aliases.entry(alias.key_arn().to_owned()).or_default().push(alias.name().to_owned());
        }
        let keys = kms.list_keys()?.into_iter().map(|key| {
            let described = kms.describe_key(key.arn()).ok();
            Listed {
                state: described.as_ref().map(|key| key.state().name()),
                spec: described.as_ref().map(|key| key.spec().name()),
                created: described.as_ref().map(|key| shown(key.created())),
                aliases: aliases.remove(key.arn()).unwrap_or_default(),
                description: described.map(|key| key.description().to_owned()),
                key_id: key.key_id().to_owned(),
            }
        });
        let is_listed = |key: &Listed| self.state.as_deref().is_none_or(|state| key.state == Some(state));
        session.print(&keys.filter(is_listed).collect::<Vec<_>>())
    }
}

#[derive(Args)]
pub struct Show {
    /// The id, ARN or alias of the key.
    key: String,
}

/// All about a key but its policy and its grants.
#[derive(Serialize)]
struct Details {
    #[serde(flatten)]
    key: Key,
    tags: BTreeMap<String, String>,
    grants: usize,
    rotation_period_days: Option<u64>,
    next_rotation: Option<String>,
    rotations: Vec<Rotation>,
}

#[derive(Serialize)]
struct Rotation {
    /// The version of the key that it made. A key is created with version 1.
    version: u32,
    date: String,
    #[serde(rename = "type")]
    reason: &'static str,
}

impl Show {
    pub fn run(&self, session: &Session) -> Result<()> {
        let kms = &session.kms;
        let key_id = session.key(&self.key)?;
        let rotation = kms.key_rotation_status(&key_id)?;
        let rotations = kms.list_key_rotations(&key_id)?.into_iter();
        session.print(&Details {
            key: Key::of(kms, &key_id)?,
            tags: kms.list_key_tags(&key_id)?.into_iter().collect(),
            grants: kms.list_grants(&key_id)?.len(),
            rotation_period_days: rotation.period().map(|period| period.as_secs() / (24 * 60 * 60)),
            next_rotation: rotation.next().map(shown),
            rotations: rotations
                .map(|rotation| Rotation {
                    version: rotation.key_version(),
                    date: shown(rotation.date()),
                    reason: rotation.rotation_type().name(),
                })
                .collect(),
        })
    }
}
