//! The embedded KMS in a file: how long opening takes, and a data key, with few keys and with many.
//!
//! Besides criterion's means this prints the median and the 99th percentile of single calls: the audit log is on and not
//! synced, no rotation is due, one process has the store open.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};

use manila::testing::ready;
use manila::{AuditLog, CreateKey, EncryptionContext, Kms, KmsRequest, LocalKms, RootKey};

const SIZES: [usize; 3] = [10, 1_000, 10_000];
const CALLS: usize = 20_000;

fn root() -> RootKey {
    RootKey::from_bytes(&[7; 32])
}

fn filled(folder: &Path, keys: usize) -> Vec<String> {
    let kms = LocalKms::create(folder.join("keys.redb"), root()).unwrap();
    (0..keys).map(|_| kms.create_key(CreateKey::default()).unwrap().arn().to_owned()).collect()
}

fn open(folder: &Path) -> LocalKms {
    let log = AuditLog::file(folder.join("audit.jsonl"));
    LocalKms::builder().audit(log).open(folder.join("keys.redb"), root()).unwrap()
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

fn local_kms(criterion: &mut Criterion) {
    let context = EncryptionContext::new([("tenant", "acme"), ("purpose", "bench")]).unwrap();
    for size in SIZES {
        let folder = tempfile::tempdir().unwrap();
        let arns = filled(folder.path(), size);
        let mut group = criterion.benchmark_group(format!("{size} keys"));
        group.sample_size(10);
        group.bench_function("open", |bench| bench.iter(|| open(folder.path())));
        let kms = open(folder.path());
        let mut turn = (0..size).map(|n| n * 7919 % size).cycle();
        let mut generate = || {
            let arn = &arns[turn.next().unwrap()];
            black_box(ready(kms.generate_data_key(KmsRequest::new(arn, &context), 32)).unwrap())
        };
        let timed = || {
            let start = Instant::now();
            generate();
            start.elapsed()
        };
        let (median, p99) = percentiles(std::iter::repeat_with(timed).take(CALLS).collect());
        println!("{size} keys: GenerateDataKey median {median:?}, 99th percentile {p99:?}");
        group.sample_size(100);
        group.bench_function("GenerateDataKey", |bench| bench.iter(&mut generate));
    }
}

criterion_group!(benches, local_kms);
criterion_main!(benches);
