//! A cache of parsed private keys.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use manila_core::Result;
use manila_core::internal::crypto::{self, KeyPair, Refused};

use crate::record::key::Key;
use crate::record::secret::check_supported;
use crate::store::damaged;

/// The maximum number of keys: an RSA key takes some kilobytes.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// The parsed private keys of the most recently used asymmetric keys: parsing one takes longer than signing with it.
///
/// An entry is used only for exactly the material that it was parsed from, and each call reads that from the store. So
/// it serves no call that the material does not serve. Removed material is forgotten by the process that removes it.
pub(crate) struct KeyPairs(Mutex<LruCache<String, Parsed>>);

#[derive(Clone)]
struct Parsed {
    /// The SHA-256 of the material.
    digest: [u8; 32],
    pair: Arc<KeyPair>,
}

impl Default for KeyPairs {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }
}

impl KeyPairs {
    /// Returns the key pair of an asymmetric key.
    pub(crate) fn of(&self, key: &Key) -> Result<Arc<KeyPair>> {
        let kind = key.material.spec.key_pair().ok_or_else(damaged)?;
        let secret = &key.material.materials.last().ok_or_else(damaged)?.secret;
        let digest = crypto::sha256(secret);
        let kept = self.lock().get(&key.id).cloned();
        if let Some(kept) = kept.filter(|kept| crypto::equal(&kept.digest, &digest)) {
            return Ok(kept.pair);
        }
        // A store may come from a build that has more kinds.
        check_supported(kind, key.material.spec)?;
        let pair = Arc::new(KeyPair::from_pkcs8(kind, secret).map_err(|Refused| damaged())?);
        self.lock().put(key.id.clone(), Parsed { digest, pair: Arc::clone(&pair) });
        Ok(pair)
    }

    /// Forgets the private key of a key whose material was removed.
    pub(crate) fn forget(&self, key_id: &str) {
        self.lock().pop(key_id);
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<String, Parsed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;
    use crate::api::data_key_pair::DataKeyPairRequest;
    use crate::clock::for_tests::Days;
    use crate::local_kms::LocalKms;
    use crate::record::key::{CreateKey, KeySpec};
    use manila_core::Clock;

    fn loaded(kms: &LocalKms, id: &str) -> Key {
        kms.shared.store.read(|tables| Key::load(tables, &kms.location(), id)).unwrap().unwrap()
    }

    #[test]
    fn a_key_is_parsed_once_and_again_when_its_material_is_another() {
        let kms = LocalKms::in_memory().unwrap();
        let request = CreateKey::default().spec(KeySpec::EccSecgP256k1);
        let [one, other] = [(); 2].map(|()| kms.create_key(request.clone()).unwrap());
        let (mut one, other) = (loaded(&kms, one.key_id()), loaded(&kms, other.key_id()));
        let pairs = &kms.shared.key_pairs;
        let first = pairs.of(&one).unwrap();
        assert!(Arc::ptr_eq(&first, &pairs.of(&one).unwrap()));
        let public_key = pairs.of(&other).unwrap().public_key().unwrap();
        assert_ne!(first.public_key().unwrap(), public_key);
        one.material.materials[0].secret.clone_from(&other.material.materials[0].secret);
        assert_eq!(pairs.of(&one).unwrap().public_key().unwrap(), public_key);
        one.material.materials[0].secret.pop();
        assert!(pairs.of(&one).is_err());
        assert!(pairs.of(&loaded(&kms, kms.create_key(CreateKey::default()).unwrap().key_id())).is_err());
    }

    #[test]
    fn no_more_keys_are_kept_than_that() {
        let kms = LocalKms::in_memory().unwrap();
        let key = kms.create_key(CreateKey::default().spec(KeySpec::EccSecgP256k1)).unwrap();
        let mut key = loaded(&kms, key.key_id());
        for n in 0..MOST.get() + 10 {
            key.id = n.to_string();
            kms.shared.key_pairs.of(&key).unwrap();
        }
        assert_eq!(kms.shared.key_pairs.lock().len(), MOST.get());
    }

    #[test]
    fn private_keys_that_are_removed_are_forgotten() {
        let days = Days::default();
        let kms = LocalKms::builder().clock(days.clone()).in_memory().unwrap();
        let wrapping = kms.create_key(CreateKey::default()).unwrap();
        let spec = KeySpec::EccSecgP256k1;
        let pair = kms.generate_data_key_pair(DataKeyPairRequest::new(wrapping.arn(), spec)).unwrap();
        let material = pair.private_key.unwrap();
        let made = kms.create_key(CreateKey::default().spec(spec)).unwrap();
        let [deleted, expiring] = [(); 2].map(|()| {
            let key = kms.create_key(CreateKey::default().spec(spec).imported()).unwrap();
            let expiry = days.now() + Duration::from_secs(86_400);
            kms.import_key_material(key.arn(), material.expose_secret(), Some(expiry)).unwrap();
            key
        });
        let kept = || kms.shared.key_pairs.lock().iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        for key in [&made, &deleted, &expiring] {
            kms.public_key(key.arn()).unwrap();
        }
        assert_eq!(kept(), [expiring.key_id(), deleted.key_id(), made.key_id()]);
        kms.delete_imported_key_material(deleted.arn()).unwrap();
        assert_eq!(kept(), [expiring.key_id(), made.key_id()]);
        days.0.store(1, Ordering::SeqCst);
        kms.describe_key(wrapping.arn()).unwrap();
        assert_eq!(kept(), [made.key_id()]);
        kms.schedule_key_deletion_in(made.arn(), 7).unwrap();
        days.0.store(8, Ordering::SeqCst);
        kms.describe_key(wrapping.arn()).unwrap();
        assert!(kept().is_empty());
    }
}
