//! Statistics and events: what is counted and reported, and that secrets are not.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manila::ExpectedContext;
use manila::cmm::CacheStats;
use manila::testing::ready;
use tracing::{Level, Metadata};

use crate::fake::{Fake, Polled};
use crate::heard::{Heard, listen};
use crate::{Cached, SUITE, client, context};

/// Causes one of each counted event.
pub fn one_of_each() -> CacheStats {
    let cached = Cached::new(Fake::remote(), |settings| settings.max_messages(4).max_bytes(100).renew_before(GRACE));
    let cmm = &cached.cmm;
    let writer = cached.client();
    let seal = |id: &str, len: usize| {
        ready(writer.encrypt_async(&vec![b'p'; len], &context(&[("id", id)]))).unwrap();
    };
    // Two concurrent callers: two misses, one of which waits.
    cached.fake.shut();
    let mut callers = ["waits"; 2].map(|id| {
        let writer = writer.clone();
        Polled::new(async move { writer.encrypt_async(b"x", &context(&[("id", id)])).await })
    });
    assert!(callers.iter_mut().all(|caller| caller.poll().is_none()));
    assert_eq!((cmm.stats().in_flight(), cmm.stats().misses()), (1, 2));
    cached.fake.open();
    for caller in &mut callers {
        caller.poll().unwrap().unwrap();
    }
    // Four messages and a fifth: a miss, three hits, exhausted, a miss.
    (0..5).for_each(|_| seal("messages", 1));
    // A hundred bytes, and one more.
    seal("bytes", 100);
    seal("bytes", 1);
    // Bypassed for three reasons.
    ready(writer.encryptor_async(&context(&[]))).unwrap().writer(Vec::new()).write_all(b"x").unwrap();
    seal("", 101);
    ready(client(cmm, manila::AlgorithmSuite::Aes256GcmNoKdf).encrypt_async(b"x", &context(&[]))).unwrap();
    // Two reads.
    let message = ready(client(&Cached::remote().cmm, SUITE).encrypt_async(b"x", &context(&[]))).unwrap();
    (0..2).for_each(|_| drop(ready(writer.decrypt_async(&message, ExpectedContext::any())).unwrap()));
    // A renewal, one that fails, and an expired entry.
    cached.clock.advance(50);
    seal("bytes", 1);
    cached.clock.advance(50);
    cached.fake.fails(true);
    seal("bytes", 1);
    cached.fake.fails(false);
    seal("waits", 1);
    cmm.stats()
}

const GRACE: Duration = Duration::from_secs(50);

#[test]
fn everything_is_counted() {
    let stats = one_of_each();
    let counts = [
        ("hits", stats.hits(), 3 + 1),
        ("misses", stats.misses(), 2 + 2 + 2 + 1 + 1),
        ("bypassed_unknown_length", stats.bypassed_unknown_length(), 1),
        ("bypassed_too_long", stats.bypassed_too_long(), 1),
        ("bypassed_identity_kdf", stats.bypassed_identity_kdf(), 1),
        ("expired", stats.expired(), 1),
        ("exhausted_by_messages", stats.exhausted_by_messages(), 1),
        ("exhausted_by_bytes", stats.exhausted_by_bytes(), 1),
        ("evicted", stats.evicted(), 0),
        ("coalesced", stats.coalesced(), 1),
        ("renewed", stats.renewed(), 1),
        ("renewals_failed", stats.renewals_failed(), 1),
    ];
    for (name, count, expected) in counts {
        assert_eq!(count, expected, "{name}");
    }
    assert_eq!((stats.in_flight(), stats.entries()), (0, 4));
}

#[test]
fn what_makes_room_is_counted() {
    let settings = manila::cmm::CacheSettings::new(2, Duration::from_secs(100));
    let cmm = manila::cmm::CachingCmm::new(Fake::local(), settings).unwrap();
    for n in 0..5 {
        client(&cmm, SUITE).encrypt(b"x", &context(&[("id", &n.to_string())])).unwrap();
    }
    assert_eq!((cmm.stats().evicted(), cmm.stats().entries()), (3, 2));
}

#[test]
fn a_call_that_fails_is_a_miss_and_no_longer_in_flight() {
    let cached = Cached::remote();
    cached.fake.fails(true);
    assert!(cached.seal("").is_err());
    let stats = cached.cmm.stats();
    assert_eq!((stats.misses(), stats.in_flight(), stats.entries()), (1, 0, 0));
}

#[test]
fn everything_is_told_at_debug_and_no_secret_is() {
    let all = Arc::new(Mutex::new(Vec::new()));
    let keep = all.clone();
    let listener = Heard(move |what: &Metadata<'_>, fields: &[(&str, String)]| {
        let text: String = fields.iter().flat_map(|(field, value)| [field, "=", value, ";"]).collect();
        keep.lock().unwrap().push((*what.level(), what.target().to_owned(), text));
    });
    listen(listener, one_of_each);
    let told: Vec<_> = all.lock().unwrap().iter().filter(|(_, to, _)| to == "manila::cache").cloned().collect();
    assert!(told.iter().all(|(level, ..)| *level == Level::DEBUG), "{told:?}");
    // There are as many events as counts, and the text of each is a fixed name: it contains no context, key or text.
    let count = |name: &str| told.iter().filter(|(.., text)| *text == format!("event={name:?};")).count();
    let known = [
        ("hit", 4),
        ("miss", 8),
        ("bypass_unknown_length", 1),
        ("bypass_too_long", 1),
        ("bypass_identity_kdf", 1),
        ("expired", 1),
        ("exhausted_by_messages", 1),
        ("exhausted_by_bytes", 1),
        ("coalesced", 1),
        ("renewed", 1),
        ("renewal_failed", 1),
    ];
    // The writer of the message for the two reads has a cache too, and reports its miss.
    for (name, expected) in known {
        assert_eq!(count(name), expected + usize::from(name == "miss"), "{name}");
    }
    assert_eq!(told.len(), 1 + known.iter().map(|(_, count)| count).sum::<usize>());
}

#[test]
fn debug_shows_no_key() {
    let key = [0xA7; 32];
    let keyring = manila::testing::FixedKeyKeyring::new(&key);
    let settings = manila::cmm::CacheSettings::new(10, Duration::from_secs(100));
    let cmm = manila::cmm::CachingCmm::new(manila::cmm::DefaultCmm::new(keyring), settings).unwrap();
    let message = client(&cmm, SUITE).encrypt(b"x", &context(&[])).unwrap();
    client(&cmm, SUITE).decrypt(&message, ExpectedContext::any()).unwrap();
    assert_eq!(cmm.stats().entries(), 2);
    for shown in [format!("{cmm:?}"), format!("{cmm:#?}")] {
        let plain: String = shown.split_whitespace().collect();
        assert!(!plain.contains("167,167,167") && !plain.to_lowercase().contains("a7a7"), "{shown}");
    }
}
