//! A driver that writes and reads the messages of this crate with the primitives alone: what no program can go below.
//!
//! It writes real messages, byte by byte those of the format, and each side reads the other's: the same derivation of
//! keys, as many pieces under AES-256-GCM, one call for all the random bytes of a message. What it leaves out is all
//! that makes a library of it: it knows the length of every field in advance, and checks nothing but tags.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyCompressedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use sha2::Sha512;

/// The namespace and name of the key that wraps data keys, and the key: a test key.
pub const WRAPPING: (&str, &str, [u8; 32]) = ("example", "test-key", [1; 32]);
/// The data key where it is at hand: a test key.
pub const DATA_KEY: [u8; 32] = [7; 32];

const TAG_LEN: usize = 16;
const IV_LEN: usize = 12;
/// Message id, data key, IV.
const RANDOM_LEN: usize = 32 + 32 + IV_LEN;
/// Bytes of a regular frame before its content: sequence number, IV. The final one has two fields more.
const HEAD_LEN: usize = 4 + IV_LEN;
const FINAL_HEAD_LEN: usize = HEAD_LEN + 8;
/// Offset of the message id, after version and suite.
const ID_AT: usize = 3;
/// Offset of the encryption context's length.
const CONTEXT_AT: usize = ID_AT + 32;
/// Length of the text of a public key.
const PUBLIC_LEN: usize = 68;

/// The origin of a message's data key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum DataKeys {
    /// A new one for each message, under an AES key.
    Wrapped,
    /// The same for all, as a cache has it at hand; in signed messages also the same signing key.
    AtHand,
}

impl DataKeys {
    pub fn name(self) -> &'static str {
        match self {
            Self::Wrapped => "wrapped",
            Self::AtHand => "cached",
        }
    }
}

/// Writes and reads messages of one suite, 0x0478 or 0x0578, of one length.
pub struct Driver {
    keys: DataKeys,
    wrapping: LessSafeKey,
    signing: Option<EcdsaKeyPair>,
    /// The header up to the commitment, with what does not change from message to message.
    header: Vec<u8>,
    /// Offset of the IV under which the data key is wrapped; the data key follows after its length.
    wrapped_at: usize,
    frame_length: usize,
    plaintext_len: usize,
}

/// The key of a message, once it is derived, and its id.
pub struct Started {
    key: LessSafeKey,
    id: [u8; 32],
}

impl Driver {
    pub fn new(is_signed: bool, keys: DataKeys, frame_length: usize, plaintext_len: usize) -> Self {
        let signing = is_signed.then(|| EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap());
        let mut header = vec![2, if is_signed { 5 } else { 4 }, 0x78];
        header.extend([0; 32]);
        let context = signing.as_ref().map_or(Vec::new(), context);
        let (namespace, name, key) = WRAPPING;
        put_field(&mut header, &context);
        header.extend([0, 1]);
        put_field(&mut header, namespace.as_bytes());
        let wrapped_at = header.len() + 2 + name.len() + 8;
        put_field(&mut header, &[name.as_bytes(), &[0, 0, 0, 128, 0, 0, 0, 12], &[0; IV_LEN]].concat());
        put_field(&mut header, &[0; 32 + TAG_LEN]);
        header.push(2);
        header.extend(u32::try_from(frame_length).unwrap().to_be_bytes());
        let wrapping = aes(&key);
        let mut driver = Self { keys, wrapping, signing, header, wrapped_at, frame_length, plaintext_len };
        let mut header = driver.header.clone();
        driver.wrap(&[9; IV_LEN], &DATA_KEY, &mut header);
        driver.header = header;
        driver
    }

    fn header_len(&self) -> usize {
        self.header.len() + 32 + TAG_LEN
    }

    /// Puts the data key into a header that has the context already.
    fn wrap(&self, iv: &[u8; IV_LEN], data_key: &[u8; 32], header: &mut [u8]) {
        let (before, after) = header.split_at_mut(self.wrapped_at);
        after[..IV_LEN].copy_from_slice(iv);
        let (content, tag) = after[IV_LEN + 2..][..32 + TAG_LEN].split_at_mut(32);
        let context = &before[CONTEXT_AT + 2..][..self.context_len()];
        let iv = Nonce::assume_unique_for_key(*iv);
        self.wrapping.seal_out_of_place_scatter(iv, Aad::from(context), data_key, content, &[], tag).unwrap();
    }

    fn context_len(&self) -> usize {
        let [high, low] = [self.header[CONTEXT_AT], self.header[CONTEXT_AT + 1]];
        usize::from(u16::from_be_bytes([high, low]))
    }

    fn data_key_of(&self, header: &[u8]) -> [u8; 32] {
        let (mut key, after) = ([0; 32], &header[self.wrapped_at..]);
        let (content, tag) = after[IV_LEN + 2..][..32 + TAG_LEN].split_at(32);
        let iv = Nonce::try_assume_unique_for_key(&after[..IV_LEN]).unwrap();
        let context = &header[CONTEXT_AT + 2..][..self.context_len()];
        self.wrapping.open_separate_gather(iv, Aad::from(context), content, tag, &mut key).unwrap();
        key
    }

    /// Starts a message: writes its header into the start of `out`.
    fn start(&self, out: &mut [u8]) -> (Started, Option<EcdsaKeyPair>) {
        let mut random = [0; RANDOM_LEN];
        let is_new = self.keys == DataKeys::Wrapped;
        getrandom::fill(if is_new { &mut random } else { &mut random[..32] }).unwrap();
        let id: [u8; 32] = *random.first_chunk().unwrap();
        let (body, rest) = out.split_at_mut(self.header.len());
        body.copy_from_slice(&self.header);
        body[ID_AT..CONTEXT_AT].copy_from_slice(&id);
        let (mut data_key, mut signing) = (DATA_KEY, None);
        if is_new {
            if self.signing.is_some() {
                let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
                let end = CONTEXT_AT + 2 + self.context_len();
                body[end - PUBLIC_LEN..end].copy_from_slice(public_key(&pair).as_bytes());
                signing = Some(pair);
            }
            data_key = random[32..64].try_into().unwrap();
            self.wrap(random.last_chunk().unwrap(), &data_key, body);
        }
        let (key, commitment) = derive(self.header[1], &id, &data_key);
        rest[..32].copy_from_slice(&commitment);
        let (body, rest) = out.split_at_mut(self.header.len() + 32);
        let tag = &mut rest[..TAG_LEN];
        key.seal_out_of_place_scatter(nonce(0), Aad::from(&*body), &[], &mut [], &[], tag).unwrap();
        (Started { key, id }, signing)
    }

    /// Writes a message; its memory is used again.
    pub fn encrypt(&self, plaintext: &[u8], out: &mut Vec<u8>) {
        self.encrypt_with(plaintext, out, |started, body| {
            let mut body = body;
            for (sequence, is_last, content) in frames(plaintext, self.frame_length) {
                let (frame, rest) = body.split_at_mut(frame_len(is_last, content.len()));
                started.seal(sequence, is_last, content, frame);
                body = rest;
            }
        });
    }

    /// Like [`encrypt`](Self::encrypt), with one half of the frames on another thread.
    pub fn encrypt_on_two_threads(&self, plaintext: &[u8], out: &mut Vec<u8>) {
        self.encrypt_with(plaintext, out, |started, body| {
            let all: Vec<_> = frames(plaintext, self.frame_length).collect();
            let (near, far) = all.split_at(all.len() / 2);
            let (near_out, far_out) = body.split_at_mut(near.len() * frame_len(false, self.frame_length));
            let seal = |frames: &[(u32, bool, &[u8])], mut out: &mut [u8]| {
                for (sequence, is_last, content) in frames {
                    let (frame, rest) = out.split_at_mut(frame_len(*is_last, content.len()));
                    started.seal(*sequence, *is_last, content, frame);
                    out = rest;
                }
            };
            std::thread::scope(|scope| {
                scope.spawn(|| seal(far, far_out));
                seal(near, near_out);
            });
        });
    }

    fn encrypt_with(&self, plaintext: &[u8], out: &mut Vec<u8>, seal: impl FnOnce(&Started, &mut [u8])) {
        let frames = plaintext.len().saturating_sub(1) / self.frame_length;
        let len = self.header_len() + plaintext.len() + frames * (HEAD_LEN + TAG_LEN) + FINAL_HEAD_LEN + TAG_LEN;
        out.resize(len, 0);
        let (started, signing) = self.start(out);
        seal(&started, &mut out[self.header_len()..]);
        if let Some(pair) = signing.as_ref().or(self.signing.as_ref()) {
            let signature = pair.sign(&SystemRandom::new(), out).unwrap();
            put_field(out, signature.as_ref());
        }
    }

    /// Reads the header of a message.
    pub fn open(&self, message: &[u8]) -> Started {
        let header = &message[..self.header_len()];
        let id: [u8; 32] = header[ID_AT..CONTEXT_AT].try_into().unwrap();
        let data_key = match self.keys {
            DataKeys::Wrapped => self.data_key_of(header),
            DataKeys::AtHand => DATA_KEY,
        };
        let (key, commitment) = derive(self.header[1], &id, &data_key);
        let (body, tag) = header.split_at(self.header.len() + 32);
        assert!(body.ends_with(&commitment));
        key.open_separate_gather(nonce(0), Aad::from(body), &[], tag, &mut []).unwrap();
        Started { key, id }
    }

    /// Reads a message into `out`, which has the length of its plaintext.
    pub fn decrypt(&self, message: &[u8], out: &mut [u8]) {
        let started = self.open(message);
        let mut body = &message[self.header_len()..];
        for (sequence, is_last, content) in frames_mut(out, self.frame_length) {
            let (frame, rest) = body.split_at(frame_len(is_last, content.len()));
            started.open(sequence, is_last, frame, content);
            body = rest;
        }
        if self.signing.is_some() {
            let signed = &message[..message.len() - body.len()];
            let end = CONTEXT_AT + 2 + self.context_len();
            let public = STANDARD.decode(&message[end - PUBLIC_LEN..end]).unwrap();
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, public).verify(signed, &body[2..]).unwrap();
        }
    }

    /// Writes a message frame by frame into the same small piece of memory.
    pub fn encrypt_through(&self, plaintext: &[u8], piece: &mut [u8]) {
        let (started, _) = self.start(piece);
        for (sequence, is_last, content) in frames(plaintext, self.frame_length) {
            started.seal(sequence, is_last, content, &mut piece[..frame_len(is_last, content.len())]);
        }
    }

    /// Reads a message frame by frame into the same small piece of memory.
    pub fn decrypt_through(&self, message: &[u8], piece: &mut [u8]) {
        let started = self.open(message);
        let mut body = &message[self.header_len()..];
        for number in 0..=(self.plaintext_len.saturating_sub(1) / self.frame_length) {
            body = self.open_frame(&started, number, body, piece);
        }
    }

    /// Reads the frames that hold `len` bytes from `offset` on, each into the same piece of memory.
    pub fn open_at(&self, started: &Started, message: &[u8], offset: usize, len: usize, piece: &mut [u8]) {
        for number in offset / self.frame_length..=(offset + len - 1) / self.frame_length {
            let at = self.header_len() + number * frame_len(false, self.frame_length);
            self.open_frame(started, number, &message[at..], piece);
        }
    }

    fn open_frame<'a>(&self, started: &Started, number: usize, body: &'a [u8], piece: &mut [u8]) -> &'a [u8] {
        let left = self.plaintext_len - number * self.frame_length;
        let (is_last, len) = (left <= self.frame_length, left.min(self.frame_length));
        let (frame, rest) = body.split_at(frame_len(is_last, len));
        started.open(u32::try_from(number + 1).unwrap(), is_last, frame, &mut piece[..len]);
        rest
    }
}

impl Started {
    fn seal(&self, sequence: u32, is_last: bool, content: &[u8], frame: &mut [u8]) {
        let (head, rest) = frame.split_at_mut(if is_last { FINAL_HEAD_LEN } else { HEAD_LEN });
        if is_last {
            head[..4].fill(0xff);
            head[FINAL_HEAD_LEN - 4..].copy_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        }
        let at = if is_last { 4 } else { 0 };
        head[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
        head[at + 4..at + 4 + IV_LEN].copy_from_slice(&iv(sequence));
        let (out, tag) = rest.split_at_mut(content.len());
        let (aad, len) = self.aad(sequence, is_last, content.len());
        let aad = Aad::from(&aad[..len]);
        self.key.seal_out_of_place_scatter(nonce(sequence), aad, content, out, &[], tag).unwrap();
    }

    fn open(&self, sequence: u32, is_last: bool, frame: &[u8], out: &mut [u8]) {
        let (_, rest) = frame.split_at(if is_last { FINAL_HEAD_LEN } else { HEAD_LEN });
        let (content, tag) = rest.split_at(out.len());
        let (aad, len) = self.aad(sequence, is_last, content.len());
        self.key.open_separate_gather(nonce(sequence), Aad::from(&aad[..len]), content, tag, out).unwrap();
    }

    /// Message id, label, sequence number, length.
    fn aad(&self, sequence: u32, is_last: bool, content_len: usize) -> ([u8; 80], usize) {
        let label: &[u8] =
            if is_last { b"AWSKMSEncryptionClient Final Frame" } else { b"AWSKMSEncryptionClient Frame" };
        let (mut aad, mut at) = ([0; 80], 0);
        for part in [&self.id[..], label, &sequence.to_be_bytes(), &(content_len as u64).to_be_bytes()] {
            aad[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        (aad, at)
    }
}

/// The frames of a plaintext: number, whether it is the final one, content.
fn frames(plaintext: &[u8], frame_length: usize) -> impl Iterator<Item = (u32, bool, &[u8])> {
    let last = (plaintext.len().saturating_sub(1) / frame_length) * frame_length;
    let (regular, content) = plaintext.split_at(last);
    let regular = regular.chunks(frame_length).map(|content| (false, content)).chain([(true, content)]);
    (1..).zip(regular).map(|(sequence, (is_last, content))| (sequence, is_last, content))
}

fn frames_mut(plaintext: &mut [u8], frame_length: usize) -> impl Iterator<Item = (u32, bool, &mut [u8])> {
    let last = (plaintext.len().saturating_sub(1) / frame_length) * frame_length;
    let (regular, content) = plaintext.split_at_mut(last);
    let regular = regular.chunks_mut(frame_length).map(|content| (false, content)).chain([(true, content)]);
    (1..).zip(regular).map(|(sequence, (is_last, content))| (sequence, is_last, content))
}

fn frame_len(is_last: bool, content_len: usize) -> usize {
    content_len + TAG_LEN + if is_last { FINAL_HEAD_LEN } else { HEAD_LEN }
}

/// The key of a message and its commitment: one extract, two expands.
fn derive(suite: u8, id: &[u8; 32], data_key: &[u8; 32]) -> (LessSafeKey, [u8; 32]) {
    let hkdf = Hkdf::<Sha512>::new(Some(id), data_key);
    let (mut key, mut commitment) = ([0; 32], [0; 32]);
    hkdf.expand_multi_info(&[&[suite, 0x78], b"DERIVEKEY"], &mut key).unwrap();
    hkdf.expand(b"COMMITKEY", &mut commitment).unwrap();
    (aes(&key), commitment)
}

fn aes(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap())
}

fn iv(sequence: u32) -> [u8; IV_LEN] {
    let mut iv = [0; IV_LEN];
    iv[8..].copy_from_slice(&sequence.to_be_bytes());
    iv
}

fn nonce(sequence: u32) -> Nonce {
    Nonce::assume_unique_for_key(iv(sequence))
}

/// The encryption context of a signed message.
fn context(pair: &EcdsaKeyPair) -> Vec<u8> {
    let mut context = vec![0, 1];
    put_field(&mut context, b"aws-crypto-public-key");
    put_field(&mut context, public_key(pair).as_bytes());
    context
}

fn public_key(pair: &EcdsaKeyPair) -> String {
    let point: EcPublicKeyCompressedBin<'_> = pair.public_key().as_be_bytes().unwrap();
    STANDARD.encode(point.as_ref())
}

fn put_field(out: &mut Vec<u8>, field: &[u8]) {
    out.extend(u16::try_from(field.len()).unwrap().to_be_bytes());
    out.extend(field);
}

/// The work that signing a message needs at least.
pub fn hash(bytes: &[u8]) {
    std::hint::black_box(digest::digest(&digest::SHA384, bytes));
}
