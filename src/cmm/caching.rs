//! One data key for many messages, within limits.
//!
//! Source: the ESDK specification, `framework/caching-cmm.md`, `framework/cryptographic-materials-cache.md`. It departs
//! from them where a cache must not surprise: ids are compared whole, a reader's expectations are part of them, and
//! callers who ask for the same at once make one call.

mod cache;
mod entry;
mod flight;
#[cfg(test)]
mod for_tests;
mod id;
#[cfg(all(test, manila_shuttle))]
mod model_tests;
mod settings;
mod stats;
mod sync;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::cmm::{Cmm, EncryptionRequest};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::materials::{DecryptionMaterials, DecryptionRequest, EncryptionMaterials, KeyFuture};
use crate::poll::poll_once;

use cache::{Cache, Found, Old};
use entry::Answer;
use flight::Turn;
use id::IdRef;
use stats::Event;

pub use settings::CacheSettings;
pub use stats::CacheStats;

/// Entries for several materials managers, each in a partition of its own.
///
/// Cheap to clone: clones share the entries. A partition belongs to the manager that first used its name; what one
/// manager's callers have, another's never get.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use manila::{CacheSettings, Client, DataKeyCache, DefaultCmm, RawAesKeyring};
///
/// let cache = DataKeyCache::new(CacheSettings::new(1000, Duration::from_secs(300)))?;
/// let billing = Arc::new(DefaultCmm::new(RawAesKeyring::new("example", "billing", &[1; 32])?));
/// let reports = Arc::new(DefaultCmm::new(RawAesKeyring::new("example", "reports", &[2; 32])?));
/// let billing = Client::with_cmm(cache.partition("billing", billing)?);
/// let reports = Client::with_cmm(cache.partition("reports", reports)?);
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DataKeyCache {
    cache: Arc<Cache>,
    partitions: Arc<Mutex<HashMap<String, Partition>>>,
}

#[derive(Clone, Debug)]
struct Partition {
    number: u64,
    inner: Arc<dyn Cmm>,
    inner_type: &'static str,
}

impl DataKeyCache {
    /// A cache within these limits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if they cannot be kept or contradict each other.
    pub fn new(settings: CacheSettings) -> Result<Self> {
        settings.check()?;
        Ok(Self { cache: Arc::new(Cache::new(settings)), partitions: Arc::default() })
    }

    /// The manager `inner` with this cache before it, in the partition of a name. The same name with the same manager is
    /// the same partition.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the partition belongs to another manager.
    pub fn partition<C: Cmm + 'static>(&self, name: impl Into<String>, inner: Arc<C>) -> Result<CachingCmm> {
        let (name, inner_type) = (name.into(), std::any::type_name::<C>());
        let inner: Arc<dyn Cmm> = inner;
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let number = partitions.len() as u64;
        let partition =
            partitions.entry(name.clone()).or_insert(Partition { number, inner: inner.clone(), inner_type });
        if !std::ptr::addr_eq(Arc::as_ptr(&partition.inner), Arc::as_ptr(&inner)) {
            let detail = format!(
                "the partition {} of the cache belongs to another materials manager: give each manager its own, and \
                 share a manager by cloning its Arc",
                quoted(&name)
            );
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        Ok(CachingCmm { cache: self.cache.clone(), partition: partition.clone() })
    }

    /// What the cache has done so far, and what it holds.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Forgets all entries. Keys that are in use are wiped when their users are done.
    pub fn clear(&self) {
        self.cache.clear();
    }
}

/// A materials manager that asks an inner one once for many messages.
///
/// Messages to be encrypted share a data key if they have the same encryption context, required keys, suite and
/// commitment policy; a message to be decrypted finds the data key of an earlier reading if its data keys and context are
/// the same and the reader expects the same. So one reader's good opening never opens a message for another who expects
/// something else. The limits are exact: no data key ever encrypts more messages or bytes than were allowed, however many
/// threads there are.
///
/// Callers who ask for the same at once over a network make one call; if it fails, each gets the error once, and if the
/// one who called goes away another takes over. Over a manager that is local nobody waits for anybody.
///
/// A plaintext of unknown length passes the cache by: give streams a bound
/// ([`Client::encryptor_up_to`](crate::Client::encryptor_up_to)), which is what counts against the limit of bytes. Suites
/// that use their data key as it is are never cached.
///
/// Put no cache before a cache: the outer one takes for one message what serves many, and the inner one's limits no longer
/// hold.
///
/// What caching gives up: a key that is disabled, or a right that is taken away, has its effect when entries expire
/// ([`CacheSettings::new`]); and data keys stay in memory as long.
///
/// ```
/// use std::time::Duration;
///
/// use manila::{CacheSettings, CachingCmm, Client, DefaultCmm, EncryptionContext, RawAesKeyring};
///
/// let keyring = RawAesKeyring::new("example", "key-1", &[0; 32])?;
/// let limits = CacheSettings::new(1000, Duration::from_secs(300)).max_messages(10_000);
/// let cmm = CachingCmm::new(DefaultCmm::new(keyring), limits)?;
/// let client = Client::with_cmm(cmm.clone());
///
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// for _ in 0..100 {
///     client.encrypt(b"hello", &context)?;
/// }
/// assert_eq!((cmm.stats().misses, cmm.stats().hits), (1, 99));
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CachingCmm {
    cache: Arc<Cache>,
    partition: Partition,
}

impl CachingCmm {
    /// A manager with a cache of its own before it.
    ///
    /// # Errors
    /// As [`DataKeyCache::new`].
    pub fn new<C: Cmm + 'static>(inner: C, settings: CacheSettings) -> Result<Self> {
        DataKeyCache::new(settings)?.partition("", Arc::new(inner))
    }

    /// What its cache has done so far, and what it holds, all partitions together.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    async fn encrypt(&self, request: &EncryptionRequest) -> Result<EncryptionMaterials> {
        let suite = request.checked_suite()?;
        let question = Question::Encryption(request);
        let answer = match request.max_plaintext_len {
            None => self.pass_by(Event::bypassed_unknown_length, question).await,
            Some(bytes) if bytes > self.cache.settings.max_bytes => {
                self.pass_by(Event::bypassed_too_long, question).await
            }
            Some(_) if !suite.has_kdf() => self.pass_by(Event::bypassed_identity_kdf, question).await,
            Some(bytes) => {
                let id = IdRef::encryption(self.partition.number, request, &self.cache.hasher);
                self.answer(id, bytes, question).await
            }
        };
        match answer? {
            Answer::Encryption(materials) => Ok(materials),
            Answer::Decryption(_) => Err(mixed_up()),
        }
    }

    async fn decrypt(&self, request: &DecryptionRequest) -> Result<DecryptionMaterials> {
        let question = Question::Decryption(request);
        let answer = if request.suite().has_kdf() {
            let id = IdRef::decryption(self.partition.number, request, &self.cache.hasher);
            self.answer(id, 0, question).await
        } else {
            self.pass_by(Event::bypassed_identity_kdf, question).await
        };
        match answer? {
            Answer::Decryption(materials) => Ok(materials),
            Answer::Encryption(_) => Err(mixed_up()),
        }
    }

    async fn pass_by(&self, why: Event, question: Question<'_>) -> Result<Answer> {
        self.cache.counters.count(why);
        self.ask(question).await
    }

    /// The answer to a question: from the cache, from another who asks the same, or from the inner manager.
    async fn answer(&self, id: IdRef<'_>, bytes: u64, question: Question<'_>) -> Result<Answer> {
        let mut counted = false;
        loop {
            match self.cache.take(id, bytes) {
                Found::Hit(answer) => {
                    if !counted {
                        self.cache.counters.count(Event::hits);
                    }
                    return Ok(answer);
                }
                Found::Renew(old) => return self.renew(id, bytes, question, old).await,
                Found::Nothing => {}
            }
            if !counted {
                self.cache.counters.count(Event::misses);
                counted = true;
            }
            if self.partition.inner.is_local() {
                return self.ask(question).await.map(|answer| self.keep(id, answer, bytes));
            }
            if let Some(answer) = self.fly(id, bytes, question).await? {
                return Ok(answer);
            }
        }
    }

    /// Asks for all who ask the same, or waits for him who does. No answer means that there is one in the cache now.
    async fn fly(&self, id: IdRef<'_>, bytes: u64, question: Question<'_>) -> Result<Option<Answer>> {
        // Dropped in the opposite order: the flight is left before it is looked whether anybody is still on it.
        let _departure = Departure { cache: &self.cache, id };
        let flight = self.cache.flight(id);
        let lead = match flight.turn().await {
            Turn::Lead(lead) => lead,
            Turn::Follow(outcome) => {
                self.cache.counters.count(Event::coalesced);
                return outcome.map(|()| None);
            }
        };
        let land = |outcome: std::result::Result<(), &Error>| {
            self.cache.end_flight(id, &flight);
            lead.land(outcome);
        };
        // Another flight may have landed between the look into the cache and this one's start.
        match self.cache.take(id, bytes) {
            Found::Hit(answer) => {
                land(Ok(()));
                Ok(Some(answer))
            }
            Found::Renew(old) => {
                land(Ok(()));
                self.renew(id, bytes, question, old).await.map(Some)
            }
            Found::Nothing => {
                let in_flight = InFlight::new(&self.cache);
                let asked = self.ask(question).await;
                drop(in_flight);
                let answered = asked.map(|answer| self.keep(id, answer, bytes));
                land(answered.as_ref().map(|_| ()));
                answered.map(Some)
            }
        }
    }

    /// Replaces an entry before it expires. If that fails, or its caller goes away, the old one serves on until it does.
    async fn renew(&self, id: IdRef<'_>, bytes: u64, question: Question<'_>, mut old: Old) -> Result<Answer> {
        let renewal = Renewal { cache: &self.cache, id, generation: old.generation, done: false };
        match self.ask(question).await {
            Ok(answer) => {
                renewal.done();
                self.cache.counters.count(Event::renewed);
                Ok(self.keep(id, answer, bytes))
            }
            Err(error) => {
                self.cache.counters.count(Event::renewals_failed);
                // It may have taken long to fail.
                if old.age.is_over(&self.cache.settings) { Err(error) } else { Ok(old.answer) }
            }
        }
    }

    /// Asks the inner manager. One that calls itself local is not waited for.
    async fn ask(&self, question: Question<'_>) -> Result<Answer> {
        match self.partition.inner.is_local() {
            true => poll_once(self.partition.ask(question)).unwrap_or_else(|| Err(self.partition.waits())),
            false => self.partition.ask(question).await,
        }
    }

    /// Keeps an answer, unless the manager chose a suite whose keys are not to be kept.
    fn keep(&self, id: IdRef<'_>, answer: Answer, bytes: u64) -> Answer {
        if matches!(&answer, Answer::Encryption(materials) if !materials.suite().has_kdf()) {
            return answer;
        }
        self.cache.put(id, answer.share(), bytes);
        answer
    }
}

impl Partition {
    async fn ask(&self, question: Question<'_>) -> Result<Answer> {
        match question {
            Question::Encryption(request) => self.inner.encryption_materials(request).await.map(Answer::Encryption),
            Question::Decryption(request) => self.inner.decryption_materials(request).await.map(Answer::Decryption),
        }
    }

    fn waits(&self) -> Error {
        let detail = format!("a materials manager called itself local and then waited: {}", self.inner_type);
        Error::new(ErrorKind::Internal, detail)
    }
}

/// What the inner manager is asked.
#[derive(Clone, Copy)]
enum Question<'a> {
    Encryption(&'a EncryptionRequest),
    Decryption(&'a DecryptionRequest),
}

/// That someone leaves a flight; the last one to do so takes it out of the cache's books.
struct Departure<'a> {
    cache: &'a Cache,
    id: IdRef<'a>,
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        self.cache.forget_empty_flight(self.id);
    }
}

/// Counts a call that others wait for, as long as it lasts.
struct InFlight<'a>(&'a Cache);

impl<'a> InFlight<'a> {
    fn new(cache: &'a Cache) -> Self {
        cache.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(cache)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A renewal that is under way; one that does not come about is put off.
struct Renewal<'a> {
    cache: &'a Cache,
    id: IdRef<'a>,
    generation: u64,
    done: bool,
}

impl Renewal<'_> {
    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Renewal<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.cache.put_off(self.id, self.generation);
        }
    }
}

fn mixed_up() -> Error {
    Error::new(ErrorKind::Internal, "the cache gave an answer to another question")
}

impl Cmm for CachingCmm {
    fn encryption_materials<'a>(&'a self, request: &'a EncryptionRequest) -> KeyFuture<'a, EncryptionMaterials> {
        Box::pin(self.encrypt(request))
    }

    fn decryption_materials<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, DecryptionMaterials> {
        Box::pin(self.decrypt(request))
    }

    fn is_local(&self) -> bool {
        self.partition.inner.is_local()
    }
}
