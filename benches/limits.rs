//! This crate against the bare primitives: what it costs on top of the cryptography that a message cannot do without.
//!
//! `cargo bench --bench limits --features batch`. For each job the crate and a driver that writes the very same
//! messages with nothing but the primitives (`limits/bare.rs`) take turns in one process. Both use their memory again,
//! except for the jobs with new memory. The table shows the median of the ratios of all rounds: 1.00 is as fast as the
//! primitives, and each job has a bar that it is held to. A word after `--` runs only the jobs whose names contain it;
//! `PLOT=docs/limits.svg` before the command draws the chart in the README. The last lines are the memory of processes
//! that stream, which the program starts itself.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "limits/bare.rs"]
mod bare;
#[path = "limits/plot.rs"]
mod plot;
#[path = "shared/rounds.rs"]
mod rounds;
#[path = "shared/svg.rs"]
mod svg;

use std::hint::black_box;
use std::io::{self, BufRead, Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manila::cmm::{CacheSettings, CachingCmm, Cmm, DefaultCmm};
use manila::keyring::RawAesKeyring;
use manila::{AlgorithmSuite, Client, EncryptionContext, ExpectedContext};

use crate::bare::{DataKeys, Driver};
use crate::rounds::{Variant, median, take_turns};

const ROUNDS: usize = 41;
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A measurement: the ratio to the primitives' speed, and the bar for it.
pub struct Figure {
    pub job: String,
    pub bar: f64,
    pub ratio: f64,
    /// Bytes of plaintext per second, of the crate.
    pub rate: f64,
}

/// The keyring of [`Driver`]'s messages.
fn keyring() -> RawAesKeyring {
    let (namespace, name, key) = bare::WRAPPING;
    RawAesKeyring::new(namespace, name, &key).unwrap()
}

fn client(is_signed: bool, keys: DataKeys, frame_length: usize, threads: usize) -> Client {
    let cmm: Arc<dyn Cmm> = match keys {
        DataKeys::Wrapped => Arc::new(DefaultCmm::new(keyring())),
        DataKeys::AtHand => {
            let limits = CacheSettings::new(10, Duration::from_secs(3600)).max_messages(1 << 32).max_bytes(1 << 60);
            Arc::new(CachingCmm::new(DefaultCmm::new(keyring()), limits).unwrap())
        }
    };
    let suite = match is_signed {
        true => AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384,
        false => AlgorithmSuite::Aes256GcmHkdfSha512CommitKey,
    };
    let builder = Client::builder_with_cmm(cmm).suite(suite).threads(threads);
    builder.frame_length(u32::try_from(frame_length).unwrap()).build().unwrap()
}

fn unsigned(frame_length: usize, threads: usize) -> Client {
    client(false, DataKeys::Wrapped, frame_length, threads)
}

/// A plaintext, and the crate and the primitives to encrypt it with.
struct Subject {
    client: Client,
    driver: Driver,
    plaintext: Vec<u8>,
    /// Of the client.
    message: Vec<u8>,
}

impl Subject {
    fn new(len: usize, frame_length: usize) -> Self {
        Self::of(false, DataKeys::Wrapped, len, frame_length)
    }

    fn of(is_signed: bool, keys: DataKeys, len: usize, frame_length: usize) -> Self {
        let client = client(is_signed, keys, frame_length, 1);
        let driver = Driver::new(is_signed, keys, frame_length, len);
        let plaintext: Vec<_> = (0..len).map(|n| n.to_le_bytes()[0]).collect();
        let message = client.encrypt(&plaintext, &EncryptionContext::empty()).unwrap();
        // Each reads what the other writes.
        let (mut of_driver, mut opened) = (Vec::new(), vec![0; len]);
        driver.encrypt(&plaintext, &mut of_driver);
        assert!(client.decrypt(&of_driver, ExpectedContext::any()).unwrap().plaintext == plaintext);
        assert!(is_signed || of_driver.len() == message.len());
        driver.decrypt(if keys == DataKeys::Wrapped { &message } else { &of_driver }, &mut opened);
        assert!(opened == plaintext);
        Self { client, driver, plaintext, message }
    }
}

fn has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn of_driver(subject: &Subject) -> Vec<u8> {
    let mut message = Vec::new();
    subject.driver.encrypt(&subject.plaintext, &mut message);
    message
}

fn seal_stream(client: &Client, plaintext: &[u8]) {
    let mut writer = client.encryptor(&EncryptionContext::empty()).unwrap().writer(io::sink());
    writer.write_all(black_box(plaintext)).unwrap();
    writer.finish().unwrap();
}

struct Bench {
    filter: Option<String>,
    figures: Vec<Figure>,
}

impl Bench {
    /// Measures a job of `bytes` bytes: `ours` against `limit`. A bar of 0 is none.
    fn job(&mut self, job: String, bar: f64, bytes: usize, ours: impl Fn() + Sync, limit: impl Fn() + Sync) {
        let times = |work: &dyn Fn(), count| (0..count).for_each(|_| work());
        let (ours, limit) = (|_: usize, count: u64| times(&ours, count), |_: usize, count: u64| times(&limit, count));
        let rounds = take_turns(ROUNDS, &[Variant::new(1, &ours), Variant::new(1, &limit)]);
        let ratio = median(rounds.iter().map(|rates| rates[0] / rates[1]));
        let rate = median(rounds.iter().map(|rates| rates[0])) * bytes as f64;
        let verdict = match bar {
            0.0 => String::new(),
            bar => format!("  bar {bar:.2}{}", if ratio >= bar { "" } else { "  MISSED" }),
        };
        let speed = match bytes {
            0..MIB => format!("{:.0}/s", rate / bytes as f64),
            _ => format!("{}/s", size(rate)),
        };
        println!("{job:<64} {speed:>12}  ratio {ratio:.2}, {:.2} times the time{verdict}", 1.0 / ratio);
        self.figures.push(Figure { job, bar, ratio, rate });
    }

    fn wants(&self, job: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| job.contains(filter))
    }

    /// The names of the jobs of these kinds, if any of them is wanted.
    fn jobs<const N: usize>(&self, kinds: [&str; N], name: &str) -> Option<[String; N]> {
        let jobs = kinds.map(|kind| format!("{kind} {name}"));
        jobs.iter().any(|job| self.wants(job)).then_some(jobs)
    }

    /// Whole messages into memory that is used again. `bars` are those of encrypting and decrypting.
    fn whole(&mut self, subject: &Subject, name: &str, bars: [f64; 2]) {
        let Some([first, second]) = self.jobs(["encrypt", "decrypt"], name) else {
            return;
        };
        let Subject { client, plaintext, driver, message } = subject;
        let (len, none) = (plaintext.len(), EncryptionContext::empty());
        let outs = [Mutex::new(Vec::new()), Mutex::new(Vec::new())];
        if self.wants(&first) {
            let ours = || client.encrypt_into(black_box(plaintext), &none, &mut outs[0].lock().unwrap()).unwrap();
            self.job(first, bars[0], len, ours, || driver.encrypt(black_box(plaintext), &mut outs[1].lock().unwrap()));
        }
        let message_of_driver = of_driver(subject);
        let outs = [Mutex::new(vec![0; len]), Mutex::new(vec![0; len])];
        if self.wants(&second) {
            let ours = || {
                client.decrypt_into(black_box(message), ExpectedContext::any(), &mut outs[0].lock().unwrap()).unwrap();
            };
            let limit = || driver.decrypt(black_box(&message_of_driver), &mut outs[1].lock().unwrap());
            self.job(second, bars[1], len, ours, limit);
        }
    }

    /// Whole messages into new memory.
    fn whole_new(&mut self, subject: &Subject, name: &str, bar: f64) {
        let kinds = ["encrypt into new memory,", "decrypt into new memory,"];
        let Some([first, second]) = self.jobs(kinds, name) else {
            return;
        };
        let Subject { client, plaintext, driver, message } = subject;
        let (len, none) = (plaintext.len(), EncryptionContext::empty());
        if self.wants(&first) {
            let ours = || drop(black_box(client.encrypt(black_box(plaintext), &none).unwrap()));
            let limit = || {
                let mut out = Vec::new();
                driver.encrypt(black_box(plaintext), &mut out);
                black_box(out);
            };
            self.job(first, bar, len, ours, limit);
        }
        let message_of_driver = of_driver(subject);
        if self.wants(&second) {
            let ours = || drop(black_box(client.decrypt(black_box(message), ExpectedContext::any()).unwrap()));
            let limit = || {
                let mut out = vec![0; len];
                driver.decrypt(black_box(&message_of_driver), &mut out);
                black_box(out);
            };
            self.job(second, bar, len, ours, limit);
        }
    }

    /// So many messages in one call, against the primitives for one message at a time.
    fn batch(&mut self, subject: &Subject, count: usize, name: &str, bar: f64) {
        let name = format!("{count} of {name}");
        let Some([first, second]) = self.jobs(["encrypt a batch of", "decrypt a batch of"], &name) else {
            return;
        };
        let Subject { client, plaintext, driver, message } = subject;
        let (len, none) = (plaintext.len(), EncryptionContext::empty());
        let outs = [Mutex::new(Vec::new()), Mutex::new(Vec::new())];
        if self.wants(&first) {
            let batch = vec![(plaintext, &none); count];
            let ours = || drop(client.encrypt_batch_into(black_box(&batch), &mut outs[0].lock().unwrap()).unwrap());
            let limit = || {
                (0..count).for_each(|_| driver.encrypt(black_box(plaintext), &mut outs[1].lock().unwrap()));
            };
            self.job(first, bar, count * len, ours, limit);
        }
        let (batch, of_driver) = (vec![message; count], of_driver(subject));
        let outs = [Mutex::new(Vec::new()), Mutex::new(vec![0; len])];
        if self.wants(&second) {
            let ours = || {
                let out = &mut outs[0].lock().unwrap();
                let opened = client.decrypt_batch_into(black_box(&batch), ExpectedContext::any(), out).unwrap();
                assert!(opened.iter().all(Result::is_ok));
            };
            let limit = || {
                (0..count).for_each(|_| driver.decrypt(black_box(&of_driver), &mut outs[1].lock().unwrap()));
            };
            self.job(second, bar, count * len, ours, limit);
        }
    }

    fn streams(&mut self, len: usize, frame_length: usize, bar: f64) {
        let name = format!("{} in frames of {}", size(len as f64), size(frame_length as f64));
        let Some([first, second]) = self.jobs(["stream into a sink,", "stream from a slice,"], &name) else {
            return;
        };
        let Subject { client, plaintext, driver, message } = Subject::new(len, frame_length);
        let pieces = [Mutex::new(vec![0; 2 * frame_length]), Mutex::new(vec![0; 2 * frame_length])];
        if self.wants(&first) {
            let ours = || seal_stream(&client, &plaintext);
            let limit = || driver.encrypt_through(black_box(&plaintext), &mut pieces[0].lock().unwrap());
            self.job(first, bar, len, ours, limit);
        }
        if self.wants(&second) {
            let ours = || {
                let mut source = black_box(&message).as_slice();
                let header = client.read_header(&mut source).unwrap();
                let mut reader = client.decryptor(header, ExpectedContext::any()).unwrap().reader(source);
                let mut piece = pieces[0].lock().unwrap();
                while reader.read(&mut piece).unwrap() > 0 {}
            };
            self.job(second, bar, len, ours, || driver.decrypt_through(&message, &mut pieces[1].lock().unwrap()));
        }
    }

    /// Signed messages, against the hashing that two threads cannot split.
    fn signed(&mut self, len: usize, bar: f64) {
        let name = format!("{} signed, two threads, against SHA-384", size(len as f64));
        let Some([first, second]) = self.jobs(["encrypt", "decrypt"], &name) else {
            return;
        };
        let client = client(true, DataKeys::Wrapped, 64 * KIB, 2);
        let none = EncryptionContext::empty();
        let plaintext = vec![0x61; len];
        let message = client.encrypt(&plaintext, &none).unwrap();
        let out = Mutex::new(Vec::new());
        if self.wants(&first) {
            let ours = || client.encrypt_into(black_box(&plaintext), &none, &mut out.lock().unwrap()).unwrap();
            self.job(first, bar, len, ours, || bare::hash(black_box(&message)));
        }
        if self.wants(&second) {
            let ours = || {
                client.decrypt_into(black_box(&message), ExpectedContext::any(), &mut out.lock().unwrap()).unwrap();
            };
            self.job(second, bar, len, ours, || bare::hash(black_box(&message)));
        }
    }

    /// Two threads against one, and against the primitives on two.
    fn threads(&mut self, len: usize, bar: f64) {
        let name = format!("{} on two threads", size(len as f64));
        let kinds = [
            "encrypt against one,",
            "decrypt against one,",
            "stream out against one,",
            "stream in against one,",
            "encrypt against the primitives,",
        ];
        let Some([encrypt, decrypt, write, read, limit]) = self.jobs(kinds, &name) else {
            return;
        };
        let (one, two) = (unsigned(64 * KIB, 1), unsigned(64 * KIB, 2));
        let none = EncryptionContext::empty();
        let plaintext = vec![0x61; len];
        let message = one.encrypt(&plaintext, &none).unwrap();
        let outs = [Mutex::new(Vec::new()), Mutex::new(Vec::new())];
        let seal = |client: &Client, out: &Mutex<Vec<u8>>| {
            client.encrypt_into(black_box(&plaintext), &none, &mut out.lock().unwrap()).unwrap();
        };
        let open = |client: &Client, out: &Mutex<Vec<u8>>| {
            client.decrypt_into(black_box(&message), ExpectedContext::any(), &mut out.lock().unwrap()).unwrap();
        };
        if self.wants(&encrypt) {
            self.job(encrypt, bar, len, || seal(&two, &outs[0]), || seal(&one, &outs[1]));
        }
        if self.wants(&decrypt) {
            self.job(decrypt, bar, len, || open(&two, &outs[0]), || open(&one, &outs[1]));
        }
        let open_stream = |client: &Client| {
            let mut source = black_box(&message).as_slice();
            let header = client.read_header(&mut source).unwrap();
            let mut reader = client.decryptor(header, ExpectedContext::any()).unwrap().reader(source);
            while let [_, ..] = reader.fill_buf().unwrap() {
                reader.consume(usize::MAX);
            }
        };
        if self.wants(&write) {
            self.job(write, bar, len, || seal_stream(&two, &plaintext), || seal_stream(&one, &plaintext));
        }
        if self.wants(&read) {
            // No bar: all that comes passes through one thread first.
            self.job(read, 0.0, len, || open_stream(&two), || open_stream(&one));
        }
        if self.wants(&limit) {
            let driver = Driver::new(false, DataKeys::Wrapped, 64 * KIB, len);
            let primitives = || driver.encrypt_on_two_threads(black_box(&plaintext), &mut outs[1].lock().unwrap());
            self.job(limit, 0.9, len, || seal(&two, &outs[0]), primitives);
        }
    }

    /// Small reads all over a large message, against opening the frames that they touch.
    fn seeking(&mut self, len: usize, frame_length: usize, bar: f64) {
        const READ: usize = 4 * KIB;
        let job = format!("read 4 KiB anywhere in {}, frames of {}", size(len as f64), size(frame_length as f64));
        if !self.wants(&job) {
            return;
        }
        let Subject { client, driver, message, .. } = Subject::new(len, frame_length);
        let header = client.read_header(message.as_slice()).unwrap();
        let file = client.decryptor(header, ExpectedContext::any()).unwrap().seekable(&message[..]).unwrap();
        let started = driver.open(&message);
        // The same places for both, all over the message: a step that has no divisor in common with its length.
        let offset = |turn: &AtomicUsize| turn.fetch_add(611_953_829, Ordering::Relaxed) % (len - READ);
        let turns = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let pieces = [Mutex::new(vec![0; READ]), Mutex::new(vec![0; frame_length])];
        let ours = || {
            let read = file.read_at(offset(&turns[0]) as u64, &mut pieces[0].lock().unwrap()).unwrap();
            assert_eq!(read, READ);
        };
        let limit = || driver.open_at(&started, &message, offset(&turns[1]), READ, &mut pieces[1].lock().unwrap());
        self.job(job, bar, READ, ours, limit);
    }
}

/// Streams so many bytes through a writer and a reader, whose memory is then to be looked at.
fn stream(len: u64, threads: usize) {
    let client = unsigned(64 * KIB, threads);
    let mut writer = client.encryptor(&EncryptionContext::empty()).unwrap().writer(Opener::new(&client));
    writer.write_from(io::repeat(0x61).take(len)).unwrap();
    let opener = writer.finish().unwrap();
    drop(opener.pipe);
    assert_eq!(opener.thread.join().unwrap(), len);
}

/// Prints how much memory processes need that stream little and much.
fn memory() {
    let program = std::env::current_exe().unwrap();
    for (threads, len) in [(1, 16 * MIB), (1, 4096 * MIB), (2, 16 * MIB), (2, 4096 * MIB)] {
        let output = Command::new(&program).args(["stream", &len.to_string(), &threads.to_string()]).output().unwrap();
        let peak = String::from_utf8(output.stdout).unwrap();
        let len = size(len as f64);
        println!("peak memory, {len} through a writer and a reader, {threads} thread(s) each: {}", peak.trim());
    }
}

/// A sink that opens on another thread what is written to it.
struct Opener {
    pipe: io::PipeWriter,
    thread: std::thread::JoinHandle<u64>,
}

impl Opener {
    fn new(client: &Client) -> Self {
        let (mut source, pipe) = io::pipe().unwrap();
        let client = client.clone();
        let thread = std::thread::spawn(move || {
            let header = client.read_header(&mut source).unwrap();
            let mut reader = client.decryptor(header, ExpectedContext::any()).unwrap().reader(source);
            io::copy(&mut reader, &mut io::sink()).unwrap()
        });
        Self { pipe, thread }
    }
}

impl Write for Opener {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

/// Prints the peak memory of this process, where the system reports it.
fn print_peak_memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).map_or("not told here", str::trim);
    println!("{peak}");
}

/// For people: 65,536 is 64 KiB.
fn size(bytes: f64) -> String {
    let units = [("GiB", (1_u64 << 30) as f64), ("MiB", MIB as f64), ("KiB", KIB as f64)];
    let (unit, scale) = units.into_iter().find(|(_, scale)| bytes >= *scale).unwrap_or(("B", 1.0));
    let scaled = bytes / scale;
    if scaled.fract() == 0.0 { format!("{scaled} {unit}") } else { format!("{scaled:.1} {unit}") }
}

fn main() {
    let words: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [word, len, threads] = &words[..]
        && word == "stream"
    {
        stream(len.parse().unwrap(), threads.parse().unwrap());
        print_peak_memory();
        return;
    }
    let mut bench = Bench { filter: words.first().cloned(), figures: Vec::new() };
    for (keys, bars) in [(DataKeys::Wrapped, [1.0 / 1.12; 2]), (DataKeys::AtHand, [1.0 / 1.10, 1.0 / 1.12])] {
        for len in [100, KIB] {
            let name = format!("{}, data key {}", size(len as f64), keys.name());
            bench.whole(&Subject::of(false, keys, len, 4 * KIB), &name, bars);
        }
    }
    for keys in [DataKeys::Wrapped, DataKeys::AtHand] {
        let (subject, name) = (Subject::of(false, keys, KIB, 4 * KIB), format!("1 KiB, data key {}", keys.name()));
        // Without AVX-512 no batch is slower than its messages are alone, and none is much faster.
        let is_wide = cfg!(feature = "batch") && has_avx512();
        for (count, bar) in [(1, 0.0), (8, 1.4), (64, 2.3)] {
            bench.batch(&subject, count, &name, if is_wide { bar } else { 0.0 });
        }
    }
    for (keys, bar) in [(DataKeys::Wrapped, 1.0 / 1.05), (DataKeys::AtHand, 1.0 / 1.08)] {
        let name = format!("1 KiB signed, data key {}", keys.name());
        bench.whole(&Subject::of(true, keys, KIB, 4 * KIB), &name, [bar, 0.0]);
    }
    for (len, frame_length, used, new) in [
        (64 * KIB, 4 * KIB, 1.0 / 1.06, 1.0 / 1.10),
        (MIB, 4 * KIB, 0.90, 1.0 / 1.06),
        (MIB, 64 * KIB, 0.95, 1.0 / 1.06),
        (64 * MIB, 64 * KIB, 1.0 / 1.05, 0.0),
        (64 * MIB, MIB, 1.0 / 1.05, 0.0),
    ] {
        let name = format!("{} in frames of {}", size(len as f64), size(frame_length as f64));
        let subject = Subject::new(len, frame_length);
        bench.whole(&subject, &name, [used; 2]);
        bench.whole_new(&subject, &name, new);
    }
    bench.streams(16 * MIB, 64 * KIB, 0.85);
    bench.signed(16 * MIB, 0.90);
    bench.signed(128 * MIB, 0.90);
    bench.threads(64 * MIB, 1.8);
    bench.threads(1024 * MIB, 1.8);
    bench.seeking(1 << 30, 4 * KIB, 1.0 / 1.5);
    bench.seeking(1 << 30, 64 * KIB, 1.0 / 1.5);
    if bench.wants("memory") {
        memory();
    }
    if let Some(path) = std::env::var_os("PLOT") {
        std::fs::write(path, plot::svg(&bench.figures)).unwrap();
    }
}
