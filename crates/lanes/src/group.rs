//! HMAC and HKDF of a group of inputs, each in a lane of its own.

use std::array;

use sha2::block_api::compress512;
use zeroize::{Zeroize, optimization_barrier};

use crate::message::{HASH_LEN, Message, put, take};
use crate::sha512::{BLOCK_LEN, Block, INITIAL, State, Vectors, Word};
use crate::{Derivation, Expansion, FEW, Mac};

/// The paddings of HMAC's key (RFC 2104), eight bytes of each.
const INNER: u64 = 0x3636_3636_3636_3636;
const OUTER: u64 = 0x5c5c_5c5c_5c5c_5c5c;

/// The lanes' keys, blocks and states, wiped when dropped.
struct Lanes<const L: usize> {
    vectors: Vectors,
    block: Block<L>,
    key: Block<L>,
    /// The states of the two hashes of an HMAC.
    inner: State<L>,
    outer: State<L>,
    /// The same when they have absorbed the pseudorandom key of HKDF and nothing else.
    keyed_inner: State<L>,
    keyed_outer: State<L>,
}

impl<const L: usize> Drop for Lanes<L> {
    fn drop(&mut self) {
        for words in [&mut self.block, &mut self.key] {
            wipe(words);
        }
        for words in [&mut self.inner, &mut self.outer, &mut self.keyed_inner, &mut self.keyed_outer] {
            wipe(words);
        }
    }
}

/// Overwrites words at once, and so that the compiler cannot leave it out: in an eighth of the time that `zeroize`
/// takes, word by word.
fn wipe<const L: usize, const N: usize>(words: &mut [Word<L>; N]) {
    *words = [[0; L]; N];
    optimization_barrier(words);
}

/// Computes HMACs, `L` inputs at a time. Not inlined, so that the stack that it used can be wiped by its caller.
#[inline(never)]
pub(crate) fn hmac<const L: usize>(vectors: Vectors, macs: &mut [Mac<'_>]) {
    let mut lanes = Lanes::<L>::new(vectors);
    for group in macs.chunks_mut(L) {
        lanes.keys(group, |mac| mac.key);
        lanes.absorb(|lane| Some(Message { data: group.get(lane)?.message, ..AFTER_KEY }));
        lanes.finish();
        for (lane, mac) in group.iter_mut().enumerate() {
            take(&lanes.outer, lane, mac.tag);
        }
    }
}

/// Computes HKDFs, `L` inputs at a time, whose outputs are not longer than it can produce. Not inlined, as above.
#[inline(never)]
pub(crate) fn hkdf<const L: usize, const N: usize>(vectors: Vectors, derivations: &mut [Derivation<'_, N>]) {
    let mut lanes = Lanes::<L>::new(vectors);
    for group in derivations.chunks_mut(L) {
        lanes.keys(group, |derivation| derivation.salt);
        lanes.absorb(|lane| Some(Message { data: group.get(lane)?.secret, ..AFTER_KEY }));
        lanes.finish();
        lanes.key_with_outer();
        for expansion in 0..N {
            lanes.expand(group, expansion);
        }
    }
}

/// A message behind the block of a key, without content.
const AFTER_KEY: Message<'static> = Message { before: BLOCK_LEN, front: 0, data: &[], last: None };

impl<const L: usize> Lanes<L> {
    fn new(vectors: Vectors) -> Self {
        let state = [[0; L]; 8];
        let block = [[0; L]; 16];
        Self { vectors, block, key: block, inner: state, outer: state, keyed_inner: state, keyed_outer: state }
    }

    /// Begins the HMACs under the keys of the inputs.
    fn keys<T>(&mut self, inputs: &[T], key: impl Fn(&T) -> &[u8]) {
        self.key = [[0; L]; 16];
        for (lane, input) in inputs.iter().enumerate() {
            put(key(input).get(..BLOCK_LEN).unwrap_or(key(input)), &mut self.key, lane);
        }
        // HMAC hashes a key that is longer than a block.
        let long = |lane| inputs.get(lane).map(&key).filter(|key| key.len() > BLOCK_LEN);
        if (0..L).any(|lane| long(lane).is_some()) {
            self.inner = INITIAL.map(|word| [word; L]);
            self.absorb(|lane| Some(Message { before: 0, data: long(lane)?, ..AFTER_KEY }));
            for lane in (0..L).filter(|lane| long(*lane).is_some()) {
                let hash = self.inner.iter().map(|word| word[lane]).chain([0; 8]);
                self.key.iter_mut().zip(hash).for_each(|(word, of_hash)| word[lane] = of_hash);
            }
        }
        self.begin();
    }

    /// Begins HMACs under the tags that were finished last, and keeps the states.
    fn key_with_outer(&mut self) {
        self.key[..8].copy_from_slice(&self.outer);
        self.key[8..].fill([0; L]);
        self.begin();
        (self.keyed_inner, self.keyed_outer) = (self.inner, self.outer);
    }

    /// Hashes the two paddings of the keys.
    fn begin(&mut self) {
        for (state, padding) in [(&mut self.inner, INNER), (&mut self.outer, OUTER)] {
            *state = INITIAL.map(|word| [word; L]);
            self.vectors.mask(&self.key, padding, &mut self.block);
            self.vectors.compress(state, &mut self.block);
        }
    }

    /// Computes the outputs of one expansion of each input.
    fn expand<const N: usize>(&mut self, group: &mut [Derivation<'_, N>], expansion: usize) {
        // As many as the longest output has digests. The lengths have been checked: the numbers suffice.
        for number in 1..=u8::MAX {
            let begin = HASH_LEN * usize::from(number - 1);
            if group.iter().all(|derivation| derivation.expansions[expansion].out.len() <= begin) {
                break;
            }
            let front = if number == 1 { 0 } else { HASH_LEN };
            self.inner = self.keyed_inner;
            self.absorb(|lane| {
                let Expansion { info, out } = &group.get(lane)?.expansions[expansion];
                (out.len() > begin).then_some(Message { front, data: info, last: Some(number), ..AFTER_KEY })
            });
            self.outer = self.keyed_outer;
            self.finish();
            for (lane, derivation) in group.iter_mut().enumerate() {
                let out = derivation.expansions[expansion].out.get_mut(begin..).unwrap_or_default();
                take(&self.outer, lane, out);
            }
        }
    }

    /// Hashes the messages of the lanes that have one with `inner`, and what they have in front is in `outer`. What
    /// becomes of the other lanes is left open.
    #[inline]
    fn absorb<'a>(&mut self, message: impl Fn(usize) -> Option<Message<'a>>) {
        let blocks: [usize; L] = array::from_fn(|lane| message(lane).map_or(0, |message| message.blocks()));
        let most = blocks.into_iter().max().unwrap_or_default();
        for number in 0..most {
            self.block = [[0; L]; 16];
            if number == 0 && (0..L).find_map(&message).is_some_and(|message| message.front > 0) {
                self.block[..8].copy_from_slice(&self.outer);
            }
            for lane in (0..L).filter(|lane| number < blocks[*lane]) {
                if let Some(message) = message(lane) {
                    message.put_block(number, &mut self.block, lane);
                }
            }
            self.compress_where(number, &blocks);
        }
    }

    /// Compresses block `number` of the lanes that have so many into `inner`. Lanes that had fewer stay as they are.
    fn compress_where(&mut self, number: usize, blocks: &[usize; L]) {
        let active = |lane: &usize| number < blocks[*lane];
        // A few long messages among shorter ones end as fast as they would alone.
        if (0..L).filter(active).count() <= FEW {
            return (0..L).filter(active).for_each(|lane| self.compress_one(lane));
        }
        let ended = |lane: &usize| 0 < blocks[*lane] && blocks[*lane] <= number;
        if !(0..L).any(|lane| ended(&lane)) {
            return self.vectors.compress(&mut self.inner, &mut self.block);
        }
        let mut before = self.inner;
        self.vectors.compress(&mut self.inner, &mut self.block);
        for lane in (0..L).filter(ended) {
            for (word, before) in self.inner.iter_mut().zip(&before) {
                word[lane] = before[lane];
            }
        }
        wipe(&mut before);
    }

    /// Compresses the block of one lane into `inner`.
    fn compress_one(&mut self, lane: usize) {
        let mut state = self.inner.map(|word| word[lane]);
        let mut block = [0; BLOCK_LEN];
        for (bytes, word) in block.chunks_mut(8).zip(&self.block) {
            bytes.copy_from_slice(&word[lane].to_be_bytes());
        }
        compress512(&mut state, &[block]);
        for (word, of_lane) in self.inner.iter_mut().zip(state) {
            word[lane] = of_lane;
        }
        state.zeroize();
        block.zeroize();
    }

    /// Ends the HMACs: hashes what is in `inner` with `outer`.
    fn finish(&mut self) {
        self.block[..8].copy_from_slice(&self.inner);
        self.block[8] = [1 << 63; L];
        self.block[9..15].fill([0; L]);
        self.block[15] = [8 * (BLOCK_LEN + HASH_LEN) as u64; L];
        self.vectors.compress(&mut self.outer, &mut self.block);
    }
}
