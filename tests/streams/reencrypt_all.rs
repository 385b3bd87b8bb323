//! Re-encryption of many messages at once.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use manila::keyring::{Keyring, RawAesKeyring};
use manila::materials::{DecryptionRequest, EncryptionMaterials, KeyFuture, UnwrapOutcome, WrappedKeys};
use manila::{Client, EncryptionContext, Error, ErrorKind, ExpectedContext};

use crate::{UNSIGNED, any, none};

fn keyring(number: u8) -> RawAesKeyring {
    RawAesKeyring::new("test", &format!("key-{number}"), &[number; 32]).unwrap()
}

fn of(keyring: impl Keyring + 'static) -> Client {
    Client::builder(keyring).suite(UNSIGNED).build().unwrap()
}

fn row(id: usize) -> EncryptionContext {
    EncryptionContext::new([("row", id.to_string())]).unwrap()
}

/// Returns a message for each row, of different lengths.
fn table(client: &Client, rows: usize) -> Vec<Vec<u8>> {
    (0..rows).map(|id| client.encrypt(&vec![7; id * 37 % 9000], &row(id)).unwrap()).collect()
}

#[test]
fn every_message_is_moved_and_reported_in_order() {
    let (old, new) = (of(keyring(1)), of(keyring(2)));
    let table = table(&old, 300);
    for threads in [0, 1, 2, 7] {
        // Shared by both without a lock: they take turns.
        let (taken, mut moved) = (RefCell::new(0), Vec::new());
        let rows = table.iter().enumerate().map(|(id, message)| {
            *taken.borrow_mut() += 1;
            (id, message.as_slice(), Vec::new())
        });
        let expected = |id: &usize| Ok(row(*id).into());
        old.reencrypt_all(rows, expected, &new, threads, |id, message| {
            assert!(id < *taken.borrow());
            moved.push((id, message?));
            Ok(())
        })
        .unwrap();
        assert!(moved.iter().map(|(id, _)| *id).eq(0..300), "{threads}");
        for (id, message) in moved {
            let opened = new.decrypt(&message, ExpectedContext::exactly(&row(id))).unwrap();
            assert_eq!(opened.plaintext, vec![7; id * 37 % 9000]);
        }
    }
}

#[test]
fn one_that_fails_fails_alone() {
    let (old, new) = (of(keyring(1)), of(keyring(2)));
    let mut table = table(&old, 100);
    table[10].truncate(20);
    *table[20].last_mut().unwrap() ^= 1;
    table.swap(30, 31);
    for threads in [1, 3] {
        let mut failed = Vec::new();
        let rows = table.iter().enumerate().map(|(id, message)| (id, message.as_slice(), Vec::new()));
        let expected = |id: &usize| match id {
            40 => Err(Error::new(ErrorKind::InvalidInput, "there is no row 40")),
            id => Ok(row(*id).into()),
        };
        old.reencrypt_all(rows, expected, &new, threads, |id, message| {
            failed.extend(message.err().map(|error| (id, error.kind())));
            Ok(())
        })
        .unwrap();
        assert_eq!(
            failed,
            [
                (10, ErrorKind::Truncated),
                (20, ErrorKind::AuthenticationFailed),
                (30, ErrorKind::ContextMismatch),
                (31, ErrorKind::ContextMismatch),
                (40, ErrorKind::InvalidInput),
            ]
        );
    }
}

/// A sink that counts those that are alive.
struct Counted<'a>(Vec<u8>, &'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_bounded_number_of_messages_is_held() {
    let (old, new) = (of(keyring(1)), of(keyring(2)));
    let message = old.encrypt(b"hello", &none()).unwrap();
    for (threads, bound) in [(1, 1), (2, 32), (4, 64)] {
        let (live, mut most) = (AtomicUsize::new(0), 0);
        let rows = (0..1000).map(|id| {
            most = most.max(live.fetch_add(1, Ordering::SeqCst) + 1);
            (id, message.as_slice(), Counted(Vec::new(), &live))
        });
        let mut count = 0;
        old.reencrypt_all(
            rows,
            |_| Ok(any()),
            &new,
            threads,
            |_, sink| {
                assert!(!sink?.0.is_empty());
                count += 1;
                Ok(())
            },
        )
        .unwrap();
        assert_eq!((count, live.into_inner()), (1000, 0));
        assert!(most <= bound, "{most} for {threads} threads");
    }
}

/// A source or sink that fails, or panics.
struct Bad {
    panics: bool,
}

impl Bad {
    fn act(&self) -> io::Result<usize> {
        assert!(!self.panics, "bad");
        Err(io::ErrorKind::StorageFull.into())
    }
}

impl Read for Bad {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.act()
    }
}

impl Write for Bad {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        self.act()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_source_or_a_sink_that_fails_or_panics_hangs_nothing() {
    let (old, new) = (of(keyring(1)), of(keyring(2)));
    let message = old.encrypt(b"hello", &none()).unwrap();
    for (bad, panics) in [("source", false), ("sink", false), ("source", true), ("sink", true)] {
        for threads in [1, 3] {
            let rows = (0..200).map(|id| {
                let source: Box<dyn Read + Send> =
                    if (bad, id) == ("source", 100) { Box::new(Bad { panics }) } else { Box::new(message.as_slice()) };
                let sink: Box<dyn Write + Send> =
                    if (bad, id) == ("sink", 100) { Box::new(Bad { panics }) } else { Box::new(Vec::new()) };
                (id, source, sink)
            });
            let mut failed = Vec::new();
            let ended = panic::catch_unwind(AssertUnwindSafe(|| {
                old.reencrypt_all(
                    rows,
                    |_| Ok(any()),
                    &new,
                    threads,
                    |id, sink| {
                        failed.extend(sink.err().map(|error| (id, error.kind())));
                        Ok(())
                    },
                )
            }));
            if panics {
                assert_eq!(ended.unwrap_err().downcast_ref::<&str>(), Some(&"bad"), "{bad}");
            } else {
                ended.unwrap().unwrap();
                assert_eq!(failed, [(100, ErrorKind::Io)], "{bad}");
            }
        }
    }
}

#[test]
fn the_receiver_can_end_it() {
    let (old, new) = (of(keyring(1)), of(keyring(2)));
    let message = old.encrypt(b"hello", &none()).unwrap();
    for threads in [1, 3] {
        let mut reported = 0;
        let rows = (0..).map(|id: u64| (id, message.as_slice(), Vec::new()));
        let error = old
            .reencrypt_all(
                rows,
                |_| Ok(any()),
                &new,
                threads,
                |id, _| {
                    reported += 1;
                    if id == 50 { Err(io::Error::from(io::ErrorKind::ConnectionReset).into()) } else { Ok(()) }
                },
            )
            .unwrap_err();
        assert_eq!((error.kind(), reported), (ErrorKind::Io, 51));
    }
}

/// A keyring behind a network: each key comes at the second poll.
#[derive(Debug)]
struct Remote(RawAesKeyring, &'static Waits);

/// The decryption requests that are waiting, and the most there have been at once.
#[derive(Debug)]
struct Waits {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Keyring for Remote {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        self.0.on_encrypt(materials)
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(async move {
            self.1.most.fetch_max(self.1.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let mut is_asked_again = false;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut is_asked_again, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            self.1.now.fetch_sub(1, Ordering::SeqCst);
            self.0.on_decrypt(request).await
        })
    }
}

#[test]
fn keys_over_a_network_are_waited_for_together() {
    static WAITS: Waits = Waits { now: AtomicUsize::new(0), most: AtomicUsize::new(0) };
    let (old, new) = (of(Remote(keyring(1), &WAITS)), of(keyring(2)));
    let table = table(&of(keyring(1)), 100);
    let rows = || table.iter().enumerate().map(|(id, message)| (id, message.as_slice(), Vec::new()));
    let expected = |id: &usize| Ok(row(*id).into());
    let error = old.reencrypt_all(rows(), expected, &new, 2, |_, _| panic!("nothing is done")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NeedsAsync);

    let mut moved = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let all = old.reencrypt_all_async(rows(), expected, &new, 10, |id, message| {
        moved.push((id, message?));
        Ok(())
    });
    runtime.block_on(all).unwrap();
    assert!(moved.iter().map(|(id, _)| *id).eq(0..100));
    assert!(moved.iter().all(|(id, message)| new.decrypt(message, &row(*id)).is_ok()));
    assert_eq!(WAITS.most.load(Ordering::SeqCst), 10);
}
