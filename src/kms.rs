//! Key management services: who guards the keys that data keys are wrapped under.

#[cfg(feature = "aws-kms")]
mod aws;
#[cfg(feature = "local-kms")]
pub(crate) mod local;

use std::fmt::{self, Debug};
use std::sync::Arc;

use crate::context::EncryptionContext;
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::materials::{DataKey, KeyFuture};
use crate::text::Escaped;

/// The provider id of data keys wrapped by any [`Kms`], embedded or AWS's.
pub(crate) const PROVIDER_ID: &str = "aws-kms";

/// What multi-Region keys' ids begin with.
pub(crate) const MULTI_REGION_PREFIX: &str = "mrk-";

/// The three calls of AWS KMS that envelope encryption needs, with AWS's meaning.
///
/// # Writing one
///
/// - Bind ciphertexts to the encryption context exactly:
///   [`EncryptionContext::to_bytes`] is unambiguous, a concatenation of keys and values is not.
/// - Answer with the ARN of the key that was used, in the form of [`KeyArn`]. A KMS that has no ARNs makes one up, such
///   as `arn:vault:kms:eu-1:team-a:key/app`, and takes it as a key id. On `decrypt`, answer with the ARN asked for.
///   Discovery keyrings take ARNs from messages that nobody has verified, and pass over those with other characters
///   than `a` to `z`, `0` to `9` and `-` in partition, region and account, or than these, `A` to `Z` and `_` in the id
///   of the key: keep to them. Escape the id nevertheless where a path is made of it.
/// - Fail with [`ErrorKind::Unavailable`] where trying again may help, with [`ErrorKind::KeyRefused`] where the key or
///   the ciphertext is at fault, with [`ErrorKind::InvalidInput`] where the request is, and put a [`KmsError`] beneath
///   ([`Error::other`]).
/// - Say [`is_local`](Self::is_local) if no call ever waits.
/// - Hold the result against `manila::testing::check_kms` (feature `testing`).
pub trait Kms: Send + Sync + Debug {
    /// Makes a data key of `length` bytes, and encrypts it under the key.
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey>;

    /// Encrypts `plaintext`, 1 to 4096 bytes, under the key.
    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext>;

    /// Decrypts what was encrypted under the key and the same encryption context.
    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext>;

    /// A promise that the futures never return `Pending`, so that plain calls can use this KMS. False unless said
    /// otherwise.
    fn is_local(&self) -> bool {
        false
    }

    /// The region that the KMS is in, if it is in one: data keys of that region are opened first. None unless said
    /// otherwise.
    fn region(&self) -> Option<&str> {
        None
    }
}

macro_rules! forward_kms {
    ($($pointer:ty),*) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<K: Kms + ?Sized> Kms for $pointer {
            fn generate_data_key<'a>(
                &'a self,
                request: KmsRequest<'a>,
                length: usize,
            ) -> KeyFuture<'a, GeneratedDataKey> {
                (**self).generate_data_key(request, length)
            }

            fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
                (**self).encrypt(request, plaintext)
            }

            fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
                (**self).decrypt(request, ciphertext)
            }

            fn is_local(&self) -> bool {
                (**self).is_local()
            }

            fn region(&self) -> Option<&str> {
                (**self).region()
            }
        }
    )*};
}

forward_kms!(Arc<K>, Box<K>);

/// What every call to a KMS says.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct KmsRequest<'a> {
    /// The key: its ARN, its id, an alias or an alias ARN.
    pub key_id: &'a str,
    /// The pairs that the ciphertext is bound to.
    pub encryption_context: &'a EncryptionContext,
    /// Tokens of grants that are new: AWS KMS takes some minutes to know a grant without its token. None unless they
    /// are set; a KMS that has no grants passes over them.
    pub grant_tokens: &'a [String],
}

impl KmsError {
    /// An answer of a KMS: AWS's name for the error, and what the KMS said.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), request_id: None }
    }

    /// The answer with the id that the service gave the request, for its support to look up.
    #[must_use]
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }
}

impl<'a> KmsRequest<'a> {
    /// A request for a key, bound to a context.
    #[must_use]
    pub const fn new(key_id: &'a str, encryption_context: &'a EncryptionContext) -> Self {
        Self { key_id, encryption_context, grant_tokens: &[] }
    }
}

/// The answer of [`Kms::generate_data_key`].
#[derive(Debug)]
pub struct GeneratedDataKey {
    /// The data key.
    pub plaintext: DataKey,
    /// The data key, encrypted.
    pub ciphertext: Vec<u8>,
    /// ARN of the key it is encrypted under.
    pub key_arn: String,
}

/// The answer of [`Kms::encrypt`].
#[derive(Debug)]
pub struct KmsCiphertext {
    /// The plaintext, encrypted.
    pub ciphertext: Vec<u8>,
    /// ARN of the key it is encrypted under.
    pub key_arn: String,
}

/// The answer of [`Kms::decrypt`].
#[derive(Debug)]
pub struct KmsPlaintext {
    /// What was encrypted.
    pub plaintext: DataKey,
    /// ARN of the key that opened it.
    pub key_arn: String,
}

/// Why a KMS refused, in AWS's words: the source of an [`Error`] that a KMS made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KmsError {
    /// AWS's name for it, such as `NotFoundException`.
    pub code: String,
    /// What the KMS said.
    pub message: String,
    /// The id that the service gave the request, if it gave one.
    pub request_id: Option<String>,
}

impl std::error::Error for KmsError {}

impl fmt::Display for KmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Escaped(&self.code), Escaped(&self.message))?;
        self.request_id.as_ref().map_or(Ok(()), |id| write!(f, " (request {})", Escaped(id)))
    }
}

/// A key's Amazon Resource Name: `arn:aws:kms:eu-west-1:111122223333:key/1234abcd-...`.
///
/// Source: the ESDK specification, `framework/aws-kms/aws-kms-key-arn.md`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyArn<'a> {
    /// The partition, such as `aws`.
    pub partition: &'a str,
    /// The region, such as `eu-west-1`.
    pub region: &'a str,
    /// The account that owns the key.
    pub account: &'a str,
    /// The id of the key.
    pub key_id: &'a str,
}

impl<'a> KeyArn<'a> {
    /// The parts of the ARN of a key.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is no ARN of a key; that of an alias is none.
    pub fn parse(arn: &'a str) -> Result<Self> {
        match Self::split(arn) {
            Some((parts, "key")) => Ok(parts),
            _ => Err(not_an_arn(arn)),
        }
    }

    /// The parts of the ARN of a key or an alias, and which of the two it is: `key` or `alias`.
    pub(crate) fn parse_any(arn: &'a str) -> Result<(Self, &'a str)> {
        Self::split(arn).ok_or_else(|| not_an_arn(arn))
    }

    /// Whether the key is a multi-Region key.
    #[must_use]
    pub fn is_multi_region(&self) -> bool {
        // An alias may begin so too and is none.
        self.key_id.starts_with(MULTI_REGION_PREFIX)
    }

    fn split(arn: &'a str) -> Option<(Self, &'a str)> {
        let parts: Vec<_> = arn.splitn(6, ':').collect();
        let ["arn", partition, "kms", region, account, resource] = *parts.as_slice() else {
            return None;
        };
        let (kind @ ("key" | "alias"), key_id) = resource.split_once('/')? else {
            return None;
        };
        let parts = Self { partition, region, account, key_id };
        let whole = [partition, region, account, key_id].iter().all(|part| !part.is_empty());
        whole.then_some((parts, kind))
    }
}

impl fmt::Display for KeyArn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, region, account, key_id } = self;
        write!(f, "arn:{partition}:kms:{region}:{account}:key/{key_id}")
    }
}

/// Whether `text` can be a partition, a region or an account. ARNs come from messages that nobody has verified yet,
/// and a KMS may make the name of a host from a region.
pub(crate) fn is_arn_part(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(plain)
}

/// Whether `text` can be the id of a key that a message names: AWS's ids are of letters, digits and `-`, and a KMS that
/// is asked over HTTP may make a path of it, or a line of a header.
pub(crate) fn is_key_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.bytes().all(plain)
}

fn not_an_arn(text: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{} is no ARN of a KMS key", quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_has_six_parts_and_none_is_empty() {
        let arn = KeyArn::parse("arn:aws:kms:eu-west-1:111122223333:key/mrk-1/2").unwrap();
        assert_eq!(
            (arn.partition, arn.region, arn.account, arn.key_id),
            ("aws", "eu-west-1", "111122223333", "mrk-1/2")
        );
        let wrong = [
            "",
            "arn:aws:kms:eu-west-1:111122223333:alias/a",
            "arn:aws:kms:eu-west-1:111122223333:key/",
            "arn:aws:kms:eu-west-1:111122223333:key",
            "arn::kms:eu-west-1:111122223333:key/1",
            "arn:aws:kms::111122223333:key/1",
            "arn:aws:kms:eu-west-1::key/1",
            "arn:aws:s3:eu-west-1:111122223333:key/1",
            "ARN:aws:kms:eu-west-1:111122223333:key/1",
        ];
        for text in wrong {
            assert!(KeyArn::parse(text).is_err(), "{text}");
        }
        assert!(KeyArn::parse_any("arn:aws:kms:eu-west-1:111122223333:alias/a").is_ok());
    }
}
