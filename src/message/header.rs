//! The header: what a message says of itself before anything is decrypted.
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
pub(super) const CONTENT_UNFRAMED: u8 = 1;
pub(super) const CONTENT_FRAMED: u8 = 2;

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
pub enum ContentType {
    /// In frames of this many plaintext bytes; the final one may be shorter. Never 0.
    Framed(u32),
    /// In one piece, as early versions of the SDKs wrote. Read, never written.
    NonFramed,
}

/// The data key, encrypted under one wrapping key, as it stands in a message's header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EncryptedDataKey {
    /// The kind of keyring that can open it: `aws-kms`, or the namespace of a raw keyring.
    pub provider_id: String,
    /// Which key of that kind: a key ARN, or the name of a raw key and what goes with it.
    pub provider_info: Vec<u8>,
    /// The encrypted data key itself.
    pub ciphertext: Vec<u8>,
}

impl EncryptedDataKey {
    /// The name of the key for people: the provider information, without what raw AES keyrings put behind the name.
    #[must_use]
    pub fn key_name(&self) -> Cow<'_, str> {
        // Tag length in bits and IV length in bytes, then the IV.
        const RAW_AES: [u8; 8] = [0, 0, 0, 128, 0, 0, 0, 12];
        let raw_aes = self.provider_info.split_last_chunk::<20>().filter(|(_, suffix)| suffix.starts_with(&RAW_AES));
        String::from_utf8_lossy(raw_aes.map_or(&self.provider_info, |(name, _)| name))
    }
}

/// The random id of a message: 16 bytes in version 1, 32 in version 2.
pub(crate) type MessageId = ShortBytes<32>;

/// The fields of a header, shared by [`UnverifiedHeader`] and [`Header`].
#[derive(Clone, PartialEq, Eq)]
pub struct HeaderFields {
    pub(crate) suite: AlgorithmSuite,
    pub(crate) message_id: MessageId,
    pub(crate) encryption_context: EncryptionContext,
    /// As it stands in the message: the order of the pairs is the writer's.
    pub(crate) context_bytes: Vec<u8>,
    /// Shared with what is asked for keys, and by all messages under one data key.
    pub(crate) encrypted_data_keys: Arc<Vec<EncryptedDataKey>>,
    pub(crate) content: ContentType,
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
    pub fn content_type(&self) -> ContentType {
        self.content
    }

    /// The header body in the layout of its version: what the tag authenticates.
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
            ContentType::NonFramed => (CONTENT_UNFRAMED, 0),
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

/// More bytes than the fields of fixed length of any header take, its authentication included.
const FIXED_LEN: usize = 128;

/// [`IV_LEN`] as the one byte that a version 1 header spends on it.
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
}

/// A header as it stands in a message: well formed, but nobody has vouched for it yet.
///
/// For inspection without keys, and the first half of reading a stream: hand it to
/// [`Client::decryptor`](crate::Client::decryptor) for the rest. Anyone can write any header, so decide nothing
/// that matters on these fields; those of [`Header`] are authenticated.
#[derive(Clone, PartialEq, Eq)]
pub struct UnverifiedHeader {
    /// Shared, as a header is handed on several times: to whoever looks for its data key, and into [`Header`].
    pub(super) fields: Arc<HeaderFields>,
    pub(super) authentication: HeaderAuthentication,
    /// Header body and authentication as they were read.
    pub(super) wire: Arc<[u8]>,
}

impl UnverifiedHeader {
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

    pub(crate) fn authentication(&self) -> &HeaderAuthentication {
        &self.authentication
    }

    /// To be called when the tag has been verified, and only then.
    pub(crate) fn into_verified(self, authenticated_context: EncryptionContext) -> Header {
        Header { fields: self.fields, authenticated_context }
    }
}

impl Hash for UnverifiedHeader {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // All else was read from it.
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
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    fields: Arc<HeaderFields>,
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
