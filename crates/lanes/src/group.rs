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

/// Computes the HMAC of up to `L` inputs. Not inlined, so that the stack that it used can be wiped by its caller.
#[inline(never)]
pub(crate) fn hmac<const L: usize>(vectors: Vectors, macs: &mut [Mac<'_>]) {
    let mut lanes = Lanes::<L>::new(vectors);
    lanes.keys(macs, |mac| mac.key);
    let messages = messages(macs, |mac| Some(Message { data: mac.message, ..AFTER_KEY }));
    lanes.absorb(&messages);
    lanes.finish();
    for (lane, mac) in macs.iter_mut().enumerate() {
        take(&lanes.outer, lane, mac.tag);
    }
}

/// Computes the HKDF of up to `L` inputs, whose outputs are not longer than it can produce. Not inlined, as above.
#[inline(never)]
pub(crate) fn hkdf<const L: usize, const N: usize>(vectors: Vectors, derivations: &mut [Derivation<'_, N>]) {
    let mut lanes = Lanes::<L>::new(vectors);
    lanes.keys(derivations, |derivation| derivation.salt);
    let secrets = messages(derivations, |derivation| Some(Message { data: derivation.secret, ..AFTER_KEY }));
    lanes.absorb(&secrets);
    lanes.finish();
    lanes.key_with_outer();
    for expansion in 0..N {
        // As many as the longest output has digests. The lengths have been checked: the numbers suffice.
        for number in 1..=u8::MAX {
            let begin = HASH_LEN * usize::from(number - 1);
            let front = if number == 1 { 0 } else { HASH_LEN };
            let infos = messages(derivations, |derivation| {
                let Expansion { info, out } = &derivation.expansions[expansion];
                (out.len() > begin).then_some(Message { front, data: info, last: Some(number), ..AFTER_KEY })
            });
            if infos.iter().all(Option::is_none) {
                break;
            }
            lanes.inner = lanes.keyed_inner;
            lanes.absorb(&infos);
            lanes.outer = lanes.keyed_outer;
            lanes.finish();
            for (lane, derivation) in derivations.iter_mut().enumerate() {
                let out = derivation.expansions[expansion].out.get_mut(begin..).unwrap_or_default();
                take(&lanes.outer, lane, out);
            }
        }
    }
}

/// A message behind the block of a key, without content.
const AFTER_KEY: Message<'static> = Message { before: BLOCK_LEN, front: 0, data: &[], last: None };

/// The messages of the lanes that have one.
type Messages<'a, const L: usize> = [Option<Message<'a>>; L];

fn messages<'a, T, const L: usize>(inputs: &'a [T], of: impl Fn(&'a T) -> Option<Message<'a>>) -> Messages<'a, L> {
    array::from_fn(|lane| inputs.get(lane).and_then(&of))
}

impl<const L: usize> Lanes<L> {
    fn new(vectors: Vectors) -> Self {
        let state = [[0; L]; 8];
        let block = [[0; L]; 16];
        Self { vectors, block, key: block, inner: state, outer: state, keyed_inner: state, keyed_outer: state }
    }

    /// Begins the HMACs under the keys of the inputs.
    fn keys<T>(&mut self, inputs: &[T], key: impl Fn(&T) -> &[u8]) {
        // HMAC hashes a key that is longer than a block.
        let long = |input: &&T| key(input).len() > BLOCK_LEN;
        if inputs.iter().any(|input| long(&input)) {
            self.inner = INITIAL.map(|word| [word; L]);
            let whole = Message { before: 0, ..AFTER_KEY };
            let keys =
                messages(inputs, |input| Some(input).filter(long).map(|input| Message { data: key(input), ..whole }));
            self.absorb(&keys);
        }
        self.key = [[0; L]; 16];
        for (lane, input) in inputs.iter().enumerate() {
            if long(&input) {
                for (word, of_hash) in self.key.iter_mut().zip(&self.inner) {
                    word[lane] = of_hash[lane];
                }
            } else {
                put(key(input), &mut self.key, lane);
            }
        }
        self.begin();
    }

    /// Begins HMACs under the tags that were finished last, and keeps the states.
    fn key_with_outer(&mut self) {
        self.key = [[0; L]; 16];
        self.key[..8].copy_from_slice(&self.outer);
        self.begin();
        (self.keyed_inner, self.keyed_outer) = (self.inner, self.outer);
    }

    /// Hashes the two paddings of the keys.
    fn begin(&mut self) {
        for (state, padding) in [(&mut self.inner, INNER), (&mut self.outer, OUTER)] {
            *state = INITIAL.map(|word| [word; L]);
            self.block = self.key.map(|word| word.map(|word| word ^ padding));
            self.vectors.compress(state, &mut self.block);
        }
    }

    /// Hashes messages with `inner`, and what they have in front is in `outer`. What becomes of lanes without a message
    /// is left open.
    fn absorb(&mut self, messages: &Messages<'_, L>) {
        let blocks = messages.map(|message| message.map_or(0, |message| message.blocks()));
        let most = blocks.into_iter().max().unwrap_or_default();
        for number in 0..most {
            self.block = [[0; L]; 16];
            if number == 0 && messages.iter().flatten().any(|message| message.front > 0) {
                self.block[..8].copy_from_slice(&self.outer);
            }
            for (lane, message) in messages.iter().enumerate() {
                if let Some(message) = message.filter(|_| number < blocks[lane]) {
                    message.put_block(number, &mut self.block, lane);
                }
            }
            self.compress_where(
                blocks.map(|blocks| number < blocks),
                blocks.map(|blocks| 0 < blocks && blocks <= number),
            );
        }
    }

    /// Compresses the blocks of lanes that are `active` into `inner`, where others stay as they are if they are to be
    /// `kept`.
    fn compress_where(&mut self, active: [bool; L], kept: [bool; L]) {
        let lanes = |wanted: [bool; L]| (0..L).filter(move |lane| wanted[*lane]);
        // A few long messages among shorter ones end as fast as they would alone.
        if lanes(active).count() <= FEW {
            return lanes(active).for_each(|lane| self.compress_one(lane));
        }
        if lanes(kept).next().is_none() {
            return self.vectors.compress(&mut self.inner, &mut self.block);
        }
        let mut before = self.inner;
        self.vectors.compress(&mut self.inner, &mut self.block);
        for lane in lanes(kept) {
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
        self.block = [[0; L]; 16];
        self.block[..8].copy_from_slice(&self.inner);
        self.block[8] = [1 << 63; L];
        self.block[15] = [8 * (BLOCK_LEN + HASH_LEN) as u64; L];
        self.vectors.compress(&mut self.outer, &mut self.block);
    }
}
