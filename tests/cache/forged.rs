//! Forged messages: they add nothing to a cache, evict nothing from it, and do not make other readers fail.

use std::sync::Arc;
use std::time::Duration;

use manila::cmm::{CacheSettings, DataKeyCache};
use manila::testing::ready;
use manila::{Client, Error, ErrorKind, ExpectedContext, UnverifiedHeader};

use crate::fake::{Fake, Polled, keyring};
use crate::junk::with_junk;
use crate::{Cached, SUITE, client, context};

type Opened = Result<Vec<u8>, Error>;

fn reader(client: &Client, message: &[u8]) -> Polled<Opened> {
    let (client, message) = (client.clone(), message.to_vec());
    Polled::new(
        async move { client.decrypt_async(&message, ExpectedContext::any()).await.map(|opened| opened.plaintext) },
    )
}

/// Encrypts messages under one data key, as readers of one entry have them.
fn messages(count: u32) -> Vec<Vec<u8>> {
    let writer = Cached::local();
    (0..count).map(|n| writer.client().encrypt(&n.to_be_bytes(), &context(&[])).unwrap()).collect()
}

/// Returns the message with a wrong header tag but the same data keys and context: the forgery cannot be detected
/// before the data key is known.
fn with_wrong_tag(message: &[u8]) -> Vec<u8> {
    let mut forged = message.to_vec();
    let header_len = UnverifiedHeader::parse(message).unwrap().len();
    forged[header_len - 1] ^= 1;
    forged
}

#[test]
fn a_thousand_forged_messages_of_a_mib_leave_a_cache_as_it_was() {
    let cache = DataKeyCache::new(CacheSettings::new(10, Duration::from_secs(100))).unwrap();
    let fake = Arc::new(Fake::local());
    let [a, b] = ["a", "b"].map(|name| cache.partition(name, fake.clone()).unwrap());
    let message = messages(1).remove(0);
    for cmm in [&a, &b] {
        client(cmm, SUITE).decrypt(&message, ExpectedContext::any()).unwrap();
    }
    let before = cache.stats();
    assert_eq!(before.entries(), 2);
    for n in 0..1000 {
        let error = client(&a, SUITE).decrypt(&with_junk(&message, n), ExpectedContext::any()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    }
    let after = cache.stats();
    assert_eq!((after.entries(), after.evicted(), after.misses()), (2, 0, before.misses() + 1000));
    for cmm in [&a, &b] {
        client(cmm, SUITE).decrypt(&message, ExpectedContext::any()).unwrap();
    }
    assert_eq!((cache.stats().misses(), cache.stats().hits()), (after.misses(), before.hits() + 2));
}

#[test]
fn a_forged_message_is_not_kept_and_a_good_one_after_it_is() {
    for fake in [Fake::local(), Fake::remote()] {
        let cached = Cached::new(fake, |settings| settings);
        let [good, other] = &messages(2)[..] else { panic!("two") };
        for calls in 1..4 {
            let error = reader(&cached.client(), &with_wrong_tag(good)).poll().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
            assert_eq!((cached.fake.calls(), cached.cmm.stats().entries()), (calls, 0));
        }
        reader(&cached.client(), good).poll().unwrap().unwrap();
        assert_eq!((cached.fake.calls(), cached.cmm.stats().entries()), (4, 1));
        // They now share the entry of the good one, and fail on their own.
        assert!(reader(&cached.client(), &with_wrong_tag(other)).poll().unwrap().is_err());
        reader(&cached.client(), other).poll().unwrap().unwrap();
        assert_eq!((cached.fake.calls(), cached.cmm.stats().hits()), (4, 2));
    }
}

/// Runs a thousand good readers behind some forged ones: all good ones succeed, with a bounded number of calls, one at
/// a time.
fn a_thousand_behind(forged: usize, fake: Fake) -> Cached {
    let cached = Cached::new(fake, |settings| settings);
    let (client, messages) = (cached.client(), messages(1000));
    cached.fake.shut();
    let mut forged: Vec<_> = (0..forged).map(|n| reader(&client, &with_wrong_tag(&messages[n]))).collect();
    let mut good: Vec<_> = messages.iter().map(|message| reader(&client, message)).collect();
    assert!(forged.iter_mut().chain(&mut good).all(|reader| reader.poll().is_none()));
    assert_eq!(cached.fake.calls(), 1);
    cached.fake.open();
    for reader in &mut forged {
        assert!(reader.poll().unwrap().is_err());
    }
    for (n, reader) in (0_u32..).zip(&mut good) {
        assert_eq!(reader.poll().unwrap().unwrap(), n.to_be_bytes());
    }
    assert_eq!((cached.fake.at_once(), cached.cmm.stats().entries()), ((0, 1), 1));
    cached
}

#[test]
fn a_thousand_good_readers_behind_a_forged_leader_share_its_call() {
    for forged in [1, 10] {
        let cached = a_thousand_behind(forged, Fake::remote());
        let stats = cached.cmm.stats();
        let followers = 1000 + forged as u64 - 1;
        assert_eq!((cached.fake.calls(), stats.misses(), stats.coalesced()), (1, followers + 1, followers));
    }
}

#[test]
fn what_a_forged_leader_is_told_about_its_header_is_told_to_nobody_else() {
    // The manager checks its answer against the leader's header, as keyrings that cannot trust their unwrapping do.
    for forged in [1, 10] {
        let fake = Fake::remote();
        fake.tries_headers();
        let cached = a_thousand_behind(forged, fake);
        assert_eq!(cached.fake.calls(), 1 + forged as u64, "each forged one for itself, and one for all good ones");
    }
}

#[test]
fn whoever_is_behind_forged_messages_waits_for_the_logarithm_of_their_number() {
    for (forged, most) in [(1, 2), (10, 5), (400, 10)] {
        let fake = Fake::remote();
        fake.tries_headers();
        let cached = Cached::new(fake, |settings| settings);
        let (client, messages) = (cached.client(), messages(1));
        let mut readers: Vec<_> = (0..forged).map(|_| reader(&client, &with_wrong_tag(&messages[0]))).collect();
        let mut good = reader(&client, &messages[0]);
        let mut turns = 0;
        loop {
            cached.fake.turn();
            readers.retain_mut(|reader| reader.poll().is_none());
            if let Some(opened) = good.poll() {
                opened.unwrap();
                break;
            }
            turns += 1;
            assert!(turns <= most, "{turns} round trips behind {forged} forged messages");
        }
        assert!(cached.fake.calls() <= 1 + forged, "{} calls", cached.fake.calls());
    }
}

#[test]
fn a_forged_leader_that_is_never_polled_again_does_not_fail_others() {
    for tries_headers in [false, true] {
        let cached = Cached::remote();
        if tries_headers {
            cached.fake.tries_headers();
        }
        let (client, messages) = (cached.client(), messages(10));
        cached.fake.shut();
        let mut forged = reader(&client, &with_wrong_tag(&messages[0]));
        let mut good: Vec<_> = messages.iter().map(|message| reader(&client, message)).collect();
        assert!(forged.poll().is_none() && good.iter_mut().all(|reader| reader.poll().is_none()));
        cached.fake.open();
        assert!(good.iter_mut().all(|reader| reader.poll().unwrap().is_ok()));
        assert_eq!((cached.fake.calls(), cached.cmm.stats().entries()), (1 + u64::from(tries_headers), 1));
        let error = forged.poll().unwrap().unwrap_err();
        let kind = if tries_headers { ErrorKind::NoUsableDataKey } else { ErrorKind::AuthenticationFailed };
        assert_eq!(error.kind(), kind);
    }
}

#[test]
fn a_failure_that_depends_on_no_header_is_everyones() {
    let cached = Cached::remote();
    let (client, messages) = (cached.client(), messages(100));
    cached.fake.shut();
    cached.fake.fails(true);
    let mut readers: Vec<_> = messages.iter().map(|message| reader(&client, message)).collect();
    assert!(readers.iter_mut().all(|reader| reader.poll().is_none()));
    cached.fake.open();
    for reader in &mut readers {
        assert_eq!(reader.poll().unwrap().unwrap_err().to_string(), "call 1 failed");
    }
    assert_eq!((cached.fake.calls(), cached.cmm.stats().coalesced()), (1, 99));
}

#[test]
fn a_reader_between_an_answer_and_its_first_use_asks_nobody() {
    let cached = Cached::remote();
    let (client, messages) = (cached.client(), messages(3));
    cached.fake.shut();
    let (mut forged, mut good) = (reader(&client, &with_wrong_tag(&messages[0])), reader(&client, &messages[1]));
    assert!(forged.poll().is_none() && good.poll().is_none());
    cached.fake.open();
    assert!(forged.poll().unwrap().is_err());
    assert_eq!(cached.cmm.stats().entries(), 0);
    assert!(reader(&client, &messages[2]).poll().unwrap().is_ok());
    assert_eq!(cached.cmm.stats().entries(), 1);
    assert!(good.poll().unwrap().is_ok());
    assert_eq!(cached.fake.calls(), 1);
}

#[test]
fn an_answer_that_opens_late_does_not_replace_a_later_one() {
    let cached = Cached::remote();
    let (client, messages) = (cached.client(), messages(3));
    cached.fake.shut();
    let (mut forged, mut sleeps) = (reader(&client, &with_wrong_tag(&messages[0])), reader(&client, &messages[1]));
    assert!(forged.poll().is_none() && sleeps.poll().is_none());
    cached.fake.open();
    assert!(forged.poll().unwrap().is_err());
    cached.clock.advance(100);
    // The first answer is too old: the next caller makes another call, and is the first to store an answer.
    reader(&client, &messages[2]).poll().unwrap().unwrap();
    assert_eq!((cached.fake.calls(), cached.cmm.stats().entries()), (2, 1));
    sleeps.poll().unwrap().unwrap();
    cached.clock.advance(99);
    reader(&client, &messages[2]).poll().unwrap().unwrap();
    assert_eq!((cached.fake.calls(), cached.cmm.stats().expired()), (2, 0));
}

#[test]
fn a_forged_reader_who_is_to_renew_an_entry_neither_spoils_nor_stops_it() {
    let cached = Cached::new(Fake::remote(), |settings| settings.renew_before(Duration::from_secs(20)));
    let good = Client::new(keyring()).encrypt(b"x", &context(&[])).unwrap();
    reader(&cached.client(), &good).poll().unwrap().unwrap();
    cached.clock.advance(80);
    assert!(reader(&cached.client(), &with_wrong_tag(&good)).poll().unwrap().is_err());
    // The data key is the one that opened a header before.
    assert_eq!((cached.fake.calls(), cached.cmm.stats().renewed()), (2, 1));
    cached.clock.advance(79);
    ready(cached.client().decrypt_async(&good, ExpectedContext::any())).unwrap();
    assert_eq!((cached.fake.calls(), cached.cmm.stats().expired()), (2, 0));
    // A caller that is refused because of its own header uses the old data key, and the next caller renews.
    cached.clock.advance(1);
    cached.fake.tries_headers();
    assert!(reader(&cached.client(), &with_wrong_tag(&good)).poll().unwrap().is_err());
    assert_eq!((cached.fake.calls(), cached.cmm.stats().renewals_failed()), (3, 1));
    cached.clock.advance(5);
    reader(&cached.client(), &good).poll().unwrap().unwrap();
    assert_eq!((cached.fake.calls(), cached.cmm.stats().renewed()), (4, 2));
}
