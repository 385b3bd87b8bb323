//! The seal of a store: keys derived from the root key.

use std::sync::atomic::{AtomicU64, Ordering};

use manila_core::Result;
use manila_core::internal::crypto::{self, Hash, MacKey, Refused};
use zeroize::Zeroizing;

use crate::root_key::{RootKey, Source};
use crate::secret_box;
use crate::store::Table;
use crate::store::codec::{bounded, damaged, too_long};

const CHECK_PURPOSE: &[u8] = b"manila local-kms store 1";
const RECORD_PURPOSE: &[u8] = b"manila local-kms record 1";
const MANIFEST_PURPOSE: &[u8] = b"manila local-kms manifest 1";
const AUDIT_PURPOSE: &[u8] = b"manila local-kms audit 1";

/// The domain of the digests of [`Seal::hide`], so that none is valid as a tag of the manifest.
const OF_HIDDEN: &[u8] = b"h";

/// The length in bytes of the record's length, which follows the record and its padding.
const LENGTH_LEN: usize = 4;

/// The length of a tag of the manifest, in bytes.
pub(super) const MAC_LEN: usize = 32;

/// Identifies a seal within the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SealId(u64);

impl SealId {
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// The root key, and the keys derived from it for one store.
pub(crate) struct Seal {
    id: SealId,
    root: Zeroizing<[u8; 32]>,
    store_id: Vec<u8>,
    /// The number of root keys that the store had before.
    epoch: u64,
    manifest: MacKey,
    /// The number of records that have been opened.
    #[cfg(feature = "testing")]
    opened: AtomicU64,
}

impl Seal {
    pub(super) fn new(root: Zeroizing<[u8; 32]>, store_id: Vec<u8>, epoch: u64) -> Result<Self> {
        let manifest = MacKey::new(&*derive(&root, &store_id, MANIFEST_PURPOSE)?)?;
        Ok(Self {
            id: SealId::new(),
            root,
            store_id,
            epoch,
            manifest,
            #[cfg(feature = "testing")]
            opened: AtomicU64::new(0),
        })
    }

    /// Returns the root key of this seal, in its derived form.
    pub(super) fn root_key(&self) -> RootKey {
        RootKey(Source::Derived { key: self.root.clone(), epoch: self.epoch })
    }

    pub(super) fn id(&self) -> SealId {
        self.id
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn store_id(&self) -> &[u8] {
        &self.store_id
    }

    /// Returns the key of the audit log's lines in this epoch.
    pub(crate) fn audit_key(&self) -> Result<Zeroizing<[u8; 32]>> {
        derive(&self.root, &self.store_id, AUDIT_PURPOSE)
    }

    /// Seals an empty plaintext, bound to the header, as a check of the root key.
    pub(super) fn seal_header(&self, header: &[u8]) -> Result<Vec<u8>> {
        secret_box::seal(self.root.as_slice(), CHECK_PURPOSE, header, &[])
    }

    pub(super) fn check_header(&self, header: &[u8], check: &[u8]) -> Result<(), Refused> {
        secret_box::open(self.root.as_slice(), CHECK_PURPOSE, header, check).map(|_| ())
    }

    /// Seals the record of `id` with its `counter` in the manifest.
    pub(super) fn seal_bytes(&self, table: Table, id: &str, counter: u64, record: &[u8]) -> Result<Vec<u8>> {
        let (place, padded) = (self.place(table, id, counter), pad(record, table.shortest_record())?);
        let sealed = secret_box::seal(self.root.as_slice(), RECORD_PURPOSE, &place, &padded)?;
        bounded(&sealed).map_err(|_| too_long())?;
        Ok(sealed)
    }

    pub(super) fn open_bytes(&self, table: Table, id: &str, counter: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        #[cfg(feature = "testing")]
        self.opened.fetch_add(1, Ordering::Relaxed);
        let place = self.place(table, id, counter);
        let opened = secret_box::open(self.root.as_slice(), RECORD_PURPOSE, &place, bounded(sealed)?);
        let mut record = opened.map_err(|Refused| damaged())?;
        let len = unpadded_len(&record).ok_or_else(damaged)?;
        record.truncate(len);
        Ok(record)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Returns the AAD that binds a record to its store, table, id and counter. It is unambiguous, because store ids
    /// and counters have fixed lengths, and table names contain no zero byte.
    fn place(&self, table: Table, id: &str, counter: u64) -> Vec<u8> {
        [self.store_id.as_slice(), &counter.to_be_bytes(), table.name().as_bytes(), &[0], id.as_bytes()].concat()
    }

    /// Returns the digest of an id, in hexadecimal, for rows whose ids must not be readable in the file. It is keyed,
    /// so that nobody can test guesses without the root key.
    pub(crate) fn hide(&self, table: Table, id: &str) -> Result<String> {
        let mac = self.mac(&[OF_HIDDEN, table.name().as_bytes(), &[0], id.as_bytes()]);
        Ok(crypto::hex(mac.first_chunk::<16>().ok_or_else(damaged)?))
    }

    /// Returns the tag of a part of the manifest.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> [u8; MAC_LEN] {
        self.manifest.mac(parts)
    }
}

/// Pads a record with zeros and its length to a power of two, so that the length of the sealed record reveals no more.
fn pad(record: &[u8], shortest: usize) -> Result<Zeroizing<Vec<u8>>> {
    let length = u32::try_from(record.len()).map_err(|_| too_long())?.to_be_bytes();
    let len = record.len().saturating_add(LENGTH_LEN).next_power_of_two().max(shortest);
    let mut padded = Zeroizing::new(Vec::with_capacity(len));
    padded.extend_from_slice(record);
    padded.resize(len.saturating_sub(LENGTH_LEN), 0);
    padded.extend_from_slice(&length);
    Ok(padded)
}

/// Returns the length of a record without its [padding](pad).
fn unpadded_len(padded: &[u8]) -> Option<usize> {
    let (rest, length) = padded.split_last_chunk::<LENGTH_LEN>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok().filter(|len| *len <= rest.len())
}

fn derive(root: &[u8; 32], store_id: &[u8], purpose: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    crypto::hkdf(Hash::Sha512, store_id, root, &mut [(&[purpose], key.as_mut_slice())])?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use manila_core::ErrorKind;

    #[test]
    fn a_record_that_is_too_long_is_refused_and_the_store_is_not_called_damaged() {
        let seal = Seal::new(Zeroizing::new([7; 32]), vec![1; 16], 0).unwrap();
        let longest = (1 << 20) - LENGTH_LEN;
        let sealed = seal.seal_bytes(Table::Keys, "id", 1, &vec![7; longest]).unwrap();
        assert_eq!(seal.open_bytes(Table::Keys, "id", 1, &sealed).unwrap().len(), longest);
        let error = seal.seal_bytes(Table::Keys, "id", 1, &vec![7; longest + 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }

    #[test]
    fn a_padded_record_is_read_again_and_its_length_is_one_of_few() {
        for record in [&b""[..], b"\0", b"a\0\0", &[0; 508], &[7; 509], &vec![0x80; 40_000]] {
            let padded = pad(record, 512).unwrap();
            assert!(padded.len() >= 512 && padded.len().is_power_of_two(), "{}", record.len());
            assert_eq!(&padded[..unpadded_len(&padded).unwrap()], record);
        }
        assert_eq!(pad(b"x", 0).unwrap().len(), 8);
        for wrong in [&b""[..], b"\0\0", b"a\0\0\0\x02", &[0xff; 8]] {
            assert_eq!(unpadded_len(wrong), None);
        }
    }
}
