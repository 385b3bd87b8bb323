//! [`FrameMap`]: the positions of frames in a message.
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
/// let range = map.ciphertext_of(1000..2000);
/// assert_eq!(range, map.frame_ciphertext(1).unwrap());
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
        let end = plaintext.end.min(self.plaintext_len());
        let range = || {
            let first = self.frame_at(plaintext.start)?;
            let last = self.frame_at(end.checked_sub(1)?)?;
            let (first, last) = (self.frame_ciphertext(first)?, self.frame_ciphertext(last)?);
            (plaintext.start < end).then_some(first.start..last.end)
        };
        range().unwrap_or(self.header_len..self.header_len)
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
            }
        }
        assert_eq!(FrameMap::of_len(50, 10, 50 + 39, 0), None);
        // A regular frame, and a final one of 11 bytes, which is longer than the frame length of 10.
        assert_eq!(FrameMap::of_len(50, 10, 50 + 42 + 51, 0), None);
        assert!(FrameMap::of_len(50, 10, 50 + 42 + 50, 0).is_some());
    }
}
