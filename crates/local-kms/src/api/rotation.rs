//! Rotation: new key material under the same id and ARN.

use std::time::{Duration, SystemTime};

use crate::audit::Details;
use crate::call::{Call, OnKey};
use crate::clock::from_millis;
use crate::deadlines;
use crate::error::invalid;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::key::{Key, KeyMaterial, KeyOrigin, KeySpec, RotationType};
use crate::store::damaged;
use manila_core::Result;

/// The number of days between automatic rotations, as on AWS.
const ROTATION_DAYS: std::ops::RangeInclusive<u32> = 90..=2560;
const DEFAULT_ROTATION_DAYS: u32 = 365;
/// The maximum number of on-demand rotations of a key, as on AWS.
///
/// Source: AWS KMS Developer Guide, "Quotas", on-demand rotation.
const MAX_ON_DEMAND: usize = 25;

/// The rotation settings of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationStatus {
    pub(crate) period: Option<Duration>,
    pub(crate) next: Option<SystemTime>,
}

impl RotationStatus {
    /// Returns the time between automatic rotations, in whole days; `None` if they are disabled.
    #[must_use]
    pub fn period(&self) -> Option<Duration> {
        self.period
    }

    /// Returns the time of the next automatic rotation.
    #[must_use]
    pub fn next(&self) -> Option<SystemTime> {
        self.next
    }
}

/// A completed rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyRotation {
    pub(crate) key_version: u32,
    pub(crate) date: SystemTime,
    pub(crate) rotation_type: RotationType,
}

impl KeyRotation {
    /// Returns the version of the material that the rotation made, which ciphertexts name:
    /// [`CiphertextOrigin`](crate::CiphertextOrigin). A key is created with version 1.
    #[must_use]
    pub fn key_version(&self) -> u32 {
        self.key_version
    }

    /// Returns the time from which the new material is used to encrypt.
    #[must_use]
    pub fn date(&self) -> SystemTime {
        self.date
    }

    /// Returns the reason for the rotation.
    #[must_use]
    pub fn rotation_type(&self) -> RotationType {
        self.rotation_type
    }
}

impl LocalKms {
    /// Enables automatic rotation of a key every 365 days, starting now.
    ///
    /// The key keeps its id and ARN. The newest material encrypts, and all older material still decrypts. A rotation
    /// takes place at the first use of the key after it is due; several missed rotations are made up for by one.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default())?;
    /// kms.enable_key_rotation(key.key_id())?;
    /// assert!(kms.key_rotation_status(key.key_id())?.next().is_some());
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput)
    /// (`UnsupportedOperationException`) if it is an HMAC key, has imported material, or is a multi-Region replica.
    pub fn enable_key_rotation(&self, key_id: &str) -> Result<()> {
        self.enable_key_rotation_every(key_id, DEFAULT_ROTATION_DAYS)
    }

    /// Enables automatic rotation of a key every 90 to 2560 days.
    ///
    /// If automatic rotation is already enabled, the new period starts at the last rotation.
    ///
    /// # Errors
    /// The same as [`enable_key_rotation`](Self::enable_key_rotation), and
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for another number of days.
    pub fn enable_key_rotation_every(&self, key_id: &str, days: u32) -> Result<()> {
        self.change_rotation(
            Operation::EnableKeyRotation,
            key_id,
            Details::new().number("rotationPeriodInDays", days),
            |_| check_days(days),
            |key, call| {
                if key.material.rotation_days.replace(days).is_none() {
                    key.material.rotation_base = call.now;
                }
                Ok(())
            },
        )
    }

    /// Disables automatic rotation of a key. Older material still decrypts.
    ///
    /// # Errors
    /// The same as [`enable_key_rotation`](Self::enable_key_rotation).
    pub fn disable_key_rotation(&self, key_id: &str) -> Result<()> {
        self.change_rotation(
            Operation::DisableKeyRotation,
            key_id,
            Details::new(),
            |_| Ok(()),
            |key, _| {
                key.material.rotation_days = None;
                Ok(())
            },
        )
    }

    /// Rotates a key now. The schedule of automatic rotations does not change.
    ///
    /// # Errors
    /// The same as [`enable_key_rotation`](Self::enable_key_rotation), and
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`LimitExceededException`) after 25 on-demand
    /// rotations; rotations by a change of the root key do not count.
    pub fn rotate_key_on_demand(&self, key_id: &str) -> Result<()> {
        let add = |key: &mut Key, call: &Call<'_>| key.material.renew(call.now, RotationType::OnDemand);
        self.change_rotation(Operation::RotateKeyOnDemand, key_id, Details::new(), check_on_demand, add)
    }

    /// Changes the rotation settings of a key, after performing a rotation that is due.
    fn change_rotation(
        &self,
        operation: Operation,
        key_id: &str,
        request: Details<'_>,
        check: impl FnOnce(&Key) -> Result<()>,
        work: impl FnOnce(&mut Key, &Call<'_>) -> Result<()>,
    ) -> Result<()> {
        self.write(operation, &OnKey::new(key_id), request, |tables, key, call| {
            check_primary(&key)?;
            check(&key)?;
            deadlines::rotate(self.account(), tables, &mut call.recorder, &key.id, call.now)?;
            let mut key = Key::load(tables, &self.location(), &key.id)?.ok_or_else(damaged)?;
            work(&mut key, call)?;
            key.store(tables)
        })
    }

    /// Returns the rotation settings of a key. A key that is pending deletion does not rotate.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller lacks permission.
    pub fn key_rotation_status(&self, key_id: &str) -> Result<RotationStatus> {
        self.read(Operation::GetKeyRotationStatus, &OnKey::new(key_id), Details::new(), |_, key, _| {
            let Key { record, material, .. } = key;
            if record.deletion.is_some() {
                return Ok(RotationStatus { period: None, next: None });
            }
            let period = material.rotation_days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
            Ok(RotationStatus { period, next: material.next_rotation().map(from_millis) })
        })
    }

    /// Lists the completed rotations of a key, oldest first.
    ///
    /// # Errors
    /// The same as [`key_rotation_status`](Self::key_rotation_status).
    pub fn list_key_rotations(&self, key_id: &str) -> Result<Vec<KeyRotation>> {
        self.read(Operation::ListKeyRotations, &OnKey::new(key_id), Details::new(), |_, key, _| {
            let rotation = |material: &KeyMaterial| {
                let date = from_millis(material.created);
                let key_version = material.id;
                material.rotation.map(|rotation_type| KeyRotation { key_version, date, rotation_type })
            };
            Ok(key.material.materials.iter().filter_map(rotation).collect())
        })
    }
}

pub(crate) fn check_days(days: u32) -> Result<()> {
    if ROTATION_DAYS.contains(&days) {
        return Ok(());
    }
    let message = format!("a key rotates every {} to {} days, not {days}", ROTATION_DAYS.start(), ROTATION_DAYS.end());
    Err(invalid("ValidationException", message))
}

/// Fails unless a key can be rotated: only encryption keys with material from the KMS can.
pub(crate) fn check_can_rotate(spec: KeySpec, origin: KeyOrigin) -> Result<()> {
    if (spec, origin) == (KeySpec::SymmetricDefault, KeyOrigin::Generated) {
        return Ok(());
    }
    let message = "only symmetric keys for encryption rotate, and none with imported material";
    Err(invalid("UnsupportedOperationException", message))
}

fn check_primary(key: &Key) -> Result<()> {
    check_can_rotate(key.material.spec, key.material.origin)?;
    if key.is_primary() {
        return Ok(());
    }
    let message = "a replica rotates with its primary key: call this in the primary's region";
    Err(invalid("UnsupportedOperationException", message))
}

fn check_on_demand(key: &Key) -> Result<()> {
    let so_far = key.material.materials.iter().filter(|it| it.rotation == Some(RotationType::OnDemand)).count();
    if so_far < MAX_ON_DEMAND {
        return Ok(());
    }
    let message = format!("a key can be rotated on demand at most {MAX_ON_DEMAND} times");
    Err(invalid("LimitExceededException", message))
}
