//! This crate, with a raw AES keyring.

use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use manila::keyring::RawAesKeyring;
use manila::{AlgorithmSuite, Client, EncryptionContext, ExpectedContext};

use super::{KEY_NAME, NAMESPACE, Peer, TEST_KEY, Work, timed};
use crate::cells::{Cell, Direction, Shape};

pub fn client(cell: Cell, threads: usize) -> Client {
    let suite = match cell.is_signed {
        true => AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384,
        false => AlgorithmSuite::Aes256GcmHkdfSha512CommitKey,
    };
    let builder = Client::builder(RawAesKeyring::new(NAMESPACE, KEY_NAME, &TEST_KEY).unwrap());
    builder.suite(suite).frame_length(cell.frame_length).threads(threads).build().unwrap()
}

/// The message that all peers of this format decrypt.
pub fn message(cell: Cell, plaintext: &[u8]) -> Vec<u8> {
    client(cell, 1).encrypt(plaintext, &EncryptionContext::empty()).unwrap()
}

/// Returns true if this is a message of the plaintext.
pub fn opens(cell: Cell, message: &[u8], plaintext: &[u8]) -> bool {
    client(cell, 1).decrypt(message, ExpectedContext::any()).is_ok_and(|opened| opened.plaintext == plaintext)
}

fn stream(client: Client, cell: Cell, plaintext: &Arc<[u8]>) -> Work {
    let plaintext = plaintext.clone();
    match cell.direction {
        Direction::Encrypt => timed(move || {
            let mut writer = client.encryptor(&EncryptionContext::empty()).unwrap().writer(io::sink());
            writer.write_all(black_box(&plaintext)).unwrap();
            writer.finish().unwrap();
        }),
        Direction::Decrypt => {
            let message = message(cell, &plaintext);
            timed(move || {
                let mut reader = client.open(black_box(message.as_slice()), ExpectedContext::any()).unwrap();
                let mut len = 0;
                while let [piece @ .., _] = reader.fill_buf().unwrap() {
                    let piece = piece.len() + 1;
                    len += piece;
                    reader.consume(piece);
                }
                assert_eq!(len, plaintext.len());
            })
        }
    }
}

/// The calls that people make first.
pub struct Plain;

impl Peer for Plain {
    fn name(&self, _: Cell) -> String {
        "manila".to_owned()
    }

    fn start(&self, cell: Cell, plaintext: &Arc<[u8]>) -> Option<Work> {
        let client = client(cell, 1);
        let message = message(cell, plaintext);
        assert!(opens(cell, &message, plaintext));
        if cell.shape == Shape::Stream {
            return Some(stream(client, cell, plaintext));
        }
        let plaintext = plaintext.clone();
        Some(match cell.direction {
            Direction::Encrypt => timed(move || {
                black_box(client.encrypt(black_box(&plaintext), &EncryptionContext::empty()).unwrap());
            }),
            Direction::Decrypt => timed(move || {
                black_box(client.decrypt(black_box(&message), ExpectedContext::any()).unwrap());
            }),
        })
    }
}

/// Into memory that was used before: what the bare primitives do too.
pub struct IntoUsedMemory;

impl Peer for IntoUsedMemory {
    fn name(&self, _: Cell) -> String {
        "manila, into used memory".to_owned()
    }

    fn start(&self, cell: Cell, plaintext: &Arc<[u8]>) -> Option<Work> {
        if cell.shape == Shape::Stream {
            return None;
        }
        let (client, plaintext, message) = (client(cell, 1), plaintext.clone(), message(cell, plaintext));
        let mut out = Vec::new();
        Some(match cell.direction {
            Direction::Encrypt => timed(move || {
                client.encrypt_into(black_box(&plaintext), &EncryptionContext::empty(), &mut out).unwrap();
            }),
            Direction::Decrypt => timed(move || {
                client.decrypt_into(black_box(&message), ExpectedContext::any(), &mut out).unwrap();
            }),
        })
    }
}

pub struct TwoThreads;

impl Peer for TwoThreads {
    fn name(&self, _: Cell) -> String {
        "manila, two threads".to_owned()
    }

    fn start(&self, cell: Cell, plaintext: &Arc<[u8]>) -> Option<Work> {
        (cell.shape == Shape::Stream).then(|| stream(client(cell, 2), cell, plaintext))
    }
}
