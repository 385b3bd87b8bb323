//! [`RawAesKeyring`]: data keys wrapped under an AES key that the application holds.
//!
//! Source: the ESDK specification, `framework/raw-aes-keyring.md`.

use std::fmt;

use manila_core::internal::crypto::{AeadKey, IV_LEN, Refused};
use manila_core::{KeyFuture, Result};

use crate::keyring::{Keyring, raw};
use crate::materials::{DataKey, DecryptionRequest, EncryptionMaterials, UnwrapOutcome, WrappedKeys};
use crate::message::header::EncryptedDataKey;

/// Wraps data keys with AES-GCM under a key that the application holds.
///
/// Namespace and name are stored in each message in the clear; they tell the reader which key to use. Each data key is
/// wrapped with a random 12-byte IV, so a key may wrap at most 2^32 data keys (NIST SP 800-38D, section 8.3).
///
/// ```
/// use manila::keyring::RawAesKeyring;
/// use manila::{Client, EncryptionContext};
///
/// let test_key = [7; 32];
/// let client = Client::new(RawAesKeyring::new("example", "key-1", &test_key)?);
/// let context = EncryptionContext::new([("tenant", "acme")])?;
/// let message = client.encrypt(b"hello", &context)?;
/// assert_eq!(client.decrypt(&message, &context)?.plaintext, b"hello");
/// # Ok::<(), manila::Error>(())
/// ```
pub struct RawAesKeyring {
    namespace: String,
    name: String,
    key: AeadKey,
}

impl RawAesKeyring {
    /// Returns a keyring for a key of 16, 24 or 32 random bytes. The caller is responsible for zeroizing their own
    /// copy.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the key is not 16, 24 or 32 bytes long, if the
    /// namespace begins with `aws-kms`, which is reserved for AWS KMS, or if the namespace or the name is too long for
    /// a header.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, key: &[u8]) -> Result<Self> {
        let (namespace, name) = (namespace.into(), name.into());
        raw::check_names(&namespace, &name, INFO_SUFFIX_LEN)?;
        Ok(Self { namespace, name, key: AeadKey::new(key)? })
    }

    fn wrap(&self, materials: &EncryptionMaterials) -> Result<WrappedKeys> {
        let aad = materials.encryption_context().to_bytes()?;
        raw::wrap(materials, |data_key| {
            let mut iv = [0; IV_LEN];
            materials.random_bytes(&mut iv)?;
            Ok(EncryptedDataKey {
                provider_id: self.namespace.clone(),
                provider_info: self.provider_info(iv),
                ciphertext: self.key.seal_to_vec(iv, &aad, data_key)?,
            })
        })
    }

    /// Name, tag length in bits, IV length in bytes, IV.
    fn provider_info(&self, iv: [u8; IV_LEN]) -> Vec<u8> {
        [self.name.as_bytes(), &INFO_LENGTHS, &iv].concat()
    }

    /// Returns the IV if the data key belongs to this keyring.
    fn iv_of_mine(&self, key: &EncryptedDataKey) -> Option<[u8; IV_LEN]> {
        if key.provider_id != self.namespace {
            return None;
        }
        let suffix = key.provider_info.strip_prefix(self.name.as_bytes())?;
        suffix.strip_prefix(&INFO_LENGTHS)?.try_into().ok()
    }

    fn unwrap(&self, request: &DecryptionRequest) -> Result<UnwrapOutcome> {
        let aad = request.encryption_context().to_bytes()?;
        let mine = request.encrypted_data_keys().iter().filter_map(|key| Some((self.iv_of_mine(key)?, key)));
        Ok(UnwrapOutcome::first_of(mine.map(|(iv, key)| self.unwrap_one(request, &aad, iv, key))))
    }

    fn unwrap_one(
        &self,
        request: &DecryptionRequest,
        aad: &[u8],
        iv: [u8; IV_LEN],
        key: &EncryptedDataKey,
    ) -> Result<DataKey> {
        let refused = |why: &str| raw::refused("AES", &self.namespace, &self.name, why);
        let open = || {
            let (ciphertext, tag) = key.ciphertext.split_last_chunk().ok_or(Refused)?;
            DataKey::fill_with(ciphertext.len(), |out| self.key.open(iv, aad, ciphertext, tag, out))
        };
        let data_key = open().map_err(|Refused| {
            refused("cannot decrypt its data key: it is another key of that name, or another encryption context")
        })?;
        request.suite().check_data_key(&data_key).map_err(|error| refused(&format!("decrypts {error}")))?;
        Ok(data_key)
    }
}

/// The lengths in the provider information: 128 bits of tag, and [`IV_LEN`] bytes of IV.
const INFO_LENGTHS: [u8; 8] = [0, 0, 0, 128, 0, 0, 0, 12];
/// Length in bytes of the provider information after the name.
const INFO_SUFFIX_LEN: usize = INFO_LENGTHS.len() + IV_LEN;

impl Keyring for RawAesKeyring {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, WrappedKeys> {
        Box::pin(async { self.wrap(materials) })
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, UnwrapOutcome> {
        Box::pin(async { self.unwrap(request) })
    }

    fn is_local(&self) -> bool {
        true
    }
}

impl fmt::Debug for RawAesKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawAesKeyring")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
