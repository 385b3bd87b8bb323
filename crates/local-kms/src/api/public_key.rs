//! Public keys.

use manila_core::Result;

use crate::audit::Details;
use crate::call::OnKey;
use crate::constraints::Constraints;
use crate::error::{internal, invalid};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::algorithm::{EncapsulationAlgorithm, EncryptionAlgorithm, KeyAgreementAlgorithm, SigningAlgorithm};
use crate::record::kind::{KeySpec, KeyUsage};

/// A request for a public key. A key id, ARN, alias or alias ARN becomes one with `into`.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct PublicKeyRequest<'a> {
    key_id: &'a str,
    grant_tokens: &'a [String],
}

impl<'a> PublicKeyRequest<'a> {
    /// Returns a request for the public key of a key.
    pub const fn new(key_id: &'a str) -> Self {
        Self { key_id, grant_tokens: &[] }
    }

    /// Sets grant tokens, at most 10, which AWS needs in the first minutes of a grant's life. Grants take effect here
    /// at once, so they change nothing.
    pub const fn grant_tokens(mut self, tokens: &'a [String]) -> Self {
        self.grant_tokens = tokens;
        self
    }
}

impl<'a> From<&'a str> for PublicKeyRequest<'a> {
    fn from(key_id: &'a str) -> Self {
        Self::new(key_id)
    }
}

/// The public key of an asymmetric key, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublicKey {
    /// The public key in `SubjectPublicKeyInfo` (RFC 5280), DER.
    pub public_key: Vec<u8>,
    /// ARN of the key.
    pub key_arn: String,
    /// The kind of key.
    pub spec: KeySpec,
    /// The usage of the key.
    pub usage: KeyUsage,
}

impl PublicKey {
    /// Returns the algorithms that encrypt for the key.
    #[must_use]
    pub fn encryption_algorithms(&self) -> &'static [EncryptionAlgorithm] {
        EncryptionAlgorithm::of(self.spec, self.usage)
    }

    /// Returns the algorithms that verify signatures of the key.
    #[must_use]
    pub fn signing_algorithms(&self) -> &'static [SigningAlgorithm] {
        SigningAlgorithm::of(self.spec, self.usage)
    }

    /// Returns the algorithms that agree on secrets with the key.
    #[must_use]
    pub fn key_agreement_algorithms(&self) -> &'static [KeyAgreementAlgorithm] {
        KeyAgreementAlgorithm::of(self.usage)
    }

    /// Returns the algorithms that encapsulate secrets for the key.
    #[must_use]
    pub fn encapsulation_algorithms(&self) -> &'static [EncapsulationAlgorithm] {
        EncapsulationAlgorithm::of(self.usage)
    }
}

impl LocalKms {
    /// Returns the public key of an asymmetric key.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, KeySpec, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default().spec(KeySpec::EccSecgP256k1))?;
    /// let answer = kms.public_key(key.arn())?;
    /// assert_eq!((answer.public_key.len(), answer.spec), (88, KeySpec::EccSecgP256k1));
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput)
    /// (`UnsupportedOperationException`) if the key is symmetric.
    pub fn public_key<'a>(&self, request: impl Into<PublicKeyRequest<'a>>) -> Result<PublicKey> {
        let PublicKeyRequest { key_id, grant_tokens } = request.into();
        let valid = Constraints::new().grant_tokens(grant_tokens).check();
        self.compute(
            Operation::GetPublicKey,
            &OnKey::new(key_id).with_tokens(grant_tokens),
            Details::new(),
            valid,
            |key| {
                let (spec, usage) = (key.material.spec, key.material.usage());
                if spec.key_pair().is_none() {
                    let message =
                        format!("{} key spec is {} which is not valid for GetPublicKey.", key.arn, spec.name());
                    return Err(invalid("UnsupportedOperationException", message));
                }
                let public_key = self.shared.key_pairs.of(&key)?.public_key();
                let public_key = public_key.map_err(|_| internal("could not encode a public key"))?;
                Ok(PublicKey { public_key, key_arn: key.arn, spec, usage })
            },
        )
    }
}
