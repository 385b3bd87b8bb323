//! Keys in files: AES keys as bytes or base64, RSA keys in PEM.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::builder::{OsStringValueParser, TypedValueParser};
use manila::keyring::{Keyring, RawAesKeyring, RawRsaKeyring, RsaPadding, RsaPrivateKey, RsaPublicKey};
use manila::local_kms::check_secret_file;
use manila_core::internal::crypto::{Sha256, hex};
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::regular_file;

/// More bytes than the PEM of the longest RSA key has.
const MOST: u64 = 64 << 10;
/// The lengths of AES keys in bytes.
const AES: [usize; 3] = [16, 24, 32];
const PADDING: RsaPadding = RsaPadding::OaepSha256;

/// A file with a key, and the names that messages call the key by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    path: PathBuf,
    names: Option<Names>,
}

/// The namespace and the name of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names {
    namespace: String,
    name: String,
}

/// A key that was read from a file.
enum Key {
    Aes(Zeroizing<Vec<u8>>),
    Public(RsaPublicKey),
    Private(RsaPrivateKey),
}

impl KeyFile {
    /// Returns the parser of the option.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new().try_map(Self::parse)
    }

    /// Reads `[NAMESPACE/NAME=]FILE`. What begins as a path is one.
    pub fn parse(text: OsString) -> Result<Self, &'static str> {
        let named = text.to_str().filter(|text| !text.starts_with(['/', '.'])).and_then(|text| text.split_once('='));
        let Some((names, path)) = named else { return Ok(Self { path: text.into(), names: None }) };
        let (namespace, name) = names.split_once('/').ok_or("give it as NAMESPACE/NAME=FILE, or as ./FILE")?;
        if namespace.is_empty() || name.is_empty() || path.is_empty() {
            return Err("give it as NAMESPACE/NAME=FILE, and none of them empty");
        }
        let names = Names { namespace: namespace.to_owned(), name: name.to_owned() };
        Ok(Self { path: path.into(), names: Some(names) })
    }

    /// The same, with the path that another stands for.
    pub fn located(self, locate: impl FnOnce(&Path) -> Result<PathBuf>) -> Result<Self> {
        Ok(Self { path: locate(&self.path)?, ..self })
    }

    /// Returns a keyring that encrypts under the key, and decrypts with it unless it is a public one.
    pub fn keyring_to_encrypt(&self) -> Result<Box<dyn Keyring>> {
        let (key, _) = self.read()?;
        let Names { namespace, name } = self.names(&key);
        Ok(match key {
            Key::Aes(key) => Box::new(RawAesKeyring::new(namespace, name, &key)?),
            Key::Public(key) => Box::new(RawRsaKeyring::public(namespace, name, PADDING, key)?),
            Key::Private(key) => Box::new(RawRsaKeyring::pair(namespace, name, PADDING, key.public_key(), key)?),
        })
    }

    /// Returns a keyring that decrypts with the key, unless it is a public one.
    pub fn keyring_to_decrypt(&self) -> Result<Option<Box<dyn Keyring>>> {
        let (key, _) = self.read()?;
        let Names { namespace, name } = self.names(&key);
        Ok(match key {
            Key::Aes(key) => Some(Box::new(RawAesKeyring::new(namespace, name, &key)?)),
            Key::Private(key) => Some(Box::new(RawRsaKeyring::private(namespace, name, PADDING, key)?)),
            Key::Public(_) => None,
        })
    }

    /// Returns what tells the key from others of its names, and nothing of the key itself: it is long and random.
    pub fn fingerprint(&self) -> Result<String> {
        let (key, bytes) = self.read()?;
        let mut digest = Sha256::new();
        digest.update(b"manila: fingerprint of a key file\n");
        match key {
            Key::Aes(key) => digest.update(&key),
            Key::Public(_) | Key::Private(_) => digest.update(bytes.trim_ascii()),
        }
        Ok(hex(&digest.finish()))
    }

    fn names(&self, key: &Key) -> Names {
        let name = match key {
            Key::Aes(_) => "aes",
            Key::Public(_) | Key::Private(_) => "rsa",
        };
        self.names.clone().unwrap_or_else(|| Names { namespace: "manila".to_owned(), name: name.to_owned() })
    }

    /// Returns the key, and the bytes of the file.
    fn read(&self) -> Result<(Key, Zeroizing<Vec<u8>>)> {
        let path = &self.path;
        let failed = |error| Failure::file("cannot read the key in", path, error);
        let file = regular_file::open(path).map_err(failed)?;
        // With room for all of it, so that no part of a key is left behind when it grows.
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST).unwrap_or_default()));
        (&file).take(MOST).read_to_end(&mut bytes).map_err(failed)?;
        let key = parse(&bytes).map_err(|why| Failure::Work(format!("{path:?} {why}")))?;
        if !matches!(key, Key::Public(_)) {
            check_secret_file(&file).map_err(failed)?;
        }
        Ok((key, bytes))
    }
}

/// Tells which key the bytes of a file are.
fn parse(bytes: &[u8]) -> Result<Key, String> {
    let text = str::from_utf8(bytes).unwrap_or_default();
    if text.trim_start().starts_with("-----BEGIN ") {
        return parse_pem(text.trim());
    }
    let decoded = STANDARD.decode(text.trim()).map(Zeroizing::new).ok();
    let decoded = decoded.filter(|decoded| AES.contains(&decoded.len()));
    match (AES.contains(&bytes.len()), decoded) {
        (true, None) => Ok(Key::Aes(Zeroizing::new(bytes.to_vec()))),
        (false, Some(decoded)) => Ok(Key::Aes(decoded)),
        (true, Some(decoded)) => Err(format!(
            "is a key of {} bytes or the base64 of one of {}: end it with a newline if it is base64, or encode it",
            bytes.len(),
            decoded.len()
        )),
        (false, None) => Err("holds no key: give 16, 24 or 32 bytes, base64 of them, or an RSA key in PEM".to_owned()),
    }
}

fn parse_pem(text: &str) -> Result<Key, String> {
    let is_private = text.lines().next().is_some_and(|line| line.contains("PRIVATE"));
    let key = match is_private {
        true => RsaPrivateKey::from_pem(text).map(Key::Private),
        false => RsaPublicKey::from_pem(text).map(Key::Public),
    };
    key.map_err(|error| format!("holds no RSA key: {error}"))
}
