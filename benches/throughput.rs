//! Whole messages and streams, sealed and opened, on one thread and on two: bytes of plaintext per second.
//!
//! `cargo bench --bench throughput`. The data key is at hand, so that no key store is measured, and complete messages
//! go into memory that is reused. `benches/limits.rs` compares this with the bare primitives.

use std::hint::black_box;
use std::io::{self, Write};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use manila::testing::FixedKeyKeyring;
use manila::{AlgorithmSuite, Client, EncryptionContext, ExpectedContext, UnverifiedHeader};

/// Bytes of plaintext, bytes in a frame, threads.
const CASES: [(usize, u32, usize); 7] = [
    (1 << 10, 4096, 1),
    (64 << 10, 65_536, 1),
    (1 << 20, 4096, 1),
    (1 << 20, 65_536, 1),
    (64 << 20, 65_536, 1),
    (64 << 20, 4096, 2),
    (64 << 20, 65_536, 2),
];

fn client(suite: AlgorithmSuite, frame_length: u32, threads: usize) -> Client {
    let builder = Client::builder(FixedKeyKeyring::new(&[7; 32])).suite(suite).frame_length(frame_length);
    builder.threads(threads).build().expect("settings that work together")
}

fn throughput(criterion: &mut Criterion) {
    let none = EncryptionContext::empty();
    let suites = [AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384];
    for suite in suites {
        let mut group = criterion.benchmark_group(suite.to_string());
        for (len, frame_length, threads) in CASES {
            let client = client(suite, frame_length, threads);
            let plaintext = vec![0x61; len];
            let message = client.encrypt(&plaintext, &none).expect("a message");
            let id = |what| BenchmarkId::new(what, format!("{len} B in frames of {frame_length}, {threads} threads"));
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function(id("encrypt"), |bench| {
                let mut out = Vec::new();
                bench.iter(|| client.encrypt_into(black_box(&plaintext), &none, &mut out).expect("a message"));
            });
            group.bench_function(id("decrypt"), |bench| {
                let mut out = Vec::new();
                bench.iter(|| {
                    client.decrypt_into(black_box(&message), ExpectedContext::any(), &mut out).expect("its plaintext")
                });
            });
            group.bench_function(id("decrypt in place"), |bench| {
                let open = |mut message: Vec<u8>| {
                    client.decrypt_in_place(&mut message, ExpectedContext::any()).expect("its plaintext");
                    message
                };
                bench.iter_batched(|| message.clone(), open, BatchSize::LargeInput);
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
