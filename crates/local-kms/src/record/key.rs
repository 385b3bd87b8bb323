//! Keys of the embedded KMS: how one is asked for, what is stored of it, and what is told of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use manila_core::Result;
use manila_core::internal::MULTI_REGION_PREFIX;
use manila_core::internal::crypto::{self, MacHash};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::clock::{days_after, from_millis};
use crate::location::{Location, row};
use crate::operation::KeyState;
use crate::store::{Table, Tables, WriteTxn, damaged};

/// What a key is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeySpec {
    /// Encrypting: AES-256-GCM.
    #[default]
    SymmetricDefault,
    /// Message authentication codes: HMAC-SHA-224.
    Hmac224,
    /// Message authentication codes: HMAC-SHA-256.
    Hmac256,
    /// Message authentication codes: HMAC-SHA-384.
    Hmac384,
    /// Message authentication codes: HMAC-SHA-512.
    Hmac512,
}

impl KeySpec {
    /// AWS's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::SymmetricDefault => "SYMMETRIC_DEFAULT",
            Self::Hmac224 => "HMAC_224",
            Self::Hmac256 => "HMAC_256",
            Self::Hmac384 => "HMAC_384",
            Self::Hmac512 => "HMAC_512",
        }
    }

    /// The hash of an HMAC key.
    pub(crate) fn mac_hash(self) -> Option<MacHash> {
        match self {
            Self::SymmetricDefault => None,
            Self::Hmac224 => Some(MacHash::Sha224),
            Self::Hmac256 => Some(MacHash::Sha256),
            Self::Hmac384 => Some(MacHash::Sha384),
            Self::Hmac512 => Some(MacHash::Sha512),
        }
    }

    /// Length of the key material in bytes: that of the hash, 32 for AES-256.
    pub(crate) fn material_len(self) -> usize {
        match self {
            Self::Hmac224 => 28,
            Self::SymmetricDefault | Self::Hmac256 => 32,
            Self::Hmac384 => 48,
            Self::Hmac512 => 64,
        }
    }
}

/// Where key material comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KeyOrigin {
    /// Made by the KMS.
    #[default]
    Generated,
    /// Imported; AWS calls this origin `EXTERNAL`.
    External,
}

impl KeyOrigin {
    /// AWS's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Generated => "AWS_KMS",
            Self::External => "EXTERNAL",
        }
    }
}

/// What a new key is to be like.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct CreateKey {
    pub(crate) alias: Option<String>,
    pub(crate) description: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) spec: KeySpec,
    pub(crate) origin: KeyOrigin,
    pub(crate) multi_region: bool,
    pub(crate) rotation_days: Option<u32>,
    pub(crate) policy: Option<String>,
    pub(crate) may_lock_out: bool,
}

impl CreateKey {
    /// Also makes an alias for the key, such as `alias/app`.
    pub fn alias(mut self, alias: impl Into<String>) -> Self {
        self.alias = Some(alias.into());
        self
    }

    /// What the key is for, in at most 8192 characters.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// A tag; at most 50 in all, keys of 1 to 128 characters, values of at most 256.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// What the key does; it encrypts unless said otherwise.
    pub fn spec(mut self, spec: KeySpec) -> Self {
        self.spec = spec;
        self
    }

    /// The key starts without material, to be given by `LocalKms::import_key_material`.
    pub fn imported(mut self) -> Self {
        self.origin = KeyOrigin::External;
        self
    }

    /// The key can be replicated into other regions; its id begins with `mrk-`.
    pub fn multi_region(mut self) -> Self {
        self.multi_region = true;
        self
    }

    /// Rotates the key by itself, every 90 to 2560 days.
    pub fn rotate_every_days(mut self, days: u32) -> Self {
        self.rotation_days = Some(days);
        self
    }

    /// The key's policy, in AWS's JSON. Without one the owner may do everything, and nobody else anything.
    pub fn policy(mut self, json: impl Into<String>) -> Self {
        self.policy = Some(json.into());
        self
    }

    /// Takes a policy that keeps the caller from changing it again.
    pub fn policy_may_lock_out_caller(mut self) -> Self {
        self.may_lock_out = true;
        self
    }
}

/// What is known of a key. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMetadata {
    key_id: String,
    arn: String,
    region: String,
    description: String,
    created: SystemTime,
    state: KeyState,
    spec: KeySpec,
    origin: KeyOrigin,
    deletion: Option<SystemTime>,
    expiry: Option<SystemTime>,
    regions: Vec<String>,
}

impl KeyMetadata {
    /// The key's id: a UUID, or `mrk-` and 32 hexadecimal digits.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The key's ARN: what keyrings and messages name it by.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// What the key is for.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// When the key was made, to the millisecond.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        self.created
    }

    /// What the key can be used for at the moment.
    #[must_use]
    pub fn state(&self) -> KeyState {
        self.state
    }

    /// What the key does.
    #[must_use]
    pub fn spec(&self) -> KeySpec {
        self.spec
    }

    /// Where its material comes from.
    #[must_use]
    pub fn origin(&self) -> KeyOrigin {
        self.origin
    }

    /// When the key will be deleted, if that is scheduled.
    #[must_use]
    pub fn deletion_date(&self) -> Option<SystemTime> {
        self.deletion
    }

    /// When imported material expires, if it does.
    #[must_use]
    pub fn material_expiry(&self) -> Option<SystemTime> {
        self.expiry
    }

    /// Whether the key is a multi-Region key.
    #[must_use]
    pub fn is_multi_region(&self) -> bool {
        self.key_id.starts_with(MULTI_REGION_PREFIX)
    }

    /// The region of the primary key: this key's own, unless it is a replica.
    #[must_use]
    pub fn primary_region(&self) -> &str {
        self.regions.first().unwrap_or(&self.region)
    }

    /// The regions of the replicas.
    #[must_use]
    pub fn replica_regions(&self) -> &[String] {
        self.regions.get(1..).unwrap_or_default()
    }
}

/// What is stored of a key in one region.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    pub(crate) description: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) created: u64,
    pub(crate) enabled: bool,
    /// From when on the key is deleted.
    pub(crate) deletion: Option<u64>,
    /// AWS's JSON; without it the owner may do everything.
    pub(crate) policy: Option<String>,
}

/// What is stored of a key once for all its regions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MaterialRecord {
    pub(crate) spec: KeySpec,
    pub(crate) origin: KeyOrigin,
    /// Where the key is; the primary's region first.
    pub(crate) regions: Vec<String>,
    /// Oldest first. The last one encrypts, all of them decrypt. Empty while an import is awaited.
    pub(crate) materials: Vec<KeyMaterial>,
    /// When imported material expires.
    pub(crate) expiry: Option<u64>,
    /// Tells imported material again without being it.
    #[serde(with = "serde_bytes")]
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) rotation_days: Option<u32>,
    /// What the time to the next rotation is counted from.
    pub(crate) rotation_base: u64,
}

/// One secret of a key.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct KeyMaterial {
    #[zeroize(skip)]
    pub(crate) id: u32,
    #[zeroize(skip)]
    pub(crate) created: u64,
    #[zeroize(skip)]
    pub(crate) on_demand: bool,
    #[serde(with = "serde_bytes")]
    pub(crate) secret: Vec<u8>,
}

impl KeyMaterial {
    pub(crate) fn generate(id: u32, spec: KeySpec, created: u64, on_demand: bool) -> Result<Self> {
        let mut material = Self { id, created, on_demand, secret: vec![0; spec.material_len()] };
        crypto::random(&mut material.secret)?;
        Ok(material)
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial").field("id", &self.id).finish_non_exhaustive()
    }
}

impl KeyRecord {
    /// Enabled, and with nothing said of it yet.
    pub(crate) fn new(created: u64) -> Self {
        let (description, tags) = (String::new(), BTreeMap::new());
        Self { description, tags, created, enabled: true, deletion: None, policy: None }
    }
}

impl MaterialRecord {
    /// Gives the key new material, which encrypts from now on.
    pub(crate) fn renew(&mut self, time: u64, on_demand: bool) -> Result<()> {
        let newest = self.materials.last().map_or(0, |newest| newest.id);
        let id = newest.checked_add(1).ok_or_else(damaged)?;
        self.materials.push(KeyMaterial::generate(id, self.spec, time, on_demand)?);
        Ok(())
    }

    /// Forgets imported material, and returns when it would have expired.
    pub(crate) fn forget(&mut self) -> Option<u64> {
        self.materials.clear();
        self.expiry.take()
    }

    /// Imported material that has expired is as good as gone.
    pub(crate) fn is_expired(&self, now: u64) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= now)
    }

    /// When the key is to be rotated next.
    pub(crate) fn next_rotation(&self) -> Option<u64> {
        self.rotation_days.map(|days| days_after(self.rotation_base, days))
    }
}

/// A key in one region, whole.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) region: String,
    pub(crate) record: KeyRecord,
    pub(crate) material: MaterialRecord,
}

impl Key {
    /// Loads the key of an id.
    pub(crate) fn load(tables: &impl Tables, location: &Location<'_>, id: &str) -> Result<Option<Self>> {
        let record: Option<KeyRecord> = tables.get(Table::Keys, &location.row(id))?;
        let Some(record) = record else { return Ok(None) };
        let material: MaterialRecord = tables.get(Table::Materials, id)?.ok_or_else(damaged)?;
        let (id, region, arn) = (id.to_owned(), location.region.to_owned(), location.key_arn(id));
        Ok(Some(Self { id, arn, region, record, material }))
    }

    pub(crate) fn store(&self, tables: &mut WriteTxn<'_>) -> Result<()> {
        tables.put(Table::Keys, &row(&self.region, &self.id), &self.record)?;
        tables.put(Table::Materials, &self.id, &self.material)
    }

    /// Whether its deadline has passed: then it is as if it were not there.
    pub(crate) fn is_deleted(&self, now: u64) -> bool {
        self.record.deletion.is_some_and(|deadline| deadline <= now)
    }

    pub(crate) fn state(&self, now: u64) -> KeyState {
        if self.record.deletion.is_some() {
            KeyState::PendingDeletion
        } else if self.material.materials.is_empty() || self.material.is_expired(now) {
            KeyState::PendingImport
        } else if self.record.enabled {
            KeyState::Enabled
        } else {
            KeyState::Disabled
        }
    }

    pub(crate) fn is_multi_region(&self) -> bool {
        self.id.starts_with(MULTI_REGION_PREFIX)
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.material.regions.first() == Some(&self.region)
    }

    pub(crate) fn metadata(&self, now: u64) -> KeyMetadata {
        KeyMetadata {
            key_id: self.id.clone(),
            arn: self.arn.clone(),
            region: self.region.clone(),
            description: self.record.description.clone(),
            created: from_millis(self.record.created),
            state: self.state(now),
            spec: self.material.spec,
            origin: self.material.origin,
            deletion: self.record.deletion.map(from_millis),
            expiry: self.material.expiry.filter(|expiry| *expiry > now).map(from_millis),
            regions: self.material.regions.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_key_material() {
        let material = KeyMaterial::generate(1, KeySpec::Hmac512, 0, false).unwrap();
        let secret = format!("{:?}", material.secret);
        assert!(!format!("{material:?}").contains(secret.trim_matches(['[', ']'])));
        assert_eq!(material.secret.len(), 64);
    }
}
