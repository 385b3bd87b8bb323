//! Encryption and decryption with a choice of algorithm.

use std::borrow::Cow;
use std::fmt;

use manila_core::internal::crypto::OaepHash;
use manila_core::{EncryptionContext, KmsCiphertext, KmsPlaintext, KmsRequest, Result, SecretBytes};

use crate::audit::Details;
use crate::blob;
use crate::call::OnKey;
use crate::call_options::{CallOptions, with_options};
use crate::constraints::Constraints;
use crate::error::{internal, invalid};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::algorithm::{EncryptionAlgorithm, incompatible};
use crate::record::key::Key;

/// The lengths in bytes of plaintexts and ciphertexts, as on AWS.
const PLAINTEXT_LEN: std::ops::RangeInclusive<usize> = 1..=4096;
pub(super) const CIPHERTEXT_LEN: std::ops::RangeInclusive<usize> = 1..=6144;

/// A request to encrypt.
#[derive(Clone, Copy)]
#[must_use]
pub struct EncryptRequest<'a> {
    key_id: &'a str,
    plaintext: &'a [u8],
    of: Algorithm<'a>,
    options: CallOptions<'a>,
}

/// A request to decrypt.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct DecryptRequest<'a> {
    key_id: &'a str,
    ciphertext: &'a [u8],
    of: Algorithm<'a>,
    options: CallOptions<'a>,
}

/// The algorithm and the context, which is for one algorithm alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Algorithm<'a> {
    pub(super) algorithm: EncryptionAlgorithm,
    pub(super) context: Option<&'a EncryptionContext>,
}

pub(super) const DEFAULT: Algorithm<'static> =
    Algorithm { algorithm: EncryptionAlgorithm::SymmetricDefault, context: None };

/// Adds the setters of algorithm and context to a request.
macro_rules! with_algorithm {
    ($request:ident) => {
        impl<'a> $request<'a> {
            /// Sets the algorithm. Defaults to [`EncryptionAlgorithm::SymmetricDefault`].
            pub const fn algorithm(mut self, algorithm: EncryptionAlgorithm) -> Self {
                self.of.algorithm = algorithm;
                self
            }

            /// Sets the encryption context, which RSA does not have.
            pub const fn encryption_context(mut self, context: &'a EncryptionContext) -> Self {
                self.of.context = Some(context);
                self
            }
        }
    };
}

impl<'a> EncryptRequest<'a> {
    /// Returns a request to encrypt 1 to 4096 bytes, and with RSA no more than fit: 190 for RSA-2048 and SHA-256.
    pub const fn new(key_id: &'a str, plaintext: &'a [u8]) -> Self {
        Self { key_id, plaintext, of: DEFAULT, options: CallOptions { grant_tokens: &[], dry_run: false } }
    }
}

with_algorithm!(EncryptRequest);
with_options!(EncryptRequest);

impl<'a> DecryptRequest<'a> {
    /// Returns a request to decrypt a ciphertext that was encrypted under the key.
    pub const fn new(key_id: &'a str, ciphertext: &'a [u8]) -> Self {
        Self { key_id, ciphertext, of: DEFAULT, options: CallOptions { grant_tokens: &[], dry_run: false } }
    }
}

with_algorithm!(DecryptRequest);
with_options!(DecryptRequest);

impl fmt::Debug for EncryptRequest<'_> {
    /// Does not show the plaintext.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptRequest")
            .field("key_id", &self.key_id)
            .field("of", &self.of)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Algorithm<'_> {
    pub(super) fn context(&self) -> Cow<'_, EncryptionContext> {
        self.context.map_or_else(|| Cow::Owned(EncryptionContext::empty()), Cow::Borrowed)
    }

    /// Returns the hash of RSA-OAEP, if it is that.
    fn oaep(&self) -> Option<OaepHash> {
        match self.algorithm {
            EncryptionAlgorithm::SymmetricDefault => None,
            EncryptionAlgorithm::RsaesOaepSha1 => Some(OaepHash::Sha1),
            EncryptionAlgorithm::RsaesOaepSha256 => Some(OaepHash::Sha256),
        }
    }

    fn details(&self, options: &CallOptions<'_>) -> Details<'static> {
        options.describe(self.describe("encryptionAlgorithm", Details::new()))
    }

    /// Adds the algorithm to what the log says of a request, unless it is the default.
    pub(super) fn describe(&self, member: &'static str, details: Details<'static>) -> Details<'static> {
        details.maybe(self.oaep(), |details, _| details.text(member, self.algorithm.name()))
    }

    /// Fails unless the key has the algorithm, and the request no context without a use.
    pub(super) fn check(&self, key: &Key) -> Result<()> {
        let spec = key.material.spec;
        if !EncryptionAlgorithm::of(spec, key.material.usage()).contains(&self.algorithm) {
            return Err(incompatible(self.algorithm.name(), spec));
        }
        if self.oaep().is_some() && self.context.is_some_and(|context| !context.is_empty()) {
            let message = "RSA has no encryption context: leave it out";
            return Err(invalid("ValidationException", message));
        }
        Ok(())
    }
}

impl LocalKms {
    /// Encrypts, with a choice of algorithm. With RSA the ciphertext is that of RFC 8017, which does not name its key.
    ///
    /// ```
    /// # #[cfg(feature = "aws-lc")] {
    /// use manila_local_kms::{
    ///     CreateKey, DecryptRequest, EncryptRequest, EncryptionAlgorithm, KeySpec, KeyUsage, LocalKms,
    /// };
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default().spec(KeySpec::Rsa2048).usage(KeyUsage::EncryptDecrypt))?;
    /// let oaep = EncryptionAlgorithm::RsaesOaepSha256;
    /// let encrypted = kms.encrypt_with(EncryptRequest::new(key.arn(), b"secret").algorithm(oaep))?;
    /// let decrypted = kms.decrypt_with(DecryptRequest::new(key.arn(), &encrypted.ciphertext).algorithm(oaep))?;
    /// assert_eq!(decrypted.plaintext.expose_secret(), b"secret");
    /// # }
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the key is not for
    /// encryption or has another algorithm (`InvalidKeyUsageException`), or the plaintext is too long.
    pub fn encrypt_with(&self, request: EncryptRequest<'_>) -> Result<KmsCiphertext> {
        let EncryptRequest { key_id, plaintext, of, options } = request;
        let context = of.context();
        let constraints = Constraints::new().len("plaintext", plaintext.len(), PLAINTEXT_LEN);
        let valid = constraints.grant_tokens(options.grant_tokens).check();
        let subject = OnKey::of(&KmsRequest::new(key_id, &context).with_grant_tokens(options.grant_tokens));
        self.compute(Operation::Encrypt, &subject, of.details(&options), valid, |key| {
            let ciphertext = self.encrypt_under(&key, &of, plaintext)?;
            options.check_not_dry()?;
            Ok(KmsCiphertext { ciphertext, key_arn: key.arn })
        })
    }

    /// Decrypts, with a choice of algorithm.
    ///
    /// # Errors
    /// Those of [`encrypt_with`](Self::encrypt_with), and [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if
    /// the ciphertext was changed or is not of this key, context and algorithm (`InvalidCiphertextException`,
    /// `IncorrectKeyException`).
    pub fn decrypt_with(&self, request: DecryptRequest<'_>) -> Result<KmsPlaintext> {
        let DecryptRequest { key_id, ciphertext, of, options } = request;
        let context = of.context();
        let constraints = Constraints::new().len("ciphertextBlob", ciphertext.len(), CIPHERTEXT_LEN);
        let valid = constraints.grant_tokens(options.grant_tokens).check();
        let subject = OnKey::of(&KmsRequest::new(key_id, &context).with_grant_tokens(options.grant_tokens));
        self.compute(Operation::Decrypt, &subject, of.details(&options), valid, |key| {
            let plaintext = self.decrypt_under(Operation::Decrypt, &key, &of, ciphertext)?;
            options.check_not_dry()?;
            Ok(KmsPlaintext { plaintext, key_arn: key.arn })
        })
    }

    /// Encrypts under a key that is for encryption.
    pub(super) fn encrypt_under(&self, key: &Key, of: &Algorithm<'_>, plaintext: &[u8]) -> Result<Vec<u8>> {
        of.check(key)?;
        let Some(hash) = of.oaep() else {
            return blob::seal(key, &of.context(), plaintext);
        };
        let spec = key.material.spec;
        let most = spec.key_pair().map_or(0, |kind| hash.most_bytes(kind));
        if plaintext.len() > most {
            let (algorithm, spec) = (of.algorithm.name(), spec.name());
            let message =
                format!("Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {most} bytes.");
            return Err(invalid("ValidationException", message));
        }
        let ciphertext = self.shared.key_pairs.of(key)?.encrypt(hash, plaintext);
        ciphertext.map_err(|_| internal("encrypting with RSA failed"))
    }

    /// Decrypts under a key of any kind, which may be the wrong one.
    pub(super) fn decrypt_under(
        &self,
        operation: Operation,
        key: &Key,
        of: &Algorithm<'_>,
        ciphertext: &[u8],
    ) -> Result<SecretBytes> {
        let Some(hash) = of.oaep() else {
            return blob::open(key, &of.context(), ciphertext);
        };
        key.check_usage(operation)?;
        of.check(key)?;
        let plaintext = self.shared.key_pairs.of(key)?.decrypt(hash, ciphertext);
        Ok(SecretBytes::new(&plaintext.map_err(|_| blob::invalid_raw_ciphertext())?))
    }
}
