//! Requests that bypass the cache: suites that use the data key directly, and messages of unknown length.

use std::io::Write;

use manila::cmm::Cmm as _;
use manila::testing::ready;
use manila::{AlgorithmSuite, Client, CommitmentPolicy, ErrorKind, ExpectedContext};

use crate::fake::{Fake, keyring};
use crate::{Cached, SUITE, client, context, data_key};

const IDENTITY: [AlgorithmSuite; 3] =
    [AlgorithmSuite::Aes128GcmNoKdf, AlgorithmSuite::Aes192GcmNoKdf, AlgorithmSuite::Aes256GcmNoKdf];

#[test]
fn suites_that_use_their_data_key_as_it_is_are_never_cached() {
    let pairs = context(&[("tenant", "acme")]);
    for suite in IDENTITY {
        for fake in [Fake::local(), Fake::remote()] {
            let cached = Cached::new(fake, |settings| settings);
            let client = client(&cached.cmm, suite);
            let first = ready(client.encrypt_async(b"x", &pairs)).unwrap();
            let second = ready(client.encrypt_async(b"x", &pairs)).unwrap();
            assert_ne!(data_key(&first), data_key(&second));
            assert_eq!(cached.fake.calls(), 2);
            for calls in 3..6 {
                assert_eq!(ready(client.decrypt_async(&first, &pairs)).unwrap().plaintext, b"x");
                assert_eq!(cached.fake.calls(), calls);
            }
            let stats = cached.cmm.stats();
            assert_eq!((stats.bypassed_identity_kdf(), stats.entries(), stats.misses(), stats.hits()), (5, 0, 0, 0));
        }
    }
}

#[test]
fn an_unknown_length_passes_the_cache_by_and_a_bound_does_not() {
    for fake in [Fake::local(), Fake::remote()] {
        let cached = Cached::new(fake, |settings| settings);
        let client = cached.client();
        let stream = |bound: Option<u64>| {
            let encryptor = match bound {
                None => ready(client.encryptor_async(&context(&[]))),
                Some(bound) => ready(client.encryptor_up_to_async(&context(&[]), bound)),
            };
            let mut writer = encryptor.unwrap().writer(Vec::new());
            writer.write_all(b"hello").unwrap();
            writer.finish().unwrap()
        };
        let unbound = [stream(None), stream(None), stream(None)];
        assert_eq!((cached.fake.calls(), cached.cmm.stats().bypassed_unknown_length()), (3, 3));
        assert_eq!((cached.cmm.stats().entries(), cached.cmm.stats().misses()), (0, 0));

        let bound = [stream(Some(5)), stream(Some(6)), stream(Some(5000))];
        assert_eq!(cached.fake.calls(), 4);
        assert!(bound.iter().all(|message| data_key(message) == data_key(&bound[0])));
        // They share the entry of whole messages, whose length is known.
        let whole = ready(client.encrypt_async(b"hello", &context(&[]))).unwrap();
        assert_eq!((data_key(&whole), cached.fake.calls()), (data_key(&bound[0]), 4));

        let plain = Client::new(keyring());
        for message in unbound.iter().chain(&bound) {
            assert_eq!(plain.decrypt(message, ExpectedContext::any()).unwrap().plaintext, b"hello");
        }
    }
}

#[test]
fn a_stream_that_exceeds_its_bound_fails() {
    let cached = Cached::local();
    for _ in 0..2 {
        let stream = |len: usize| {
            let mut writer = cached.client().encryptor_up_to(&context(&[]), 10_000).unwrap().writer(Vec::new());
            let written = vec![7; len].chunks(777).try_for_each(|piece| writer.write_all(piece));
            written.and_then(|()| writer.finish().map_err(std::io::Error::other))
        };
        assert!(stream(9_999).is_ok());
        assert!(stream(10_000).is_ok());
        let error = stream(10_001).unwrap_err();
        let error = error.get_ref().and_then(|error| error.downcast_ref::<manila::Error>()).unwrap();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    }
    assert_eq!(cached.fake.calls(), 1, "and on hits too");
}

#[test]
fn a_message_too_long_for_one_data_key_bypasses_the_cache() {
    for fake in [Fake::local(), Fake::remote()] {
        let cached = Cached::new(fake, |settings| settings.max_bytes(100));
        let client = cached.client();
        let seal = |len: usize| data_key(&ready(client.encrypt_async(&vec![0; len], &context(&[]))).unwrap());
        let kept = seal(10);
        assert_ne!(seal(101), kept);
        assert_ne!(seal(101), seal(101));
        assert_eq!(cached.cmm.stats().bypassed_too_long(), 3);
        assert_eq!(seal(90), kept, "the entry is where it was, and nothing was counted against it");
        assert_eq!(cached.fake.calls(), 4);
    }
}

#[test]
fn a_suite_that_the_policy_forbids_is_refused_before_anyone_is_asked() {
    // This is the cache's own check: the client's settings would not let the request get this far.
    let cached = Cached::remote();
    let request = |suite, policy| {
        let spy = Spy::default();
        let client = Client::builder_with_cmm(spy.clone()).commitment_policy(policy).build().unwrap();
        let _ = ready(client.encrypt_async(b"x", &context(&[])));
        let mut request = spy.0.lock().unwrap().take().unwrap();
        request.suite = Some(suite);
        request
    };
    let allowed = request(SUITE, CommitmentPolicy::RequireEncryptRequireDecrypt);
    ready(cached.cmm.encryption_materials(&allowed)).unwrap();
    for (suite, policy) in [
        (SUITE, CommitmentPolicy::ForbidEncryptAllowDecrypt),
        (IDENTITY[0], CommitmentPolicy::RequireEncryptRequireDecrypt),
        (AlgorithmSuite::Aes256GcmHkdfSha256, CommitmentPolicy::RequireEncryptAllowDecrypt),
    ] {
        let error = ready(cached.cmm.encryption_materials(&request(suite, policy))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyViolation);
    }
    assert_eq!((cached.fake.calls(), cached.cmm.stats().entries()), (1, 1));
}

/// Keeps the request of a client, as requests cannot be constructed outside the crate.
#[derive(Clone, Debug, Default)]
struct Spy(std::sync::Arc<std::sync::Mutex<Option<manila::materials::EncryptionRequest>>>);

impl manila::cmm::Cmm for Spy {
    fn encryption_materials<'a>(
        &'a self,
        request: &'a manila::materials::EncryptionRequest,
    ) -> manila::materials::KeyFuture<'a, manila::materials::EncryptionMaterials> {
        *self.0.lock().unwrap() = Some(request.clone());
        Box::pin(async { Err(manila::Error::new(ErrorKind::Internal, "seen")) })
    }

    fn decryption_materials<'a>(
        &'a self,
        _: &'a manila::materials::DecryptionRequest,
    ) -> manila::materials::KeyFuture<'a, manila::materials::DecryptionMaterials> {
        Box::pin(async { Err(manila::Error::new(ErrorKind::Internal, "seen")) })
    }
}
