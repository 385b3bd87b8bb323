//! The primitives that a message of suite 0x0478 or 0x0578 takes, and nothing else: the same derivation of keys, the
//! same random bytes, as many pieces of the same lengths under AES-256-GCM, with AAD of the same length.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use hkdf::Hkdf;
use sha2::Sha512;

const TAG_LEN: usize = 16;
/// The sequence number and IV before the content of a frame. They are never written, and only give every other byte the
/// offset that it has in a message.
const HEAD_LEN: usize = 4 + 12;
/// Bytes around the content of a frame.
const AROUND: usize = HEAD_LEN + TAG_LEN;
/// Message id, label, sequence number, length.
const AAD_LEN: usize = 32 + 28 + 4 + 8;
/// A header with a data key of a raw keyring.
const HEADER: [u8; 200] = [7; 200];

/// Plaintext in pieces, sealed.
pub struct Sealed {
    id: [u8; 32],
    frame_length: usize,
    header_tag: [u8; TAG_LEN],
    frames: Vec<u8>,
}

/// The key of a message and its commitment: one extract, two expands.
fn derive(id: &[u8; 32]) -> LessSafeKey {
    let hkdf = Hkdf::<Sha512>::new(Some(id), &[7; 32]);
    let (mut key, mut commitment) = ([0; 32], [0; 32]);
    hkdf.expand(b"\x04\x78DERIVEKEY", &mut key).unwrap();
    hkdf.expand(b"COMMITKEY", &mut commitment).unwrap();
    std::hint::black_box(commitment);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap())
}

fn nonce(sequence: u32) -> Nonce {
    let mut iv = [0; 12];
    iv[8..].copy_from_slice(&sequence.to_be_bytes());
    Nonce::assume_unique_for_key(iv)
}

fn aad(sequence: u32) -> Aad<[u8; AAD_LEN]> {
    let mut aad = [3; AAD_LEN];
    aad[60..64].copy_from_slice(&sequence.to_be_bytes());
    Aad::from(aad)
}

/// Starts a message: random id, key, and the header's tag.
fn start() -> (LessSafeKey, [u8; 32], [u8; TAG_LEN]) {
    let mut id = [0; 32];
    getrandom::fill(&mut id).unwrap();
    let key = derive(&id);
    let mut tag = [0; TAG_LEN];
    key.seal_out_of_place_scatter(nonce(0), Aad::from(HEADER), &[], &mut [], &[], &mut tag).unwrap();
    (key, id, tag)
}

fn seal_piece(key: &LessSafeKey, sequence: u32, plaintext: &[u8], out: &mut [u8]) {
    let (content, tag) = out[HEAD_LEN..].split_at_mut(plaintext.len());
    key.seal_out_of_place_scatter(nonce(sequence), aad(sequence), plaintext, content, &[], tag).unwrap();
}

fn open_piece(key: &LessSafeKey, sequence: u32, sealed: &[u8], out: &mut [u8]) {
    let (content, tag) = sealed[HEAD_LEN..].split_at(sealed.len() - AROUND);
    key.open_separate_gather(nonce(sequence), aad(sequence), content, tag, &mut out[..content.len()]).unwrap();
}

impl Sealed {
    pub fn new(frame_length: usize) -> Self {
        Self { id: [0; 32], frame_length, header_tag: [0; TAG_LEN], frames: Vec::new() }
    }

    /// Seals a message; its memory is used again.
    pub fn seal(&mut self, plaintext: &[u8]) {
        self.frames.resize(plaintext.len() + plaintext.len().div_ceil(self.frame_length) * AROUND, 0);
        let (key, id, tag) = start();
        (self.id, self.header_tag) = (id, tag);
        let frames = self.frames.chunks_mut(self.frame_length + AROUND);
        for (sequence, (content, frame)) in (1..).zip(plaintext.chunks(self.frame_length).zip(frames)) {
            seal_piece(&key, sequence, content, frame);
        }
    }

    /// Like [`seal`](Self::seal), with one half of the frames on another thread.
    pub fn seal_on_two_threads(&mut self, plaintext: &[u8]) {
        let frames = plaintext.len() / self.frame_length;
        self.frames.resize(plaintext.len() + frames * AROUND, 0);
        let (key, id, tag) = start();
        (self.id, self.header_tag) = (id, tag);
        let (near, far) = plaintext.split_at(frames / 2 * self.frame_length);
        let (near_out, far_out) = self.frames.split_at_mut(frames / 2 * (self.frame_length + AROUND));
        let seal = |first: usize, plaintext: &[u8], out: &mut [u8]| {
            let frames = out.chunks_mut(self.frame_length + AROUND);
            for (sequence, (content, frame)) in (first..).zip(plaintext.chunks(self.frame_length).zip(frames)) {
                seal_piece(&key, u32::try_from(sequence).unwrap(), content, frame);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| seal(frames / 2 + 1, far, far_out));
            seal(1, near, near_out);
        });
    }

    /// The key, once the header's tag has verified.
    pub fn key(&self) -> LessSafeKey {
        let key = derive(&self.id);
        key.open_separate_gather(nonce(0), Aad::from(HEADER), &[], &self.header_tag, &mut []).unwrap();
        key
    }

    /// Opens the message into `out`.
    pub fn open(&self, out: &mut [u8]) {
        let key = self.key();
        let frames = self.frames.chunks(self.frame_length + AROUND);
        for (sequence, (frame, out)) in (1..).zip(frames.zip(out.chunks_mut(self.frame_length))) {
            open_piece(&key, sequence, frame, out);
        }
    }

    /// Opens the message frame by frame into the same small piece of memory.
    pub fn open_through(&self, piece: &mut [u8]) {
        let key = self.key();
        for (sequence, frame) in (1..).zip(self.frames.chunks(self.frame_length + AROUND)) {
            open_piece(&key, sequence, frame, piece);
        }
    }

    /// Opens the frames that hold `len` bytes from `offset` on, each into the same piece of memory.
    pub fn open_at(&self, key: &LessSafeKey, offset: usize, len: usize, piece: &mut [u8]) {
        for number in offset / self.frame_length..=(offset + len - 1) / self.frame_length {
            let frame = self.frames.chunks(self.frame_length + AROUND).nth(number).unwrap();
            open_piece(key, u32::try_from(number + 1).unwrap(), frame, piece);
        }
    }
}

/// Seals a message frame by frame into the same small piece of memory.
pub fn seal_through(plaintext: &[u8], frame_length: usize, piece: &mut [u8]) {
    let (key, ..) = start();
    for (sequence, content) in (1..).zip(plaintext.chunks(frame_length)) {
        seal_piece(&key, sequence, content, &mut piece[..content.len() + AROUND]);
    }
}

/// The work that signing a message needs at least.
pub fn hash(bytes: &[u8]) {
    std::hint::black_box(digest::digest(&digest::SHA384, bytes));
}
