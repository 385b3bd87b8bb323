//! For tests, fuzzers and those who write keyrings of their own (feature `testing`).
//!
//! Nothing here belongs into a program: [`FixedKeyKeyring`] has no secret worth the name.

mod ways;

use std::cell::Cell;
use std::fmt;

use manila_core::{EncryptionContext, Error, ErrorKind, KeyFuture, Result};

use crate::client::Client;
use crate::decrypt;
use crate::encrypt::Encryptor;
use crate::expected_context::ExpectedContext;
use crate::keyring::Keyring;
use crate::materials::{DataKey, DecryptionRequest, EncryptionMaterials, UnwrapOutcome, WrappedKeys};
use crate::message::footer::LENGTH_FIELD;
use crate::message::header::{EncryptedDataKey, UnverifiedHeader};
use crate::message_key::MessageKey;
use crate::policy::CommitmentPolicy;
use crate::settings::Settings;
use crate::suite::AlgorithmSuite;

use manila_core::testing::require;
pub use manila_core::testing::{check_kms, check_two_keys, context_with_reserved, ready};
pub use ways::{open_every_way, open_streamed};

#[cfg(feature = "local-kms")]
pub use manila_local_kms::testing::{
    open_store, policies_parsed, read_ciphertext, read_policy, read_record, records_read,
};

std::thread_local! {
    static HEADER_TAGS: Cell<u64> = const { Cell::new(0) };
}

pub(crate) fn note_header_tag() {
    HEADER_TAGS.set(HEADER_TAGS.get().saturating_add(1));
}

/// How often this thread has held the tag of a header against a data key.
#[must_use]
pub fn header_tags_checked() -> u64 {
    HEADER_TAGS.get()
}

const PROVIDER: &str = "manila-testing";

/// Has one data key for every message: what it seals anyone can open, and it opens what was sealed with that key
/// whoever wrapped it.
pub struct FixedKeyKeyring(DataKey);

impl FixedKeyKeyring {
    /// A keyring of a data key of 16, 24 or 32 bytes.
    #[must_use]
    pub fn new(data_key: &[u8]) -> Self {
        Self(DataKey::new(data_key))
    }
}

impl Keyring for FixedKeyKeyring {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(async {
            let data_key = if materials.data_key().is_some() { None } else { Some(self.0.clone()) };
            let provider_id = PROVIDER.to_owned();
            let wrapped = EncryptedDataKey { provider_id, provider_info: Vec::new(), ciphertext: Vec::new() };
            Ok(WrappedKeys { data_key, encrypted_data_keys: vec![wrapped] })
        })
    }

    fn on_decrypt<'a>(&'a self, _: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(async { Ok(UnwrapOutcome { data_key: Some(self.0.clone()), causes: Vec::new() }) })
    }

    fn is_local(&self) -> bool {
        true
    }
}

impl fmt::Debug for FixedKeyKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FixedKeyKeyring")
    }
}

/// The key of a message and, in suites that commit, its commitment: for known answers of other implementations.
///
/// # Errors
/// [`ErrorKind::NoUsableDataKey`] if the data key is not as long as the suite takes it.
pub fn derive_key(suite: AlgorithmSuite, data_key: &[u8], message_id: &[u8]) -> Result<(Vec<u8>, Option<[u8; 32]>)> {
    let mut derived = MessageKey::default();
    derived.derive(&DataKey::new(data_key), suite, message_id)?;
    Ok((derived.bytes().to_vec(), derived.commitment))
}

/// Verifies the signature of a message without its data key.
///
/// # Errors
/// As [`UnverifiedHeader::parse`] and [`UnverifiedHeader::summarize_body`], and [`ErrorKind::SignatureInvalid`].
pub fn check_signature(message: &[u8]) -> Result<()> {
    let header = UnverifiedHeader::parse(message)?;
    let body = message.get(header.len()..).unwrap_or_default();
    let footer_len = usize::try_from(header.summarize_body(body)?.footer_len).unwrap_or(usize::MAX);
    let Some(mut verifier) = decrypt::verifier(&header)? else { return Ok(()) };
    let (signed, footer) = message.split_at(message.len().saturating_sub(footer_len));
    verifier.update(signed);
    verifier
        .finish(footer.get(LENGTH_FIELD..).unwrap_or_default())
        .map_err(|_| Error::new(ErrorKind::SignatureInvalid, "the signature is wrong"))
}

/// The place where a data key is bound to the encryption context of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextBinding {
    /// The encrypted data key itself opens with its own context alone, as [`Keyring`] asks of all keyrings that can do
    /// it.
    DataKey,
    /// The message's tags alone: RSA takes no additional data, so that `RawRsaKeyring` has
    /// nothing to bind the data key with.
    MessageAlone,
}

/// Holds a keyring against the contract of [`Keyring`]: it makes data keys of every length, wraps those of others,
/// opens its own, binds them to the context (unless told otherwise), keeps silent about those of others, and tells
/// causes for broken ones.
///
/// # Errors
/// [`ErrorKind::Internal`] with the part of the contract that is broken.
pub async fn check_keyring(keyring: &dyn Keyring, binding: ContextBinding) -> Result<()> {
    // Serialised carelessly, this context looks like the one it is held against further down.
    let context = EncryptionContext::new([("ab", "c")])?;
    let suites = [
        AlgorithmSuite::Aes128GcmHkdfSha256,
        AlgorithmSuite::Aes192GcmHkdfSha256,
        AlgorithmSuite::Aes256GcmHkdfSha512CommitKey,
    ];
    for suite in suites {
        let mut materials = EncryptionMaterials::new(suite, &context)?;
        materials.add(keyring.on_encrypt(&materials).await?)?;
        require(materials.data_key().is_some(), "it made no data key")?;
        require(!materials.encrypted_data_keys().is_empty(), "it wrapped no data key")?;
        check_unwrap(keyring, &materials, binding).await?;

        let other =
            EncryptionMaterials::new(suite, &context)?.with_data_key(DataKey::generate(suite.data_key_len())?)?;
        let wrapped = keyring.on_encrypt(&other).await?;
        require(wrapped.data_key.is_none(), "it replaced a data key")?;
        require(!wrapped.encrypted_data_keys.is_empty(), "it did not wrap a data key that was there")?;
        let mut other = other;
        other.add(wrapped)?;
        check_unwrap(keyring, &other, binding).await?;
    }
    Ok(())
}

/// The request that a reader who takes every suite makes of its materials manager for this message.
///
/// # Errors
/// As [`UnverifiedHeader::parse`], and [`ErrorKind::ContextMismatch`] if the header is not what the reader expects.
pub fn decryption_request(message: &[u8], expected: impl Into<ExpectedContext>) -> Result<DecryptionRequest> {
    let policy = CommitmentPolicy::ForbidEncryptAllowDecrypt;
    DecryptionRequest::new(UnverifiedHeader::parse(message)?, expected.into(), policy)
}

/// A request for a message with these data keys and this context whose header the materials' data key opens.
fn request_for(
    materials: &EncryptionMaterials,
    keys: &[EncryptedDataKey],
    context: &EncryptionContext,
) -> Result<DecryptionRequest> {
    let suite = materials.suite();
    let mut of_message = EncryptionMaterials::new(suite, context)?;
    let data_key = materials.data_key().cloned();
    of_message.add(WrappedKeys { data_key, encrypted_data_keys: keys.to_vec() })?;
    let settings = Settings { commitment_policy: policy_for(suite), ..Settings::default() };
    decryption_request(Encryptor::new(of_message, Some(0), &settings)?.header(), ExpectedContext::any())
}

async fn check_unwrap(keyring: &dyn Keyring, materials: &EncryptionMaterials, binding: ContextBinding) -> Result<()> {
    let keys = materials.encrypted_data_keys();
    let context = materials.encryption_context();
    let ask = |keys: &[EncryptedDataKey], context: &EncryptionContext| request_for(materials, keys, context);
    let opened = keyring.on_decrypt(&ask(keys, context)?).await?.data_key;
    let same = opened.as_ref().map(DataKey::expose_secret) == materials.data_key().map(DataKey::expose_secret);
    require(same, "it does not open what it wrapped")?;

    let stranger = EncryptedDataKey {
        provider_id: "manila-testing-stranger".to_owned(),
        provider_info: b"nobody".to_vec(),
        ciphertext: vec![7; 48],
    };
    let among = [std::slice::from_ref(&stranger), keys].concat();
    let opened = keyring.on_decrypt(&ask(&among, context)?).await?;
    require(opened.data_key.is_some(), "another's data key keeps it from its own")?;
    let foreign = keyring.on_decrypt(&ask(&[stranger], context)?).await?;
    require(foreign.data_key.is_none() && foreign.causes.is_empty(), "it tells of data keys that are not its own")?;

    for similar in [("a", "bc"), ("ab", "d"), ("abc", "")] {
        let unbound = keyring.on_decrypt(&ask(keys, &EncryptionContext::new([similar])?)?).await?;
        let is_bound = unbound.data_key.is_none() || binding == ContextBinding::MessageAlone;
        require(is_bound, "its data keys are not bound to the encryption context")?;
    }
    let mut broken = keys.to_vec();
    for key in &mut broken {
        for byte in &mut key.ciphertext {
            *byte ^= 1;
        }
    }
    let refused = keyring.on_decrypt(&ask(&broken, context)?).await?;
    require(refused.data_key.is_none() && !refused.causes.is_empty(), "it tells no cause for a broken data key")
}

/// A client that writes and reads `suite`, over a keyring.
///
/// # Errors
/// As [`ClientBuilder::build`](crate::ClientBuilder::build).
pub fn client_for(suite: AlgorithmSuite, keyring: impl Keyring + 'static) -> Result<Client> {
    Client::builder(keyring).suite(suite).commitment_policy(policy_for(suite)).build()
}

/// A commitment policy under which `suite` is written and read.
#[must_use]
pub fn policy_for(suite: AlgorithmSuite) -> CommitmentPolicy {
    match suite.is_committing() {
        true => CommitmentPolicy::RequireEncryptRequireDecrypt,
        false => CommitmentPolicy::ForbidEncryptAllowDecrypt,
    }
}
