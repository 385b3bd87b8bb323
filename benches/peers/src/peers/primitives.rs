//! The cryptography that a message cannot do without: `../../limits/bare.rs`, and for signed messages a key pair and a
//! signature of as many bytes. The data key is at hand, and memory is used again.

use std::hint::black_box;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyCompressedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};

use super::{Peer, Work, ours, timed};
use crate::bare::{Sealed, seal_through};
use crate::cells::{Cell, Direction, Shape};

pub struct Primitives;

impl Peer for Primitives {
    fn name(&self, _: Cell) -> String {
        "bare primitives of AWS-LC".to_owned()
    }

    fn start(&self, cell: Cell, plaintext: &Arc<[u8]>) -> Option<Work> {
        let plaintext = plaintext.clone();
        let frame_length = cell.frame_length as usize;
        // As long as what is signed.
        let signed = if cell.is_signed { ours::message(cell, &plaintext) } else { Vec::new() };
        let mut sealed = Sealed::new(frame_length);
        let mut piece = vec![0; 2 * frame_length];
        let mut out = vec![0; plaintext.len()];
        Some(match cell.direction {
            Direction::Encrypt => timed(move || {
                let key = cell.is_signed.then(generate);
                match cell.shape {
                    Shape::Whole => sealed.seal(black_box(&plaintext)),
                    Shape::Stream => seal_through(black_box(&plaintext), frame_length, &mut piece),
                }
                if let Some(key) = key {
                    black_box(key.sign(&SystemRandom::new(), black_box(&signed)).unwrap());
                }
            }),
            Direction::Decrypt => {
                sealed.seal(&plaintext);
                let key = generate();
                let signature = key.sign(&SystemRandom::new(), &signed).unwrap();
                // A message has it in this form, in its context.
                let public: EcPublicKeyCompressedBin<'_> = key.public_key().as_be_bytes().unwrap();
                let public = UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, public.as_ref().to_vec());
                timed(move || {
                    match cell.shape {
                        Shape::Whole => black_box(&sealed).open(&mut out),
                        Shape::Stream => black_box(&sealed).open_through(&mut piece),
                    }
                    if cell.is_signed {
                        public.verify(black_box(&signed), signature.as_ref()).unwrap();
                    }
                })
            }
        })
    }
}

fn generate() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap()
}
