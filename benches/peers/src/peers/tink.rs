//! Tink for Rust: envelope encryption under a local key for whole messages, and its streaming AEAD. It signs nothing.

use std::hint::black_box;
use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;

use tink_core::keyset::Handle;
use tink_core::{Aead, StreamingAead};

use super::{Peer, Work, timed};
use crate::cells::{Cell, Direction, Shape};

pub struct Tink;

impl Peer for Tink {
    fn name(&self, cell: Cell) -> String {
        match (cell.shape, cell.frame_length) {
            (Shape::Whole, _) => "tink-aead, envelope".to_owned(),
            (Shape::Stream, 0x10_0000) => "tink-streaming-aead, segments of 1 MiB".to_owned(),
            (Shape::Stream, _) => "tink-streaming-aead, segments of 4 KiB".to_owned(),
        }
    }

    fn start(&self, cell: Cell, plaintext: &Arc<[u8]>) -> Option<Work> {
        match (cell.is_signed, cell.shape) {
            (true, _) => None,
            (false, Shape::Whole) => Some(whole(cell, plaintext.clone())),
            (false, Shape::Stream) => Some(stream(cell, plaintext.clone())),
        }
    }
}

fn whole(cell: Cell, plaintext: Arc<[u8]>) -> Work {
    tink_aead::init();
    let local = Handle::new(&tink_aead::aes256_gcm_key_template()).unwrap();
    let local = tink_aead::new(&local).unwrap();
    let envelope = tink_aead::KmsEnvelopeAead::new(tink_aead::aes256_gcm_key_template(), local);
    let message = envelope.encrypt(&plaintext, &[]).unwrap();
    assert!(envelope.decrypt(&message, &[]).unwrap() == *plaintext);
    match cell.direction {
        Direction::Encrypt => timed(move || {
            black_box(envelope.encrypt(black_box(&plaintext), &[]).unwrap());
        }),
        Direction::Decrypt => timed(move || {
            black_box(envelope.decrypt(black_box(&message), &[]).unwrap());
        }),
    }
}

fn stream(cell: Cell, plaintext: Arc<[u8]>) -> Work {
    tink_streaming_aead::init();
    let template = match cell.frame_length {
        0x10_0000 => tink_streaming_aead::aes256_gcm_hkdf_1mb_key_template(),
        _ => tink_streaming_aead::aes256_gcm_hkdf_4kb_key_template(),
    };
    let streaming = tink_streaming_aead::new(&Handle::new(&template).unwrap()).unwrap();
    match cell.direction {
        Direction::Encrypt => timed(move || encrypt(&*streaming, Box::new(io::sink()), black_box(&plaintext))),
        Direction::Decrypt => {
            let message = Shared::default();
            encrypt(&*streaming, Box::new(message.clone()), &plaintext);
            let message: Arc<[u8]> = message.0.lock().unwrap().as_slice().into();
            let mut opened = Vec::new();
            let source = Box::new(Cursor::new(message.clone()));
            streaming.new_decrypting_reader(source, &[]).unwrap().read_to_end(&mut opened).unwrap();
            assert!(opened == *plaintext);
            let mut piece = vec![0; 64 << 10];
            timed(move || {
                let source = Box::new(Cursor::new(black_box(message.clone())));
                let mut reader = streaming.new_decrypting_reader(source, &[]).unwrap();
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
    }
}

fn encrypt(streaming: &dyn StreamingAead, out: Box<dyn Write>, plaintext: &[u8]) {
    let mut writer = streaming.new_encrypting_writer(out, &[]).unwrap();
    writer.write_all(plaintext).unwrap();
    writer.close().unwrap();
}

/// A sink whose bytes can be had afterwards, though the writer owns it.
#[derive(Clone, Default)]
struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
