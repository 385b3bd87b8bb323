//! [`FrameMap`]: the positions of frames in a message, and [`FrameSpan`], those of a range of its plaintext.
//!
//! Source: the ESDK specification, `data-format/message-body.md`.

use std::ops::Range;

use crate::message::frame::{FINAL_OVERHEAD, REGULAR_OVERHEAD};

/// The positions of a message's frames: for each frame, its range of bytes in the plaintext and in the message.
///
/// Use it to learn the length of an upload or the byte range of a download before writing or fetching anything. All
/// lengths and offsets are in bytes; offsets in the message count from its first byte.
///
/// ```
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// let encryptor = client.encryptor(&EncryptionContext::empty())?;
/// let map = encryptor.frame_map(10_000)?; // in frames of 4096, 4096 and 1808 bytes
/// assert_eq!(map.ciphertext_len(), encryptor.ciphertext_len(10_000)?);
/// // To read the second thousand bytes of the plaintext, fetch the first frame.
/// let span = map.frames_of(1000..2000).unwrap();
/// assert_eq!((span.first(), span.ciphertext()), (1, map.frame_ciphertext(1).unwrap()));
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameMap {
    header_len: u64,
    frame_length: u32,
    /// The number of frames before the final one.
    regular: u32,
    final_len: u32,
    footer_len: u64,
}

impl FrameMap {
    /// Returns the map of a message to write. If the plaintext is a multiple of the frame length, the final frame is
    /// full, not empty.
    ///
    /// Returns `None` if the message would need more frames than the format has sequence numbers.
    pub(crate) fn to_write(header_len: u64, frame_length: u32, plaintext_len: u64, footer_len: u64) -> Option<Self> {
        let frame = u64::from(frame_length.max(1));
        let regular = plaintext_len.saturating_sub(1) / frame;
        let final_len = u32::try_from(plaintext_len.saturating_sub(regular.saturating_mul(frame))).ok()?;
        let regular = u32::try_from(regular).ok().filter(|regular| *regular < u32::MAX)?;
        Self::new(header_len, frame_length, regular, final_len, footer_len)
    }

    /// Returns the map of a message to read, computed from its length of `len` bytes: the final frame is there if the
    /// message is complete. Returns `None` if no message can have this length.
    pub(crate) fn of_len(header_len: u64, frame_length: u32, len: u64, footer_len: u64) -> Option<Self> {
        let body = len.checked_sub(header_len)?.checked_sub(footer_len)?;
        let rest = body.checked_sub(FINAL_OVERHEAD as u64)?;
        let regular_len = u64::from(frame_length).saturating_add(REGULAR_OVERHEAD as u64);
        let regular = u32::try_from(rest / regular_len).ok().filter(|regular| *regular < u32::MAX)?;
        let final_len = u32::try_from(rest % regular_len).ok().filter(|len| *len <= frame_length)?;
        Self::new(header_len, frame_length, regular, final_len, footer_len)
    }

    fn new(header_len: u64, frame_length: u32, regular: u32, final_len: u32, footer_len: u64) -> Option<Self> {
        let map = Self { header_len, frame_length, regular, final_len, footer_len };
        let body = u64::from(regular).checked_mul(map.regular_len())?.checked_add(map.final_frame_len())?;
        header_len.checked_add(body)?.checked_add(footer_len)?;
        Some(map)
    }

    /// Returns the length of the complete message.
    #[must_use]
    pub fn ciphertext_len(&self) -> u64 {
        self.final_start().saturating_add(self.final_frame_len()).saturating_add(self.footer_len)
    }

    /// Returns the length of the plaintext.
    #[must_use]
    pub fn plaintext_len(&self) -> u64 {
        u64::from(self.regular).saturating_mul(u64::from(self.frame_length)).saturating_add(u64::from(self.final_len))
    }

    /// Returns the number of frames. It is also the number of the final frame, since frames are numbered from 1.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.regular.saturating_add(1)
    }

    /// Returns the number of plaintext bytes in every frame except the final one.
    #[must_use]
    pub fn frame_length(&self) -> u32 {
        self.frame_length
    }

    /// Returns the number of the frame that holds the plaintext byte at `offset`, or `None` past the end.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let map = client.encryptor(&EncryptionContext::empty())?.frame_map(10_000)?; // in frames of 4096 bytes
    /// assert_eq!((map.frame_at(4095), map.frame_at(4096), map.frame_at(10_000)), (Some(1), Some(2), None));
    /// # Ok::<(), manila::Error>(())
    /// ```
    #[must_use]
    pub fn frame_at(&self, offset: u64) -> Option<u32> {
        if offset >= self.plaintext_len() {
            return None;
        }
        let before = offset / u64::from(self.frame_length.max(1));
        u32::try_from(before).ok().map(|before| before.min(self.regular).saturating_add(1))
    }

    /// Returns the range of the plaintext that frame `number` holds, or `None` if there is no such frame.
    #[must_use]
    pub fn frame_plaintext(&self, number: u32) -> Option<Range<u64>> {
        let before = self.before(number)?;
        let start = before.saturating_mul(u64::from(self.frame_length));
        let len = if number == self.frames() { self.final_len } else { self.frame_length };
        Some(start..start.saturating_add(u64::from(len)))
    }

    /// Returns the range of the message that frame `number` takes, including its header fields and tag, or `None` if
    /// there is no such frame.
    #[must_use]
    pub fn frame_ciphertext(&self, number: u32) -> Option<Range<u64>> {
        let before = self.before(number)?;
        let start = self.header_len.saturating_add(before.saturating_mul(self.regular_len()));
        let len = if number == self.frames() { self.final_frame_len() } else { self.regular_len() };
        Some(start..start.saturating_add(len))
    }

    /// Returns the range of the message that holds all frames of a range of the plaintext; empty if there are none.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let map = client.encryptor(&EncryptionContext::empty())?.frame_map(10_000)?; // in frames of 4096 bytes
    /// let range = map.ciphertext_of(4000..5000);
    /// assert_eq!(range.start, map.frame_ciphertext(1).unwrap().start);
    /// assert_eq!(range.end, map.frame_ciphertext(2).unwrap().end);
    /// assert!(map.ciphertext_of(10_000..20_000).is_empty());
    /// # Ok::<(), manila::Error>(())
    /// ```
    #[must_use]
    pub fn ciphertext_of(&self, plaintext: Range<u64>) -> Range<u64> {
        self.frames_of(plaintext).map_or(self.header_len..self.header_len, |span| span.ciphertext)
    }

    /// Returns the frames that hold a range of the plaintext: which bytes to fetch, and what they are. `None` if the
    /// range is empty or starts past the end.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// let map = client.encryptor(&EncryptionContext::empty())?.frame_map(10_000)?; // in frames of 4096 bytes
    /// let span = map.frames_of(4000..5000).unwrap();
    /// assert_eq!((span.first(), span.last(), span.plaintext()), (1, 2, 0..8192));
    /// assert_eq!(span.ciphertext(), map.ciphertext_of(4000..5000));
    /// assert_eq!(map.frames_of(10_000..20_000), None);
    /// # Ok::<(), manila::Error>(())
    /// ```
    #[must_use]
    pub fn frames_of(&self, plaintext: Range<u64>) -> Option<FrameSpan> {
        let end = plaintext.end.min(self.plaintext_len());
        let last = end.checked_sub(1).filter(|last| *last >= plaintext.start)?;
        self.span(self.frame_at(plaintext.start)?, self.frame_at(last)?)
    }

    /// Returns the frames from `first` to `last`, or `None` if there are no such frames.
    pub(crate) fn span(&self, first: u32, last: u32) -> Option<FrameSpan> {
        let (plaintext, ciphertext) = (self.frame_plaintext(first)?, self.frame_ciphertext(first)?);
        let (plaintext_end, ciphertext_end) = (self.frame_plaintext(last)?.end, self.frame_ciphertext(last)?.end);
        (first <= last).then_some(FrameSpan {
            first,
            last,
            plaintext: plaintext.start..plaintext_end,
            ciphertext: ciphertext.start..ciphertext_end,
        })
    }

    /// Returns the frames from `first` on that take exactly `len` bytes of the message, or `None` if no whole frames
    /// do.
    pub(crate) fn span_of_len(&self, first: u32, len: u64) -> Option<FrameSpan> {
        let end = self.frame_ciphertext(first)?.start.checked_add(len)?;
        let last = if end == self.final_start().saturating_add(self.final_frame_len()) {
            self.frames()
        } else {
            u32::try_from(len / self.regular_len()).ok()?.checked_add(first)?.checked_sub(1)?
        };
        self.span(first, last).filter(|span| span.ciphertext.end == end)
    }

    /// Returns the number of frames before frame `number`.
    fn before(&self, number: u32) -> Option<u64> {
        number.checked_sub(1).filter(|before| *before <= self.regular).map(u64::from)
    }

    fn regular_len(&self) -> u64 {
        u64::from(self.frame_length).saturating_add(REGULAR_OVERHEAD as u64)
    }

    fn final_frame_len(&self) -> u64 {
        u64::from(self.final_len).saturating_add(FINAL_OVERHEAD as u64)
    }

    fn final_start(&self) -> u64 {
        self.header_len.saturating_add(u64::from(self.regular).saturating_mul(self.regular_len()))
    }
}

/// Consecutive frames of a message: the bytes to fetch to read a range of its plaintext. See [`FrameMap::frames_of`].
///
/// ```
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// let map = client.encryptor(&EncryptionContext::empty())?.frame_map(10_000)?; // in frames of 4096 bytes
/// let span = map.frames_of(9000..9010).unwrap();
/// let range = span.ciphertext();
/// let header = format!("Range: bytes={}-{}", range.start, range.end - 1); // of an HTTP request
/// assert_eq!(9000 - span.plaintext().start, 808); // the first wanted byte in the plaintext of these frames
/// # assert!(header.ends_with(&format!("-{}", map.frame_ciphertext(3).unwrap().end - 1)));
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameSpan {
    first: u32,
    last: u32,
    plaintext: Range<u64>,
    ciphertext: Range<u64>,
}

impl FrameSpan {
    /// Returns the number of the first frame, for [`RangeDecryptor::open_frames`](crate::RangeDecryptor::open_frames).
    #[must_use]
    pub fn first(&self) -> u32 {
        self.first
    }

    /// Returns the number of the last frame.
    #[must_use]
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Returns the range of the plaintext that the frames hold, which starts and ends where frames do.
    #[must_use]
    pub fn plaintext(&self) -> Range<u64> {
        self.plaintext.clone()
    }

    /// Returns the range of the message that the frames take.
    #[must_use]
    pub fn ciphertext(&self) -> Range<u64> {
        self.ciphertext.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_len(plaintext_len: u64, frame_length: u32) -> Option<u64> {
        FrameMap::to_write(0, frame_length, plaintext_len, 0).map(|map| map.ciphertext_len())
    }

    #[test]
    fn the_last_frame_is_full_not_empty() {
        assert_eq!(body_len(0, 4), Some(40));
        assert_eq!(body_len(4, 4), Some(44));
        assert_eq!(body_len(5, 4), Some(36 + 41));
        assert_eq!(body_len(8, 4), Some(36 + 44));
    }

    #[test]
    fn a_message_has_at_most_4294967295_frames() {
        assert!(body_len(u64::from(u32::MAX), 1).is_some());
        assert!(body_len(u64::from(u32::MAX) + 1, 1).is_none());
        assert!(body_len(u64::MAX, 1).is_none());
        assert!(body_len(u64::MAX, u32::MAX).is_none());
    }

    /// Checks every span of a short message, found by its plaintext and by its length.
    fn spans_are_those_of_frames(map: &FrameMap) {
        let frames = map.frames().min(5);
        for (first, last) in (1..=frames).flat_map(|first| (first..=frames).map(move |last| (first, last))) {
            let span = map.span(first, last).unwrap();
            assert_eq!((span.first(), span.last()), (first, last));
            if !span.plaintext().is_empty() && !map.frame_plaintext(last).unwrap().is_empty() {
                assert_eq!(map.frames_of(span.plaintext()).as_ref(), Some(&span));
            }
            let len = span.ciphertext().end - span.ciphertext().start;
            assert_eq!(map.span_of_len(first, len).as_ref(), Some(&span));
            for other in [0, 1, len - 1, len + 1] {
                assert_eq!(map.span_of_len(first, other), None, "{other} is not {len}");
            }
        }
        let (after, all) = (map.frames() + 1, map.ciphertext_len());
        assert_eq!((map.span(0, 1), map.span(1, after), map.span(2, 1)), (None, None, None));
        assert_eq!((map.span_of_len(0, 1), map.span_of_len(after, 0), map.span_of_len(1, all)), (None, None, None));
        assert_eq!((map.span_of_len(1, u64::MAX), map.frames_of(3..3)), (None, None));
        #[expect(clippy::reversed_empty_ranges, reason = "callers may pass one")]
        let reversed = 3..1;
        assert_eq!(map.frames_of(reversed), None);
    }

    #[test]
    fn a_length_tells_where_the_frames_are() {
        for frame_length in [1, 2, 31, 32, 33, 100] {
            for len in 0..300 {
                let map = FrameMap::to_write(50, frame_length, len, 7).unwrap();
                assert_eq!(FrameMap::of_len(50, frame_length, map.ciphertext_len(), 7), Some(map.clone()));
                // Other implementations write an empty final frame after full ones.
                let empty = FrameMap::new(50, frame_length, 3, 0, 7).unwrap();
                assert_eq!(FrameMap::of_len(50, frame_length, empty.ciphertext_len(), 7), Some(empty));
                let (mut plaintext, mut ciphertext) = (0, 50);
                for number in 1..=map.frames() {
                    let (p, c) = (map.frame_plaintext(number).unwrap(), map.frame_ciphertext(number).unwrap());
                    assert_eq!((p.start, c.start), (plaintext, ciphertext));
                    (plaintext, ciphertext) = (p.end, c.end);
                    for offset in p {
                        assert_eq!(map.frame_at(offset), Some(number));
                        assert_eq!(map.ciphertext_of(offset..offset + 1), c);
                    }
                }
                assert_eq!((plaintext, ciphertext + 7), (len, map.ciphertext_len()));
                assert_eq!(map.frame_at(len), None);
                assert_eq!(map.ciphertext_of(len..len + 9), 50..50);
                assert_eq!((map.frame_plaintext(0), map.frame_ciphertext(map.frames() + 1)), (None, None));
                spans_are_those_of_frames(&map);
            }
        }
        assert_eq!(FrameMap::of_len(50, 10, 50 + 39, 0), None);
        // A regular frame, and a final one of 11 bytes, which is longer than the frame length of 10.
        assert_eq!(FrameMap::of_len(50, 10, 50 + 42 + 51, 0), None);
        assert!(FrameMap::of_len(50, 10, 50 + 42 + 50, 0).is_some());
    }
}
