//! A layer of writes in memory over a file that is only read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{BackendError, DatabaseError, StorageBackend, backends::FileBackend};

const PAGE: usize = 4096;

/// A read-only file as the storage of a database that writes.
///
/// If the database locks out other writers, so does the layer, with a lock that needs no write permission. It keeps the
/// lock until it is dropped, so the file does not change meanwhile.
#[derive(Debug)]
pub(super) struct Layer {
    file: FileBackend,
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    /// The length of the file's part that is still visible, which is less than its length once it was truncated.
    visible: u64,
    len: u64,
    written: BTreeMap<u64, Vec<u8>>,
}

impl Layer {
    pub(super) fn over(file: File) -> Result<Self, DatabaseError> {
        let file = FileBackend::new(file)?;
        let len = file.len()?;
        Ok(Self { file, pages: Mutex::new(Pages { visible: len, len, written: BTreeMap::new() }) })
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Returns a page with its writes. After the end of the file there are zeros.
    fn page(&self, file: &FileBackend, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = self.written.get(&number) {
            return Ok(page.clone());
        }
        let from = number.saturating_mul(PAGE as u64);
        let mut page = vec![0; PAGE];
        let visible = usize::try_from(self.visible.saturating_sub(from)).unwrap_or(PAGE).min(PAGE);
        if let Some(shown) = page.get_mut(..visible).filter(|shown| !shown.is_empty()) {
            file.read(from, shown)?;
        }
        Ok(page)
    }

    /// Calls `work` for each page that contains bytes from `offset` on, with the range in the page and the number of
    /// bytes before it.
    fn each_page(
        &mut self,
        offset: u64,
        len: usize,
        mut work: impl FnMut(&mut Self, u64, Range<usize>, Range<usize>) -> io::Result<()>,
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
        let mut pages = self.pages();
        // Until the first write the layer has the length of the file, which another program may have changed before the
        // lock was taken.
        if pages.written.is_empty() && pages.visible == pages.len {
            pages.len = self.file.len()?;
            pages.visible = pages.len;
        }
        Ok(pages.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let len = out.len();
        self.pages().each_page(offset, len, |pages, number, within, place| {
            let page = pages.page(&self.file, number)?;
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
            let mut page = pages.page(&self.file, last)?;
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
            let mut page = pages.page(&self.file, number)?;
            let (Some(to), Some(from)) = (page.get_mut(within), data.get(place)) else { return Ok(()) };
            to.copy_from_slice(from);
            pages.written.insert(number, page);
            Ok(())
        })
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    // These locks only announce writes to other programs, and the file will not be written.
    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    /// Waits for the lock that one writer at a time holds, and keeps it shared. Writers need it exclusively, so a
    /// shared lock keeps them out.
    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        match self.file.lock_shared_range(start, end) {
            // If files cannot be locked, nobody writes them either: a database does not open there.
            Err(BackendError::Unsupported) => Ok(()),
            locked => locked,
        }
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match self.file.query_lock_range(start, end) {
            Err(BackendError::Unsupported) => Ok(false),
            queried => queried,
        }
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
