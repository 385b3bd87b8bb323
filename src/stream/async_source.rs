//! [`AsyncReadAt`]: asynchronous reads of ranges from objects in a store and custom sources.

use std::future::{Future, ready};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use manila_core::{Error, Result};

use crate::message::truncated;
use crate::stream::ranges::range_len;

/// A source of which ranges can be read asynchronously: an object in a store, a file on another machine.
///
/// It is the counterpart of [`ReadAt`](crate::ReadAt), made for sources that answer a request for a range with memory
/// of their own, which is decrypted from there without being copied. It needs no particular executor. The crate
/// `manila-object-store` implements it for the objects of every `object_store::ObjectStore`.
///
/// ```
/// use std::io;
/// use std::ops::Range;
///
/// use bytes::Bytes;
/// use manila::AsyncReadAt;
///
/// /// A source of zeros.
/// struct Zeros(u64);
///
/// impl AsyncReadAt for Zeros {
///     async fn read_range(&self, range: Range<u64>) -> io::Result<Bytes> {
///         // Here, await the response to a request for `range`.
///         let end = range.end.min(self.0);
///         Ok(vec![0; end.saturating_sub(range.start) as usize].into())
///     }
///
///     async fn size(&self) -> io::Result<u64> {
///         Ok(self.0)
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// assert_eq!(Zeros(10).read_range(8..12).await?, [0; 2][..]);
/// # Ok::<(), io::Error>(())
/// # })?;
/// # Ok::<(), io::Error>(())
/// ```
pub trait AsyncReadAt: Send + Sync {
    /// Reads the bytes of a range; fewer only if the source ends within it.
    ///
    /// # Errors
    /// The error of the source.
    fn read_range(&self, range: Range<u64>) -> impl Future<Output = io::Result<Bytes>> + Send;

    /// Reads the bytes of several ranges, in any order, which may overlap. Returns as many buffers as there are ranges.
    ///
    /// It is called when all of them are known at once. By default it reads one after the other: a source that can have
    /// several requests under way, or answer neighbouring ranges with one, should implement it.
    ///
    /// # Errors
    /// The error of the source.
    fn read_ranges(&self, ranges: &[Range<u64>]) -> impl Future<Output = io::Result<Vec<Bytes>>> + Send {
        async move {
            let mut all = Vec::with_capacity(ranges.len());
            for range in ranges {
                all.push(self.read_range(range.clone()).await?);
            }
            Ok(all)
        }
    }

    /// Returns the length of the whole source in bytes. It is called once, before anything is read.
    ///
    /// # Errors
    /// The error of the source.
    fn size(&self) -> impl Future<Output = io::Result<u64>> + Send;
}

impl AsyncReadAt for [u8] {
    fn read_range(&self, range: Range<u64>) -> impl Future<Output = io::Result<Bytes>> + Send {
        let bounds = within(&range, self.len());
        ready(Ok(Bytes::copy_from_slice(self.get(bounds).unwrap_or_default())))
    }

    fn size(&self) -> impl Future<Output = io::Result<u64>> + Send {
        ready(Ok(self.len() as u64))
    }
}

impl AsyncReadAt for Vec<u8> {
    fn read_range(&self, range: Range<u64>) -> impl Future<Output = io::Result<Bytes>> + Send {
        self.as_slice().read_range(range)
    }

    fn size(&self) -> impl Future<Output = io::Result<u64>> + Send {
        self.as_slice().size()
    }
}

/// Shares the memory of the whole.
impl AsyncReadAt for Bytes {
    fn read_range(&self, range: Range<u64>) -> impl Future<Output = io::Result<Bytes>> + Send {
        ready(Ok(self.slice(within(&range, self.len()))))
    }

    fn size(&self) -> impl Future<Output = io::Result<u64>> + Send {
        ready(Ok(self.len() as u64))
    }
}

/// Returns the part of a range that is within `len` bytes. Its end is never before its start.
fn within(range: &Range<u64>, len: usize) -> Range<usize> {
    let start = usize::try_from(range.start).unwrap_or(len).min(len);
    start..usize::try_from(range.end).unwrap_or(len).clamp(start, len)
}

macro_rules! forward_async_read_at {
    ($($pointer:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<T: AsyncReadAt + ?Sized> AsyncReadAt for $pointer {
            fn read_range(&self, range: Range<u64>) -> impl Future<Output = io::Result<Bytes>> + Send {
                (**self).read_range(range)
            }

            fn read_ranges(&self, ranges: &[Range<u64>]) -> impl Future<Output = io::Result<Vec<Bytes>>> + Send {
                (**self).read_ranges(ranges)
            }

            fn size(&self) -> impl Future<Output = io::Result<u64>> + Send {
                (**self).size()
            }
        }
    )*};
}

forward_async_read_at!(&T, Arc<T>, Box<T>);

/// Reads a range that must be within the source.
pub(super) async fn fetch(source: &(impl AsyncReadAt + ?Sized), range: Range<u64>) -> Result<Bytes> {
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    let bytes = source.read_range(range.clone()).await?;
    check_len(&range, &bytes)?;
    Ok(bytes)
}

/// Reads ranges that must be within the source.
pub(super) async fn fetch_all(source: &(impl AsyncReadAt + ?Sized), ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
    let all = source.read_ranges(ranges).await?;
    if all.len() != ranges.len() {
        return Err(faulty("a number of buffers other than that of the ranges"));
    }
    ranges.iter().zip(&all).try_for_each(|(range, bytes)| check_len(range, bytes))?;
    Ok(all)
}

fn check_len(range: &Range<u64>, bytes: &Bytes) -> Result<()> {
    match range_len(range)? {
        len if bytes.len() < len => Err(truncated()),
        len if bytes.len() > len => Err(faulty("more bytes than it was asked for")),
        _ => Ok(()),
    }
}

fn faulty(what: &str) -> Error {
    io::Error::other(format!("the source returned {what}: its implementation must be corrected")).into()
}
