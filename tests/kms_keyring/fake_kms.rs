//! A KMS that records its calls, and may break its contract.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use manila::kms::{GeneratedDataKey, Kms, KmsCiphertext, KmsPlaintext, KmsRequest};
use manila::materials::{DataKey, KeyFuture};
use manila::{EncryptionContext, Error, ErrorKind};

pub const VIRGINIA: &str = "arn:aws:kms:us-east-1:111122223333:key/1111";
pub const VIRGINIA_2: &str = "arn:aws:kms:us-east-1:111122223333:key/2222";
pub const VIRGINIA_OF_OTHERS: &str = "arn:aws:kms:us-east-1:444455556666:key/3333";
pub const IRELAND: &str = "arn:aws:kms:eu-west-1:111122223333:key/1111";
pub const MRK_VIRGINIA: &str = "arn:aws:kms:us-east-1:111122223333:key/mrk-7777";
pub const MRK_IRELAND: &str = "arn:aws:kms:eu-west-1:111122223333:key/mrk-7777";
pub const CHINA: &str = "arn:aws-cn:kms:us-east-1:111122223333:key/5555";

/// The ways in which a KMS may be faulty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Decrypts with any context.
    IgnoresContext,
    /// Treats non-ASCII characters in the context as question marks.
    FoldsContext,
    /// Decrypts with any key.
    IgnoresKey,
    /// Encrypts plaintexts of zero bytes or more than 4096 as well.
    TakesAnyLength,
    /// Generates data keys of 32 bytes, whatever length is requested.
    MakesLongDataKeys,
    /// Answers Decrypt with another ARN.
    TellsOtherArn,
    /// Answers `GenerateDataKey` and Encrypt with the id of the key.
    TellsNoArn,
    /// Drops the last byte of a decrypted plaintext.
    CutsPlaintext,
    /// Reports a missing key as the KMS being unavailable.
    UnknownKeyIsUnavailable,
    /// Reports a bad ciphertext as an internal error.
    BadCiphertextIsInternal,
}

/// The meaning of a ciphertext: its key material, context and plaintext.
#[derive(Clone)]
struct Sealed {
    material: &'static str,
    context: EncryptionContext,
    plaintext: Vec<u8>,
}

/// The KMS of one region; the regions of a world share the material of multi-Region keys. Ciphertexts are mere numbers.
#[derive(Clone)]
pub struct FakeKms {
    region: &'static str,
    sealed: Arc<Mutex<HashMap<Vec<u8>, Sealed>>>,
    calls: Arc<Mutex<Vec<String>>>,
    fault: Option<Fault>,
}

impl std::fmt::Debug for FakeKms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeKms")
    }
}

impl FakeKms {
    /// ARNs and material. Two ARNs with the same material are a multi-Region key.
    const KEYS: [(&str, &str); 7] = [
        (VIRGINIA, "a"),
        (VIRGINIA_2, "b"),
        (VIRGINIA_OF_OTHERS, "c"),
        (IRELAND, "d"),
        (MRK_VIRGINIA, "e"),
        (MRK_IRELAND, "e"),
        (CHINA, "f"),
    ];

    pub fn new(region: &'static str) -> Self {
        Self { region, sealed: Arc::default(), calls: Arc::default(), fault: None }
    }

    /// Returns the KMS of another region of the same world, which counts its own calls.
    pub fn elsewhere(&self, region: &'static str) -> Self {
        Self { region, calls: Arc::default(), ..self.clone() }
    }

    /// Returns the same KMS with a fault, which counts its own calls.
    pub fn with(&self, fault: Fault) -> Self {
        Self { fault: Some(fault), calls: Arc::default(), ..self.clone() }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Returns the calls since the last time, each with its key.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn called(&self, call: &str, key_id: &str) {
        self.calls.lock().unwrap().push(format!("{call} {key_id}"));
    }

    /// Finds the ARN and the material of a key of this region by ARN or id.
    fn find(&self, name: &str) -> Result<(&'static str, &'static str), Error> {
        let here = Self::KEYS.into_iter().filter(|(arn, _)| arn.split(':').nth(3) == Some(self.region));
        let found = here.into_iter().find(|(arn, _)| *arn == name || arn.rsplit('/').next() == Some(name));
        let kind =
            if self.has(Fault::UnknownKeyIsUnavailable) { ErrorKind::Unavailable } else { ErrorKind::KeyRefused };
        found.ok_or_else(|| Error::new(kind, "no such key"))
    }

    fn seal(&self, request: KmsRequest<'_>, plaintext: &[u8]) -> Result<KmsCiphertext, Error> {
        let (arn, material) = self.find(request.key_id)?;
        if !(1..=4096).contains(&plaintext.len()) && !self.has(Fault::TakesAnyLength) {
            return Err(Error::new(ErrorKind::InvalidInput, "length"));
        }
        let mut all = self.sealed.lock().unwrap();
        let ciphertext = format!("ciphertext {:08}", all.len()).into_bytes();
        let context = request.encryption_context.clone();
        all.insert(ciphertext.clone(), Sealed { material, context, plaintext: plaintext.to_vec() });
        let key_arn = if self.has(Fault::TellsNoArn) { arn.rsplit('/').next().unwrap() } else { arn };
        Ok(KmsCiphertext { ciphertext, key_arn: key_arn.to_owned() })
    }

    fn open(&self, request: KmsRequest<'_>, ciphertext: &[u8]) -> Result<KmsPlaintext, Error> {
        let (arn, material) = self.find(request.key_id)?;
        let all = self.sealed.lock().unwrap();
        let refused = |what: &'static str| {
            let internal = self.has(Fault::BadCiphertextIsInternal);
            Error::new(if internal { ErrorKind::Internal } else { ErrorKind::KeyRefused }, what)
        };
        let sealed = all.get(ciphertext).ok_or_else(|| refused("not a ciphertext"))?;
        if sealed.material != material && !self.has(Fault::IgnoresKey) {
            return Err(refused("the ciphertext of another key"));
        }
        let shown = |context: &EncryptionContext| match self.has(Fault::FoldsContext) {
            true => format!("{context:?}").replace(|c: char| !c.is_ascii(), "?"),
            false => format!("{context:?}"),
        };
        if shown(&sealed.context) != shown(request.encryption_context) && !self.has(Fault::IgnoresContext) {
            return Err(refused("another context"));
        }
        let cut = usize::from(self.has(Fault::CutsPlaintext));
        let plaintext = DataKey::new(&sealed.plaintext[..sealed.plaintext.len() - cut]);
        let key_arn = if self.has(Fault::TellsOtherArn) { VIRGINIA_OF_OTHERS } else { arn };
        Ok(KmsPlaintext { plaintext, key_arn: key_arn.to_owned() })
    }
}

impl Kms for FakeKms {
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
        self.called("generate", request.key_id);
        Box::pin(async move {
            let plaintext = DataKey::generate(if self.has(Fault::MakesLongDataKeys) { 32 } else { length })?;
            let KmsCiphertext { ciphertext, key_arn } = self.seal(request, plaintext.expose_secret())?;
            Ok(GeneratedDataKey { plaintext, ciphertext, key_arn })
        })
    }

    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        self.called("encrypt", request.key_id);
        Box::pin(async move { self.seal(request, plaintext) })
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        self.called("decrypt", request.key_id);
        Box::pin(async move { self.open(request, ciphertext) })
    }

    fn is_local(&self) -> bool {
        true
    }
}
