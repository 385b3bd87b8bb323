//! The cryptography that a message cannot do without, around the bytes of the same message: `../../limits/bare.rs`.
//! Memory is used again. A signed stream is hashed and signed from memory, after it has gone.

use std::hint::black_box;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyCompressedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};

use super::{Peer, Work, timed};
use crate::bare::{DataKeys, Driver};
use crate::cells::{Cell, Direction, Shape};

pub struct Primitives;

impl Peer for Primitives {
    fn name(&self, _: Cell) -> String {
        "bare primitives of AWS-LC".to_owned()
    }

    fn start(&self, cell: Cell, plaintext: &Arc<[u8]>) -> Option<Work> {
        let plaintext = plaintext.clone();
        let frame_length = cell.frame_length as usize;
        let driver = Driver::new(cell.is_signed, DataKeys::Wrapped, frame_length, plaintext.len());
        let mut message = Vec::new();
        driver.encrypt(&plaintext, &mut message);
        let mut out = vec![0; plaintext.len()];
        driver.decrypt(&message, &mut out);
        assert!(out == *plaintext);
        if cell.shape == Shape::Stream {
            return Some(stream(cell, driver, plaintext, message));
        }
        Some(match cell.direction {
            Direction::Encrypt => timed(move || driver.encrypt(black_box(&plaintext), &mut message)),
            Direction::Decrypt => timed(move || driver.decrypt(black_box(&message), &mut out)),
        })
    }
}

fn stream(cell: Cell, driver: Driver, plaintext: Arc<[u8]>, message: Vec<u8>) -> Work {
    let mut piece = vec![0; 2 * cell.frame_length as usize];
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
    let signature = pair.sign(&SystemRandom::new(), &message).unwrap();
    // A message has it in this form, in its context.
    let public: EcPublicKeyCompressedBin<'_> = pair.public_key().as_be_bytes().unwrap();
    let public = UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, public.as_ref().to_vec());
    match cell.direction {
        Direction::Encrypt => timed(move || {
            driver.encrypt_through(black_box(&plaintext), &mut piece);
            if cell.is_signed {
                black_box(pair.sign(&SystemRandom::new(), black_box(&message)).unwrap());
            }
        }),
        Direction::Decrypt => timed(move || {
            driver.decrypt_through(black_box(&message), &mut piece);
            if cell.is_signed {
                public.verify(black_box(&message), signature.as_ref()).unwrap();
            }
        }),
    }
}
