//! Decryption of one message: keys and bytes meet here.
//!
//! Source: the ESDK specification, `client-apis/decrypt.md`.

pub(crate) mod frames;

use std::fmt;

use crate::buffer;
use crate::expected_context::ExpectedContext;
use crate::materials::{DataKey, DecryptionRequest};
use crate::message::footer::{self, Footer};
use crate::message::frame::{BodyShape, FrameKind, NextFrame};
use crate::message::header::{ContentType, Header, HeaderFields, UnverifiedHeader};
use crate::message::{trailing_bytes, truncated};
use crate::settings::Settings;

use frames::FrameOpener;
use manila_core::internal::crypto::{Refused, TAG_LEN, Verifier};
use manila_core::internal::{PUBLIC_KEY, quoted};
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

/// A message whose header holds what the reader expects, and whose data key is still to be asked for.
pub(crate) struct Unopened {
    /// Behind a pointer, as few messages have one and all are moved about.
    verifier: Option<Box<Verifier>>,
    pub(crate) request: DecryptionRequest,
    shape: BodyShape,
    threads: usize,
}

impl Unopened {
    /// Everything that can be refused without a key.
    pub(crate) fn new(header: UnverifiedHeader, expected: ExpectedContext, settings: &Settings) -> Result<Self> {
        settings.header_limits.check_data_keys(header.encrypted_data_keys().len())?;
        settings.header_limits.check_length(header.len())?;
        let shape =
            BodyShape::within(header.content_type(), settings.max_frame_length, settings.max_non_framed_length)?;
        settings.commitment_policy.check_decrypt(header.suite())?;
        if settings.unsigned_only && header.suite().is_signed() {
            let detail =
                format!("suite {} signs its messages, and this client takes unsigned ones alone", header.suite());
            return Err(Error::new(ErrorKind::PolicyViolation, detail));
        }
        let mut verifier = verifier(&header)?.map(Box::new);
        if let Some(verifier) = &mut verifier {
            verifier.update(header.as_bytes());
        }
        let request = DecryptionRequest::new(header, expected, settings.commitment_policy)?;
        Ok(Self { verifier, request, shape, threads: settings.threads })
    }

    /// Refuses a non-framed body over the limit, where the body is at hand before the key is.
    pub(crate) fn check_body(&self, body: &[u8]) -> Result<()> {
        match self.shape.content {
            ContentType::NonFramed => self.shape.read_head(1, body).map(|_| ()),
            ContentType::Framed(_) => Ok(()),
        }
    }

    /// Verifies the header under the data key.
    pub(crate) fn open(self, data_key: &DataKey) -> Result<Decryptor> {
        let header_len = self.request.header().len();
        let (key, header) = self.request.open(data_key)?;
        let opener = FrameOpener { key, message_id: header.message_id.clone(), shape: self.shape };
        Ok(Decryptor { header, header_len, opener, verifier: self.verifier, threads: self.threads })
    }

    /// What a failure to open means where the reader gave pairs that the header lacks: they may be why.
    pub(crate) fn explain(given: &EncryptionContext, error: Error) -> Error {
        let was_tried = match error.kind() {
            ErrorKind::AuthenticationFailed => true,
            ErrorKind::NoUsableDataKey | ErrorKind::KeyRefused => !error.causes().is_empty(),
            _ => false,
        };
        if given.is_empty() || !was_tried {
            return error;
        }
        let keys: Vec<_> = given.iter().map(|(key, _)| quoted(key)).collect();
        let detail = format!(
            "the message's header lacks the expected encryption context keys {}: it was sealed without them, with \
             other values, or under another key",
            keys.join(", ")
        );
        Error::other(ErrorKind::ContextMismatch, detail, error)
    }
}

/// The verifier of signed suites, under the public key that the context carries.
pub(crate) fn verifier(header: &HeaderFields) -> Result<Option<Verifier>> {
    match (header.suite().curve(), header.encryption_context().get(PUBLIC_KEY)) {
        (Some(curve), Some(encoded)) => Verifier::new(curve, encoded).map(Some),
        (None, None) => Ok(None),
        (Some(_), None) => {
            let detail = "the suite signs, but the encryption context has no public key";
            Err(Error::new(ErrorKind::Malformed, detail))
        }
        (None, Some(_)) => {
            let detail = "the suite does not sign, but the encryption context has a public key";
            Err(Error::new(ErrorKind::Malformed, detail))
        }
    }
}

/// Everything that opens one message, its header verified.
///
/// Made by [`Client::decryptor`](crate::Client::decryptor); [`reader`](Self::reader) and
/// [`seekable`](Self::seekable) are what to do with it.
#[must_use = "a decryptor does nothing until read from"]
pub struct Decryptor {
    header: Header,
    header_len: usize,
    opener: FrameOpener,
    verifier: Option<Box<Verifier>>,
    threads: usize,
}

impl Decryptor {
    /// The verified header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Length of the header in bytes.
    pub(crate) fn header_len(&self) -> usize {
        self.header_len
    }

    pub(crate) fn opener(&self) -> &FrameOpener {
        &self.opener
    }

    /// How many threads the caller allows.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// The header, and what opens frames without heed to the signature.
    pub(crate) fn into_parts(self) -> (Header, FrameOpener) {
        (self.header, self.opener)
    }

    /// Opens the regular frames at the front of `body`, of which the first is frame `first`, one behind the other into
    /// `plaintext`, and returns how many: as many as there are, have room, and authenticate. Those before the first
    /// that does not are opened; what is wrong with that one, [`open_next`](Self::open_next) tells.
    pub(crate) fn open_regular(&mut self, first: u32, body: &[u8], plaintext: &mut [u8]) -> usize {
        self.opener.open_regular(self.threads, self.verifier.as_deref_mut(), first, body, plaintext)
    }

    /// Opens the frame at the front of `body`, which must be frame `sequence`, into the front of `plaintext`.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] if the frame is not whole.
    pub(crate) fn open_next(&mut self, sequence: u32, body: &[u8], plaintext: &mut [u8]) -> Result<OpenedFrame> {
        let NextFrame::Head(head) = self.opener.shape().read_head(sequence, body)? else {
            return Err(truncated());
        };
        let frame = body.get(..head.frame_len()?).ok_or_else(truncated)?;
        let sealed = frame.get(head.len()..).unwrap_or_default();
        let len = sealed.len().saturating_sub(TAG_LEN);
        let no_room = || Error::new(ErrorKind::Internal, "no room for the plaintext of a frame");
        self.opener.decrypt_frame(&head, sealed, plaintext.get_mut(..len).ok_or_else(no_room)?)?;
        self.verify(frame);
        Ok(OpenedFrame { frame_len: frame.len(), plaintext_len: len, last: head.kind != FrameKind::Regular })
    }

    /// Feeds a frame, in order and as it stands in the message, to the verification of signed suites.
    fn verify(&mut self, frame: &[u8]) {
        if let Some(verifier) = &mut self.verifier {
            verifier.update(frame);
        }
    }

    /// Verifies the signature of signed suites.
    pub(crate) fn verify_signature(&mut self, signature: &[u8]) -> Result<()> {
        let verifier = self.verifier.take();
        verifier.map_or(Ok(()), |verifier| verifier.finish(signature)).map_err(|Refused| {
            let detail = "the signature is wrong: the message was changed, or not written by its signer";
            Error::new(ErrorKind::SignatureInvalid, detail)
        })
    }

    /// The plaintext of a whole body, verified to its last byte, in place of what `plaintext` holds. After an error
    /// that is of no meaning.
    pub(crate) fn decrypt_all(mut self, body: &[u8], plaintext: &mut Vec<u8>) -> Result<Header> {
        buffer::fit(plaintext, self.opener.most_plaintext(body.len()) as u64)?;
        let shape = self.opener.shape();
        let frames = self.open_regular(1, body, plaintext);
        let mut sealed = frames.saturating_mul(shape.frame_len());
        let mut opened = frames.saturating_mul(shape.frame_length());
        let first = u32::try_from(frames).unwrap_or(u32::MAX).saturating_add(1);
        for sequence in first..=u32::MAX {
            let (rest, out) = (body.get(sealed..), plaintext.get_mut(opened..));
            let frame = self.open_next(sequence, rest.unwrap_or_default(), out.unwrap_or_default())?;
            (sealed, opened) = (sealed.saturating_add(frame.frame_len), opened.saturating_add(frame.plaintext_len));
            if frame.last {
                break;
            }
        }
        self.check_end(body.get(sealed..).unwrap_or_default())?;
        plaintext.truncate(opened);
        Ok(self.header)
    }

    /// As [`decrypt_all`](Self::decrypt_all), of the body at `start` in `message`, in its own place.
    pub(crate) fn decrypt_in_place(mut self, message: &mut Vec<u8>, start: usize) -> Result<Header> {
        let (mut sealed, mut opened) = (start, 0_usize);
        for sequence in 1..=u32::MAX {
            let body = message.get_mut(sealed..).unwrap_or_default();
            let NextFrame::Head(head) = self.opener.shape().read_head(sequence, body)? else {
                return Err(truncated());
            };
            let frame = body.get_mut(..head.frame_len()?).ok_or_else(truncated)?;
            let frame_len = frame.len();
            self.verify(frame);
            let content = self.opener.decrypt_frame_in_place(&head, frame.get_mut(head.len()..).unwrap_or_default())?;
            let from = sealed.saturating_add(head.len());
            let to = from.saturating_add(content);
            // In front of it are the heads and tags of all that came before, so that it fits.
            message.copy_within(from..to, opened);
            (sealed, opened) = (sealed.saturating_add(frame_len), opened.saturating_add(content));
            if head.kind != FrameKind::Regular {
                break;
            }
        }
        self.check_end(message.get(sealed..).unwrap_or_default())?;
        message.truncate(opened);
        Ok(self.header)
    }

    /// What must follow the final frame: the signature of signed suites, and nothing.
    fn check_end(&mut self, mut rest: &[u8]) -> Result<()> {
        if self.header.suite().is_signed() {
            let Footer::Signature(signature) = footer::read(rest) else {
                return Err(truncated());
            };
            self.verify_signature(signature)?;
            rest = rest.get(footer::LENGTH_FIELD + signature.len()..).unwrap_or_default();
        }
        if rest.is_empty() { Ok(()) } else { Err(trailing_bytes()) }
    }
}

/// A frame that was opened.
pub(crate) struct OpenedFrame {
    pub(crate) frame_len: usize,
    pub(crate) plaintext_len: usize,
    /// Whether no frame follows.
    pub(crate) last: bool,
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decryptor").field("header", &self.header).finish_non_exhaustive()
    }
}
