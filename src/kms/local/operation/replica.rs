//! Multi-Region keys: one material in several regions.

use crate::error::Result;
use crate::kms::local::LocalKms;
use crate::kms::local::access;
use crate::kms::local::answer::invalid;
use crate::kms::local::builder::check_region;
use crate::kms::local::lookup::{self, put};
use crate::kms::local::operation::Operation;
use crate::kms::local::place::Place;
use crate::kms::local::record::key::{Key, KeyMetadata, KeyRecord};

/// The most regions of a key: more than AWS has.
const MAX_REGIONS: usize = 64;

impl LocalKms {
    /// Makes a replica of a multi-Region primary key in another region: the same id and material, and what one
    /// encrypts the other decrypts. State, description, tags, policy, grants and aliases are the replica's own.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller may not; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is no primary multi-Region key
    /// (`UnsupportedOperationException`) or is in that region already (`AlreadyExistsException`).
    pub fn replicate_key(&self, key_id: &str, region: &str) -> Result<KeyMetadata> {
        self.write(Operation::ReplicateKey, |tables, call| {
            check_region(region)?;
            let mut key = call.key(tables, key_id)?;
            check_primary(&key)?;
            if key.material.regions.iter().any(|there| there == region) {
                let message = format!("the key is in {region} already");
                return Err(invalid("AlreadyExistsException", message));
            }
            if key.material.regions.len() >= MAX_REGIONS {
                let message = format!("a key is in at most {MAX_REGIONS} regions");
                return Err(invalid("LimitExceededException", message));
            }
            key.material.regions.push(region.to_owned());
            let arn = Place { region, account: self.account() }.key_arn(&key.id);
            let replica = Key { arn, region: region.to_owned(), record: KeyRecord::new(call.now), ..key };
            put(tables, &replica)?;
            Ok(replica.metadata(call.now))
        })
    }

    /// Makes the replica in another region the primary key, and the primary a replica.
    ///
    /// The caller needs `kms:UpdatePrimaryRegion` on both keys.
    ///
    /// # Errors
    /// As [`replicate_key`](Self::replicate_key), and [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there
    /// is no enabled replica in that region.
    pub fn update_primary_region(&self, key_id: &str, region: &str) -> Result<()> {
        self.write(Operation::UpdatePrimaryRegion, |tables, call| {
            let mut key = call.key(tables, key_id)?;
            check_primary(&key)?;
            let there = lookup::load(tables, &Place { region, account: self.account() }, &key.id)?;
            let replica = there.filter(|there| !there.is_deleted(call.now)).ok_or_else(|| lookup::not_found(key_id))?;
            access::permission(self, tables, &replica, Operation::UpdatePrimaryRegion, None)?;
            Operation::UpdatePrimaryRegion.check_state(replica.state(call.now))?;
            key.material.regions.retain(|other| other != region);
            key.material.regions.insert(0, region.to_owned());
            put(tables, &key)
        })
    }
}

fn check_primary(key: &Key) -> Result<()> {
    if key.is_multi_region() && key.is_primary() {
        return Ok(());
    }
    let message = "the key is no multi-Region primary key: make one with CreateKey::multi_region";
    Err(invalid("UnsupportedOperationException", message))
}
