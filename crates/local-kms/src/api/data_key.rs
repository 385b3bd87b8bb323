//! Data keys.

use manila_core::{EncryptionContext, GeneratedDataKey, KmsCiphertext, KmsRequest, Result, SecretBytes};

use crate::audit::Details;
use crate::blob;
use crate::call::OnKey;
use crate::call_options::{CallOptions, with_options};
use crate::constraints::Constraints;
use crate::local_kms::LocalKms;
use crate::operation::Operation;

/// The length in bytes of data keys, as on AWS.
const LEN: std::ops::RangeInclusive<usize> = 1..=1024;

/// A request for a data key.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct DataKeyRequest<'a> {
    key_id: &'a str,
    length: usize,
    encryption_context: Option<&'a EncryptionContext>,
    options: CallOptions<'a>,
}

impl<'a> DataKeyRequest<'a> {
    /// Returns a request for a data key of so many bytes, 1 to 1024.
    pub const fn new(key_id: &'a str, length: usize) -> Self {
        let options = CallOptions { grant_tokens: &[], dry_run: false };
        Self { key_id, length, encryption_context: None, options }
    }

    /// Sets the encryption context that the encrypted data key is bound to.
    pub const fn encryption_context(mut self, context: &'a EncryptionContext) -> Self {
        self.encryption_context = Some(context);
        self
    }

    pub(super) const fn of(request: KmsRequest<'a>, length: usize) -> Self {
        let KmsRequest { key_id, encryption_context, grant_tokens, .. } = request;
        Self::new(key_id, length).encryption_context(encryption_context).grant_tokens(grant_tokens)
    }
}

with_options!(DataKeyRequest);

impl LocalKms {
    /// Generates a data key of 1 to 1024 bytes, and encrypts it.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, DataKeyRequest, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default())?;
    /// let data_key = kms.generate_data_key_with(DataKeyRequest::new(key.arn(), 32))?;
    /// assert_eq!(data_key.plaintext.len(), 32);
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a length outside that
    /// range or a key that is not symmetric and for encryption.
    pub fn generate_data_key_with(&self, request: DataKeyRequest<'_>) -> Result<GeneratedDataKey> {
        self.data_key(Operation::GenerateDataKey, request)
    }

    /// Generates a data key of `length` bytes, 1 to 1024, and returns only its ciphertext, for later use.
    ///
    /// # Errors
    /// Those of [`generate_data_key_with`](Self::generate_data_key_with).
    pub fn generate_data_key_without_plaintext(&self, request: KmsRequest<'_>, length: usize) -> Result<KmsCiphertext> {
        self.generate_data_key_without_plaintext_with(DataKeyRequest::of(request, length))
    }

    /// Generates a data key like [`generate_data_key_with`](Self::generate_data_key_with), and returns only its
    /// ciphertext, for later use.
    ///
    /// # Errors
    /// Those of [`generate_data_key_with`](Self::generate_data_key_with).
    pub fn generate_data_key_without_plaintext_with(&self, request: DataKeyRequest<'_>) -> Result<KmsCiphertext> {
        let GeneratedDataKey { ciphertext, key_arn, .. } =
            self.data_key(Operation::GenerateDataKeyWithoutPlaintext, request)?;
        Ok(KmsCiphertext { ciphertext, key_arn })
    }

    fn data_key(&self, operation: Operation, request: DataKeyRequest<'_>) -> Result<GeneratedDataKey> {
        let DataKeyRequest { key_id, length, encryption_context, options } = request;
        let empty = EncryptionContext::empty();
        let context = encryption_context.unwrap_or(&empty);
        let constraints = Constraints::new().number("numberOfBytes", length, LEN);
        let valid = constraints.grant_tokens(options.grant_tokens).check();
        let details = options.describe(Details::new().len("numberOfBytes", length));
        self.compute(
            operation,
            &OnKey::of(&KmsRequest::new(key_id, context).with_grant_tokens(options.grant_tokens)),
            details,
            valid,
            |key| {
                key.check_symmetric()?;
                options.check_not_dry()?;
                let plaintext = SecretBytes::generate(length)?;
                let ciphertext = blob::seal(&key, context, plaintext.expose_secret())?;
                Ok(GeneratedDataKey { plaintext, ciphertext, key_arn: key.arn })
            },
        )
    }
}
