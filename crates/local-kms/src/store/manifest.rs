//! The manifest: the list of all records, and of the commit that wrote each.
//!
//! Each record is sealed with the number of the commit that wrote it. The manifest stores these numbers, in buckets by
//! a keyed digest of table and id. Each bucket is authenticated with the number of the commit that last changed it, and
//! the root with the numbers of all buckets, the number of its own commit, and the times. A record can therefore be
//! swapped, moved, removed or set back only along with the root, and so along with every other record. This is a
//! two-level tree of counters, and a reader checks only the path to its record.
//!
//! Next to each number is a tag of the record's id and of the next id in the table, so the entries of listed records
//! prove that the list is complete. Without the root key, the tags do not reveal which entry belongs to which record.

mod bucket;

use std::collections::{BTreeMap, btree_map};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::Table;
use crate::store::codec::damaged;
use crate::store::manifest::bucket::{Bucket, COUNTER_LEN, Digest, Entry, digest, link, relink};
use crate::store::seal::{MAC_LEN, Seal, SealId};
use manila_core::internal::crypto;
use manila_core::{Error, ErrorKind, Result};

/// The number of buckets: with 10,000 keys each holds about forty entries, which fill a page.
const BUCKETS: u16 = 512;
/// The row of the root. The rows of the buckets have lower numbers.
pub(super) const ROOT: u16 = BUCKETS;
/// The maximum number of entries in the buckets that are kept as verified, about 64 bytes each.
const MOST_VERIFIED: usize = 1 << 15;
const ROOT_LEN: usize = COUNTER_LEN * (8 + BUCKETS as usize);

/// The id before the first id of each table. No record has it.
const HEAD: &str = "";

/// The domain of the root's tag. Those of the other tags are in `bucket`.
const OF_ROOT: &[u8] = b"r";

/// Reads a row of the manifest.
pub(super) type Rows<'a> = dyn Fn(u16) -> Result<Option<Vec<u8>>> + 'a;

/// The root of a manifest.
#[derive(Clone)]
pub(super) struct Root {
    /// The number of the commit that wrote it.
    pub(super) commit: u64,
    /// The latest time of any commit, in milliseconds since 1970.
    pub(super) time: u64,
    /// The time of the first commit with a time, in milliseconds since 1970.
    pub(super) begun: u64,
    /// The latest deadline of anything that was permanently removed, in milliseconds since 1970.
    pub(super) removed: u64,
    /// The number of times that the time was set back.
    pub(super) rewinds: u64,
    /// Tells the store from others that were restored from a backup of it, or of which it is a restored backup. Random.
    pub(super) copy: u64,
    /// The number of the latest commit with a line in the audit log, including this one; zero if there is none.
    pub(super) named: u64,
    /// For each bucket the number of the commit that last changed it, or zero if it is empty.
    counters: Vec<u64>,
}

impl Root {
    fn new() -> Self {
        let counters = vec![0; usize::from(BUCKETS)];
        Self { commit: 0, time: 0, begun: 0, removed: 0, rewinds: 0, copy: 0, named: 0, counters }
    }

    fn from_row(seal: &Seal, row: &[u8]) -> Result<Self> {
        let (body, mac) = row.split_last_chunk::<MAC_LEN>().ok_or_else(damaged)?;
        if body.len() != ROOT_LEN {
            return Err(damaged());
        }
        let mut numbers = body.as_chunks::<COUNTER_LEN>().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let epoch = numbers.next().ok_or_else(damaged)?;
        if epoch > seal.epoch() {
            return Err(root_key_changed());
        }
        if !crypto::equal(&seal.mac(&[OF_ROOT, seal.store_id(), body]), mac) {
            return Err(damaged());
        }
        let commit = numbers.next().ok_or_else(damaged)?;
        let time = numbers.next().ok_or_else(damaged)?;
        let begun = numbers.next().ok_or_else(damaged)?;
        let removed = numbers.next().ok_or_else(damaged)?;
        let rewinds = numbers.next().ok_or_else(damaged)?;
        let copy = numbers.next().ok_or_else(damaged)?;
        let named = numbers.next().ok_or_else(damaged)?;
        Ok(Self { commit, time, begun, removed, rewinds, copy, named, counters: numbers.collect() })
    }

    fn to_row(&self, seal: &Seal) -> Vec<u8> {
        let mut row = Vec::with_capacity(ROOT_LEN + MAC_LEN);
        let Self { commit, time, begun, removed, rewinds, copy, named, .. } = *self;
        let numbers = [seal.epoch(), commit, time, begun, removed, rewinds, copy, named];
        for number in numbers.iter().chain(&self.counters) {
            row.extend_from_slice(&number.to_be_bytes());
        }
        let mac = seal.mac(&[OF_ROOT, seal.store_id(), &row]);
        row.extend_from_slice(&mac);
        row
    }
}

/// The manifest of a commit, with a verified root.
pub(super) struct Manifest {
    root: Root,
    row: Vec<u8>,
    /// The buckets that have been verified so far.
    verified: Mutex<Verified>,
}

#[derive(Default)]
struct Verified {
    buckets: BTreeMap<u16, Arc<Bucket>>,
    /// The number of entries in all of them.
    entries: usize,
}

/// The last verified manifest, and the seal that verified it. Most transactions find the store unchanged, and need not
/// verify the same bytes again.
#[derive(Default)]
pub(super) struct LastManifest(Mutex<Option<(SealId, Arc<Manifest>)>>);

impl LastManifest {
    pub(super) fn load(&self, seal: &Seal, rows: &Rows<'_>) -> Result<Arc<Manifest>> {
        let row = rows(ROOT)?.ok_or_else(damaged)?;
        let last = self.lock().as_ref().filter(|(id, last)| *id == seal.id() && last.row == row).cloned();
        if let Some((_, last)) = last {
            return Ok(last);
        }
        let loaded = Arc::new(Manifest::new(Root::from_row(seal, &row)?, row));
        *self.lock() = Some((seal.id(), loaded.clone()));
        Ok(loaded)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(SealId, Arc<Manifest>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for Manifest {
    type Target = Root;

    fn deref(&self) -> &Root {
        &self.root
    }
}

impl Manifest {
    fn new(root: Root, row: Vec<u8>) -> Self {
        Self { root, row, verified: Mutex::default() }
    }

    /// Returns the manifest of a store without records.
    pub(super) fn empty() -> Arc<Self> {
        Arc::new(Self::new(Root::new(), Vec::new()))
    }

    /// Returns the number of the commit that wrote a record, if the record exists.
    pub(super) fn counter(&self, seal: &Seal, rows: &Rows<'_>, table: Table, id: &str) -> Result<Option<u64>> {
        let digest = digest(seal, table, id)?;
        Ok(self.entry(seal, rows, &digest)?.map(|entry| entry.counter))
    }

    fn entry(&self, seal: &Seal, rows: &Rows<'_>, digest: &Digest) -> Result<Option<Entry>> {
        Ok(self.bucket(seal, rows, bucket_of(digest))?.0.get(digest).copied())
    }

    fn bucket(&self, seal: &Seal, rows: &Rows<'_>, number: u16) -> Result<Arc<Bucket>> {
        let lock = || self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = lock().buckets.get(&number) {
            return Ok(bucket.clone());
        }
        let bucket = Arc::new(self.read_bucket(seal, rows, number)?);
        let mut verified = lock();
        let entries = verified.entries.saturating_add(bucket.0.len());
        if entries <= MOST_VERIFIED && verified.buckets.insert(number, bucket.clone()).is_none() {
            verified.entries = entries;
        }
        Ok(bucket)
    }

    fn read_bucket(&self, seal: &Seal, rows: &Rows<'_>, number: u16) -> Result<Bucket> {
        let counter = self.counters.get(usize::from(number)).ok_or_else(damaged)?;
        match (rows(number)?, counter) {
            (None, 0) => Ok(Bucket::default()),
            (Some(row), counter) if *counter > 0 => Bucket::load(seal, number, *counter, &row),
            _ => Err(damaged()),
        }
    }

    /// Returns the number of records. Reads and verifies every bucket, including those that were verified before.
    pub(super) fn count(&self, seal: &Seal, rows: &Rows<'_>) -> Result<usize> {
        (0..BUCKETS).map(|number| self.read_bucket(seal, rows, number).map(|bucket| bucket.records())).sum()
    }

    /// Fails unless a part of a table is complete.
    pub(super) fn check_whole(&self, seal: &Seal, rows: &Rows<'_>, table: Table, found: &Found) -> Result<()> {
        check_whole(seal, table, found, |digest| self.entry(seal, rows, digest))
    }
}

/// Consecutive ids that were found in a table, between two others or its ends.
pub(super) struct Found {
    pub(super) before: Option<String>,
    pub(super) ids: Vec<String>,
    /// True if the search was cut short, so that there may be more ids.
    pub(super) is_cut: bool,
    pub(super) after: Option<String>,
}

fn check_whole(
    seal: &Seal,
    table: Table,
    found: &Found,
    entry: impl Fn(&Digest) -> Result<Option<Entry>>,
) -> Result<()> {
    let mut last = found.before.as_deref().unwrap_or(HEAD);
    let end = if found.is_cut { None } else { Some(found.after.as_deref()) };
    for next in found.ids.iter().map(|id| Some(id.as_str())).chain(end) {
        let is_linked = match entry(&digest(seal, table, last)?)? {
            Some(entry) => entry.link == link(seal, table, last, next)?,
            // The head of an empty table has no entry.
            None => last == HEAD && next.is_none(),
        };
        if !is_linked {
            return Err(damaged());
        }
        last = next.unwrap_or_default();
    }
    Ok(())
}

/// A manifest with the changes of a commit in progress.
pub(super) struct Edit {
    /// The number of the commit before it.
    base: u64,
    /// True if the commit has a line in the audit log.
    is_named: bool,
    before: Arc<Manifest>,
    root: Root,
    changed: BTreeMap<u16, Bucket>,
}

impl Edit {
    pub(super) fn new(before: Arc<Manifest>) -> Result<Self> {
        // Not simply the next number, but one that a diverging copy of the store does not reach: records that were
        // sealed in such a copy, or by an abandoned commit, must not be valid here.
        let step = u64::from(u32::from_be_bytes(crypto::random_array()?)).saturating_add(1);
        let mut root = before.root.clone();
        root.commit = root.commit.checked_add(step).ok_or_else(damaged)?;
        Ok(Self { base: before.commit, is_named: false, before, root, changed: BTreeMap::new() })
    }

    /// Returns the number of the commit before this one.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Returns the number of this commit, with which its records are sealed.
    pub(super) fn commit(&self) -> u64 {
        self.root.commit
    }

    pub(super) fn time(&self) -> u64 {
        self.root.time
    }

    pub(super) fn begun(&self) -> u64 {
        self.root.begun
    }

    /// Returns the same commit over a store without records, so that all of them can be written again.
    pub(super) fn emptied(&self) -> Self {
        let Root { commit, time, begun, removed, rewinds, copy, named, .. } = self.root;
        Self {
            base: self.base,
            is_named: self.is_named,
            before: Manifest::empty(),
            root: Root { commit, time, begun, removed, rewinds, copy, named, ..Root::new() },
            changed: BTreeMap::new(),
        }
    }

    pub(super) fn removed(&self) -> u64 {
        self.root.removed
    }

    pub(super) fn rewinds(&self) -> u64 {
        self.root.rewinds
    }

    pub(super) fn copy(&self) -> u64 {
        self.root.copy
    }

    /// Returns the number of the latest commit before this one with a line in the audit log.
    pub(super) fn named(&self) -> u64 {
        self.root.named
    }

    /// Records that this commit has a line in the audit log.
    pub(super) fn name(&mut self) {
        self.is_named = true;
    }

    /// Makes the store another copy than the one from which it was restored.
    pub(super) fn become_another(&mut self) -> Result<()> {
        // Zero means that there is none.
        self.root.copy = u64::from(u32::from_be_bytes(crypto::random_array()?)).saturating_add(1);
        Ok(())
    }

    pub(super) fn note_removal(&mut self, deadline: u64) {
        self.root.removed = self.root.removed.max(deadline);
    }

    pub(super) fn rewind(&mut self, time: u64) {
        self.root.time = time;
        self.root.rewinds = self.root.rewinds.saturating_add(1);
    }

    pub(super) fn observe_time(&mut self, time: u64) {
        if self.root.time == 0 {
            self.root.begun = time;
        }
        self.root.time = self.root.time.max(time);
    }

    /// Like [`Manifest::counter`], including the changes.
    pub(super) fn counter(&self, seal: &Seal, rows: &Rows<'_>, table: Table, id: &str) -> Result<Option<u64>> {
        Ok(self.entry(seal, rows, &digest(seal, table, id)?)?.map(|entry| entry.counter))
    }

    fn entry(&self, seal: &Seal, rows: &Rows<'_>, digest: &Digest) -> Result<Option<Entry>> {
        match self.changed.get(&bucket_of(digest)) {
            Some(bucket) => Ok(bucket.0.get(digest).copied()),
            None => self.before.entry(seal, rows, digest),
        }
    }

    /// Like [`Manifest::check_whole`], including the changes.
    pub(super) fn check_whole(&self, seal: &Seal, rows: &Rows<'_>, table: Table, found: &Found) -> Result<()> {
        check_whole(seal, table, found, |digest| self.entry(seal, rows, digest))
    }

    /// Returns the number of records before this commit, like [`Manifest::count`].
    pub(super) fn count(&self, seal: &Seal, rows: &Rows<'_>) -> Result<usize> {
        self.before.count(seal, rows)
    }

    /// Records that this commit replaces an existing record.
    pub(super) fn replace(&mut self, seal: &Seal, rows: &Rows<'_>, table: Table, id: &str) -> Result<()> {
        let digest = digest(seal, table, id)?;
        let counter = self.root.commit;
        self.bucket(seal, rows, &digest)?.0.get_mut(&digest).ok_or_else(damaged)?.counter = counter;
        Ok(())
    }

    /// Records that this commit adds a record between two others.
    pub(super) fn insert(&mut self, seal: &Seal, rows: &Rows<'_>, table: Table, between: Between<'_>) -> Result<()> {
        let Between { before, id, after } = between;
        let (previous, digest) = (digest(seal, table, before.unwrap_or(HEAD))?, digest(seal, table, id)?);
        let end = Entry { counter: 0, link: link(seal, table, HEAD, None)? };
        let entries = &mut self.bucket(seal, rows, &previous)?.0;
        if before.is_none() {
            entries.entry(previous).or_insert(end);
        }
        relink(seal, table, entries.get_mut(&previous), before.unwrap_or(HEAD), after, Some(id))?;
        let added = Entry { counter: self.root.commit, link: link(seal, table, id, after)? };
        self.bucket(seal, rows, &digest)?.0.insert(digest, added);
        Ok(())
    }

    /// Records that this commit removes a record between two others.
    pub(super) fn remove(&mut self, seal: &Seal, rows: &Rows<'_>, table: Table, between: Between<'_>) -> Result<()> {
        let Between { before, id, after } = between;
        let (previous, digest) = (digest(seal, table, before.unwrap_or(HEAD))?, digest(seal, table, id)?);
        let expected = link(seal, table, id, after)?;
        let removed = self.bucket(seal, rows, &digest)?.0.remove(&digest);
        removed.filter(|removed| removed.link == expected).ok_or_else(damaged)?;
        let entries = &mut self.bucket(seal, rows, &previous)?.0;
        relink(seal, table, entries.get_mut(&previous), before.unwrap_or(HEAD), Some(id), after)?;
        if before.is_none() && after.is_none() {
            entries.remove(&previous);
        }
        Ok(())
    }

    /// Returns the bucket of a digest, to be changed.
    fn bucket(&mut self, seal: &Seal, rows: &Rows<'_>, digest: &Digest) -> Result<&mut Bucket> {
        let number = bucket_of(digest);
        Ok(match self.changed.entry(number) {
            btree_map::Entry::Occupied(changed) => changed.into_mut(),
            btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Arc::unwrap_or_clone(self.before.bucket(seal, rows, number)?))
            }
        })
    }

    /// Returns the rows to write, and those to remove, which have no bytes.
    pub(super) fn finish(mut self, seal: &Seal) -> Result<Vec<(u16, Option<Vec<u8>>)>> {
        if self.is_named {
            self.root.named = self.root.commit;
        }
        let mut rows = Vec::with_capacity(self.changed.len().saturating_add(1));
        for (number, bucket) in self.changed {
            let counter = if bucket.0.is_empty() { 0 } else { self.root.commit };
            *self.root.counters.get_mut(usize::from(number)).ok_or_else(damaged)? = counter;
            let row = if counter == 0 { None } else { Some(bucket.to_row(seal, number, counter)) };
            rows.push((number, row));
        }
        rows.push((ROOT, Some(self.root.to_row(seal))));
        Ok(rows)
    }
}

pub(super) fn root_key_changed() -> Error {
    let detail = "the root key of the key store was changed: call reopen_with with the new one";
    Error::new(ErrorKind::RootKeyChanged, detail)
}

/// An id, and the ids that precede and follow it in its table.
#[derive(Clone, Copy)]
pub(super) struct Between<'a> {
    pub(super) before: Option<&'a str>,
    pub(super) id: &'a str,
    pub(super) after: Option<&'a str>,
}

fn bucket_of(digest: &Digest) -> u16 {
    let [first, second, ..] = *digest;
    u16::from_be_bytes([first, second]) % BUCKETS
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn seal(root_key: u8) -> Seal {
        Seal::new(Zeroizing::new([root_key; 32]), vec![1; 16], 0).unwrap()
    }

    #[test]
    fn a_manifest_is_kept_for_the_same_row_and_the_same_seal_alone() {
        let (mine, others) = (seal(1), seal(2));
        let (row, last) = (Root::new().to_row(&mine), LastManifest::default());
        let load = |seal: &Seal, row: &[u8]| last.load(seal, &|_| Ok(Some(row.to_vec())));
        let first = load(&mine, &row).unwrap();
        assert!(Arc::ptr_eq(&first, &load(&mine, &row).unwrap()));
        assert!(load(&others, &row).is_err());
        let mut changed = row.clone();
        changed[COUNTER_LEN] ^= 1;
        assert!(load(&mine, &changed).is_err());
        let newer = Root { commit: 1, ..Root::new() }.to_row(&mine);
        assert_eq!(load(&mine, &newer).unwrap().commit, 1);
        assert!(!Arc::ptr_eq(&first, &load(&mine, &row).unwrap()), "only the last one is kept");
    }

    /// The manifest of a store whose first bucket has so many entries, and the bucket's row.
    fn with_a_bucket(seal: &Seal, entries: usize) -> (Manifest, Vec<u8>) {
        let digests = (0..entries as u128).map(u128::to_be_bytes);
        let bucket = Bucket(digests.map(|digest| (digest, Entry { counter: 1, link: Digest::default() })).collect());
        let mut root = Root::new();
        root.counters[0] = 1;
        (Manifest::new(root, Vec::new()), bucket.to_row(seal, 0, 1))
    }

    #[test]
    fn a_bucket_is_verified_once_and_counted_from_the_file() {
        let seal = seal(1);
        let (manifest, row) = with_a_bucket(&seal, 3);
        let whole = |number| Ok(Some(row.clone()).filter(|_| number == 0));
        let damaged = |number| Ok(Some(vec![0; row.len()]).filter(|_| number == 0));
        assert_eq!(manifest.bucket(&seal, &whole, 0).unwrap().records(), 3);
        assert_eq!(manifest.bucket(&seal, &damaged, 0).unwrap().records(), 3);
        assert_eq!(manifest.count(&seal, &whole).unwrap(), 3);
        assert!(manifest.count(&seal, &damaged).is_err());
    }

    #[test]
    fn what_is_kept_as_verified_is_bounded() {
        let seal = seal(1);
        for (entries, kept) in [(MOST_VERIFIED, 1), (MOST_VERIFIED + 1, 0)] {
            let (manifest, row) = with_a_bucket(&seal, entries);
            let rows = |_| Ok(Some(row.clone()));
            assert_eq!(manifest.bucket(&seal, &rows, 0).unwrap().0.len(), entries);
            assert_eq!(manifest.verified.lock().unwrap().buckets.len(), kept);
        }
    }
}
