//! Exact limits: no data key ever encrypts more than allowed, however many threads there are.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use manila::cmm::{CacheSettings, CachingCmm};
use manila::testing::ready;
use manila::{ErrorKind, ExpectedContext};

use crate::fake::{Fake, raw_aes};
use crate::{Cached, context, data_key};

const THREADS: usize = 8;
const EACH: usize = 500;

/// Counts the messages and bytes that eight threads, started together, wrote under each data key.
fn written(cached: &Cached, len: impl Fn(usize) -> usize + Sync) -> BTreeMap<Vec<u8>, (u64, u64)> {
    let (written, start) = (Mutex::new(BTreeMap::new()), Barrier::new(THREADS));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let client = cached.client();
                start.wait();
                for n in 0..EACH {
                    let plaintext = vec![7; len(n)];
                    let message = runtime.handle().block_on(client.encrypt_async(&plaintext, &context(&[]))).unwrap();
                    let mut written = written.lock().unwrap();
                    let (messages, bytes) = written.entry(data_key(&message)).or_insert((0, 0));
                    *messages += 1;
                    *bytes += plaintext.len() as u64;
                }
            });
        }
    });
    written.into_inner().unwrap()
}

#[test]
fn the_limit_of_messages_is_exact() {
    for limit in [1, 2, 3, 10] {
        let cached = Cached::new(Fake::local(), |settings| settings.max_messages(limit));
        let keys: Vec<_> = (0..=2 * limit).map(|_| cached.seal("").unwrap()).collect();
        let limit = usize::try_from(limit).unwrap();
        assert!(keys[..limit].iter().all(|key| *key == keys[0]), "N-1 and N of {limit}");
        assert_ne!(keys[limit], keys[0], "N+1 of {limit}");
        assert!(keys[limit..2 * limit].iter().all(|key| *key == keys[limit]));
        assert_ne!(keys[2 * limit], keys[limit]);
        assert_eq!((cached.fake.calls(), cached.cmm.stats().exhausted_by_messages()), (3, 2));
    }
}

#[test]
fn the_limit_of_bytes_is_exact() {
    const LIMIT: u64 = 1000;
    // The rest of the limit after the first message: one byte more than the second needs, exactly enough, and one byte
    // less.
    for (second, fits) in [(99, true), (100, true), (101, false)] {
        let cached = Cached::new(Fake::local(), |settings| settings.max_bytes(LIMIT));
        let client = cached.client();
        let seal = |len: usize| data_key(&client.encrypt(&vec![0; len], &context(&[])).unwrap());
        let first = seal(900);
        assert_eq!(seal(second) == first, fits, "{second}");
        assert_eq!(cached.cmm.stats().exhausted_by_bytes(), u64::from(!fits));
        assert_eq!(cached.cmm.stats().exhausted_by_messages(), 0);
    }
    // An empty message uses up no bytes.
    let cached = Cached::new(Fake::local(), |settings| settings.max_bytes(LIMIT));
    let seal = |len: usize| data_key(&cached.client().encrypt(&vec![0; len], &context(&[])).unwrap());
    assert_eq!(seal(1000), seal(0));
    assert_eq!(cached.fake.calls(), 1);
}

#[test]
fn the_limit_of_messages_is_exact_under_eight_threads() {
    for limit in [1, 2, 7, 100] {
        for fake in [Fake::local(), Fake::remote()] {
            let shares = fake.clone();
            let cached = Cached::new(fake, |settings| settings.max_messages(limit));
            let written = written(&cached, |_| 1);
            assert!(written.values().all(|(messages, _)| *messages <= limit), "limit {limit}: {:?}", written.values());
            assert_eq!(written.values().map(|(messages, _)| messages).sum::<u64>(), (THREADS * EACH) as u64);
            assert_eq!(written.len() as u64, shares.calls());
        }
    }
}

#[test]
fn where_flights_are_shared_no_data_key_is_given_up_before_its_limit() {
    // 4000 messages: 400 data keys with ten messages, or ten bytes, each.
    for change in [CacheSettings::max_messages, CacheSettings::max_bytes] {
        let cached = Cached::new(Fake::remote(), |settings| change(settings, 10));
        let written = written(&cached, |_| 1);
        assert!(written.values().all(|used| *used == (10, 10)), "{:?}", written.values());
        assert_eq!(cached.fake.calls(), 400);
    }
}

#[test]
fn the_limit_of_bytes_is_exact_under_eight_threads() {
    for limit in [64, 65, 100, 1000] {
        for fake in [Fake::local(), Fake::remote()] {
            let cached = Cached::new(fake, |settings| settings.max_bytes(limit));
            let written = written(&cached, |n| n % 65);
            assert!(written.values().all(|(_, bytes)| *bytes <= limit), "limit {limit}: {:?}", written.values());
        }
    }
}

#[test]
fn renewals_change_nothing_about_limits() {
    // Every message finds an entry that is due for renewal: a second passes with each.
    for fake in [Fake::local(), Fake::remote()] {
        let cached = Cached::new(fake, |settings| {
            let settings = settings.max_messages(7).max_bytes(20).renew_before(Duration::from_secs(99));
            settings.retry_renewal_after(Duration::ZERO)
        });
        let written = written(&cached, |_| {
            cached.clock.advance(1);
            3
        });
        assert!(written.values().all(|(messages, bytes)| *messages <= 6 && *bytes <= 18), "{:?}", written.values());
        assert!(cached.cmm.stats().renewed() > 0);
    }
}

#[test]
fn a_stream_counts_with_its_bound() {
    let cached = Cached::new(Fake::local(), |settings| settings.max_bytes(100));
    let client = cached.client();
    let stream = |bound: u64| {
        let mut writer = client.encryptor_up_to(&context(&[]), bound).unwrap().writer(Vec::new());
        writer.write_all(b"short").unwrap();
        data_key(&writer.finish().unwrap())
    };
    let first = stream(60);
    assert_eq!(stream(40), first);
    assert_ne!(stream(5), first, "the bounds add up to the limit, though the streams were short");
}

#[test]
fn limits_are_between_one_and_their_ceilings() {
    let new = |change: &dyn Fn(CacheSettings) -> CacheSettings| {
        CachingCmm::new(raw_aes(), change(CacheSettings::new(1, Duration::from_secs(1)))).map(drop)
    };
    let (messages, bytes) = (1 << 32, (1 << 63) - 1);
    assert!(new(&|settings| settings.max_messages(1).max_bytes(1)).is_ok());
    assert!(new(&|settings| settings.max_messages(messages).max_bytes(bytes)).is_ok());
    for (messages, bytes) in [(0, 1), (1, 0), (messages + 1, 1), (1, bytes + 1)] {
        let error = new(&|settings| settings.max_messages(messages).max_bytes(bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{messages} {bytes}");
    }
}

#[test]
fn the_limit_of_bytes_is_2_to_the_63_unless_said_otherwise() {
    let cached = Cached::local();
    let start = |bound: u64| cached.client().encryptor_up_to(&context(&[]), bound).map(drop);
    start((1 << 63) - 1 - 5).unwrap();
    start(5).unwrap();
    assert_eq!(cached.fake.calls(), 1);
    start(1).unwrap();
    assert_eq!((cached.fake.calls(), cached.cmm.stats().exhausted_by_bytes()), (2, 1));
}

#[test]
fn a_data_key_opens_any_number_of_messages() {
    let cached = Cached::new(Fake::remote(), |settings| settings.max_messages(1).max_bytes(1));
    let writer = Cached::remote();
    for _ in 0..5 {
        let message = ready(writer.client().encrypt_async(&[7; 100], &context(&[]))).unwrap();
        ready(cached.client().decrypt_async(&message, ExpectedContext::any())).unwrap();
    }
    assert_eq!((writer.fake.calls(), cached.fake.calls(), cached.cmm.stats().hits()), (1, 1, 4));
}
