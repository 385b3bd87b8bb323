//! Downloads: plaintext that is verified frame by frame, and no end that comes too early.

use std::io;
use std::sync::Arc;

use manila::testing::ready;
use manila::{EncryptionContext, Error, ErrorKind, ExpectedContext, Result};
use manila_object_store::object_store::local::LocalFileSystem;
use manila_object_store::object_store::{self, ObjectStoreExt};
use manila_object_store::{Objects, store_error};
use tokio::io::{AsyncBufReadExt, AsyncReadExt};

use crate::watched::Fault;
use crate::{SUITES, UNSIGNED, client, context, location, objects, pattern, run, watched};

async fn download(objects: &Objects) -> (Vec<u8>, Result<()>) {
    let mut plaintext = Vec::new();
    let mut download = match objects.download(&location(), &context()).await {
        Ok(download) => download,
        Err(error) => return (plaintext, Err(error)),
    };
    let end = download.read_to_end(&mut plaintext).await.map(drop).map_err(Error::from);
    (plaintext, end)
}

#[test]
fn what_was_sealed_comes_out_of_every_store() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        for suite in SUITES {
            for len in [0, 1, 16, 64, 1000, 200_000] {
                let (in_memory, store) = watched(suite, 16);
                let local = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
                for objects in [in_memory, objects(client(suite, 16), &local)] {
                    let put = objects.put(&location(), &pattern(len), &context()).await.unwrap();
                    let (plaintext, end) = download(&objects).await;
                    end.unwrap();
                    assert!(plaintext == pattern(len));
                    let mut download = objects.download(&location(), &context()).await.unwrap();
                    assert_eq!(download.header().encryption_context().get("object"), Some("a/b"));
                    assert_eq!(download.meta().e_tag, put.e_tag);
                    assert_eq!(download.fill_buf().await.unwrap().first(), pattern(len).first());
                    assert!(!format!("{download:?}").contains("plaintext"));
                }
                assert_eq!(store.seen().gets.len(), 2, "one request each");
            }
        }
    });
}

#[test]
fn an_object_cut_at_any_byte_has_no_clean_end() {
    run(async {
        for suite in SUITES {
            let (objects, store) = watched(suite, 16);
            let message = client(suite, 16).encrypt(&pattern(40), &context()).unwrap();
            for len in 0..message.len() {
                store.put(&location(), message[..len].to_vec().into()).await.unwrap();
                let (plaintext, end) = download(&objects).await;
                assert_eq!(end.unwrap_err().kind(), ErrorKind::Truncated, "{suite} {len}");
                assert!(pattern(40).starts_with(&plaintext) && plaintext.len() < 40);
                assert_eq!(objects.get(&location(), &context()).await.unwrap_err().kind(), ErrorKind::Truncated);
            }
            // As if the store had less to send than it said.
            store.put(&location(), message.clone().into()).await.unwrap();
            for len in [0, message.len() / 2, message.len() - 1] {
                store.fail(Some(Fault::EndsEarly(len)));
                assert_eq!(download(&objects).await.1.unwrap_err().kind(), ErrorKind::Truncated);
            }
        }
    });
}

#[test]
fn a_changed_object_is_refused() {
    run(async {
        let (objects, store) = watched(UNSIGNED, 16);
        let message = client(UNSIGNED, 16).encrypt(&pattern(40), &context()).unwrap();
        for at in 0..message.len() {
            let mut bad = message.clone();
            bad[at] ^= 1;
            store.put(&location(), bad.into()).await.unwrap();
            download(&objects).await.1.unwrap_err();
            objects.get(&location(), &context()).await.unwrap_err();
        }
        store.put(&location(), [&message[..], b"x"].concat().into()).await.unwrap();
        assert_eq!(download(&objects).await.1.unwrap_err().kind(), ErrorKind::TrailingBytes);
    });
}

#[test]
fn an_object_of_another_context_or_place_is_refused() {
    run(async {
        let (objects, _) = watched(UNSIGNED, 16);
        objects.put(&location(), b"x", &EncryptionContext::new([("object", "c/d")]).unwrap()).await.unwrap();
        let errors = [
            objects.get(&location(), &context()).await.unwrap_err(),
            objects.download(&location(), &context()).await.unwrap_err(),
            objects.open(&location(), &context()).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::ContextMismatch);
        }
        let nothing = EncryptionContext::empty();
        let errors = [
            objects.get(&location(), &nothing).await.unwrap_err(),
            objects.download(&location(), &nothing).await.unwrap_err(),
            objects.open(&location(), &nothing).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn what_a_store_says_is_kept() {
    run(async {
        let (objects, store) = watched(UNSIGNED, 16);
        let any = ExpectedContext::any;
        let errors = [
            objects.get(&location(), any()).await.unwrap_err(),
            objects.download(&location(), any()).await.unwrap_err(),
            objects.open(&location(), any()).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(matches!(store_error(&error), Some(object_store::Error::NotFound { .. })), "{error:?}");
            assert!(error.to_string().starts_with("cannot read \"a/b\": "), "{error}");
        }
        assert_eq!(store.seen().gets.len(), 3, "asked once");
        // In the middle of an answer.
        objects.put(&location(), &pattern(100_000), &context()).await.unwrap();
        for at in [0, 10, 1000, 100_000] {
            store.fail(Some(Fault::BreaksOff(at)));
            let (plaintext, end) = download(&objects).await;
            let error = end.unwrap_err();
            assert!(pattern(100_000).starts_with(&plaintext));
            assert_eq!(error.kind(), ErrorKind::Io, "{at}");
            assert!(
                store_error(&error).is_some_and(|error| error.to_string().contains("the line is dead")),
                "{error:?}"
            );
            assert_eq!(io::Error::from(error).kind(), io::ErrorKind::Other);
        }
    });
}

#[test]
fn plain_reads_need_no_runtime() {
    let (objects, _) = watched(UNSIGNED, 16);
    ready(objects.put(&location(), b"hello", &context())).unwrap();
    let (plaintext, end) = ready(async { Ok(download(&objects).await) }).unwrap();
    end.unwrap();
    assert_eq!(plaintext, b"hello");
}
