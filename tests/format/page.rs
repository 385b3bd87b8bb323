//! A reader and a writer of messages, written from the specification's pages on data formats and algorithm suites
//! without using this crate. They have no limits and no kinds of errors: they only tell whether a message is valid.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes192;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use p256::ecdsa::signature::Verifier as _;
use sha2::{Sha256, Sha384, Sha512};

pub type Outcome<T> = Result<T, &'static str>;
pub type Pairs = Vec<(String, String)>;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kdf {
    Identity,
    Sha256,
    Sha384,
    /// With key commitment, in version 2 messages.
    Sha512,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Curve {
    P256,
    P384,
}

/// A row of the table of algorithm suites.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suite {
    pub id: u16,
    pub key_len: usize,
    pub kdf: Kdf,
    pub curve: Option<Curve>,
}

const fn suite(id: u16, key_len: usize, kdf: Kdf, curve: Option<Curve>) -> Suite {
    Suite { id, key_len, kdf, curve }
}

pub const SUITES: [Suite; 11] = [
    suite(0x0014, 16, Kdf::Identity, None),
    suite(0x0046, 24, Kdf::Identity, None),
    suite(0x0078, 32, Kdf::Identity, None),
    suite(0x0114, 16, Kdf::Sha256, None),
    suite(0x0146, 24, Kdf::Sha256, None),
    suite(0x0178, 32, Kdf::Sha256, None),
    suite(0x0214, 16, Kdf::Sha256, Some(Curve::P256)),
    suite(0x0346, 24, Kdf::Sha384, Some(Curve::P384)),
    suite(0x0378, 32, Kdf::Sha384, Some(Curve::P384)),
    suite(0x0478, 32, Kdf::Sha512, None),
    suite(0x0578, 32, Kdf::Sha512, Some(Curve::P384)),
];

/// Deviations of a writer from the specification. [`Departures::default`] has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Departures {
    /// In suites without commitment, the HKDF info is only the suite's id.
    pub no_message_id: bool,
    /// Two zero bytes follow the header in its AAD if no pair is left out of it.
    pub empty_pairs_counted: bool,
}

pub struct DataKey {
    pub provider: Vec<u8>,
    pub info: Vec<u8>,
    pub ciphertext: Vec<u8>,
}

/// The fields of a header.
pub struct Header {
    pub suite: Suite,
    pub message_id: Vec<u8>,
    pub pairs: Pairs,
    pub data_keys: Vec<DataKey>,
    /// Zero if the message is non-framed.
    pub frame_length: usize,
    pub commitment: Vec<u8>,
}

/// The contents of a valid message.
pub struct Message {
    pub header: Header,
    pub plaintext: Vec<u8>,
    /// The lengths of the frames' contents; the last is the final frame's.
    pub frames: Vec<usize>,
    /// The public key of the signature, as stated in the context.
    pub public_key: Option<String>,
}

/// The bytes left to read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Outcome<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or("the message ends")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, len: usize) -> Outcome<usize> {
        Ok(self.take(len)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn field(&mut self) -> Outcome<&'a [u8]> {
        let len = self.number(2)?;
        self.take(len)
    }

    fn text(&mut self) -> Outcome<String> {
        String::from_utf8(self.field()?.to_vec()).map_err(|_| "text that is not UTF-8")
    }
}

impl Header {
    /// Reads a header up to its IV and tag.
    fn read(bytes: &mut Bytes<'_>) -> Outcome<Self> {
        let version = bytes.number(1)?;
        if version == 1 && bytes.number(1)? != 0x80 {
            return Err("another type");
        }
        let id = bytes.number(2)?;
        let suite = *SUITES.iter().find(|suite| usize::from(suite.id) == id).ok_or("no such suite")?;
        if version != if suite.kdf == Kdf::Sha512 { 2 } else { 1 } {
            return Err("a suite of another version");
        }
        let message_id = bytes.take(if version == 1 { 16 } else { 32 })?.to_vec();
        let mut pairs = Bytes(bytes.field()?);
        let count = if pairs.0.is_empty() { 0 } else { pairs.number(2)? };
        let read: Pairs = (0..count).map(|_| Ok((pairs.text()?, pairs.text()?))).collect::<Outcome<_>>()?;
        if !pairs.0.is_empty() {
            return Err("bytes behind the context");
        }
        let count = bytes.number(2)?;
        let data_keys = (0..count).map(|_| {
            let [provider, info, ciphertext] = [bytes.field()?, bytes.field()?, bytes.field()?].map(<[u8]>::to_vec);
            Ok(DataKey { provider, info, ciphertext })
        });
        let data_keys = data_keys.collect::<Outcome<_>>()?;
        let framed = match bytes.number(1)? {
            1 => false,
            2 => true,
            _ => return Err("another content type"),
        };
        if version == 1 && (bytes.number(4)?, bytes.number(1)?) != (0, 12) {
            return Err("reserved bytes, or another length of IVs");
        }
        let frame_length = bytes.number(4)?;
        if framed != (frame_length > 0) {
            return Err("the frame length of another content type");
        }
        let commitment = bytes.take(if version == 1 { 0 } else { 32 })?.to_vec();
        Ok(Self { suite, message_id, pairs: read, data_keys, frame_length, commitment })
    }

    fn write(&self) -> Vec<u8> {
        let version_1 = self.suite.kdf != Kdf::Sha512;
        let mut written = if version_1 { vec![1, 0x80] } else { vec![2] };
        written.extend(self.suite.id.to_be_bytes());
        written.extend(&self.message_id);
        written.extend(field(&serialise(&self.pairs)));
        written.extend(two_bytes(self.data_keys.len()));
        for key in &self.data_keys {
            written.extend([&key.provider, &key.info, &key.ciphertext].map(|part| field(part)).concat());
        }
        written.push(2);
        written.extend(if version_1 { &[0, 0, 0, 0, 12][..] } else { &[] });
        written.extend(u32::try_from(self.frame_length).unwrap().to_be_bytes());
        written.extend(&self.commitment);
        written
    }
}

fn two_bytes(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap().to_be_bytes()
}

fn field(bytes: &[u8]) -> Vec<u8> {
    [&two_bytes(bytes.len())[..], bytes].concat()
}

/// Serialises the number of pairs and the pairs, sorted by the bytes of their keys; returns nothing if there are none.
pub fn serialise(pairs: &[(String, String)]) -> Vec<u8> {
    if pairs.is_empty() {
        return Vec::new();
    }
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
    let pairs = sorted.iter().flat_map(|(key, value)| [field(key.as_bytes()), field(value.as_bytes())]);
    [two_bytes(sorted.len()).to_vec()].into_iter().chain(pairs).flatten().collect()
}

fn opened(key: &[u8], iv: &[u8], aad: &[u8], msg: &[u8]) -> Outcome<Vec<u8>> {
    let payload = Payload { msg, aad };
    let iv = iv.try_into().map_err(|_| "an IV of another length")?;
    match key.len() {
        16 => Aes128Gcm::new_from_slice(key).unwrap().decrypt(iv, payload),
        24 => AesGcm::<Aes192, U12>::new_from_slice(key).unwrap().decrypt(iv, payload),
        _ => Aes256Gcm::new_from_slice(key).map_err(|_| "a key of another length")?.decrypt(iv, payload),
    }
    .map_err(|_| "a wrong tag")
}

fn sealed(key: &[u8], iv: &[u8], aad: &[u8], msg: &[u8]) -> Vec<u8> {
    let payload = Payload { msg, aad };
    let iv = iv.try_into().unwrap();
    match key.len() {
        16 => Aes128Gcm::new_from_slice(key).unwrap().encrypt(iv, payload),
        24 => AesGcm::<Aes192, U12>::new_from_slice(key).unwrap().encrypt(iv, payload),
        _ => Aes256Gcm::new_from_slice(key).unwrap().encrypt(iv, payload),
    }
    .unwrap()
}

/// Derives the key of a message's content, and its commitment.
fn derive(suite: Suite, data_key: &[u8], message_id: &[u8], departures: Departures) -> (Vec<u8>, Vec<u8>) {
    let id = suite.id.to_be_bytes();
    let message_id_in_info = if departures.no_message_id { &[][..] } else { message_id };
    let info = [&id[..], message_id_in_info].concat();
    let (mut key, mut commitment) = (vec![0; suite.key_len], Vec::new());
    match suite.kdf {
        Kdf::Identity => key.copy_from_slice(data_key),
        Kdf::Sha256 => Hkdf::<Sha256>::new(None, data_key).expand(&info, &mut key).unwrap(),
        Kdf::Sha384 => Hkdf::<Sha384>::new(None, data_key).expand(&info, &mut key).unwrap(),
        Kdf::Sha512 => {
            commitment = vec![0; 32];
            let kdf = Hkdf::<Sha512>::new(Some(message_id), data_key);
            kdf.expand(&[&id[..], b"DERIVEKEY"].concat(), &mut key).unwrap();
            kdf.expand(b"COMMITKEY", &mut commitment).unwrap();
        }
    }
    (key, commitment)
}

fn numbered_iv(sequence: usize) -> Vec<u8> {
    [&[0; 8][..], &u32::try_from(sequence).unwrap().to_be_bytes()].concat()
}

fn body_aad(message_id: &[u8], label: &str, sequence: usize, len: usize) -> Vec<u8> {
    let sequence = u32::try_from(sequence).unwrap().to_be_bytes();
    [message_id, label.as_bytes(), &sequence, &(len as u64).to_be_bytes()].concat()
}

fn header_aad(header: &[u8], left_out: &[(String, String)], departures: Departures) -> Vec<u8> {
    let counted = left_out.is_empty() && departures.empty_pairs_counted;
    [header, &serialise(left_out), if counted { &[0, 0] } else { &[] }].concat()
}

/// Opens a message, which must end where its bytes do, with the data key that `unwrap` finds in its header. `left_out`
/// are the pairs that are authenticated but not in the header.
pub fn open(
    message: &[u8],
    left_out: &[(String, String)],
    departures: Departures,
    unwrap: impl FnOnce(&Header) -> Outcome<Vec<u8>>,
) -> Outcome<Message> {
    let mut bytes = Bytes(message);
    let header = Header::read(&mut bytes)?;
    let header_len = message.len() - bytes.0.len();
    let (key, commitment) = derive(header.suite, &unwrap(&header)?, &header.message_id, departures);
    if commitment != header.commitment {
        return Err("another commitment");
    }
    let iv = if commitment.is_empty() { bytes.take(12)? } else { &[0; 12] };
    opened(&key, iv, &header_aad(&message[..header_len], left_out, departures), bytes.take(16)?)?;
    let (plaintext, frames) = open_body(&mut bytes, &header, &key)?;
    let signed = &message[..message.len() - bytes.0.len()];
    let mut pairs = header.pairs.iter().chain(left_out);
    let public_key = pairs.find(|(key, _)| key == "aws-crypto-public-key").map(|(_, value)| value.clone());
    match (header.suite.curve, &public_key) {
        (Some(curve), Some(point)) => verify(curve, point, signed, bytes.field()?)?,
        (None, None) => {}
        _ => return Err("a public key where none is due, or none"),
    }
    if !bytes.0.is_empty() {
        return Err("bytes behind the message");
    }
    Ok(Message { header, plaintext, frames, public_key })
}

fn open_body(bytes: &mut Bytes<'_>, header: &Header, key: &[u8]) -> Outcome<(Vec<u8>, Vec<usize>)> {
    let (mut plaintext, mut frames) = (Vec::new(), Vec::new());
    let mut last = false;
    while !last {
        let mut number = bytes.number(4)?;
        last = header.frame_length == 0 || number == 0xffff_ffff;
        if header.frame_length == 0 {
            // The IV of a non-framed body is not preceded by a number.
            let rest = bytes.take(8)?;
            let iv = [&u32::try_from(number).unwrap().to_be_bytes()[..], rest].concat();
            let len = bytes.number(8)?;
            let aad = body_aad(&header.message_id, "AWSKMSEncryptionClient Single Block", 1, len);
            return Ok((opened(key, &iv, &aad, bytes.take(len + 16)?)?, vec![len]));
        }
        if last {
            number = bytes.number(4)?;
        }
        let iv = bytes.take(12)?;
        let len = if last { bytes.number(4)? } else { header.frame_length };
        if number != frames.len() + 1 || iv != numbered_iv(number) || len > header.frame_length {
            return Err("a frame with another number, IV or length");
        }
        let label = if last { "AWSKMSEncryptionClient Final Frame" } else { "AWSKMSEncryptionClient Frame" };
        let aad = body_aad(&header.message_id, label, number, len);
        plaintext.extend(opened(key, iv, &aad, bytes.take(len + 16)?)?);
        frames.push(len);
    }
    Ok((plaintext, frames))
}

/// Verifies a DER signature with a compressed point in Base64.
fn verify(curve: Curve, point: &str, signed: &[u8], signature: &[u8]) -> Outcome<()> {
    let point = STANDARD.decode(point).map_err(|_| "a public key that is not Base64")?;
    match curve {
        Curve::P256 if point.len() == 33 => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(|_| "another public key")?;
            let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| "a signature that is not DER")?;
            key.verify(signed, &signature).map_err(|_| "a wrong signature")
        }
        Curve::P384 if point.len() == 49 => {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(|_| "another public key")?;
            let signature = p384::ecdsa::Signature::from_der(signature).map_err(|_| "a signature that is not DER")?;
            key.verify(signed, &signature).map_err(|_| "a wrong signature")
        }
        _ => Err("a public key of another length"),
    }
}

/// Unwraps the data key that a raw AES keyring with this name and key wrapped.
pub fn unwrap_aes(header: &Header, namespace: &str, name: &str, key: &[u8], context: &Pairs) -> Outcome<Vec<u8>> {
    let mut ours = header.data_keys.iter().filter(|data_key| data_key.provider == namespace.as_bytes());
    ours.find_map(|data_key| {
        let iv = data_key.info.strip_prefix(name.as_bytes())?.strip_prefix(&[0, 0, 0, 128, 0, 0, 0, 12])?;
        opened(key, iv, &serialise(context), &data_key.ciphertext).ok()
    })
    .ok_or("no data key opens")
}

/// Writes an unsigned message of one final frame. `header` holds everything except the commitment.
pub fn write(mut header: Header, data_key: &[u8], plaintext: &[u8], departures: Departures) -> Vec<u8> {
    let (key, commitment) = derive(header.suite, data_key, &header.message_id, departures);
    header.commitment = commitment;
    let mut written = header.write();
    let tag = sealed(&key, &[0; 12], &header_aad(&written, &[], departures), b"");
    written.extend(if header.commitment.is_empty() { &[0; 12][..] } else { &[] });
    written.extend(tag);
    let len = u32::try_from(plaintext.len()).unwrap().to_be_bytes();
    written.extend([&[0xff; 4][..], &1_u32.to_be_bytes(), &numbered_iv(1), &len].concat());
    let aad = body_aad(&header.message_id, "AWSKMSEncryptionClient Final Frame", 1, plaintext.len());
    written.extend(sealed(&key, &numbered_iv(1), &aad, plaintext));
    written
}
