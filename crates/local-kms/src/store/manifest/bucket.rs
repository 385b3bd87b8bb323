//! A bucket of the manifest: the entries of some records, each linked to the next id of its table.

use std::collections::BTreeMap;

use crate::store::Table;
use crate::store::codec::damaged;
use crate::store::seal::{MAC_LEN, Seal};
use manila_core::Result;
use manila_core::internal::crypto;

const DIGEST_LEN: usize = 16;
pub(super) const COUNTER_LEN: usize = 8;
const ENTRY_LEN: usize = DIGEST_LEN + COUNTER_LEN + DIGEST_LEN;

/// The domains of tags, so that a tag of one kind is never valid as another. That of the root is in `manifest`.
const OF_BUCKET: &[u8] = b"b";
const OF_ID: &[u8] = b"i";
const OF_LINK: &[u8] = b"l";

pub(super) type Digest = [u8; DIGEST_LEN];

/// The entry of a record in the manifest.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// The number of the commit that wrote the record; zero for the head of a table.
    pub(super) counter: u64,
    /// The tag of the record's id and of the next id in the table.
    pub(super) link: Digest,
}

/// The entries of the records whose digests have the same beginning.
#[derive(Clone, Default)]
pub(super) struct Bucket(pub(super) BTreeMap<Digest, Entry>);

impl Bucket {
    pub(super) fn load(seal: &Seal, number: u16, counter: u64, row: &[u8]) -> Result<Self> {
        let (body, mac) = row.split_last_chunk::<MAC_LEN>().ok_or_else(damaged)?;
        if !crypto::equal(&Self::mac(seal, number, counter, body), mac) {
            return Err(damaged());
        }
        let (entries, []) = body.as_chunks::<ENTRY_LEN>() else { return Err(damaged()) };
        let entry = |entry: &[u8; ENTRY_LEN]| {
            let (digest, rest) = entry.split_first_chunk()?;
            let (counter, link) = rest.split_first_chunk()?;
            Some((*digest, Entry { counter: u64::from_be_bytes(*counter), link: link.try_into().ok()? }))
        };
        entries.iter().map(entry).collect::<Option<_>>().map(Self).ok_or_else(damaged)
    }

    pub(super) fn to_row(&self, seal: &Seal, number: u16, counter: u64) -> Vec<u8> {
        let bytes = |(digest, entry): (&Digest, &Entry)| {
            [digest.as_slice(), &entry.counter.to_be_bytes(), &entry.link].concat()
        };
        let entries = self.0.iter().map(bytes);
        let mut row = entries.collect::<Vec<_>>().concat();
        let mac = Self::mac(seal, number, counter, &row);
        row.extend_from_slice(&mac);
        row
    }

    fn mac(seal: &Seal, number: u16, counter: u64, body: &[u8]) -> [u8; MAC_LEN] {
        seal.mac(&[OF_BUCKET, seal.store_id(), &number.to_be_bytes(), &counter.to_be_bytes(), body])
    }

    pub(super) fn records(&self) -> usize {
        self.0.values().filter(|entry| entry.counter > 0).count()
    }
}

/// Returns the digest of an id. It is keyed, so that nobody can choose ids that collide in one bucket.
pub(super) fn digest(seal: &Seal, table: Table, id: &str) -> Result<Digest> {
    let mac = seal.mac(&[OF_ID, table.name().as_bytes(), &[0], id.as_bytes()]);
    mac.first_chunk().copied().ok_or_else(damaged)
}

/// Returns the tag of an id and the next one. It is keyed and covers both ids, so that the order of entries is not
/// visible.
pub(super) fn link(seal: &Seal, table: Table, id: &str, next: Option<&str>) -> Result<Digest> {
    let len = (id.len() as u64).to_be_bytes();
    let has_next = [u8::from(next.is_some())];
    let parts =
        [OF_LINK, table.name().as_bytes(), &[0], &len, id.as_bytes(), &has_next, next.unwrap_or_default().as_bytes()];
    seal.mac(&parts).first_chunk().copied().ok_or_else(damaged)
}

/// Links an entry to another next id.
pub(super) fn relink(
    seal: &Seal,
    table: Table,
    entry: Option<&mut Entry>,
    id: &str,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<()> {
    let expected = link(seal, table, id, from)?;
    let entry = entry.filter(|entry| entry.link == expected).ok_or_else(damaged)?;
    entry.link = link(seal, table, id, to)?;
    Ok(())
}
