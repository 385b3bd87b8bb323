//! The message format: headers, bodies and footers as bytes. This module knows neither keys nor streams.
//!
//! ```text
//! message   header, body, footer (in signed suites only)
//!
//! header    body of version 1                    body of version 2
//!             version 01                  1        version 02                  1
//!             type 80                     1        algorithm suite             2
//!             algorithm suite             2        message id                 32
//!             message id                 16        encryption context        2 + n
//!             encryption context        2 + n      encrypted data keys       2 + n
//!             encrypted data keys       2 + n      content type                1
//!             content type                1        frame length                4
//!             reserved, zero              4        key commitment             32
//!             IV length 0c                1
//!             frame length                4
//!           authentication                       authentication
//!             IV                         12        tag                        16
//!             tag                        16
//!
//! body      framed, content type 02              non-framed, content type 01 (read, never written)
//!             any number of regular frames         IV                         12
//!               sequence number           4        length                      8
//!               IV                       12        content                     n
//!               content        frame length        tag                        16
//!               tag                      16
//!             one final frame
//!               ffffffff                  4
//!               sequence number           4
//!               IV                       12
//!               length                    4
//!               content                   n
//!               tag                      16
//!
//! footer      signature length            2
//!             signature, DER              n
//! ```
//!
//! Lengths are in bytes, numbers are big-endian. Source: the ESDK specification, `data-format/`.

pub(crate) mod footer;
pub(crate) mod frame;
pub(crate) mod frame_map;
pub(crate) mod header;
pub(crate) mod header_parser;
pub(crate) mod summary;

use manila_core::{Error, ErrorKind};

/// Returns the error for a message that ends too early.
pub(crate) fn truncated() -> Error {
    Error::new(ErrorKind::Truncated, "the message ends before it is complete: part of it is missing")
}

/// Returns the error for a message that is followed by more bytes.
pub(crate) fn trailing_bytes() -> Error {
    Error::new(ErrorKind::TrailingBytes, "more bytes follow the end of the message: pass the bytes of one message only")
}
