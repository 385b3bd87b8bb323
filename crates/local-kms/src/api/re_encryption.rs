//! Re-encryption: from one key, context and algorithm to others.

use manila_core::{EncryptionContext, KmsRequest, Result};

use crate::api::encryption::{Algorithm, CIPHERTEXT_LEN, DEFAULT};
use crate::audit::Details;
use crate::call::ReEncrypting;
use crate::call_options::{CallOptions, with_options};
use crate::constraints::Constraints;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::algorithm::EncryptionAlgorithm;

/// A request to decrypt a ciphertext and encrypt its plaintext again.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ReEncryptRequest<'a> {
    ciphertext: &'a [u8],
    source_key_id: &'a str,
    source: Algorithm<'a>,
    destination_key_id: &'a str,
    destination: Algorithm<'a>,
    options: CallOptions<'a>,
}

impl<'a> ReEncryptRequest<'a> {
    /// Returns a request with the key that the ciphertext is under, and the key that it is to be under.
    pub const fn new(ciphertext: &'a [u8], source_key_id: &'a str, destination_key_id: &'a str) -> Self {
        let options = CallOptions { grant_tokens: &[], dry_run: false };
        Self { ciphertext, source_key_id, source: DEFAULT, destination_key_id, destination: DEFAULT, options }
    }

    /// Sets the algorithm of the ciphertext. Defaults to [`EncryptionAlgorithm::SymmetricDefault`].
    pub const fn source_algorithm(mut self, algorithm: EncryptionAlgorithm) -> Self {
        self.source.algorithm = algorithm;
        self
    }

    /// Sets the encryption context of the ciphertext.
    pub const fn source_context(mut self, context: &'a EncryptionContext) -> Self {
        self.source.context = Some(context);
        self
    }

    /// Sets the algorithm of the new ciphertext. Defaults to [`EncryptionAlgorithm::SymmetricDefault`].
    pub const fn destination_algorithm(mut self, algorithm: EncryptionAlgorithm) -> Self {
        self.destination.algorithm = algorithm;
        self
    }

    /// Sets the encryption context of the new ciphertext.
    pub const fn destination_context(mut self, context: &'a EncryptionContext) -> Self {
        self.destination.context = Some(context);
        self
    }
}

with_options!(ReEncryptRequest);

/// The answer to [`LocalKms::re_encrypt_with`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReEncrypted {
    /// The new ciphertext.
    pub ciphertext: Vec<u8>,
    /// ARN of the key that decrypted.
    pub source_key_arn: String,
    /// ARN of the key that encrypted.
    pub key_arn: String,
}

impl LocalKms {
    /// Decrypts a ciphertext and encrypts its plaintext under another key, context or algorithm, without returning it.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, EncryptRequest, LocalKms, ReEncryptRequest};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let (old, new) = (kms.create_key(CreateKey::default())?, kms.create_key(CreateKey::default())?);
    /// let ciphertext = kms.encrypt_with(EncryptRequest::new(old.arn(), b"secret"))?.ciphertext;
    /// let moved = kms.re_encrypt_with(ReEncryptRequest::new(&ciphertext, old.arn(), new.arn()))?;
    /// assert_eq!((moved.source_key_arn.as_str(), moved.key_arn.as_str()), (old.arn(), new.arn()));
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// The caller needs `kms:ReEncryptFrom` on the first key and `kms:ReEncryptTo` on the second. The line in the audit
    /// log contains both keys and both contexts.
    ///
    /// # Errors
    /// Those of [`decrypt_with`](Self::decrypt_with) for the first key, and of [`encrypt_with`](Self::encrypt_with) for
    /// the second.
    pub fn re_encrypt_with(&self, request: ReEncryptRequest<'_>) -> Result<ReEncrypted> {
        let ReEncryptRequest { ciphertext, source_key_id, source, destination_key_id, destination, options } = request;
        let constraints = Constraints::new().len("ciphertextBlob", ciphertext.len(), CIPHERTEXT_LEN);
        let valid = constraints.grant_tokens(options.grant_tokens).check();
        let (from, to) = (source.context(), destination.context());
        let from = KmsRequest::new(source_key_id, &from).with_grant_tokens(options.grant_tokens);
        let to = KmsRequest::new(destination_key_id, &to);
        let details = source.describe("sourceEncryptionAlgorithm", Details::new());
        let details = options.describe(destination.describe("destinationEncryptionAlgorithm", details));
        self.compute(Operation::ReEncrypt, &ReEncrypting { from, to }, details, valid, |(old, new)| {
            destination.check(&new)?;
            let plaintext = self.decrypt_under(Operation::ReEncryptFrom, &old, &source, ciphertext)?;
            let ciphertext = self.encrypt_under(&new, &destination, plaintext.expose_secret())?;
            options.check_not_dry()?;
            Ok(ReEncrypted { ciphertext, source_key_arn: old.arn, key_arn: new.arn })
        })
    }
}
