//! What can be read at any place.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use crate::buffer;

/// Bytes that can be read at any place, from many threads at once: a slice, a file, or what else one likes, such as an
/// object in a store that is fetched by ranges.
pub trait ReadAt {
    /// Reads bytes from `offset` on into the front of `buf`, and returns how many: fewer than asked for if it likes,
    /// 0 only where `buf` is empty or nothing is left.
    ///
    /// # Errors
    /// What reading fails with.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Length in bytes of all there is.
    ///
    /// # Errors
    /// What asking for it fails with.
    fn size(&self) -> io::Result<u64>;
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        rest.unwrap_or_default().read(buf)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buf)
    }

    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }
}

/// Reads at its place whatever the file's cursor says; on Windows the cursor moves along.
#[cfg(any(unix, windows))]
impl ReadAt for File {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(self, buf, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(self, buf, offset);
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// For what has one cursor: reads take turns.
impl<T: Read + Seek> ReadAt for Mutex<T> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.lock().unwrap_or_else(PoisonError::into_inner);
        inner.seek(SeekFrom::Start(offset))?;
        inner.read(buf)
    }

    fn size(&self) -> io::Result<u64> {
        self.lock().unwrap_or_else(PoisonError::into_inner).seek(SeekFrom::End(0))
    }
}

macro_rules! forward_read_at {
    ($($pointer:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<T: ReadAt + ?Sized> ReadAt for $pointer {
            fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
                (**self).read_at(offset, buf)
            }

            fn size(&self) -> io::Result<u64> {
                (**self).size()
            }
        }
    )*};
}

forward_read_at!(&T, Arc<T>, Box<T>);

/// Reads until `buf` is full or nothing is left, and returns how much.
pub(super) fn read_fully_at(source: &(impl ReadAt + ?Sized), mut offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0_usize;
    while let Some(space @ [_, ..]) = buf.get_mut(filled..) {
        match source.read_at(offset, space).and_then(|count| buffer::believed(count, space.len())) {
            Ok(0) => break,
            Ok(count) => {
                filled = filled.saturating_add(count);
                offset = offset.saturating_add(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
