//! The number of cache entries and their lifetime.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use manila::cmm::{CacheSettings, CachingCmm, DataKeyCache};
use manila::{Client, ErrorKind, ExpectedContext};

use crate::fake::{Fake, Polled, raw_aes};
use crate::{Cached, context, data_key};

fn with_room_for(capacity: usize) -> Cached {
    let clock = crate::fake::TestClock::default();
    let settings = CacheSettings::new(capacity, Duration::from_secs(100)).clock(clock.clone());
    let fake = Fake::local();
    Cached { cmm: CachingCmm::new(fake.clone(), settings).unwrap(), fake, clock }
}

#[test]
fn the_capacity_is_exact_and_the_least_recently_used_entry_goes_first() {
    for capacity in [1, 2, 3, 16, 17, 100] {
        let cached = with_room_for(capacity);
        let names: Vec<_> = (0..=capacity).map(|n| n.to_string()).collect();
        let keys: BTreeMap<_, _> = names[..capacity].iter().map(|name| (name, cached.seal(name).unwrap())).collect();
        assert_eq!((cached.cmm.stats().entries(), cached.cmm.stats().evicted()), (capacity, 0));
        // Used in reverse order, so that the entry added last is now the first to be evicted.
        for name in names[..capacity].iter().rev() {
            assert_eq!(cached.seal(name).unwrap(), keys[name]);
        }
        for gone in (0..capacity).rev() {
            cached.seal(&format!("new {gone}")).unwrap();
            assert_eq!(
                (cached.cmm.stats().entries(), cached.cmm.stats().evicted()),
                (capacity, (capacity - gone) as u64)
            );
        }
        // All old entries have been evicted in turn, and all new ones are present.
        let calls = cached.fake.calls();
        for there in 0..capacity {
            cached.seal(&format!("new {there}")).unwrap();
        }
        assert_eq!(cached.fake.calls(), calls);
        for name in &names[..capacity] {
            assert_ne!(cached.seal(name).unwrap(), keys[name]);
        }
    }
}

#[test]
fn of_any_uses_the_last_ones_are_kept() {
    // Compared with a plain list of what was used, latest last.
    const CAPACITY: usize = 5;
    let cached = with_room_for(CAPACITY);
    let mut kept: Vec<String> = Vec::new();
    let mut random = 1_u64;
    for _ in 0..2000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let name = (random >> 33).rem_euclid(12).to_string();
        let calls = cached.fake.calls();
        cached.seal(&name).unwrap();
        let hit = cached.fake.calls() == calls;
        assert_eq!(hit, kept.contains(&name));
        kept.retain(|other| *other != name);
        kept.push(name);
        if kept.len() > CAPACITY {
            kept.remove(0);
        }
        assert_eq!(cached.cmm.stats().entries(), kept.len());
    }
}

#[test]
fn the_capacity_is_exact_under_eight_threads() {
    let cached = with_room_for(7);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let cached = &cached;
            scope.spawn(move || {
                for n in 0..500 {
                    cached.seal(&((n * 7 + thread) % 23).to_string()).unwrap();
                    assert!(cached.cmm.stats().entries() <= 7);
                }
            });
        }
    });
    let stats = cached.cmm.stats();
    assert_eq!(stats.entries(), 7);
    // The count is accurate: seven further entries displace all of those.
    for n in 0..7 {
        cached.seal(&format!("new {n}")).unwrap();
    }
    assert_eq!((cached.cmm.stats().entries(), cached.cmm.stats().evicted()), (7, stats.evicted() + 7));
}

#[test]
fn an_entry_is_not_used_when_it_is_as_old_as_it_may_be() {
    let cached = Cached::local();
    let key = cached.seal("").unwrap();
    cached.clock.advance(99);
    assert_eq!(cached.seal("").unwrap(), key);
    cached.clock.advance(1);
    assert_ne!(cached.seal("").unwrap(), key);
    assert_eq!((cached.fake.calls(), cached.cmm.stats().expired(), cached.cmm.stats().entries()), (2, 1, 1));
}

#[test]
fn readers_entries_expire_too() {
    let cached = Cached::local();
    let message = cached.client().encrypt(b"x", &context(&[])).unwrap();
    cached.client().decrypt(&message, ExpectedContext::any()).unwrap();
    cached.clock.advance(99);
    cached.client().decrypt(&message, ExpectedContext::any()).unwrap();
    assert_eq!(cached.fake.calls(), 2);
    cached.clock.advance(1);
    cached.client().decrypt(&message, ExpectedContext::any()).unwrap();
    assert_eq!((cached.fake.calls(), cached.cmm.stats().expired()), (3, 1));
}

#[test]
fn use_makes_nothing_younger() {
    let cached = Cached::local();
    let key = cached.seal("").unwrap();
    for _ in 0..9 {
        cached.clock.advance(10);
        assert_eq!(cached.seal("").unwrap(), key);
    }
    cached.clock.advance(10);
    assert_ne!(cached.seal("").unwrap(), key);
}

#[test]
fn either_clock_makes_entries_old() {
    // The machine slept, and its monotonic clock stopped.
    let cached = Cached::local();
    let key = cached.seal("").unwrap();
    cached.clock.advance_wall(99);
    assert_eq!(cached.seal("").unwrap(), key);
    cached.clock.advance_wall(1);
    assert_ne!(cached.seal("").unwrap(), key);
    // The time of day stands still.
    let cached = Cached::local();
    let key = cached.seal("").unwrap();
    cached.clock.advance_monotonic(99);
    assert_eq!(cached.seal("").unwrap(), key);
    cached.clock.advance_monotonic(1);
    assert_ne!(cached.seal("").unwrap(), key);
    // The larger of the two ages counts, not their sum.
    let cached = Cached::local();
    let key = cached.seal("").unwrap();
    cached.clock.advance_wall(70);
    cached.clock.advance_monotonic(70);
    assert_eq!(cached.seal("").unwrap(), key);
}

#[test]
fn a_clock_set_back_never_extends_a_keys_life() {
    // Set back before the entry was used again.
    let cached = Cached::local();
    let key = cached.seal("").unwrap();
    cached.clock.set_wall_back(1_000_000);
    cached.clock.advance(99);
    assert_eq!(cached.seal("").unwrap(), key);
    cached.clock.advance(1);
    assert_ne!(cached.seal("").unwrap(), key);
    // Set back after the entry was found expired by the time of day alone.
    let cached = Cached::local();
    let key = cached.seal("").unwrap();
    cached.clock.advance_wall(100);
    cached.clock.set_wall_back(0);
    assert_ne!(cached.seal("").unwrap(), key);
    // Set back in small steps: no reading makes an entry younger.
    let cached = Cached::new(Fake::local(), |settings| settings.renew_before(Duration::from_secs(10)));
    let key = cached.seal("").unwrap();
    cached.clock.advance_wall(89);
    assert_eq!(cached.seal("").unwrap(), key);
    cached.clock.set_wall_back(50);
    cached.clock.advance_wall(51);
    assert_ne!(cached.seal("").unwrap(), key, "at 90 it is renewed");
}

#[test]
fn an_entry_made_before_the_clock_was_set_back_dies_with_the_monotonic_clock() {
    let cached = Cached::local();
    let key = cached.seal("").unwrap();
    for _ in 0..99 {
        cached.clock.advance_monotonic(1);
        cached.clock.set_wall_back(3600);
        assert_eq!(cached.seal("").unwrap(), key);
    }
    cached.clock.advance_monotonic(1);
    assert_ne!(cached.seal("").unwrap(), key);
}

#[test]
fn what_was_asked_for_before_a_clear_is_not_kept_after_it() {
    let fake = Fake::remote();
    let cache = DataKeyCache::new(CacheSettings::new(10, Duration::from_secs(100))).unwrap();
    let client = Client::with_cmm(cache.partition("", Arc::new(fake.clone())).unwrap());
    fake.shut();
    let caller = || {
        let client = client.clone();
        Polled::new(async move { client.encrypt_async(b"x", &context(&[])).await })
    };
    let mut before = caller();
    assert!(before.poll().is_none());
    cache.clear();
    let mut after = caller();
    assert!(after.poll().is_none());
    fake.open();
    let key = data_key(&before.poll().unwrap().unwrap());
    assert_eq!((fake.calls(), cache.stats().entries()), (2, 0));
    let of_after = data_key(&after.poll().unwrap().unwrap());
    assert!(of_after != key && data_key(&caller().poll().unwrap().unwrap()) == of_after);
    assert_eq!((fake.calls(), cache.stats().entries()), (2, 1));
}

#[test]
fn clear_forgets_all() {
    let cached = with_room_for(50);
    for n in 0..40 {
        cached.seal(&n.to_string()).unwrap();
    }
    let cache = DataKeyCache::new(CacheSettings::new(50, Duration::from_secs(100))).unwrap();
    let fake = Arc::new(Fake::local());
    let cmm = cache.partition("", fake.clone()).unwrap();
    for round in 1..3 {
        for n in 0..40 {
            let pairs = context(&[("id", &n.to_string())]);
            crate::client(&cmm, crate::SUITE).encrypt(b"x", &pairs).unwrap();
        }
        assert_eq!((cache.stats().entries(), fake.calls()), (40, round * 40));
        cache.clear();
        assert_eq!((cache.stats().entries(), cache.stats().evicted()), (0, 0));
    }
}

#[test]
fn a_cache_that_keeps_nothing_is_refused() {
    for (capacity, max_age) in [(0, Duration::from_secs(1)), (1, Duration::ZERO)] {
        let error = CachingCmm::new(raw_aes(), CacheSettings::new(capacity, max_age)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    assert!(CachingCmm::new(raw_aes(), CacheSettings::new(1, Duration::from_nanos(1))).is_ok());
    // Settings without an effective limit are allowed, and nothing overflows.
    let forever = CacheSettings::new(usize::MAX, Duration::MAX).renew_before(Duration::from_secs(1));
    let cmm = CachingCmm::new(Fake::local(), forever.retry_renewal_after(Duration::MAX)).unwrap();
    crate::client(&cmm, crate::SUITE).encrypt(b"x", &context(&[])).unwrap();
    crate::client(&cmm, crate::SUITE).encrypt(b"x", &context(&[])).unwrap();
    assert_eq!(cmm.stats().hits(), 1);
}
