//! [`Decryptor`]: decryption of one message. Together with `encrypt.rs`, the only place where keys and plaintext meet.
//!
//! Source: the ESDK specification, `client-apis/decrypt.md`.

pub(crate) mod frames;

use std::fmt;

use crate::buffer;
use crate::expected_context::StatedExpectation;
use crate::materials::{DataKey, DecryptionRequest};
use crate::message::footer::{self, Footer};
use crate::message::frame::{BodyShape, FINAL_FRAME, FrameKind, NextFrame};
use crate::message::header::{ContentType, Header, HeaderFields, UnverifiedHeader};
use crate::message::{trailing_bytes, truncated};
use crate::message_key::MessageKey;
use crate::settings::Settings;
use crate::threads::Workers;

use frames::FrameDecryptor;
use manila_core::internal::crypto::{Refused, TAG_LEN, Verifier};
use manila_core::internal::{PUBLIC_KEY, quoted};
use manila_core::{EncryptionContext, Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// A message that passed every check that needs no key. Its data key has not been requested yet.
pub(crate) struct PendingDecryption {
    /// Boxed, because it is large, many messages have none, and this struct is moved several times.
    verifier: Option<Box<Verifier>>,
    pub(crate) request: DecryptionRequest,
    shape: BodyShape,
    workers: Workers,
}

impl PendingDecryption {
    /// Checks a header against the settings and the expected context.
    pub(crate) fn new(header: UnverifiedHeader, expected: StatedExpectation, settings: &Settings) -> Result<Self> {
        settings.header_limits.check_data_keys(header.encrypted_data_keys().len())?;
        settings.header_limits.check_length(header.len())?;
        let shape =
            BodyShape::within(header.content_type(), settings.max_frame_length, settings.max_non_framed_length)?;
        settings.commitment_policy.check_decrypt(header.suite())?;
        if settings.unsigned_only && header.suite().is_signed() {
            let detail = format!(
                "suite {} is signed, but unsigned_only is set: use a client that accepts signed messages",
                header.suite()
            );
            return Err(Error::new(ErrorKind::PolicyViolation, detail));
        }
        let mut verifier = verifier(&header)?.map(Box::new);
        if let Some(verifier) = &mut verifier {
            verifier.update(header.as_bytes());
        }
        let request = DecryptionRequest::new(header, expected, settings.commitment_policy)?;
        Ok(Self { verifier, request, shape, workers: settings.workers.clone() })
    }

    /// Returns the length of the longest plaintext of a complete body of `body_len` bytes.
    pub(crate) fn plaintext_len(&self, body_len: usize) -> usize {
        self.shape.plaintext_len(body_len)
    }

    /// Refuses a non-framed body over the limit, if the body is available before the key is.
    pub(crate) fn check_body(&self, body: &[u8]) -> Result<()> {
        match self.shape.content {
            ContentType::NonFramed => self.shape.read_head(1, body).map(|_| ()),
            ContentType::Framed(_) => Ok(()),
        }
    }

    /// Derives the message's key, verifies the header under it, and starts decryption.
    pub(crate) fn into_decryptor(self, data_key: &DataKey) -> Result<Decryptor> {
        let mut key = MessageKey::default();
        key.derive(self.request.key_source(data_key))?;
        self.start(&key)
    }

    /// Verifies the header under the message's key, and starts decryption.
    pub(crate) fn start(self, key: &MessageKey) -> Result<Decryptor> {
        let header_len = self.request.header().len();
        let given = self.request.given_context().clone();
        let (key, header) = self.request.open(key).map_err(|error| Self::explain(&given, error))?;
        let frames = FrameDecryptor { key, message_id: header.message_id.clone(), shape: self.shape };
        Ok(Decryptor { header, header_len, frames, verifier: self.verifier, workers: self.workers })
    }

    /// Adds an explanation to a failure if the reader supplied pairs that the header omits, as they may be its cause.
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
            "the message's header lacks the expected encryption context keys {}, and the message does not decrypt with \
             their expected values: it was encrypted without them, with other values, or under another key",
            keys.join(", ")
        );
        Error::other(ErrorKind::ContextMismatch, detail, error)
    }
}

/// Returns the verifier of a signed suite, for the public key in the encryption context.
pub(crate) fn verifier(header: &HeaderFields) -> Result<Option<Verifier>> {
    match (header.suite().curve(), header.encryption_context().get(PUBLIC_KEY)) {
        (Some(curve), Some(encoded)) => Verifier::new(curve, encoded).map(Some),
        (None, None) => Ok(None),
        (Some(_), None) => {
            let detail = "the suite is signed, but the encryption context has no public key";
            Err(Error::new(ErrorKind::Malformed, detail))
        }
        (None, Some(_)) => {
            let detail = "the suite is not signed, but the encryption context has a public key";
            Err(Error::new(ErrorKind::Malformed, detail))
        }
    }
}

/// The key and verified header of one message that is to be read as a stream or at any offset.
///
/// Obtain one from [`Client::decryptor`](crate::Client::decryptor), for a header that was read before, and pass it the
/// source with [`reader`](Self::reader) or [`seekable`](Self::seekable). [`Client::open`](crate::Client::open) and
/// [`Client::open_seekable`](crate::Client::open_seekable) take both steps at once.
///
/// ```
/// use std::io::Read;
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
///
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let context = EncryptionContext::new([("tenant", "acme")])?;
/// # let message = client.encrypt(b"hello", &context)?;
/// let mut source = message.as_slice(); // or a `BufReader` of a file
/// let decryptor = client.decryptor(client.read_header(&mut source)?, &context)?;
/// let mut plaintext = String::new();
/// decryptor.reader(source).read_to_string(&mut plaintext)?;
/// assert_eq!(plaintext, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a decryptor does nothing until `reader` or `seekable` is called"]
pub struct Decryptor {
    header: Header,
    header_len: usize,
    frames: FrameDecryptor,
    verifier: Option<Box<Verifier>>,
    workers: Workers,
}

impl Decryptor {
    /// Returns the verified header.
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, ExpectedContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let message = client.encrypt(b"hello", &EncryptionContext::new([("tenant", "acme")])?)?;
    /// let header = client.read_header(message.as_slice())?;
    /// let decryptor = client.decryptor(header, ExpectedContext::any())?;
    /// assert_eq!(decryptor.header().encryption_context().get("tenant"), Some("acme"));
    /// # Ok::<(), manila::Error>(())
    /// ```
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns this decryptor with other workers than those of the client.
    pub(crate) fn on(self, workers: &Workers) -> Self {
        Self { workers: workers.clone(), ..self }
    }

    /// Returns the length of the header in bytes.
    pub(crate) fn header_len(&self) -> usize {
        self.header_len
    }

    pub(crate) fn shape(&self) -> BodyShape {
        self.frames.shape()
    }

    /// Returns the number of threads that the caller allows.
    pub(crate) fn threads(&self) -> usize {
        self.workers.threads
    }

    /// Returns the header and the frame decryptor. The signature will not be verified.
    pub(crate) fn into_parts(self) -> (Header, FrameDecryptor) {
        (self.header, self.frames)
    }

    /// Decrypts the regular frames at the start of `body`, of which the first is frame `first`, into `plaintext`, and
    /// returns their number: as many as are complete, fit, and authenticate. It stops at the first frame that does not
    /// authenticate; [`decrypt_next`](Self::decrypt_next) returns the error for that one.
    pub(crate) fn decrypt_regular(&mut self, first: u32, body: &[u8], plaintext: &mut [u8]) -> usize {
        self.frames.decrypt_regular(&self.workers, self.verifier.as_deref_mut(), first, body, plaintext)
    }

    /// Decrypts the frame at the start of `body`, which must be frame `sequence`, into the start of `plaintext`.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] if the frame is not complete.
    pub(crate) fn decrypt_next(&mut self, sequence: u32, body: &[u8], plaintext: &mut [u8]) -> Result<DecryptedFrame> {
        let NextFrame::Head(head) = self.frames.shape().read_head(sequence, body)? else {
            return Err(truncated());
        };
        let frame = body.get(..head.frame_len()?).ok_or_else(truncated)?;
        let sealed = frame.get(head.len()..).unwrap_or_default();
        let len = sealed.len().saturating_sub(TAG_LEN);
        let no_room = || Error::new(ErrorKind::Internal, "the plaintext buffer is too short: this is a bug in manila");
        self.frames.decrypt_frame(&head, sealed, plaintext.get_mut(..len).ok_or_else(no_room)?)?;
        self.verify(frame);
        Ok(DecryptedFrame { frame_len: frame.len(), plaintext_len: len, last: head.kind != FrameKind::Regular })
    }

    /// Adds an encrypted frame to the signature verification of signed suites. Frames must come in order.
    fn verify(&mut self, frame: &[u8]) {
        if let Some(verifier) = &mut self.verifier {
            verifier.update(frame);
        }
    }

    /// Verifies the signature of signed suites.
    pub(crate) fn verify_signature(&mut self, signature: &[u8]) -> Result<()> {
        let verifier = self.verifier.take();
        verifier.map_or(Ok(()), |verifier| verifier.finish(signature)).map_err(|Refused| {
            let detail = "the signature is not valid: the message was modified, or its signer did not write it";
            Error::new(ErrorKind::SignatureInvalid, detail)
        })
    }

    /// Decrypts a complete body and verifies it to its last byte. The plaintext replaces the contents of `plaintext`,
    /// which are unspecified after an error.
    pub(crate) fn decrypt_all(self, body: &[u8], plaintext: &mut Vec<u8>) -> Result<Header> {
        buffer::resize(plaintext, self.shape().plaintext_len(body.len()) as u64)?;
        let (header, len) = self.decrypt_to(body, plaintext)?;
        plaintext.truncate(len);
        Ok(header)
    }

    /// Decrypts like [`decrypt_all`](Self::decrypt_all), into the start of `plaintext`, and also returns the length of
    /// the plaintext. There must be room for as many bytes as [`BodyShape::plaintext_len`] returns.
    pub(crate) fn decrypt_to(mut self, body: &[u8], plaintext: &mut [u8]) -> Result<(Header, usize)> {
        let shape = self.frames.shape();
        let frames = self.decrypt_regular(1, body, plaintext);
        let mut read = frames.saturating_mul(shape.frame_len());
        let mut written = frames.saturating_mul(shape.frame_length());
        // For frames that have no room: the message is truncated, and they are verified before that is known.
        let mut excess = Zeroizing::new(Vec::new());
        let first = u32::try_from(frames).unwrap_or(u32::MAX).saturating_add(1);
        for sequence in first..=u32::MAX {
            let rest = body.get(read..).unwrap_or_default();
            let room = plaintext.get_mut(written..).unwrap_or_default();
            let most = rest.len().min(shape.frame_length());
            let room = match room.len() < most && !rest.starts_with(&FINAL_FRAME.to_be_bytes()) {
                true => {
                    buffer::resize(&mut excess, most as u64)?;
                    &mut excess
                }
                false => room,
            };
            let frame = self.decrypt_next(sequence, rest, room)?;
            (read, written) = (read.saturating_add(frame.frame_len), written.saturating_add(frame.plaintext_len));
            if frame.last {
                break;
            }
        }
        self.check_end(body.get(read..).unwrap_or_default())?;
        if excess.is_empty() { Ok((self.header, written)) } else { Err(truncated()) }
    }

    /// Decrypts like [`decrypt_all`](Self::decrypt_all), in place: the body at `start` in `message`.
    pub(crate) fn decrypt_in_place(mut self, message: &mut Vec<u8>, start: usize) -> Result<Header> {
        let (mut read, mut written) = (start, 0_usize);
        for sequence in 1..=u32::MAX {
            let body = message.get_mut(read..).unwrap_or_default();
            let NextFrame::Head(head) = self.frames.shape().read_head(sequence, body)? else {
                return Err(truncated());
            };
            let frame = body.get_mut(..head.frame_len()?).ok_or_else(truncated)?;
            let frame_len = frame.len();
            self.verify(frame);
            let content = self.frames.decrypt_frame_in_place(&head, frame.get_mut(head.len()..).unwrap_or_default())?;
            let from = read.saturating_add(head.len());
            let to = from.saturating_add(content);
            // Plaintext moves towards the start, over headers and tags, so it never overwrites what is still to be
            // read.
            message.copy_within(from..to, written);
            (read, written) = (read.saturating_add(frame_len), written.saturating_add(content));
            if head.kind != FrameKind::Regular {
                break;
            }
        }
        self.check_end(message.get(read..).unwrap_or_default())?;
        message.truncate(written);
        Ok(self.header)
    }

    /// Checks what follows the final frame: in signed suites the signature, and nothing else.
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

/// The lengths of a frame that was decrypted.
pub(crate) struct DecryptedFrame {
    pub(crate) frame_len: usize,
    pub(crate) plaintext_len: usize,
    /// True if no frame follows.
    pub(crate) last: bool,
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decryptor").field("header", &self.header).finish_non_exhaustive()
    }
}
