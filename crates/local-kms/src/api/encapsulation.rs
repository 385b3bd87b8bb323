//! Key encapsulation.

use manila_core::{Result, SecretBytes};

use crate::audit::Details;
use crate::blob;
use crate::call::OnKey;
use crate::call_options::{CallOptions, with_options};
use crate::constraints::Constraints;
use crate::error::internal;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::algorithm::EncapsulationAlgorithm;

const CIPHERTEXT_LEN: std::ops::RangeInclusive<usize> = 1..=6144;

/// A request for a shared secret and its ciphertext.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct EncapsulateRequest<'a> {
    key_id: &'a str,
    options: CallOptions<'a>,
}

impl<'a> EncapsulateRequest<'a> {
    /// Returns a request for a secret that the owner of the key can get from its ciphertext.
    pub const fn new(key_id: &'a str) -> Self {
        Self { key_id, options: CallOptions { grant_tokens: &[], dry_run: false } }
    }
}

with_options!(EncapsulateRequest);

/// A request for the shared secret of a ciphertext.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct DecapsulateRequest<'a> {
    key_id: &'a str,
    ciphertext: &'a [u8],
    options: CallOptions<'a>,
}

impl<'a> DecapsulateRequest<'a> {
    /// Returns a request with a ciphertext that was made for the key.
    pub const fn new(key_id: &'a str, ciphertext: &'a [u8]) -> Self {
        Self { key_id, ciphertext, options: CallOptions { grant_tokens: &[], dry_run: false } }
    }
}

with_options!(DecapsulateRequest);

/// The answer to [`LocalKms::encapsulate`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Encapsulation {
    /// The secret, of 32 bytes.
    pub shared_secret: SecretBytes,
    /// The ciphertext that the owner of the key gets the secret from.
    pub ciphertext: Vec<u8>,
    /// ARN of the key.
    pub key_arn: String,
    /// The algorithm.
    pub algorithm: EncapsulationAlgorithm,
}

/// The answer to [`LocalKms::decapsulate`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Decapsulation {
    /// The secret, of 32 bytes.
    pub shared_secret: SecretBytes,
    /// ARN of the key.
    pub key_arn: String,
    /// The algorithm.
    pub algorithm: EncapsulationAlgorithm,
}

impl LocalKms {
    /// Makes a shared secret for the owner of an ML-KEM key, and its ciphertext.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, DecapsulateRequest, EncapsulateRequest, KeySpec, LocalKms};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default().spec(KeySpec::MlKem768))?;
    /// let made = kms.encapsulate(EncapsulateRequest::new(key.arn()))?;
    /// let got = kms.decapsulate(DecapsulateRequest::new(key.arn(), &made.ciphertext))?;
    /// assert_eq!(got.shared_secret.expose_secret(), made.shared_secret.expose_secret());
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput)
    /// (`InvalidKeyUsageException`) if the key is not an ML-KEM key.
    pub fn encapsulate(&self, request: EncapsulateRequest<'_>) -> Result<Encapsulation> {
        let EncapsulateRequest { key_id, options } = request;
        let valid = Constraints::new().grant_tokens(options.grant_tokens).check();
        let subject = OnKey::new(key_id).with_tokens(options.grant_tokens);
        self.compute(Operation::Encapsulate, &subject, details(&options), valid, |key| {
            let made = self.shared.key_pairs.of(&key)?.encapsulate();
            let made = made.map_err(|_| internal("encapsulating a secret failed"))?;
            options.check_not_dry()?;
            Ok(Encapsulation {
                shared_secret: SecretBytes::new(&made.secret),
                ciphertext: made.ciphertext,
                key_arn: key.arn,
                algorithm: EncapsulationAlgorithm::MlKem,
            })
        })
    }

    /// Returns the shared secret of a ciphertext.
    ///
    /// ML-KEM does not tell whether a ciphertext was made for the key: one that was changed, or made for another key,
    /// gives another secret, always the same one. Confirm that both sides have the same secret before it is used.
    ///
    /// # Errors
    /// Those of [`encapsulate`](Self::encapsulate), and [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused)
    /// (`InvalidCiphertextException`) if the ciphertext does not have the length of the key's kind.
    pub fn decapsulate(&self, request: DecapsulateRequest<'_>) -> Result<Decapsulation> {
        let DecapsulateRequest { key_id, ciphertext, options } = request;
        let constraints = Constraints::new().len("sharedSecretCiphertextBlob", ciphertext.len(), CIPHERTEXT_LEN);
        let valid = constraints.grant_tokens(options.grant_tokens).check();
        let subject = OnKey::new(key_id).with_tokens(options.grant_tokens);
        self.compute(Operation::Decapsulate, &subject, details(&options), valid, |key| {
            let secret = self.shared.key_pairs.of(&key)?.decapsulate(ciphertext);
            let secret = secret.map_err(|_| blob::invalid_raw_ciphertext())?;
            options.check_not_dry()?;
            let algorithm = EncapsulationAlgorithm::MlKem;
            Ok(Decapsulation { shared_secret: SecretBytes::new(&secret), key_arn: key.arn, algorithm })
        })
    }
}

fn details(options: &CallOptions<'_>) -> Details<'static> {
    options.describe(Details::new().text("encapsulationAlgorithm", EncapsulationAlgorithm::MlKem.name()))
}
