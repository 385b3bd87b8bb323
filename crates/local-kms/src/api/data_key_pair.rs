//! Data key pairs.

use manila_core::{EncryptionContext, KmsRequest, Result, SecretBytes};

use crate::audit::Details;
use crate::blob;
use crate::call::OnKey;
use crate::call_options::{CallOptions, with_options};
use crate::constraints::Constraints;
use crate::error::internal;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::kind::KeySpec;
use crate::record::secret;

/// A request for a data key pair.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct DataKeyPairRequest<'a> {
    key_id: &'a str,
    spec: KeySpec,
    encryption_context: Option<&'a EncryptionContext>,
    options: CallOptions<'a>,
}

impl<'a> DataKeyPairRequest<'a> {
    /// Returns a request for a key pair of a kind, whose private key is encrypted under a symmetric key. Data key pairs
    /// are RSA, elliptic curves and ML-KEM.
    pub const fn new(key_id: &'a str, spec: KeySpec) -> Self {
        let options = CallOptions { grant_tokens: &[], dry_run: false };
        Self { key_id, spec, encryption_context: None, options }
    }

    /// Sets the encryption context that the encrypted private key is bound to.
    pub const fn encryption_context(mut self, context: &'a EncryptionContext) -> Self {
        self.encryption_context = Some(context);
        self
    }
}

with_options!(DataKeyPairRequest);

/// A data key pair, for use outside of the KMS.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DataKeyPair {
    /// The private key, unencrypted PKCS #8 (RFC 5958) in DER, with the seed for ML-KEM. `None` if it was not asked
    /// for.
    pub private_key: Option<SecretBytes>,
    /// The same, encrypted, for [`Kms::decrypt`](crate::Kms::decrypt).
    pub encrypted_private_key: Vec<u8>,
    /// The public key in `SubjectPublicKeyInfo` (RFC 5280), DER.
    pub public_key: Vec<u8>,
    /// ARN of the key that the private key is encrypted under.
    pub key_arn: String,
    /// The kind of the pair.
    pub spec: KeySpec,
}

impl LocalKms {
    /// Generates a key pair, and encrypts its private key.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, DataKeyPairRequest, KeySpec, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default())?;
    /// let pair = kms.generate_data_key_pair(DataKeyPairRequest::new(key.arn(), KeySpec::EccNistEdwards25519))?;
    /// assert_eq!(pair.private_key.ok_or("it is there")?.len(), 48);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the key is not
    /// symmetric and for encryption (`InvalidKeyUsageException`), there are no data key pairs of the kind, or this
    /// build has none (`UnsupportedOperationException`).
    pub fn generate_data_key_pair(&self, request: DataKeyPairRequest<'_>) -> Result<DataKeyPair> {
        self.data_key_pair(Operation::GenerateDataKeyPair, request, Some)
    }

    /// Generates a key pair, and returns its private key only encrypted, for later use.
    ///
    /// # Errors
    /// Those of [`generate_data_key_pair`](Self::generate_data_key_pair).
    pub fn generate_data_key_pair_without_plaintext(&self, request: DataKeyPairRequest<'_>) -> Result<DataKeyPair> {
        self.data_key_pair(Operation::GenerateDataKeyPairWithoutPlaintext, request, |_| None)
    }

    fn data_key_pair(
        &self,
        operation: Operation,
        request: DataKeyPairRequest<'_>,
        shown: impl FnOnce(SecretBytes) -> Option<SecretBytes>,
    ) -> Result<DataKeyPair> {
        let DataKeyPairRequest { key_id, spec, encryption_context, options } = request;
        let empty = EncryptionContext::empty();
        let context = encryption_context.unwrap_or(&empty);
        let names: Vec<_> =
            KeySpec::ALL.iter().filter(|spec| is_of_data_key_pairs(**spec)).map(|spec| spec.name()).collect();
        let constraints = Constraints::new().one_of("keyPairSpec", spec.name(), &names);
        let valid = constraints.grant_tokens(options.grant_tokens).check();
        let details = options.describe(Details::new().text("keyPairSpec", spec.name()));
        let subject = OnKey::of(&KmsRequest::new(key_id, context).with_grant_tokens(options.grant_tokens));
        self.compute(operation, &subject, details, valid, |key| {
            key.check_symmetric()?;
            let kind = spec.key_pair().ok_or_else(|| internal("a data key pair of another kind"))?;
            secret::check_supported(kind, spec)?;
            options.check_not_dry()?;
            let pair = secret::generate_pair(kind, spec)?;
            let private_key = SecretBytes::new(&secret::pkcs8(&pair)?);
            let encrypted_private_key = blob::seal(&key, context, private_key.expose_secret())?;
            let public_key = pair.public_key().map_err(|_| internal("could not encode a public key"))?;
            let private_key = shown(private_key);
            Ok(DataKeyPair { private_key, encrypted_private_key, public_key, key_arn: key.arn, spec })
        })
    }
}

/// Returns whether AWS has data key pairs of the kind.
///
/// Source: AWS KMS API Reference, `GenerateDataKeyPair`, `KeyPairSpec`.
fn is_of_data_key_pairs(spec: KeySpec) -> bool {
    spec.key_pair().is_some() && !matches!(spec, KeySpec::MlDsa44 | KeySpec::MlDsa65 | KeySpec::MlDsa87)
}
