//! The cost of reading ranges: calls to a KMS, and requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use manila::Client;
use manila::cmm::{CacheSettings, CachingCmm, DefaultCmm};
use manila::keyring::KmsKeyring;
use manila::kms::{GeneratedDataKey, KeyFuture, Kms, KmsCiphertext, KmsPlaintext, KmsRequest};
use manila::local_kms::{CreateKey, LocalKms};
use manila_object_store::Objects;
use manila_object_store::object_store::memory::InMemory;

use crate::watched::Watched;
use crate::{UNSIGNED, context, location, pattern, run};

/// A KMS that counts its calls.
#[derive(Clone, Debug)]
struct Counting(LocalKms, Arc<AtomicU64>);

impl Counting {
    fn new() -> Self {
        Self(LocalKms::in_memory().unwrap(), Arc::default())
    }

    fn calls(&self) -> u64 {
        self.1.swap(0, Ordering::Relaxed)
    }
}

impl Kms for Counting {
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.generate_data_key(request, length)
    }

    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Kms::encrypt(&self.0, request, plaintext)
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Kms::decrypt(&self.0, request, ciphertext)
    }
}

#[test]
fn ranges_of_an_open_object_cost_one_call_and_opening_again_none_with_a_cache() {
    run(async {
        let kms = Counting::new();
        let key = kms.0.create_key(CreateKey::default()).unwrap();
        let keyring = || KmsKeyring::new(kms.clone(), key.arn()).unwrap();
        let store = Arc::new(Watched::new(InMemory::new()));
        let objects = Objects::new(Client::builder(keyring()).suite(UNSIGNED).build().unwrap(), store.clone());
        objects.put(&location(), &pattern(500_000), &context()).await.unwrap();
        assert_eq!(kms.calls(), 1);

        let read_ranges = |objects: Objects| async move {
            let message = objects.open(&location(), &context()).await.unwrap();
            for offset in (20_000..500_000).step_by(10_000) {
                assert_eq!(message.read_at_async(offset, &mut [0; 10]).await.unwrap(), 10);
            }
        };
        store.seen();
        read_ranges(objects.clone()).await;
        assert_eq!((kms.calls(), store.seen().gets.len()), (1, 2 + 48));
        read_ranges(objects).await;
        assert_eq!(kms.calls(), 1);

        let limits = CacheSettings::new(10, Duration::from_secs(3600));
        let cmm = CachingCmm::new(DefaultCmm::new(keyring()), limits).unwrap();
        let client = Client::builder_with_cmm(cmm.clone()).suite(UNSIGNED).build().unwrap();
        let cached = Objects::new(client, store);
        read_ranges(cached.clone()).await;
        assert_eq!(kms.calls(), 1);
        for _ in 0..20 {
            read_ranges(cached.clone()).await;
        }
        assert_eq!((kms.calls(), cmm.stats().hits()), (0, 20));

        // Uploads of a length that was told share a data key too.
        for _ in 0..10 {
            let mut upload = cached.upload_sized(&location(), &context(), 1000).await.unwrap();
            upload.write_from(pattern(1000).as_slice()).await.unwrap();
            upload.finish().await.unwrap();
        }
        assert_eq!(kms.calls(), 1);
    });
}
