//! The footer: the signature over all that stands before it.
//!
//! Source: the ESDK specification, `data-format/message-footer.md`.

use manila_core::internal::codec::{Cursor, DoesNotFit, put_field};

/// Length in bytes of the field before the signature.
pub(crate) const LENGTH_FIELD: usize = 2;

/// Appends a footer.
pub(crate) fn put(out: &mut Vec<u8>, signature: &[u8]) -> Result<(), DoesNotFit> {
    put_field(out, signature)
}

/// What the front of the bytes tells of the footer.
pub(crate) enum Footer<'a> {
    /// Not whole: this many bytes in all are needed.
    Needs(usize),
    /// The signature; the footer takes [`LENGTH_FIELD`] bytes more.
    Signature(&'a [u8]),
}

/// The footer at the front of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Footer<'_> {
    let mut cursor = Cursor::new(bytes);
    let Ok(len) = cursor.u16() else {
        return Footer::Needs(LENGTH_FIELD);
    };
    match cursor.take(usize::from(len)) {
        Ok(signature) => Footer::Signature(signature),
        Err(_) => Footer::Needs(LENGTH_FIELD + usize::from(len)),
    }
}
