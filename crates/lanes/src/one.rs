//! One input at a time, by the crates `hkdf` and `hmac`. Neither function is inlined, so that the stack that they used
//! can be wiped from where they were called.

use hkdf::HmacImpl;
use hmac::Hmac;
use sha2::Sha512;
use zeroize::Zeroize;

use crate::{Derivation, Mac};

/// Computes one HKDF. The outputs are not longer than HKDF can produce.
#[inline(never)]
pub(crate) fn hkdf<const N: usize>(derivation: &mut Derivation<'_, N>) {
    let (mut copy, key) = hkdf::Hkdf::<Sha512>::extract(Some(derivation.salt), derivation.secret);
    // Of the pseudorandom key.
    copy.as_mut_slice().zeroize();
    for expansion in &mut derivation.expansions {
        let expanded = key.expand(expansion.info, expansion.out);
        debug_assert!(expanded.is_ok(), "the lengths were checked");
    }
}

/// Computes one HMAC.
#[inline(never)]
pub(crate) fn hmac(mac: &mut Mac<'_>) {
    // Of `hkdf`, since keys of all lengths are good.
    let mut keyed = <Hmac<Sha512> as HmacImpl>::new_from_slice(mac.key);
    keyed.update(mac.message);
    let mut tag = keyed.finalize();
    mac.tag.copy_from_slice(&tag);
    tag.as_mut_slice().zeroize();
}
