//! Opening a store without changing its file by a byte.
//!
//! The check of a whole file that comes before anything in it is believed writes, as the database does it. So it is done over
//! a layer in memory that takes the writes. Programs that only read then go on with the file itself, beside others that write.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use manila_core::{Error, ErrorKind, Result};
use redb::{
    ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, StorageBackend,
    WriteTransaction, backends::FileBackend,
};

use crate::root_key::{RootKey, io_error};
use crate::store::codec::storage_error;
use crate::store::identity::Identity;
use crate::store::open::{absolute, builder, check_not_empty, open_error};
use crate::store::{Seal, Store};

const PAGE: usize = 4096;
/// The beginning of the file, which every commit changes.
const HEAD: usize = 512;
/// How often a file is checked of which another process writes the next commit meanwhile.
const ATTEMPTS: u32 = 20;

/// The database of a store.
pub(super) enum Opened {
    Writable(Database),
    ReadOnly(ReadOnlyDatabase),
}

impl Opened {
    pub(super) fn begin_read(&self) -> Result<ReadTransaction> {
        let begun = match self {
            Self::Writable(database) => database.begin_read(),
            Self::ReadOnly(database) => database.begin_read(),
        };
        begun.map_err(storage_error)
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction> {
        match self {
            Self::Writable(database) => database.begin_write().map_err(storage_error),
            Self::ReadOnly(_) => Err(read_only()),
        }
    }

    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Self::ReadOnly(_))
    }
}

pub(super) fn read_only() -> Error {
    let detail = "the key store is open for reading alone, and this changes it: open it with LocalKms::open";
    Error::new(ErrorKind::ReadOnly, detail)
}

impl Store {
    /// Opens the store to read it, and verifies all of it first.
    pub(crate) fn open_read_only(path: &Path, root: &RootKey) -> Result<Self> {
        let path = &absolute(path)?;
        let root = check(path, root, |store| Ok(store.root_key()))?;
        let (opened, file) = open_file(path)?;
        let backend = FileBackend::new(opened).map_err(|error| open_error(path, error))?;
        let opened = builder(ConcurrencyMode::MultiWriter).open_read_only_with_backend(backend);
        let database = opened.map_err(|error| match error {
            DatabaseError::RepairAborted => {
                let detail = format!(
                    "the key store {path:?} was not closed properly, and cannot be repaired by reading: open it with \
                     LocalKms::open, or restore it to a new file"
                );
                Error::other(ErrorKind::Storage, detail, error)
            }
            error => open_error(path, error),
        })?;
        Self::of_database(Opened::ReadOnly(database), root).map(|store| store.in_file(file))
    }

    /// Makes a copy of the store at `backup` the store at `path`. `first` is asked before anything is made.
    pub(crate) fn restore(
        backup: &Path,
        path: &Path,
        root: &RootKey,
        first: impl Fn(&Self) -> Result<()>,
    ) -> Result<Self> {
        let root = check(&absolute(backup)?, root, |store| {
            first(store)?;
            store.copy_to(path, || Ok(()))?;
            Ok(store.root_key())
        })?;
        Self::open(path, root)
    }

    /// The root key as it is used, so that it need not be derived from a passphrase again.
    pub(super) fn root_key(&self) -> RootKey {
        self.with_seal(Seal::root_key)
    }
}

fn open_file(path: &Path) -> Result<(File, Identity)> {
    let file = File::open(path).map_err(|error| io_error("open", path, error))?;
    let identity = Identity::of(path, &file)?;
    check_not_empty(&identity)?;
    Ok((file, identity))
}

/// Verifies all of a store, and does `work` with it. Nothing is locked: where somebody else commits meanwhile, what was
/// read may not fit together, and is read again.
fn check<T>(path: &Path, root: &RootKey, work: impl Fn(&Store) -> Result<T>) -> Result<T> {
    let failed = |error| io_error("read", path, error);
    let (mut file, _) = open_file(path)?;
    let mut before = head(&mut file).map_err(failed)?;
    for _ in 1..ATTEMPTS {
        let store = open_layer(path, root);
        let after = head(&mut file).map_err(failed)?;
        if before == after {
            return work(&store?);
        }
        before = after;
    }
    work(&open_layer(path, root)?)
}

fn open_layer(path: &Path, root: &RootKey) -> Result<Store> {
    let layer = Layer::over(open_file(path)?.0).map_err(|error| io_error("read", path, error))?;
    let mut builder = builder(ConcurrencyMode::ExclusiveWriter);
    let opened = builder.set_check_integrity_on_open(true).create_with_backend(layer);
    let database = opened.map_err(|error| open_error(path, error))?;
    Store::of_database(Opened::Writable(database), root.clone())
}

fn head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    file.seek(SeekFrom::Start(0))?;
    file.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// A file that is read, under what is written in memory alone.
#[derive(Debug)]
struct Layer(Mutex<Pages>);

#[derive(Debug)]
struct Pages {
    file: File,
    /// How much of the file shows through: less than it has once it was cut.
    visible: u64,
    len: u64,
    written: BTreeMap<u64, Vec<u8>>,
}

impl Layer {
    fn over(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self(Mutex::new(Pages { file, visible: len, len, written: BTreeMap::new() })))
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// A page as it is now. Behind the end of the file are zeros.
    fn page(&mut self, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = self.written.get(&number) {
            return Ok(page.clone());
        }
        let from = number.saturating_mul(PAGE as u64);
        let mut page = Vec::with_capacity(PAGE);
        let visible = self.visible.saturating_sub(from).min(PAGE as u64);
        if visible > 0 {
            self.file.seek(SeekFrom::Start(from))?;
            (&self.file).take(visible).read_to_end(&mut page)?;
        }
        page.resize(PAGE, 0);
        Ok(page)
    }

    /// Hands `work` each page that the bytes from `offset` on lie in, the place in it, and how many of them precede it.
    fn each_page(
        &mut self,
        offset: u64,
        len: usize,
        mut work: impl FnMut(&mut Self, u64, std::ops::Range<usize>, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.len);
        if end.is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < len {
            let at = offset.saturating_add(done as u64);
            let within = usize::try_from(at % PAGE as u64).unwrap_or_default();
            let some = (len - done).min(PAGE - within);
            work(self, at / PAGE as u64, within..within + some, done..done + some)?;
            done += some;
        }
        Ok(())
    }
}

impl StorageBackend for Layer {
    fn len(&self) -> io::Result<u64> {
        Ok(self.pages().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let len = out.len();
        self.pages().each_page(offset, len, |pages, number, within, place| {
            let page = pages.page(number)?;
            let (Some(from), Some(to)) = (page.get(within), out.get_mut(place)) else { return Ok(()) };
            to.copy_from_slice(from);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut pages = self.pages();
        if len < pages.len {
            pages.visible = pages.visible.min(len);
            let last = len / PAGE as u64;
            let kept = usize::try_from(len % PAGE as u64).unwrap_or_default();
            let mut page = pages.page(last)?;
            page.truncate(kept);
            page.resize(PAGE, 0);
            pages.written.retain(|number, _| *number < last);
            pages.written.insert(last, page);
        }
        pages.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.pages().each_page(offset, data.len(), |pages, number, within, place| {
            let mut page = pages.page(number)?;
            let (Some(to), Some(from)) = (page.get_mut(within), data.get(place)) else { return Ok(()) };
            to.copy_from_slice(from);
            pages.written.insert(number, page);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_layer_is_as_the_file_and_takes_what_is_written() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..10_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
        file.write_all(&bytes).unwrap();
        let layer = Layer::over(File::open(file.path()).unwrap()).unwrap();
        let mut expected = bytes.clone();
        let check = |layer: &Layer, expected: &[u8]| {
            assert_eq!(layer.len().unwrap(), expected.len() as u64);
            let mut all = vec![0; expected.len()];
            layer.read(0, &mut all).unwrap();
            assert!(all == expected);
            let mut some = [0; 5000];
            let from = expected.len() - 5000 - 7;
            layer.read(from as u64, &mut some).unwrap();
            assert!(some == expected[from..from + 5000]);
            assert!(layer.read(expected.len() as u64 - 4, &mut [0; 5]).is_err());
        };
        check(&layer, &expected);
        layer.write(4090, &[1; 20]).unwrap();
        expected[4090..4110].fill(1);
        check(&layer, &expected);
        for len in [9000, 20_000, 8192, 12_288, 8200, 30_000] {
            layer.set_len(len as u64).unwrap();
            expected.resize(len, 0);
            check(&layer, &expected);
        }
        assert!(layer.write(29_999, &[1; 2]).is_err());
        assert_eq!(std::fs::read(file.path()).unwrap(), bytes, "nothing reaches the file");
    }
}
