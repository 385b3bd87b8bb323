//! Whole messages in reused memory.

use std::task::{Context, Waker};

use manila::keyring::{Keyring, RawAesKeyring};
use manila::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
use manila::testing::{FixedKeyKeyring, client_for, ready};
use manila::{AlgorithmSuite, Client, ErrorKind};

use crate::{SUITES, UNSIGNED, any, client, none, parts, pattern};

#[test]
fn memory_is_used_again_whatever_it_held() {
    for suite in SUITES {
        let client = client(suite, 100);
        let (mut message, mut plaintext) = (pattern(5000), pattern(7000));
        // Shorter, longer than before, longer than the capacity, and empty.
        for len in [1000, 2000, 100_000, 0, 100, 101] {
            client.encrypt_into(&pattern(len), &none(), &mut message).unwrap();
            let header = client.decrypt_into(&message, any(), &mut plaintext).unwrap();
            assert_eq!(plaintext, pattern(len));
            assert_eq!(header.suite(), suite);
            assert_eq!(client.decrypt(&message, any()).unwrap().plaintext, pattern(len));
        }
        let memory = message.as_ptr();
        client.encrypt_into(&pattern(90_000), &none(), &mut message).unwrap();
        assert_eq!(message.as_ptr(), memory, "there was room");
    }
}

#[test]
fn a_message_is_opened_in_its_own_memory() {
    for suite in SUITES {
        let client = client(suite, 100);
        for len in [0, 1, 99, 100, 101, 5000] {
            let mut message = client.encrypt(&pattern(len), &none()).unwrap();
            let memory = message.as_ptr();
            client.decrypt_in_place(&mut message, any()).unwrap();
            assert_eq!((message.as_ptr(), &message), (memory, &pattern(len)));
        }
    }
}

/// A buffer whose old bytes can be inspected once it is empty.
struct Watched {
    buffer: Vec<u8>,
    /// The number of bytes ever written to it, and their address.
    written: usize,
    memory: *const u8,
}

impl Watched {
    fn holding(bytes: Vec<u8>) -> Self {
        Self { written: bytes.len(), memory: bytes.as_ptr(), buffer: bytes }
    }

    /// Returns what is left in the memory of an empty buffer.
    #[expect(unsafe_code, reason = "reading past the length of a vector needs it")]
    fn left(&mut self) -> Vec<u8> {
        assert!(self.buffer.is_empty(), "{} bytes are still there", self.buffer.len());
        assert_eq!(self.buffer.as_ptr(), self.memory, "the buffer was reallocated: nothing is known of the old memory");
        let spare = &self.buffer.spare_capacity_mut()[..self.written];
        // SAFETY: the vector held this many bytes in the same memory when it was made.
        spare.iter().map(|byte| unsafe { byte.assume_init() }).collect()
    }

    #[track_caller]
    fn assert_wiped(&mut self, why: &str) {
        let left = self.left().into_iter().filter(|byte| *byte != 0).count();
        assert_eq!(left, 0, "{left} of {} bytes are left after {why}", self.written);
    }
}

#[test]
fn a_buffer_that_is_emptied_and_no_more_is_seen() {
    let mut watched = Watched::holding(pattern(2000));
    watched.buffer.clear();
    assert_eq!(watched.left(), pattern(2000));
}

/// Makes keys as the inner keyring does, or waits for ever before that if told to.
#[derive(Debug)]
struct Remote {
    keys: FixedKeyKeyring,
    waits: bool,
    says_local: bool,
}

impl Remote {
    async fn wait(&self) {
        if self.waits {
            std::future::pending::<()>().await;
        }
    }
}

impl Keyring for Remote {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(async {
            self.wait().await;
            self.keys.on_encrypt(materials).await
        })
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(async {
            self.wait().await;
            self.keys.on_decrypt(request).await
        })
    }

    fn is_local(&self) -> bool {
        self.says_local
    }
}

fn remote(suite: AlgorithmSuite, waits: bool, says_local: bool) -> Client {
    let keys = FixedKeyKeyring::new(&[9; 32][..suite.data_key_len()]);
    client_for(suite, Remote { keys, waits, says_local }).unwrap()
}

/// Polls a future this many times, then drops it.
fn abandon(future: impl Future, polls: usize) {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
}

/// Ways to end before a key is known: the kind of error, the client, and how often its future is polled.
fn interruptions(suite: AlgorithmSuite) -> [(Option<ErrorKind>, Client, usize); 4] {
    [
        (Some(ErrorKind::NeedsAsync), remote(suite, false, false), 0),
        (Some(ErrorKind::Internal), remote(suite, true, true), 0),
        (None, remote(suite, true, false), 0),
        (None, remote(suite, true, false), 1),
    ]
}

#[test]
fn after_an_error_nothing_is_left_of_a_plaintext() {
    for suite in SUITES {
        let client = client(suite, 100);
        let good = client.encrypt(&pattern(1000), &none()).unwrap();
        let changed = |at: usize| {
            let mut bad = good.clone();
            bad[at] ^= 1;
            bad
        };
        let start = parts(&good).0.len();
        // Nothing is decrypted, only the header, some frames, or all but the last byte.
        for (why, bad) in [
            ("no message", b"no message".to_vec()),
            ("a header that is changed", changed(start - 1)),
            ("a first frame that is changed", changed(start + 50)),
            ("a later frame that is changed", changed(start + 800)),
            ("a last byte that is changed", changed(good.len() - 1)),
            ("a message that is cut", good[..good.len() - 1].to_vec()),
            ("a message that goes on", [&good[..], b"!"].concat()),
        ] {
            let mut plaintext = Watched::holding(pattern(2000));
            client.decrypt_into(&bad, any(), &mut plaintext.buffer).unwrap_err();
            plaintext.assert_wiped(why);
            let mut plaintext = Watched::holding(pattern(2000));
            ready(client.decrypt_into_async(&bad, any(), &mut plaintext.buffer)).unwrap_err();
            plaintext.assert_wiped(why);
        }
        for (kind, remote, polls) in interruptions(suite) {
            let mut plaintext = Watched::holding(pattern(2000));
            match kind {
                Some(kind) => {
                    let error = remote.decrypt_into(&good, any(), &mut plaintext.buffer).unwrap_err();
                    assert_eq!(error.kind(), kind);
                }
                None => abandon(remote.decrypt_into_async(&good, any(), &mut plaintext.buffer), polls),
            }
            plaintext.assert_wiped(&format!("{kind:?} and {polls} polls"));
        }
    }
}

#[test]
fn after_an_error_nothing_is_left_of_a_message() {
    let reserved = manila::testing::context_with_reserved([("aws-crypto-mine".to_owned(), "x".to_owned())]).unwrap();
    for suite in SUITES {
        let client = client(suite, 100);
        let mut message = Watched::holding(pattern(2000));
        client.encrypt_into(b"x", &reserved, &mut message.buffer).unwrap_err();
        message.assert_wiped("a context that is refused");
        let mut message = Watched::holding(pattern(2000));
        ready(client.encrypt_into_async(b"x", &reserved, &mut message.buffer)).unwrap_err();
        message.assert_wiped("a context that is refused");
        let none = none();
        for (kind, remote, polls) in interruptions(suite) {
            let mut message = Watched::holding(pattern(2000));
            match kind {
                Some(kind) => {
                    let error = remote.encrypt_into(b"x", &none, &mut message.buffer).unwrap_err();
                    assert_eq!(error.kind(), kind);
                }
                None => abandon(remote.encrypt_into_async(b"x", &none, &mut message.buffer), polls),
            }
            message.assert_wiped(&format!("{kind:?} and {polls} polls"));
        }
    }
}

#[test]
fn in_place_nothing_is_left_once_a_key_has_opened_the_message() {
    for suite in SUITES {
        let client = client(suite, 100);
        let good = client.encrypt(&pattern(1000), &none()).unwrap();
        let start = parts(&good).0.len();
        for at in [start + 50, start + 800, good.len() - 1] {
            for asynchronous in [false, true] {
                let mut bad = good.clone();
                bad[at] ^= 1;
                let mut message = Watched::holding(bad);
                match asynchronous {
                    false => client.decrypt_in_place(&mut message.buffer, any()).unwrap_err(),
                    true => ready(client.decrypt_in_place_async(&mut message.buffer, any())).unwrap_err(),
                };
                message.assert_wiped(&format!("a change at {at}"));
            }
        }
    }
}

#[test]
fn a_message_that_no_key_opened_stays_as_it_was() {
    let message = client(UNSIGNED, 100).encrypt(&pattern(1000), &none()).unwrap();
    let stranger = client_for(UNSIGNED, RawAesKeyring::new("a", "b", &[1; 32]).unwrap()).unwrap();
    let mut buffer = message.clone();
    assert_eq!(stranger.decrypt_in_place(&mut buffer, any()).unwrap_err().kind(), ErrorKind::NoUsableDataKey);
    assert_eq!(buffer, message);
    // A wrong key is refused by the commitment, before anything is decrypted.
    let other = client_for(UNSIGNED, FixedKeyKeyring::new(&[1; 32])).unwrap();
    assert_eq!(other.decrypt_in_place(&mut buffer, any()).unwrap_err().kind(), ErrorKind::CommitmentMismatch);
    assert_eq!(buffer, message);
    for (kind, remote, polls) in interruptions(UNSIGNED) {
        match kind {
            Some(kind) => assert_eq!(remote.decrypt_in_place(&mut buffer, any()).unwrap_err().kind(), kind),
            None => abandon(remote.decrypt_in_place_async(&mut buffer, any()), polls),
        }
        assert_eq!(buffer, message);
    }
    client(UNSIGNED, 100).decrypt_in_place(&mut buffer, any()).unwrap();
    assert_eq!(buffer, pattern(1000));
}

#[test]
fn a_buffer_of_the_length_of_the_plaintext_is_enough() {
    let keyring = RawAesKeyring::new("example", "test-key", &[7; 32]).unwrap();
    let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
    let client = Client::builder(keyring).suite(suite).frame_length(100).build().unwrap();
    for len in [1, 31, 32, 99, 100, 101, 131, 132, 133, 199, 200, 201, 5000] {
        let message = client.encrypt(&pattern(len), &none()).unwrap();
        let mut plaintext = Vec::with_capacity(len);
        let memory = plaintext.as_ptr();
        client.decrypt_into(&message, any(), &mut plaintext).unwrap();
        assert_eq!((plaintext.len(), plaintext.as_ptr()), (len, memory));
    }
}
