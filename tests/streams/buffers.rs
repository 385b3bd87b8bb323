//! Whole messages in memory that is used again.

use manila::testing::{FixedKeyKeyring, client_for};
use manila::{ErrorKind, RawAesKeyring};

use crate::{SUITES, UNSIGNED, any, client, none, pattern};

#[test]
fn memory_is_used_again_whatever_it_held() {
    for suite in SUITES {
        let client = client(suite, 100);
        let (mut message, mut plaintext) = (pattern(5000), pattern(7000));
        // Shorter, longer than it was, longer than its memory, and empty.
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

#[test]
fn after_an_error_nothing_is_left() {
    for suite in SUITES {
        let client = client(suite, 100);
        let good = client.encrypt(&pattern(1000), &none()).unwrap();
        let mut forged = good.clone();
        *forged.last_mut().unwrap() ^= 1;
        let wiped = |buffer: &mut Vec<u8>| {
            let len = buffer.capacity();
            assert!(buffer.is_empty());
            buffer.resize(len, 0xff);
        };
        let mut plaintext = pattern(2000);
        client.decrypt_into(&forged, any(), &mut plaintext).unwrap_err();
        wiped(&mut plaintext);
        let mut in_place = forged.clone();
        client.decrypt_in_place(&mut in_place, any()).unwrap_err();
        wiped(&mut in_place);
        // And when nothing was opened at all.
        let mut plaintext = pattern(2000);
        client.decrypt_into(b"no message", any(), &mut plaintext).unwrap_err();
        wiped(&mut plaintext);
    }
}

#[test]
fn a_message_whose_key_is_not_at_hand_stays_as_it_was() {
    let message = client(UNSIGNED, 100).encrypt(&pattern(1000), &none()).unwrap();
    let stranger = client_for(UNSIGNED, RawAesKeyring::new("a", "b", &[1; 32]).unwrap()).unwrap();
    let mut buffer = message.clone();
    assert_eq!(stranger.decrypt_in_place(&mut buffer, any()).unwrap_err().kind(), ErrorKind::WrongKey);
    assert_eq!(buffer, message);
    // A key that does not fit is refused by the commitment, before anything is opened.
    let other = client_for(UNSIGNED, FixedKeyKeyring::new(&[1; 32])).unwrap();
    assert_eq!(other.decrypt_in_place(&mut buffer, any()).unwrap_err().kind(), ErrorKind::CommitmentMismatch);
    assert_eq!(buffer, message);
}

#[test]
fn what_cannot_be_sealed_leaves_an_empty_message() {
    let mut message = pattern(10);
    let context = manila::testing::context_with_reserved([("aws-crypto-mine".to_owned(), "x".to_owned())]).unwrap();
    client(UNSIGNED, 100).encrypt_into(b"x", &context, &mut message).unwrap_err();
    assert!(message.is_empty());
}
