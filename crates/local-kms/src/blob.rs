//! Ciphertext blobs of the embedded KMS.
//!
//! Layout: the magic, then CBOR of the key id, the material id and the sealed plaintext; at most 6144 bytes. The
//! plaintext is bound to the key, its material and the encryption context, all in an unambiguous encoding.

use manila_core::internal::crypto::Refused;
use manila_core::{EncryptionContext, Error, Result, SecretBytes};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::refused;
use crate::record::key::{Key, KeyMaterial};
use crate::{secret_box, store};

/// Distinguishes these blobs from AWS's, and version 1 from later ones.
const MAGIC: &[u8] = b"manila-kms\x01";
const PURPOSE: &[u8] = b"manila local-kms ciphertext 1";
const MAX_LEN: usize = 6144;

#[derive(Serialize, Deserialize)]
pub(super) struct Blob {
    key: String,
    material: u32,
    #[serde(with = "serde_bytes")]
    sealed: Vec<u8>,
}

/// The key that a ciphertext of [`LocalKms`](crate::LocalKms) was encrypted under, and the version of its material, as
/// the ciphertext tells without any key: anyone can write one that names a key.
///
/// It answers which data keys a rotation has left behind, and so which messages to re-encrypt. Version 1 is the
/// material that a key was created with; [`KeyRotation::key_version`](crate::KeyRotation::key_version) is the one that
/// a rotation made.
///
/// ```
/// use manila_local_kms::{CiphertextOrigin, CreateKey, EncryptionContext, Kms, KmsRequest, LocalKms};
///
/// # use manila_core::internal::poll_once;
/// # use std::pin::pin;
/// let kms = LocalKms::in_memory()?;
/// let key = kms.create_key(CreateKey::default())?;
/// kms.rotate_key_on_demand(key.arn())?;
/// let context = EncryptionContext::empty();
/// let request = KmsRequest::new(key.arn(), &context);
/// # let generated = poll_once(pin!(async {
/// let generated = kms.generate_data_key(request, 32).await?;
/// # Ok::<_, manila_local_kms::Error>(generated)
/// # })).ok_or("it waits")??;
///
/// let origin = CiphertextOrigin::of(&generated.ciphertext).ok_or("not of this KMS")?;
/// assert_eq!((origin.key_id(), origin.key_version()), (key.key_id(), 2));
/// assert_eq!(CiphertextOrigin::of(b"anything else"), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CiphertextOrigin {
    key_id: String,
    key_version: u32,
}

impl CiphertextOrigin {
    /// Reads the origin of a ciphertext; returns `None` if no `LocalKms` can have made it.
    #[must_use]
    pub fn of(ciphertext: &[u8]) -> Option<Self> {
        let Blob { key, material, .. } = parse(ciphertext).ok()?;
        Some(Self { key_id: key, key_version: material })
    }

    /// Returns the id of the key.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns the version of the key's material.
    #[must_use]
    pub fn key_version(&self) -> u32 {
        self.key_version
    }
}

/// Encrypts under the newest material of a key.
pub(super) fn seal(key: &Key, context: &EncryptionContext, plaintext: &[u8]) -> Result<Vec<u8>> {
    let material = key.material.materials.last().ok_or_else(store::damaged)?;
    let sealed = secret_box::seal(&material.secret, PURPOSE, &aad(key, material, context)?, plaintext)?;
    Blob { key: key.id.clone(), material: material.id, sealed }.to_bytes()
}

/// Parses a blob, or returns AWS's error if it is not one.
pub(super) fn parse(bytes: &[u8]) -> Result<Blob> {
    let Some(cbor) = bytes.strip_prefix(MAGIC) else {
        let message = "the ciphertext was not made by this kind of KMS: open it with the KMS that made it";
        return Err(refused("InvalidCiphertextException", message.to_owned()));
    };
    if bytes.len() > MAX_LEN {
        return Err(invalid_ciphertext());
    }
    let blob: Blob = store::from_cbor(cbor).ok_or_else(invalid_ciphertext)?;
    // CBOR has several encodings of a value; accept only the one that is written.
    if blob.to_bytes()? != bytes {
        return Err(invalid_ciphertext());
    }
    Ok(blob)
}

impl Blob {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        ciborium::into_writer(self, &mut out).map_err(|_| store::damaged())?;
        Ok(out)
    }

    /// Decrypts with the material that encrypted, if `key` is the right key.
    pub(super) fn open(&self, key: &Key, context: &EncryptionContext) -> Result<Zeroizing<Vec<u8>>> {
        if self.key != key.id {
            return Err(incorrect_key());
        }
        let material = key.material.materials.iter().find(|material| material.id == self.material);
        let material = material.ok_or_else(invalid_ciphertext)?;
        secret_box::open(&material.secret, PURPOSE, &aad(key, material, context)?, &self.sealed)
            .map_err(|Refused| invalid_ciphertext())
    }
}

fn aad(key: &Key, material: &KeyMaterial, context: &EncryptionContext) -> Result<Vec<u8>> {
    let id_len = u32::try_from(key.id.len()).map_err(|_| store::damaged())?;
    let context = context.to_bytes()?;
    Ok([&id_len.to_be_bytes(), key.id.as_bytes(), &material.id.to_be_bytes(), &context].concat())
}

/// Opens a ciphertext of a symmetric key, if that is the key. AWS says the same of keys of other kinds as of others.
pub(super) fn open(key: &Key, context: &EncryptionContext, ciphertext: &[u8]) -> Result<SecretBytes> {
    let blob = parse(ciphertext)?;
    if key.check_symmetric().is_err() {
        return Err(incorrect_key());
    }
    Ok(SecretBytes::new(&blob.open(key, context)?))
}

/// Returns AWS's error for a key that the ciphertext is not of.
fn incorrect_key() -> Error {
    let message = "The key ID in the request does not identify a CMK that can perform this operation.";
    refused("IncorrectKeyException", message.to_owned())
}

/// Returns the error for a ciphertext of an asymmetric key, the same for whatever is wrong with it.
pub(super) fn invalid_raw_ciphertext() -> Error {
    let message = "the ciphertext was changed, or it is not of this key and algorithm";
    refused("InvalidCiphertextException", message.to_owned())
}

fn invalid_ciphertext() -> Error {
    let message = "the ciphertext was changed, or the encryption context is not the one it was encrypted with";
    refused("InvalidCiphertextException", message.to_owned())
}
