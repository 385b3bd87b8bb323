//! [`CachingCmm`]: one data key for many messages, within limits.
//!
//! Source: the ESDK specification, `framework/caching-cmm.md`, `framework/cryptographic-materials-cache.md`. It differs
//! from them to avoid surprises: a reader's expectations are part of the ids, nothing is kept from a forged message,
//! and concurrent callers with the same request make one call.

mod cache;
mod entry;
mod flight;
#[cfg(test)]
mod for_tests;
mod id;
#[cfg(all(test, manila_shuttle))]
mod model_tests;
mod partition;
mod question;
mod settings;
mod stats;
mod sync;
mod waiter;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use crate::cmm::Cmm;
use crate::materials::EncryptionRequest;
use crate::materials::{DecryptionMaterials, DecryptionRequest, EncryptionMaterials};

use cache::{Cache, Found, Joined, Old};
use entry::Answer;
use flight::{Round, Turn, poll_caught};
use id::{EncodedId, Id};
use manila_core::internal::poll_once;
use manila_core::{Error, ErrorKind, KeyFuture, Result};
use partition::Partition;
use question::Question;
use stats::Event;
use waiter::Waiter;

pub use partition::DataKeyCache;
pub use settings::CacheSettings;
pub use stats::CacheStats;

/// A materials manager that asks an inner one once for many messages.
///
/// Messages to encrypt share a data key if they have the same encryption context, required keys, suite and commitment
/// policy. A message to decrypt uses the cached data key of an earlier one if its data keys and context are the same
/// and the reader expects the same: a reader who expects something else never benefits from another's success. The
/// limits are exact: no data key encrypts more messages or bytes than allowed, however many threads there are.
///
/// Concurrent callers with the same request over a network share one call, which is driven by whichever of them is
/// polled: none depends on another's task making progress, for instance after a `select!`. If the call fails or panics,
/// each of them gets the error once. If a data key's limits have room for only some of them, the others immediately
/// share another call. With a local inner manager no caller waits for another.
///
/// A call belongs to the runtime in which it was started, as AWS KMS's timers and sockets belong to tokio's: it makes
/// no progress while that runtime is not driven. In a program with several runtimes, give each a manager of its own
/// over a partition of its own. If driving a shared call fails because there is no runtime, the caller who drove it
/// makes its own call, and the others try again.
///
/// The result for a message to decrypt is kept only once it has opened a header, and the callers of a shared call try
/// its data key on their own messages: a forged message costs a call, changes nothing in the cache and fails no other
/// reader. If a manager tries data keys on the header itself, as with PKCS #1 v1.5, its failures cannot be shared: the
/// waiting callers try again in rounds of one, one, two, four, eight concurrent calls. An id takes about one KiB at
/// most, however many data keys a header has.
///
/// A plaintext of unknown length bypasses the cache: give streams a bound
/// ([`Client::encryptor_up_to`](crate::Client::encryptor_up_to)), which counts against the limit of bytes. Suites
/// without key derivation are never cached.
///
/// Do not put a cache in front of a cache: the outer one would count many messages as one, and the inner one's limits
/// would not hold.
///
/// The price of caching: disabling a key or withdrawing a permission takes effect when entries expire
/// ([`CacheSettings::new`]), and data keys stay in memory until then.
///
/// ```
/// use std::time::Duration;
///
/// use manila::{Client, EncryptionContext};
/// use manila::cmm::{CacheSettings, CachingCmm, DefaultCmm};
/// use manila::keyring::RawAesKeyring;
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
/// assert_eq!((cmm.stats().misses(), cmm.stats().hits()), (1, 99));
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CachingCmm {
    partition: Arc<Partition>,
}

impl CachingCmm {
    /// Returns a manager with a cache of its own in front of `inner`.
    ///
    /// # Errors
    /// The same as [`DataKeyCache::new`].
    pub fn new<C: Cmm + 'static>(inner: C, settings: CacheSettings) -> Result<Self> {
        DataKeyCache::new(settings)?.partition("", Arc::new(inner))
    }

    /// Returns the counters of the cache, for all partitions together.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.cache().stats()
    }

    fn cache(&self) -> &Cache {
        &self.partition.cache
    }

    async fn encrypt(&self, request: &EncryptionRequest) -> Result<EncryptionMaterials> {
        let suite = request.checked_suite()?;
        let question = Question::Encryption(request);
        let answer = match request.max_plaintext_len {
            None => Box::pin(self.pass_by(Event::bypassed_unknown_length, question)).await,
            Some(bytes) if bytes > self.cache().settings.max_bytes => {
                Box::pin(self.pass_by(Event::bypassed_too_long, question)).await
            }
            Some(_) if !suite.has_kdf() => Box::pin(self.pass_by(Event::bypassed_identity_kdf, question)).await,
            Some(bytes) => self.answer(question, bytes).await,
        };
        match answer? {
            Answer::Encryption(materials) => Ok(materials),
            Answer::Decryption(_) => Err(mixed_up()),
        }
    }

    async fn decrypt(&self, request: &DecryptionRequest) -> Result<DecryptionMaterials> {
        let question = Question::Decryption(request);
        let answer = match request.suite().has_kdf() {
            true => self.answer(question, 0).await,
            false => Box::pin(self.pass_by(Event::bypassed_identity_kdf, question)).await,
        };
        match answer? {
            Answer::Decryption(materials) => Ok(materials),
            Answer::Encryption(_) => Err(mixed_up()),
        }
    }

    async fn pass_by(&self, why: Event, question: Question<'_>) -> Result<Answer> {
        self.cache().counters.count(why);
        self.ask(question).await
    }

    /// Answers a question from the cache, from a shared call, or from the inner manager. The latter are boxed, so that
    /// the future of a hit is small: it is moved.
    async fn answer(&self, question: Question<'_>, bytes: u64) -> Result<Answer> {
        let id = match self.look_up(question, bytes) {
            Looked::Hit(answer) => return Ok(answer),
            Looked::Renew(id, old) => {
                return Box::pin(async move { self.renew(&id, bytes, question, old).await }).await;
            }
            Looked::Nothing(id) => id,
        };
        match self.partition.inner.is_local() {
            true => Box::pin(self.ask_alone(&id, bytes, question)).await,
            false => Box::pin(self.ask_together(&id, bytes, question)).await,
        }
    }

    /// Looks for an entry.
    fn look_up(&self, question: Question<'_>, bytes: u64) -> Looked {
        let cache = self.cache();
        let mut id = EncodedId::new();
        question.encode(&mut id, self.partition.number, &cache.hasher);
        match cache.take(id.as_ref(), bytes) {
            Found::Hit(answer) => {
                cache.counters.count(Event::hits);
                Looked::Hit(answer)
            }
            Found::Renew(old) => Looked::Renew(id.to_id(), old),
            Found::Nothing => {
                cache.counters.count(Event::misses);
                Looked::Nothing(id.to_id())
            }
        }
    }

    /// Asks without sharing the call.
    async fn ask_alone(&self, id: &Id, bytes: u64, question: Question<'_>) -> Result<Answer> {
        let age = self.cache().age();
        let answer = self.ask(question).await?;
        if question.may_keep(&answer) {
            self.cache().put(id, answer.share(), age, question.uses(bytes));
        }
        Ok(answer)
    }

    /// Asks together with all callers who ask the same.
    async fn ask_together(&self, id: &Id, bytes: u64, question: Question<'_>) -> Result<Answer> {
        let cache = self.cache();
        let (mut disturbed, mut round) = (false, Round::default());
        loop {
            let joined = cache.join(id, bytes, question.uses(bytes), round, || self.partition.call(question));
            let mut waiter = match joined {
                // Another call completed since the cache was looked at.
                Joined::Hit(answer) => return Ok(answer),
                Joined::Renew(old) => return self.renew(id, bytes, question, old).await,
                Joined::Waiting(flight, number) => Waiter::new(cache, flight, number, bytes),
            };
            let outcome = match poll_fn(|context| waiter.poll(context)).await {
                Turn::Answer(answer) if self.is_answer(&waiter, question, &answer) => Ok(answer),
                Turn::Failure(error) => Err(error),
                Turn::LookAgain if round.next().is_some() => {
                    round = round.next().unwrap_or_default();
                    continue;
                }
                Turn::Disturbed if !disturbed => {
                    disturbed = true;
                    continue;
                }
                Turn::Answer(_) | Turn::AskAlone | Turn::LookAgain | Turn::Disturbed => {
                    drop(waiter);
                    return self.ask_alone(id, bytes, question).await;
                }
            };
            if !waiter.leads() {
                cache.counters.count(Event::coalesced);
            }
            return outcome;
        }
    }

    /// Returns whether the answer of a shared call answers this question: each caller must find out whether it opens
    /// their message, since the leader's message may be forged, or their own.
    fn is_answer(&self, waiter: &Waiter<'_>, question: Question<'_>, answer: &Answer) -> bool {
        match question {
            // Kept when the call completed.
            Question::Encryption(_) => true,
            Question::Decryption(_) if question.may_keep(answer) => {
                self.cache().keep(waiter.flight());
                true
            }
            Question::Decryption(_) => waiter.would_get_the_same(),
        }
    }

    /// Renews an entry before it expires. If that fails, or the caller goes away, the old one is used until it expires.
    async fn renew(&self, id: &Id, bytes: u64, question: Question<'_>, mut old: Old) -> Result<Answer> {
        let cache = self.cache();
        let renewal = Renewal { cache, id, generation: old.generation, done: false };
        let age = cache.age();
        match self.ask(question).await {
            Ok(answer) if question.may_replace(&old.answer, &answer) => {
                renewal.done();
                cache.counters.count(Event::renewed);
                cache.put(id, answer.share(), age, question.uses(bytes));
                Ok(answer)
            }
            Ok(answer) => {
                cache.counters.count(Event::renewals_failed);
                Ok(answer)
            }
            Err(error) => {
                cache.counters.count(Event::renewals_failed);
                // The call may have taken long to fail.
                if old.age.is_over(&cache.settings) { Err(error) } else { Ok(old.answer) }
            }
        }
    }

    /// Asks the inner manager. A local one must be ready at once.
    async fn ask(&self, question: Question<'_>) -> Result<Answer> {
        let mut asked = pin!(question.ask(&*self.partition.inner));
        match self.partition.inner.is_local() {
            true => poll_once(asked).unwrap_or_else(|| Err(self.partition.waits())),
            // A panic is an error here as well: a caller may ask alone because a shared call panicked while they drove
            // it.
            false => poll_fn(|context| poll_caught(asked.as_mut(), context, self.partition.inner_type)).await,
        }
    }
}

/// The result of looking for an entry.
enum Looked {
    Hit(Answer),
    Renew(Id, Old),
    Nothing(Id),
}

/// A renewal in progress; if it is dropped unfinished, the next one is put off.
struct Renewal<'a> {
    cache: &'a Cache,
    id: &'a Id,
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
    Error::new(ErrorKind::Internal, "the cache returned the answer to a different request: this is a bug in manila")
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

    fn has_data_keys_at_hand(&self) -> bool {
        true
    }
}
