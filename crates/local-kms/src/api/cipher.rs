//! The trait [`Kms`], re-encryption, and random bytes.

use std::ops::RangeInclusive;

use crate::api::data_key::DataKeyRequest;
use crate::api::encryption::{DecryptRequest, EncryptRequest};
use crate::api::re_encryption::{ReEncryptRequest, ReEncrypted};
use crate::audit::Details;
use crate::call::OfAccount;
use crate::constraints::Constraints;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use manila_core::internal::crypto;
use manila_core::{GeneratedDataKey, KeyFuture, Kms, KmsCiphertext, KmsPlaintext, KmsRequest, Result};

/// Length in bytes of random bytes, as on AWS.
const RANDOM_LEN: RangeInclusive<usize> = 1..=1024;

impl Kms for LocalKms {
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
        Box::pin(async move { self.generate_data_key_with(DataKeyRequest::of(request, length)) })
    }

    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        Box::pin(async move {
            let KmsRequest { key_id, encryption_context, grant_tokens, .. } = request;
            let asked = EncryptRequest::new(key_id, plaintext).encryption_context(encryption_context);
            self.encrypt_with(asked.grant_tokens(grant_tokens))
        })
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        Box::pin(async move {
            let KmsRequest { key_id, encryption_context, grant_tokens, .. } = request;
            let asked = DecryptRequest::new(key_id, ciphertext).encryption_context(encryption_context);
            self.decrypt_with(asked.grant_tokens(grant_tokens))
        })
    }

    fn is_local(&self) -> bool {
        true
    }

    fn region(&self) -> Option<&str> {
        Some(self.region_name())
    }
}

impl LocalKms {
    /// Decrypts a ciphertext under the key and context of `from`, and encrypts the plaintext under those of `to`,
    /// without returning it.
    ///
    /// The caller needs `kms:ReEncryptFrom` on the first key and `kms:ReEncryptTo` on the second. The line in the audit
    /// log contains both keys and both contexts.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if a key does not exist or is not enabled, the caller
    /// lacks permission, or the ciphertext does not belong to that key and context;
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for an HMAC key.
    pub fn re_encrypt(&self, ciphertext: &[u8], from: KmsRequest<'_>, to: KmsRequest<'_>) -> Result<KmsCiphertext> {
        let request = ReEncryptRequest::new(ciphertext, from.key_id, to.key_id);
        let request = request.source_context(from.encryption_context).destination_context(to.encryption_context);
        let ReEncrypted { ciphertext, key_arn, .. } = self.re_encrypt_with(request)?;
        Ok(KmsCiphertext { ciphertext, key_arn })
    }

    /// Returns 1 to 1024 random bytes from the operating system. The owner may call this, and principals with a policy
    /// that allows `kms:GenerateRandom`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for another number,
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller lacks permission.
    pub fn generate_random(&self, length: usize) -> Result<Vec<u8>> {
        let valid = Constraints::new().number("numberOfBytes", length, RANDOM_LEN).check();
        let details = Details::new().len("numberOfBytes", length);
        self.compute(Operation::GenerateRandom, &OfAccount, details, valid, |()| {
            let mut bytes = vec![0; length];
            crypto::random(&mut bytes)?;
            Ok(bytes)
        })
    }
}
