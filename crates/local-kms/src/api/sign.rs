//! Signatures.

use std::fmt;

use manila_core::Result;
use manila_core::internal::crypto::{Refused, SignedBytes};

use crate::audit::Details;
use crate::call::OnKey;
use crate::call_options::{CallOptions, with_options};
use crate::constraints::Constraints;
use crate::error::{internal, invalid, refused};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::algorithm::{SigningAlgorithm, incompatible};
use crate::record::key::Key;

/// The lengths in bytes of messages and signatures, as on AWS.
const MESSAGE_LEN: std::ops::RangeInclusive<usize> = 1..=4096;
const SIGNATURE_LEN: std::ops::RangeInclusive<usize> = 1..=6144;

/// The form in which a message is given, under AWS's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageType {
    /// The message, which the algorithm hashes.
    #[default]
    Raw,
    /// The digest of the message by the hash of the algorithm. Ed25519ph hashes it once more.
    Digest,
    /// The 64 bytes mu that ML-DSA computes from public key and message (FIPS 204, algorithm 7).
    ExternalMu,
}

impl MessageType {
    /// Every type.
    pub const ALL: &[Self] = &[Self::Raw, Self::Digest, Self::ExternalMu];

    /// Returns the type that AWS calls so.
    ///
    /// ```
    /// use manila_local_kms::MessageType;
    ///
    /// assert_eq!(MessageType::from_name("DIGEST"), Some(MessageType::Digest));
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|message_type| message_type.name() == name)
    }

    /// Returns AWS's name, such as `RAW`.
    ///
    /// ```
    /// use manila_local_kms::MessageType;
    ///
    /// assert_eq!(MessageType::ExternalMu.name(), "EXTERNAL_MU");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "RAW",
            Self::Digest => "DIGEST",
            Self::ExternalMu => "EXTERNAL_MU",
        }
    }
}

/// A message to sign.
#[derive(Clone, Copy)]
#[must_use]
pub struct SignRequest<'a> {
    key_id: &'a str,
    algorithm: SigningAlgorithm,
    message: &'a [u8],
    message_type: MessageType,
    options: CallOptions<'a>,
}

impl<'a> SignRequest<'a> {
    /// Returns a request to sign a message of 1 to 4096 bytes with an algorithm of the key.
    pub const fn new(key_id: &'a str, algorithm: SigningAlgorithm, message: &'a [u8]) -> Self {
        let options = CallOptions { grant_tokens: &[], dry_run: false };
        Self { key_id, algorithm, message, message_type: MessageType::Raw, options }
    }

    /// Sets what the message is. Defaults to [`MessageType::Raw`].
    pub const fn message_type(mut self, message_type: MessageType) -> Self {
        self.message_type = message_type;
        self
    }

    fn constraints(&self) -> Constraints {
        Constraints::new().len("message", self.message.len(), MESSAGE_LEN).grant_tokens(self.options.grant_tokens)
    }

    fn details(&self) -> Details<'a> {
        let details = Details::new().text("messageType", self.message_type.name());
        self.options.describe(details.text("signingAlgorithm", self.algorithm.name()))
    }

    /// Returns what is signed, if the key and the algorithm take it.
    fn signed(&self, key: &Key) -> Result<SignedBytes<'a>> {
        let spec = key.material.spec;
        if !SigningAlgorithm::of(spec, key.material.usage()).contains(&self.algorithm) {
            return Err(incompatible(self.algorithm.name(), spec));
        }
        let fits = match self.message_type {
            MessageType::Raw => self.algorithm != SigningAlgorithm::Ed25519PhSha512,
            MessageType::Digest => {
                !matches!(self.algorithm, SigningAlgorithm::Ed25519Sha512 | SigningAlgorithm::MlDsaShake256)
            }
            MessageType::ExternalMu => self.algorithm == SigningAlgorithm::MlDsaShake256,
        };
        let (message_type, algorithm) = (self.message_type.name(), self.algorithm.name());
        if !fits {
            let message = format!("MessageType {message_type} is not compatible with SigningAlgorithm {algorithm}");
            return Err(invalid("ValidationException", message));
        }
        match self.message_type {
            MessageType::Raw => Ok(SignedBytes::Message(self.message)),
            _ if self.message.len() == self.algorithm.digest_len() => Ok(SignedBytes::Digest(self.message)),
            _ => {
                let message = format!("Digest is invalid length for algorithm {algorithm}.");
                Err(invalid("ValidationException", message))
            }
        }
    }
}

with_options!(SignRequest);

impl fmt::Debug for SignRequest<'_> {
    /// Does not show the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignRequest")
            .field("key_id", &self.key_id)
            .field("algorithm", &self.algorithm)
            .field("message_type", &self.message_type)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A signature to verify.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct VerifyRequest<'a> {
    signed: SignRequest<'a>,
    signature: &'a [u8],
    options: CallOptions<'a>,
}

impl<'a> VerifyRequest<'a> {
    /// Returns a request to verify the signature of a message of 1 to 4096 bytes with an algorithm of the key.
    pub const fn new(key_id: &'a str, algorithm: SigningAlgorithm, message: &'a [u8], signature: &'a [u8]) -> Self {
        let options = CallOptions { grant_tokens: &[], dry_run: false };
        Self { signed: SignRequest::new(key_id, algorithm, message), signature, options }
    }

    /// Sets what the message is. Defaults to [`MessageType::Raw`].
    pub const fn message_type(mut self, message_type: MessageType) -> Self {
        self.signed.message_type = message_type;
        self
    }
}

with_options!(VerifyRequest);

/// The answer to [`LocalKms::sign`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signature {
    /// The signature: DER for ECDSA, the bytes of the standard for the others.
    pub signature: Vec<u8>,
    /// ARN of the key that signed.
    pub key_arn: String,
    /// The algorithm that it was asked to sign with.
    pub algorithm: SigningAlgorithm,
}

/// The answer to [`LocalKms::verify`]: the signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// ARN of the key that verified it.
    pub key_arn: String,
    /// The algorithm that it was asked to verify with.
    pub algorithm: SigningAlgorithm,
}

impl LocalKms {
    /// Signs a message.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, KeySpec, KeyUsage, LocalKms, SignRequest, SigningAlgorithm, VerifyRequest};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default().spec(KeySpec::EccNistP256).usage(KeyUsage::SignVerify))?;
    /// let algorithm = SigningAlgorithm::EcdsaSha256;
    /// let signed = kms.sign(SignRequest::new(key.arn(), algorithm, b"message"))?;
    /// kms.verify(VerifyRequest::new(key.arn(), algorithm, b"message", &signed.signature))?;
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is not enabled, or the
    /// caller lacks permission; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the key is not for
    /// signatures or has another algorithm (`InvalidKeyUsageException`), or the message or digest has a length or type
    /// that the algorithm does not take.
    pub fn sign(&self, request: SignRequest<'_>) -> Result<Signature> {
        let valid = request.constraints().check();
        self.compute(
            Operation::Sign,
            &OnKey::new(request.key_id).with_tokens(request.options.grant_tokens),
            request.details(),
            valid,
            |key| {
                let signed = request.signed(&key)?;
                let signature = self.shared.key_pairs.of(&key)?.sign(request.algorithm.scheme(), signed);
                let signature = signature.map_err(|Refused| internal("signing failed"))?;
                request.options.check_not_dry()?;
                Ok(Signature { signature, key_arn: key.arn, algorithm: request.algorithm })
            },
        )
    }

    /// Verifies the signature of a message.
    ///
    /// # Errors
    /// Those of [`sign`](Self::sign), and [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused)
    /// (`KMSInvalidSignatureException`) if the signature does not match.
    pub fn verify(&self, request: VerifyRequest<'_>) -> Result<Verified> {
        let VerifyRequest { signed: asked, signature, options } = request;
        let asked = SignRequest { options, ..asked };
        let valid = asked.constraints().len("signature", signature.len(), SIGNATURE_LEN).check();
        self.compute(
            Operation::Verify,
            &OnKey::new(asked.key_id).with_tokens(asked.options.grant_tokens),
            asked.details(),
            valid,
            |key| {
                let signed = asked.signed(&key)?;
                let verified = self.shared.key_pairs.of(&key)?.verify(asked.algorithm.scheme(), signed, signature);
                verified.map_err(|Refused| {
                    let message =
                        "the signature does not match: check the message, its type, the key and the algorithm";
                    refused("KMSInvalidSignatureException", message)
                })?;
                options.check_not_dry()?;
                Ok(Verified { key_arn: key.arn, algorithm: asked.algorithm })
            },
        )
    }
}
