//! The header of a store, which is read before the store is opened: in plaintext, but authenticated.

use manila_core::internal::crypto::{self, PassphraseCost, Refused, key_from_passphrase};
use manila_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::root_key::{RootKey, Source};
use crate::store::codec::{damaged, from_cbor, to_cbor};
use crate::store::manifest::root_key_changed;
use crate::store::seal::Seal;

/// The version of the format, incremented with every change that an older library would misread.
const FORMAT: u32 = 4;

/// The identity of a store, and the derivation of its root key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Header {
    format: u32,
    /// A random id, so that records of one store are not valid in another.
    #[serde(with = "serde_bytes")]
    id: Vec<u8>,
    pub(super) region: String,
    pub(super) account: String,
    /// The number of root keys that the store had before.
    epoch: u64,
    passphrase: Option<Passphrase>,
}

/// The derivation of the root key from a passphrase.
#[derive(Clone, Serialize, Deserialize)]
struct Passphrase {
    #[serde(with = "serde_bytes")]
    salt: Vec<u8>,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// The header as stored: its CBOR, followed by an empty plaintext that is sealed under the root key and bound to the
/// CBOR.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(with = "serde_bytes")]
    header: Vec<u8>,
    #[serde(with = "serde_bytes")]
    check: Vec<u8>,
}

impl Header {
    /// Returns the header of a new store, and its seal.
    pub(super) fn create(region: String, account: String, root: RootKey) -> Result<(Self, Seal)> {
        let id = crypto::random_array::<16>()?.to_vec();
        Self { format: FORMAT, id, region, account, epoch: 0, passphrase: None }.sealed_with(root)
    }

    /// Returns the header of the same store under another root key.
    pub(super) fn next(&self, root: RootKey) -> Result<(Self, Seal)> {
        let epoch = self.epoch.checked_add(1).ok_or_else(damaged)?;
        Self { epoch, ..self.clone() }.sealed_with(root)
    }

    fn sealed_with(mut self, root: RootKey) -> Result<(Self, Seal)> {
        self.passphrase = match root.0 {
            Source::Key(_) | Source::Derived { .. } => None,
            Source::Passphrase(_) => {
                let PassphraseCost { memory_kib, passes, lanes } = PassphraseCost::RECOMMENDED;
                Some(Passphrase { salt: crypto::random_array::<16>()?.to_vec(), memory_kib, passes, lanes })
            }
        };
        let root = root_bytes(root, self.passphrase.as_ref())?;
        let seal = Seal::new(root, self.id.clone(), self.epoch)?;
        Ok((self, seal))
    }

    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn to_row(&self, seal: &Seal) -> Result<Vec<u8>> {
        let header = to_cbor(self)?.to_vec();
        let check = seal.seal_header(&header)?;
        Ok(to_cbor(&Stored { header, check })?.to_vec())
    }

    /// Reads a stored header, and checks the root key against it.
    pub(super) fn open(row: &[u8], root: RootKey) -> Result<(Self, Seal)> {
        let stored: Stored = from_cbor(row).ok_or_else(damaged)?;
        let header: Self = from_cbor(&stored.header).ok_or_else(|| newer_format(&stored.header))?;
        if header.format != FORMAT {
            return Err(newer_format(&stored.header));
        }
        if matches!(root.0, Source::Derived { epoch, .. } if epoch < header.epoch) {
            return Err(root_key_changed());
        }
        let root = root_bytes(root, header.passphrase.as_ref())?;
        let seal = Seal::new(root, header.id.clone(), header.epoch)?;
        seal.check_header(&stored.header, &stored.check).map_err(|Refused| {
            Error::new(ErrorKind::Storage, "the root key or passphrase is not the one of this key store")
        })?;
        Ok((header, seal))
    }
}

/// The format version only, of a header whose other contents are unknown.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn newer_format(header: &[u8]) -> Error {
    match from_cbor::<Format>(header) {
        Some(Format { format }) if format != FORMAT => {
            let detail = format!(
                "the key store has format {format}, and this library reads only {FORMAT}: use one that reads {format}"
            );
            Error::new(ErrorKind::Storage, detail)
        }
        _ => damaged(),
    }
}

fn root_bytes(root: RootKey, passphrase: Option<&Passphrase>) -> Result<Zeroizing<[u8; 32]>> {
    match (root.0, passphrase) {
        (Source::Key(key), None) | (Source::Derived { key, .. }, _) => Ok(key),
        (Source::Passphrase(text), Some(stored)) => {
            let Passphrase { ref salt, memory_kib, passes, lanes } = *stored;
            key_from_passphrase(&text, salt, PassphraseCost { memory_kib, passes, lanes })
        }
        (Source::Key(_), Some(_)) => {
            Err(Error::new(ErrorKind::Storage, "the key store is sealed with a passphrase, not with a root key"))
        }
        (Source::Passphrase(_), None) => {
            Err(Error::new(ErrorKind::Storage, "the key store is sealed with a root key, not with a passphrase"))
        }
    }
}
