//! The entries of a cache, in shards, so that threads do not contend for one lock, but with one capacity and one order
//! of use.
//!
//! A lock is held for operations on its map, never across a call or an await.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::sync::Arc;

use lru::LruCache;

use crate::cmm::caching::entry::{Age, Answer, Entry, Use, Uses};
use crate::cmm::caching::flight::{Call, Flight, LEADER, Outcome, Round};
use crate::cmm::caching::id::{CarriedHash, Id, IdRef};
use crate::cmm::caching::settings::CacheSettings;
use crate::cmm::caching::stats::{CacheStats, Counters, Event};
use crate::cmm::caching::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, lock, yield_now};

/// Fewer in the model, where each lock multiplies the orders to try.
const SHARDS: usize = if cfg!(manila_shuttle) { 2 } else { 16 };

/// Cached answers, within the settings' limits.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) settings: CacheSettings,
    pub(super) counters: Counters,
    /// Randomly keyed, so that nobody outside can make ids collide.
    pub(super) hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    entries: AtomicUsize,
    /// The counter of uses and generations.
    tick: AtomicU64,
    /// The number of times the cache was cleared.
    clearings: AtomicU64,
}

#[derive(Debug)]
struct Shard {
    entries: LruCache<Id, Entry, CarriedHash>,
    /// The shared calls that callers may join. A flight's lock may be taken while its shard's is held, never the other
    /// way round.
    flights: HashMap<Id, Arc<Flight>, CarriedHash>,
}

impl Shard {
    /// Uses an entry for a message of `bytes`. An entry that can no longer be used is removed, and returned with the
    /// reason.
    fn take(&mut self, id: IdRef<'_>, bytes: u64, tick: u64, settings: &CacheSettings) -> (Found, Option<Gone>) {
        let Some(entry) = self.entries.get_mut(id.as_bytes()) else { return (Found::Nothing, None) };
        entry.used_at = tick;
        let generation = entry.generation;
        match entry.take(bytes, settings) {
            Use::Hit(answer) => (Found::Hit(answer), None),
            Use::Renew(answer, age) => (Found::Renew(Old { generation, answer, age }), None),
            Use::Gone(why) => (Found::Nothing, Some(Gone { _entry: self.entries.pop(id.as_bytes()), why })),
        }
    }

    /// Closes a flight to further callers.
    fn close(&mut self, flight: &Arc<Flight>) {
        if self.flights.get(flight.id.as_ref().as_bytes()).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            self.flights.remove(flight.id.as_ref().as_bytes());
        }
    }
}

/// A removed entry, to be dropped after the lock is released.
struct Gone {
    _entry: Option<Entry>,
    why: Event,
}

/// The result of looking for an entry.
pub(super) enum Found {
    Hit(Answer),
    Renew(Old),
    Nothing,
}

/// The result of looking for an entry or a flight.
pub(super) enum Joined {
    Hit(Answer),
    Renew(Old),
    /// The caller waits on a flight, with this number.
    Waiting(Arc<Flight>, u64),
}

/// An entry to renew.
pub(super) struct Old {
    pub(super) generation: u64,
    /// To use if the renewal fails.
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
            clearings: AtomicU64::new(0),
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
        let (found, gone) = self.shard(id).take(id, bytes, self.tick(), &self.settings);
        self.count_gone(gone);
        found
    }

    fn count_gone(&self, gone: Option<Gone>) {
        if let Some(gone) = gone {
            self.entries.fetch_sub(1, Ordering::Relaxed);
            self.counters.count(gone.why);
        }
    }

    /// Uses an entry, or adds a caller to the flight for a question: to an existing one, or to a new one that they
    /// lead.
    pub(super) fn join(
        &self,
        id: &Id,
        bytes: u64,
        uses: Option<Uses>,
        round: Round,
        call: impl FnOnce() -> Call,
    ) -> Joined {
        let mut shard = self.shard(id.as_ref());
        // Under the lock that is held when outcomes are kept, so that no caller falls between a flight and its entry.
        let (found, gone) = shard.take(id.as_ref(), bytes, self.tick(), &self.settings);
        let mut displaced = None;
        let joined = match found {
            Found::Hit(answer) => Joined::Hit(answer),
            Found::Renew(old) => Joined::Renew(old),
            Found::Nothing => {
                let known = shard.flights.get(id.as_ref().as_bytes());
                let joined =
                    known.and_then(|flight| Some((flight.clone(), flight.join(bytes, round, &self.settings)?)));
                if let Some((flight, number)) = joined {
                    Joined::Waiting(flight, number)
                } else {
                    self.counters.in_flight.fetch_add(1, Ordering::Relaxed);
                    let flight = Arc::new(Flight::new(id.clone(), self.age(), uses, round, call()));
                    displaced = shard.flights.insert(id.clone(), flight.clone());
                    Joined::Waiting(flight, LEADER)
                }
            }
        };
        drop(shard);
        drop(displaced);
        self.count_gone(gone);
        joined
    }

    /// Completes a flight. Materials to encrypt are kept at once; a data key to decrypt stays with the flight until a
    /// caller finds that it opens a header.
    pub(super) fn complete(&self, flight: &Arc<Flight>, outcome: Outcome) {
        self.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        match &outcome {
            Outcome::Answer(completed) if matches!(completed.answer, Answer::Encryption(_)) => {
                let (answer, tick) = (completed.answer.share(), completed.tick);
                self.place(&flight.id, |shard| {
                    let uses = flight.set_outcome(outcome);
                    shard.close(flight);
                    Entry::new(answer, tick, flight.age, uses, &self.settings)
                });
            }
            Outcome::Answer(_) => drop(flight.set_outcome(outcome)),
            _ => {
                let mut shard = self.shard(flight.id.as_ref());
                flight.set_outcome(outcome);
                shard.close(flight);
            }
        }
    }

    /// Keeps a flight's data key to decrypt, which has opened a header.
    pub(super) fn keep(&self, flight: &Arc<Flight>) {
        let entry = flight
            .unkept(|completed| Entry::new(completed.answer.share(), completed.tick, flight.age, None, &self.settings));
        if let Some(entry) = entry {
            self.place(&flight.id, |shard| {
                shard.close(flight);
                entry
            });
        }
    }

    /// Removes a caller from a flight. The last one ends the flight and its call.
    pub(super) fn leave(&self, flight: &Arc<Flight>, number: u64, bytes: u64) {
        let left = {
            let mut shard = self.shard(flight.id.as_ref());
            let left = flight.leave(number, bytes);
            if left.is_last {
                shard.close(flight);
            }
            left
        };
        if left.call.is_some() {
            self.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Keeps an answer whose age begins when it was asked for, and which has just been used.
    pub(super) fn put(&self, id: &Id, answer: Answer, age: Age, uses: Option<Uses>) {
        let entry = Entry::new(answer, self.tick(), age, uses, &self.settings);
        self.place(id, |_| entry);
    }

    /// Inserts an entry, in place of an older one if there is one.
    fn place(&self, id: &Id, entry: impl FnOnce(&mut Shard) -> Entry) {
        let mut shard = self.shard(id.as_ref());
        let is_new = !shard.entries.contains(id.as_ref().as_bytes());
        if is_new {
            drop(shard);
            self.make_room();
            shard = self.shard(id.as_ref());
        }
        let mut entry = entry(&mut shard);
        entry.used_at = self.tick();
        // A caller who was not polled for long may bring an answer that is older than the present entry, and an answer
        // that its callers have used up is of no use to others.
        let is_better = |there: &Entry| {
            let is_used_up = |entry: &Entry| entry.is_used_up(&self.settings);
            !is_used_up(there) && (there.generation > entry.generation || is_used_up(&entry))
        };
        let was_cleared = entry.clearings() != self.clearings.load(Ordering::Acquire);
        let replaced = match was_cleared || shard.entries.peek(id.as_ref().as_bytes()).is_some_and(is_better) {
            true => Some(entry),
            false => shard.entries.put(id.clone(), entry),
        };
        drop(shard);
        // The reserved place is not needed.
        if is_new && replaced.is_some() {
            self.entries.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Puts off the renewal of an entry, if it still exists.
    pub(super) fn put_off(&self, id: &Id, generation: u64) {
        let mut shard = self.shard(id.as_ref());
        let entry = shard.entries.peek_mut(id.as_ref().as_bytes());
        if let Some(entry) = entry.filter(|entry| entry.generation == generation) {
            entry.put_off(&self.settings);
        }
    }

    /// Removes all entries, and keeps nothing that was asked for before: calls in progress serve only their present
    /// callers.
    pub(super) fn clear(&self) {
        self.clearings.fetch_add(1, Ordering::AcqRel);
        for shard in &self.shards {
            let mut shard = lock(shard);
            self.entries.fetch_sub(shard.entries.len(), Ordering::Relaxed);
            shard.entries.clear();
            let flights = std::mem::take(&mut shard.flights);
            drop(shard);
            drop(flights);
        }
    }

    /// Counts the entries and flights of the shards, one shard after another.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        self.shards.iter().map(lock).fold((0, 0), |(entries, flights), shard| {
            (entries.saturating_add(shard.entries.len()), flights.saturating_add(shard.flights.len()))
        })
    }

    /// Removes the entries of a partition.
    pub(super) fn forget_partition(&self, partition: u64) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            let ids: Vec<_> =
                shard.entries.iter().map(|(id, _)| id).filter(|id| id.partition() == partition).cloned().collect();
            let gone: Vec<_> = ids.iter().filter_map(|id| shard.entries.pop(id.as_ref().as_bytes())).collect();
            drop(shard);
            self.entries.fetch_sub(gone.len(), Ordering::Relaxed);
        }
    }

    /// Reserves a place for an entry, removing the least recently used one if all are taken.
    fn make_room(&self) {
        let capacity = self.settings.capacity;
        let taken = |count: usize| (count < capacity).then(|| count.saturating_add(1));
        while self.entries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_err() {
            if !self.evict() {
                // All places are reserved for entries that other threads are about to insert.
                yield_now();
            }
        }
    }

    /// Removes the least recently used entry, if there is one.
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

    pub(super) fn tick(&self) -> u64 {
        self.tick.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns the age of something that is asked for now.
    pub(super) fn age(&self) -> Age {
        Age::new(&*self.settings.clock, self.clearings.load(Ordering::Acquire))
    }

    fn shard(&self, id: IdRef<'_>) -> MutexGuard<'_, Shard> {
        // Other bits than those that the shard's maps use.
        let hash = usize::try_from((id.hash() >> 32) % SHARDS as u64).unwrap_or_default();
        // The remainder is less than the number of shards, which is at least one.
        let [first, ..] = &self.shards;
        lock(self.shards.get(hash).unwrap_or(first))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;
    use crate::cmm::caching::for_tests::{Hand, request};
    use crate::cmm::caching::id::EncodedId;
    use crate::cmm::caching::waiter::Waiter;
    use crate::materials::{DataKey, EncryptionMaterials, HeaderUse};
    use crate::suite::AlgorithmSuite;
    use manila_core::{EncryptionContext, SecretWatch};

    /// Stores an answer, and returns a weak handle that shows whether its data key is still in memory.
    fn put(cache: &Cache, name: &str) -> SecretWatch {
        let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
        let data_key = DataKey::new(&[7; 32]);
        let watch = data_key.watch();
        let materials = EncryptionMaterials::new(suite, &EncryptionContext::empty()).unwrap();
        let answer = Answer::Encryption(materials.with_data_key(data_key).unwrap());
        cache.put(&id(cache, 0, name).to_id(), answer, cache.age(), Some(Uses { messages: 1, bytes: 0 }));
        watch
    }

    fn id(cache: &Cache, partition: u64, name: &str) -> EncodedId {
        EncodedId::encryption(partition, &request(name, 0), &cache.hasher)
    }

    fn take(cache: &Cache, name: &str) -> Found {
        cache.take(id(cache, 0, name).as_ref(), 0)
    }

    fn is_kept(watch: &SecretWatch) -> bool {
        watch.is_in_memory()
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
    fn a_flight_that_everyone_has_left_is_forgotten_and_its_call_dropped() {
        let cache = Cache::new(settings(1));
        let calls = Arc::new(());
        let join = |name: &str| {
            let call = || {
                let held = calls.clone();
                let future = Box::pin(async move {
                    let answer = std::future::pending().await;
                    drop(held);
                    answer
                });
                Call { future, header_use: HeaderUse::default(), inner_type: "" }
            };
            match cache.join(
                &id(&cache, 0, name).to_id(),
                0,
                Some(Uses { messages: 1, bytes: 0 }),
                Round::default(),
                call,
            ) {
                Joined::Waiting(flight, number) => Waiter::new(&cache, flight, number, 0),
                Joined::Hit(_) | Joined::Renew(_) => panic!("nothing is kept"),
            }
        };
        let (held, calls_held) = (|| cache.held().1, || Arc::strong_count(&calls) - 1);
        let (first, second, other) = (join("a"), join("a"), join("b"));
        assert!(first.leads() && !second.leads() && other.leads());
        assert_eq!((held(), calls_held(), cache.stats().in_flight()), (2, 2, 2));
        drop(first);
        assert_eq!((held(), calls_held(), cache.stats().in_flight()), (2, 2, 2), "one caller still holds it");
        drop(second);
        assert_eq!((held(), calls_held(), cache.stats().in_flight()), (1, 1, 1));
        // A flight that nobody else may join is not mistaken for its successor.
        cache.clear();
        let next = join("b");
        assert!(next.leads());
        drop(other);
        assert_eq!((held(), calls_held(), cache.stats().in_flight()), (1, 1, 1));
        drop(next);
        assert_eq!((held(), calls_held(), cache.stats().in_flight()), (0, 0, 0));
    }

    #[test]
    fn callers_join_a_flight_as_long_as_their_messages_have_room() {
        let cache = Cache::new(settings(1).max_messages(3).max_bytes(100));
        let join = |bytes: u64| {
            let call =
                || Call { future: Box::pin(std::future::pending()), header_use: HeaderUse::default(), inner_type: "" };
            match cache.join(
                &id(&cache, 0, "a").to_id(),
                bytes,
                Some(Uses { messages: 1, bytes }),
                Round::default(),
                call,
            ) {
                Joined::Waiting(flight, number) => Waiter::new(&cache, flight, number, bytes),
                Joined::Hit(_) | Joined::Renew(_) => panic!("nothing is kept"),
            }
        };
        let callers = [60, 40, 1, 1, 1, 1].map(join);
        assert_eq!(callers.each_ref().map(Waiter::leads), [true, false, true, false, false, true]);
        // A caller that is dropped makes room.
        let [.., last] = callers;
        let next = [50, 50].map(join);
        assert_eq!(next.each_ref().map(Waiter::leads), [false, true]);
        drop(next);
        drop(last);
        assert_eq!(cache.held().1, 0);
    }

    #[test]
    fn a_partition_that_is_forgotten_leaves_the_others_as_they_are() {
        let cache = Cache::new(settings(100));
        let watches: Vec<_> = (0..30).map(|n| put(&cache, &n.to_string())).collect();
        let materials =
            EncryptionMaterials::new(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, &EncryptionContext::empty());
        let other = id(&cache, 1, "0").to_id();
        cache.put(&other, Answer::Encryption(materials.unwrap()), cache.age(), Some(Uses { messages: 1, bytes: 0 }));
        cache.forget_partition(2);
        assert_eq!(cache.len(), 31);
        cache.forget_partition(0);
        assert_eq!((cache.len(), cache.held().0), (1, 1));
        assert!(!watches.iter().any(is_kept));
        assert!(matches!(cache.take(other.as_ref(), 0), Found::Hit(_)));
    }
}
