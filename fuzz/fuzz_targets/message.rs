//! Under a fixed key: arbitrary bytes never panic, and a valid message with any damage never opens.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use manila::testing::{FixedKeyKeyring, client_for, open_every_way};
use manila::{AlgorithmSuite, Client, EncryptionContext, Error, ErrorKind, ExpectedContext};

/// A reader, and a message for it.
struct Subject {
    client: Client,
    message: Vec<u8>,
    plaintext: Vec<u8>,
}

fuzz_target!(|data: &[u8]| {
    let subjects = subjects();
    let Some((&choice, rest)) = data.split_first() else { return };
    let subject = &subjects[usize::from(choice >> 1) % subjects.len()];
    if choice & 1 == 0 {
        let _ = open(&subject.client, rest);
    } else {
        let damaged = damage(&subject.message, rest);
        match open(&subject.client, &damaged) {
            Ok(plaintext) => {
                assert!(damaged == subject.message, "a damaged message opens");
                assert_eq!(plaintext, subject.plaintext);
            }
            Err(error) => {
                assert!(damaged != subject.message, "a whole message does not open: {error}");
            }
        }
    }
});

/// A message of each suite, in one frame and in several.
fn subjects() -> &'static [Subject] {
    static SUBJECTS: OnceLock<Vec<Subject>> = OnceLock::new();
    SUBJECTS.get_or_init(|| {
        let context = EncryptionContext::new([("purpose", "fuzz"), ("ß", "")]).unwrap();
        let mut subjects = Vec::new();
        for suite in AlgorithmSuite::ALL {
            for len in [0, 3, 2 * 4096, 10_000] {
                let client = client_for(suite, FixedKeyKeyring::new(&[7; 32][..suite.data_key_len()])).unwrap();
                let plaintext = vec![0x61; len];
                let message = client.encrypt(&plaintext, &context).unwrap();
                subjects.push(Subject { client, message, plaintext });
            }
        }
        subjects
    })
}

/// Applies edits of 4 bytes each: what to do, where, with what.
fn damage(message: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut damaged = message.to_vec();
    for edit in edits.chunks_exact(4) {
        let len = damaged.len();
        let at = usize::from(u16::from_be_bytes([edit[1], edit[2]])) % (len + 1);
        match edit[0] % 5 {
            0 if at < len => damaged[at] ^= edit[3],
            1 => damaged.truncate(at),
            2 => damaged.insert(at, edit[3]),
            3 => drop(damaged.drain(at..len.min(at + usize::from(edit[3])))),
            4 => damaged.extend_from_within(at..len.min(at + usize::from(edit[3]))),
            _ => {}
        }
    }
    damaged
}

fn open(client: &Client, message: &[u8]) -> Result<Vec<u8>, Error> {
    let opened = open_every_way(client, message, &ExpectedContext::any());
    if let Err(error) = &opened {
        assert_ne!(error.kind(), ErrorKind::Internal, "{error:?}");
    }
    opened.map(|opened| opened.plaintext)
}
