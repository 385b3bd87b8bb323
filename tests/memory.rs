//! Memory use follows the data that arrives, never the claims of a header; and every message can be handled on a small
//! stack.

#![allow(unsafe_code, reason = "a counting allocator needs it")]

#[cfg(feature = "cache")]
#[path = "support/junk.rs"]
mod junk;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Read, Write};

use manila::testing::FixedKeyKeyring;
use manila::{AlgorithmSuite, Client, EncryptionContext, ErrorKind, ExpectedContext, UnverifiedHeader};

/// Counts the bytes that this thread has allocated, their maximum, the number of allocations, and the number of those
/// as large as a message.
struct Counting;

/// The minimum size of an allocation for a message of 1 KiB.
const OF_A_MESSAGE: usize = 1 << 10;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
    static TAKEN_FOR_A_MESSAGE: Cell<usize> = const { Cell::new(0) };
    static HELD: Cell<usize> = const { Cell::new(0) };
    static MOST: Cell<usize> = const { Cell::new(0) };
}

fn hold(bytes: usize) {
    let _ = TAKEN.try_with(|taken| taken.set(taken.get() + 1));
    let _ = TAKEN_FOR_A_MESSAGE.try_with(|taken| taken.set(taken.get() + usize::from(bytes >= OF_A_MESSAGE)));
    let _ = HELD.try_with(|held| {
        held.set(held.get().saturating_add(bytes));
        MOST.with(|most| most.set(most.get().max(held.get())));
    });
}

fn release(bytes: usize) {
    let _ = HELD.try_with(|held| held.set(held.get().saturating_sub(bytes)));
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        hold(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        hold(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        release(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the most bytes that `work` held at a time, on top of those held before.
fn most_held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    MOST.set(before);
    let done = work();
    (done, MOST.get() - before)
}

/// Returns how often `work` allocated memory, and how often as much as a message.
fn taken<T>(work: impl FnOnce() -> T) -> (usize, usize) {
    let before = (TAKEN.get(), TAKEN_FOR_A_MESSAGE.get());
    work();
    (TAKEN.get() - before.0, TAKEN_FOR_A_MESSAGE.get() - before.1)
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn client(suite: AlgorithmSuite, frame_length: u32) -> Client {
    Client::builder(FixedKeyKeyring::new(&[7; 32])).suite(suite).frame_length(frame_length).build().unwrap()
}

fn none() -> EncryptionContext {
    EncryptionContext::empty()
}

/// Returns a version 2 header with one empty data key, up to the end of the given bytes.
fn header_up_to(parts: &[&[u8]]) -> Vec<u8> {
    [&[&[2, 0x04, 0x78][..], &[0; 32]], parts].concat().concat()
}

#[test]
fn claims_of_a_header_cost_nothing() {
    let most_keys = header_up_to(&[&[0, 0], &[0xff, 0xff]]);
    let longest_context = header_up_to(&[&[0xff, 0xff]]);
    let longest_field = header_up_to(&[&[0, 0], &[0, 1], &[0xff, 0xff]]);
    for (claim, kind) in [
        (&most_keys, ErrorKind::LimitExceeded),
        (&longest_context, ErrorKind::Truncated),
        (&longest_field, ErrorKind::Truncated),
    ] {
        let (refused, held) = most_held(|| UnverifiedHeader::parse(claim).unwrap_err());
        assert_eq!(refused.kind(), kind);
        // Each of these claims is of 64 KiB or more. A stream allocates memory for one field at a time.
        assert!(held < 4 * KIB, "{held} bytes held for {} that came", claim.len());
        let (refused, held) = most_held(|| UnverifiedHeader::read(&claim[..]).unwrap_err());
        assert_eq!(refused.kind(), kind);
        assert!(held < 72 * KIB, "{held} bytes held for {} that came from a stream", claim.len());
    }
    // Without the limit: 65,535 data keys are claimed, and none follow.
    let limits = manila::HeaderLimits { max_encrypted_data_keys: u16::MAX, ..Default::default() };
    let (refused, held) = most_held(|| UnverifiedHeader::parse_within(&most_keys, limits).unwrap_err());
    assert_eq!(refused.kind(), ErrorKind::Truncated);
    assert!(held < 8 * KIB, "{held}");
}

#[test]
fn a_claimed_frame_of_4_gib_costs_nothing() {
    let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
    let writer = Client::builder(FixedKeyKeyring::new(&[7; 32])).suite(suite);
    let message =
        writer.frame_length(u32::MAX).max_frame_length(u32::MAX).build().unwrap().encrypt(b"x", &none()).unwrap();
    let reader = client(suite, 4096);
    let (refused, held) = most_held(|| reader.decrypt(&message, ExpectedContext::any()).unwrap_err());
    assert_eq!(refused.kind(), ErrorKind::LimitExceeded);
    assert!(held < 16 * KIB, "{held}");

    // Without the limit, the frame takes its actual size, not its maximum.
    let lifted = Client::builder(FixedKeyKeyring::new(&[7; 32])).max_frame_length(u32::MAX).build().unwrap();
    let (opened, held) = most_held(|| lifted.decrypt(&message, ExpectedContext::any()).unwrap());
    assert_eq!(opened.plaintext, b"x");
    assert!(held < 16 * KIB, "{held}");
    let (length, held) = most_held(|| {
        let header = UnverifiedHeader::parse(&message).unwrap();
        let body = &message[header.len()..];
        io::copy(&mut lifted.decryptor(header, ExpectedContext::any()).unwrap().reader(body), &mut io::sink()).unwrap()
    });
    assert_eq!(length, 1);
    assert!(held < 256 * KIB, "{held}");
}

#[test]
fn a_non_framed_body_that_does_not_come_costs_nothing() {
    // Version 1, non-framed, claims 64 MiB and sends none of it. Found in the crafted vectors with other lengths.
    let suite = AlgorithmSuite::Aes256GcmHkdfSha256;
    let client = manila::testing::client_for(suite, FixedKeyKeyring::new(&[7; 32])).unwrap();
    let message = client.encrypt(b"", &none()).unwrap();
    let header = UnverifiedHeader::parse(&message).unwrap();
    let body = [&[0; 12][..], &(64 * MIB as u64).to_be_bytes(), &[0; 1000]].concat();
    let mut non_framed =
        [&header.as_bytes()[..header.len() - 28 - 10], &[1, 0, 0, 0, 0, 12, 0, 0, 0, 0], &[0; 28], &body].concat();
    assert_eq!(UnverifiedHeader::parse(&non_framed).unwrap().content_type(), manila::ContentType::NonFramed);
    let (_, held) = most_held(|| client.decrypt(&non_framed, ExpectedContext::any()).unwrap_err());
    assert!(held < 64 * KIB, "{held}");
    // Above the limit: detected before the header's tag, which is wrong here.
    let at = non_framed.len() - 1000 - 8;
    non_framed[at..at + 8].copy_from_slice(&(64 * MIB as u64 + 1).to_be_bytes());
    assert_eq!(client.decrypt(&non_framed, ExpectedContext::any()).unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn streams_take_constant_memory() {
    for (suite, frame_length) in [
        (AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, 4096),
        (AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, 65_536),
        (AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384, 65_536),
    ] {
        let client = client(suite, frame_length);
        let held_for = |len: u64| {
            let (mut message, held_sealing) = most_held(|| {
                let file = tempfile::tempfile().unwrap();
                let mut writer = client.encryptor(&none()).unwrap().writer(file);
                io::copy(&mut io::repeat(7).take(len), &mut writer).unwrap();
                writer.finish().unwrap()
            });
            io::Seek::rewind(&mut message).unwrap();
            let (opened, held_opening) = most_held(|| {
                let header = UnverifiedHeader::read(&mut message).unwrap();
                let mut reader = client.decryptor(header, ExpectedContext::any()).unwrap().reader(&message);
                io::copy(&mut reader, &mut io::sink()).unwrap()
            });
            assert_eq!(opened, len);
            (held_sealing, held_opening)
        };
        let (short, long) = (held_for(MIB as u64), held_for(64 * MIB as u64));
        assert_eq!(short, long, "memory grows with the message");
        assert!(long.0 < 512 * KIB && long.1 < 512 * KIB, "{long:?}");
    }
}

#[test]
fn a_stream_on_many_threads_takes_no_more_than_it_says() {
    let keyring = || FixedKeyKeyring::new(&[7; 32]);
    for (threads, frame_length, most) in [(64, 4096, 256), (64, 64 << 20, 512), (2, 64 << 20, 256), (64, 1 << 20, 260)]
    {
        let client = Client::builder(keyring()).frame_length(frame_length).threads(threads).build().unwrap();
        let writer = || client.encryptor(&none()).unwrap().writer(io::sink());
        let ((), held) = most_held(|| writer().write_all(b"x").unwrap());
        assert!(held < most * MIB, "{threads} threads, frames of {frame_length}: {} MiB", held / MIB);
    }
}

/// Runs `work` on a 2 MiB stack, the default for threads.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 * MIB).spawn(work).unwrap().join().unwrap();
}

/// Encrypts and decrypts on every path.
fn every_path(plaintext: &[u8], frame_length: u32) {
    for suite in [AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384] {
        let client = client(suite, frame_length);
        let whole = client.encrypt(plaintext, &none()).unwrap();
        let mut writer = client.encryptor(&none()).unwrap().writer(Vec::new());
        writer.write_all(plaintext).unwrap();
        let streamed = writer.finish().unwrap();
        assert_eq!(whole.len(), streamed.len());
        for message in [whole, streamed] {
            assert!(client.decrypt(&message, ExpectedContext::any()).unwrap().plaintext == plaintext);
            let header = UnverifiedHeader::parse(&message).unwrap();
            let summary = header.summarize_body(&message[header.len()..]).unwrap();
            assert_eq!(summary.plaintext_len(), plaintext.len() as u64);
            let body = &message[header.len()..];
            let mut opened = Vec::with_capacity(plaintext.len());
            client.decryptor(header, ExpectedContext::any()).unwrap().reader(body).read_to_end(&mut opened).unwrap();
            assert!(opened == plaintext);
        }
    }
}

#[test]
fn a_64_mib_message_in_4_kib_frames_fits_a_small_stack() {
    on_a_small_stack(|| every_path(&vec![0x61; 64 * MIB], 4096));
}

#[test]
fn a_million_frames_of_one_byte_fit_a_small_stack() {
    on_a_small_stack(|| every_path(&vec![0x61; 1_000_000], 1));
}

#[test]
fn a_frame_takes_no_memory_of_its_own() {
    for suite in [AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384] {
        let client = client(suite, 4096);
        let none = none();
        // The counts on each path are the same for two hundred frames as for twenty.
        let counts = |len: usize| {
            let plaintext = vec![7; len];
            let message = client.encrypt(&plaintext, &none).unwrap();
            let (mut sealed, mut opened) = (message.clone(), plaintext.clone());
            let whole = taken(|| client.encrypt_into(&plaintext, &none, &mut sealed).unwrap()).0;
            let back = taken(|| client.decrypt_into(&message, ExpectedContext::any(), &mut opened).unwrap()).0;
            let in_place = taken(|| client.decrypt_in_place(&mut sealed, ExpectedContext::any()).unwrap()).0;
            let written = taken(|| {
                let mut writer = client.encryptor(&none).unwrap().writer(io::sink());
                writer.write_all(&plaintext).unwrap();
                writer.finish().unwrap();
            });
            let sourced = taken(|| {
                let mut writer = client.encryptor(&none).unwrap().writer(io::sink());
                writer.write_from(plaintext.as_slice()).unwrap();
                writer.finish().unwrap();
            });
            let read = taken(|| {
                let header = UnverifiedHeader::parse(&message).unwrap();
                let body = &message[header.len()..];
                io::copy(&mut client.decryptor(header, ExpectedContext::any()).unwrap().reader(body), &mut io::sink())
            });
            [whole, back, in_place, written.0, sourced.0, read.0]
        };
        counts(4096);
        // Signing takes a random number of tries.
        let signing = if suite.is_signed() { 20 } else { 0 };
        for (few, many) in counts(20 * 4096).into_iter().zip(counts(200 * 4096)) {
            assert!(many <= few + signing, "{suite}: {few} for 20 frames, {many} for 200");
        }
    }
}

#[test]
fn a_small_message_takes_memory_of_its_size_once() {
    for suite in [AlgorithmSuite::Aes256GcmHkdfSha512CommitKey, AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384] {
        let client = client(suite, 4096);
        let none = none();
        let plaintext = [7; OF_A_MESSAGE];
        let message = client.encrypt(&plaintext, &none).unwrap();
        assert_eq!(taken(|| client.encrypt(&plaintext, &none).unwrap()).1, 1);
        assert_eq!(taken(|| client.decrypt(&message, ExpectedContext::any()).unwrap()).1, 1);
        let (mut sealed, mut opened) = (message.clone(), message.clone());
        assert_eq!(taken(|| client.encrypt_into(&plaintext, &none, &mut sealed).unwrap()).1, 0);
        assert_eq!(taken(|| client.decrypt_into(&message, ExpectedContext::any(), &mut opened).unwrap()).1, 0);
        assert_eq!(taken(|| client.decrypt_in_place(&mut sealed, ExpectedContext::any()).unwrap()).1, 0);
    }
}

#[cfg(feature = "cache")]
mod cache {
    use std::time::Duration;

    use manila::cmm::{CacheSettings, CachingCmm, DefaultCmm};

    use super::*;
    use crate::junk::with_junk;

    const SUITE: AlgorithmSuite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;

    fn reader() -> (Client, CachingCmm) {
        let settings = CacheSettings::new(1000, Duration::from_secs(3600));
        let cmm = CachingCmm::new(DefaultCmm::new(FixedKeyKeyring::new(&[7; 32])), settings).unwrap();
        (Client::with_cmm(cmm.clone()), cmm)
    }

    /// Returns the bytes that are still allocated after `work`.
    fn left(work: impl FnOnce()) -> usize {
        let before = HELD.get();
        work();
        HELD.get().saturating_sub(before)
    }

    #[test]
    fn a_thousand_forged_messages_of_a_mib_leave_nothing_in_a_cache() {
        let (reader, cmm) = reader();
        let message = client(SUITE, 4096).encrypt(b"x", &none()).unwrap();
        reader.decrypt(&message, ExpectedContext::any()).unwrap();
        let left = left(|| {
            for n in 0..1000 {
                reader.decrypt(&with_junk(&message, n), ExpectedContext::any()).unwrap_err();
            }
        });
        assert!(left < MIB, "{left} bytes for a GiB that came");
        assert_eq!((cmm.stats().entries(), cmm.stats().evicted()), (1, 0));
    }

    #[test]
    fn an_entry_takes_little_however_large_a_header_is() {
        let (reader, cmm) = reader();
        let writer = client(SUITE, 4096);
        let messages: Vec<_> = (0..100)
            .map(|n| {
                let context = EncryptionContext::new([("n", n.to_string()), ("long", "v".repeat(60_000))]).unwrap();
                writer.encrypt(b"x", &context).unwrap()
            })
            .collect();
        let left = left(|| {
            for message in &messages {
                reader.decrypt(message, ExpectedContext::any()).unwrap();
            }
        });
        assert_eq!(cmm.stats().entries(), 100);
        assert!(left < 100 * 2 * KIB, "{left} bytes for 100 entries");
    }
}
