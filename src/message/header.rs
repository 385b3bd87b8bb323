//! The header: what a message says of itself before anything is decrypted.
//!
//! Source: the ESDK specification, `data-format/message-header.md`.

use std::fmt;
use std::io::Read;
use std::ops::Deref;

use crate::context::EncryptionContext;
use crate::error::{Error, ErrorKind, Result};
use crate::materials::EncryptedDataKey;
use crate::message::codec::{Cursor, DoesNotFit, EndOfBytes, put_field, put_u16};
use crate::suite::{AlgorithmSuite, COMMITMENT_LEN, IV_LEN, TAG_LEN};

const TYPE_CUSTOMER_DATA: u8 = 0x80;
const CONTENT_UNFRAMED: u8 = 1;
const CONTENT_FRAMED: u8 = 2;

/// How much header a reader takes, so that a hostile one costs little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderLimits {
    /// The most encrypted data keys; 64 by default, the format holds 65,535.
    pub max_encrypted_data_keys: u16,
    /// The most bytes, tag included; 1 MiB by default.
    pub max_length: usize,
}

impl Default for HeaderLimits {
    fn default() -> Self {
        Self { max_encrypted_data_keys: 64, max_length: 1 << 20 }
    }
}

impl HeaderLimits {
    pub(crate) fn check_data_keys(&self, count: usize) -> Result<()> {
        let max = self.max_encrypted_data_keys;
        if count > usize::from(max) {
            let detail =
                format!("{count} encrypted data keys are over the limit of {max}: raise max_encrypted_data_keys");
            return Err(Error::new(ErrorKind::LimitExceeded, detail));
        }
        Ok(())
    }

    pub(crate) fn check_length(&self, length: usize) -> Result<()> {
        let max = self.max_length;
        if length > max {
            let detail = format!("the header is over the limit of {max} bytes: raise max_header_length");
            return Err(Error::new(ErrorKind::LimitExceeded, detail));
        }
        Ok(())
    }
}

/// Whether the body is cut into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// In frames of this many plaintext bytes; the final one may be shorter. Never 0.
    Framed(u32),
    /// In one piece, as early versions of the SDKs wrote. Read, never written.
    Unframed,
}

/// The fields of a header, shared by [`UnverifiedHeader`] and [`Header`].
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderFields {
    pub(crate) suite: AlgorithmSuite,
    pub(crate) message_id: Vec<u8>,
    pub(crate) encryption_context: EncryptionContext,
    /// As it stands in the message: the order of the pairs is the writer's.
    pub(crate) context_bytes: Vec<u8>,
    pub(crate) encrypted_data_keys: Vec<EncryptedDataKey>,
    pub(crate) content: Content,
    pub(crate) commitment: Option<[u8; COMMITMENT_LEN]>,
}

impl HeaderFields {
    /// The version of the message format, 1 or 2.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.suite.message_version()
    }

    /// The algorithm suite.
    #[must_use]
    pub fn suite(&self) -> AlgorithmSuite {
        self.suite
    }

    /// The random id of the message: 16 bytes in version 1, 32 in version 2.
    #[must_use]
    pub fn message_id(&self) -> &[u8] {
        &self.message_id
    }

    /// The pairs stored in the header. In signed suites the format's own `aws-crypto-public-key` is among them.
    #[must_use]
    pub fn encryption_context(&self) -> &EncryptionContext {
        &self.encryption_context
    }

    /// The data key, encrypted once for each key that may open the message.
    #[must_use]
    pub fn encrypted_data_keys(&self) -> &[EncryptedDataKey] {
        &self.encrypted_data_keys
    }

    /// Whether the body is framed, and the frame length.
    #[must_use]
    pub fn content(&self) -> Content {
        self.content
    }

    /// The header body in the layout of its version: what the tag authenticates.
    pub(crate) fn body_to_bytes(&self) -> Result<Vec<u8>, DoesNotFit> {
        let mut out = vec![self.version()];
        if self.version() == 1 {
            out.push(TYPE_CUSTOMER_DATA);
        }
        out.extend_from_slice(&self.suite.id().to_be_bytes());
        out.extend_from_slice(&self.message_id);
        put_field(&mut out, &self.context_bytes)?;
        put_u16(&mut out, self.encrypted_data_keys.len())?;
        for key in &self.encrypted_data_keys {
            put_field(&mut out, key.provider_id.as_bytes())?;
            put_field(&mut out, &key.provider_info)?;
            put_field(&mut out, &key.ciphertext)?;
        }
        let (content_type, frame_length) = match self.content {
            Content::Framed(length) => (CONTENT_FRAMED, length),
            Content::Unframed => (CONTENT_UNFRAMED, 0),
        };
        out.push(content_type);
        if self.version() == 1 {
            out.extend_from_slice(&[0, 0, 0, 0, V1_IV_LEN]);
        }
        out.extend_from_slice(&frame_length.to_be_bytes());
        out.extend_from_slice(self.commitment.as_ref().map_or(&[], |commitment| commitment));
        Ok(out)
    }
}

/// [`IV_LEN`] as the one byte that a version 1 header spends on it.
const V1_IV_LEN: u8 = 12;

impl fmt::Debug for HeaderFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Header")
            .field("version", &self.version())
            .field("suite", &self.suite)
            .field("encryption_context", &self.encryption_context)
            .field("encrypted_data_keys", &self.encrypted_data_keys)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

/// IV and tag behind the header body. Version 2 has no IV field: it is zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeaderAuthentication {
    pub(crate) iv: [u8; IV_LEN],
    pub(crate) tag: [u8; TAG_LEN],
}

impl HeaderAuthentication {
    pub(crate) const fn encoded_len(suite: AlgorithmSuite) -> usize {
        if suite.is_committing() { TAG_LEN } else { IV_LEN + TAG_LEN }
    }

    pub(crate) fn put(&self, suite: AlgorithmSuite, out: &mut Vec<u8>) {
        if !suite.is_committing() {
            out.extend_from_slice(&self.iv);
        }
        out.extend_from_slice(&self.tag);
    }

    fn read(suite: AlgorithmSuite, cursor: &mut Cursor<'_>) -> Result<Self, EndOfBytes> {
        let iv = if suite.is_committing() { [0; IV_LEN] } else { cursor.array()? };
        Ok(Self { iv, tag: cursor.array()? })
    }
}

/// A header as it stands in a message: well formed, but nobody has vouched for it yet.
///
/// For inspection without keys, and the first half of reading a stream: hand it to
/// [`Client::decryptor`](crate::Client::decryptor) for the rest. Anyone can write any header, so decide nothing
/// that matters on these fields; those of [`Header`] are authenticated.
#[derive(Clone, PartialEq, Eq)]
pub struct UnverifiedHeader {
    fields: HeaderFields,
    authentication: HeaderAuthentication,
    /// Header body and authentication as they were read.
    wire: Vec<u8>,
}

impl UnverifiedHeader {
    /// The header at the start of `message`, under the default limits.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] or [`ErrorKind::Truncated`] if the bytes do not begin with a whole header,
    /// [`ErrorKind::LimitExceeded`] if it is over a limit.
    pub fn parse(message: &[u8]) -> Result<Self> {
        Self::parse_within(message, HeaderLimits::default())
    }

    /// As [`parse`](Self::parse), under other limits.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_within(message: &[u8], limits: HeaderLimits) -> Result<Self> {
        Self::read_within(message, limits)
    }

    /// Reads a header from the start of a stream, and not a byte more.
    ///
    /// Reads field by field: give it something buffered.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and [`ErrorKind::Io`] if reading fails.
    pub fn read(reader: impl Read) -> Result<Self> {
        Self::read_within(reader, HeaderLimits::default())
    }

    /// As [`read`](Self::read), under other limits.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_within(mut reader: impl Read, limits: HeaderLimits) -> Result<Self> {
        let mut parser = HeaderParser::new(limits);
        let mut field = Vec::new();
        loop {
            field.resize(parser.wanted(), 0);
            reader.read_exact(&mut field).map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => {
                    Error::new(ErrorKind::Truncated, "the message ends inside its header")
                }
                _ => Error::from(error),
            })?;
            if let Some(header) = parser.push(&field)? {
                return Ok(header);
            }
        }
    }

    /// Length of the header in bytes: where the body begins.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(&self) -> usize {
        self.wire.len()
    }

    /// The header as it was read.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.wire
    }

    /// The header written anew from its fields: the same bytes as [`as_bytes`](Self::as_bytes).
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] never happens for a header that was read.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = self.fields.body_to_bytes().map_err(|_| header_does_not_fit())?;
        self.authentication.put(self.fields.suite, &mut out);
        Ok(out)
    }

    /// The header body: the wire bytes without the authentication behind them.
    pub(crate) fn body_bytes(&self) -> &[u8] {
        let end = self.wire.len().saturating_sub(HeaderAuthentication::encoded_len(self.fields.suite));
        self.wire.get(..end).unwrap_or_default()
    }

    pub(crate) fn authentication(&self) -> HeaderAuthentication {
        self.authentication
    }

    /// To be called when the tag has been verified, and only then.
    pub(crate) fn into_verified(self, authenticated_context: EncryptionContext) -> Header {
        Header { fields: self.fields, authenticated_context }
    }
}

impl Deref for UnverifiedHeader {
    type Target = HeaderFields;

    fn deref(&self) -> &HeaderFields {
        &self.fields
    }
}

impl fmt::Debug for UnverifiedHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnverifiedHeader").field(&self.fields).finish()
    }
}

/// A header whose tag has been verified under the message's key.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    fields: HeaderFields,
    authenticated_context: EncryptionContext,
}

impl Header {
    /// Every pair that the tag vouches for: those stored in the header and those that the reader gave besides.
    #[must_use]
    pub fn authenticated_context(&self) -> &EncryptionContext {
        &self.authenticated_context
    }
}

impl Deref for Header {
    type Target = HeaderFields;

    fn deref(&self) -> &HeaderFields {
        &self.fields
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fields.fmt(f)
    }
}

pub(crate) fn header_does_not_fit() -> Error {
    let detail = "the header does not fit: at most 65,535 data keys, of at most 65,535 bytes a field";
    Error::new(ErrorKind::LimitExceeded, detail)
}

/// Takes a header field by field as the bytes arrive. Each field is asked for by its exact length, so memory
/// grows with what arrived and never with what a count claims, and nothing is parsed twice.
struct HeaderParser {
    limits: HeaderLimits,
    wire: Vec<u8>,
    next: Field,
    suite: Option<AlgorithmSuite>,
    message_id: Vec<u8>,
    context_bytes: Vec<u8>,
    encryption_context: EncryptionContext,
    encrypted_data_keys: Vec<EncryptedDataKey>,
    data_keys_left: u16,
    provider_id: String,
    provider_info: Vec<u8>,
}

/// The field that comes next, with its length where that is known only from the field before.
enum Field {
    /// Version 1: version and type. Version 2: version and the suite's first byte.
    Start,
    Suite {
        version: u8,
        first: Option<u8>,
    },
    MessageId(usize),
    ContextLength,
    Context(u16),
    DataKeyCount,
    ProviderIdLength,
    ProviderId(u16),
    ProviderInfoLength,
    ProviderInfo(u16),
    CiphertextLength,
    Ciphertext(u16),
    /// All that follows the data keys, authentication included.
    Tail(usize),
}

impl HeaderParser {
    fn new(limits: HeaderLimits) -> Self {
        Self {
            limits,
            wire: Vec::new(),
            next: Field::Start,
            suite: None,
            message_id: Vec::new(),
            context_bytes: Vec::new(),
            encryption_context: EncryptionContext::empty(),
            encrypted_data_keys: Vec::new(),
            data_keys_left: 0,
            provider_id: String::new(),
            provider_info: Vec::new(),
        }
    }

    /// Length in bytes of the next field, which may be 0.
    fn wanted(&self) -> usize {
        match self.next {
            Field::Start => 2,
            Field::Suite { first, .. } => 2 - usize::from(first.is_some()),
            Field::MessageId(len) | Field::Tail(len) => len,
            Field::ContextLength
            | Field::DataKeyCount
            | Field::ProviderIdLength
            | Field::ProviderInfoLength
            | Field::CiphertextLength => 2,
            Field::Context(len) | Field::ProviderId(len) | Field::ProviderInfo(len) | Field::Ciphertext(len) => {
                usize::from(len)
            }
        }
    }

    /// Takes the next field, [`wanted`](Self::wanted) bytes of it. Returns the header behind the last one.
    fn push(&mut self, field: &[u8]) -> Result<Option<UnverifiedHeader>> {
        self.wire.extend_from_slice(field);
        let number = || {
            let bytes = <[u8; 2]>::try_from(field).map_err(|_| malformed("a length is cut short"))?;
            Ok::<u16, Error>(u16::from_be_bytes(bytes))
        };
        self.next = match self.next {
            Field::Start => start(field)?,
            Field::Suite { version, first } => {
                let suite = suite(version, first, field)?;
                self.suite = Some(suite);
                Field::MessageId(suite.message_id_len())
            }
            Field::MessageId(_) => {
                self.message_id = field.to_vec();
                Field::ContextLength
            }
            Field::ContextLength => Field::Context(number()?),
            Field::Context(_) => {
                self.encryption_context = EncryptionContext::from_bytes(field)?;
                self.context_bytes = field.to_vec();
                Field::DataKeyCount
            }
            Field::DataKeyCount => {
                self.data_keys_left = number()?;
                if self.data_keys_left == 0 {
                    return Err(malformed("the message has no encrypted data key"));
                }
                self.limits.check_data_keys(usize::from(self.data_keys_left))?;
                Field::ProviderIdLength
            }
            Field::ProviderIdLength => Field::ProviderId(number()?),
            Field::ProviderId(_) => {
                let id = str::from_utf8(field).map_err(|_| malformed("a key provider id is not UTF-8"))?;
                id.clone_into(&mut self.provider_id);
                Field::ProviderInfoLength
            }
            Field::ProviderInfoLength => Field::ProviderInfo(number()?),
            Field::ProviderInfo(_) => {
                self.provider_info = field.to_vec();
                Field::CiphertextLength
            }
            Field::CiphertextLength => Field::Ciphertext(number()?),
            Field::Ciphertext(_) => {
                self.encrypted_data_keys.push(EncryptedDataKey {
                    provider_id: std::mem::take(&mut self.provider_id),
                    provider_info: std::mem::take(&mut self.provider_info),
                    ciphertext: field.to_vec(),
                });
                self.data_keys_left = self.data_keys_left.saturating_sub(1);
                match self.data_keys_left {
                    0 => Field::Tail(tail_len(self.suite()?)),
                    _ => Field::ProviderIdLength,
                }
            }
            Field::Tail(_) => return self.finish(field).map(Some),
        };
        self.limits.check_length(self.wire.len().saturating_add(self.wanted()))?;
        Ok(None)
    }

    fn suite(&self) -> Result<AlgorithmSuite> {
        self.suite.ok_or_else(|| malformed("the header has no algorithm suite"))
    }

    fn finish(&mut self, tail: &[u8]) -> Result<UnverifiedHeader> {
        let suite = self.suite()?;
        let (content, commitment, authentication) = read_tail(suite, tail)?;
        Ok(UnverifiedHeader {
            fields: HeaderFields {
                suite,
                message_id: std::mem::take(&mut self.message_id),
                encryption_context: std::mem::take(&mut self.encryption_context),
                context_bytes: std::mem::take(&mut self.context_bytes),
                encrypted_data_keys: std::mem::take(&mut self.encrypted_data_keys),
                content,
                commitment,
            },
            authentication,
            wire: std::mem::take(&mut self.wire),
        })
    }
}

fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Malformed, detail)
}

fn start(field: &[u8]) -> Result<Field> {
    match field {
        [1, TYPE_CUSTOMER_DATA] => Ok(Field::Suite { version: 1, first: None }),
        [1, other] => Err(malformed(format!("0x{other:02x} is no message type of version 1"))),
        [2, first] => Ok(Field::Suite { version: 2, first: Some(*first) }),
        // What Base64 makes of 01 80, 02 04 and 02 05.
        [b'A', b'Y' | b'g'] => Err(malformed("this is Base64 text of a message: decode it to bytes first")),
        [version, ..] => Err(malformed(format!("not a message: {version} is no version of the format"))),
        [] => Err(malformed("not a message")),
    }
}

fn suite(version: u8, first: Option<u8>, field: &[u8]) -> Result<AlgorithmSuite> {
    let id = match (first, field) {
        (None, &[high, low]) | (Some(high), &[low]) => u16::from_be_bytes([high, low]),
        _ => return Err(malformed("the algorithm suite is cut short")),
    };
    let suite = AlgorithmSuite::from_id(id)?;
    if suite.message_version() != version {
        return Err(malformed(format!("algorithm suite {suite} does not belong to version {version} of the format")));
    }
    Ok(suite)
}

fn tail_len(suite: AlgorithmSuite) -> usize {
    let fields = if suite.is_committing() { 1 + 4 + COMMITMENT_LEN } else { 1 + 4 + 1 + 4 };
    fields + HeaderAuthentication::encoded_len(suite)
}

type Tail = (Content, Option<[u8; COMMITMENT_LEN]>, HeaderAuthentication);

fn read_tail(suite: AlgorithmSuite, tail: &[u8]) -> Result<Tail> {
    let cut = |_: EndOfBytes| malformed("the header is cut short");
    let mut cursor = Cursor::new(tail);
    let content_type = cursor.u8().map_err(cut)?;
    if suite.message_version() == 1 {
        if cursor.u32().map_err(cut)? != 0 {
            return Err(malformed("the reserved bytes of the header are not zero"));
        }
        let iv_len = cursor.u8().map_err(cut)?;
        if iv_len != V1_IV_LEN {
            return Err(malformed(format!("the header tells of an IV of {iv_len} bytes: only 12 are possible")));
        }
    }
    let content = match (content_type, cursor.u32().map_err(cut)?) {
        (CONTENT_FRAMED, 0) => return Err(malformed("framed content with a frame length of 0")),
        (CONTENT_FRAMED, length) => Content::Framed(length),
        (CONTENT_UNFRAMED, 0) => Content::Unframed,
        (CONTENT_UNFRAMED, _) => return Err(malformed("content that is not framed, with a frame length")),
        (other, _) => return Err(malformed(format!("{other} is no content type"))),
    };
    let commitment = if suite.is_committing() { Some(cursor.array().map_err(cut)?) } else { None };
    let authentication = HeaderAuthentication::read(suite, &mut cursor).map_err(cut)?;
    Ok((content, commitment, authentication))
}
