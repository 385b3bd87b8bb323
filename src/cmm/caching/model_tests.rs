//! A model of the cache's concurrency: shuttle runs threads in many orders of its choice, and finds those that block.
//!
//! `ci/model` builds the crate with it.
//!
//! The model covers the shards' locks, the counts of entries and uses, and flights with all their waiting, driving and
//! waking: threads switch at each of them, and at each call to the inner manager. There are callers that are dropped,
//! callers that stay alive and are never polled again, and readers of forged messages, any of which may lead. It does
//! not cover the counters of the statistics or weak memory: shuttle's atomics are sequentially consistent, and the
//! cache's atomics do not guard other memory.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use manila_core::internal::crypto::RandomBytes;
use manila_core::{EncryptionContext, Error, ErrorKind, KeyFuture, Result};
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::thread::spawn;
use shuttle::{Config, Runner};

use crate::cmm::Cmm;
use crate::cmm::caching::cache::Cache;
use crate::cmm::caching::for_tests::{Hand, request};
use crate::cmm::caching::{CacheSettings, CachingCmm};
use crate::encrypt::{Encryptor, NewMessage, NewMessageId};
use crate::expected_context::ExpectedContext;
use crate::materials::EncryptionRequest;
use crate::materials::{DataKey, DecryptionMaterials, DecryptionRequest, EncryptionMaterials, WrappedKeys};
use crate::message::header::{EncryptedDataKey, UnverifiedHeader};
use crate::policy::CommitmentPolicy;
use crate::settings::Settings;
use crate::suite::AlgorithmSuite;

const RUNS: usize = 20_000;

/// Runs a model in many orders: some chosen at random, others so as to reach rare ones.
fn explore(model: impl Fn() + Copy + Send + Sync + 'static) {
    let config = || {
        let mut config = Config::new();
        config.stack_size = 1 << 18;
        config
    };
    Runner::new(RandomScheduler::new_from_seed(1, RUNS), config()).run(model);
    Runner::new(PctScheduler::new_from_seed(1, 3, RUNS), config()).run(model);
}

/// An inner manager whose data keys hold the number of the call that made them.
#[derive(Debug)]
struct Model {
    local: bool,
    calls: AtomicU64,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    /// The numbers of the calls that fail.
    fails: Range<u64>,
    fails_with: ErrorKind,
    /// True if it tries the data key on the header of the message.
    tries_headers: bool,
}

impl Model {
    fn new(local: bool) -> Self {
        Self {
            local,
            calls: AtomicU64::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            fails: 0..0,
            fails_with: ErrorKind::Unavailable,
            tries_headers: false,
        }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn call(&self) -> Result<u64> {
        struct Leave<'a>(&'a Model);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.at_once.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        let _leave = Leave(self);
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        match self.local {
            true => shuttle::thread::yield_now(),
            false => later().await,
        }
        if self.fails.contains(&call) {
            return Err(Error::new(self.fails_with, call.to_string()));
        }
        Ok(call)
    }

    async fn encrypt(&self, request: &EncryptionRequest) -> Result<EncryptionMaterials> {
        let call = self.call().await?;
        let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
        let mut key = [0; 32];
        key[..8].copy_from_slice(&call.to_be_bytes());
        EncryptionMaterials::new(suite, &request.encryption_context)?.with_data_key(DataKey::new(&key))
    }

    async fn decrypt(&self, request: &DecryptionRequest) -> Result<DecryptionMaterials> {
        self.call().await?;
        let data_key = DataKey::new(&OF_MESSAGES);
        match self.tries_headers && !request.is_opened_by(&data_key) {
            true => Err(Error::new(ErrorKind::NoUsableDataKey, "no data key opens this header")),
            false => Ok(DecryptionMaterials { data_key }),
        }
    }
}

/// The data key of all messages that are read.
const OF_MESSAGES: [u8; 32] = [7; 32];

/// A valid message and a forged one, with the same id.
static MESSAGES: LazyLock<[DecryptionRequest; 2]> = LazyLock::new(|| {
    let context = EncryptionContext::empty();
    let mut materials = EncryptionMaterials::new(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, &context).unwrap();
    let key = EncryptedDataKey { provider_id: "p".into(), provider_info: vec![1], ciphertext: vec![2] };
    let wrapped = WrappedKeys { data_key: Some(DataKey::new(&OF_MESSAGES)), encrypted_data_keys: vec![key] };
    materials.add(wrapped).unwrap();
    let mut message = Vec::new();
    let id = NewMessageId::take(&RandomBytes::none()).unwrap();
    let settings = Settings::default();
    let new = NewMessage::new(materials, id, Some(0), &settings).unwrap();
    Encryptor::new(new, &settings).unwrap().encrypt_all(&[], &mut message).unwrap();
    let request = |message: &[u8]| {
        let header = UnverifiedHeader::parse(message).unwrap();
        DecryptionRequest::new(header, ExpectedContext::any().stated().unwrap(), CommitmentPolicy::default()).unwrap()
    };
    let good = request(&message);
    let tag_end = UnverifiedHeader::parse(&message).unwrap().len();
    message[tag_end - 1] ^= 1;
    [good, request(&message)]
});

/// Is pending once.
async fn later() {
    let mut polled = false;
    poll_fn(|context| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Cmm for Model {
    fn encryption_materials<'a>(&'a self, request: &'a EncryptionRequest) -> KeyFuture<'a, EncryptionMaterials> {
        Box::pin(self.encrypt(request))
    }

    fn decryption_materials<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, DecryptionMaterials> {
        Box::pin(self.decrypt(request))
    }

    fn is_local(&self) -> bool {
        self.local
    }
}

/// A cache over a model, and how often each data key was used.
#[derive(Clone)]
struct Scene {
    inner: Arc<Model>,
    cmm: CachingCmm,
    clock: Hand,
    used: Arc<StdMutex<BTreeMap<Vec<u8>, u64>>>,
}

impl Scene {
    fn new(inner: Model, capacity: usize, change: impl FnOnce(CacheSettings) -> CacheSettings) -> Self {
        let (inner, clock) = (Arc::new(inner), Hand::default());
        let settings = change(CacheSettings::new(capacity, Duration::from_secs(100)).clock(clock.clone()));
        let cmm = CachingCmm::new(inner.clone(), settings).unwrap();
        Self { inner, cmm, clock, used: Arc::default() }
    }

    fn cache(&self) -> &Cache {
        self.cmm.cache()
    }

    async fn ask(&self, name: &str) -> Result<Vec<u8>> {
        let request = request(name, 1);
        let materials = self.cmm.encryption_materials(&request).await?;
        let key = materials.data_key().unwrap().expose_secret().to_vec();
        *self.used.lock().unwrap().entry(key.clone()).or_insert(0) += 1;
        Ok(key)
    }

    /// Reads a message, and returns true if it opens.
    async fn read(&self, good: bool) -> bool {
        let [good_one, forged] = &*MESSAGES;
        let request = if good { good_one } else { forged };
        let materials = self.cmm.decryption_materials(request).await;
        materials.is_ok_and(|materials| request.is_opened_by(&materials.data_key))
    }

    /// Starts a thread with a caller that is polled once, then stays alive but is not polled again until all is done.
    fn sleeper<T: 'static>(
        &self,
        done: &Arc<AtomicBool>,
        ask: impl AsyncFnOnce(&Self) -> T + Send + 'static,
    ) -> shuttle::thread::JoinHandle<()> {
        let (scene, done) = (self.clone(), done.clone());
        spawn(move || {
            let mut future = Box::pin(ask(&scene));
            let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            while !done.load(Ordering::SeqCst) {
                shuttle::thread::yield_now();
            }
        })
    }

    /// Runs threads that each ask for their names in turn, and returns what each got.
    fn run(&self, threads: &[&'static [&'static str]]) -> Vec<Vec<Result<Vec<u8>>>> {
        let ask = |names: &'static [&'static str]| {
            let scene = self.clone();
            spawn(move || names.iter().map(|name| block_on(scene.ask(name))).collect())
        };
        let threads: Vec<_> = threads.iter().map(|names| ask(names)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }

    /// Checks at the end of everything that what is counted is there, and nobody is waited for.
    fn check(&self) {
        let (entries, flights) = self.cache().held();
        assert_eq!(entries, self.cache().len());
        assert_eq!(flights, 0, "flights without callers");
        assert_eq!(self.cmm.stats().in_flight(), 0);
        assert!(entries <= self.cache().settings.capacity);
    }
}

#[test]
fn many_who_ask_for_the_same_make_one_call() {
    explore(|| {
        let scene = Scene::new(Model::new(false), 10, |settings| settings);
        let answers = scene.run(&[&["a", "b"], &["a"], &["b", "a"]]);
        assert!(answers.iter().flatten().all(Result::is_ok));
        assert_eq!(scene.inner.calls(), 2);
        assert_eq!(scene.cache().len(), 2);
        scene.check();
    });
}

#[test]
fn over_a_local_manager_each_asks_for_itself_and_one_answer_is_kept() {
    explore(|| {
        let scene = Scene::new(Model::new(true), 10, |settings| settings);
        let answers = scene.run(&[&["a", "a"], &["a"], &["a"]]);
        assert!(answers.iter().flatten().all(Result::is_ok));
        let stats = scene.cmm.stats();
        assert_eq!((stats.misses(), stats.coalesced(), stats.entries()), (scene.inner.calls(), 0, 1));
        scene.check();
    });
}

#[test]
fn a_data_key_is_used_up_exactly_over_a_network() {
    explore(|| {
        let scene = Scene::new(Model::new(false), 10, |settings| settings.max_messages(2));
        scene.run(&[&["a", "a"], &["a", "a"], &["a", "a"]]);
        assert_eq!(scene.used.lock().unwrap().values().copied().collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(scene.inner.calls(), 3);
        scene.check();
    });
}

#[test]
fn a_data_key_is_never_used_more_than_it_may_be() {
    explore(|| {
        for change in [CacheSettings::max_messages, CacheSettings::max_bytes] {
            let scene = Scene::new(Model::new(true), 10, |settings| change(settings, 2));
            scene.run(&[&["a", "a"], &["a", "a"], &["a"]]);
            assert!(scene.used.lock().unwrap().values().all(|used| *used <= 2));
            scene.check();
        }
    });
}

#[test]
fn entries_make_room_for_each_other_and_never_are_too_many() {
    explore(|| {
        for local in [false, true] {
            let scene = Scene::new(Model::new(local), 1, |settings| settings);
            let watcher = scene.clone();
            let watcher = spawn(move || {
                for _ in 0..3 {
                    // Counted before it is put there, and until it is gone.
                    assert!(watcher.cache().len() <= 1);
                }
            });
            let answers = scene.run(&[&["a", "b"], &["b", "c"], &["a"]]);
            watcher.join().unwrap();
            assert!(answers.iter().flatten().all(Result::is_ok));
            assert_eq!(scene.cache().len(), 1);
            scene.check();
        }
    });
}

#[test]
fn one_renews_and_nobody_waits_for_it() {
    explore(|| {
        for local in [false, true] {
            let grace = |settings: CacheSettings| settings.renew_before(Duration::from_secs(10)).max_messages(3);
            let scene = Scene::new(Model::new(local), 10, grace);
            block_on(scene.ask("a")).unwrap();
            scene.clock.0.store(90, Ordering::SeqCst);
            let answers = scene.run(&[&["a"], &["a"]]);
            assert!(answers.iter().flatten().all(Result::is_ok));
            let stats = scene.cmm.stats();
            assert_eq!((scene.inner.calls(), stats.renewed(), stats.misses()), (2, 1, 1));
            assert!(scene.used.lock().unwrap().values().all(|used| *used <= 3));
            scene.check();
        }
    });
}

#[test]
fn renewals_and_exhaustion_at_once_change_nothing_about_limits() {
    explore(|| {
        for local in [false, true] {
            let grace = |settings: CacheSettings| settings.renew_before(Duration::from_secs(10)).max_messages(2);
            let scene = Scene::new(Model::new(local), 10, grace);
            block_on(scene.ask("a")).unwrap();
            scene.clock.0.store(90, Ordering::SeqCst);
            let answers = scene.run(&[&["a", "a"], &["a"], &["a"]]);
            assert!(answers.iter().flatten().all(Result::is_ok));
            assert!(scene.used.lock().unwrap().values().all(|used| *used <= 2));
            assert_eq!(scene.cache().len(), 1);
            scene.check();
        }
    });
}

#[test]
fn a_renewal_that_fails_leaves_the_old_entry_to_all_and_is_tried_once() {
    explore(|| {
        for local in [false, true] {
            let grace = |settings: CacheSettings| settings.renew_before(Duration::from_secs(10));
            let scene = Scene::new(Model { fails: 1..10, ..Model::new(local) }, 10, grace);
            let old = block_on(scene.ask("a")).unwrap();
            scene.clock.0.store(90, Ordering::SeqCst);
            let answers = scene.run(&[&["a"], &["a", "a"]]);
            assert!(answers.iter().flatten().all(|answer| answer.as_ref().is_ok_and(|key| *key == old)));
            assert_eq!((scene.inner.calls(), scene.cmm.stats().renewals_failed()), (2, 1));
            scene.check();
        }
    });
}

#[test]
fn a_renewal_whose_caller_goes_away_is_put_off() {
    explore(|| {
        let grace = |settings: CacheSettings| settings.renew_before(Duration::from_secs(10));
        let scene = Scene::new(Model::new(false), 10, grace);
        block_on(scene.ask("a")).unwrap();
        scene.clock.0.store(90, Ordering::SeqCst);
        let cancelled = scene.clone();
        let cancelled = spawn(move || {
            let future = pin!(cancelled.ask("a"));
            let _ = future.poll(&mut Context::from_waker(Waker::noop()));
        });
        let answers = scene.run(&[&["a"], &["a"]]);
        cancelled.join().unwrap();
        assert!(answers.iter().flatten().all(Result::is_ok));
        // The first caller is the only one, whether it completed or not.
        assert_eq!((scene.inner.calls(), scene.inner.most_at_once.load(Ordering::SeqCst)), (2, 1));
        scene.clock.0.store(95, Ordering::SeqCst);
        block_on(scene.ask("a")).unwrap();
        assert_eq!(scene.cmm.stats().renewed(), 1);
        scene.check();
    });
}

#[test]
fn when_leaders_go_away_another_takes_over_and_nobody_waits_for_ever() {
    explore(|| {
        let scene = Scene::new(Model::new(false), 10, |settings| settings);
        let leaders: Vec<_> = (0..2)
            .map(|_| {
                let scene = scene.clone();
                spawn(move || {
                    // Polled once and dropped: it may lead, follow, or find the answer.
                    let future = pin!(scene.ask("a"));
                    let _ = future.poll(&mut Context::from_waker(Waker::noop()));
                })
            })
            .collect();
        let answers = scene.run(&[&["a"], &["a"]]);
        leaders.into_iter().for_each(|leader| leader.join().unwrap());
        assert!(answers.iter().flatten().all(Result::is_ok));
        assert!((1..=3).contains(&scene.inner.calls()), "one, and one for each caller that was dropped");
        assert_eq!(scene.inner.most_at_once.load(Ordering::SeqCst), 1);
        assert_eq!(answers.iter().flatten().flatten().collect::<BTreeSet<_>>().len(), 1);
        scene.check();
    });
}

#[test]
fn callers_who_are_never_polled_again_hold_up_nobody_whether_they_lead_or_wait() {
    explore(|| {
        let scene = Scene::new(Model::new(false), 10, |settings| settings);
        let done = Arc::new(AtomicBool::new(false));
        let sleepers = [0, 1].map(|_| scene.sleeper(&done, async |scene: &Scene| scene.ask("a").await));
        let answers = scene.run(&[&["a"], &["a"]]);
        done.store(true, Ordering::SeqCst);
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
        assert!(answers.iter().flatten().all(Result::is_ok));
        assert_eq!(scene.inner.calls(), 1);
        scene.check();
    });
}

#[test]
fn good_readers_open_and_keep_whatever_forged_ones_do() {
    MESSAGES.iter().for_each(|message| drop(message.clone()));
    explore(|| {
        for tries_headers in [false, true] {
            let scene = Scene::new(Model { tries_headers, ..Model::new(false) }, 10, |settings| settings);
            let done = Arc::new(AtomicBool::new(false));
            let sleeper = scene.sleeper(&done, async |scene: &Scene| scene.read(false).await);
            let readers = [false, true, true].map(|good| {
                let scene = scene.clone();
                (good, spawn(move || block_on(scene.read(good))))
            });
            for (good, reader) in readers {
                assert_eq!(reader.join().unwrap(), good);
            }
            done.store(true, Ordering::SeqCst);
            sleeper.join().unwrap();
            // One call for all valid messages, and at most one for each forged one; if headers are tried, two may be
            // made at once after the second failure.
            assert!(scene.inner.calls() <= 3 + u64::from(tries_headers));
            // A caller whose own header was tried may call at the same time as the others.
            assert!(tries_headers || scene.inner.most_at_once.load(Ordering::SeqCst) == 1);
            assert_eq!(
                (scene.cache().len(), block_on(scene.read(true)), scene.cmm.stats().hits() > 0),
                (1, true, true)
            );
            scene.check();
        }
    });
}

#[test]
fn forged_readers_alone_leave_nothing() {
    explore(|| {
        let scene = Scene::new(Model::new(false), 10, |settings| settings);
        let readers = [0, 1].map(|_| {
            let scene = scene.clone();
            spawn(move || block_on(scene.read(false)))
        });
        assert!(!readers.into_iter().any(|reader| reader.join().unwrap()));
        assert_eq!(scene.cache().len(), 0);
        scene.check();
    });
}

#[test]
fn a_failure_that_may_be_its_drivers_own_leaves_nobody_waiting() {
    explore(|| {
        let fails_with = ErrorKind::InvalidInput;
        let scene = Scene::new(Model { fails: 0..1, fails_with, ..Model::new(false) }, 10, |settings| settings);
        let answers = scene.run(&[&["a"], &["a"], &["a"]]);
        // Either all callers get the failure, or the one that drove the call calls for itself and the others call again
        // together.
        let calls = scene.inner.calls();
        assert!((1..=3).contains(&calls));
        assert!(calls > 1 || answers.iter().flatten().all(Result::is_err));
        scene.check();
    });
}

#[test]
fn an_error_reaches_all_who_waited_and_nobody_who_came_later() {
    explore(|| {
        let scene = Scene::new(Model { fails: 0..1, ..Model::new(false) }, 10, |settings| settings);
        let answers = scene.run(&[&["a", "a"], &["a", "a"], &["a"]]);
        for answers in &answers {
            let errors = answers.iter().filter(|answer| answer.is_err()).count();
            assert!(errors <= 1, "nobody gets it twice");
        }
        assert!(answers.iter().flatten().any(Result::is_err));
        assert_eq!(scene.inner.calls(), 2);
        scene.check();
    });
}

#[test]
fn clearing_at_any_moment_leaves_the_books_in_order() {
    explore(|| {
        for local in [false, true] {
            let scene = Scene::new(Model::new(local), 2, |settings| settings);
            let clears = scene.clone();
            let clears = spawn(move || (0..2).for_each(|_| clears.cache().clear()));
            let answers = scene.run(&[&["a", "b"], &["b", "c"]]);
            clears.join().unwrap();
            assert!(answers.iter().flatten().all(Result::is_ok));
            scene.check();
        }
    });
}
