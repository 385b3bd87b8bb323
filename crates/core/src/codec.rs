//! Reading and writing of big-endian fields, with bounds checks.

/// Error: the bytes end before the field does.
#[derive(Debug)]
pub struct EndOfBytes;

/// Error: a length is larger than its field can hold.
#[derive(Debug)]
pub struct DoesNotFit;

/// A reader that takes fields from the front of a slice.
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], EndOfBytes> {
        let (field, rest) = self.rest.split_at_checked(len).ok_or(EndOfBytes)?;
        self.rest = rest;
        Ok(field)
    }

    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], EndOfBytes> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(EndOfBytes)?;
        self.rest = rest;
        Ok(*field)
    }

    #[inline]
    pub fn u8(&mut self) -> Result<u8, EndOfBytes> {
        self.array().map(u8::from_be_bytes)
    }

    #[inline]
    pub fn u16(&mut self) -> Result<u16, EndOfBytes> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub fn u32(&mut self) -> Result<u32, EndOfBytes> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub fn u64(&mut self) -> Result<u64, EndOfBytes> {
        self.array().map(u64::from_be_bytes)
    }
}

/// Appends a count or length as a 2-byte field.
#[inline]
pub fn put_u16(out: &mut Vec<u8>, number: usize) -> Result<(), DoesNotFit> {
    let number = u16::try_from(number).map_err(|_| DoesNotFit)?;
    out.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

/// Appends bytes, preceded by their length as a 2-byte field.
#[inline]
pub fn put_field(out: &mut Vec<u8>, field: &[u8]) -> Result<(), DoesNotFit> {
    put_u16(out, field.len())?;
    out.extend_from_slice(field);
    Ok(())
}

/// A buffer of at most `N` bytes on the stack.
#[derive(Clone, PartialEq, Eq)]
pub struct ShortBytes<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for ShortBytes<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> ShortBytes<N> {
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// Returns a buffer of `len` zeros, or of `N` if that is less.
    #[must_use]
    #[inline]
    pub fn zeros(len: usize) -> Self {
        Self { bytes: [0; N], len: len.min(N) }
    }

    /// Appends `part`, which must fit: `N` is the sum of the longest parts.
    #[inline]
    pub fn put(&mut self, part: &[u8]) {
        let end = self.len.saturating_add(part.len());
        let space = self.bytes.get_mut(self.len..end);
        debug_assert!(space.is_some(), "more than {N} bytes put together");
        if let Some(space) = space {
            space.copy_from_slice(part);
            self.len = end;
        }
    }
}

impl<const N: usize> std::ops::DerefMut for ShortBytes<N> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl<const N: usize> std::ops::Deref for ShortBytes<N> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_stops_at_the_end_and_takes_nothing_then() {
        let mut cursor = Cursor::new(&[0, 1, 2]);
        assert!(cursor.u32().is_err());
        assert_eq!(cursor.u16().unwrap(), 1);
        assert!(cursor.take(2).is_err());
        assert_eq!(cursor.u8().unwrap(), 2);
        assert!(cursor.is_empty());
    }

    #[test]
    fn a_field_over_65535_bytes_is_refused() {
        assert!(put_field(&mut Vec::new(), &vec![0; 65_536]).is_err());
        let mut out = Vec::new();
        put_field(&mut out, &vec![7; 65_535]).unwrap();
        assert_eq!(out.get(..3), Some(&[0xff, 0xff, 7][..]));
    }
}
