//! Partitions: the entries of one materials manager's callers are never available to another's.

use std::sync::Arc;
use std::time::Duration;

use manila::cmm::{CacheSettings, CachingCmm, DataKeyCache};
use manila::{Client, ErrorKind};

use crate::fake::Fake;
use crate::{SUITE, context, data_key};

fn cache() -> DataKeyCache {
    DataKeyCache::new(CacheSettings::new(100, Duration::from_secs(100))).unwrap()
}

fn seal(cmm: &CachingCmm) -> Vec<u8> {
    data_key(&crate::client(cmm, SUITE).encrypt(b"x", &context(&[])).unwrap())
}

#[test]
fn a_partition_belongs_to_the_manager_that_first_used_its_name() {
    let cache = cache();
    let (first, second) = (Arc::new(Fake::local()), Arc::new(Fake::local()));
    let cmm = cache.partition("a", first.clone()).unwrap();
    // The cache must treat a handle of the same manager in another Arc as another manager.
    for other in [second.clone(), Arc::new((*first).clone())] {
        for _ in 0..2 {
            let error = cache.partition("a", other.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("\"a\""), "{error}");
            assert!(cache.clone().partition("a", other.clone()).is_err(), "handles are one cache");
        }
    }
    let again = cache.clone().partition("a", first.clone()).unwrap();
    assert_eq!(seal(&cmm), seal(&again), "the same manager under the same name shares");
    assert_eq!(first.calls(), 1);
    assert!(cache.partition("b", second).is_ok());
}

#[test]
fn a_manager_of_no_size_is_told_from_another() {
    #[derive(Debug)]
    struct Nothing;
    impl manila::cmm::Cmm for Nothing {
        fn encryption_materials<'a>(
            &'a self,
            _: &'a manila::materials::EncryptionRequest,
        ) -> manila::materials::KeyFuture<'a, manila::materials::EncryptionMaterials> {
            Box::pin(async { Err(manila::Error::new(ErrorKind::Internal, "nothing")) })
        }
        fn decryption_materials<'a>(
            &'a self,
            _: &'a manila::materials::DecryptionRequest,
        ) -> manila::materials::KeyFuture<'a, manila::materials::DecryptionMaterials> {
            Box::pin(async { Err(manila::Error::new(ErrorKind::Internal, "nothing")) })
        }
    }
    let cache = cache();
    let _lasts = cache.partition("a", Arc::new(Nothing)).unwrap();
    assert!(cache.partition("a", Arc::new(Nothing)).is_err());
}

#[test]
fn partitions_do_not_share_even_over_one_manager() {
    let (cache, fake) = (cache(), Arc::new(Fake::local()));
    let names = ["", "a", "b"].map(|name| cache.partition(name, fake.clone()).unwrap());
    let keys = names.each_ref().map(seal);
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    assert_eq!(names.each_ref().map(seal), keys);
    assert_eq!((fake.calls(), cache.stats().entries(), cache.stats().hits()), (3, 3, 3));
}

#[test]
fn partitions_share_capacity_statistics_and_clear() {
    let cache = DataKeyCache::new(CacheSettings::new(2, Duration::from_secs(100))).unwrap();
    let fake = Arc::new(Fake::local());
    let [a, b, c] = ["a", "b", "c"].map(|name| cache.partition(name, fake.clone()).unwrap());
    let key = seal(&a);
    seal(&b);
    seal(&c);
    assert_eq!((cache.stats().entries(), cache.stats().evicted()), (2, 1));
    assert_eq!(cache.stats(), a.stats());
    assert_ne!(seal(&a), key, "it made room for the third");
    cache.clear();
    assert_eq!(cache.stats().entries(), 0);
    let calls = fake.calls();
    seal(&a);
    assert_eq!(fake.calls(), calls + 1);
}

#[test]
fn a_handle_is_shared_cache_manager_and_all() {
    let fake = Fake::local();
    let cmm = CachingCmm::new(fake.clone(), CacheSettings::new(1, Duration::from_secs(100))).unwrap();
    assert_eq!(seal(&cmm), seal(&cmm.clone()));
    assert_eq!((fake.calls(), cmm.stats().hits()), (1, 1));
}

#[test]
fn a_partition_lasts_as_long_as_one_of_its_handles() {
    let (cache, fake) = (cache(), Arc::new(Fake::local()));
    let first = cache.partition("tenant", fake.clone()).unwrap();
    let other = cache.partition("other", fake.clone()).unwrap();
    let (key, of_other) = (seal(&first), seal(&other));
    let second = first.clone();
    drop(first);
    assert_eq!(seal(&second), key);
    assert!(cache.partition("tenant", Arc::new(Fake::local())).is_err(), "it still belongs to the first manager");
    assert_eq!(Arc::strong_count(&fake), 3);
    drop(second);
    // Its entries are gone, and it no longer holds the manager.
    assert_eq!((cache.stats().entries(), Arc::strong_count(&fake)), (1, 2));
    let again = cache.partition("tenant", fake.clone()).unwrap();
    assert_ne!(seal(&again), key);
    drop(again);
    // The name is free for another manager.
    let stranger = Arc::new(Fake::local());
    assert_ne!(seal(&cache.partition("tenant", stranger.clone()).unwrap()), key);
    assert_eq!((stranger.calls(), cache.stats().entries()), (1, 1));
    assert_eq!(seal(&other), of_other);
}

#[test]
fn a_partition_that_was_dropped_by_name_is_never_found_by_a_later_one() {
    let (cache, fake) = (cache(), Arc::new(Fake::local()));
    let old = cache.partition("tenant", fake.clone()).unwrap();
    let other = cache.partition("other", fake.clone()).unwrap();
    let (key, of_other) = (seal(&old), seal(&other));
    assert!(!cache.drop_partition("unknown"));
    assert!(cache.drop_partition("tenant"));
    assert!(!cache.clone().drop_partition("tenant"), "handles are one cache");
    assert_eq!(cache.stats().entries(), 1);
    // Remaining handles still work, separate from the partition that now has the name.
    let of_old = seal(&old);
    let new = cache.partition("tenant", fake.clone()).unwrap();
    let of_new = seal(&new);
    assert!(of_old != key && of_new != key && of_new != of_old);
    assert_eq!((seal(&old), seal(&new), seal(&other)), (of_old, of_new.clone(), of_other));
    drop(old);
    assert_eq!((seal(&new), cache.stats().entries()), (of_new, 2), "the old one frees no name but its own");
    assert!(cache.partition("tenant", Arc::new(Fake::local())).is_err());
}

#[test]
fn ten_thousand_partitions_leave_nothing() {
    let (cache, fake) = (cache(), Arc::new(Fake::local()));
    for tenant in 0..10_000 {
        let tenant = cache.partition(tenant.to_string(), fake.clone()).unwrap();
        seal(&tenant);
    }
    assert_eq!((cache.stats().entries(), cache.stats().evicted(), Arc::strong_count(&fake)), (0, 0, 1));
    assert!(!format!("{cache:?}").contains("\"9999\""), "not even its name");
}

#[cfg(feature = "local-kms")]
mod principals {
    use manila::cmm::DefaultCmm;
    use manila::keyring::KmsKeyring;
    use manila::local_kms::{CreateKey, LocalKms};

    use super::*;

    /// The policy: the owner and Alice may do anything, Bob may not decrypt.
    const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"kms:*","Resource":"*"},
        {"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::000000000000:user/alice",
            "arn:aws:iam::000000000000:user/bob"]},"Action":"kms:*","Resource":"*"},
        {"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::000000000000:user/bob"},"Action":"kms:Decrypt",
            "Resource":"*"}]}"#;

    #[test]
    fn two_principals_one_without_the_right_to_decrypt_never_share() {
        let kms = LocalKms::in_memory().unwrap();
        let key = kms.create_key(CreateKey::default()).unwrap().arn().to_owned();
        kms.put_key_policy(&key, POLICY).unwrap();
        let manager = |user: &str| {
            let kms = kms.as_principal(&format!("arn:aws:iam::000000000000:user/{user}")).unwrap();
            Arc::new(DefaultCmm::new(KmsKeyring::new(kms, &key).unwrap()))
        };
        let (alice, bob) = (manager("alice"), manager("bob"));
        let cache = cache();
        let for_alice = cache.partition("alice", alice.clone()).unwrap();
        assert_eq!(cache.partition("alice", bob.clone()).unwrap_err().kind(), ErrorKind::InvalidInput);
        let for_bob = cache.partition("bob", bob).unwrap();
        let (for_alice, for_bob) = (Client::with_cmm(for_alice), Client::with_cmm(for_bob));

        let pairs = context(&[("tenant", "acme")]);
        // Messages that Bob wrote are included: having written one does not entitle a user to read it.
        for writer in [&for_alice, &for_bob] {
            let message = writer.encrypt(b"x", &pairs).unwrap();
            for _ in 0..2 {
                assert_eq!(for_alice.decrypt(&message, &pairs).unwrap().plaintext, b"x");
                assert_eq!(for_bob.decrypt(&message, &pairs).unwrap_err().kind(), ErrorKind::KeyRefused);
            }
        }
    }
}
