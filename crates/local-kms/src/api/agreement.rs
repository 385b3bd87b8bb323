//! Key agreement.

use manila_core::{Result, SecretBytes};

use crate::audit::Details;
use crate::call::OnKey;
use crate::call_options::{CallOptions, with_options};
use crate::constraints::Constraints;
use crate::error::invalid;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::algorithm::KeyAgreementAlgorithm;
use crate::record::kind::KeyOrigin;

const PUBLIC_KEY_LEN: std::ops::RangeInclusive<usize> = 1..=8192;

/// A request to agree on a secret with the owner of a public key.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct DeriveSharedSecretRequest<'a> {
    key_id: &'a str,
    public_key: &'a [u8],
    options: CallOptions<'a>,
}

impl<'a> DeriveSharedSecretRequest<'a> {
    /// Returns a request with a public key on the curve of the key, in `SubjectPublicKeyInfo` (RFC 5280), DER.
    pub const fn new(key_id: &'a str, public_key: &'a [u8]) -> Self {
        let options = CallOptions { grant_tokens: &[], dry_run: false };
        Self { key_id, public_key, options }
    }
}

with_options!(DeriveSharedSecretRequest);

/// The answer to [`LocalKms::derive_shared_secret`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DerivedSecret {
    /// The x coordinate of the shared point, as long as the field of the curve. Derive keys from it.
    pub shared_secret: SecretBytes,
    /// ARN of the key.
    pub key_arn: String,
    /// The origin of the key's material.
    pub key_origin: KeyOrigin,
    /// The algorithm.
    pub algorithm: KeyAgreementAlgorithm,
}

impl LocalKms {
    /// Computes the secret that a key shares with the owner of a public key, by ECDH.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, DeriveSharedSecretRequest, KeySpec, KeyUsage, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let request = CreateKey::default().spec(KeySpec::EccNistP384).usage(KeyUsage::KeyAgreement);
    /// let (alice, bob) = (kms.create_key(request.clone())?, kms.create_key(request)?);
    /// let of_alice = kms.public_key(alice.arn())?.public_key;
    /// let of_bob = kms.public_key(bob.arn())?.public_key;
    /// let one = kms.derive_shared_secret(DeriveSharedSecretRequest::new(alice.arn(), &of_bob))?;
    /// let other = kms.derive_shared_secret(DeriveSharedSecretRequest::new(bob.arn(), &of_alice))?;
    /// assert_eq!(one.shared_secret.expose_secret(), other.shared_secret.expose_secret());
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the key is not for key
    /// agreement (`InvalidKeyUsageException`) or the public key is not one of its curve (`ValidationException`).
    pub fn derive_shared_secret(&self, request: DeriveSharedSecretRequest<'_>) -> Result<DerivedSecret> {
        let DeriveSharedSecretRequest { key_id, public_key, options } = request;
        let constraints = Constraints::new().len("publicKey", public_key.len(), PUBLIC_KEY_LEN);
        let valid = constraints.grant_tokens(options.grant_tokens).check();
        let algorithm = KeyAgreementAlgorithm::Ecdh;
        let details = options.describe(Details::new().text("keyAgreementAlgorithm", algorithm.name()));
        self.compute(
            Operation::DeriveSharedSecret,
            &OnKey::new(key_id).with_tokens(options.grant_tokens),
            details,
            valid,
            |key| {
                let agreed = self.shared.key_pairs.of(&key)?.agree(public_key);
                let secret = agreed.map_err(|_| {
                    let message =
                        "the public key is not a SubjectPublicKeyInfo in DER of a point on the curve of the key";
                    invalid("ValidationException", message)
                })?;
                options.check_not_dry()?;
                let (shared_secret, key_origin) = (SecretBytes::new(&secret), key.material.origin);
                Ok(DerivedSecret { shared_secret, key_arn: key.arn, key_origin, algorithm })
            },
        )
    }
}
