//! HKDF (RFC 5869): one extract, any number of expands.

use hkdf::{GenericHkdf, HmacImpl};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroize;

use crate::crypto::stack::on_wiped_stack;
use crate::error::{Error, ErrorKind, Result};
use crate::suite::Hash;

/// Twice the bytes of stack that an expansion was seen to leave a key in, with and without optimisation.
const WIPED: usize = 4 << 10;

/// What to expand for, in parts that are put one behind the other, and where to.
pub(crate) type Expansion<'a> = (&'a [&'a [u8]], &'a mut [u8]);

/// Extracts from `secret` under `salt` and makes every expansion. An empty salt stands for zeros of the hash's length.
pub(crate) fn hkdf(hash: Hash, salt: &[u8], secret: &[u8], expansions: &mut [Expansion<'_>]) -> Result<()> {
    on_wiped_stack::<WIPED, _>(|| match hash {
        Hash::Sha256 => expand(hkdf::Hkdf::<Sha256>::extract(Some(salt), secret), expansions),
        Hash::Sha384 => expand(hkdf::Hkdf::<Sha384>::extract(Some(salt), secret), expansions),
        Hash::Sha512 => expand(hkdf::Hkdf::<Sha512>::extract(Some(salt), secret), expansions),
    })
}

fn expand<H: HmacImpl>(
    (mut copy, key): (impl AsMut<[u8]>, GenericHkdf<H>),
    expansions: &mut [Expansion<'_>],
) -> Result<()> {
    // Of the pseudorandom key.
    copy.as_mut().zeroize();
    for (info, out) in expansions {
        let expanded = key.expand_multi_info(info, out);
        expanded.map_err(|_| Error::new(ErrorKind::Internal, "HKDF cannot make this many bytes"))?;
    }
    Ok(())
}
