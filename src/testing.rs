//! Tools for tests, fuzzers and authors of keyrings (feature `testing`).
//!
//! Do not use any of it in production: the key of a [`FixedKeyKeyring`] protects nothing.

mod ways;

use std::cell::Cell;
use std::fmt;

use manila_core::internal::crypto::RandomBytes;
use manila_core::{EncryptionContext, Error, ErrorKind, KeyFuture, Result};

use crate::client::Client;
use crate::decrypt;
use crate::encrypt::{Encryptor, NewMessage, NewMessageId};
use crate::expected_context::ExpectedContext;
use crate::keyring::Keyring;
use crate::materials::{DataKey, DecryptionRequest, EncryptionMaterials, UnwrapOutcome, WrappedKeys};
use crate::message::footer::LENGTH_FIELD;
use crate::message::header::{EncryptedDataKey, UnverifiedHeader};
use crate::message_key::{KeySource, MessageKey};
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

/// Returns how many times this thread has checked the tag of a header under a data key.
#[must_use]
pub fn header_tags_checked() -> u64 {
    HEADER_TAGS.get()
}

const PROVIDER: &str = "manila-testing";

/// A keyring that uses the same data key for every message and does not wrap it.
///
/// Anyone who knows the data key can decrypt its messages. It decrypts every message that was encrypted under that data
/// key, whichever keyring wrapped it.
///
/// ```
/// use manila::testing::FixedKeyKeyring;
/// use manila::{Client, EncryptionContext, ExpectedContext};
///
/// let client = Client::new(FixedKeyKeyring::new(&[7; 32]));
/// let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
/// assert_eq!(client.decrypt(&message, ExpectedContext::any())?.plaintext, b"hello");
/// # Ok::<(), manila::Error>(())
/// ```
pub struct FixedKeyKeyring(DataKey);

impl FixedKeyKeyring {
    /// Creates a keyring with a data key of 16, 24 or 32 bytes.
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

/// Returns the key of a message and, in committing suites, its commitment, to compare with known answers of other
/// implementations.
///
/// ```
/// use manila::AlgorithmSuite;
/// use manila::testing::derive_key;
///
/// let suite = AlgorithmSuite::Aes256GcmHkdfSha512CommitKey;
/// let (key, commitment) = derive_key(suite, &[7; 32], &[1; 32])?;
/// assert_eq!((key.len(), commitment.is_some()), (32, true));
/// # Ok::<(), manila::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::NoUsableDataKey`] if the data key does not have the length that the suite requires.
pub fn derive_key(suite: AlgorithmSuite, data_key: &[u8], message_id: &[u8]) -> Result<(Vec<u8>, Option<[u8; 32]>)> {
    let mut derived = MessageKey::default();
    derived.derive(KeySource { data_key: &DataKey::new(data_key), suite, message_id })?;
    Ok((derived.bytes().to_vec(), derived.commitment))
}

/// Verifies the signature of a message without its data key. Unsigned messages pass.
///
/// ```
/// use manila::testing::{FixedKeyKeyring, check_signature};
/// use manila::{Client, EncryptionContext, ErrorKind};
///
/// let client = Client::new(FixedKeyKeyring::new(&[7; 32]));
/// let mut message = client.encrypt(b"hello", &EncryptionContext::empty())?;
/// check_signature(&message)?;
/// let last = message.len() - 1;
/// message[last] ^= 1;
/// assert_eq!(check_signature(&message).unwrap_err().kind(), ErrorKind::SignatureInvalid);
/// # Ok::<(), manila::Error>(())
/// ```
///
/// # Errors
/// The errors of [`UnverifiedHeader::parse`] and [`UnverifiedHeader::summarize_body`], and
/// [`ErrorKind::SignatureInvalid`].
pub fn check_signature(message: &[u8]) -> Result<()> {
    let header = UnverifiedHeader::parse(message)?;
    let body = message.get(header.len()..).unwrap_or_default();
    let footer_len = usize::try_from(header.summarize_body(body)?.footer_len()).unwrap_or(usize::MAX);
    let Some(mut verifier) = decrypt::verifier(&header)? else { return Ok(()) };
    let (signed, footer) = message.split_at(message.len().saturating_sub(footer_len));
    verifier.update(signed);
    verifier
        .finish(footer.get(LENGTH_FIELD..).unwrap_or_default())
        .map_err(|_| Error::new(ErrorKind::SignatureInvalid, "the signature is not valid"))
}

/// The part of a message that is bound to the encryption context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContextBinding {
    /// The encrypted data key: it can be decrypted only with its own context, as [`Keyring`] requires where possible.
    DataKey,
    /// Only the tags of the message. RSA takes no additional data, so `RawRsaKeyring` cannot bind the data key.
    MessageAlone,
}

/// Checks that a keyring follows the contract of [`Keyring`].
///
/// A keyring must generate data keys of every length, wrap data keys of other keyrings, unwrap its own, bind them to
/// the context as `binding` says, ignore those of other keyrings, and return a cause for each of its own that is
/// damaged.
///
/// ```
/// use manila::keyring::RawAesKeyring;
/// use manila::testing::{ContextBinding, check_keyring, ready};
///
/// let keyring = RawAesKeyring::new("example", "test-key", &[7; 32])?;
/// ready(check_keyring(&keyring, ContextBinding::DataKey))?; // or `.await`
/// # Ok::<(), manila::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::Internal`] with the rule that the keyring breaks, or the error of the keyring.
pub async fn check_keyring(keyring: &dyn Keyring, binding: ContextBinding) -> Result<()> {
    // Serialized without lengths, this context equals one that it is compared with further down.
    let context = EncryptionContext::new([("ab", "c")])?;
    let suites = [
        AlgorithmSuite::Aes128GcmHkdfSha256,
        AlgorithmSuite::Aes192GcmHkdfSha256,
        AlgorithmSuite::Aes256GcmHkdfSha512CommitKey,
    ];
    for suite in suites {
        let mut materials = EncryptionMaterials::new(suite, &context)?;
        materials.add(keyring.on_encrypt(&materials).await?)?;
        require(materials.data_key().is_some(), "the keyring generated no data key")?;
        require(!materials.encrypted_data_keys().is_empty(), "the keyring wrapped no data key")?;
        check_unwrap(keyring, &materials, binding).await?;

        let other =
            EncryptionMaterials::new(suite, &context)?.with_data_key(DataKey::generate(suite.data_key_len())?)?;
        let wrapped = keyring.on_encrypt(&other).await?;
        require(wrapped.data_key.is_none(), "the keyring replaced a data key")?;
        require(!wrapped.encrypted_data_keys.is_empty(), "the keyring did not wrap an existing data key")?;
        let mut other = other;
        other.add(wrapped)?;
        check_unwrap(keyring, &other, binding).await?;
    }
    Ok(())
}

/// Returns the request that a client which accepts every suite passes to its materials manager for this message.
///
/// ```
/// use manila::testing::{FixedKeyKeyring, decryption_request};
/// use manila::{Client, EncryptionContext, ExpectedContext};
///
/// let client = Client::new(FixedKeyKeyring::new(&[7; 32]));
/// let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
/// let request = decryption_request(&message, ExpectedContext::any())?;
/// assert_eq!(request.encrypted_data_keys().len(), 1);
/// # Ok::<(), manila::Error>(())
/// ```
///
/// # Errors
/// The errors of [`UnverifiedHeader::parse`], and [`ErrorKind::ContextMismatch`] if the header is not as expected.
pub fn decryption_request(message: &[u8], expected: impl Into<ExpectedContext>) -> Result<DecryptionRequest> {
    let policy = CommitmentPolicy::ForbidEncryptAllowDecrypt;
    let expected = expected.into().stated()?;
    DecryptionRequest::new(UnverifiedHeader::parse(message)?, expected, policy)
}

/// Returns a request for a message with these encrypted data keys and this context, whose header verifies under the
/// data key of `materials`.
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
    let id = NewMessageId::take(&RandomBytes::none())?;
    let message = NewMessage::new(of_message, id, Some(0), &settings)?;
    decryption_request(Encryptor::new(message, &settings)?.header(), ExpectedContext::any())
}

async fn check_unwrap(keyring: &dyn Keyring, materials: &EncryptionMaterials, binding: ContextBinding) -> Result<()> {
    let keys = materials.encrypted_data_keys();
    let context = materials.encryption_context();
    let ask = |keys: &[EncryptedDataKey], context: &EncryptionContext| request_for(materials, keys, context);
    let opened = keyring.on_decrypt(&ask(keys, context)?).await?.data_key;
    let same = opened.as_ref().map(DataKey::expose_secret) == materials.data_key().map(DataKey::expose_secret);
    require(same, "the keyring does not unwrap a data key that it wrapped")?;

    let stranger = EncryptedDataKey {
        provider_id: "manila-testing-stranger".to_owned(),
        provider_info: b"nobody".to_vec(),
        ciphertext: vec![7; 48],
    };
    let among = [std::slice::from_ref(&stranger), keys].concat();
    let opened = keyring.on_decrypt(&ask(&among, context)?).await?;
    require(opened.data_key.is_some(), "a data key of another keyring prevents this one from unwrapping its own")?;
    let foreign = keyring.on_decrypt(&ask(&[stranger], context)?).await?;
    require(
        foreign.data_key.is_none() && foreign.causes.is_empty(),
        "the keyring returns a cause for a data key of another keyring",
    )?;

    for similar in [("a", "bc"), ("ab", "d"), ("abc", "")] {
        let unbound = keyring.on_decrypt(&ask(keys, &EncryptionContext::new([similar])?)?).await?;
        let is_bound = unbound.data_key.is_none() || binding == ContextBinding::MessageAlone;
        require(is_bound, "the keyring's data keys are not bound to the encryption context")?;
    }
    let mut broken = keys.to_vec();
    for key in &mut broken {
        for byte in &mut key.ciphertext {
            *byte ^= 1;
        }
    }
    let refused = keyring.on_decrypt(&ask(&broken, context)?).await?;
    require(
        refused.data_key.is_none() && !refused.causes.is_empty(),
        "the keyring returns no cause for a damaged data key",
    )
}

/// Returns a client that writes and reads `suite` with a keyring.
///
/// ```
/// use manila::testing::{FixedKeyKeyring, client_for};
/// use manila::{AlgorithmSuite, EncryptionContext, UnverifiedHeader};
///
/// for suite in AlgorithmSuite::ALL {
///     let client = client_for(suite, FixedKeyKeyring::new(&vec![7; suite.data_key_len()]))?;
///     let message = client.encrypt(b"hello", &EncryptionContext::empty())?;
///     assert_eq!(UnverifiedHeader::parse(&message)?.suite(), suite);
/// }
/// # Ok::<(), manila::Error>(())
/// ```
///
/// # Errors
/// The same as [`ClientBuilder::build`](crate::ClientBuilder::build).
pub fn client_for(suite: AlgorithmSuite, keyring: impl Keyring + 'static) -> Result<Client> {
    Client::builder(keyring).suite(suite).commitment_policy(policy_for(suite)).build()
}

/// Returns a commitment policy that allows writing and reading `suite`.
#[must_use]
pub fn policy_for(suite: AlgorithmSuite) -> CommitmentPolicy {
    match suite.is_committing() {
        true => CommitmentPolicy::RequireEncryptRequireDecrypt,
        false => CommitmentPolicy::ForbidEncryptAllowDecrypt,
    }
}
