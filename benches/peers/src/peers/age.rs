//! The crate `age`, to one X25519 recipient. It signs nothing, and its pieces are always 64 KiB.

use std::hint::black_box;
use std::io::{self, Read, Write};
use std::iter;
use std::sync::Arc;

use age::x25519::Identity;
use age::{Decryptor, Encryptor};

use super::{Peer, Work, timed};
use crate::cells::{Cell, Direction, Shape};

pub struct Age;

impl Peer for Age {
    fn name(&self, _: Cell) -> String {
        "age".to_owned()
    }

    fn start(&self, cell: Cell, plaintext: &Arc<[u8]>) -> Option<Work> {
        if cell.is_signed {
            return None;
        }
        let plaintext = plaintext.clone();
        let identity = Identity::generate();
        let recipient = identity.to_public();
        let message = age::encrypt(&recipient, &plaintext).unwrap();
        assert!(age::decrypt(&identity, &message).unwrap() == *plaintext);
        Some(match (cell.direction, cell.shape) {
            (Direction::Encrypt, Shape::Whole) => timed(move || {
                black_box(age::encrypt(&recipient, black_box(&plaintext)).unwrap());
            }),
            (Direction::Decrypt, Shape::Whole) => timed(move || {
                black_box(age::decrypt(&identity, black_box(&message)).unwrap());
            }),
            (Direction::Encrypt, Shape::Stream) => timed(move || {
                let encryptor = Encryptor::with_recipients(iter::once(&recipient as _)).unwrap();
                let mut writer = encryptor.wrap_output(io::sink()).unwrap();
                writer.write_all(black_box(&plaintext)).unwrap();
                writer.finish().unwrap();
            }),
            (Direction::Decrypt, Shape::Stream) => {
                let mut piece = vec![0; 64 << 10];
                timed(move || {
                    let decryptor = Decryptor::new_buffered(black_box(message.as_slice())).unwrap();
                    let mut reader = decryptor.decrypt(iter::once(&identity as _)).unwrap();
                    let mut len = 0;
                    loop {
                        match reader.read(&mut piece).unwrap() {
                            0 => break,
                            read => len += read,
                        }
                    }
                    assert_eq!(len, plaintext.len());
                })
            }
        })
    }
}
