//! Data keys wrapped under an AES key that the application holds itself.
//!
//! Source: the ESDK specification, `framework/raw-aes-keyring.md`.

use std::fmt;

use crate::crypto::{self, AeadKey, Refused};
use crate::error::{Error, ErrorKind, Result, quoted};
use crate::keyring::Keyring;
use crate::kms::PROVIDER_ID as KMS_PROVIDER_ID;
use crate::materials::{DataKey, DecryptionRequest, EncryptionMaterials, KeyFuture, Unwrapped, Wrapped};
use crate::message::header::EncryptedDataKey;
use crate::suite::IV_LEN;

/// Wraps data keys with AES-GCM under a key that you guard.
///
/// Namespace and name are stored in each message in the clear; they tell the reader which key to take. Each wrap
/// draws a random 12-byte IV, so one key may wrap at most 2^32 data keys (NIST SP 800-38D, section 8.3).
pub struct RawAesKeyring {
    namespace: String,
    name: String,
    key: AeadKey,
}

impl RawAesKeyring {
    /// A keyring of a key of 16, 24 or 32 random bytes. The caller zeroizes its own copy.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the key has another length, if the namespace is `aws-kms`, which belongs to
    /// AWS KMS, or if namespace or name do not fit into a header.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, key: &[u8]) -> Result<Self> {
        let (namespace, name) = (namespace.into(), name.into());
        if namespace == KMS_PROVIDER_ID {
            let detail = "the namespace aws-kms belongs to AWS KMS: choose another for a raw key";
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        let longest = usize::from(u16::MAX);
        if namespace.len() > longest || name.len() > longest - INFO_SUFFIX_LEN {
            let detail = "namespace or name of a raw key are longer than a header can hold";
            return Err(Error::new(ErrorKind::InvalidInput, detail));
        }
        Ok(Self { namespace, name, key: AeadKey::new(key)? })
    }

    fn wrap(&self, materials: &EncryptionMaterials) -> Result<Wrapped> {
        let made = match materials.data_key() {
            Some(_) => None,
            None => Some(DataKey::generate(materials.suite().data_key_len())?),
        };
        let data_key = made.as_ref().or(materials.data_key());
        let data_key = data_key.ok_or_else(|| Error::new(ErrorKind::Internal, "no data key to wrap"))?;
        let iv = crypto::random_array()?;
        let aad = materials.encryption_context().to_bytes()?;
        let ciphertext = self.key.seal_to_vec(iv, &aad, data_key.expose_secret())?;
        let encrypted =
            EncryptedDataKey { provider_id: self.namespace.clone(), provider_info: self.provider_info(iv), ciphertext };
        Ok(Wrapped { data_key: made, encrypted_data_keys: vec![encrypted] })
    }

    /// Name, tag length in bits, IV length in bytes, IV.
    fn provider_info(&self, iv: [u8; IV_LEN]) -> Vec<u8> {
        [self.name.as_bytes(), &TAG_BITS.to_be_bytes(), &IV_BYTES.to_be_bytes(), &iv].concat()
    }

    /// The IV, if the data key is one of this keyring's.
    fn iv_of_mine(&self, key: &EncryptedDataKey) -> Option<[u8; IV_LEN]> {
        if key.provider_id != self.namespace {
            return None;
        }
        let suffix = key.provider_info.strip_prefix(self.name.as_bytes())?;
        let lengths = [TAG_BITS.to_be_bytes(), IV_BYTES.to_be_bytes()].concat();
        suffix.strip_prefix(lengths.as_slice())?.try_into().ok()
    }

    fn unwrap(&self, request: &DecryptionRequest) -> Result<Unwrapped> {
        let aad = request.encryption_context().to_bytes()?;
        let mut unwrapped = Unwrapped::default();
        for key in request.encrypted_data_keys() {
            let Some(iv) = self.iv_of_mine(key) else { continue };
            let opened = self.key.open_to_vec(iv, &aad, &key.ciphertext).map_err(|Refused| {
                let detail = format!(
                    "raw AES key {} of {} does not open its data key: another key of that name, or another \
                     encryption context",
                    quoted(&self.name),
                    quoted(&self.namespace)
                );
                Error::new(ErrorKind::WrongKey, detail)
            });
            let checked = opened.and_then(|bytes| {
                let data_key = DataKey::new(&bytes);
                data_key.check_len(request.suite()).map(|()| data_key)
            });
            match checked {
                Ok(data_key) => {
                    unwrapped.data_key = Some(data_key);
                    return Ok(unwrapped);
                }
                Err(cause) => unwrapped.causes.push(cause),
            }
        }
        Ok(unwrapped)
    }
}

/// Length of the tag in bits, as the provider information tells it.
const TAG_BITS: u32 = 128;
/// [`IV_LEN`], as the provider information tells it.
const IV_BYTES: u32 = 12;
/// Length in bytes of what follows the name in the provider information.
const INFO_SUFFIX_LEN: usize = 4 + 4 + IV_LEN;

impl Keyring for RawAesKeyring {
    fn on_encrypt<'a>(&'a self, materials: &'a EncryptionMaterials) -> KeyFuture<'a, Wrapped> {
        Box::pin(async { self.wrap(materials) })
    }

    fn on_decrypt<'a>(&'a self, request: &'a DecryptionRequest) -> KeyFuture<'a, Unwrapped> {
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
