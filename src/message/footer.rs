//! The footer: the signature over everything before it.
//!
//! Source: the ESDK specification, `data-format/message-footer.md`.

use manila_core::internal::codec::{Cursor, DoesNotFit, put_field};

/// Length in bytes of the field that holds the length of the signature.
pub(crate) const LENGTH_FIELD: usize = 2;

/// Appends a footer.
pub(crate) fn put(out: &mut Vec<u8>, signature: &[u8]) -> Result<(), DoesNotFit> {
    put_field(out, signature)
}

/// The result of reading a footer from bytes that may be incomplete.
pub(crate) enum Footer<'a> {
    /// The footer is incomplete: at least this many bytes are needed in total.
    Needs(usize),
    /// The signature. The footer is [`LENGTH_FIELD`] bytes longer.
    Signature(&'a [u8]),
}

/// Reads the footer at the start of `bytes`.
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
