//! Key management services: who guards the keys that data keys are wrapped under.

use std::fmt::Debug;
use std::sync::Arc;

use crate::context::EncryptionContext;
use crate::error::Result;
use crate::poll::KeyFuture;
use crate::secret::SecretBytes;

/// The provider id of data keys that AWS KMS wraps, and [`Kms::provider_id`] by default.
#[doc(hidden)]
pub const AWS_PROVIDER_ID: &str = "aws-kms";

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
/// - Hold the result against `manila_core::testing::check_kms` (feature `testing`).
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

    /// The provider id that data keys of this KMS bear in a message's header. `aws-kms` by default, by which every
    /// Encryption SDK asks AWS KMS for them: a KMS that is not to be mistaken for AWS's has another.
    fn provider_id(&self) -> &str {
        AWS_PROVIDER_ID
    }
}

/// Generates a data key for a KMS that has no such operation: random bytes of this machine, encrypted by the KMS. For
/// authors of [`Kms::generate_data_key`].
///
/// # Errors
/// As [`Kms::encrypt`]; [`ErrorKind::Internal`] if there is no randomness.
pub async fn generate_by_encrypting<K: Kms + ?Sized>(
    kms: &K,
    request: KmsRequest<'_>,
    length: usize,
) -> Result<GeneratedDataKey> {
    let plaintext = SecretBytes::generate(length)?;
    let KmsCiphertext { ciphertext, key_arn } = kms.encrypt(request, plaintext.expose_secret()).await?;
    Ok(GeneratedDataKey { plaintext, ciphertext, key_arn })
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

            fn provider_id(&self) -> &str {
                (**self).provider_id()
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

impl<'a> KmsRequest<'a> {
    /// A request for a key, bound to a context.
    #[must_use]
    pub const fn new(key_id: &'a str, encryption_context: &'a EncryptionContext) -> Self {
        Self { key_id, encryption_context, grant_tokens: &[] }
    }

    /// The request with tokens of grants.
    #[must_use]
    pub const fn with_grant_tokens(mut self, tokens: &'a [String]) -> Self {
        self.grant_tokens = tokens;
        self
    }
}

/// The answer of [`Kms::generate_data_key`].
#[derive(Debug)]
pub struct GeneratedDataKey {
    /// The data key.
    pub plaintext: SecretBytes,
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
    pub plaintext: SecretBytes,
    /// ARN of the key that opened it.
    pub key_arn: String,
}
