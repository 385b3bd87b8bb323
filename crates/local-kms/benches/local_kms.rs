//! The embedded KMS in a file: how long opening takes, and a data key, with few keys and with many; and in memory, what
//! others' aliases, others' grants, long policies and those of the caller add to a call; and in a file again, what
//! calls wait for during maintenance.
//!
//! Besides criterion's means the first part prints the median and the 99th percentile of single calls: the audit log is
//! on and not synced, no rotation is due, one process has the store open.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

use manila_core::KmsCiphertext;
use manila_core::internal::crypto::{EccCurve, Hash, KeyPair, KeyPairKind, MlDsaSet, SignatureScheme, SignedBytes};
use manila_core::testing::ready;
use manila_local_kms::{
    AuditLog, Clock, CreateGrant, CreateKey, EncryptionContext, Error, GrantOperation, KeySpec, KeyUsage, Kms,
    KmsRequest, LocalKms, RootKey, SignRequest, SigningAlgorithm,
};

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

/// A clock that stands still until it is moved.
#[derive(Clone, Debug, Default)]
struct Days(Arc<AtomicU64>);

impl Clock for Days {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(20_000 * 86_400) + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst) * 86_400)
    }
}

fn encrypt(kms: &LocalKms, arn: &str) -> Result<KmsCiphertext, Error> {
    ready(kms.encrypt(KmsRequest::new(arn, &EncryptionContext::empty()), b"x"))
}

/// A KMS in which keys are due to be deleted, and the ARN of another key, which all aliases are of.
fn with_keys_due(keys: usize, aliases: usize) -> (LocalKms, String) {
    let days = Days::default();
    let kms = LocalKms::builder().clock(days.clone()).in_memory().unwrap();
    let kept = kms.create_key(CreateKey::default()).unwrap();
    (0..aliases).for_each(|n| kms.create_alias(&format!("alias/kept-{n}"), kept.arn()).unwrap());
    for _ in 0..keys {
        let key = kms.create_key(CreateKey::default()).unwrap();
        kms.schedule_key_deletion_in(key.arn(), 7).unwrap();
    }
    days.0.store(7, Ordering::SeqCst);
    (kms, kept.arn().to_owned())
}

/// The first call after the deadline of many keys, which removes them.
fn deletions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("300 keys due");
    group.sample_size(10);
    for aliases in [0, 3_000] {
        let due = || with_keys_due(300, aliases);
        group.bench_function(format!("first call, {aliases} aliases of another key"), |bench| {
            bench.iter_batched_ref(due, |(kms, arn)| encrypt(kms, arn).unwrap(), BatchSize::PerIteration);
        });
    }
}

/// The cost of a refusal, and of a permission by the last of many grants.
fn grants(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grants");
    let granted = |to: &str| CreateGrant::to(to).operation(GrantOperation::Encrypt);
    for count in [0, 999] {
        let kms = LocalKms::in_memory().unwrap();
        let key = kms.create_key(CreateKey::default()).unwrap();
        for n in 0..count {
            kms.create_grant(key.arn(), granted(&format!("arn:aws:iam::000000000000:role/r{n}"))).unwrap();
        }
        let [alice, bob] = ["arn:aws:iam::000000000000:user/alice", "arn:aws:iam::000000000000:user/bob"];
        kms.create_grant(key.arn(), granted(alice)).unwrap();
        let [alice, bob] = [alice, bob].map(|arn| kms.as_principal(arn).unwrap());
        let beside = format!("beside {count} grants to others");
        group.bench_function(format!("the owner encrypts {beside}"), |bench| {
            bench.iter(|| encrypt(&kms, key.arn()).unwrap());
        });
        group.bench_function(format!("a grantee encrypts {beside}"), |bench| {
            bench.iter(|| encrypt(&alice, key.arn()).unwrap());
        });
        group.bench_function(format!("a stranger is refused {beside}"), |bench| {
            bench.iter(|| encrypt(&bob, key.arn()).unwrap_err());
        });
    }
}

/// A policy of so many statements about roles, and one about the owner.
fn policy(statements: usize) -> String {
    let allow = |principal: &str, action: &str| {
        format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":"{action}","Resource":"*"}}"#)
    };
    let roles = (0..statements).map(|n| allow(&format!("arn:aws:iam::000000000000:role/r{n:05}"), "kms:Decrypt"));
    let all: Vec<_> = roles.chain([allow("arn:aws:iam::000000000000:root", "kms:*")]).collect();
    format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, all.join(","))
}

fn policies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policies");
    let kms = LocalKms::in_memory().unwrap();
    let key = kms.create_key(CreateKey::default()).unwrap();
    group.bench_function("Encrypt without a policy", |bench| bench.iter(|| encrypt(&kms, key.arn()).unwrap()));
    for statements in [1, 240] {
        let json = policy(statements);
        kms.put_key_policy(key.arn(), &json).unwrap();
        group.bench_function(format!("Encrypt under a policy of {} bytes", json.len()), |bench| {
            bench.iter(|| encrypt(&kms, key.arn()).unwrap());
        });
    }
    // A principal that the key policy leaves to the account, whose last policy allows it.
    let alice = "arn:aws:iam::000000000000:user/alice";
    let key = kms.create_key(CreateKey::default()).unwrap();
    let own = |action: &str| format!(r#"{{"Statement":{{"Effect":"Allow","Action":"{action}","Resource":"*"}}}}"#);
    for count in [1, 20] {
        (1..count).for_each(|n| kms.put_identity_policy(alice, &n.to_string(), &own("kms:Decrypt")).unwrap());
        kms.put_identity_policy(alice, "last", &own("kms:Encrypt")).unwrap();
        let kms = kms.as_principal(alice).unwrap();
        group.bench_function(format!("Encrypt by one of {count} policies of the caller"), |bench| {
            bench.iter(|| encrypt(&kms, key.arn()).unwrap());
        });
    }
}

/// The wait of calls while a long audit log is verified and a purge is under way.
fn maintenance(_: &mut Criterion) {
    const LOG_LEN: u64 = 500 << 20;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.jsonl");
    let keys = filled(folder.path(), 10);
    let kms = open(folder.path());
    // Long lines, so that the log is long soon.
    let context = EncryptionContext::new([("tenant", "x".repeat(8_000))]).unwrap();
    let encrypt = || ready(kms.encrypt(KmsRequest::new(&keys[0], &context), b"x")).unwrap();
    while log.metadata().unwrap().len() < LOG_LEN {
        encrypt();
    }
    let times = std::thread::scope(|scope| {
        let verification = scope.spawn(|| assert!(kms.verify_audit_log(&log).unwrap().is_intact()));
        let purge = scope.spawn(|| kms.purge().unwrap());
        let mut times = Vec::new();
        while !verification.is_finished() || !purge.is_finished() {
            let start = Instant::now();
            black_box(encrypt());
            times.push(start.elapsed());
        }
        times
    });
    assert!(times.len() > 10, "the verification was over too soon to measure anything");
    let worst = times.iter().copied().max().unwrap_or_default();
    let (calls, (median, p99)) = (times.len(), percentiles(times));
    println!(
        "Encrypt during a verification of 500 MiB and a purge, {calls} calls: \
         median {median:?}, 99th percentile {p99:?}, longest {worst:?}"
    );
}

/// Signatures by keys of the KMS in a file with its log, beside those of the primitive alone. A private key that were
/// parsed in each call would take several times as long.
fn signatures(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 1);
    let kms = open(folder.path());
    let mut kinds = vec![
        (KeySpec::EccNistP256, KeyPairKind::Ecc(EccCurve::P256), SigningAlgorithm::EcdsaSha256),
        (KeySpec::EccNistEdwards25519, KeyPairKind::Ed25519, SigningAlgorithm::Ed25519Sha512),
        (KeySpec::MlDsa65, KeyPairKind::MlDsa(MlDsaSet::MlDsa65), SigningAlgorithm::MlDsaShake256),
    ];
    if cfg!(feature = "aws-lc") {
        kinds.push((KeySpec::Rsa2048, KeyPairKind::Rsa(2048), SigningAlgorithm::RsassaPssSha256));
    }
    let message = [7; 64];
    for (spec, kind, algorithm) in kinds {
        let scheme = match algorithm {
            SigningAlgorithm::EcdsaSha256 => SignatureScheme::Ecdsa(Hash::Sha256),
            SigningAlgorithm::Ed25519Sha512 => SignatureScheme::Ed25519,
            SigningAlgorithm::MlDsaShake256 => SignatureScheme::MlDsa,
            _ => SignatureScheme::RsaPss(Hash::Sha256),
        };
        let key = kms.create_key(CreateKey::default().spec(spec).usage(KeyUsage::SignVerify)).unwrap();
        let pair = KeyPair::generate(kind).unwrap();
        let mut group = criterion.benchmark_group(format!("{} signatures", spec.name()));
        group.bench_function("bare", |bench| {
            bench.iter(|| pair.sign(scheme, SignedBytes::Message(&message)).unwrap());
        });
        group.bench_function("Sign", |bench| {
            bench.iter(|| kms.sign(SignRequest::new(key.arn(), algorithm, &message)).unwrap());
        });
    }
}

criterion_group!(benches, signatures, local_kms, deletions, grants, policies, maintenance);
criterion_main!(benches);
