//! Ranges: what is fetched for them, and objects that change between two requests.

use std::sync::Arc;

use manila::{AsyncReadAt, ErrorKind, ExpectedContext, SeekableMessage};
use manila_object_store::object_store::local::LocalFileSystem;
use manila_object_store::object_store::memory::InMemory;
use manila_object_store::object_store::{self, ObjectStore, ObjectStoreExt};
use manila_object_store::{ObjectSource, Objects, store_error};

use crate::watched::{Fault, Watched, bounds};
use crate::{SIGNED, SUITES, UNSIGNED, client, context, location, objects, pattern, run, watched};

const FIRST: u64 = 16_384;

async fn open(objects: &Objects) -> SeekableMessage<ObjectSource> {
    objects.open(&location(), &context()).await.unwrap()
}

#[test]
fn only_the_header_the_end_and_the_frames_that_are_asked_for_are_fetched() {
    run(async {
        let (objects, store) = watched(UNSIGNED, 4096);
        let plaintext = pattern(1_000_000);
        objects.put(&location(), &plaintext, &context()).await.unwrap();
        let message = open(&objects).await;
        let final_frame = message.frame_map().frame_ciphertext(message.frame_map().frames()).unwrap();
        assert_eq!(store.fetched(), (2, FIRST + final_frame.end - final_frame.start));
        let mut buf = [0; 10];
        for (offset, frames) in [(500_000, 1), (4096 * 100 - 5, 2), (999_995, 0)] {
            let count = message.read_at_async(offset, &mut buf).await.unwrap();
            let start = usize::try_from(offset).unwrap();
            assert_eq!(buf[..count], plaintext[start..(start + 10).min(plaintext.len())]);
            let expected = if frames == 0 { final_frame.end - final_frame.start } else { frames * 4128 };
            assert_eq!(store.fetched(), (1, expected), "{offset}");
        }
        // What came with the header is not fetched again.
        assert_eq!(message.read_at_async(5000, &mut buf).await.unwrap(), 10);
        assert_eq!((buf.to_vec(), store.fetched()), (plaintext[5000..5010].to_vec(), (0, 0)));
        // Several ranges: neighbours are one request, others their own.
        let ranges = [500_000..500_010, 504_000..504_010, 800_000..800_010, 700..800, 500_005..500_006];
        let read = message.read_ranges_async(&ranges).await.unwrap();
        for (range, read) in ranges.iter().zip(&read) {
            assert_eq!(read[..], plaintext[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]);
        }
        assert_eq!(store.fetched(), (2, 3 * 4128));
        // A long range is one request.
        let mut long = vec![0; 900_000];
        assert_eq!(message.read_at_async(50_000, &mut long).await.unwrap(), 900_000);
        assert!(long == plaintext[50_000..950_000]);
        let map = message.frame_map().ciphertext_of(50_000..950_000);
        assert_eq!(store.fetched(), (1, map.end - map.start));
    });
}

#[test]
fn a_small_object_is_one_request() {
    run(async {
        for suite in SUITES {
            for len in [0, 1, 16, 64, 500] {
                let (objects, store) = watched(suite, 16);
                objects.put(&location(), &pattern(len), &context()).await.unwrap();
                let opened = objects.open(&location(), &context()).await;
                assert_eq!(store.seen().gets.len(), 1);
                let Ok(message) = opened else {
                    assert!(suite.is_signed());
                    continue;
                };
                assert_eq!(message.plaintext_len(), len as u64);
                let mut buf = vec![0; len + 1];
                assert_eq!(message.read_at_async(0, &mut buf).await.unwrap(), len);
                assert_eq!((&buf[..len], store.seen().gets.len()), (&pattern(len)[..], 0));
            }
        }
    });
}

#[test]
fn every_request_after_the_first_names_the_object_that_was_opened() {
    run(async {
        let (objects, store) = watched(UNSIGNED, 4096);
        let put = objects.put(&location(), &pattern(1_000_000), &context()).await.unwrap();
        let message = open(&objects).await;
        assert_eq!(message.get_ref().meta().e_tag, put.e_tag);
        message.read_at_async(500_000, &mut [0; 10]).await.unwrap();
        message.read_ranges_async(&[100_000..100_001, 700_000..700_001]).await.unwrap();
        let gets = store.seen().gets;
        assert_eq!((gets.len(), bounds(&gets[0].0)), (5, 0..FIRST));
        for (options, _) in &gets[1..] {
            assert_eq!((&options.if_match, &options.version), (&put.e_tag, &None));
        }
    });
}

/// Opens an object, replaces it by another message of the same plaintext, and reads.
async fn read_after_change<S: ObjectStore>(store: Arc<S>, len: usize) -> manila::Error {
    let objects = objects(client(UNSIGNED, 4096), &store);
    objects.put(&location(), &pattern(1_000_000), &context()).await.unwrap();
    let message = open(&objects).await;
    message.read_at_async(500_000, &mut [0; 10]).await.unwrap();
    objects.put(&location(), &pattern(len), &context()).await.unwrap();
    let error = message.read_at_async(500_000, &mut [0; 10]).await.unwrap_err();
    let of_ranges = message.read_ranges_async(&[500_000..500_001, 9..10]).await.unwrap_err();
    assert_eq!(of_ranges.to_string(), error.to_string());
    // What was fetched before is of the old object and stays so.
    let mut buf = [0; 10];
    message.read_at_async(5000, &mut buf).await.unwrap();
    assert_eq!(buf[..], pattern(5010)[5000..]);
    // Opened again, it is the new object.
    assert_eq!(open(&objects).await.plaintext_len(), len as u64);
    error
}

#[test]
fn an_object_that_was_changed_since_is_an_error_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    run(async {
        for len in [1_000_000, 600_000, 10, 0] {
            let conditional = read_after_change(Arc::new(Watched::new(InMemory::new())), len).await;
            let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
            let in_a_folder = read_after_change(Arc::new(local), len).await;
            for error in [&conditional, &in_a_folder] {
                let cause = store_error(error);
                assert!(matches!(cause, Some(object_store::Error::Precondition { .. })), "{error:?}");
            }
            assert_eq!(conditional.to_string(), in_a_folder.to_string());
            assert_eq!(conditional.kind(), ErrorKind::Io);
            assert!(conditional.to_string().contains("\"a/b\" was changed after it was opened: open it again"));
        }
    });
}

#[test]
fn a_store_without_tags_is_held_to_what_it_told() {
    run(async {
        for version in [None, Some("v1")] {
            let store = Watched::new(InMemory::new()).without_tags(version);
            let error = read_after_change(Arc::new(store), 1_000_001).await;
            assert!(error.to_string().contains("was changed after it was opened"), "{error}");
            // The version is named in the requests, for stores that keep old ones.
            let store = Arc::new(Watched::new(InMemory::new()).without_tags(version));
            let objects = objects(client(UNSIGNED, 4096), &store);
            objects.put(&location(), &pattern(100_000), &context()).await.unwrap();
            open(&objects).await;
            let asked = store.seen().gets.pop().unwrap().0;
            assert_eq!((asked.version.as_deref(), asked.if_match), (version, None));
        }
    });
}

#[test]
fn frames_of_two_objects_never_mix() {
    // If the store looks at no condition, and tells the same of both: the frames are of another message, and do not
    // open.
    run(async {
        let (objects, store) = watched(UNSIGNED, 4096);
        objects.put(&location(), &pattern(100_000), &context()).await.unwrap();
        let message = open(&objects).await;
        store.tell(message.get_ref().meta());
        message.read_at_async(50_000, &mut [0; 10]).await.unwrap();
        objects.put(&location(), &pattern(100_000), &context()).await.unwrap();
        let error = message.read_at_async(50_000, &mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
        // The header of one with the end of the other.
        let [old, new] = [(); 2].map(|()| client(UNSIGNED, 4096).encrypt(&pattern(100_000), &context()).unwrap());
        store.put(&location(), [&old[..50_000], &new[50_000..]].concat().into()).await.unwrap();
        let error = objects.open(&location(), &context()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
    });
}

#[test]
fn an_object_that_is_gone_or_empty_says_so() {
    run(async {
        let (objects, store) = watched(UNSIGNED, 4096);
        objects.put(&location(), &pattern(100_000), &context()).await.unwrap();
        let message = open(&objects).await;
        store.delete(&location()).await.unwrap();
        let error = message.read_at_async(50_000, &mut [0; 10]).await.unwrap_err();
        assert!(matches!(store_error(&error), Some(object_store::Error::NotFound { .. })), "{error:?}");

        let folder = tempfile::tempdir().unwrap();
        let local = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        let stores: [Arc<dyn ObjectStore>; 2] = [store, local];
        for store in stores {
            store.put(&location(), Vec::new().into()).await.unwrap();
            let objects = Objects::new(client(UNSIGNED, 4096), store.clone());
            let error = objects.open(&location(), ExpectedContext::any()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
            let source = ObjectSource::open(store, &location()).await.unwrap();
            assert_eq!((source.size().await.unwrap(), source.read_range(0..10).await.unwrap().len()), (0, 0));
        }
    });
}

#[test]
fn what_was_changed_or_cut_is_refused() {
    run(async {
        let (objects, store) = watched(UNSIGNED, 16);
        let message = client(UNSIGNED, 16).encrypt(&pattern(64), &context()).unwrap();
        let header = message.len() - 4 * 48 - 8;
        for at in 0..message.len() {
            let mut bad = message.clone();
            bad[at] ^= 1;
            store.put(&location(), bad.into()).await.unwrap();
            if let Ok(opened) = objects.open(&location(), &context()).await {
                assert!(at >= header, "the header is verified at once");
                opened.read_at_async(0, &mut [0; 64]).await.unwrap_err();
            }
            store.put(&location(), message[..at].to_vec().into()).await.unwrap();
            let error = objects.open(&location(), &context()).await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Truncated | ErrorKind::Malformed), "{at}: {error}");
        }
        // Exchanged frames.
        let mut swapped = message.clone();
        let (front, back) = swapped.split_at_mut(header + 48);
        front[header..].swap_with_slice(&mut back[..48]);
        store.put(&location(), swapped.into()).await.unwrap();
        let opened = open(&objects).await;
        assert_eq!(opened.read_at_async(0, &mut [0; 1]).await.unwrap_err().kind(), ErrorKind::Malformed);
        opened.read_at_async(40, &mut [0; 24]).await.unwrap();
        // A signed one.
        store.put(&location(), client(SIGNED, 16).encrypt(b"x", &context()).unwrap().into()).await.unwrap();
        let error = Objects::new(client(SIGNED, 16), store.clone()).open(&location(), &context()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PolicyViolation);
    });
}

#[test]
fn answers_that_are_too_short_or_break_off_are_errors() {
    run(async {
        let (objects, store) = watched(UNSIGNED, 4096);
        objects.put(&location(), &pattern(1_000_000), &context()).await.unwrap();
        let message = open(&objects).await;
        for fault in [Fault::EndsEarly(0), Fault::EndsEarly(100), Fault::BreaksOff(100)] {
            store.fail(Some(fault));
            let error = message.read_at_async(500_000, &mut [0; 10]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
            assert_eq!(store_error(&error).is_some(), fault == Fault::BreaksOff(100), "{error:?}");
            let ranges = message.read_ranges_async(&[500_000..500_001, 700_000..700_001]).await;
            assert_eq!(ranges.unwrap_err().kind(), ErrorKind::Io);
        }
        store.fail(None);
        message.read_at_async(500_000, &mut [0; 10]).await.unwrap();
    });
}
