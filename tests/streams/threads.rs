//! Several threads on one message: the same messages and the same errors as with one.

use std::io::{Read, Write};

use manila::{AlgorithmSuite, Client, Error, ErrorKind};

use crate::{SIGNED, UNSIGNED, any, builder, none, parts, pattern};

const MIB: usize = 1 << 20;

fn on(threads: usize, suite: AlgorithmSuite, frame_length: u32) -> Client {
    builder(suite, frame_length).threads(threads).build().unwrap()
}

/// Frames that divide a thread's share, frames that do not, and one longer than a share.
const FRAME_LENGTHS: [u32; 3] = [65_536, 99_991, 3 << 20];

#[test]
fn what_several_threads_seal_one_opens_and_the_other_way_round() {
    let plaintext = pattern(9 * MIB + 12_345);
    for suite in [UNSIGNED, SIGNED] {
        for frame_length in FRAME_LENGTHS {
            for threads in [(1, 2), (2, 1), (3, 7), (7, 3)] {
                let (sealing, opening) = (on(threads.0, suite, frame_length), on(threads.1, suite, frame_length));
                let whole = sealing.encrypt(&plaintext, &none()).unwrap();
                assert!(opening.decrypt(&whole, any()).unwrap().plaintext == plaintext);
                let mut writer = sealing.encryptor(&none()).unwrap().writer(Vec::new());
                // In pieces that fill a batch and in pieces that do not.
                let (some, rest) = plaintext.split_at(2 * MIB);
                some.chunks(10_000).for_each(|piece| writer.write_all(piece).unwrap());
                writer.flush().unwrap();
                writer.write_all(rest).unwrap();
                let streamed = writer.finish().unwrap();
                assert_eq!(streamed.len(), whole.len());
                assert!(opening.decrypt(&streamed, any()).unwrap().plaintext == plaintext);
                let (header, body) = parts(&whole);
                let mut opened = Vec::new();
                opening.decryptor(header, any()).unwrap().reader(body).read_to_end(&mut opened).unwrap();
                assert!(opened == plaintext);
            }
        }
    }
}

/// Returns what a reader releases before it fails, and the error.
fn released(client: &Client, message: &[u8]) -> (Vec<u8>, Error) {
    let (header, body) = parts(message);
    let mut opened = Vec::new();
    let error = client.decryptor(header, any()).unwrap().reader(body).read_to_end(&mut opened).unwrap_err();
    (opened, Error::from(error))
}

#[test]
fn the_first_fault_is_the_one_that_is_told_on_any_number_of_threads() {
    const FRAME: usize = 10_000;
    let plaintext = pattern(8 * MIB);
    for suite in [UNSIGNED, SIGNED] {
        let clients = [1, 2, 5].map(|threads| on(threads, suite, u32::try_from(FRAME).unwrap()));
        let message = clients[0].encrypt(&plaintext, &none()).unwrap();
        let start = parts(&message).0.len();
        for frames in [&[0][..], &[1, 2], &[437, 500, 800], &[837], &[838]] {
            let mut forged = message.clone();
            for frame in frames {
                forged[start + frame * (FRAME + 32) + 100] ^= 1;
            }
            let expected = format!("frame {} does not authenticate: the message was modified", frames[0] + 1);
            for client in &clients {
                let error = client.decrypt(&forged, any()).unwrap_err();
                assert_eq!((error.kind(), error.to_string()), (ErrorKind::AuthenticationFailed, expected.clone()));
                let (opened, error) = released(client, &forged);
                assert_eq!((error.kind(), error.to_string()), (ErrorKind::AuthenticationFailed, expected.clone()));
                assert!(opened == plaintext[..frames[0] * FRAME], "{} bytes were released", opened.len());
            }
        }
        // A frame out of place, a message cut within a frame and between two, and one that goes on after its end.
        let frame = |n: usize| start + n * (FRAME + 32)..start + (n + 1) * (FRAME + 32);
        let mut swapped = message.clone();
        let (front, back) = swapped.split_at_mut(frame(601).start);
        front[frame(600)].swap_with_slice(&mut back[..FRAME + 32]);
        let longer = [&message[..], b"more"].concat();
        for (bad, kind) in [
            (&swapped[..], ErrorKind::Malformed),
            (&message[..frame(600).start + 50], ErrorKind::Truncated),
            (&message[..frame(600).start], ErrorKind::Truncated),
            (&message[..message.len() - 1], ErrorKind::Truncated),
            (&longer, ErrorKind::TrailingBytes),
        ] {
            for client in &clients {
                assert_eq!(client.decrypt(bad, any()).unwrap_err().kind(), kind);
                assert_eq!(released(client, bad).1.kind(), kind);
            }
        }
    }
}

#[test]
fn a_wrong_signature_is_seen_on_any_number_of_threads() {
    let plaintext = pattern(5 * MIB);
    for threads in [1, 2, 4] {
        let client = on(threads, SIGNED, 65_536);
        let mut message = client.encrypt(&plaintext, &none()).unwrap();
        *message.last_mut().unwrap() ^= 1;
        assert_eq!(client.decrypt(&message, any()).unwrap_err().kind(), ErrorKind::SignatureInvalid);
        let (opened, error) = released(&client, &message);
        assert_eq!(error.kind(), ErrorKind::SignatureInvalid);
        assert!(opened.len() < plaintext.len(), "the final frame waits for the signature");
    }
}

#[test]
fn no_thread_is_too_few() {
    assert_eq!(builder(UNSIGNED, 16).threads(0).build().unwrap_err().kind(), ErrorKind::InvalidInput);
}
