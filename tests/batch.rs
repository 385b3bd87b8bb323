//! Batches: every message as if it had been encrypted or decrypted alone, in order, and none concerned with another.

use std::collections::HashSet;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use manila::cmm::{Cmm, DefaultCmm, RequiredContextCmm};
use manila::keyring::RawAesKeyring;
use manila::materials::{DecryptionMaterials, DecryptionRequest, EncryptionMaterials, EncryptionRequest, KeyFuture};
use manila::testing::{client_for, open_every_way, ready};
use manila::{
    AlgorithmSuite, Client, CommitmentPolicy, DecryptedRange, EncryptionContext, ErrorKind, ExpectedContext, ThreadPool,
};

fn keyring() -> RawAesKeyring {
    RawAesKeyring::new("tests", "k", &[1; 32]).unwrap()
}

fn row(number: usize) -> EncryptionContext {
    EncryptionContext::new([("row", number.to_string())]).unwrap()
}

/// Plaintexts of many lengths, around those of frames too, each with its context.
fn rows(count: usize) -> Vec<(Vec<u8>, EncryptionContext)> {
    const LENGTHS: [usize; 9] = [0, 1, 15, 100, 4095, 4096, 4097, 8192, 10_000];
    let plaintext = |n: usize| (0..LENGTHS[n % LENGTHS.len()]).map(|at| (at * 7 + n).to_le_bytes()[0]).collect();
    (0..count).map(|n| (plaintext(n), row(n))).collect()
}

/// Several groups of keys that are derived together, and a part of one.
const MANY: usize = 333;

#[test]
fn what_is_encrypted_in_a_batch_is_decrypted_alone_and_the_other_way_round() {
    for suite in AlgorithmSuite::ALL {
        let client = client_for(suite, keyring()).unwrap();
        let rows = rows(if suite.is_signed() { 20 } else { MANY });
        let together = client.encrypt_batch(&rows).unwrap();
        assert_eq!(together.len(), rows.len());
        let mut ids = HashSet::new();
        for (message, (plaintext, context)) in together.iter().zip(&rows) {
            let decrypted = client.decrypt(message.as_ref().unwrap(), ExpectedContext::exactly(context)).unwrap();
            assert_eq!(&decrypted.plaintext, plaintext);
            assert_eq!(decrypted.header.suite(), suite);
            assert!(ids.insert(decrypted.header.message_id().to_vec()));
        }
        let alone: Vec<_> =
            rows.iter().map(|(plaintext, context)| client.encrypt(plaintext, context).unwrap()).collect();
        let expected: Vec<_> = alone.iter().zip(&rows).map(|(message, (_, context))| (message, context)).collect();
        let decrypted = client.decrypt_batch_expecting(&expected).unwrap();
        assert_eq!(decrypted.len(), rows.len());
        for (decrypted, (plaintext, _)) in decrypted.iter().zip(&rows) {
            assert_eq!(&decrypted.as_ref().unwrap().plaintext, plaintext);
        }
    }
}

#[test]
fn one_buffer_holds_the_messages_and_the_plaintexts_one_after_the_other() {
    for threads in [1, 3] {
        let client = Client::builder(keyring()).suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).threads(threads);
        let client = client.build().unwrap();
        let rows = rows(MANY);
        let mut buffer = vec![7; 100];
        let ranges: Vec<_> =
            client.encrypt_batch_into(&rows, &mut buffer).unwrap().into_iter().map(Result::unwrap).collect();
        assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!((ranges[0].start, ranges[MANY - 1].end), (0, buffer.len()));
        for (range, (plaintext, context)) in ranges.iter().zip(&rows) {
            assert_eq!(&client.decrypt(&buffer[range.clone()], context).unwrap().plaintext, plaintext);
        }

        let messages: Vec<_> = ranges.iter().map(|range| &buffer[range.clone()]).collect();
        let mut plaintexts = Vec::new();
        let decrypted = client.decrypt_batch_into(&messages, ExpectedContext::any(), &mut plaintexts).unwrap();
        assert!(plaintexts == rows.iter().flat_map(|(plaintext, _)| plaintext.clone()).collect::<Vec<_>>());
        for (decrypted, (plaintext, context)) in decrypted.iter().zip(&rows) {
            let DecryptedRange { range, header, .. } = decrypted.as_ref().unwrap();
            assert_eq!((&plaintexts[range.clone()], header.encryption_context()), (plaintext.as_slice(), context));
        }

        // Memory that is large enough is used again.
        let (memory, len) = (buffer.as_ptr(), buffer.len());
        client.encrypt_batch_into(&rows[..10], &mut buffer).unwrap();
        assert!(buffer.len() < len && buffer.as_ptr() == memory);
    }
}

#[test]
fn a_message_that_fails_fails_alone() {
    let client = Client::with_cmm(RequiredContextCmm::new(keyring(), ["row"]).unwrap());
    let mut rows = rows(20);
    rows[3].1 = EncryptionContext::empty();
    rows[19].1 = EncryptionContext::new([("other", "pair")]).unwrap();
    let sealed = client.encrypt_batch(&rows).unwrap();
    let mut buffer = Vec::new();
    let ranges = client.encrypt_batch_into(&rows, &mut buffer).unwrap();
    for (n, (message, range)) in sealed.iter().zip(ranges).enumerate() {
        match (message, range) {
            (Ok(message), Ok(range)) => {
                assert!(n != 3 && n != 19);
                assert_eq!(client.decrypt(message, &rows[n].1).unwrap().plaintext, rows[n].0);
                assert_eq!(client.decrypt(&buffer[range], &rows[n].1).unwrap().plaintext, rows[n].0);
            }
            (Err(one), Err(other)) => {
                assert!(n == 3 || n == 19);
                assert_eq!((one.kind(), other.kind()), (ErrorKind::ContextMismatch, ErrorKind::ContextMismatch));
            }
            _ => panic!("{n} failed in one way only"),
        }
    }
}

#[test]
fn every_damaged_message_of_a_batch_fails_as_it_does_alone_and_leaves_nothing() {
    let client = client_for(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, keyring()).unwrap();
    let secret = [0xa5_u8; 9000];
    let good = client.encrypt(&secret, &row(1)).unwrap();
    let mut messages = vec![good.clone(); 40];
    for (n, message) in messages.iter_mut().enumerate().filter(|(n, _)| n % 3 == 1) {
        // In the header, in the frames, at the end.
        let at = n * (message.len() - 1) / 39;
        message[at] ^= 1;
    }
    messages[0].truncate(good.len() - 1);
    messages[5].extend(b"more");
    messages[6].clear();
    let mut buffer = Vec::new();
    let together = client.decrypt_batch(&messages, &row(1)).unwrap();
    let into = client.decrypt_batch_into(&messages, &row(1), &mut buffer).unwrap();
    let mut opened = 0;
    for ((message, together), into) in messages.iter().zip(&together).zip(&into) {
        match (open_every_way(&client, message, &ExpectedContext::from(&row(1))), together, into) {
            (Ok(_), Ok(_), Ok(into)) => {
                assert_eq!(buffer[into.range.clone()], secret);
                opened += 1;
            }
            (Err(alone), Err(together), Err(into)) => {
                assert_eq!((alone.to_string(), alone.kind()), (together.to_string(), together.kind()));
                assert_eq!((alone.to_string(), alone.kind()), (into.to_string(), into.kind()));
            }
            _ => panic!("a message opens in one way and not in another"),
        }
    }
    assert_eq!((opened, buffer.len()), (24, 24 * secret.len()));
}

#[test]
fn a_batch_of_none_is_empty_and_one_of_one_is_a_message() {
    let client = Client::new(keyring());
    let none: [(&str, EncryptionContext); 0] = [];
    let mut buffer = vec![1, 2, 3];
    assert!(client.encrypt_batch(&none).unwrap().is_empty());
    assert!(client.encrypt_batch_into(&none, &mut buffer).unwrap().is_empty());
    assert!(buffer.is_empty());
    assert!(client.decrypt_batch::<Vec<u8>>(&[], ExpectedContext::any()).unwrap().is_empty());
    let range = client.encrypt_batch_into(&[("x", row(1))], &mut buffer).unwrap().remove(0).unwrap();
    assert_eq!(range, 0..buffer.len());
    let decrypted = client.decrypt_batch_into(&[buffer], &row(1), &mut Vec::new()).unwrap().remove(0).unwrap();
    assert_eq!(decrypted.range, 0..1);
    let sealed = client.encrypt_batch(&[("x", row(1))]).unwrap().remove(0).unwrap();
    assert_eq!(client.decrypt_batch(&[sealed], &row(1)).unwrap().remove(0).unwrap().plaintext, b"x");
}

#[test]
fn policies_hold_for_each_message() {
    let old = client_for(AlgorithmSuite::Aes256GcmHkdfSha384EcdsaP384, keyring()).unwrap();
    let reads_new = Client::builder(keyring()).commitment_policy(CommitmentPolicy::RequireEncryptRequireDecrypt);
    let reads_new = reads_new.build().unwrap();
    let messages = [reads_new.encrypt(b"x", &row(1)).unwrap(), old.encrypt(b"x", &row(1)).unwrap()];
    let decrypted = reads_new.decrypt_batch(&messages, &row(1)).unwrap();
    assert!(decrypted[0].is_ok());
    assert_eq!(decrypted[1].as_ref().unwrap_err().kind(), ErrorKind::PolicyViolation);
    let other_row = reads_new.decrypt_batch(&messages[..1], &row(2)).unwrap();
    assert_eq!(other_row[0].as_ref().unwrap_err().kind(), ErrorKind::ContextMismatch);
}

/// A pool of two threads that fails if it is asked from within its own work.
#[derive(Default)]
struct NotFromWithin {
    lock: Mutex<()>,
    runs: Arc<AtomicUsize>,
}

impl ThreadPool for NotFromWithin {
    fn run(&self, calls: usize, work: &(dyn Fn() + Sync)) {
        let _lock = self.lock.try_lock().expect("the pool is asked from within its own work");
        self.runs.fetch_add(1, Ordering::SeqCst);
        std::thread::scope(|scope| (0..calls).for_each(|_| drop(scope.spawn(work))));
    }
}

#[test]
fn a_pool_is_not_asked_from_within_its_own_work() {
    let large = vec![7; 3 << 20];
    for suite in [AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384] {
        for count in [1, 2, 5] {
            let pool = NotFromWithin::default();
            let runs = pool.runs.clone();
            let client = Client::builder(keyring()).suite(suite).frame_length(65_536).threads(2).thread_pool(pool);
            let client = client.build().unwrap();
            let mut messages = vec![(&large[..], row(1)); count];
            messages[0].0 = if count == 1 { &large } else { b"small" };
            let sealed: Vec<_> = client.encrypt_batch(&messages).unwrap().into_iter().map(Result::unwrap).collect();
            for (opened, (plaintext, _)) in client.decrypt_batch(&sealed, &row(1)).unwrap().iter().zip(&messages) {
                assert!(opened.as_ref().unwrap().plaintext == *plaintext);
            }
            assert!(runs.load(Ordering::SeqCst) >= 2, "both used the pool");
        }
    }
}

#[test]
fn messages_that_fail_among_many_on_several_threads_leave_the_others_in_order() {
    let client = Client::builder(keyring()).suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).threads(3);
    let client = client.build().unwrap();
    let rows = rows(1000);
    let mut sealed: Vec<_> = client.encrypt_batch(&rows).unwrap().into_iter().map(Result::unwrap).collect();
    for message in sealed.iter_mut().step_by(7) {
        *message.last_mut().unwrap() ^= 1;
    }
    let mut buffer = Vec::new();
    let opened = client.decrypt_batch_into(&sealed, ExpectedContext::any(), &mut buffer).unwrap();
    let apart = client.decrypt_batch(&sealed, ExpectedContext::any()).unwrap();
    for (n, ((opened, apart), (plaintext, context))) in opened.iter().zip(&apart).zip(&rows).enumerate() {
        match (opened, apart) {
            (Ok(opened), Ok(apart)) => {
                assert!(n % 7 != 0 && apart.plaintext == *plaintext && buffer[opened.range.clone()] == plaintext[..]);
                assert_eq!(opened.header.encryption_context(), context);
            }
            (Err(_), Err(_)) => assert_eq!(n % 7, 0),
            _ => panic!("{n} opened in one way only"),
        }
    }
}

/// A manager over a network that is slow: each call is pending three times.
#[derive(Clone, Debug, Default)]
struct Remote(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    calls: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Remote {
    async fn call(&self) {
        let counts = &*self.0;
        counts.calls.fetch_add(1, Ordering::SeqCst);
        counts.most_at_once.fetch_max(counts.at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        for _ in 0..3 {
            let mut is_polled = false;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut is_polled, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        counts.at_once.fetch_sub(1, Ordering::SeqCst);
    }

    fn counts(&self) -> [usize; 2] {
        [&self.0.calls, &self.0.most_at_once].map(|count| count.load(Ordering::SeqCst))
    }
}

impl Cmm for Remote {
    fn encryption_materials<'a>(&'a self, request: &'a EncryptionRequest) -> KeyFuture<'a, EncryptionMaterials> {
        Box::pin(async {
            self.call().await;
            DefaultCmm::new(keyring()).encryption_materials(request).await
        })
    }

    fn decryption_materials<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, DecryptionMaterials> {
        Box::pin(async {
            self.call().await;
            DefaultCmm::new(keyring()).decryption_materials(request).await
        })
    }
}

fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

#[test]
fn keys_over_a_network_are_asked_for_twenty_at_once() {
    let remote = Remote::default();
    let client = Client::with_cmm(remote.clone());
    let rows = rows(50);
    assert_eq!(client.encrypt_batch(&rows).unwrap_err().kind(), ErrorKind::NeedsAsync);
    assert_eq!(remote.counts(), [0, 0]);
    let sealed: Vec<_> = finish(client.encrypt_batch_async(&rows)).unwrap().into_iter().map(Result::unwrap).collect();
    assert_eq!(remote.counts(), [50, 20]);
    let expected: Vec<_> = sealed.iter().zip(&rows).map(|(message, (_, context))| (message, context)).collect();
    let opened = finish(client.decrypt_batch_expecting_async(&expected)).unwrap();
    assert_eq!(remote.counts(), [100, 20]);
    for (opened, (plaintext, _)) in opened.iter().zip(&rows) {
        assert_eq!(&opened.as_ref().unwrap().plaintext, plaintext);
    }
    assert_eq!(client.decrypt_batch(&sealed, &row(1)).unwrap_err().kind(), ErrorKind::NeedsAsync);
}

#[test]
fn a_batch_that_is_given_up_leaves_its_buffer_empty() {
    let client = Client::with_cmm(Remote::default());
    let (rows, mut buffer) = (rows(5), vec![7; 1000]);
    let mut future = Box::pin(client.encrypt_batch_into_async(&rows, &mut buffer));
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(future);
    assert!(buffer.is_empty());
    let sealed = ready(Client::new(keyring()).encrypt_async(b"x", &row(1))).unwrap();
    let mut buffer = vec![7; 1000];
    drop(client.decrypt_batch_into_async(&[sealed], &row(1), &mut buffer));
    assert!(buffer.is_empty());
}

#[cfg(feature = "cache")]
#[test]
fn a_cached_data_key_serves_a_batch_within_its_limits() {
    use std::time::Duration;

    use manila::cmm::{CacheSettings, CachingCmm};

    for (limit, misses) in [(1000, 2), (30, 8), (1, 200)] {
        let settings = CacheSettings::new(10, Duration::from_secs(600)).max_messages(limit);
        let cache = CachingCmm::new(DefaultCmm::new(keyring()), settings).unwrap();
        let client = Client::builder_with_cmm(cache.clone());
        let client = client.suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).build().unwrap();
        // Two contexts, in turn.
        let messages: Vec<_> = (0..200).map(|n| ("plaintext", row(n % 2))).collect();
        let sealed: Vec<_> = client.encrypt_batch(&messages).unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!((cache.stats().misses(), cache.stats().hits()), (misses, 200 - misses), "{limit}");
        let ids: HashSet<_> =
            sealed.iter().map(|message| client.read_header(&message[..]).unwrap().message_id().to_vec()).collect();
        assert_eq!(ids.len(), 200);
        let opened = client.decrypt_batch(&sealed, ExpectedContext::any()).unwrap();
        assert!(opened.iter().all(|opened| opened.as_ref().unwrap().plaintext == b"plaintext"));
    }
}
