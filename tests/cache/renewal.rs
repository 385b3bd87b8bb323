//! Early renewal: before an entry expires one caller renews it, and the others continue with the old data key.

use std::time::Duration;

use manila::cmm::{CacheSettings, CachingCmm};
use manila::{Client, Error, ErrorKind, ExpectedContext};

use crate::fake::{Fake, Polled, raw_aes};
use crate::{Cached, context, data_key};

/// Makes a cache whose entries live 100 seconds and are renewed from the 80th; failed renewals are retried after 5.
fn renewing(fake: Fake) -> Cached {
    Cached::new(fake, |settings| {
        settings.renew_before(Duration::from_secs(20)).retry_renewal_after(Duration::from_secs(5))
    })
}

/// A caller that encrypts, and returns the data key.
type Caller = Polled<Result<Vec<u8>, Error>>;

fn caller(client: &Client) -> Caller {
    let client = client.clone();
    Polled::new(
        async move { client.encrypt_async(b"x", &context(&[("id", "")])).await.map(|message| data_key(&message)) },
    )
}

/// Starts a renewal that waits for a remote manager, and returns the old data key and the renewing caller.
fn under_way() -> (Cached, Vec<u8>, Caller) {
    let cached = renewing(Fake::remote());
    let old = cached.seal("").unwrap();
    cached.clock.advance(80);
    cached.fake.shut();
    let mut renews = caller(&cached.client());
    assert!(renews.poll().is_none());
    (cached, old, renews)
}

#[test]
fn an_entry_is_renewed_within_the_grace_period() {
    for fake in [Fake::local(), Fake::remote()] {
        let cached = renewing(fake);
        let old = cached.seal("").unwrap();
        cached.clock.advance(79);
        assert_eq!(cached.seal("").unwrap(), old);
        assert_eq!(cached.fake.calls(), 1);
        cached.clock.advance(1);
        let new = cached.seal("").unwrap();
        assert_ne!(new, old, "the renewing caller has the new one");
        assert_eq!(cached.seal("").unwrap(), new);
        // The new entry has its own lifetime.
        cached.clock.advance(79);
        assert_eq!(cached.seal("").unwrap(), new);
        cached.clock.advance(1);
        assert_ne!(cached.seal("").unwrap(), new);
        let stats = cached.cmm.stats();
        assert_eq!((stats.renewed(), stats.renewals_failed(), stats.expired(), stats.misses()), (2, 0, 0, 1));
        assert_eq!((cached.fake.calls(), stats.entries()), (3, 1));
    }
}

#[test]
fn without_a_grace_period_nothing_is_renewed() {
    let cached = Cached::remote();
    let old = cached.seal("").unwrap();
    cached.clock.advance(99);
    assert_eq!(cached.seal("").unwrap(), old);
    assert_eq!((cached.fake.calls(), cached.cmm.stats().renewed()), (1, 0));
}

#[test]
fn one_caller_renews_while_the_rest_go_on_with_the_old_entry() {
    let (cached, old, mut renews) = under_way();
    let client = cached.client();
    for _ in 0..1000 {
        assert_eq!(caller(&client).poll().expect("nobody waits").unwrap(), old);
    }
    assert_eq!((cached.fake.calls(), cached.cmm.stats().coalesced()), (2, 0));
    cached.fake.open();
    let new = renews.poll().unwrap().unwrap();
    assert_ne!(new, old);
    assert_eq!(caller(&client).poll().unwrap().unwrap(), new);
    assert_eq!((cached.fake.calls(), cached.cmm.stats().renewed()), (2, 1));
}

#[test]
fn a_readers_entry_is_renewed_too() {
    let cached = renewing(Fake::remote());
    let message = Client::new(crate::fake::keyring()).encrypt(b"x", &context(&[])).unwrap();
    let read = || manila::testing::ready(cached.client().decrypt_async(&message, ExpectedContext::any())).unwrap();
    read();
    cached.clock.advance(80);
    read();
    cached.clock.advance(79);
    read();
    assert_eq!((cached.fake.calls(), cached.cmm.stats().renewed(), cached.cmm.stats().expired()), (2, 1, 0));
}

#[test]
fn a_renewal_that_fails_leaves_the_old_entry_in_use_until_it_expires() {
    for fake in [Fake::local(), Fake::remote()] {
        let cached = renewing(fake);
        let old = cached.seal("").unwrap();
        cached.fake.fails(true);
        cached.clock.advance(80);
        let mut calls = Vec::new();
        for second in 80..100 {
            assert_eq!(cached.seal("").unwrap(), old, "second {second}");
            assert_eq!(cached.seal("").unwrap(), old);
            calls.push(cached.fake.calls());
            cached.clock.advance(1);
        }
        // The 80th second, and every fifth after it.
        assert_eq!(calls, (0..20).map(|second| 2 + second / 5).collect::<Vec<_>>());
        assert_eq!(cached.cmm.stats().renewals_failed(), 4);
        // Now the entry is too old, and every caller sees the failure.
        assert_eq!(cached.seal("").unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!((cached.cmm.stats().expired(), cached.cmm.stats().entries()), (1, 0));
        cached.fake.fails(false);
        assert_ne!(cached.seal("").unwrap(), old);
    }
}

#[test]
fn a_renewal_that_succeeds_after_one_that_failed_is_a_renewal() {
    let cached = renewing(Fake::remote());
    let old = cached.seal("").unwrap();
    cached.fake.fails(true);
    cached.clock.advance(80);
    assert_eq!(cached.seal("").unwrap(), old);
    cached.fake.fails(false);
    cached.clock.advance(4);
    assert_eq!(cached.seal("").unwrap(), old, "not tried again for five seconds");
    cached.clock.advance(1);
    assert_ne!(cached.seal("").unwrap(), old);
    assert_eq!((cached.cmm.stats().renewed(), cached.cmm.stats().renewals_failed()), (1, 1));
}

#[test]
fn the_interval_begins_when_the_renewal_has_failed() {
    let cached = renewing(Fake::remote());
    let old = cached.seal("").unwrap();
    cached.clock.advance(80);
    cached.fake.shut();
    cached.fake.fails(true);
    let client = cached.client();
    let mut renews = caller(&client);
    assert!(renews.poll().is_none());
    cached.clock.advance(10);
    cached.fake.open();
    assert_eq!(renews.poll().unwrap().unwrap(), old);
    cached.clock.advance(4);
    assert_eq!(cached.seal("").unwrap(), old);
    assert_eq!(cached.fake.calls(), 2);
    cached.clock.advance(1);
    assert_eq!(cached.seal("").unwrap(), old);
    assert_eq!(cached.fake.calls(), 3);
}

#[test]
fn a_renewal_whose_caller_goes_away_is_put_off() {
    let cached = renewing(Fake::remote());
    let old = cached.seal("").unwrap();
    cached.clock.advance(80);
    cached.fake.shut();
    let mut renews = caller(&cached.client());
    assert!(renews.poll().is_none());
    drop(renews);
    cached.fake.open();
    cached.clock.advance(4);
    assert_eq!(cached.seal("").unwrap(), old);
    assert_eq!(cached.fake.calls(), 2);
    cached.clock.advance(1);
    assert_ne!(cached.seal("").unwrap(), old);
    assert_eq!((cached.fake.calls(), cached.cmm.stats().renewed()), (3, 1));
}

#[test]
fn a_renewal_that_fails_after_the_old_entry_has_expired_does_not_use_it() {
    let cached = renewing(Fake::remote());
    cached.seal("").unwrap();
    cached.clock.advance(80);
    cached.fake.shut();
    cached.fake.fails(true);
    let mut renews = caller(&cached.client());
    assert!(renews.poll().is_none());
    cached.clock.advance(20);
    cached.fake.open();
    assert_eq!(renews.poll().unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn an_old_entry_that_expires_during_its_renewal_is_replaced_by_a_flight() {
    let (cached, old, mut renews) = under_way();
    let client = cached.client();
    cached.clock.advance(20);
    let (mut leads, mut follows) = (caller(&client), caller(&client));
    assert!(leads.poll().is_none() && follows.poll().is_none());
    assert_eq!((cached.fake.calls(), cached.cmm.stats().expired()), (3, 1));
    cached.fake.open();
    let led = leads.poll().unwrap().unwrap();
    assert_eq!(follows.poll().unwrap().unwrap(), led);
    let renewed = renews.poll().unwrap().unwrap();
    assert!(renewed != old && led != old);
    assert_eq!((cached.fake.calls(), cached.cmm.stats().entries()), (3, 1));
}

#[test]
fn an_answer_is_as_old_as_the_call_that_brought_it() {
    let (cached, _, mut renews) = under_way();
    let client = cached.client();
    // The old entry expires; one caller leads a call and is dropped, and another waits for it.
    cached.clock.advance(20);
    let (mut leads, mut waits) = (caller(&client), caller(&client));
    assert!(leads.poll().is_none() && waits.poll().is_none());
    cached.fake.open();
    renews.poll().unwrap().unwrap();
    drop(leads);
    // It is not polled for a while: by then its answer is due for renewal.
    cached.clock.advance(80);
    let calls = cached.fake.calls();
    waits.poll().unwrap().unwrap();
    cached.seal("").unwrap();
    assert_eq!((cached.fake.calls(), cached.cmm.stats().renewed()), (calls + 1, 2));
}

#[test]
fn a_late_renewal_puts_off_nothing_but_its_own_entry() {
    let (cached, _, mut renews) = under_way();
    cached.clock.advance(20);
    cached.fake.open();
    let new = cached.seal("").unwrap();
    cached.clock.advance(80);
    // The first renewal fails now: the entry that replaced the old one is to be renewed all the same.
    cached.fake.fails(true);
    assert!(renews.poll().unwrap().is_err());
    cached.fake.fails(false);
    assert_ne!(cached.seal("").unwrap(), new);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let new = |age: u64, grace: u64| {
        let settings = CacheSettings::new(1, Duration::from_secs(age)).renew_before(Duration::from_secs(grace));
        CachingCmm::new(raw_aes(), settings).map(drop)
    };
    assert!(new(100, 99).is_ok());
    for grace in [100, 101] {
        let error = new(100, grace).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("renew_before"), "{error}");
    }
}
