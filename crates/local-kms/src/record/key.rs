//! Keys: the request for a new one ([`CreateKey`]), its records, and its public description ([`KeyMetadata`]).

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use manila_core::Result;
use manila_core::internal::MULTI_REGION_PREFIX;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::clock::{days_after, from_millis};
use crate::error::invalid;
use crate::location::{Location, row};
use crate::operation::{KeyState, Operation};
use crate::record::algorithm::{
    EncapsulationAlgorithm, EncryptionAlgorithm, KeyAgreementAlgorithm, MacAlgorithm, SigningAlgorithm, incompatible,
};
pub(crate) use crate::record::kind::{KeyOrigin, KeySpec, KeyUsage, RotationType};
use crate::record::secret;
use crate::store::{Table, Tables, WriteTxn, damaged};

/// The properties of a new key.
///
/// ```
/// use manila_local_kms::{CreateKey, LocalKms};
///
/// let kms = LocalKms::in_memory()?;
/// let key = kms.create_key(CreateKey::default().alias("alias/app").description("orders").tag("team", "billing"))?;
/// assert_eq!(key.description(), "orders");
/// # Ok::<(), manila_local_kms::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct CreateKey {
    pub(crate) alias: Option<String>,
    pub(crate) description: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) spec: KeySpec,
    pub(crate) usage: Option<KeyUsage>,
    pub(crate) origin: KeyOrigin,
    pub(crate) multi_region: bool,
    pub(crate) rotation_days: Option<u32>,
    pub(crate) policy: Option<String>,
    pub(crate) may_lock_out: bool,
}

impl CreateKey {
    /// Also creates an alias for the key, such as `alias/app`.
    pub fn alias(mut self, alias: impl Into<String>) -> Self {
        self.alias = Some(alias.into());
        self
    }

    /// Sets the description, of at most 8192 characters.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Adds a tag. A key has at most 50, with names of 1 to 128 characters and values of at most 256.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(key.into(), value.into());
        self
    }

    /// Sets the kind of key. Defaults to [`KeySpec::SymmetricDefault`]. RSA keys and keys on the curves of NIST, which
    /// have a choice of two usages, also need [`usage`](Self::usage).
    pub fn spec(mut self, spec: KeySpec) -> Self {
        self.spec = spec;
        self.usage = self.usage.or(spec.only_usage());
        self
    }

    /// Sets what the key is for.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, KeySpec, KeyUsage, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let request = CreateKey::default().spec(KeySpec::EccNistP256).usage(KeyUsage::SignVerify);
    /// assert_eq!(kms.create_key(request)?.usage(), KeyUsage::SignVerify);
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    pub fn usage(mut self, usage: KeyUsage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Sets the kind of key and its usage as a request to AWS does, which must name the usage of each key that is not
    /// symmetric and for encryption, even where the kind has one usage alone.
    pub fn spec_and_usage(mut self, spec: KeySpec, usage: Option<KeyUsage>) -> Self {
        (self.spec, self.usage) = (spec, usage);
        self
    }

    /// Creates the key without material, for [`LocalKms::import_key_material`](crate::LocalKms::import_key_material).
    pub fn imported(mut self) -> Self {
        self.origin = KeyOrigin::External;
        self
    }

    /// Creates a multi-Region key, which can be replicated to other regions. Its id begins with `mrk-`.
    pub fn multi_region(mut self) -> Self {
        self.multi_region = true;
        self
    }

    /// Enables automatic rotation, every 90 to 2560 days.
    pub fn rotate_every_days(mut self, days: u32) -> Self {
        self.rotation_days = Some(days);
        self
    }

    /// Sets the key policy, as AWS's JSON. Without a policy, the owner may do everything and nobody else may do
    /// anything.
    pub fn policy(mut self, json: impl Into<String>) -> Self {
        self.policy = Some(json.into());
        self
    }

    /// Accepts a policy that does not allow the caller to change it again.
    pub fn policy_may_lock_out_caller(mut self) -> Self {
        self.may_lock_out = true;
        self
    }
}

/// The description of a key. It contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMetadata {
    key_id: String,
    arn: String,
    region: String,
    description: String,
    created: SystemTime,
    state: KeyState,
    spec: KeySpec,
    usage: KeyUsage,
    origin: KeyOrigin,
    deletion: Option<SystemTime>,
    expiry: Option<SystemTime>,
    regions: Vec<String>,
}

impl KeyMetadata {
    /// Returns the key's id: a UUID, or `mrk-` and 32 hexadecimal digits.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns the key's ARN, which keyrings and messages use to name it.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Returns the description.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns the time of creation, in whole milliseconds.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        self.created
    }

    /// Returns the key's state.
    #[must_use]
    pub fn state(&self) -> KeyState {
        self.state
    }

    /// Returns the kind of key.
    #[must_use]
    pub fn spec(&self) -> KeySpec {
        self.spec
    }

    /// Returns what the key is for.
    #[must_use]
    pub fn usage(&self) -> KeyUsage {
        self.usage
    }

    /// Returns the algorithms that the key encrypts and decrypts with.
    #[must_use]
    pub fn encryption_algorithms(&self) -> &'static [EncryptionAlgorithm] {
        EncryptionAlgorithm::of(self.spec, self.usage)
    }

    /// Returns the algorithms that the key signs and verifies with.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, KeySpec, LocalKms, SigningAlgorithm};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default().spec(KeySpec::EccSecgP256k1))?;
    /// assert_eq!(key.signing_algorithms(), [SigningAlgorithm::EcdsaSha256]);
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    #[must_use]
    pub fn signing_algorithms(&self) -> &'static [SigningAlgorithm] {
        SigningAlgorithm::of(self.spec, self.usage)
    }

    /// Returns the algorithms that the key computes message authentication codes with.
    #[must_use]
    pub fn mac_algorithms(&self) -> &'static [MacAlgorithm] {
        MacAlgorithm::of(self.spec)
    }

    /// Returns the algorithms that the key agrees on secrets with.
    #[must_use]
    pub fn key_agreement_algorithms(&self) -> &'static [KeyAgreementAlgorithm] {
        KeyAgreementAlgorithm::of(self.usage)
    }

    /// Returns the algorithms that secrets are encapsulated for the key with.
    #[must_use]
    pub fn encapsulation_algorithms(&self) -> &'static [EncapsulationAlgorithm] {
        EncapsulationAlgorithm::of(self.usage)
    }

    /// Returns the origin of its material.
    #[must_use]
    pub fn origin(&self) -> KeyOrigin {
        self.origin
    }

    /// Returns the time of deletion, if it is scheduled.
    #[must_use]
    pub fn deletion_date(&self) -> Option<SystemTime> {
        self.deletion
    }

    /// Returns the expiry of imported material, if it has one.
    #[must_use]
    pub fn material_expiry(&self) -> Option<SystemTime> {
        self.expiry
    }

    /// Returns whether the key is a multi-Region key.
    #[must_use]
    pub fn is_multi_region(&self) -> bool {
        self.key_id.starts_with(MULTI_REGION_PREFIX)
    }

    /// Returns the region of the primary key: this key's own, unless it is a replica.
    #[must_use]
    pub fn primary_region(&self) -> &str {
        self.regions.first().unwrap_or(&self.region)
    }

    /// Returns the regions of the replicas.
    #[must_use]
    pub fn replica_regions(&self) -> &[String] {
        self.regions.get(1..).unwrap_or_default()
    }
}

/// A deadline, and the time at which it was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Due {
    pub(crate) at: u64,
    set: u64,
}

impl Due {
    pub(crate) fn new(set: u64, at: u64) -> Self {
        Self { at, set }
    }

    pub(crate) fn is_past(self, now: u64) -> bool {
        self.at <= now
    }

    /// Returns the deadline counted from now, if it was set at a time in the future.
    pub(crate) fn set_back(self, now: u64) -> Option<Self> {
        (self.set > now).then(|| Self { at: now.saturating_add(self.at.saturating_sub(self.set)), set: now })
    }
}

/// The record of a key in one region.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    pub(crate) description: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) created: u64,
    pub(crate) enabled: bool,
    /// The deadline of a scheduled deletion.
    pub(crate) deletion: Option<Due>,
    /// As AWS's JSON; without it the owner may do everything.
    pub(crate) policy: Option<String>,
}

/// The record of a key's material, once for all regions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MaterialRecord {
    pub(crate) spec: KeySpec,
    /// `None` in records from before there were kinds with several usages: the only one of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<KeyUsage>,
    pub(crate) origin: KeyOrigin,
    /// The regions of the key, the primary's first.
    pub(crate) regions: Vec<String>,
    /// Oldest first. The last encrypts, all of them decrypt. Empty until material is imported.
    pub(crate) materials: Vec<KeyMaterial>,
    /// The expiry of imported material.
    pub(crate) expiry: Option<Due>,
    /// Identifies imported material without revealing it.
    #[serde(with = "serde_bytes")]
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) rotation_days: Option<u32>,
    /// The time from which the next rotation is counted.
    pub(crate) rotation_base: u64,
}

/// One secret of a key.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct KeyMaterial {
    #[zeroize(skip)]
    pub(crate) id: u32,
    #[zeroize(skip)]
    pub(crate) created: u64,
    /// The reason for it; `None` for the first material of a key.
    #[zeroize(skip)]
    pub(crate) rotation: Option<RotationType>,
    /// Random bytes, or the private key of an asymmetric key in PKCS #8.
    #[serde(with = "serde_bytes")]
    pub(crate) secret: Vec<u8>,
}

impl KeyMaterial {
    /// Returns the first material of a key.
    pub(crate) fn first(secret: &[u8], created: u64) -> Self {
        Self { id: 1, created, rotation: None, secret: secret.to_vec() }
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial").field("id", &self.id).finish_non_exhaustive()
    }
}

impl KeyRecord {
    /// Returns the record of an enabled key without a description, tags or policy.
    pub(crate) fn new(created: u64) -> Self {
        let (description, tags) = (String::new(), BTreeMap::new());
        Self { description, tags, created, enabled: true, deletion: None, policy: None }
    }

    /// Returns whether the key's deadline has passed.
    pub(crate) fn is_deleted(&self, now: u64) -> bool {
        self.deletion.is_some_and(|deletion| deletion.is_past(now))
    }
}

impl MaterialRecord {
    /// Adds new material, which encrypts from now on.
    pub(crate) fn renew(&mut self, time: u64, rotation: RotationType) -> Result<()> {
        let newest = self.materials.last().map_or(0, |newest| newest.id);
        let id = newest.checked_add(1).ok_or_else(damaged)?;
        let secret = secret::generate(self.spec)?.to_vec();
        self.materials.push(KeyMaterial { id, created: time, rotation: Some(rotation), secret });
        Ok(())
    }

    /// Returns what the key is for.
    pub(crate) fn usage(&self) -> KeyUsage {
        let only = || self.spec.only_usage().unwrap_or(KeyUsage::EncryptDecrypt);
        self.usage.unwrap_or_else(only)
    }

    /// Removes imported material, and returns its expiry.
    pub(crate) fn forget(&mut self) -> Option<Due> {
        self.materials.clear();
        self.expiry.take()
    }

    /// Returns whether imported material has expired, in which case it must not be used.
    pub(crate) fn is_expired(&self, now: u64) -> bool {
        self.expiry.is_some_and(|expiry| expiry.is_past(now))
    }

    /// Returns the time of the next rotation.
    pub(crate) fn next_rotation(&self) -> Option<u64> {
        self.rotation_days.map(|days| days_after(self.rotation_base, days))
    }
}

/// A key in one region, with its material.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) region: String,
    pub(crate) record: KeyRecord,
    pub(crate) material: MaterialRecord,
}

impl Key {
    /// Loads the key with this id.
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

    /// Returns whether the deletion deadline has passed: such a key no longer exists for callers.
    pub(crate) fn is_deleted(&self, now: u64) -> bool {
        self.record.is_deleted(now)
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

    /// Fails with AWS's error unless the key is symmetric and for encryption.
    pub(crate) fn check_symmetric(&self) -> Result<()> {
        match self.material.spec {
            KeySpec::SymmetricDefault => Ok(()),
            spec => Err(incompatible(EncryptionAlgorithm::SymmetricDefault.name(), spec)),
        }
    }

    /// Fails with AWS's error if the operation is for keys of another usage, whether or not the table refuses it.
    pub(crate) fn check_usage(&self, operation: Operation) -> Result<()> {
        let usage = self.material.usage();
        if operation.takes_usage(usage) {
            return Ok(());
        }
        let operation = match operation {
            Operation::ReEncryptFrom | Operation::ReEncryptTo => Operation::ReEncrypt,
            operation => operation,
        };
        let (usage, operation) = (usage.name(), operation.name());
        let message = format!("{} key usage is {usage} which is not valid for {operation}.", self.arn);
        Err(invalid("InvalidKeyUsageException", message))
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
            usage: self.material.usage(),
            origin: self.material.origin,
            deletion: self.record.deletion.map(|deletion| from_millis(deletion.at)),
            expiry: self.material.expiry.filter(|expiry| !expiry.is_past(now)).map(|expiry| from_millis(expiry.at)),
            regions: self.material.regions.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::from_cbor;

    #[test]
    fn debug_shows_no_key_material() {
        let material = KeyMaterial::first(&secret::generate(KeySpec::Hmac512).unwrap(), 0);
        let secret = format!("{:?}", material.secret);
        assert!(!format!("{material:?}").contains(secret.trim_matches(['[', ']'])));
        assert_eq!(material.secret.len(), 64);
    }

    /// The record as it was before there were usages.
    #[derive(Serialize)]
    struct OlderRecord {
        spec: KeySpec,
        origin: KeyOrigin,
        regions: Vec<String>,
        materials: Vec<KeyMaterial>,
        expiry: Option<Due>,
        #[serde(with = "serde_bytes")]
        fingerprint: Vec<u8>,
        rotation_days: Option<u32>,
        rotation_base: u64,
    }

    #[test]
    fn records_from_before_there_were_usages_have_the_only_one() {
        for (spec, usage) in [
            (KeySpec::SymmetricDefault, KeyUsage::EncryptDecrypt),
            (KeySpec::Hmac224, KeyUsage::GenerateVerifyMac),
            (KeySpec::Hmac512, KeyUsage::GenerateVerifyMac),
        ] {
            let older = OlderRecord {
                spec,
                origin: KeyOrigin::Generated,
                regions: vec!["local".to_owned()],
                materials: vec![KeyMaterial::first(&[7; 32], 5)],
                expiry: None,
                fingerprint: Vec::new(),
                rotation_days: Some(90),
                rotation_base: 5,
            };
            let mut bytes = Vec::new();
            ciborium::into_writer(&older, &mut bytes).unwrap();
            let record: MaterialRecord = from_cbor(&bytes).unwrap();
            assert_eq!((record.spec, record.usage()), (spec, usage));
            let mut again = Vec::new();
            ciborium::into_writer(&record, &mut again).unwrap();
            assert_eq!(again, bytes, "it is written as it was");
        }
    }
}
