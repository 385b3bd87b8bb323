//! Asynchronous reads at any offset of an encrypted message.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use manila::testing::{FixedKeyKeyring, ready};
use manila::{AsyncReadAt, Client, EncryptionContext, Error, ErrorKind, SeekableMessage};

use crate::{SIGNED, SUITES, UNSIGNED, any, builder, client, none, parts, pattern};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Is pending once, as a response over a network is.
async fn wait() {
    let mut asked = false;
    poll_fn(|context| {
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// An object in a store, which notes each request.
struct Object {
    bytes: Bytes,
    requests: Mutex<Vec<Range<u64>>>,
    sizes: AtomicUsize,
}

impl Object {
    fn new(bytes: &[u8]) -> Self {
        Self { bytes: Bytes::copy_from_slice(bytes), requests: Mutex::default(), sizes: AtomicUsize::new(0) }
    }

    fn asked(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

impl AsyncReadAt for Object {
    async fn read_range(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.requests.lock().unwrap().push(range.clone());
        wait().await;
        self.bytes.read_range(range).await
    }

    async fn size(&self) -> io::Result<u64> {
        self.sizes.fetch_add(1, Ordering::Relaxed);
        wait().await;
        self.bytes.size().await
    }
}

async fn open(client: &Client, message: &[u8]) -> SeekableMessage<Object> {
    client.open_seekable_async(Object::new(message), any()).await.unwrap()
}

#[test]
fn every_range_reads_what_was_sealed() {
    run(async {
        for suite in SUITES {
            for (frame_length, len) in [(16, 0), (16, 1), (16, 16), (16, 50), (16, 64), (1, 20), (4096, 60)] {
                let client = client(suite, frame_length);
                let (plaintext, message) = (pattern(len), client.encrypt(&pattern(len), &none()).unwrap());
                let decryptor = client.decryptor(parts(&message).0, any()).unwrap();
                let file = decryptor.seekable_ignoring_signature_async(Object::new(&message)).await.unwrap();
                assert_eq!(file.plaintext_len(), len as u64);
                for start in 0..=len + 1 {
                    let expected = |end: usize| &plaintext[start.min(len)..end.min(len)];
                    let mut ranges = Vec::new();
                    for end in start..=len + 2 {
                        let mut buf = vec![0xee; end - start];
                        let count = file.read_at_async(start as u64, &mut buf).await.unwrap();
                        assert_eq!(&buf[..count], expected(end), "{suite} {frame_length} {len} {start}..{end}");
                        assert!(buf[count..].iter().all(|byte| *byte == 0xee), "no more than that was touched");
                        ranges.push(start as u64..end as u64);
                    }
                    let all = file.read_ranges_async(&ranges).await.unwrap();
                    assert_eq!(all.len(), ranges.len());
                    for (read, end) in all.iter().zip(start..) {
                        assert_eq!(read, expected(end));
                    }
                }
                assert_eq!(file.read_at_async(u64::MAX, &mut [0; 10]).await.unwrap(), 0);
            }
        }
    });
}

#[test]
fn only_the_frames_that_are_asked_for_are_fetched_and_at_once() {
    run(async {
        let client = client(UNSIGNED, 100);
        let message = client.encrypt(&pattern(100_000), &none()).unwrap();
        let file = open(&client, &message).await;
        let len = message.len() as u64;
        assert_eq!(file.get_ref().asked(), [0..16_384, len - 140..len], "the header and the final frame");
        assert_eq!(file.get_ref().sizes.load(Ordering::Relaxed), 1);
        let mut buf = vec![0; 50_000];
        assert_eq!(file.read_at_async(5095, &mut buf).await.unwrap(), 50_000);
        assert_eq!(buf, pattern(100_000)[5095..55_095]);
        assert_eq!(file.get_ref().asked(), [file.frame_map().ciphertext_of(5095..55_095)]);
        // Several ranges, of which one is empty and two share a frame.
        let ranges = [7..8, 20..20, 90_000..100_100, 30..31, 100_000..100_001];
        let plaintext = pattern(100_000);
        let expected = [&plaintext[7..8], b"", &plaintext[90_000..], &plaintext[30..31], b""];
        assert_eq!(file.read_ranges_async(&ranges).await.unwrap(), expected);
        let map = file.frame_map();
        assert_eq!(file.get_ref().asked(), [7..8, 90_000..100_000, 30..31].map(|range| map.ciphertext_of(range)));
        assert_eq!(file.read_ranges_async(&[]).await.unwrap(), Vec::<Vec<u8>>::new());
        #[expect(clippy::reversed_empty_ranges, reason = "callers may pass one")]
        let reversed = 8..7;
        assert_eq!(file.read_ranges_async(&[reversed]).await.unwrap(), [b""]);
        assert_eq!(file.get_ref().asked(), []);
    });
}

#[test]
fn a_long_read_is_one_of_many_megabytes_after_the_other() {
    let plaintext = pattern(20 << 20);
    let client = client(UNSIGNED, 65_536);
    let message = client.encrypt(&plaintext, &none()).unwrap();
    run(async {
        let file = open(&client, &message).await;
        file.get_ref().asked();
        let mut buf = vec![0; 20 << 20];
        assert_eq!(file.read_at_async(0, &mut buf).await.unwrap(), 20 << 20);
        assert!(buf == plaintext);
        let asked = file.get_ref().asked();
        assert!(asked.len() == 3 && asked.iter().all(|range| range.end - range.start <= 8 << 20), "{asked:?}");
    });
}

#[test]
fn a_long_header_takes_more_reads_and_is_bounded() {
    run(async {
        let context = EncryptionContext::new((0..40).map(|n| (format!("key {n}"), "v".repeat(1500)))).unwrap();
        let long = client(UNSIGNED, 16);
        let message = long.encrypt(&pattern(100), &context).unwrap();
        let header = parts(&message).0.len() as u64;
        assert!(header > 16_384);
        let file = long.open_seekable_async(Object::new(&message), &context).await.unwrap();
        let asked = file.get_ref().asked();
        assert_eq!(asked[..2], [0..16_384, 16_384..(message.len() as u64).min(65_536)]);
        assert_eq!(asked.len(), 3);
        // Cut within the header, at any length: the source is asked for what it has, and for no more.
        for len in [0, 1, 100, 16_383, 16_384, 16_385, header - 1] {
            let source = Object::new(&message[..usize::try_from(len).unwrap()]);
            let error = long.open_seekable_async(&source, &context).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Truncated, "{len}: {error}");
            assert!(source.asked().iter().all(|range| range.end <= len && range.start < range.end));
        }
        // Over the limit of a client: refused before more is fetched.
        let strict = builder(UNSIGNED, 16).max_header_length(10_000).build().unwrap();
        let source = Object::new(&message);
        let error = strict.open_seekable_async(&source, &context).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert_eq!(source.asked(), std::iter::once(0..16_384).collect::<Vec<_>>());
        let error = long.open_seekable_async(Object::new(b"not a message"), any()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed);
    });
}

#[test]
fn what_was_changed_is_refused_as_by_blocking_reads() {
    run(async {
        let message = client(UNSIGNED, 16).encrypt(&pattern(64), &none()).unwrap();
        let header = parts(&message).0.len();
        for at in header..message.len() {
            let mut bad = message.clone();
            bad[at] ^= 1;
            let decryptor = || client(UNSIGNED, 16).decryptor(parts(&message).0, any()).unwrap();
            let awaited = match decryptor().seekable_async(bad.as_slice()).await {
                Ok(file) => file.read_at_async(0, &mut [0; 64]).await,
                Err(error) => Err(error),
            };
            let blocking = decryptor().seekable(bad.as_slice()).and_then(|file| file.read_at(0, &mut [0; 64]));
            let (awaited, blocking) = (awaited.unwrap_err(), blocking.unwrap_err());
            assert_eq!((awaited.kind(), awaited.to_string()), (blocking.kind(), blocking.to_string()), "{at}");
        }
        // Exchanged frames, and one that stands for another.
        let mut swapped = message.clone();
        let (front, back) = swapped.split_at_mut(header + 48);
        front[header..].swap_with_slice(&mut back[..48]);
        let file = open(&client(UNSIGNED, 16), &swapped).await;
        assert_eq!(file.read_at_async(3, &mut [0; 1]).await.unwrap_err().kind(), ErrorKind::Malformed);
        assert_eq!(file.read_ranges_async(&[40..41, 3..4]).await.unwrap_err().kind(), ErrorKind::Malformed);
        let good = file.read_ranges_async(&[40..41, 63..70]).await.unwrap();
        assert_eq!(good, [[40], [63]]);
    });
}

#[test]
fn signed_messages_are_refused_in_the_same_words() {
    run(async {
        let signed = client(SIGNED, 16).encrypt(&pattern(64), &none()).unwrap();
        let decryptor = || client(SIGNED, 16).decryptor(parts(&signed).0, any()).unwrap();
        let expected = decryptor().seekable(signed.as_slice()).unwrap_err();
        // The decryptor's own is refused without a request.
        let source = Object::new(&signed);
        let by_decryptor = decryptor().seekable_async(&source).await.unwrap_err();
        assert_eq!((source.asked(), source.sizes.load(Ordering::Relaxed)), (vec![], 0));
        let by_client = client(SIGNED, 16).open_seekable_async(signed.as_slice(), any()).await.unwrap_err();
        for error in [by_decryptor, by_client] {
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::PolicyViolation, expected.to_string()));
        }
    });
}

/// A source that breaks its contract, or fails.
struct Faulty<F>(F, Bytes, u64);

impl<F: Fn(Range<u64>, Bytes) -> io::Result<Bytes> + Send + Sync> AsyncReadAt for Faulty<F> {
    async fn read_range(&self, range: Range<u64>) -> io::Result<Bytes> {
        (self.0)(range.clone(), self.1.read_range(range).await?)
    }

    async fn read_ranges(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Bytes>> {
        let mut all = Vec::new();
        for range in ranges {
            all.push(self.read_range(range.clone()).await?);
        }
        all.pop();
        Ok(all)
    }

    async fn size(&self) -> io::Result<u64> {
        Ok(self.2)
    }
}

#[test]
fn a_source_that_breaks_its_contract_is_an_error() {
    let client = client(UNSIGNED, 16);
    let message = Bytes::from(client.encrypt(&pattern(64), &none()).unwrap());
    let len = message.len() as u64;
    let try_reading = |fault: fn(Range<u64>, Bytes) -> io::Result<Bytes>, size: u64| {
        ready(async {
            let file = client.open_seekable_async(Faulty(fault, message.clone(), size), any()).await?;
            file.read_at_async(3, &mut [0; 20]).await
        })
    };
    assert_eq!(try_reading(|_, bytes| Ok(bytes), len).unwrap(), 20);
    let short = |_, bytes: Bytes| Ok(bytes.slice(..bytes.len() - 1));
    assert_eq!(try_reading(short, len).unwrap_err().kind(), ErrorKind::Truncated);
    let empty = |_, _| Ok(Bytes::new());
    assert_eq!(try_reading(empty, len).unwrap_err().kind(), ErrorKind::Truncated);
    let long = |_, bytes: Bytes| Ok([&bytes[..], b"x"].concat().into());
    let error = try_reading(long, len).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("more bytes than it was asked for"), "{error}");
    let failing = |range: Range<u64>, bytes| match range.start {
        0 => Ok(bytes),
        _ => Err(io::ErrorKind::ConnectionReset.into()),
    };
    let error = try_reading(failing, len).unwrap_err();
    assert_eq!((error.kind(), io::Error::from(error).kind()), (ErrorKind::Io, io::ErrorKind::ConnectionReset));
    // A size that is not that of the message.
    for size in [0, 1, len - 1, len + 1, len * 10, u64::MAX / 2, u64::MAX] {
        let kind = try_reading(|_, bytes| Ok(bytes), size).unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Truncated | ErrorKind::Malformed), "{size}: {kind:?}");
    }
    // One buffer too few.
    let several = ready(async {
        let file = client.open_seekable_async(Faulty(|_, bytes| Ok(bytes), message.clone(), len), any()).await?;
        file.read_ranges_async(&[0..1, 2..3]).await
    });
    assert_eq!(several.unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn an_error_of_the_crate_passes_through_a_source_unchanged() {
    let client = client(UNSIGNED, 16);
    let message = client.encrypt(&pattern(64), &none()).unwrap();
    let len = message.len() as u64;
    let fault = |_, _| Err(Error::new(ErrorKind::KeyRefused, "of a source").into());
    let opened = ready(client.open_seekable_async(Faulty(fault, message.into(), len), any()));
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::KeyRefused);
}

#[test]
fn nothing_is_asked_of_a_source_when_nothing_is_expected_by_accident() {
    /// A source whose reads never end.
    struct Silent;

    impl AsyncReadAt for Silent {
        async fn read_range(&self, _: Range<u64>) -> io::Result<Bytes> {
            pending().await
        }

        async fn size(&self) -> io::Result<u64> {
            pending().await
        }
    }

    let error = ready(client(UNSIGNED, 16).open_seekable_async(Silent, &none())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn many_tasks_read_one_message() {
    let plaintext = pattern(300_000);
    let client = client(UNSIGNED, 1000);
    let message = client.encrypt(&plaintext, &none()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let file = std::sync::Arc::new(open(&client, &message).await);
        let tasks = (0..40_usize).map(|turn| {
            let (file, plaintext) = (file.clone(), plaintext.clone());
            tokio::spawn(async move {
                let start = turn * 7919 % 290_000;
                let mut buf = vec![0; 1 + turn * 337 % 9000];
                let count = file.read_at_async(start as u64, &mut buf).await.unwrap();
                assert!(buf[..count] == plaintext[start..start + count]);
                let ranges = [start as u64..start as u64 + 10, 5..6];
                assert_eq!(file.read_ranges_async(&ranges).await.unwrap()[0], plaintext[start..start + 10]);
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

#[test]
fn keys_over_a_network_open_messages_too() {
    /// A keyring whose keys take their time.
    #[derive(Debug)]
    struct Distant(FixedKeyKeyring);

    impl manila::keyring::Keyring for Distant {
        fn on_encrypt<'a>(
            &'a self,
            materials: &'a manila::materials::EncryptionMaterials,
        ) -> manila::kms::KeyFuture<'a, manila::materials::WrappedKeys> {
            self.0.on_encrypt(materials)
        }

        fn on_decrypt<'a>(
            &'a self,
            request: &'a manila::materials::DecryptionRequest,
        ) -> manila::kms::KeyFuture<'a, manila::materials::UnwrapOutcome> {
            Box::pin(async {
                wait().await;
                self.0.on_decrypt(request).await
            })
        }
    }

    let distant = Client::builder(Distant(FixedKeyKeyring::new(&[9; 32]))).suite(UNSIGNED).build().unwrap();
    let message = client(UNSIGNED, 16).encrypt(&pattern(64), &none()).unwrap();
    run(async {
        let file = open(&distant, &message).await;
        let mut buf = [0; 10];
        assert_eq!(file.read_at_async(20, &mut buf).await.unwrap(), 10);
        assert_eq!(buf, pattern(64)[20..30]);
    });
}
