//! Message authentication codes.

use std::fmt;

use manila_core::Result;
use manila_core::internal::crypto;

use crate::audit::Details;
use crate::call::OnKey;
use crate::call_options::{CallOptions, with_options};
use crate::constraints::Constraints;
use crate::error::refused;
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::algorithm::{MacAlgorithm, incompatible};
use crate::store::damaged;

/// The lengths in bytes of messages and codes, as on AWS.
const MESSAGE_LEN: std::ops::RangeInclusive<usize> = 1..=4096;
const MAC_LEN: std::ops::RangeInclusive<usize> = 1..=6144;

/// A request for the message authentication code of a message.
#[derive(Clone, Copy)]
#[must_use]
pub struct MacRequest<'a> {
    key_id: &'a str,
    /// That of the key if it is not given.
    algorithm: Option<MacAlgorithm>,
    message: &'a [u8],
    options: CallOptions<'a>,
}

impl<'a> MacRequest<'a> {
    /// Returns a request for the code of a message of 1 to 4096 bytes, with the algorithm of the key.
    pub const fn new(key_id: &'a str, algorithm: MacAlgorithm, message: &'a [u8]) -> Self {
        Self { algorithm: Some(algorithm), ..Self::of_key(key_id, message) }
    }

    const fn of_key(key_id: &'a str, message: &'a [u8]) -> Self {
        Self { key_id, algorithm: None, message, options: CallOptions { grant_tokens: &[], dry_run: false } }
    }
}

with_options!(MacRequest);

impl fmt::Debug for MacRequest<'_> {
    /// Does not show the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MacRequest")
            .field("key_id", &self.key_id)
            .field("algorithm", &self.algorithm)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A message authentication code to verify.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct VerifyMacRequest<'a> {
    of: MacRequest<'a>,
    mac: &'a [u8],
    options: CallOptions<'a>,
}

impl<'a> VerifyMacRequest<'a> {
    /// Returns a request to verify the code of a message of 1 to 4096 bytes, with the algorithm of the key.
    pub const fn new(key_id: &'a str, algorithm: MacAlgorithm, message: &'a [u8], mac: &'a [u8]) -> Self {
        let options = CallOptions { grant_tokens: &[], dry_run: false };
        Self { of: MacRequest::new(key_id, algorithm, message), mac, options }
    }
}

with_options!(VerifyMacRequest);

/// The answer to [`LocalKms::generate_mac_with`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mac {
    /// The code, as long as the hash.
    pub mac: Vec<u8>,
    /// ARN of the key.
    pub key_arn: String,
    /// The algorithm.
    pub algorithm: MacAlgorithm,
}

/// The answer to [`LocalKms::verify_mac_with`]: the code is right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedMac {
    /// ARN of the key.
    pub key_arn: String,
    /// The algorithm.
    pub algorithm: MacAlgorithm,
}

impl LocalKms {
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
        self.generate_mac_with(MacRequest::of_key(key_id, message)).map(|answer| answer.mac)
    }

    /// Computes a message authentication code like [`generate_mac`](Self::generate_mac), with an algorithm that the key
    /// must have.
    ///
    /// ```
    /// use manila_local_kms::{CreateKey, KeySpec, LocalKms, MacAlgorithm, MacRequest};
    ///
    /// let kms = LocalKms::in_memory()?;
    /// let key = kms.create_key(CreateKey::default().spec(KeySpec::Hmac384))?;
    /// let answer = kms.generate_mac_with(MacRequest::new(key.arn(), MacAlgorithm::HmacSha384, b"message"))?;
    /// assert_eq!(answer.mac.len(), 48);
    /// # Ok::<(), manila_local_kms::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`generate_mac`](Self::generate_mac).
    pub fn generate_mac_with(&self, request: MacRequest<'_>) -> Result<Mac> {
        self.mac(Operation::GenerateMac, request, Constraints::new(), |_| Ok(()))
    }

    /// Verifies the message authentication code of a message, in constant time.
    ///
    /// # Errors
    /// The same as [`generate_mac`](Self::generate_mac), and [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused)
    /// (`KMSInvalidMacException`) if the code does not match.
    pub fn verify_mac(&self, key_id: &str, message: &[u8], mac: &[u8]) -> Result<()> {
        let (of, options) = (MacRequest::of_key(key_id, message), CallOptions::default());
        self.verify_mac_with(VerifyMacRequest { of, mac, options }).map(drop)
    }

    /// Verifies a message authentication code like [`verify_mac`](Self::verify_mac), with an algorithm that the key
    /// must have.
    ///
    /// # Errors
    /// Those of [`verify_mac`](Self::verify_mac).
    pub fn verify_mac_with(&self, request: VerifyMacRequest<'_>) -> Result<VerifiedMac> {
        let VerifyMacRequest { of, mac, options } = request;
        let constraints = Constraints::new().len("mac", mac.len(), MAC_LEN);
        let Mac { key_arn, algorithm, .. } =
            self.mac(Operation::VerifyMac, MacRequest { options, ..of }, constraints, |right| {
                if crypto::equal(right, mac) {
                    return Ok(());
                }
                let message = "the message authentication code does not match: check the message, the key and the code";
                Err(refused("KMSInvalidMacException", message))
            })?;
        Ok(VerifiedMac { key_arn, algorithm })
    }

    fn mac(
        &self,
        operation: Operation,
        request: MacRequest<'_>,
        constraints: Constraints,
        check: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<Mac> {
        let MacRequest { key_id, algorithm, message, options } = request;
        let constraints = constraints.len("message", message.len(), MESSAGE_LEN);
        let valid = constraints.grant_tokens(options.grant_tokens).check();
        let named = |details: Details<'static>, algorithm: MacAlgorithm| details.text("macAlgorithm", algorithm.name());
        let details = options.describe(Details::new().maybe(algorithm, named));
        self.compute(operation, &OnKey::new(key_id).with_tokens(options.grant_tokens), details, valid, |key| {
            let spec = key.material.spec;
            let of_key = MacAlgorithm::of(spec).first().copied().ok_or_else(damaged)?;
            if let Some(asked) = algorithm.filter(|asked| *asked != of_key) {
                return Err(incompatible(asked.name(), spec));
            }
            let material = key.material.materials.last().ok_or_else(damaged)?;
            let mac = crypto::mac(of_key.hash(), &material.secret, &[message])?;
            check(&mac)?;
            options.check_not_dry()?;
            Ok(Mac { mac, key_arn: key.arn, algorithm: of_key })
        })
    }
}
