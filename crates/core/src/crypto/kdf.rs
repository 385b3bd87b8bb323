//! HKDF (RFC 5869): one extraction, any number of expansions.

use hkdf::{GenericHkdf, HmacImpl};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroize;

use crate::crypto::stack::{WORD_LEN, on_wiped_stack};
use crate::error::{Error, ErrorKind, Result};

/// The hash functions of the format (FIPS 180-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Words of stack to overwrite: twice the depth at which an expansion was found to leave key material, with and without
/// optimisation.
const WIPED: usize = (4 << 10) / WORD_LEN;

/// The info of an expansion, in parts that are concatenated, and its output.
pub type Expansion<'a> = (&'a [&'a [u8]], &'a mut [u8]);

/// Extracts from `secret` with `salt` and computes every expansion. An empty salt stands for zeros of the hash's
/// length.
pub fn hkdf(hash: Hash, salt: &[u8], secret: &[u8], expansions: &mut [Expansion<'_>]) -> Result<()> {
    on_wiped_stack::<WIPED, _>(|| match hash {
        Hash::Sha256 => expand(hkdf::Hkdf::<Sha256>::extract(Some(salt), secret), expansions),
        Hash::Sha384 => expand(hkdf::Hkdf::<Sha384>::extract(Some(salt), secret), expansions),
        Hash::Sha512 => expand(hkdf::Hkdf::<Sha512>::extract(Some(salt), secret), expansions),
    })
}

/// A derivation of two outputs with HKDF-SHA512: each of them has its info, and is at most 16,320 bytes long.
pub struct Derivation<'a> {
    pub salt: &'a [u8],
    pub secret: &'a [u8],
    pub expansions: [(&'a [u8], &'a mut [u8]); 2],
}

/// Does many derivations: what [`hkdf`] does for each. With the feature `batch`, several at once if there are several.
pub fn hkdf_sha512(derivations: &mut [Derivation<'_>]) -> Result<()> {
    #[cfg(feature = "batch")]
    if derivations.len() > 1 && manila_lanes::lanes() > 1 {
        return side_by_side(derivations);
    }
    derivations.iter_mut().try_for_each(
        |Derivation { salt, secret, expansions: [(info, out), (other_info, other)] }| {
            hkdf(Hash::Sha512, salt, secret, &mut [(&[info], out), (&[other_info], other)])
        },
    )
}

#[cfg(feature = "batch")]
fn side_by_side(derivations: &mut [Derivation<'_>]) -> Result<()> {
    let derivations = derivations.iter_mut().map(|Derivation { salt, secret, expansions }| {
        let expansions = expansions.each_mut().map(|(info, out)| manila_lanes::Expansion { info, out });
        manila_lanes::Derivation { salt, secret, expansions }
    });
    manila_lanes::hkdf_sha512(&mut derivations.collect::<Vec<_>>())
        .map_err(|error| Error::other(ErrorKind::Internal, "HKDF cannot produce this many bytes", error))
}

fn expand<H: HmacImpl>(
    (mut copy, key): (impl AsMut<[u8]>, GenericHkdf<H>),
    expansions: &mut [Expansion<'_>],
) -> Result<()> {
    // Of the pseudorandom key.
    copy.as_mut().zeroize();
    for (info, out) in expansions {
        let expanded = key.expand_multi_info(info, out);
        expanded.map_err(|_| Error::new(ErrorKind::Internal, "HKDF cannot produce this many bytes"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::for_tests::unhex;

    #[test]
    fn many_derivations_are_each_what_it_is_alone() {
        for count in [1_u8, 2, 3, 16, 17, 64, 100] {
            let inputs: Vec<_> = (0..count).map(|n| ([n; 32], [!n; 32])).collect();
            let mut outs = vec![([0; 32], [0; 32]); inputs.len()];
            let mut derivations: Vec<_> = inputs
                .iter()
                .zip(&mut outs)
                .map(|((salt, secret), (one, other))| Derivation {
                    salt,
                    secret,
                    expansions: [(b"\x04\x78DERIVEKEY", &mut one[..]), (b"COMMITKEY", &mut other[..])],
                })
                .collect();
            hkdf_sha512(&mut derivations).unwrap();
            for ((salt, secret), (one, other)) in inputs.iter().zip(outs) {
                let (mut key, mut commitment) = ([0; 32], [0; 32]);
                let expansions: &mut [Expansion<'_>] =
                    &mut [(&[&[4, 0x78], b"DERIVEKEY"], &mut key), (&[b"COMMITKEY"], &mut commitment)];
                hkdf(Hash::Sha512, salt, secret, expansions).unwrap();
                assert_eq!((one, other), (key, commitment), "{count}");
            }
        }
    }

    #[test]
    fn hkdf_gives_the_known_answer() {
        // RFC 5869, appendix A, test cases 1 and 3.
        let mut out = [0; 42];
        let (salt, info) = (unhex("000102030405060708090a0b0c"), [unhex("f0f1f2f3f4"), unhex("f5f6f7f8f9")]);
        hkdf(Hash::Sha256, &salt, &[0x0b; 22], &mut [(&[&info[0], &info[1]], &mut out)]).unwrap();
        assert_eq!(
            out.to_vec(),
            unhex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"),
        );
        hkdf(Hash::Sha256, &[], &[0x0b; 22], &mut [(&[], &mut out)]).unwrap();
        assert_eq!(
            out.to_vec(),
            unhex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
        );
    }
}
