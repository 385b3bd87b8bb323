//! The entries: in shards, so that threads do not queue on one lock, and yet with one capacity and one order of age.
//!
//! A lock is held around operations on its map, never across a call or an await.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::cmm::caching::entry::{Answer, Entry, Use};
use crate::cmm::caching::flight::{Flight, Known};
use crate::cmm::caching::id::{AsIdRef, CarriedHash, Id, IdRef};
use crate::cmm::caching::settings::CacheSettings;
use crate::cmm::caching::stats::{Counters, Event};

const SHARDS: usize = 16;

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
    /// Renew the entry of this generation; the answer is for when that fails.
    Renew(Answer, u64),
    Nothing,
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
            Use::Renew(answer) => Found::Renew(answer, generation),
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
        let mut entry = Entry::new(answer, self.tick(), bytes, &self.settings);
        entry.used_at = self.tick();
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
            self.evict();
        }
    }

    fn evict(&self) {
        let oldest = |shard: &Mutex<Shard>| lock(shard).entries.peek_lru().map(|(_, entry)| entry.used_at);
        let found = self.shards.iter().filter_map(|shard| Some((oldest(shard)?, shard)));
        let Some((_, shard)) = found.min_by_key(|(used_at, _)| *used_at) else { return };
        let evicted = lock(shard).entries.pop_lru();
        if evicted.is_some() {
            self.entries.fetch_sub(1, Ordering::Relaxed);
            self.counters.count(Event::evicted);
        }
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

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
