//! Multi-Region keys: the same material in several regions.

use crate::audit::Details;
use crate::call::{OnKey, PrimaryAndReplica, check_primary};
use crate::error::invalid;
use crate::local_kms::LocalKms;
use crate::location::{Location, check_region};
use crate::operation::Operation;
use crate::record::key::{Key, KeyMetadata, KeyRecord};
use manila_core::Result;

/// The maximum number of regions of a key, which is more than AWS has.
const MAX_REGIONS: usize = 64;

impl LocalKms {
    /// Creates a replica of a multi-Region primary key in another region, with the same id and material.
    ///
    /// Each of the two keys decrypts what the other encrypts. The replica has its own state, description, tags, policy,
    /// grants and aliases.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let primary = kms.create_key(CreateKey::default().multi_region())?;
    /// let replica = kms.replicate_key(primary.arn(), "eu-west-1")?;
    /// assert_eq!(replica.key_id(), primary.key_id());
    /// assert!(kms.region("eu-west-1")?.describe_key(replica.arn()).is_ok());
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// The caller needs `kms:ReplicateKey` for the key and, unless they are the owner, a policy that allows
    /// `kms:CreateKey` in the other region: a replica is a new key of the account.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a multi-Region
    /// primary key (`UnsupportedOperationException`) or already exists in that region (`AlreadyExistsException`).
    pub fn replicate_key(&self, key_id: &str, region: &str) -> Result<KeyMetadata> {
        let request = Details::new().text("replicaRegion", region);
        self.write(Operation::ReplicateKey, &OnKey::new(key_id), request, |tables, mut key, call| {
            check_region(region)?;
            check_primary(&key)?;
            if key.material.regions.iter().any(|there| there == region) {
                let message = format!("the key already exists in {region}");
                return Err(invalid("AlreadyExistsException", message));
            }
            if key.material.regions.len() >= MAX_REGIONS {
                let message = format!("a key can be in at most {MAX_REGIONS} regions");
                return Err(invalid("LimitExceededException", message));
            }
            key.material.regions.push(region.to_owned());
            let arn = Location { region, account: self.account() }.key_arn(&key.id);
            let replica = Key { arn, region: region.to_owned(), record: KeyRecord::new(call.now), ..key };
            replica.store(tables)?;
            Ok(replica.metadata(call.now))
        })
    }

    /// Makes the replica in another region the primary key, and the current primary key a replica.
    ///
    /// The caller needs `kms:UpdatePrimaryRegion` on both keys.
    ///
    /// # Errors
    /// The same as [`replicate_key`](Self::replicate_key), and [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused)
    /// if there is no enabled replica in that region.
    pub fn update_primary_region(&self, key_id: &str, region: &str) -> Result<()> {
        let subject = PrimaryAndReplica { key: key_id, region };
        self.write(Operation::UpdatePrimaryRegion, &subject, Details::new(), |tables, mut key, _| {
            key.material.regions.retain(|other| other != region);
            key.material.regions.insert(0, region.to_owned());
            key.store(tables)
        })
    }
}
