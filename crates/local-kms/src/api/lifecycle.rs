//! The life cycle of keys: creating, describing, tagging, disabling and deleting them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use manila_core::Result;
use manila_core::internal::{MULTI_REGION_PREFIX, crypto, quoted};
use uuid::Builder;

use crate::api::rotation::{self, check_can_rotate};
use crate::audit::Details;
use crate::call::{OfAccount, OnKey};
use crate::clock::{days_after, from_millis};
use crate::deadlines::{self, Deadline};
use crate::error::{check_len, code_of, invalid, refused};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::policy::{Policy, PolicyKind};
use crate::record::alias;
use crate::record::key::{
    CreateKey, Due, Key, KeyMaterial, KeyMetadata, KeyOrigin, KeyRecord, KeySpec, KeyUsage, MaterialRecord,
};
use crate::record::secret;
use crate::store::{Table, Tables};

const MAX_DESCRIPTION_CHARS: usize = 8192;
/// The number of days between scheduling a deletion and the deletion, as on AWS.
pub(super) const DELETION_DAYS: std::ops::RangeInclusive<u32> = 7..=30;
const MAX_TAGS: usize = 50;
const TAG_KEY_CHARS: std::ops::RangeInclusive<usize> = 1..=128;
const MAX_TAG_VALUE_CHARS: usize = 256;
/// The number of times that others may be first with an alias which is gone again when it is looked for.
const ATTEMPTS: u32 = 100;

/// A key in a list of keys. It contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyListEntry {
    pub(crate) key_id: String,
    pub(crate) key_arn: String,
}

impl KeyListEntry {
    /// Returns the key's id.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns the key's ARN.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.key_arn
    }
}

impl LocalKms {
    /// Creates a key in the region of this handle, with an alias if the request names one.
    ///
    /// The owner may, and principals with a [policy](Self::put_identity_policy) that allows `kms:CreateKey`; for tags
    /// also `kms:TagResource`, and for an alias `kms:CreateAlias` on the alias.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, KeyState, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default().alias("alias/app"))?;
    /// assert_eq!(kms.describe_key("alias/app")?.state(), KeyState::Enabled);
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the alias already exists
    /// (`AlreadyExistsException`) or is not valid, if the usage, description, tags or rotation period violate AWS's
    /// rules, if this build does not have the kind of key (`UnsupportedOperationException`), or if the policy is not
    /// valid or locks the caller out; [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller lacks
    /// permission.
    #[expect(clippy::needless_pass_by_value, reason = "a request is made for one call")]
    pub fn create_key(&self, request: CreateKey) -> Result<KeyMetadata> {
        // Parsed and generated before anything is locked, because both may take long.
        let policy = request.policy.as_deref().map(|json| Policy::parse(json, PolicyKind::Key));
        let usage = checked(&request);
        let may = || request.spec.key_pair().is_none() || self.may(Operation::CreateKey, &OfAccount, details(&request));
        let is_wanted = usage.is_ok() && request.origin == KeyOrigin::Generated && may();
        let secret = is_wanted.then(|| secret::generate(request.spec));
        self.write(Operation::CreateKey, &OfAccount, details(&request), |tables, (), call| {
            let usage = usage?;
            let id = new_id(request.multi_region)?;
            let arn = self.location().key_arn(&id);
            let materials = match secret {
                Some(secret) => vec![KeyMaterial::first(&secret?, call.now)],
                None => Vec::new(),
            };
            let key = Key {
                arn,
                region: self.region_name().to_owned(),
                record: KeyRecord {
                    description: request.description.clone(),
                    tags: request.tags.clone(),
                    policy: request.policy.clone(),
                    ..KeyRecord::new(call.now)
                },
                material: MaterialRecord {
                    spec: request.spec,
                    usage: Some(usage),
                    origin: request.origin,
                    regions: vec![self.region_name().to_owned()],
                    materials,
                    expiry: None,
                    fingerprint: Vec::new(),
                    rotation_days: request.rotation_days,
                    rotation_base: call.now,
                },
                id,
            };
            if let Some(policy) = policy {
                call.access.check_lockout(tables, &policy?, &key, request.may_lock_out)?;
            }
            key.store(tables)?;
            if let Some(name) = &request.alias {
                alias::put_new(tables, &self.location(), name, &key.id)?;
            }
            Ok(key.metadata(call.now))
        })
    }

    /// The key that an alias names, whatever its kind and state; a new one with that alias if there is none, as
    /// [`create_key`](Self::create_key) makes it. The alias takes the place of one in the request.
    ///
    /// Programs that call this at the same time get the same key. A key that is there costs no write.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.find_or_create_key("alias/app", CreateKey::default().description("orders"))?;
    /// assert_eq!(kms.find_or_create_key("alias/app", CreateKey::default())?, key);
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// Policies and the audit log see the operations that it performs: `DescribeKey`, then `CreateKey` if there was no
    /// key.
    ///
    /// # Errors
    /// Those of [`describe_key`](Self::describe_key) if the alias exists, and of [`create_key`](Self::create_key)
    /// otherwise.
    pub fn find_or_create_key(&self, alias: &str, request: CreateKey) -> Result<KeyMetadata> {
        let request = request.alias(alias);
        let is = |outcome: &Result<KeyMetadata>, code| outcome.as_ref().is_err_and(|error| code_of(error) == code);
        let mut attempts = 1..ATTEMPTS;
        loop {
            // What is not an alias can be the id of a key, which is not asked for. Creating refuses it.
            if alias::check_alias(alias).is_ok() {
                let found = self.describe_key(alias);
                if !is(&found, "NotFoundException") {
                    return found;
                }
            }
            let made = self.create_key(request.clone());
            // Somebody else was first, so the next look finds their key.
            if !is(&made, "AlreadyExistsException") || attempts.next().is_none() {
                return made;
            }
        }
    }

    /// Describes a key; `key_id` is its id, its ARN, an alias or an alias ARN.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key (`NotFoundException`), or the
    /// caller lacks permission.
    pub fn describe_key(&self, key_id: &str) -> Result<KeyMetadata> {
        self.read(Operation::DescribeKey, &OnKey::new(key_id), Details::new(), |tables, mut key, call| {
            deadlines::forget_deleted_regions(tables, &mut key, call.now)?;
            Ok(key.metadata(call.now))
        })
    }

    /// Lists the ids and ARNs of all keys of the region, ordered by id. The owner may call this, and
    /// principals with a policy that allows `kms:ListKeys`.
    ///
    /// [`describe_key`](Self::describe_key) returns everything else about a key, if the key's policy allows it.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller lacks permission,
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the store cannot be read.
    pub fn list_keys(&self) -> Result<Vec<KeyListEntry>> {
        self.read(Operation::ListKeys, &OfAccount, Details::new(), |tables, (), call| {
            let location = self.location();
            let mut keys = Vec::new();
            for (key_id, record) in tables.all::<KeyRecord>(Table::Keys, &location.row(""))? {
                if !record.is_deleted(call.now) {
                    keys.push(KeyListEntry { key_arn: location.key_arn(&key_id), key_id });
                }
            }
            Ok(keys)
        })
    }

    /// Replaces the description of a key, which has at most 8192 characters.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is pending deletion, or the
    /// caller lacks permission.
    pub fn update_key_description(&self, key_id: &str, description: &str) -> Result<()> {
        // The store seals descriptions, so they are not logged.
        self.change(Operation::UpdateKeyDescription, key_id, Details::new(), |key, _| {
            check_description(description)?;
            description.clone_into(&mut key.record.description);
            Ok(())
        })
    }

    /// Adds tags to a key, replacing the values of existing ones.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`TagException`) if a tag violates AWS's rules or
    /// the key would have more than 50 tags; [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no
    /// such key, it is pending deletion, or the caller lacks permission.
    pub fn tag_key<K: Into<String>, V: Into<String>>(
        &self,
        key_id: &str,
        tags: impl IntoIterator<Item = (K, V)>,
    ) -> Result<()> {
        // Collected before anything is locked, because the caller's iterator may call this KMS.
        let tags: BTreeMap<String, String> =
            tags.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let request = Details::new().tag_keys("tagKeys", &tags);
        self.change(Operation::TagResource, key_id, request, |key, _| {
            key.record.tags.extend(tags.clone());
            check_tags(&key.record.tags)
        })
    }

    /// Removes tags from a key. Missing ones are ignored.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is pending deletion, or the
    /// caller lacks permission.
    pub fn untag_key<'a>(&self, key_id: &str, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let names: Vec<_> = names.into_iter().collect();
        let request = Details::new().list("tagKeys", names.iter().copied());
        self.change(Operation::UntagResource, key_id, request, |key, _| {
            for name in &names {
                key.record.tags.remove(*name);
            }
            Ok(())
        })
    }

    /// Lists the tags of a key, in the order of their names.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller lacks permission.
    pub fn list_key_tags(&self, key_id: &str) -> Result<Vec<(String, String)>> {
        self.read(Operation::ListResourceTags, &OnKey::new(key_id), Details::new(), |_, key, _| {
            Ok(key.record.tags.into_iter().collect())
        })
    }

    /// Enables a disabled key.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is pending deletion or
    /// import, or the caller lacks permission.
    pub fn enable_key(&self, key_id: &str) -> Result<()> {
        self.change(Operation::EnableKey, key_id, Details::new(), |key, _| {
            key.record.enabled = true;
            Ok(())
        })
    }

    /// Disables a key for encryption and decryption, with effect from the next call. It can be enabled again.
    ///
    /// # Errors
    /// The same as [`enable_key`](Self::enable_key).
    pub fn disable_key(&self, key_id: &str) -> Result<()> {
        self.change(Operation::DisableKey, key_id, Details::new(), |key, _| {
            key.record.enabled = false;
            Ok(())
        })
    }

    /// Schedules the deletion of a key in 30 days, and returns the deadline.
    ///
    /// Until the deadline the key cannot be used, and the deletion can be [cancelled](Self::cancel_key_deletion). After
    /// it the key no longer exists, and nobody can decrypt what was encrypted under it.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, KeyState, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default())?;
    /// kms.schedule_key_deletion(key.key_id())?;
    /// assert_eq!(kms.describe_key(key.key_id())?.state(), KeyState::PendingDeletion);
    /// kms.cancel_key_deletion(key.key_id())?;
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// The first write of any kind after the deadline removes the material from the store, and [`purge`](Self::purge)
    /// erases its last trace from the file; backups keep their copies. Setting the clock back does not restore what was
    /// removed.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, its deletion is scheduled
    /// already, it is a multi-Region primary key that has replicas, or the caller lacks permission.
    pub fn schedule_key_deletion(&self, key_id: &str) -> Result<SystemTime> {
        self.schedule_key_deletion_in(key_id, *DELETION_DAYS.end())
    }

    /// Schedules the deletion of a key in 7 to 30 days, like [`schedule_key_deletion`](Self::schedule_key_deletion).
    ///
    /// # Errors
    /// The same as [`schedule_key_deletion`](Self::schedule_key_deletion), and
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for another number of days.
    pub fn schedule_key_deletion_in(&self, key_id: &str, days: u32) -> Result<SystemTime> {
        let request = Details::new().number("pendingWindowInDays", days);
        self.write(Operation::ScheduleKeyDeletion, &OnKey::new(key_id), request, |tables, mut key, call| {
            if !DELETION_DAYS.contains(&days) {
                let message = format!("a key is deleted after 7 to 30 days, not after {days}");
                return Err(invalid("ValidationException", message));
            }
            if key.is_primary() && key.material.regions.len() > 1 {
                let message = "a primary key with replicas cannot be deleted: delete the replicas first";
                return Err(refused("KMSInvalidStateException", message));
            }
            let deadline = days_after(call.now, days);
            key.record.deletion = Some(Due::new(call.now, deadline));
            Deadline::Deletion.set(tables, deadline, &self.location().row(&key.id))?;
            key.store(tables)?;
            Ok(from_millis(deadline))
        })
    }

    /// Cancels the deletion of a key, which is disabled afterwards.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, as is the case after the
    /// deadline, no deletion is scheduled, or the caller lacks permission.
    pub fn cancel_key_deletion(&self, key_id: &str) -> Result<()> {
        self.write(Operation::CancelKeyDeletion, &OnKey::new(key_id), Details::new(), |tables, mut key, _| {
            if let Some(deletion) = key.record.deletion.take() {
                Deadline::Deletion.unset(tables, deletion.at, &self.location().row(&key.id))?;
            }
            key.record.enabled = false;
            key.store(tables)
        })
    }
}

/// Returns the usage of a new key, or fails for what the request alone decides.
fn checked(request: &CreateKey) -> Result<KeyUsage> {
    let usage = usage(request)?;
    if let Some(kind) = request.spec.key_pair() {
        secret::check_supported(kind, request.spec)?;
    }
    check_description(&request.description)?;
    check_tags(&request.tags)?;
    if let Some(days) = request.rotation_days {
        check_can_rotate(request.spec, request.origin)?;
        rotation::check_days(days)?;
    }
    Ok(usage)
}

/// Returns the usage of a new key, or AWS's error if it is missing or not one of its kind.
fn usage(request: &CreateKey) -> Result<KeyUsage> {
    let failed = |message: String| Err(invalid("ValidationException", message));
    match request.usage {
        Some(usage) if request.spec.usages().contains(&usage) => Ok(usage),
        Some(usage) => {
            let (usage, spec) = (usage.name(), request.spec.name());
            failed(format!("KeyUsage {usage} is not compatible with KeySpec {spec}"))
        }
        None if request.spec == KeySpec::SymmetricDefault => Ok(KeyUsage::EncryptDecrypt),
        None => {
            let message = "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.";
            failed(message.to_owned())
        }
    }
}

fn details(request: &CreateKey) -> Details<'_> {
    Details::new()
        .text("keySpec", request.spec.name())
        .maybe(request.usage, |details, usage| details.text("keyUsage", usage.name()))
        .text("origin", request.origin.name())
        .flag("multiRegion", request.multi_region)
        .maybe(request.alias.as_deref(), |details, alias| details.text("aliasName", alias))
        .tag_keys("tagKeys", &request.tags)
        .maybe(request.rotation_days, |details, days| details.number("rotationPeriodInDays", days))
        .maybe(request.policy.as_deref(), |details, policy| details.digest("policySha256", policy))
        .flag("bypassPolicyLockoutSafetyCheck", request.may_lock_out)
}

fn new_id(multi_region: bool) -> Result<String> {
    let uuid = Builder::from_random_bytes(crypto::random_array()?).into_uuid();
    Ok(if multi_region { format!("{MULTI_REGION_PREFIX}{}", uuid.simple()) } else { uuid.to_string() })
}

fn check_description(description: &str) -> Result<()> {
    check_len("characters of a description", description.chars().count(), 0..=MAX_DESCRIPTION_CHARS)
}

pub(super) fn check_tags(tags: &BTreeMap<String, String>) -> Result<()> {
    let failed = |message: String| Err(invalid("TagException", message));
    if tags.len() > MAX_TAGS {
        return failed(format!("a key has at most {MAX_TAGS} tags"));
    }
    for (name, value) in tags {
        if !TAG_KEY_CHARS.contains(&name.chars().count()) || name.starts_with("aws:") {
            let rule = "use 1 to 128 characters that do not begin with aws:";
            return failed(format!("{} is not a valid tag name: {rule}", quoted(name)));
        }
        if value.chars().count() > MAX_TAG_VALUE_CHARS {
            return failed(format!("the value of tag {} has more than {MAX_TAG_VALUE_CHARS} characters", quoted(name)));
        }
    }
    Ok(())
}
