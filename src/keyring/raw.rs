//! The common part of raw keyrings: names, and data keys that they generate themselves.

use manila_core::internal::{AWS_PROVIDER_ID, quoted};
use manila_core::{Error, ErrorKind, Result};

use crate::materials::{DataKey, EncryptionMaterials, WrappedKeys};
use crate::message::header::EncryptedDataKey;

/// Fails for names that are reserved, or that do not fit into a header with `suffix_len` bytes of provider information
/// after the name.
pub(super) fn check_names(namespace: &str, name: &str, suffix_len: usize) -> Result<()> {
    let invalid = |detail: &'static str| Err(Error::new(ErrorKind::InvalidInput, detail));
    if namespace.starts_with(AWS_PROVIDER_ID) {
        return invalid("namespaces that begin with aws-kms are reserved for AWS KMS: choose another for a raw key");
    }
    let longest = usize::from(u16::MAX);
    if namespace.len() > longest || name.len().saturating_add(suffix_len) > longest {
        return invalid("the namespace or name of a raw key does not fit into a header: choose a shorter one");
    }
    Ok(())
}

/// Returns the cause for a data key that has the key's name and cannot be decrypted.
pub(super) fn refused(kind: &str, namespace: &str, name: &str, why: &str) -> Error {
    let detail = format!("raw {kind} key {} of {} {why}", quoted(name), quoted(namespace));
    Error::new(ErrorKind::NoUsableDataKey, detail)
}

/// Wraps the data key of the materials, or a new one if they have none.
pub(super) fn wrap(
    materials: &EncryptionMaterials,
    wrap_key: impl FnOnce(&[u8]) -> Result<EncryptedDataKey>,
) -> Result<WrappedKeys> {
    let made = match materials.data_key() {
        Some(_) => None,
        None => Some(DataKey::fill_with(materials.suite().data_key_len(), |key| materials.random_bytes(key))?),
    };
    let data_key = made.as_ref().or(materials.data_key());
    let data_key = data_key.ok_or_else(|| Error::new(ErrorKind::Internal, "there is no data key to wrap"))?;
    let wrapped = wrap_key(data_key.expose_secret())?;
    Ok(WrappedKeys { data_key: made, encrypted_data_keys: vec![wrapped] })
}
