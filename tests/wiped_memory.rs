//! No key is left in memory when everything that held it is gone.
//!
//! The search covers all writable memory of the process, including the dead stack of the thread that did the work.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use aes_gcm::Aes256Gcm;
use manila::keyring::{Keyring, RawAesKeyring};
use manila::materials::{DataKey, DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
use manila::testing::{client_for, derive_key};
use manila::{AlgorithmSuite, Client, EncryptedDataKey, EncryptionContext, ExpectedContext, UnverifiedHeader};
use zeroize::Zeroizing;

/// The key to look for, masked: the program only has it in the clear where it hands it over.
static MASKED: [u8; 32] = *b"\x11\x93\x5e\xd0\x27\x68\xaf\x04\xc3\x7b\xee\x3a\x99\x52\xb6\x1d\
\x84\xf7\x20\x6c\xd9\x35\xa8\x4f\x02\xe1\x76\xbb\x18\xcd\x60\x9a";

fn key() -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; MASKED.len()]);
    for (byte, masked) in bytes.iter_mut().zip(std::hint::black_box(&MASKED)) {
        *byte = masked ^ 0x5a;
    }
    bytes
}

/// Uses the key as the data key of each message.
#[derive(Debug)]
struct Known(AlgorithmSuite);

impl Known {
    fn data_key(&self) -> DataKey {
        DataKey::new(&key()[..self.0.data_key_len()])
    }
}

impl Keyring for Known {
    fn on_encrypt<'a>(&'a self, _: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(async {
            let wrapped = EncryptedDataKey { provider_id: "p".into(), provider_info: vec![], ciphertext: vec![] };
            Ok(WrappedKeys { data_key: Some(self.data_key()), encrypted_data_keys: vec![wrapped] })
        })
    }

    fn on_decrypt<'a>(&'a self, _: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(async { Ok(UnwrapOutcome { data_key: Some(self.data_key()), causes: Vec::new() }) })
    }

    fn is_local(&self) -> bool {
        true
    }
}

/// A sink that stays accessible when its writer does not return it.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const SUITE: AlgorithmSuite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;

fn client(suite: AlgorithmSuite, keyring: impl Keyring + 'static) -> Client {
    client_for(suite, keyring).unwrap()
}

/// A copy of all writable memory, and the message that was made before it was taken.
struct Dump {
    file: File,
    message: Vec<u8>,
}

impl Dump {
    /// Runs `work` on a thread that then stands still, and copies the memory.
    fn after(work: impl FnOnce() -> Vec<u8> + Send + 'static) -> Self {
        let (done, wait) = channel();
        let (go_on, stand_still) = channel::<()>();
        let worker = std::thread::spawn(move || {
            done.send(work()).unwrap();
            let _ = stand_still.recv();
        });
        let message = wait.recv().unwrap();
        // Into a file, because the copy must not enlarge the memory that is copied.
        let mut file = tempfile::tempfile().unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        let mut page = vec![0; 4096];
        for line in maps.lines().filter(|line| line.contains(" rw")) {
            let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
            for at in (start..end).step_by(page.len()) {
                // Some of the kernel's pages cannot be read.
                if memory.read_exact_at(&mut page, at).is_ok() {
                    file.write_all(&page).unwrap();
                }
            }
        }
        drop(go_on);
        worker.join().unwrap();
        Self { file, message }
    }

    /// Counts the occurrences of `key` and of each of its halves: they are the first two round keys of AES.
    fn occurrences(&self, key: &[u8]) -> [usize; 3] {
        let mut bytes = vec![0; usize::try_from(self.file.metadata().unwrap().len()).unwrap()];
        self.file.read_exact_at(&mut bytes, 0).unwrap();
        let (first, second) = key.split_at(key.len() / 2);
        [key, first, second].map(|part| bytes.windows(part.len()).filter(|window| *window == part).count())
    }

    /// Returns the data key of a message of a raw AES keyring under the key.
    fn data_key(&self) -> Vec<u8> {
        let header = UnverifiedHeader::parse(&self.message).unwrap();
        let wrapped = &header.encrypted_data_keys()[0];
        let iv = wrapped.provider_info.last_chunk::<12>().unwrap();
        let cipher = <Aes256Gcm as aes_gcm::KeyInit>::new_from_slice(&key()).unwrap();
        aes_gcm::aead::Aead::decrypt(&cipher, &(*iv).into(), wrapped.ciphertext.as_slice()).unwrap()
    }

    /// Returns the key of the message.
    fn message_key(&self) -> Vec<u8> {
        let header = UnverifiedHeader::parse(&self.message).unwrap();
        let suite = header.suite();
        derive_key(suite, &key()[..suite.data_key_len()], header.message_id()).unwrap().0
    }
}

/// A single test, which takes all copies before it searches any, because a search holds the key it looks for.
#[test]
fn keys_are_wiped_when_all_that_held_them_is_dropped() {
    let data_key = Dump::after(|| {
        drop(DataKey::new(&key()));
        Vec::new()
    });
    let raw_aes = Dump::after(|| {
        let client = client(SUITE, RawAesKeyring::new("tests", "k", &key()).unwrap());
        let message = client.encrypt(b"x", &EncryptionContext::empty()).unwrap();
        client.decrypt(&message, ExpectedContext::any()).unwrap();
        message
    });
    let messages = AlgorithmSuite::ALL.map(|suite| {
        Dump::after(move || {
            let client = client(suite, Known(suite));
            let message = client.encrypt(&[7; 10_000], &EncryptionContext::empty()).unwrap();
            client.decrypt(&message, ExpectedContext::any()).unwrap();
            message
        })
    });
    let batch = Dump::after(|| {
        let client = client(SUITE, Known(SUITE));
        let plaintexts = vec![(vec![7; 100], EncryptionContext::empty()); 40];
        let sealed: Vec<_> = client.encrypt_batch(&plaintexts).unwrap().into_iter().map(Result::unwrap).collect();
        client.decrypt_batch(&sealed, ExpectedContext::any()).unwrap();
        sealed[20].clone()
    });
    let raw_batch = Dump::after(|| {
        // The keyring draws the data keys together with those of the other messages, and wraps them under this key.
        let client = client(SUITE, RawAesKeyring::new("tests", "k", &key()).unwrap());
        let plaintexts = vec![(vec![7; 100], EncryptionContext::empty()); 40];
        let sealed: Vec<_> = client.encrypt_batch(&plaintexts).unwrap().into_iter().map(Result::unwrap).collect();
        sealed[39].clone()
    });
    // Proves last that the search finds a key that is there, because this key stays in memory.
    let unfinished = Dump::after(|| {
        let sink = Shared::default();
        let mut writer =
            client(SUITE, Known(SUITE)).encryptor(&EncryptionContext::empty()).unwrap().writer(sink.clone());
        writer.try_finish().unwrap();
        std::mem::forget(writer);
        sink.0.lock().unwrap().clone()
    });
    let leaked = Dump::after(|| {
        std::mem::forget(key().to_vec());
        Vec::new()
    });

    assert!(leaked.occurrences(&key())[0] > 0, "the search finds nothing");
    // AWS-LC may store round keys in its own order.
    if cfg!(not(feature = "aws-lc")) {
        assert!(unfinished.occurrences(&unfinished.message_key())[0] > 0, "the search does not find a message's key");
    }
    assert_eq!(data_key.occurrences(&key()), [0; 3], "a data key");
    assert_eq!(raw_aes.occurrences(&key()), [0; 3], "the key of a raw AES keyring");
    let data_key_of_batch = raw_batch.data_key();
    assert_eq!(raw_batch.occurrences(&data_key_of_batch), [0; 3], "a data key that a batch drew");
    assert_eq!(batch.occurrences(&key()), [0; 3], "the data key of a batch");
    assert_eq!(batch.occurrences(&batch.message_key()), [0; 3], "the key of a message of a batch");
    for (suite, dump) in AlgorithmSuite::ALL.into_iter().zip(messages) {
        assert_eq!(dump.occurrences(&key()[..suite.data_key_len()]), [0; 3], "the data key of a message of {suite}");
        assert_eq!(dump.occurrences(&dump.message_key()), [0; 3], "the key of a message of {suite}");
    }
}
