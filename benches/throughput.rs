//! Whole messages and streams, sealed and opened: bytes of plaintext per second.
//!
//! `cargo bench --bench throughput`. The data key is at hand, so that no key store is measured.

use std::hint::black_box;
use std::io::{self, Write};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use manila::testing::FixedKeyKeyring;
use manila::{AlgorithmSuite, Client, EncryptionContext, ExpectedContext, UnverifiedHeader};

const CASES: [(usize, u32); 4] = [(1 << 10, 4096), (64 << 10, 65_536), (1 << 20, 4096), (1 << 20, 65_536)];

fn client(suite: AlgorithmSuite, frame_length: u32) -> Client {
    let builder = Client::builder(FixedKeyKeyring::new(&[7; 32])).suite(suite).frame_length(frame_length);
    builder.build().expect("settings that work together")
}

fn throughput(criterion: &mut Criterion) {
    let none = EncryptionContext::empty();
    let suites = [AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384];
    for suite in suites {
        let mut group = criterion.benchmark_group(suite.to_string());
        for (len, frame_length) in CASES {
            let client = client(suite, frame_length);
            let plaintext = vec![0x61; len];
            let message = client.encrypt(&plaintext, &none).expect("a message");
            let id = |what| BenchmarkId::new(what, format!("{len} B in frames of {frame_length}"));
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(id("encrypt"), |bench| {
                bench.iter(|| client.encrypt(black_box(&plaintext), &none).expect("a message"));
            });
            group.bench_function(id("decrypt"), |bench| {
                bench.iter(|| client.decrypt(black_box(&message), ExpectedContext::any()).expect("its plaintext"));
            });
            group.bench_function(id("encrypt a stream"), |bench| {
                bench.iter(|| {
                    let mut writer = client.encryptor(&none).expect("an encryptor").writer(io::sink());
                    writer.write_all(black_box(&plaintext)).expect("a sink");
                    writer.finish().expect("a sink")
                });
            });
            group.bench_function(id("decrypt a stream"), |bench| {
                bench.iter(|| {
                    let header = UnverifiedHeader::parse(black_box(&message)).expect("a header");
                    let body = message.get(header.len()..).expect("a body");
                    let decryptor = client.decryptor(header, ExpectedContext::any()).expect("a decryptor");
                    io::copy(&mut decryptor.reader(body), &mut io::sink()).expect("its plaintext")
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, throughput);
criterion_main!(benches);
