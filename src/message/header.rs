//! The header: types, limits and serialization.
//!
//! Source: the ESDK specification, `data-format/message-header.md`.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use manila_core::internal::codec::{DoesNotFit, ShortBytes, put_field, put_u16};
use manila_core::internal::crypto::{IV_LEN, TAG_LEN};
use manila_core::{EncryptionContext, Error, ErrorKind, Result};

use crate::suite::{AlgorithmSuite, COMMITMENT_LEN};

pub(super) const TYPE_CUSTOMER_DATA: u8 = 0x80;
pub(super) const CONTENT_NON_FRAMED: u8 = 1;
pub(super) const CONTENT_FRAMED: u8 = 2;

/// Limits for the header that a reader accepts, so that a malicious one costs little to refuse.
///
/// ```
/// use manila::{ErrorKind, HeaderLimits, UnverifiedHeader};
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
///
/// let mut limits = HeaderLimits::default();
/// UnverifiedHeader::parse_within(&message, limits)?;
/// limits.max_length = 100;
/// let error = UnverifiedHeader::parse_within(&message, limits).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::LimitExceeded);
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderLimits {
    /// The maximum number of encrypted data keys: 64 by default. The format allows 65,535.
    pub max_encrypted_data_keys: u16,
    /// The maximum length of the header in bytes, including its tag: 1 MiB by default.
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

/// The layout of a message's body: framed or non-framed.
///
/// ```
/// use manila::{ContentType, UnverifiedHeader};
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
///
/// assert_eq!(UnverifiedHeader::parse(&message)?.content_type(), ContentType::Framed(4096));
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentType {
    /// In frames of this many plaintext bytes each. The final frame may be shorter. Never 0.
    Framed(u32),
    /// In one block, as early versions of the official SDKs wrote. Read, but never written.
    NonFramed,
}

/// A data key, encrypted under one wrapping key, as stored in a message's header.
///
/// ```
/// use manila::UnverifiedHeader;
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
///
/// for key in UnverifiedHeader::parse(&message)?.encrypted_data_keys() {
///     println!("{} of {}", key.key_name(), key.provider_id); // test-key of example
///     # assert_eq!((&*key.key_name(), &*key.provider_id), ("test-key", "example"));
/// }
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EncryptedDataKey {
    /// The kind of keyring that can decrypt it: `aws-kms`, or the namespace of a raw keyring.
    pub provider_id: String,
    /// The identity of the wrapping key: a key ARN, or the name of a raw key followed by data of its keyring.
    pub provider_info: Vec<u8>,
    /// The encrypted data key.
    pub ciphertext: Vec<u8>,
}

impl EncryptedDataKey {
    /// Returns the name of the wrapping key, for display: the provider information, without the data that raw AES
    /// keyrings append to the name.
    #[must_use]
    pub fn key_name(&self) -> Cow<'_, str> {
        // Tag length in bits and IV length in bytes, then the IV.
        const RAW_AES: [u8; 8] = [0, 0, 0, 128, 0, 0, 0, 12];
        let raw_aes = self.provider_info.split_last_chunk::<20>().filter(|(_, suffix)| suffix.starts_with(&RAW_AES));
        String::from_utf8_lossy(raw_aes.map_or(&self.provider_info, |(name, _)| name))
    }
}

/// A random message id: 16 bytes in version 1, 32 in version 2.
pub(crate) type MessageId = ShortBytes<32>;

/// The fields of a header. Both [`UnverifiedHeader`] and [`Header`] dereference to them.
///
/// ```
/// use manila::{AlgorithmSuite, UnverifiedHeader};
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let message = client.encrypt(b"hello", &EncryptionContext::new([("tenant", "acme")])?)?;
///
/// let header = UnverifiedHeader::parse(&message)?;
/// assert_eq!((header.version(), header.message_id().len()), (2, 32));
/// assert_eq!(header.suite(), AlgorithmSuite::Aes256GcmHkdfSha512CommitKeyEcdsaP384);
/// assert_eq!(header.encryption_context().get("tenant"), Some("acme"));
/// assert_eq!(header.encrypted_data_keys().len(), 1);
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderFields {
    pub(crate) suite: AlgorithmSuite,
    pub(crate) message_id: MessageId,
    pub(crate) encryption_context: EncryptionContext,
    /// The encryption context as serialized in the message, in the order that the writer chose.
    pub(crate) context_bytes: Vec<u8>,
    /// Shared with decryption requests, and by all messages under one data key.
    pub(crate) encrypted_data_keys: Arc<Vec<EncryptedDataKey>>,
    pub(crate) content: ContentType,
    pub(crate) commitment: Option<[u8; COMMITMENT_LEN]>,
}

impl HeaderFields {
    /// Returns the version of the message format, 1 or 2.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.suite.message_version()
    }

    /// Returns the algorithm suite.
    #[must_use]
    pub fn suite(&self) -> AlgorithmSuite {
        self.suite
    }

    /// Returns the random id of the message: 16 bytes in version 1, 32 in version 2.
    #[must_use]
    pub fn message_id(&self) -> &[u8] {
        &self.message_id
    }

    /// Returns the encryption context stored in the header. In signed suites it includes the format's own pair, with
    /// the key `aws-crypto-public-key`.
    #[must_use]
    pub fn encryption_context(&self) -> &EncryptionContext {
        &self.encryption_context
    }

    /// Returns the encrypted data keys: the same data key, once for each wrapping key that can decrypt the message.
    #[must_use]
    pub fn encrypted_data_keys(&self) -> &[EncryptedDataKey] {
        &self.encrypted_data_keys
    }

    /// Returns the layout of the body, with the frame length.
    #[must_use]
    pub fn content_type(&self) -> ContentType {
        self.content
    }

    /// Serializes the header body, which the tag authenticates, in the layout of its version.
    pub(crate) fn body_to_bytes(&self) -> Result<Vec<u8>, DoesNotFit> {
        let keys = self.encrypted_data_keys.iter();
        let keys: usize =
            keys.map(|key| key.provider_id.len() + key.provider_info.len() + key.ciphertext.len() + 6).sum();
        let mut out = Vec::with_capacity(keys.saturating_add(self.context_bytes.len()).saturating_add(FIXED_LEN));
        out.push(self.version());
        if self.version() == 1 {
            out.push(TYPE_CUSTOMER_DATA);
        }
        out.extend_from_slice(&self.suite.id().to_be_bytes());
        out.extend_from_slice(&self.message_id);
        put_field(&mut out, &self.context_bytes)?;
        put_u16(&mut out, self.encrypted_data_keys.len())?;
        for key in &*self.encrypted_data_keys {
            put_field(&mut out, key.provider_id.as_bytes())?;
            put_field(&mut out, &key.provider_info)?;
            put_field(&mut out, &key.ciphertext)?;
        }
        let (content_type, frame_length) = match self.content {
            ContentType::Framed(length) => (CONTENT_FRAMED, length),
            ContentType::NonFramed => (CONTENT_NON_FRAMED, 0),
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

/// More bytes than the fixed-length fields of any header take, including its authentication.
const FIXED_LEN: usize = 128;

/// [`IV_LEN`] as the byte that a version 1 header holds.
pub(super) const V1_IV_LEN: u8 = 12;

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

/// The IV and tag after the header body. Version 2 has no IV field; the IV is zero.
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
}

/// A header read from a message: well formed, but not authenticated.
///
/// Use it to inspect a message without keys, or pass it to [`Client::decryptor`](crate::Client::decryptor) to decrypt a
/// stream. Anyone can write any header, so do not base security decisions on its fields; those of [`Header`] are
/// authenticated.
///
/// ```
/// use manila::UnverifiedHeader;
/// # use manila::{Client, EncryptionContext};
/// # use manila::keyring::RawAesKeyring;
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
///
/// let header = UnverifiedHeader::parse(&message)?;
/// let (header_bytes, body) = message.split_at(header.len());
/// assert_eq!(header.as_bytes(), header_bytes);
/// assert_eq!(header.summarize_body(body)?.plaintext_len(), 5);
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct UnverifiedHeader {
    /// Shared, because decryption requests and [`Header`] hold the fields too.
    pub(super) fields: Arc<HeaderFields>,
    pub(super) authentication: HeaderAuthentication,
    /// The header body and authentication as they were read.
    pub(super) wire: Arc<[u8]>,
}

impl UnverifiedHeader {
    /// Returns the length of the header in bytes, which is the offset of the body.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(&self) -> usize {
        self.wire.len()
    }

    /// Returns the bytes of the header as they were read.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.wire
    }

    /// Serializes the header from its fields. The result equals [`as_bytes`](Self::as_bytes).
    ///
    /// ```
    /// # use manila::{Client, EncryptionContext, UnverifiedHeader};
    /// # use manila::keyring::RawAesKeyring;
    /// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
    /// # let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
    /// let header = UnverifiedHeader::parse(&message)?;
    /// assert_eq!(header.to_bytes()?, header.as_bytes());
    /// # Ok::<(), manila::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::LimitExceeded`] if a field is too long, which cannot happen for a header that was read.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = self.fields.body_to_bytes().map_err(|_| header_does_not_fit())?;
        self.authentication.put(self.fields.suite, &mut out);
        Ok(out)
    }

    /// Returns the header body: the bytes that were read, without the authentication after them.
    pub(crate) fn body_bytes(&self) -> &[u8] {
        let end = self.wire.len().saturating_sub(HeaderAuthentication::encoded_len(self.fields.suite));
        self.wire.get(..end).unwrap_or_default()
    }

    pub(crate) fn authentication(&self) -> &HeaderAuthentication {
        &self.authentication
    }

    /// Converts into a verified header. Call it only after the tag has been verified.
    pub(crate) fn into_verified(self, authenticated_context: EncryptionContext) -> Header {
        Header { fields: self.fields, authenticated_context }
    }
}

impl Hash for UnverifiedHeader {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Everything else was read from these bytes.
        self.wire.hash(state);
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
///
/// ```
/// # use manila::{Client, EncryptionContext, ExpectedContext};
/// # use manila::keyring::RawAesKeyring;
/// # let client = Client::new(RawAesKeyring::new("example", "test-key", &[0; 32])?);
/// # let message = client.encrypt(b"hello", &EncryptionContext::new([("tenant", "acme")])?)?;
/// let header = client.decrypt(&message, ExpectedContext::any())?.header;
/// assert_eq!(header.encryption_context().get("tenant"), Some("acme"));
/// # Ok::<(), manila::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    fields: Arc<HeaderFields>,
    authenticated_context: EncryptionContext,
}

impl Header {
    /// Returns every pair that the tag authenticates: those stored in the header, and those that only the reader
    /// supplied.
    ///
    /// ```
    /// use manila::cmm::RequiredContextCmm;
    /// # use manila::{Client, EncryptionContext};
    /// # use manila::keyring::RawAesKeyring;
    /// # let keyring = RawAesKeyring::new("example", "test-key", &[0; 32])?;
    ///
    /// let client = Client::with_cmm(RequiredContextCmm::new(keyring, ["tenant"])?);
    /// let context = EncryptionContext::new([("tenant", "acme")])?;
    /// let message = client.encrypt(b"hello", &context)?; // does not store the pair
    /// let header = client.decrypt(&message, &context)?.header;
    /// assert_eq!(header.encryption_context().get("tenant"), None);
    /// assert_eq!(header.authenticated_context().get("tenant"), Some("acme"));
    /// # Ok::<(), manila::Error>(())
    /// ```
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
    let detail = "the header is too long for the format: use at most 65,535 data keys and 65,535 bytes per field";
    Error::new(ErrorKind::LimitExceeded, detail)
}
