//! Ranges of one message: how many calls to a KMS they cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use manila::cmm::{CacheSettings, CachingCmm, DefaultCmm};
use manila::keyring::KmsKeyring;
use manila::kms::{GeneratedDataKey, KeyFuture, Kms, KmsCiphertext, KmsPlaintext, KmsRequest};
use manila::local_kms::{CreateKey, LocalKms};
use manila::{Client, ErrorKind, UnverifiedHeader};

use crate::{SUITE, context};

/// A KMS that counts the calls to decrypt.
#[derive(Clone, Debug)]
struct Counting(LocalKms, Arc<AtomicU64>);

impl Kms for Counting {
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
        self.0.generate_data_key(request, length)
    }

    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        Kms::encrypt(&self.0, request, plaintext)
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Kms::decrypt(&self.0, request, ciphertext)
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// Makes keyrings of one key, and tells the number of calls to its KMS since the last time.
fn keyrings() -> (impl Fn() -> KmsKeyring<Counting>, impl Fn() -> u64) {
    let (kms, calls) = (LocalKms::in_memory().unwrap(), Arc::new(AtomicU64::new(0)));
    let key = kms.create_key(CreateKey::default()).unwrap();
    let counting = Counting(kms, calls.clone());
    let keyring = move || KmsKeyring::new(counting.clone(), key.arn()).unwrap();
    (keyring, move || calls.swap(0, Ordering::Relaxed))
}

/// Opens a message and reads ranges of it, in each way that there is.
fn read_by_ranges(client: &Client, message: &[u8]) {
    let expected = context(&[("tenant", "acme")]);
    let mut buf = [0; 10];
    let file = client.open_seekable(message, &expected).unwrap();
    for offset in (0..100_000).step_by(10_000) {
        assert_eq!(file.read_at(offset, &mut buf).unwrap(), 10);
    }
    #[cfg(feature = "tokio")]
    manila::testing::ready(async {
        let file = client.open_seekable_async(message, &expected).await?;
        for offset in (0..100_000).step_by(10_000) {
            assert_eq!(file.read_at_async(offset, &mut buf).await?, 10);
        }
        file.read_ranges_async(&[0..5, 70_000..80_000]).await
    })
    .unwrap();
}

/// The number of times that it opens the message.
const OPENED: u64 = 1 + cfg!(feature = "tokio") as u64;

#[test]
fn a_message_that_is_open_costs_one_call_however_many_ranges_are_read() {
    let (keyring, calls) = keyrings();
    let client = Client::builder(keyring()).suite(SUITE).build().unwrap();
    let message = client.encrypt(&vec![7; 100_000], &context(&[("tenant", "acme")])).unwrap();
    for _ in 0..3 {
        read_by_ranges(&client, &message);
        assert_eq!(calls(), OPENED);
    }
    // For those who fetch frames themselves too.
    let decryptor =
        client.decryptor(UnverifiedHeader::parse(&message).unwrap(), &context(&[("tenant", "acme")])).unwrap();
    let end = usize::try_from(decryptor.end_range(message.len() as u64).unwrap().start).unwrap();
    let ranges = decryptor.range_decryptor(message.len() as u64, &message[end..]).unwrap();
    for number in 1..=ranges.frame_map().frames() {
        let frame = ranges.frame_map().frame_ciphertext(number).unwrap();
        let [start, end] = [frame.start, frame.end].map(|at| usize::try_from(at).unwrap());
        ranges.open_frames(number, &message[start..end]).unwrap();
    }
    assert_eq!(calls(), 1);
}

#[test]
fn a_message_that_is_opened_again_costs_no_call_with_a_cache() {
    let (keyring, calls) = keyrings();
    let writer = Client::builder(keyring()).suite(SUITE).build().unwrap();
    let message = writer.encrypt(&vec![7; 100_000], &context(&[("tenant", "acme")])).unwrap();
    let limits = CacheSettings::new(10, Duration::from_secs(3600));
    let cmm = CachingCmm::new(DefaultCmm::new(keyring()), limits).unwrap();
    let client = Client::builder_with_cmm(cmm.clone()).suite(SUITE).build().unwrap();
    read_by_ranges(&client, &message);
    assert_eq!(calls(), 1);
    for _ in 0..100 {
        read_by_ranges(&client, &message);
    }
    assert_eq!(calls(), 0);
    assert_eq!((cmm.stats().misses(), cmm.stats().hits()), (1, 101 * OPENED - 1));
    // It opens nothing for a reader who expects another context.
    let error = client.open_seekable(message, &context(&[("tenant", "globex")])).unwrap_err();
    assert_eq!((error.kind(), calls()), (ErrorKind::ContextMismatch, 0));
}
