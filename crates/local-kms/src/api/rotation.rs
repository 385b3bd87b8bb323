//! Rotation: new key material under the same id and ARN.

use std::time::{Duration, SystemTime};

use crate::audit::Details;
use crate::call::{Call, OnKey};
use crate::clock::from_millis;
use crate::deadlines;
use crate::error::invalid;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::key::{Key, KeyOrigin, KeySpec};
use crate::store::damaged;
use manila_core::Result;

/// Days between automatic rotations, as on AWS.
const ROTATION_DAYS: std::ops::RangeInclusive<u32> = 90..=2560;
const DEFAULT_ROTATION_DAYS: u32 = 365;
/// On-demand rotations of one key, as on AWS.
///
/// Source: AWS KMS Developer Guide, "Quotas", on-demand rotation.
const MAX_ON_DEMAND: usize = 25;

/// How a key is rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RotationStatus {
    /// The time between automatic rotations, a whole number of days; none if they are off.
    pub period: Option<Duration>,
    /// When the key will be rotated next.
    pub next: Option<SystemTime>,
}

/// A rotation that was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyRotation {
    /// When the new material took over.
    pub date: SystemTime,
    /// Whether it was asked for; otherwise it was due.
    pub on_demand: bool,
}

impl LocalKms {
    /// Rotates a key by itself every 365 days, counted from now.
    ///
    /// Id and ARN stay; the newest material encrypts, every older one still decrypts. A rotation takes place with the
    /// first use of the key after it is due; if several were missed, once.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller may not; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`UnsupportedOperationException`) if
    /// it is an HMAC key, has imported material, or is a multi-Region replica.
    pub fn enable_key_rotation(&self, key_id: &str) -> Result<()> {
        self.enable_key_rotation_every(key_id, DEFAULT_ROTATION_DAYS)
    }

    /// [`enable_key_rotation`](Self::enable_key_rotation) every 90 to 2560 days. Where rotation is enabled already the
    /// new period counts from the last rotation.
    ///
    /// # Errors
    /// As there, and [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for another number of days.
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

    /// Ends automatic rotation. Older material still decrypts.
    ///
    /// # Errors
    /// As [`enable_key_rotation`](Self::enable_key_rotation).
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

    /// Rotates a key now. The schedule of automatic rotations stays as it is.
    ///
    /// # Errors
    /// As [`enable_key_rotation`](Self::enable_key_rotation), and
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`LimitExceededException`) after 25 times.
    pub fn rotate_key_on_demand(&self, key_id: &str) -> Result<()> {
        let add = |key: &mut Key, call: &Call<'_>| key.material.renew(call.now, true);
        self.change_rotation(Operation::RotateKeyOnDemand, key_id, Details::new(), check_on_demand, add)
    }

    /// Changes how a key rotates, after the rotation that is due already if one is: no change makes up for it.
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

    /// How a key is rotated. While its deletion is pending it is not.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller may not.
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

    /// The rotations of a key, oldest first.
    ///
    /// # Errors
    /// As [`key_rotation_status`](Self::key_rotation_status).
    pub fn list_key_rotations(&self, key_id: &str) -> Result<Vec<KeyRotation>> {
        self.read(Operation::ListKeyRotations, &OnKey::new(key_id), Details::new(), |_, key, _| {
            let materials = &key.material.materials;
            let rotations = materials
                .iter()
                .skip(1)
                .map(|material| KeyRotation { date: from_millis(material.created), on_demand: material.on_demand });
            Ok(rotations.collect())
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

/// Only material of the KMS's own making rotates, and only that of keys that encrypt.
pub(crate) fn check_can_rotate(spec: KeySpec, origin: KeyOrigin) -> Result<()> {
    if (spec, origin) == (KeySpec::SymmetricDefault, KeyOrigin::Generated) {
        return Ok(());
    }
    let message = "HMAC keys and keys with imported material do not rotate";
    Err(invalid("UnsupportedOperationException", message))
}

fn check_primary(key: &Key) -> Result<()> {
    check_can_rotate(key.material.spec, key.material.origin)?;
    if key.is_primary() {
        return Ok(());
    }
    let message = "a replica rotates with its primary key: ask in the primary's region";
    Err(invalid("UnsupportedOperationException", message))
}

fn check_on_demand(key: &Key) -> Result<()> {
    let so_far = key.material.materials.iter().filter(|material| material.on_demand).count();
    if so_far < MAX_ON_DEMAND {
        return Ok(());
    }
    let message = format!("a key is rotated on demand {MAX_ON_DEMAND} times at most");
    Err(invalid("LimitExceededException", message))
}
