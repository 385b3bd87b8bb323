//! HMAC-SHA512 and HKDF-SHA512 of many independent inputs at once. You want the crate `manila`, whose feature `batch`
//! uses it: batches of messages derive their keys here.
//!
//! The blocks of one HKDF depend on each other, so that one derivation cannot be faster. Sixteen derivations can: where
//! the processor has AVX-512, which is asked when the program runs, one instruction works on a word of eight of them.
//! Elsewhere, and for one or two inputs, the same calls go through the crates `hkdf` and `hmac`, one input at a time.
//!
//! # Security
//!
//! Nothing branches on the content of a key, secret, salt, info or message, and nothing is indexed by it: the code
//! branches on lengths, on the number of inputs and on the processor, and the rounds of SHA-512 are additions,
//! rotations and logic of whole words in an order that is the same for all inputs. There is no `unsafe` code.
//!
//! States, keys and blocks are wiped before a call returns, and so is the stack that it used, to a depth of 16 KiB with
//! AVX-512 and 4 KiB otherwise: registers that the compiler has spilled lie there. The registers themselves are not
//! wiped, nor is what an operating system has copied of either.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod group;
mod message;
mod one;
mod sha512;

#[cfg(test)]
mod tests;

use zeroize::zeroize_stack;

use crate::sha512::Vectors;

/// The most inputs that are worked on at once.
const WIDE: usize = 16;
/// Half of them: a group that needs no more takes little more than half of the time.
const NARROW: usize = 8;
/// The largest number of inputs for which one at a time is as fast as side by side, as measured by `benches/lanes.rs`.
const FEW: usize = 2;
/// Bytes of output that HKDF can produce: 255 digests (RFC 5869).
const LONGEST_OUTPUT: usize = 255 * 64;
/// Bytes of stack to wipe: half as much again as the frames take in a release build, keys and states among them.
const WIPED: usize = 16 << 10;
/// The same for one input at a time.
const WIPED_FOR_ONE: usize = 4 << 10;

/// An expansion of HKDF: what it is bound to, and where its bytes go.
pub struct Expansion<'a> {
    /// The context of the output, of any length.
    pub info: &'a [u8],
    /// Filled whole, with at most 16,320 bytes.
    pub out: &'a mut [u8],
}

/// An HKDF: one extraction and its expansions.
pub struct Derivation<'a, const N: usize> {
    /// An empty salt stands for 64 zeros.
    pub salt: &'a [u8],
    /// The input keying material.
    pub secret: &'a [u8],
    /// Computed from the same pseudorandom key.
    pub expansions: [Expansion<'a>; N],
}

/// An HMAC: a key, a message, and where the tag goes.
pub struct Mac<'a> {
    /// A key of any length.
    pub key: &'a [u8],
    /// A message of any length.
    pub message: &'a [u8],
    /// Filled with the tag, to be compared in constant time.
    pub tag: &'a mut [u8; 64],
}

/// The error of an output that is longer than HKDF-SHA512 can produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HKDF-SHA512 cannot produce more than 16320 bytes of output: ask for less, or expand with several infos")]
pub struct OutputTooLong;

/// Returns how many inputs are worked on at once here: 16 with AVX-512, otherwise 1.
///
/// ```
/// assert!([1, 16].contains(&manila_lanes::lanes()));
/// ```
#[must_use]
pub fn lanes() -> usize {
    if Vectors::detect().is_some() { WIDE } else { 1 }
}

/// Computes the HKDF-SHA512 (RFC 5869) of each derivation, of which there may be any number with any mix of lengths.
///
/// # Errors
/// [`OutputTooLong`] if an output is longer than 255 digests, or 16,320 bytes. Nothing is written then.
///
/// ```
/// use manila_lanes::{Derivation, Expansion, hkdf_sha512};
///
/// let (secrets, mut keys) = ([[1; 32], [2; 32], [3; 32]], [[0; 32]; 3]);
/// let mut derivations: Vec<_> = secrets
///     .iter()
///     .zip(&mut keys)
///     .map(|(secret, out)| Derivation { salt: b"salt", secret, expansions: [Expansion { info: b"key", out }] })
///     .collect();
/// hkdf_sha512(&mut derivations)?;
/// assert_ne!(keys[0], keys[1]);
/// # Ok::<(), manila_lanes::OutputTooLong>(())
/// ```
pub fn hkdf_sha512<const N: usize>(derivations: &mut [Derivation<'_, N>]) -> Result<(), OutputTooLong> {
    hkdf_on(Vectors::detect(), derivations)
}

/// Computes the HMAC-SHA512 (RFC 2104) of each message under its key, of which there may be any number with any mix of
/// lengths.
///
/// ```
/// use manila_lanes::{Mac, hmac_sha512};
///
/// let mut tags = [[0; 64]; 2];
/// let [first, second] = &mut tags;
/// hmac_sha512(&mut [
///     Mac { key: b"key", message: b"one", tag: first },
///     Mac { key: b"another key", message: b"one", tag: second },
/// ]);
/// assert_ne!(tags[0], tags[1]);
/// ```
pub fn hmac_sha512(macs: &mut [Mac<'_>]) {
    hmac_on(Vectors::detect(), macs);
}

/// Computes on these vectors, or one derivation at a time.
fn hkdf_on<const N: usize>(
    vectors: Option<Vectors>,
    derivations: &mut [Derivation<'_, N>],
) -> Result<(), OutputTooLong> {
    let too_long = |expansion: &Expansion<'_>| expansion.out.len() > LONGEST_OUTPUT;
    if derivations.iter().any(|derivation| derivation.expansions.iter().any(too_long)) {
        return Err(OutputTooLong);
    }
    on_groups(vectors, derivations, one::hkdf, group::hkdf::<NARROW, N>, group::hkdf::<WIDE, N>);
    Ok(())
}

/// Computes on these vectors, or one tag at a time.
fn hmac_on(vectors: Option<Vectors>, macs: &mut [Mac<'_>]) {
    on_groups(vectors, macs, one::hmac, group::hmac::<NARROW>, group::hmac::<WIDE>);
}

/// Divides the inputs into groups, each for the function that is the fastest for so many, and wipes the stack below.
fn on_groups<T>(
    vectors: Option<Vectors>,
    inputs: &mut [T],
    one: impl Fn(&mut T),
    narrow: impl Fn(Vectors, &mut [T]),
    wide: impl Fn(Vectors, &mut [T]),
) {
    let Some(vectors) = vectors else {
        inputs.iter_mut().for_each(one);
        return zeroize_stack::<WIPED_FOR_ONE>();
    };
    let last = inputs.len() % WIDE;
    let (groups, rest) = inputs.split_at_mut(inputs.len() - if last > NARROW { 0 } else { last });
    if !groups.is_empty() {
        wide(vectors, groups);
    }
    if rest.len() > FEW {
        narrow(vectors, rest);
    } else {
        rest.iter_mut().for_each(one);
    }
    // The functions that were called have used it.
    if groups.is_empty() && rest.len() <= FEW { zeroize_stack::<WIPED_FOR_ONE>() } else { zeroize_stack::<WIPED>() }
}
