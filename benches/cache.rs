//! The benefit and the cost of a data key cache: messages per second with it and without it.
//!
//! `cargo bench --bench cache`. Behind criterion's figures come the ratios that the cache is held to, from rounds in
//! which all variants take turns, so that a machine that is busy for a while is busy for all of them alike. `cargo
//! bench --bench cache -- bars` leaves criterion's part out, any other filter leaves the ratios out, and
//! `PLOT=docs/cached.svg` before either draws the plot in the README. Messages are of suite 0x0478, in frames of 4096
//! bytes.

#![allow(clippy::type_complexity, clippy::cast_precision_loss, reason = "figures for people")]

#[path = "cache/plot.rs"]
mod plot;
#[path = "shared/rounds.rs"]
mod rounds;
#[path = "shared/svg.rs"]
mod svg;

use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

use manila::cmm::{CacheSettings, CachingCmm, Cmm, DefaultCmm};
use manila::keyring::{Keyring, KmsKeyring};
use manila::kms::{GeneratedDataKey, Kms, KmsCiphertext, KmsPlaintext, KmsRequest};
use manila::local_kms::{CreateKey, LocalKms};
use manila::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
use manila::testing::FixedKeyKeyring;
use manila::{AlgorithmSuite, Client, EncryptionContext, ExpectedContext};

use rounds::{Variant, median, take_turns, time};

const SIZES: [(usize, &str); 3] = [(100, "100 B"), (1 << 10, "1 KiB"), (64 << 10, "64 KiB")];
const THREADS: [usize; 2] = [1, 2];
const LATENCY: Duration = Duration::from_millis(20);
const KIB: usize = 1 << 10;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A KMS that is 20 ms away.
#[derive(Debug)]
struct Distant(LocalKms);

/// The rate that a tenth of the rounds reach, which is what a program can do on an idle machine.
fn best_tenth(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() * 9 / 10]
}

impl Kms for Distant {
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
        Box::pin(async move {
            tokio::time::sleep(LATENCY).await;
            self.0.generate_data_key(request, length).await
        })
    }

    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        Box::pin(async move {
            tokio::time::sleep(LATENCY).await;
            self.0.encrypt(request, plaintext).await
        })
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        Box::pin(async move {
            tokio::time::sleep(LATENCY).await;
            self.0.decrypt(request, ciphertext).await
        })
    }
}

/// A source of data keys.
#[derive(Clone, Copy)]
enum Source {
    Local,
    Distant,
}

const SOURCES: [(Source, &str); 2] = [(Source::Local, "LocalKms in memory"), (Source::Distant, "a KMS 20 ms away")];

impl Source {
    fn client(self, cached: bool) -> Client {
        let kms = LocalKms::in_memory().unwrap();
        let key = kms.create_key(CreateKey::default()).unwrap();
        let kms: Arc<dyn Kms> = match self {
            Self::Local => Arc::new(kms),
            Self::Distant => Arc::new(Distant(kms)),
        };
        client(DefaultCmm::new(KmsKeyring::new(kms, key.arn()).unwrap()), cached)
    }

    /// Seals as many messages as it is told.
    fn sealer(self, cached: bool, len: usize) -> impl Fn(usize, u64) + Sync {
        let (client, context, plaintext) = (self.client(cached), context("acme"), vec![0x61; len]);
        move |_, count| match self {
            Self::Local => seal(&client, &context, &plaintext, count),
            Self::Distant => RUNTIME.block_on(async {
                for _ in 0..count {
                    black_box(client.encrypt_async(black_box(&plaintext), &context).await.unwrap());
                }
            }),
        }
    }
}

fn client(cmm: impl Cmm + 'static, cached: bool) -> Client {
    let settings = CacheSettings::new(1000, Duration::from_secs(3600));
    let builder = match cached {
        true => Client::builder_with_cmm(CachingCmm::new(cmm, settings).unwrap()),
        false => Client::builder_with_cmm(cmm),
    };
    builder.suite(AlgorithmSuite::Aes256GcmHkdfSha512CommitKey).build().unwrap()
}

/// Has the data key at hand, and an encrypted one that is as long as a KMS's.
#[derive(Debug)]
struct AtHand(FixedKeyKeyring);

impl Keyring for AtHand {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(async {
            let mut wrapped = self.0.on_encrypt(materials).await?;
            for key in &mut wrapped.encrypted_data_keys {
                key.provider_info = vec![b'a'; 75];
                key.ciphertext = vec![7; 184];
            }
            Ok(wrapped)
        })
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        self.0.on_decrypt(request)
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// A client with the data key at hand: what is left is the message itself.
fn at_hand(cached: bool) -> Client {
    client(DefaultCmm::new(AtHand(FixedKeyKeyring::new(&[7; 32]))), cached)
}

fn context(tenant: &str) -> EncryptionContext {
    EncryptionContext::new([("tenant", tenant), ("purpose", "bench")]).unwrap()
}

fn seal(client: &Client, context: &EncryptionContext, plaintext: &[u8], count: u64) {
    for _ in 0..count {
        black_box(client.encrypt(black_box(plaintext), context).unwrap());
    }
}

fn open(client: &Client, message: &[u8], expected: &EncryptionContext, count: u64) {
    for _ in 0..count {
        black_box(client.decrypt(black_box(message), ExpectedContext::from(expected)).unwrap());
    }
}

fn throughput(criterion: &mut Criterion) {
    for (source, name) in SOURCES {
        let mut group = criterion.benchmark_group(name);
        group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2)).sample_size(10);
        for (len, size) in SIZES {
            for threads in THREADS {
                for (cached, how) in [(false, "uncached"), (true, "cached")] {
                    let sealer = source.sealer(cached, len);
                    group.throughput(Throughput::Elements(threads as u64));
                    let id = BenchmarkId::new(how, format!("{size} on {threads}"));
                    group.bench_function(id, |bench| bench.iter_custom(|count| time(threads, count, &sealer)));
                }
            }
        }
    }
}

fn hits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("the data key at hand, 1 KiB");
    let (context, plaintext) = (context("acme"), vec![0x61; KIB]);
    for (cached, how) in [(false, "uncached"), (true, "cached")] {
        let client = at_hand(cached);
        let message = client.encrypt(&plaintext, &context).unwrap();
        group.bench_function(BenchmarkId::new("encrypt", how), |bench| {
            bench.iter(|| seal(&client, &context, &plaintext, 1));
        });
        group.bench_function(BenchmarkId::new("decrypt", how), |bench| {
            bench.iter(|| open(&client, &message, &context, 1));
        });
    }
}

/// One line for each thing the cache is held to.
fn bars(_: &mut Criterion) {
    if !std::env::args().skip(1).all(|argument| matches!(&*argument, "--bench" | "bars")) {
        return;
    }
    println!(
        "\nSuite 0x0478. Times of one thread and ratios to no cache are medians of rounds in which the variants take turns."
    );
    println!(
        "Rates and what a second thread brings are the best tenth of them: a busy machine has no second core to give."
    );
    hit_cost();
    contended();
    let figures = cached_against_uncached();
    if let Some(path) = std::env::var_os("PLOT") {
        std::fs::write(Path::new(&path), plot::svg(&figures)).unwrap();
    }
}

fn hit_cost() {
    let (context, plaintext) = (context("acme"), vec![0x61; KIB]);
    let (plain, cached) = (at_hand(false), at_hand(true));
    let message = cached.encrypt(&plaintext, &context).unwrap();
    let sealing = |client: &Client, count| seal(client, &context, &plaintext, count);
    let opening = |client: &Client, count| open(client, &message, &context, count);
    let works: [(&str, &(dyn Fn(&Client, u64) + Sync)); 2] = [("encrypt", &sealing), ("decrypt", &opening)];
    for (what, work) in works {
        let plain = |_: usize, count| work(&plain, count);
        let cached = |_: usize, count| work(&cached, count);
        let rates = take_turns(1001, &[Variant::new(1, &plain), Variant::new(1, &cached)]);
        let cost = median(rates.iter().map(|round| round[0] / round[1]));
        let nanoseconds = |n: usize| 1e9 / median(rates.iter().map(|round| round[n]));
        println!(
            "a hit, {what} 1 KiB: {:.0} ns with the key at hand, {:.0} ns through the cache: {cost:.3} times (at most \
             1.15)",
            nanoseconds(0),
            nanoseconds(1),
        );
    }
}

fn contended() {
    let contexts = [context("acme"), context("zenith")];
    let plaintext = vec![0x61; KIB];
    let (plain, cached) = (at_hand(false), at_hand(true));
    let arithmetic = |_: usize, count| {
        black_box((0..100 * count).fold(1, |product: u64, n| black_box(product.wrapping_mul(n | 1))));
    };
    let uncached = |thread: usize, count| seal(&plain, &contexts[thread], &plaintext, count);
    let same = |_: usize, count| seal(&cached, &contexts[0], &plaintext, count);
    let own = |thread: usize, count| seal(&cached, &contexts[thread], &plaintext, count);
    let variants = [
        Variant::new(1, &arithmetic),
        Variant::new(2, &arithmetic),
        Variant::new(1, &uncached),
        Variant::new(2, &uncached),
        Variant::new(1, &same),
        Variant::new(2, &same),
        Variant::new(2, &own),
    ];
    let rates = take_turns(501, &variants);
    let rate = |variant: usize| best_tenth(rates.iter().map(|round| round[variant]));
    println!("two threads against one:");
    println!("    arithmetic: {:.2} times; 1 KiB without a cache: {:.2} times", rate(1) / rate(0), rate(3) / rate(2));
    println!("    1 KiB, hits on one id: {:.2} times (at least 1.8)", rate(5) / rate(4));
    println!("    1 KiB, hits on two ids: {:.2} times (at least 1.8)", rate(6) / rate(4));
}

fn cached_against_uncached() -> Vec<plot::Figure> {
    let mut figures = Vec::new();
    for (source, name) in SOURCES {
        for (len, size) in SIZES {
            let sealers = [source.sealer(false, len), source.sealer(true, len)];
            let [uncached, cached] = &sealers;
            let variants = THREADS.map(|n| [Variant::new(n, uncached), Variant::new(n, cached)]).concat();
            let rates = take_turns(51, &variants);
            for (n, threads) in THREADS.into_iter().enumerate() {
                let rate = |variant: usize| best_tenth(rates.iter().map(|round| round[variant]));
                let (uncached, cached) = (rate(2 * n), rate(2 * n + 1));
                let ratio = median(rates.iter().map(|round| round[2 * n + 1] / round[2 * n]));
                let held = matches!(source, Source::Distant) && len == KIB && threads == 1;
                let bar = if held { " (at least 1000)" } else { "" };
                println!(
                    "{name}, {size} on {threads}: {uncached:.0} messages/s uncached, {cached:.0} cached: {ratio:.1} \
                     times{bar}"
                );
                figures.push(plot::Figure { source: name, size, threads, uncached, cached });
            }
        }
    }
    figures
}

criterion_group!(benches, throughput, hits, bars);
criterion_main!(benches);
