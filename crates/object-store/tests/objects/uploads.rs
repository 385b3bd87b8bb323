//! Uploads: in parts that stores take, and nothing is left of one that fails.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use manila::testing::ready;
use manila::{Error, ErrorKind};
use manila_object_store::object_store::local::LocalFileSystem;
use manila_object_store::object_store::{ObjectStore, ObjectStoreExt};
use manila_object_store::{Objects, Upload, store_error};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::watched::{Fault, Watched};
use crate::{MIB, SUITES, UNSIGNED, client, context, is_missing, location, objects, pattern, run, watched};

async fn start(objects: &Objects) -> Upload {
    objects.upload(&location(), &context()).await.unwrap()
}

#[test]
fn what_is_uploaded_opens_in_every_way() {
    run(async {
        for suite in SUITES {
            for len in [0, 1, 4095, 4096, 8192, 100_000, 6 * MIB] {
                let (objects, store) = watched(suite, 4096);
                let plaintext = pattern(len);
                for sized in [false, true] {
                    let mut upload = match sized {
                        true => objects.upload_sized(&location(), &context(), len as u64).await.unwrap(),
                        false => start(&objects).await,
                    };
                    assert_eq!(upload.write_from(plaintext.as_slice()).await.unwrap(), len as u64);
                    upload.finish().await.unwrap();
                    assert!(objects.get(&location(), &context()).await.unwrap().plaintext == plaintext);
                }
                objects.put(&location(), &plaintext, &context()).await.unwrap();
                let message = store.get(&location()).await.unwrap().bytes().await.unwrap();
                assert!(client(suite, 16).decrypt(&message, &context()).unwrap().plaintext == plaintext);
            }
        }
    });
}

#[test]
fn a_short_message_is_one_request_and_a_long_one_parts_of_one_size() {
    run(async {
        let (objects, store) = watched(UNSIGNED, 65_536);
        let mut upload = start(&objects).await;
        upload.write_all(&pattern(4 * MIB)).await.unwrap();
        assert_eq!(store.seen().puts, 0, "no request before it is finished");
        upload.finish().await.unwrap();
        let seen = store.seen();
        assert_eq!((seen.puts, seen.started), (1, 0));

        let plaintext = pattern(38 * MIB);
        let mut upload = objects.upload_sized(&location(), &context(), plaintext.len() as u64).await.unwrap();
        for piece in plaintext.chunks(777_777) {
            upload.write_all(piece).await.unwrap();
        }
        assert_eq!(store.head(&location()).await.unwrap().size / MIB as u64, 4, "the old object is still there");
        upload.finish().await.unwrap();
        let seen = store.seen();
        assert_eq!((seen.puts, seen.started, seen.completed, seen.aborted), (0, 1, 1, 0));
        let (last, others) = seen.parts.split_last().unwrap();
        assert!(others.iter().all(|len| *len == 5 * MIB) && others.len() == 7 && *last <= 5 * MIB, "{:?}", seen.parts);
        assert!((2..=4).contains(&store.most_under_way()), "{}", store.most_under_way());
        assert!(objects.get(&location(), &context()).await.unwrap().plaintext == plaintext);

        let one = objects.clone().parallel_parts(0);
        let (one, store) = (one, store.clone());
        let mut upload = start(&one).await;
        upload.write_from(plaintext.as_slice()).await.unwrap();
        upload.finish().await.unwrap();
        assert_eq!(store.seen().parts.len(), 8);
    });
}

#[test]
fn part_sizes_are_those_that_stores_take() {
    run(async {
        let (objects, store) = watched(UNSIGNED, 65_536);
        for (wanted, expected) in [(0, 5 * MIB), (6 * MIB as u64, 6 * MIB)] {
            let mut upload = start(&objects.clone().part_size(wanted)).await;
            upload.write_from(pattern(13 * MIB).as_slice()).await.unwrap();
            upload.finish().await.unwrap();
            assert_eq!(store.seen().parts[..2], [expected, expected]);
        }
        // Longer than anything that a store takes.
        let error = objects.upload_sized(&location(), &context(), u64::MAX / 4).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    });
}

/// A source that ends with an error after so many bytes.
struct Broken(usize);

impl AsyncRead for Broken {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0 == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let count = buf.remaining().min(self.0);
        buf.put_slice(&vec![7; count]);
        self.0 -= count;
        Poll::Ready(Ok(()))
    }
}

/// Uploads 23 MiB, with all that may fail.
async fn upload(objects: &Objects, sized: Option<usize>) -> manila::Result<()> {
    let mut upload = match sized {
        Some(len) => objects.upload_sized(&location(), &context(), len as u64).await?,
        None => objects.upload(&location(), &context()).await?,
    };
    upload.write_from(pattern(23 * MIB).as_slice()).await?;
    upload.finish().await.map(drop)
}

#[test]
fn whatever_the_store_refuses_nothing_is_left() {
    run(async {
        for fault in [Fault::Start, Fault::Part(0), Fault::Part(2), Fault::Part(4), Fault::Complete] {
            let (objects, store) = watched(UNSIGNED, 65_536);
            store.fail(Some(fault));
            let error = upload(&objects, None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{fault:?}");
            assert!(store_error(&error).is_some_and(|error| error.to_string().contains("was to fail")), "{error:?}");
            let text = error.to_string();
            assert!(text.starts_with("cannot write \"a/b\": ") && text.contains(&format!("{fault:?}")), "{text}");
            let seen = store.seen();
            let started = usize::from(fault != Fault::Start);
            assert_eq!((seen.started, seen.completed, seen.aborted), (started, 0, started), "{fault:?}");
            assert!(is_missing(&store).await, "{fault:?}");
            // The same objects afterwards.
            store.fail(None);
            upload(&objects, Some(23 * MIB)).await.unwrap();
        }
        let (objects, store) = watched(UNSIGNED, 65_536);
        store.fail(Some(Fault::Put));
        let mut short = start(&objects).await;
        short.write_all(b"hello").await.unwrap();
        assert!(store_error(&short.finish().await.unwrap_err()).is_some());
        assert!(store_error(&objects.put(&location(), b"hello", &context()).await.unwrap_err()).is_some());
        assert!(is_missing(&store).await);
    });
}

#[test]
fn a_source_that_fails_or_has_another_length_leaves_nothing() {
    run(async {
        for (len, started) in [(0, 0), (MIB, 0), (23 * MIB, 1)] {
            let (objects, store) = watched(UNSIGNED, 65_536);
            let mut broken = start(&objects).await;
            let error = broken.write_from(Broken(len)).await.unwrap_err();
            assert_eq!((error.kind(), store_error(&error).is_none()), (ErrorKind::Io, true));
            assert_eq!(io::Error::from(error.clone()).kind(), io::ErrorKind::ConnectionReset);
            let seen = store.seen();
            assert_eq!((seen.started, seen.completed, seen.aborted), (started, 0, started), "aborted at once");
            // It stays failed.
            let again = Error::from(broken.write_all(b"x").await.unwrap_err());
            let end = broken.finish().await.unwrap_err();
            assert_eq!((again.to_string(), end.to_string()), (error.to_string(), error.to_string()));
            assert!(is_missing(&store).await);
            assert_eq!(store.seen().puts, 0);
        }
        for announced in [0, 22 * MIB, 23 * MIB - 1, 23 * MIB + 1] {
            let (objects, store) = watched(UNSIGNED, 65_536);
            let error = upload(&objects, Some(announced)).await.unwrap_err();
            let kinds = [ErrorKind::InvalidInput, ErrorKind::LimitExceeded];
            assert_eq!(error.kind(), kinds[usize::from(announced < 23 * MIB)], "{announced}");
            let seen = store.seen();
            assert_eq!((seen.completed, seen.started), (0, seen.aborted), "{announced}");
            assert!(is_missing(&store).await);
        }
    });
}

/// Waits until the tasks that clean up have done so.
async fn settled(store: &Watched<impl ObjectStore>, aborted: usize) {
    let mut seen = 0;
    // On this runtime, each turn lets each task take a step.
    for _ in 0..1000 {
        seen += store.seen().aborted;
        tokio::task::yield_now().await;
    }
    assert_eq!(seen, aborted);
}

#[test]
fn an_upload_that_is_given_up_leaves_nothing() {
    run(async {
        let (objects, store) = watched(UNSIGNED, 65_536);
        let mut aborted = start(&objects).await;
        aborted.write_all(&pattern(12 * MIB)).await.unwrap();
        aborted.abort().await.unwrap();
        let seen = store.seen();
        assert_eq!((seen.started, seen.aborted), (1, 1));
        start(&objects).await.abort().await.unwrap();

        let mut dropped = start(&objects).await;
        dropped.write_all(&pattern(12 * MIB)).await.unwrap();
        drop(dropped);
        settled(&store, 1).await;
        assert!(is_missing(&store).await);
    });
    // In the middle of the request that starts it.
    run(async {
        let (objects, store) = watched(UNSIGNED, 65_536);
        let mut dropped = start(&objects).await;
        dropped.write_all(&pattern(5 * MIB)).await.unwrap();
        let mut context = Context::from_waker(std::task::Waker::noop());
        while store.seen().started == 0 {
            let _ = tokio::io::AsyncWrite::poll_write(Pin::new(&mut dropped), &mut context, &vec![7; 100_000]);
        }
        drop(dropped);
        settled(&store, 1).await;
        assert!(is_missing(&store).await);
    });
}

#[test]
fn an_end_that_nobody_waits_for_is_whole_or_nothing() {
    for fault in [None, Some(Fault::Complete)] {
        run(async {
            let (objects, store) = watched(UNSIGNED, 65_536);
            let mut upload = start(&objects).await;
            upload.write_all(&pattern(6 * MIB)).await.unwrap();
            store.fail(fault);
            let mut end = Box::pin(upload.finish());
            assert!(end.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
            drop(end);
            // On this runtime, each turn lets the task that goes on take a step.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            let seen = store.seen();
            assert_eq!((seen.completed, seen.aborted), if fault.is_none() { (1, 0) } else { (0, 1) });
            assert_eq!(is_missing(&store).await, fault.is_some());
        });
    }
}

#[test]
fn an_upload_is_a_writer_like_others() {
    run(async {
        let (objects, store) = watched(UNSIGNED, 65_536);
        let mut upload = start(&objects).await;
        let plaintext = pattern(6 * MIB);
        tokio::io::copy(&mut plaintext.as_slice(), &mut upload).await.unwrap();
        upload.flush().await.unwrap();
        assert!(is_missing(&store).await);
        upload.shutdown().await.unwrap();
        upload.shutdown().await.unwrap();
        assert_eq!(store.seen().completed, 1);
        assert!(objects.get(&location(), &context()).await.unwrap().plaintext == plaintext);
        let error = Error::from(upload.write_all(b"more").await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(format!("{upload:?}").contains("written"));
        assert_eq!(upload.abort().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let (objects, store) = watched(UNSIGNED, 65_536);
    let mut upload = ready(objects.upload(&location(), &context())).unwrap();
    let error = ready(async { Ok(upload.write_all(b"x").await?) }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("tokio runtime"), "{error}");
    drop(upload);
    // Whole messages need none.
    ready(objects.put(&location(), b"hello", &context())).unwrap();
    assert_eq!(ready(objects.get(&location(), &context())).unwrap().plaintext, b"hello");
    assert_eq!(store.seen().puts, 1);
}

#[test]
fn a_folder_is_clean_after_each_failure() {
    let folder = tempfile::tempdir().unwrap();
    let files = || {
        let mut left = vec![folder.path().to_owned()];
        let mut files = 0;
        while let Some(next) = left.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { left.push(path) } else { files += 1 }
            }
        }
        files
    };
    run(async {
        let store = Arc::new(Watched::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()));
        let objects = objects(client(UNSIGNED, 65_536), &store);
        for fault in [Fault::Start, Fault::Part(1), Fault::Complete] {
            store.fail(Some(fault));
            upload(&objects, None).await.unwrap_err();
            assert_eq!(files(), 0, "{fault:?}");
        }
        store.fail(None);
        upload(&objects, Some(23 * MIB + 1)).await.unwrap_err();
        assert_eq!(files(), 0);
        upload(&objects, None).await.unwrap();
        assert_eq!(files(), 1);
        assert!(objects.get(&location(), &context()).await.unwrap().plaintext == pattern(23 * MIB));
    });
}
