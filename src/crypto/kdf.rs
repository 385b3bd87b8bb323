//! HKDF (RFC 5869): one extract, any number of expands.

use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroize;

use crate::error::{Error, ErrorKind, Result};
use crate::suite::Hash;

/// A pseudorandom key, to be expanded.
pub(crate) enum Hkdf {
    Sha256(hkdf::Hkdf<Sha256>),
    Sha384(hkdf::Hkdf<Sha384>),
    Sha512(hkdf::Hkdf<Sha512>),
}

impl Hkdf {
    /// An empty salt stands for zeros of the hash's length.
    pub(crate) fn extract(hash: Hash, salt: &[u8], secret: &[u8]) -> Self {
        match hash {
            Hash::Sha256 => Self::Sha256(wiped(hkdf::Hkdf::<Sha256>::extract(Some(salt), secret))),
            Hash::Sha384 => Self::Sha384(wiped(hkdf::Hkdf::<Sha384>::extract(Some(salt), secret))),
            Hash::Sha512 => Self::Sha512(wiped(hkdf::Hkdf::<Sha512>::extract(Some(salt), secret))),
        }
    }

    /// Fills `out` for the concatenation of `info`.
    pub(crate) fn expand(&self, info: &[&[u8]], out: &mut [u8]) -> Result<()> {
        let expanded = match self {
            Self::Sha256(prk) => prk.expand_multi_info(info, out),
            Self::Sha384(prk) => prk.expand_multi_info(info, out),
            Self::Sha512(prk) => prk.expand_multi_info(info, out),
        };
        expanded.map_err(|_| Error::new(ErrorKind::Internal, "HKDF cannot make this many bytes"))
    }
}

/// The second half of an extract; the first, a copy of the pseudorandom key, is wiped.
fn wiped<H>((mut copy, hkdf): (impl AsMut<[u8]>, H)) -> H {
    copy.as_mut().zeroize();
    hkdf
}
