//! Public keys of elliptic curves in `SubjectPublicKeyInfo` (RFC 5480).

use pkcs8::der::Decode;
use pkcs8::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::EccCurve;
use crate::crypto::Refused;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// Fails unless `der` is the `SubjectPublicKeyInfo` of a key on the curve, by its name. The point is not looked at.
pub(in crate::crypto) fn check_curve(curve: EccCurve, der: &[u8]) -> Result<(), Refused> {
    let name = match curve {
        EccCurve::P256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        EccCurve::P384 => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        EccCurve::P521 => ObjectIdentifier::new_unwrap("1.3.132.0.35"),
        EccCurve::Secp256k1 => ObjectIdentifier::new_unwrap("1.3.132.0.10"),
    };
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| Refused)?;
    let named = info.algorithm.parameters_oid().map_err(|_| Refused)?;
    if info.algorithm.oid == EC_PUBLIC_KEY && named == name { Ok(()) } else { Err(Refused) }
}
