//! The entries: in shards, so that threads do not queue on one lock, and yet with one capacity and one order of age.
//!
//! A lock is held around operations on its map, never across a call or an await.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;

use lru::LruCache;

use crate::cmm::caching::entry::{Age, Answer, Entry, Use};
use crate::cmm::caching::flight::{Flight, Known};
use crate::cmm::caching::id::{AsIdRef, CarriedHash, Id, IdRef};
use crate::cmm::caching::settings::CacheSettings;
use crate::cmm::caching::stats::{CacheStats, Counters, Event};
use crate::cmm::caching::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, lock, yield_now};

/// Fewer in the model: each lock is a place where threads may change.
const SHARDS: usize = if cfg!(manila_shuttle) { 2 } else { 16 };

/// What is cached, within the settings' limits.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) settings: CacheSettings,
    pub(super) counters: Counters,
    /// What ids are hashed with: nobody outside can make them collide.
    pub(super) hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    entries: AtomicUsize,
    /// Counts uses and generations.
    tick: AtomicU64,
}

#[derive(Debug)]
struct Shard {
    entries: LruCache<Id, Entry, CarriedHash>,
    flights: HashMap<Id, Known, CarriedHash>,
}

/// What the cache has on a question.
pub(super) enum Found {
    Hit(Answer),
    Renew(Old),
    Nothing,
}

/// An entry that is to be renewed.
pub(super) struct Old {
    pub(super) generation: u64,
    /// For when that fails.
    pub(super) answer: Answer,
    pub(super) age: Age,
}

impl Cache {
    pub(super) fn new(settings: CacheSettings) -> Self {
        let shard = |_| {
            let entries = LruCache::unbounded_with_hasher(CarriedHash::default());
            Mutex::new(Shard { entries, flights: HashMap::default() })
        };
        Self {
            settings,
            counters: Counters::default(),
            hasher: RandomState::new(),
            shards: std::array::from_fn(shard),
            entries: AtomicUsize::new(0),
            tick: AtomicU64::new(0),
        }
    }

    pub(super) fn stats(&self) -> CacheStats {
        self.counters.read(self.len())
    }

    pub(super) fn len(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// Uses an entry for a message of `bytes`.
    pub(super) fn take(&self, id: IdRef<'_>, bytes: u64) -> Found {
        let mut shard = self.shard(id);
        let id: &dyn AsIdRef = &id;
        let Some(entry) = shard.entries.get_mut(id) else { return Found::Nothing };
        entry.used_at = self.tick();
        let generation = entry.generation;
        match entry.take(bytes, &self.settings) {
            Use::Hit(answer) => Found::Hit(answer),
            Use::Renew(answer, age) => Found::Renew(Old { generation, answer, age }),
            Use::Gone(why) => {
                let gone = shard.entries.pop(id);
                drop(shard);
                self.entries.fetch_sub(1, Ordering::Relaxed);
                self.counters.count(why);
                drop(gone);
                Found::Nothing
            }
        }
    }

    /// Keeps an answer that has just been used for a message of `bytes`, in the place of an older one.
    pub(super) fn put(&self, id: IdRef<'_>, answer: Answer, bytes: u64) {
        let entry = Entry::new(answer, self.tick(), bytes, &self.settings);
        if let Some(older) = self.shard(id).entries.get_mut(&id as &dyn AsIdRef) {
            *older = entry;
            return;
        }
        self.make_room();
        let replaced = self.shard(id).entries.put(id.to_id(), entry);
        if replaced.is_some() {
            self.entries.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Puts off the renewal of an entry, if it is still there.
    pub(super) fn put_off(&self, id: IdRef<'_>, generation: u64) {
        let mut shard = self.shard(id);
        let id: &dyn AsIdRef = &id;
        if let Some(entry) = shard.entries.peek_mut(id).filter(|entry| entry.generation == generation) {
            entry.put_off(&self.settings);
        }
    }

    /// Forgets all entries.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            self.entries.fetch_sub(shard.entries.len(), Ordering::Relaxed);
            shard.entries.clear();
        }
    }

    /// The entries and flights that the shards hold, seen one after the other.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        self.shards.iter().map(lock).fold((0, 0), |(entries, flights), shard| {
            (entries.saturating_add(shard.entries.len()), flights.saturating_add(shard.flights.len()))
        })
    }

    /// The flight for a question: the one that is under way, or a new one.
    pub(super) fn flight(&self, id: IdRef<'_>) -> Flight {
        let mut shard = self.shard(id);
        let known: Option<&Known> = shard.flights.get(&id as &dyn AsIdRef);
        if let Some(flight) = known.and_then(Known::join) {
            return flight;
        }
        let flight = Flight::default();
        shard.flights.insert(id.to_id(), flight.known());
        flight
    }

    /// Ends a flight, so that the next who asks begins another.
    pub(super) fn end_flight(&self, id: IdRef<'_>, flight: &Flight) {
        self.forget_flight(id, |known| known.is(flight));
    }

    /// Forgets a flight that everyone has left.
    pub(super) fn forget_empty_flight(&self, id: IdRef<'_>) {
        self.forget_flight(id, Known::is_empty);
    }

    fn forget_flight(&self, id: IdRef<'_>, which: impl FnOnce(&Known) -> bool) {
        let mut shard = self.shard(id);
        let id: &dyn AsIdRef = &id;
        if shard.flights.get(id).is_some_and(which) {
            shard.flights.remove(id);
        }
    }

    /// Takes a place for an entry, removing the one that was not used for longest if all are taken.
    fn make_room(&self) {
        let capacity = self.settings.capacity;
        let taken = |count: usize| (count < capacity).then(|| count.saturating_add(1));
        while self.entries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_err() {
            if !self.evict() {
                // The places are taken for entries that other threads are about to put there.
                yield_now();
            }
        }
    }

    /// Removes the entry that was not used for longest, if there is one.
    fn evict(&self) -> bool {
        let oldest = |shard: &Mutex<Shard>| lock(shard).entries.peek_lru().map(|(_, entry)| entry.used_at);
        let found = self.shards.iter().filter_map(|shard| Some((oldest(shard)?, shard)));
        let Some((_, shard)) = found.min_by_key(|(used_at, _)| *used_at) else { return false };
        let evicted = lock(shard).entries.pop_lru();
        if evicted.is_some() {
            self.entries.fetch_sub(1, Ordering::Relaxed);
            self.counters.count(Event::evicted);
        }
        evicted.is_some()
    }

    fn tick(&self) -> u64 {
        self.tick.fetch_add(1, Ordering::Relaxed)
    }

    fn shard(&self, id: IdRef<'_>) -> MutexGuard<'_, Shard> {
        // Other bits than those that find a place within the shard's maps.
        let hash = usize::try_from((id.hash() >> 32) % SHARDS as u64).unwrap_or_default();
        // The remainder is below the number of shards, and there is at least one.
        let [first, ..] = &self.shards;
        lock(self.shards.get(hash).unwrap_or(first))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use zeroize::Zeroizing;

    use super::*;
    use crate::cmm::caching::for_tests::{Hand, request};
    use crate::context::EncryptionContext;
    use crate::materials::{DataKey, EncryptionMaterials};
    use crate::suite::AlgorithmSuite;

    /// Keeps an answer, and returns what shows whether its data key is still in memory.
    fn put(cache: &Cache, name: &str) -> Weak<Zeroizing<Vec<u8>>> {
        let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
        let data_key = DataKey::new(&[7; 32]);
        let watch = data_key.watch();
        let materials = EncryptionMaterials::new(suite, &EncryptionContext::empty()).unwrap();
        let answer = Answer::Encryption(materials.with_data_key(data_key).unwrap());
        cache.put(IdRef::encryption(0, &request(name, 0), &cache.hasher), answer, 0);
        watch
    }

    fn take(cache: &Cache, name: &str) -> Found {
        cache.take(IdRef::encryption(0, &request(name, 0), &cache.hasher), 0)
    }

    fn is_kept(watch: &Weak<Zeroizing<Vec<u8>>>) -> bool {
        watch.upgrade().is_some()
    }

    fn settings(capacity: usize) -> CacheSettings {
        CacheSettings::new(capacity, Duration::from_secs(100))
    }

    #[test]
    fn the_data_key_of_an_entry_that_is_no_more_is_dropped() {
        let cache = Cache::new(settings(1));
        let evicted = put(&cache, "evicted");
        assert!(is_kept(&evicted));
        let replaced = put(&cache, "replaced");
        assert!(!is_kept(&evicted));
        let cleared = put(&cache, "replaced");
        assert!(!is_kept(&replaced) && is_kept(&cleared));
        cache.clear();
        assert!(!is_kept(&cleared));
        assert_eq!(cache.len(), 0);

        let clock = Hand::default();
        let cache = Cache::new(settings(10).clock(clock.clone()).max_messages(2));
        let (expired, exhausted) = (put(&cache, "expired"), put(&cache, "exhausted"));
        for _ in 0..2 {
            assert!(is_kept(&exhausted));
            drop(take(&cache, "exhausted"));
        }
        assert!(!is_kept(&exhausted) && is_kept(&expired));
        clock.0.store(100, Ordering::SeqCst);
        assert!(matches!(take(&cache, "expired"), Found::Nothing));
        assert!(!is_kept(&expired));
        let dropped = put(&cache, "dropped");
        drop(cache);
        assert!(!is_kept(&dropped));
    }

    #[test]
    fn the_data_key_of_an_entry_that_is_no_more_is_there_for_its_last_user() {
        let cache = Cache::new(settings(1));
        let key = put(&cache, "a");
        let Found::Hit(user) = take(&cache, "a") else { panic!("it is there") };
        cache.clear();
        assert!(is_kept(&key));
        drop(user);
        assert!(!is_kept(&key));
    }

    #[test]
    fn entries_are_spread_over_the_shards() {
        let cache = Cache::new(settings(1000));
        for n in 0..1000 {
            put(&cache, &n.to_string());
        }
        let lens: Vec<_> = cache.shards.iter().map(|shard| lock(shard).entries.len()).collect();
        assert_eq!(lens.iter().sum::<usize>(), 1000);
        assert!(lens.iter().all(|len| (20..200).contains(len)), "{lens:?}");
    }

    #[test]
    fn a_flight_that_everyone_has_left_is_forgotten() {
        let cache = Cache::new(settings(1));
        let (a, b) = (request("a", 0), request("b", 0));
        let (a, b) = (IdRef::encryption(0, &a, &cache.hasher), IdRef::encryption(0, &b, &cache.hasher));
        let flights = || cache.held().1;
        let (first, second, other) = (cache.flight(a), cache.flight(a), cache.flight(b));
        assert_eq!(flights(), 2);
        drop(first);
        cache.forget_empty_flight(a);
        assert_eq!(flights(), 2, "one is still on it");
        drop(second);
        cache.forget_empty_flight(a);
        assert_eq!(flights(), 1);
        // A flight that has ended is not taken for the one after it.
        cache.end_flight(b, &other);
        let next = cache.flight(b);
        cache.end_flight(b, &other);
        assert_eq!(flights(), 1);
        drop(next);
    }
}
