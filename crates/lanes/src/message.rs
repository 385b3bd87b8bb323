//! Messages of several lanes, each of a length of its own, as blocks.

use crate::sha512::{BLOCK_LEN, Block, State};

/// Bytes of a hash value.
pub(crate) const HASH_LEN: usize = 64;
/// The bytes that SHA-512 appends to a message at least: one, and the length in 16.
const PADDING_LEN: usize = 17;
/// The byte that follows a message.
const END: u8 = 0x80;

/// The message of a lane: an earlier hash value of all lanes or nothing, then bytes, then a byte or nothing.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// Bytes that were hashed before, whole blocks of them. They count in the length alone.
    pub before: usize,
    /// Bytes in front, which the caller puts into the first block: none, or a hash value's.
    pub front: usize,
    pub data: &'a [u8],
    pub last: Option<u8>,
}

impl Message<'_> {
    /// Bytes in the blocks to come, without the padding.
    fn len(&self) -> usize {
        self.front + self.data.len() + usize::from(self.last.is_some())
    }

    pub fn blocks(&self) -> usize {
        (self.len() + PADDING_LEN).div_ceil(BLOCK_LEN)
    }

    /// Puts block `number` of the message and its padding into a lane that is zero.
    pub fn put_block<const L: usize>(&self, number: usize, block: &mut Block<L>, lane: usize) {
        let begin = number * BLOCK_LEN;
        let (front, skipped) = if number == 0 { (self.front, 0) } else { (0, begin - self.front) };
        let rest = self.data.get(skipped..).unwrap_or_default();
        put(&rest[..rest.len().min(BLOCK_LEN - front)], &mut block[front / 8..], lane);
        let len = self.len();
        if let Some(last) = self.last {
            put_byte(last, (len - 1).checked_sub(begin), block, lane);
        }
        put_byte(END, len.checked_sub(begin), block, lane);
        if number + 1 == self.blocks() {
            // In bits, as a number of two words.
            let bytes = (self.before + len) as u64;
            block[14][lane] = bytes >> 61;
            block[15][lane] = bytes << 3;
        }
    }
}

/// Puts bytes into the words of a lane, the first at the beginning of the first word.
pub(crate) fn put<const L: usize>(bytes: &[u8], words: &mut [[u64; L]], lane: usize) {
    let (whole, rest) = bytes.as_chunks();
    let mut words = words.iter_mut();
    for (bytes, word) in whole.iter().zip(words.by_ref()) {
        word[lane] = u64::from_be_bytes(*bytes);
    }
    if let Some(word) = words.next() {
        word[lane] = rest.iter().zip(0..).fold(0, |word, (byte, at)| word | at_byte(*byte, at));
    }
}

/// Puts a byte at its place in the block, if it has one there.
fn put_byte<const L: usize>(byte: u8, at: Option<usize>, block: &mut Block<L>, lane: usize) {
    if let Some(at) = at.filter(|at| *at < BLOCK_LEN) {
        block[at / 8][lane] |= at_byte(byte, at % 8);
    }
}

/// Returns a word with one byte, counted from its most significant one.
fn at_byte(byte: u8, at: usize) -> u64 {
    u64::from(byte) << (56 - 8 * at)
}

/// Takes as many bytes as there is room for out of a lane's state.
pub(crate) fn take<const L: usize>(state: &State<L>, lane: usize, out: &mut [u8]) {
    let mut words = state.iter();
    let (whole, rest) = out.as_chunks_mut();
    for (bytes, word) in whole.iter_mut().zip(words.by_ref()) {
        *bytes = word[lane].to_be_bytes();
    }
    if let Some(word) = words.next() {
        rest.iter_mut().zip(word[lane].to_be_bytes()).for_each(|(to, byte)| *to = byte);
    }
}
