//! The trait [`Kms`]: the three KMS operations that envelope encryption needs.

use std::fmt::Debug;
use std::sync::Arc;

use crate::context::EncryptionContext;
use crate::error::Result;
use crate::poll::KeyFuture;
use crate::secret::SecretBytes;

/// The provider id of data keys that AWS KMS encrypts, and the default of [`Kms::provider_id`].
#[doc(hidden)]
pub const AWS_PROVIDER_ID: &str = "aws-kms";

/// A key management service: three operations of AWS KMS, with AWS's semantics.
///
/// # Writing one
///
/// A KMS that seals under one key of its own, in 25 lines:
///
/// ```
/// use manila_core::{
///     Error, ErrorKind, GeneratedDataKey, KeyFuture, Kms, KmsCiphertext, KmsError, KmsPlaintext, KmsRequest,
///     generate_by_encrypting,
/// };
/// # trait Device: Send + Sync + std::fmt::Debug {
/// #     fn seal(&self, aad: &[u8], plaintext: &[u8]) -> Vec<u8>;
/// #     fn open(&self, aad: &[u8], ciphertext: &[u8]) -> Option<manila_core::SecretBytes>;
/// # }
///
/// /// A device that holds one key.
/// #[derive(Debug)]
/// struct DeviceKms<D>(D);
///
/// const ARN: &str = "arn:device:kms:local:000000000000:key/1";
///
/// impl<D: Device> Kms for DeviceKms<D> {
///     fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
///         Box::pin(generate_by_encrypting(self, request, length))
///     }
///
///     fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
///         Box::pin(async move {
///             let ciphertext = self.0.seal(&request.encryption_context.to_bytes()?, plaintext);
///             Ok(KmsCiphertext { ciphertext, key_arn: ARN.to_owned() })
///         })
///     }
///
///     fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
///         Box::pin(async move {
///             let opened = self.0.open(&request.encryption_context.to_bytes()?, ciphertext);
///             let refused = || KmsError::new("InvalidCiphertextException", "the device did not open the ciphertext");
///             let refused = || Error::other(ErrorKind::KeyRefused, "the device refused", refused());
///             let plaintext = opened.ok_or_else(refused)?;
///             Ok(KmsPlaintext { plaintext, key_arn: ARN.to_owned() })
///         })
///     }
///
///     fn provider_id(&self) -> &str {
///         "device-kms"
///     }
/// }
/// ```
///
/// A complete one, which a device of its own replaces, is `examples/custom_kms.rs`. The rules:
///
/// - Bind ciphertexts to exactly the encryption context: [`EncryptionContext::to_bytes`] is unambiguous, a
///   concatenation of keys and values is not.
/// - Answer with the ARN of the key that was used, in the form of [`KeyArn`]. A KMS without ARNs makes one up, such as
///   `arn:vault:kms:eu-1:team-a:key/app`, and accepts it as a key id. On `decrypt`, answer with the ARN of the request.
/// - Keep to the characters `a` to `z`, `0` to `9` and `-` in partition, region and account of an ARN, and to these,
///   `A` to `Z` and `_` in the id of the key: discovery keyrings take ARNs from messages that have not been verified,
///   and skip others. Escape the id nevertheless where it becomes part of a path.
/// - Fail with [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) where trying again may help, with
///   [`KeyRefused`](crate::ErrorKind::KeyRefused) where the key or the ciphertext is at fault, with
///   [`InvalidInput`](crate::ErrorKind::InvalidInput) where the request is, and give a [`KmsError`](crate::KmsError) as
///   the source ([`Error::other`](crate::Error::other)).
/// - Return true from [`is_local`](Self::is_local) if no call ever waits.
/// - Test the result with `manila_core::testing::check_kms` (feature `testing`).
///
/// [`KeyArn`]: crate::KeyArn
pub trait Kms: Send + Sync + Debug {
    /// Generates a data key of `length` bytes, and encrypts it under the key.
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey>;

    /// Encrypts `plaintext`, 1 to 4096 bytes, under the key.
    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext>;

    /// Decrypts what was encrypted under the key and the same encryption context.
    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext>;

    /// Returns whether the futures never return `Pending`, so that plain calls can use this KMS. False by default.
    fn is_local(&self) -> bool {
        false
    }

    /// Returns the region of the KMS, if it has one: data keys of that region are decrypted first. `None` by default.
    fn region(&self) -> Option<&str> {
        None
    }

    /// Returns the provider id that data keys of this KMS have in a message's header. By default `aws-kms`, for which
    /// every Encryption SDK asks AWS KMS: a KMS that must not be mistaken for AWS's returns another.
    fn provider_id(&self) -> &str {
        AWS_PROVIDER_ID
    }
}

/// Generates a data key for a KMS that has no operation for it: random bytes from the operating system, encrypted by
/// the KMS. For implementations of [`Kms::generate_data_key`].
///
/// # Errors
/// The same as [`Kms::encrypt`]; also [`ErrorKind::Internal`](crate::ErrorKind::Internal) if the operating system
/// provides no randomness.
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

/// The parameters that every call to a KMS has.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct KmsRequest<'a> {
    /// The key: its ARN, its id, an alias or an alias ARN.
    pub key_id: &'a str,
    /// The encryption context that the ciphertext is bound to.
    pub encryption_context: &'a EncryptionContext,
    /// Grant tokens, which AWS KMS needs in the first minutes of a grant's life. Empty by default; a KMS without grants
    /// ignores them.
    pub grant_tokens: &'a [String],
}

impl<'a> KmsRequest<'a> {
    /// Returns a request for a key with an encryption context.
    #[must_use]
    pub const fn new(key_id: &'a str, encryption_context: &'a EncryptionContext) -> Self {
        Self { key_id, encryption_context, grant_tokens: &[] }
    }

    /// Returns the request with grant tokens.
    #[must_use]
    pub const fn with_grant_tokens(mut self, tokens: &'a [String]) -> Self {
        self.grant_tokens = tokens;
        self
    }
}

/// The result of [`Kms::generate_data_key`].
#[derive(Debug)]
pub struct GeneratedDataKey {
    /// The data key.
    pub plaintext: SecretBytes,
    /// The data key, encrypted.
    pub ciphertext: Vec<u8>,
    /// ARN of the key it is encrypted under.
    pub key_arn: String,
}

/// The result of [`Kms::encrypt`].
#[derive(Debug)]
pub struct KmsCiphertext {
    /// The plaintext, encrypted.
    pub ciphertext: Vec<u8>,
    /// ARN of the key it is encrypted under.
    pub key_arn: String,
}

/// The result of [`Kms::decrypt`].
#[derive(Debug)]
pub struct KmsPlaintext {
    /// The decrypted bytes.
    pub plaintext: SecretBytes,
    /// ARN of the key that decrypted it.
    pub key_arn: String,
}
