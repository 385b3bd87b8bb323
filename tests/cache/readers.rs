//! Readers with different expectations: one reader's success never opens a message for another.

use manila::cmm::{CachingCmm, RequiredContextCmm};
use manila::keyring::{MultiKeyring, RawAesKeyring};
use manila::testing::{policy_for, ready};
use manila::{AlgorithmSuite, Client, CommitmentPolicy, EncryptionContext, Error, ErrorKind, ExpectedContext};

use crate::fake::{Fake, keyring};
use crate::{Cached, SIGNED, SUITE, client, context};

/// Encrypts a message without a cache.
fn message(suite: AlgorithmSuite, context: &EncryptionContext) -> Vec<u8> {
    let client = Client::builder(keyring()).suite(suite).commitment_policy(policy_for(suite)).build().unwrap();
    client.encrypt(b"secret", context).unwrap()
}

/// Returns the expectation of these pairs, or of any if there are none.
fn expecting(pairs: &[(&str, &str)]) -> ExpectedContext {
    if pairs.is_empty() { ExpectedContext::any() } else { context(pairs).into() }
}

fn open(cached: &Cached, message: &[u8], expected: impl Into<ExpectedContext>) -> Result<Vec<u8>, Error> {
    ready(cached.client().decrypt_async(message, expected)).map(|opened| opened.plaintext)
}

/// A local and a remote one, which must behave the same.
fn both() -> [Cached; 2] {
    [Cached::local(), Cached::remote()]
}

#[test]
fn a_message_is_opened_again_without_a_call() {
    let pairs = context(&[("tenant", "acme"), ("kind", "note")]);
    for cached in both() {
        let message = message(SUITE, &pairs);
        for _ in 0..10 {
            assert_eq!(open(&cached, &message, &context(&[("tenant", "acme")])).unwrap(), b"secret");
        }
        assert_eq!((cached.fake.calls(), cached.cmm.stats().hits()), (1, 9));
    }
}

#[test]
fn a_wrong_value_is_refused_without_a_call_though_the_cache_is_warm() {
    let pairs = context(&[("tenant", "acme"), ("kind", "note")]);
    for cached in both() {
        let message = message(SUITE, &pairs);
        for warm in [&ExpectedContext::any(), &(&pairs).into(), &ExpectedContext::exactly(&pairs)] {
            open(&cached, &message, warm).unwrap();
        }
        let calls = cached.fake.calls();
        let wrong = context(&[("tenant", "emca")]);
        for wrong in [ExpectedContext::from(&wrong), ExpectedContext::exactly(&wrong)] {
            assert_eq!(open(&cached, &message, wrong).unwrap_err().kind(), ErrorKind::ContextMismatch);
        }
        assert_eq!(cached.fake.calls(), calls);
    }
}

#[test]
fn an_extra_pair_is_refused_though_the_cache_is_warm() {
    let pairs = context(&[("tenant", "acme")]);
    for cached in both() {
        let message = message(SUITE, &pairs);
        open(&cached, &message, &pairs).unwrap();
        // Only the inner manager can tell whether the pair was left out of the header, so it is asked every time.
        let extra = context(&[("tenant", "acme"), ("more", "x")]);
        for calls in 2..5 {
            assert_eq!(open(&cached, &message, &extra).unwrap_err().kind(), ErrorKind::ContextMismatch);
            assert_eq!((cached.fake.calls(), cached.cmm.stats().entries()), (calls, 1));
        }
    }
}

#[test]
fn exactly_is_another_expectation_than_any() {
    let pairs = context(&[("tenant", "acme"), ("kind", "note")]);
    for cached in both() {
        let message = message(SUITE, &pairs);
        open(&cached, &message, ExpectedContext::any()).unwrap();
        for less in [context(&[]), context(&[("tenant", "acme")])] {
            let error = open(&cached, &message, ExpectedContext::exactly(&less)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ContextMismatch);
        }
        assert_eq!(cached.fake.calls(), 1);
        // Each expectation has its own entry.
        for expected in [ExpectedContext::exactly(&pairs), ExpectedContext::from(&pairs)] {
            open(&cached, &message, expected).unwrap();
        }
        assert_eq!((cached.fake.calls(), cached.cmm.stats().entries()), (3, 3));
    }
}

#[test]
fn a_reader_without_the_required_pair_is_refused_though_the_cache_is_warm() {
    for fake in [Fake::local(), Fake::remote()] {
        let cached = Cached::new(fake, |settings| settings);
        let requires = RequiredContextCmm::over(cached.cmm.clone(), ["tenant"]).unwrap();
        let pairs = context(&[("tenant", "acme"), ("kind", "note")]);
        let requiring = Client::builder_with_cmm(requires).suite(SUITE).build().unwrap();
        let message = ready(requiring.encrypt_async(b"secret", &pairs)).unwrap();
        let open_requiring = |pairs: &[(&str, &str)]| ready(requiring.decrypt_async(&message, expecting(pairs)));
        assert_eq!(open_requiring(&[("tenant", "acme")]).unwrap().plaintext, b"secret");
        let calls = cached.fake.calls();
        for missing in [&[][..], &[("kind", "note")]] {
            assert_eq!(open_requiring(missing).unwrap_err().kind(), ErrorKind::ContextMismatch);
        }
        assert_eq!(cached.fake.calls(), calls, "the manager that requires it asks nobody");

        // Readers of the same cache that require nothing, and do not know the pair or expect a different one.
        for wrong in [&[][..], &[("kind", "note")], &[("tenant", "emca")], &[("tenant", "acme"), ("more", "x")]] {
            let error = open(&cached, &message, expecting(wrong)).unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::ContextMismatch | ErrorKind::NoUsableDataKey),
                "{wrong:?}: {error}"
            );
            assert!(open_requiring(wrong).is_err());
        }
        // The warm entry still serves readers that know the pair.
        let calls = cached.fake.calls();
        assert_eq!(open(&cached, &message, &context(&[("tenant", "acme")])).unwrap(), b"secret");
        assert_eq!(cached.fake.calls(), calls);
    }
}

#[test]
fn a_writer_who_leaves_out_a_pair_has_a_data_key_of_its_own() {
    let cached = Cached::local();
    let pairs = context(&[("tenant", "acme"), ("kind", "note")]);
    let plain = cached.client().encrypt(b"x", &pairs).unwrap();
    for keys in [&["tenant"][..], &["kind"], &["kind", "tenant"]] {
        let requires = RequiredContextCmm::over(cached.cmm.clone(), keys.iter().copied()).unwrap();
        let client = Client::builder_with_cmm(requires).suite(SUITE).build().unwrap();
        let message = client.encrypt(b"x", &pairs).unwrap();
        assert_ne!(crate::data_key(&message), crate::data_key(&plain));
        assert_eq!(Client::new(keyring()).decrypt(&message, &pairs).unwrap().plaintext, b"x");
    }
    assert_eq!(cached.fake.calls(), 4);
}

#[test]
fn a_strict_reader_never_receives_what_a_lax_one_stored() {
    use CommitmentPolicy::{ForbidEncryptAllowDecrypt, RequireEncryptAllowDecrypt, RequireEncryptRequireDecrypt};
    let pairs = context(&[]);
    for cached in both() {
        let reader = |policy| Client::builder_with_cmm(cached.cmm.clone()).commitment_policy(policy).build().unwrap();
        let read =
            |policy, message: &[u8]| ready(reader(policy).decrypt_async(message, ExpectedContext::any())).map(drop);

        let uncommitted = message(AlgorithmSuite::Aes256GcmHkdfSha256, &pairs);
        read(ForbidEncryptAllowDecrypt, &uncommitted).unwrap();
        read(RequireEncryptAllowDecrypt, &uncommitted).unwrap();
        assert_eq!(cached.fake.calls(), 2, "policies do not share");
        let error = read(RequireEncryptRequireDecrypt, &uncommitted).unwrap_err();
        assert_eq!((error.kind(), cached.fake.calls()), (ErrorKind::PolicyViolation, 2));

        let committed = message(SUITE, &pairs);
        for policy in [ForbidEncryptAllowDecrypt, RequireEncryptAllowDecrypt, RequireEncryptRequireDecrypt] {
            let calls = cached.fake.calls();
            read(policy, &committed).unwrap();
            read(policy, &committed).unwrap();
            assert_eq!(cached.fake.calls(), calls + 1);
        }
    }
}

#[test]
fn a_strict_writer_never_receives_what_a_lax_one_stored() {
    use CommitmentPolicy::{ForbidEncryptAllowDecrypt, RequireEncryptAllowDecrypt, RequireEncryptRequireDecrypt};
    for cached in both() {
        let mut keys = Vec::new();
        for policy in [ForbidEncryptAllowDecrypt, RequireEncryptAllowDecrypt, RequireEncryptRequireDecrypt] {
            let client = Client::builder_with_cmm(cached.cmm.clone()).commitment_policy(policy).build().unwrap();
            let message = ready(client.encrypt_async(b"x", &context(&[]))).unwrap();
            let suite = manila::UnverifiedHeader::parse(&message[..]).unwrap().suite();
            assert_eq!(suite, policy.default_suite());
            keys.push(crate::data_key(&message));
        }
        keys.dedup();
        assert_eq!((keys.len(), cached.fake.calls()), (3, 3));
    }
}

#[test]
fn suites_and_contexts_do_not_share_data_keys() {
    let cached = Cached::local();
    let mut keys = std::collections::BTreeSet::new();
    for suite in [SUITE, SIGNED] {
        // With careless serialisation these would look alike.
        for pairs in [&[][..], &[("a", "bc")], &[("ab", "c")], &[("a", "b"), ("c", "")], &[("a", ""), ("b", "c")]] {
            keys.insert(crate::data_key(&client(&cached.cmm, suite).encrypt(b"x", &context(pairs)).unwrap()));
        }
    }
    // The default suite, named and not named: the inner manager may answer the two differently.
    keys.insert(crate::data_key(&Client::with_cmm(cached.cmm.clone()).encrypt(b"x", &context(&[])).unwrap()));
    assert_eq!((keys.len(), cached.fake.calls()), (11, 11));
}

#[test]
fn messages_with_other_data_keys_are_other_messages() {
    let other = RawAesKeyring::new("tests", "other", &[2; 32]).unwrap();
    let both_keys = MultiKeyring::new(keyring()).child(other);
    let writer = Client::builder(both_keys).suite(SUITE).build().unwrap();
    let cached = Cached::local();
    let first = writer.encrypt(b"first", &context(&[])).unwrap();
    let second = writer.encrypt(b"second", &context(&[])).unwrap();
    assert_eq!(open(&cached, &first, ExpectedContext::any()).unwrap(), b"first");
    assert_eq!(open(&cached, &second, ExpectedContext::any()).unwrap(), b"second");
    // The second wrapped key differs by one bit: it is not tried, but it is part of the request.
    let key = manila::UnverifiedHeader::parse(&first[..]).unwrap().encrypted_data_keys()[1].ciphertext.clone();
    let at = first.windows(key.len()).position(|window| window == key).unwrap();
    let mut changed = first.clone();
    changed[at] ^= 1;
    assert!(open(&cached, &changed, ExpectedContext::any()).is_err());
    assert_eq!(cached.fake.calls(), 3);
}

#[test]
fn what_failed_is_not_kept() {
    let stranger = Client::new(RawAesKeyring::new("tests", "k", &[9; 32]).unwrap());
    let message = stranger.encrypt(b"x", &context(&[])).unwrap();
    for cached in both() {
        for calls in 1..4 {
            assert_eq!(open(&cached, &message, ExpectedContext::any()).unwrap_err().kind(), ErrorKind::NoUsableDataKey);
            assert_eq!((cached.fake.calls(), cached.cmm.stats().entries()), (calls, 0));
        }
    }
}

#[test]
fn a_body_that_was_changed_is_refused_though_the_cache_is_warm() {
    let cached = Cached::local();
    let good = message(SUITE, &context(&[]));
    open(&cached, &good, ExpectedContext::any()).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(open(&cached, &bad, ExpectedContext::any()).unwrap_err().kind(), ErrorKind::AuthenticationFailed);
    assert_eq!(cached.fake.calls(), 1);
}

#[test]
fn what_a_cache_writes_opens_without_one() {
    let plain = Client::new(keyring());
    let pairs = context(&[("tenant", "acme")]);
    for suite in [SUITE, SIGNED] {
        for fake in [Fake::local(), Fake::remote()] {
            let cached = Cached::new(fake, |settings| settings.max_messages(10));
            let client = client(&cached.cmm, suite);
            for n in 0..20_u8 {
                let message = ready(client.encrypt_async(&[n; 100], &pairs)).unwrap();
                assert_eq!(plain.decrypt(&message, &pairs).unwrap().plaintext, [n; 100]);
                manila::testing::check_signature(&message).unwrap();
                let mut bad = message;
                *bad.last_mut().unwrap() ^= 1;
                assert!(plain.decrypt(&bad, &pairs).is_err());
            }
            assert_eq!(cached.fake.calls(), 2, "{suite}: signed suites are cached too");
        }
    }
}

#[test]
fn what_two_caches_write_and_read_is_the_same() {
    let (writer, reader) = (Cached::local(), Cached::local());
    let pairs = context(&[("tenant", "acme")]);
    for suite in [SUITE, SIGNED, AlgorithmSuite::Aes128GcmHkdfSha256EcdsaP256] {
        let (calls_of_writer, calls_of_reader) = (writer.fake.calls(), reader.fake.calls());
        for n in 0..10_u8 {
            let message = client(&writer.cmm, suite).encrypt(&[n], &pairs).unwrap();
            assert_eq!(client(&reader.cmm, suite).decrypt(&message, &pairs).unwrap().plaintext, [n]);
        }
        assert_eq!((writer.fake.calls() - calls_of_writer, reader.fake.calls() - calls_of_reader), (1, 1), "{suite}");
    }
}

#[test]
fn a_context_that_may_not_be_written_is_refused_on_a_hit_too() {
    // The answer is the same with a cold and a warm cache, and the inner manager is not asked.
    let cached = Cached::local();
    let client = |cmm: &CachingCmm| Client::builder_with_cmm(cmm.clone()).build().unwrap();
    let long = context(&[("k", &"v".repeat(65_500))]);
    for _ in 0..2 {
        assert_eq!(client(&cached.cmm).encrypt(b"x", &long).unwrap_err().kind(), ErrorKind::LimitExceeded);
    }
    assert_eq!(cached.cmm.stats().entries(), 0);
}
