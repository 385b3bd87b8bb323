//! Reading a header.
//!
//! Source: the ESDK specification, `data-format/message-header.md`.

use std::borrow::Cow;
use std::io::{self, Read};

use std::sync::Arc;

use manila_core::internal::codec::{Cursor, EndOfBytes};
use manila_core::internal::crypto::IV_LEN;
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use crate::buffer;
use crate::message::header::{
    CONTENT_FRAMED, CONTENT_UNFRAMED, ContentType, EncryptedDataKey, HeaderAuthentication, HeaderFields, HeaderLimits,
    MessageId, TYPE_CUSTOMER_DATA, UnverifiedHeader, V1_IV_LEN,
};
use crate::suite::{AlgorithmSuite, COMMITMENT_LEN};

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
        let (mut parser, mut len) = (HeaderParser::new(limits), 0_usize);
        loop {
            let field = message.get(len..).and_then(|rest| rest.get(..parser.wanted())).ok_or_else(cut_short)?;
            len = len.saturating_add(field.len());
            if let Some(tail) = parser.push(field, len)? {
                return parser.finish(tail, message.get(..len).unwrap_or_default().into());
            }
        }
    }

    /// Reads a header from the start of a stream, and not a byte more.
    ///
    /// Reads field by field: give it something buffered. Where the source answers `WouldBlock` what was read is lost with
    /// that error; collect such a header in memory, and [`parse`](Self::parse) it until it is no longer truncated.
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
        Ok(HeaderReader::new(limits).read(&mut reader)?)
    }
}

/// Reads a header from a stream, and not a byte more.
pub(crate) struct HeaderReader {
    parser: HeaderParser,
    /// What was read, and of its last field what is still to be.
    wire: Vec<u8>,
    missing: usize,
}

impl HeaderReader {
    pub(crate) fn new(limits: HeaderLimits) -> Self {
        Self { parser: HeaderParser::new(limits), wire: Vec::with_capacity(USUAL_LEN), missing: 0 }
    }

    /// Reads to the end of the header. If it would block it can be called again.
    pub(crate) fn read(&mut self, reader: &mut impl Read) -> io::Result<UnverifiedHeader> {
        loop {
            if self.missing == 0 {
                self.missing = self.parser.wanted();
                self.wire.resize(self.wire.len().saturating_add(self.missing), 0);
            }
            while self.missing > 0 {
                let start = self.wire.len().saturating_sub(self.missing);
                let read = reader.read(self.wire.get_mut(start..).unwrap_or_default());
                match read.and_then(|count| buffer::check_count(count, self.missing)) {
                    Ok(0) => return Err(cut_short().into()),
                    Ok(count) => self.missing = self.missing.saturating_sub(count),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            let start = self.wire.len().saturating_sub(self.parser.wanted());
            let field = self.wire.get(start..).unwrap_or_default();
            if let Some(tail) = self.parser.push(field, self.wire.len())? {
                return Ok(self.parser.finish(tail, std::mem::take(&mut self.wire).into())?);
            }
        }
    }
}

/// Takes a header field by field as the bytes arrive. Each field is asked for by its exact length, so memory
/// grows with what arrived and never with what a count claims, and nothing is parsed twice.
struct HeaderParser {
    limits: HeaderLimits,
    next: Field,
    suite: Option<AlgorithmSuite>,
    message_id: MessageId,
    context_bytes: Vec<u8>,
    encryption_context: EncryptionContext,
    encrypted_data_keys: Vec<EncryptedDataKey>,
    data_keys_left: u16,
    provider_id: String,
    provider_info: Vec<u8>,
}

/// Bytes that most headers fit into.
const USUAL_LEN: usize = 512;

/// What comes next, with its length where that is known only from what came before. A field is taken along with the
/// length or count behind it.
enum Field {
    /// Version 1: version and type. Version 2: version and the suite's first byte.
    Start,
    Suite {
        version: u8,
        first: Option<u8>,
    },
    /// And the length of the context.
    MessageId(usize),
    /// And the number of data keys.
    Context(u16),
    ProviderIdLength,
    /// And the length of the provider information.
    ProviderId(u16),
    /// And the length of the ciphertext.
    ProviderInfo(u16),
    Ciphertext(u16),
    /// All that follows the data keys, authentication included.
    Tail(usize),
}

impl HeaderParser {
    fn new(limits: HeaderLimits) -> Self {
        Self {
            limits,
            next: Field::Start,
            suite: None,
            message_id: MessageId::new(),
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
            Field::MessageId(len) => len.saturating_add(2),
            Field::Context(len) | Field::ProviderId(len) | Field::ProviderInfo(len) => {
                usize::from(len).saturating_add(2)
            }
            Field::ProviderIdLength => 2,
            Field::Ciphertext(len) => usize::from(len),
            Field::Tail(len) => len,
        }
    }

    /// Takes the next field, [`wanted`](Self::wanted) bytes of it, up to which the header is `len` bytes long. Returns what
    /// the last one says.
    fn push(&mut self, field: &[u8], len: usize) -> Result<Option<Tail>> {
        self.next = match self.next {
            Field::Start => start(field)?,
            Field::Suite { version, first } => {
                let suite = suite(version, first, field)?;
                self.suite = Some(suite);
                Field::MessageId(suite.message_id_len())
            }
            Field::MessageId(_) => {
                let (message_id, context_len) = before_number(field)?;
                self.message_id.put(message_id);
                Field::Context(context_len)
            }
            Field::Context(_) => {
                let (context, data_keys) = before_number(field)?;
                self.encryption_context = EncryptionContext::from_bytes(context)?;
                self.context_bytes = context.to_vec();
                self.data_keys_left = data_keys;
                if self.data_keys_left == 0 {
                    return Err(malformed("the message has no encrypted data key"));
                }
                self.limits.check_data_keys(usize::from(self.data_keys_left))?;
                Field::ProviderIdLength
            }
            Field::ProviderIdLength => Field::ProviderId(before_number(field)?.1),
            Field::ProviderId(_) => {
                let (id, info_len) = before_number(field)?;
                let id = str::from_utf8(id).map_err(|_| malformed("a key provider id is not UTF-8"))?;
                id.clone_into(&mut self.provider_id);
                Field::ProviderInfo(info_len)
            }
            Field::ProviderInfo(_) => {
                let (info, ciphertext_len) = before_number(field)?;
                self.provider_info = info.to_vec();
                Field::Ciphertext(ciphertext_len)
            }
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
            Field::Tail(_) => return read_tail(self.suite()?, field).map(Some),
        };
        self.limits.check_length(len.saturating_add(self.wanted()))?;
        Ok(None)
    }

    fn suite(&self) -> Result<AlgorithmSuite> {
        self.suite.ok_or_else(|| malformed("the header has no algorithm suite"))
    }

    /// The header, all of whose fields were taken.
    fn finish(&mut self, (content, commitment, authentication): Tail, wire: Arc<[u8]>) -> Result<UnverifiedHeader> {
        let suite = self.suite()?;
        Ok(UnverifiedHeader {
            fields: Arc::new(HeaderFields {
                suite,
                message_id: self.message_id.clone(),
                encryption_context: std::mem::take(&mut self.encryption_context),
                context_bytes: std::mem::take(&mut self.context_bytes),
                encrypted_data_keys: Arc::new(std::mem::take(&mut self.encrypted_data_keys)),
                content,
                commitment,
            }),
            authentication,
            wire,
        })
    }
}

/// A field, and the length or count behind it.
fn before_number(field: &[u8]) -> Result<(&[u8], u16)> {
    let (field, number) = field.split_last_chunk().ok_or_else(|| malformed("a length is cut short"))?;
    Ok((field, u16::from_be_bytes(*number)))
}

fn cut_short() -> Error {
    Error::new(ErrorKind::Truncated, "the message ends inside its header")
}

fn malformed(detail: impl Into<Cow<'static, str>>) -> Error {
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

type Tail = (ContentType, Option<[u8; COMMITMENT_LEN]>, HeaderAuthentication);

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
        (CONTENT_FRAMED, length) => ContentType::Framed(length),
        (CONTENT_UNFRAMED, 0) => ContentType::NonFramed,
        (CONTENT_UNFRAMED, _) => return Err(malformed("content that is not framed, with a frame length")),
        (other, _) => return Err(malformed(format!("{other} is no content type"))),
    };
    let commitment = if suite.is_committing() { Some(cursor.array().map_err(cut)?) } else { None };
    let iv = if suite.is_committing() { [0; IV_LEN] } else { cursor.array().map_err(cut)? };
    let authentication = HeaderAuthentication { iv, tag: cursor.array().map_err(cut)? };
    Ok((content, commitment, authentication))
}
