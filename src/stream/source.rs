//! [`ReadAt`]: positioned reads from slices, files and custom sources.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use crate::buffer;

/// A source that can be read at any offset: a slice, a file, or a custom source, such as an object in a store that is
/// fetched by ranges. If it is `Sync`, several threads can read at once.
///
/// ```
/// use manila::ReadAt;
///
/// let mut buf = [0; 5];
/// assert_eq!(b"any offset will do".read_some_at(4, &mut buf)?, 5);
/// assert_eq!(&buf, b"offse");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A custom source implements two methods:
///
/// ```
/// use std::io;
///
/// use manila::ReadAt;
///
/// /// A source of zeros.
/// struct Zeros(u64);
///
/// impl ReadAt for Zeros {
///     fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
///         let count = self.0.saturating_sub(offset).min(buf.len() as u64) as usize;
///         buf[..count].fill(0);
///         Ok(count)
///     }
///
///     fn size(&self) -> io::Result<u64> {
///         Ok(self.0)
///     }
/// }
///
/// assert_eq!(Zeros(10).read_some_at(8, &mut [1; 5])?, 2);
/// # Ok::<(), io::Error>(())
/// ```
pub trait ReadAt {
    /// Reads bytes starting at `offset` into the start of `buf`, and returns their number. It may be less than
    /// requested, and is 0 only if `buf` is empty or `offset` is at or past the end.
    ///
    /// The name is not `read_at` because `std::os::unix::fs::FileExt` gives `File` a method of that name with its
    /// arguments in the other order. This way both traits can be in scope.
    ///
    /// # Errors
    /// The error of the source.
    fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Returns the length of the whole source in bytes.
    ///
    /// # Errors
    /// The error of the source.
    fn size(&self) -> io::Result<u64>;
}

impl ReadAt for [u8] {
    fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        rest.unwrap_or_default().read(buf)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_some_at(offset, buf)
    }

    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }
}

/// Reads at the offset, wherever the file's cursor is. On Windows, reading moves the cursor.
#[cfg(any(unix, windows))]
impl ReadAt for File {
    fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        return std::os::unix::fs::FileExt::read_at(self, buf, offset);
        #[cfg(windows)]
        return std::os::windows::fs::FileExt::seek_read(self, buf, offset);
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

/// Adapts a source that has a single cursor: only one read happens at a time.
impl<T: Read + Seek> ReadAt for Mutex<T> {
    fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
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
            fn read_some_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
                (**self).read_some_at(offset, buf)
            }

            fn size(&self) -> io::Result<u64> {
                (**self).size()
            }
        }
    )*};
}

forward_read_at!(&T, Arc<T>, Box<T>);

/// Reads a source from its start, for what is read once and in order.
pub(crate) struct Sequential<'a, R: ?Sized> {
    source: &'a R,
    offset: u64,
}

impl<'a, R: ReadAt + ?Sized> Sequential<'a, R> {
    pub(crate) fn new(source: &'a R) -> Self {
        Self { source, offset: 0 }
    }
}

impl<R: ReadAt + ?Sized> Read for Sequential<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read_some_at(self.offset, buf)?;
        let count = buffer::check_count(count, buf.len())?;
        self.offset = self.offset.saturating_add(count as u64);
        Ok(count)
    }
}

/// Reads until `buf` is full or the source ends, and returns the number of bytes.
pub(super) fn read_fully_at(source: &(impl ReadAt + ?Sized), mut offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0_usize;
    while let Some(space @ [_, ..]) = buf.get_mut(filled..) {
        match source.read_some_at(offset, space).and_then(|count| buffer::check_count(count, space.len())) {
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
