//! Decryption of one message: keys and bytes meet here.
//!
//! Source: the ESDK specification, `client-apis/decrypt.md`.

use std::fmt;

use crate::context::{EncryptionContext, ExpectedContext, PUBLIC_KEY};
use crate::crypto::{self, AeadKey, Refused, Verifier};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::materials::{DataKey, DecryptionRequest};
use crate::message::footer::{self, Footer};
use crate::message::frame::{BodyShape, FrameHead, FrameKind, NextFrame, REGULAR_OVERHEAD};
use crate::message::header::{Content, Header, HeaderFields, UnverifiedHeader};
use crate::message::survey::{trailing_bytes, truncated};
use crate::settings::Settings;
use crate::suite::TAG_LEN;

/// A message whose header holds what the reader expects, and whose data key is still to be asked for.
pub(crate) struct Unopened {
    header: UnverifiedHeader,
    verifier: Option<Verifier>,
    pub(crate) request: DecryptionRequest,
    shape: BodyShape,
}

impl Unopened {
    /// Everything that can be refused without a key.
    pub(crate) fn new(header: UnverifiedHeader, expected: ExpectedContext, settings: &Settings) -> Result<Self> {
        settings.header_limits.check_data_keys(header.encrypted_data_keys().len())?;
        settings.header_limits.check_length(header.len())?;
        check_frame_length(header.content(), settings.max_frame_length)?;
        settings.commitment_policy.check_decrypt(header.suite())?;
        if settings.unsigned_only && header.suite().is_signed() {
            let detail =
                format!("suite {} signs its messages, and this client takes unsigned ones alone", header.suite());
            return Err(Error::new(ErrorKind::PolicyViolation, detail));
        }
        let mut verifier = verifier(&header)?;
        if let Some(verifier) = &mut verifier {
            verifier.update(header.as_bytes());
        }
        let request = DecryptionRequest::new(&header, expected, settings.commitment_policy)?;
        let shape = BodyShape { content: header.content(), max_unframed_length: settings.max_unframed_length };
        Ok(Self { header, verifier, request, shape })
    }

    /// Refuses an unframed body over the limit, where the body is at hand before the key is.
    pub(crate) fn check_body(&self, body: &[u8]) -> Result<()> {
        match self.shape.content {
            Content::Unframed => self.shape.read_head(1, body).map(|_| ()),
            Content::Framed(_) => Ok(()),
        }
    }

    /// Verifies the header under the data key.
    pub(crate) fn open(self, data_key: &DataKey) -> Result<Decryptor> {
        let header = self.header;
        let derived = data_key.derive(header.suite(), header.message_id())?;
        if let (Some(committed), Some(derived)) = (header.commitment, derived.commitment)
            && !crypto::equal(&committed, &derived)
        {
            let detail = "the data key is not the one that the message commits to: the message was changed or forged";
            return Err(Error::new(ErrorKind::CommitmentMismatch, detail));
        }
        let key = AeadKey::new(&derived.key)?;
        let given = self.request.given_context().to_bytes()?;
        let aad = [header.body_bytes(), &given].concat();
        let authentication = header.authentication();
        key.open(authentication.iv, &aad, &[], &authentication.tag, &mut []).map_err(|Refused| {
            let detail = "the header's authentication tag is wrong: the header was changed, or its encryption \
                          context is not the one it was sealed with";
            Error::new(ErrorKind::AuthenticationFailed, detail)
        })?;
        let header = header.into_verified(self.request.encryption_context().clone());
        Ok(Decryptor { header, key, shape: self.shape, verifier: self.verifier })
    }

    /// What a failure to open means where the reader gave pairs that the header lacks: they may be why.
    pub(crate) fn explain(given: &EncryptionContext, error: Error) -> Error {
        let was_tried = match error.kind() {
            ErrorKind::AuthenticationFailed => true,
            ErrorKind::WrongKey | ErrorKind::KeyRefused => !error.causes().is_empty(),
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

fn check_frame_length(content: Content, max: u32) -> Result<()> {
    match content {
        Content::Framed(length) if length > max => {
            let detail = format!("frames of {length} bytes are over the limit of {max}: raise max_frame_length");
            Err(Error::new(ErrorKind::LimitExceeded, detail))
        }
        _ => Ok(()),
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
/// Made by [`Client::decryptor`](crate::Client::decryptor); [`reader`](Self::reader) is what to do with it.
#[must_use = "a decryptor does nothing until read from"]
pub struct Decryptor {
    header: Header,
    key: AeadKey,
    shape: BodyShape,
    verifier: Option<Verifier>,
}

impl Decryptor {
    /// The verified header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn shape(&self) -> BodyShape {
        self.shape
    }

    /// Opens the frame of `head` from `sealed`, content and tag, into `plaintext`, which is as long as the content.
    ///
    /// The one way to open a frame, whichever way the message takes. After an error `plaintext` is zero.
    pub(crate) fn decrypt_frame(&self, head: &FrameHead, sealed: &[u8], plaintext: &mut [u8]) -> Result<()> {
        let (content, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or_else(truncated)?;
        let aad = head.aad(self.header.message_id());
        self.key.open(head.iv, &aad, content, tag, plaintext).map_err(|Refused| {
            let detail = match head.kind {
                FrameKind::Unframed => "the body does not authenticate: the message was changed".to_owned(),
                _ => format!("frame {} does not authenticate: the message was changed", head.sequence),
            };
            Error::new(ErrorKind::AuthenticationFailed, detail)
        })
    }

    /// Feeds frames, in order and as they stand in the message, to the verification of signed suites.
    pub(crate) fn verify(&mut self, frame: &[u8]) {
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

    /// The plaintext of a whole body, verified to its last byte.
    pub(crate) fn decrypt_all(mut self, body: &[u8]) -> Result<(Vec<u8>, Header)> {
        let mut plaintext = vec![0; self.most_plaintext(body.len())];
        let mut opened = 0_usize;
        let mut rest = body;
        for sequence in 1..=u32::MAX {
            let NextFrame::Head(head) = self.shape.read_head(sequence, rest)? else {
                return Err(truncated());
            };
            let (frame, behind) =
                (head.frame_len()).and_then(|len| rest.split_at_checked(len)).ok_or_else(truncated)?;
            let sealed = frame.get(head.len()..).unwrap_or_default();
            let end = opened.saturating_add(sealed.len().saturating_sub(TAG_LEN));
            let out = plaintext.get_mut(opened..end).ok_or_else(truncated)?;
            self.decrypt_frame(&head, sealed, out)?;
            self.verify(frame);
            (opened, rest) = (end, behind);
            if head.kind != FrameKind::Regular {
                break;
            }
        }
        if self.header.suite().is_signed() {
            let Footer::Signature(signature) = footer::read(rest) else {
                return Err(truncated());
            };
            self.verify_signature(signature)?;
            rest = rest.get(footer::LENGTH_FIELD + signature.len()..).unwrap_or_default();
        }
        if !rest.is_empty() {
            return Err(trailing_bytes());
        }
        plaintext.truncate(opened);
        Ok((plaintext, self.header))
    }

    /// The most plaintext that a body of `body_len` bytes can hold.
    fn most_plaintext(&self, body_len: usize) -> usize {
        let overhead = match self.shape.content {
            Content::Unframed => 0,
            Content::Framed(length) => {
                let frame = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(REGULAR_OVERHEAD);
                (body_len / frame).saturating_mul(REGULAR_OVERHEAD)
            }
        };
        body_len.saturating_sub(overhead)
    }
}

impl fmt::Debug for Decryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decryptor").field("header", &self.header).finish_non_exhaustive()
    }
}
