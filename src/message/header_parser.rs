//! Header parsing: from complete messages and from streams, within limits.
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
    CONTENT_FRAMED, CONTENT_NON_FRAMED, ContentType, EncryptedDataKey, HeaderAuthentication, HeaderFields,
    HeaderLimits, MessageId, TYPE_CUSTOMER_DATA, UnverifiedHeader, V1_IV_LEN,
};
use crate::suite::{AlgorithmSuite, COMMITMENT_LEN};

impl UnverifiedHeader {
    /// Parses the header at the start of `message`, within the default limits.
    ///
    /// ```
    /// use manila::{ErrorKind, UnverifiedHeader};
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let message = client.encrypt(b"hello", &EncryptionContext::new([("tenant", "acme")])?)?;
    ///
    /// let header = UnverifiedHeader::parse(&message)?;
    /// assert_eq!(header.encryption_context().get("tenant"), Some("acme"));
    /// assert_eq!(UnverifiedHeader::parse(&message[..50]).unwrap_err().kind(), ErrorKind::Truncated);
    /// assert_eq!(UnverifiedHeader::parse(b"hello").unwrap_err().kind(), ErrorKind::Malformed);
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] or [`ErrorKind::Truncated`] if the bytes do not start with a complete header,
    /// [`ErrorKind::LimitExceeded`] if the header is over a limit.
    pub fn parse(message: &[u8]) -> Result<Self> {
        Self::parse_within(message, HeaderLimits::default())
    }

    /// Parses like [`parse`](Self::parse), within other limits.
    ///
    /// # Errors
    /// The same as [`parse`](Self::parse).
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

    /// Reads a header from the start of a stream, and not one byte more.
    ///
    /// It reads field by field, so give it a buffered reader. If the source returns `WouldBlock`, everything read so
    /// far is lost with that error: collect such a header in memory, and [`parse`](Self::parse) it until it is no
    /// longer truncated.
    ///
    /// ```
    /// use std::io::BufReader;
    ///
    /// use manila::UnverifiedHeader;
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
    ///
    /// let mut source = BufReader::new(message.as_slice()); // or of a `File`
    /// let header = UnverifiedHeader::read(&mut source)?;
    /// let summary = header.summarize_body(source)?;
    /// assert_eq!((summary.frames(), summary.plaintext_len()), (1, 5));
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// The same as [`parse`](Self::parse), and [`ErrorKind::Io`] if reading fails.
    pub fn read(reader: impl Read) -> Result<Self> {
        Self::read_within(reader, HeaderLimits::default())
    }

    /// Reads like [`read`](Self::read), within other limits.
    ///
    /// # Errors
    /// The same as [`read`](Self::read).
    pub fn read_within(mut reader: impl Read, limits: HeaderLimits) -> Result<Self> {
        Ok(HeaderReader::new(limits).read(&mut reader)?)
    }
}

/// Reads a header from a stream, and not one byte more.
pub(crate) struct HeaderReader {
    parser: HeaderParser,
    /// The bytes read so far, and space for the rest of the current field.
    wire: Vec<u8>,
    /// The number of bytes of the current field that are still to be read.
    missing: usize,
}

impl HeaderReader {
    pub(crate) fn new(limits: HeaderLimits) -> Self {
        Self { parser: HeaderParser::new(limits), wire: Vec::with_capacity(USUAL_LEN), missing: 0 }
    }

    /// Reads to the end of the header. If it returns `WouldBlock`, it can be called again.
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

/// Parses a header field by field as its bytes arrive. It asks for each field with its exact length, so memory grows
/// with the bytes that have arrived, never with a count that the header claims, and no byte is parsed twice.
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

/// Length in bytes that most headers do not exceed.
const USUAL_LEN: usize = 512;

/// The next field, with its length if only earlier fields determine it. Each field is read together with the length or
/// count that follows it.
enum Field {
    /// In version 1, the version and type; in version 2, the version and the first byte of the suite.
    Start,
    Suite {
        version: u8,
        first: Option<u8>,
    },
    /// With the length of the encryption context.
    MessageId(usize),
    /// With the number of encrypted data keys.
    Context(u16),
    ProviderIdLength,
    /// With the length of the provider information.
    ProviderId(u16),
    /// With the length of the ciphertext.
    ProviderInfo(u16),
    Ciphertext(u16),
    /// Everything after the encrypted data keys, including the authentication.
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

    /// Returns the length of the next field in bytes, which may be 0.
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

    /// Parses the next field, which must be [`wanted`](Self::wanted) bytes. The header is `len` bytes long up to the
    /// end of this field. Returns the contents of the last field.
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
                    return Err(malformed("the header has no encrypted data key"));
                }
                self.limits.check_data_keys(usize::from(self.data_keys_left))?;
                Field::ProviderIdLength
            }
            Field::ProviderIdLength => Field::ProviderId(before_number(field)?.1),
            Field::ProviderId(_) => {
                let (id, info_len) = before_number(field)?;
                let id = str::from_utf8(id).map_err(|_| malformed("a key provider id is not valid UTF-8"))?;
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

    /// Returns the header once all of its fields have been parsed.
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

/// Splits a field from the length or count that follows it.
fn before_number(field: &[u8]) -> Result<(&[u8], u16)> {
    let (field, number) = field.split_last_chunk().ok_or_else(|| malformed("a length in the header is incomplete"))?;
    Ok((field, u16::from_be_bytes(*number)))
}

fn cut_short() -> Error {
    Error::new(ErrorKind::Truncated, "the message ends within its header: part of it is missing")
}

fn malformed(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Malformed, detail)
}

fn start(field: &[u8]) -> Result<Field> {
    match field {
        [1, TYPE_CUSTOMER_DATA] => Ok(Field::Suite { version: 1, first: None }),
        [1, other] => Err(malformed(format!("0x{other:02x} is not a valid message type"))),
        [2, first] => Ok(Field::Suite { version: 2, first: Some(*first) }),
        // The Base64 encodings of 01 80, 02 04 and 02 05.
        [b'A', b'Y' | b'g'] => Err(malformed("the message is Base64 text: decode it to bytes first")),
        [version, ..] => Err(malformed(format!("the bytes are not a message: {version} is not a valid version"))),
        [] => Err(malformed("the bytes are not a message")),
    }
}

fn suite(version: u8, first: Option<u8>, field: &[u8]) -> Result<AlgorithmSuite> {
    let id = match (first, field) {
        (None, &[high, low]) | (Some(high), &[low]) => u16::from_be_bytes([high, low]),
        _ => return Err(malformed("the algorithm suite in the header is incomplete")),
    };
    let suite = AlgorithmSuite::from_id(id)?;
    if suite.message_version() != version {
        return Err(malformed(format!("algorithm suite {suite} is not valid in version {version} of the format")));
    }
    Ok(suite)
}

fn tail_len(suite: AlgorithmSuite) -> usize {
    let fields = if suite.is_committing() { 1 + 4 + COMMITMENT_LEN } else { 1 + 4 + 1 + 4 };
    fields + HeaderAuthentication::encoded_len(suite)
}

type Tail = (ContentType, Option<[u8; COMMITMENT_LEN]>, HeaderAuthentication);

fn read_tail(suite: AlgorithmSuite, tail: &[u8]) -> Result<Tail> {
    let cut = |_: EndOfBytes| malformed("the header is incomplete");
    let mut cursor = Cursor::new(tail);
    let content_type = cursor.u8().map_err(cut)?;
    if suite.message_version() == 1 {
        if cursor.u32().map_err(cut)? != 0 {
            return Err(malformed("the reserved bytes of the header are not zero"));
        }
        let iv_len = cursor.u8().map_err(cut)?;
        if iv_len != V1_IV_LEN {
            return Err(malformed(format!("the IV length in the header is {iv_len}, but must be 12")));
        }
    }
    let content = match (content_type, cursor.u32().map_err(cut)?) {
        (CONTENT_FRAMED, 0) => return Err(malformed("the header declares framed content with a frame length of 0")),
        (CONTENT_FRAMED, length) => ContentType::Framed(length),
        (CONTENT_NON_FRAMED, 0) => ContentType::NonFramed,
        (CONTENT_NON_FRAMED, _) => return Err(malformed("the header declares non-framed content with a frame length")),
        (other, _) => return Err(malformed(format!("{other} is not a valid content type"))),
    };
    let commitment = if suite.is_committing() { Some(cursor.array().map_err(cut)?) } else { None };
    let iv = if suite.is_committing() { [0; IV_LEN] } else { cursor.array().map_err(cut)? };
    let authentication = HeaderAuthentication { iv, tag: cursor.array().map_err(cut)? };
    Ok((content, commitment, authentication))
}
