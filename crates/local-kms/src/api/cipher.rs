//! Cryptographic operations: data keys, small plaintexts, message authentication codes and random bytes.

use std::ops::RangeInclusive;

use crate::audit::Details;
use crate::blob;
use crate::call::{OfAccount, OnKey, ReEncrypting};
use crate::error::{check_len, invalid, refused};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::key::{Key, KeySpec};
use manila_core::internal::crypto;
use manila_core::{
    EncryptionContext, GeneratedDataKey, KeyFuture, Kms, KmsCiphertext, KmsPlaintext, KmsRequest, Result, SecretBytes,
};

/// Length in bytes of the plaintexts of Encrypt and the messages of the MAC operations, as on AWS.
const PLAINTEXT_LEN: RangeInclusive<usize> = 1..=4096;
/// Length in bytes of data keys and random bytes, as on AWS.
const RANDOM_LEN: RangeInclusive<usize> = 1..=1024;

impl Kms for LocalKms {
    fn generate_data_key<'a>(&'a self, request: KmsRequest<'a>, length: usize) -> KeyFuture<'a, GeneratedDataKey> {
        Box::pin(async move {
            self.seal(Operation::GenerateDataKey, request, number_of_bytes(length), || {
                check_len("bytes of a data key", length, RANDOM_LEN)?;
                SecretBytes::generate(length)
            })
        })
    }

    fn encrypt<'a>(&'a self, request: KmsRequest<'a>, plaintext: &'a [u8]) -> KeyFuture<'a, KmsCiphertext> {
        Box::pin(async move {
            let sealed = self.seal(Operation::Encrypt, request, Details::new(), || {
                check_len("bytes of a plaintext", plaintext.len(), PLAINTEXT_LEN)?;
                Ok(SecretBytes::new(plaintext))
            })?;
            Ok(KmsCiphertext { ciphertext: sealed.ciphertext, key_arn: sealed.key_arn })
        })
    }

    fn decrypt<'a>(&'a self, request: KmsRequest<'a>, ciphertext: &'a [u8]) -> KeyFuture<'a, KmsPlaintext> {
        Box::pin(async move {
            self.read(Operation::Decrypt, &OnKey::of(&request), Details::new(), |_, key, _| {
                let key = encrypting(key)?;
                let plaintext = open(&key, request.encryption_context, ciphertext)?;
                Ok(KmsPlaintext { plaintext, key_arn: key.arn })
            })
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
    /// Generates a data key of `length` bytes, 1 to 1024, and returns only its ciphertext, for later use.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a length outside that
    /// range or an HMAC key.
    pub fn generate_data_key_without_plaintext(&self, request: KmsRequest<'_>, length: usize) -> Result<KmsCiphertext> {
        let sealed = self.seal(Operation::GenerateDataKeyWithoutPlaintext, request, number_of_bytes(length), || {
            check_len("bytes of a data key", length, RANDOM_LEN)?;
            SecretBytes::generate(length)
        })?;
        Ok(KmsCiphertext { ciphertext: sealed.ciphertext, key_arn: sealed.key_arn })
    }

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
        self.read(Operation::ReEncrypt, &ReEncrypting { from, to }, Details::new(), |_, (old, new), _| {
            let (old, new) = (encrypting(old)?, encrypting(new)?);
            let plaintext = open(&old, from.encryption_context, ciphertext)?;
            let ciphertext = blob::seal(&new, to.encryption_context, plaintext.expose_secret())?;
            Ok(KmsCiphertext { ciphertext, key_arn: new.arn })
        })
    }

    /// Computes the message authentication code of a message of 1 to 4096 bytes. The code has the length of the key's
    /// hash.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, KeySpec, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default().spec(KeySpec::Hmac256))?;
    /// let mac = kms.generate_mac(key.arn(), b"message")?;
    /// kms.verify_mac(key.arn(), b"message", &mac)?;
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for another length or a key
    /// that is not an HMAC key.
    pub fn generate_mac(&self, key_id: &str, message: &[u8]) -> Result<Vec<u8>> {
        self.mac(Operation::GenerateMac, key_id, message, Ok)
    }

    /// Verifies the message authentication code of a message, in constant time.
    ///
    /// # Errors
    /// The same as [`generate_mac`](Self::generate_mac), and [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused)
    /// (`KMSInvalidMacException`) if the code does not match.
    pub fn verify_mac(&self, key_id: &str, message: &[u8], mac: &[u8]) -> Result<()> {
        self.mac(Operation::VerifyMac, key_id, message, |right| {
            if crypto::equal(&right, mac) {
                return Ok(());
            }
            let message = "the message authentication code does not match: check the message, the key and the code";
            Err(refused("KMSInvalidMacException", message))
        })
    }

    /// Returns 1 to 1024 random bytes from the operating system. The owner may call this, and principals with a policy
    /// that allows `kms:GenerateRandom`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for another number,
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if the caller lacks permission.
    pub fn generate_random(&self, length: usize) -> Result<Vec<u8>> {
        self.read(Operation::GenerateRandom, &OfAccount, number_of_bytes(length), |_, (), _| {
            check_len("random bytes", length, RANDOM_LEN)?;
            let mut bytes = vec![0; length];
            crypto::random(&mut bytes)?;
            Ok(bytes)
        })
    }

    fn seal(
        &self,
        operation: Operation,
        request: KmsRequest<'_>,
        details: Details<'_>,
        plaintext: impl Fn() -> Result<SecretBytes>,
    ) -> Result<GeneratedDataKey> {
        self.read(operation, &OnKey::of(&request), details, |_, key, _| {
            let key = encrypting(key)?;
            let plaintext = plaintext()?;
            let ciphertext = blob::seal(&key, request.encryption_context, plaintext.expose_secret())?;
            Ok(GeneratedDataKey { plaintext, ciphertext, key_arn: key.arn })
        })
    }

    fn mac<T>(
        &self,
        operation: Operation,
        key_id: &str,
        message: &[u8],
        answer: impl Fn(Vec<u8>) -> Result<T>,
    ) -> Result<T> {
        self.read(operation, &OnKey::new(key_id), Details::new(), |_, key, _| {
            let (Some(hash), Some(material)) = (key.material.spec.mac_hash(), key.material.materials.last()) else {
                return Err(wrong_usage("is for encryption: use an HMAC key for message authentication codes"));
            };
            check_len("bytes of a message", message.len(), PLAINTEXT_LEN)?;
            answer(crypto::mac(hash, &material.secret, &[message])?)
        })
    }
}

fn number_of_bytes(length: usize) -> Details<'static> {
    Details::new().len("numberOfBytes", length)
}

fn encrypting(key: Key) -> Result<Key> {
    match key.material.spec {
        KeySpec::SymmetricDefault => Ok(key),
        _ => Err(wrong_usage("is for message authentication codes: use a symmetric encryption key to encrypt")),
    }
}

fn wrong_usage(what: &str) -> manila_core::Error {
    invalid("InvalidKeyUsageException", format!("the key {what}"))
}

fn open(key: &Key, context: &EncryptionContext, ciphertext: &[u8]) -> Result<SecretBytes> {
    Ok(SecretBytes::new(&blob::parse(ciphertext)?.open(key, context)?))
}
