//! Import of key material.

use std::time::SystemTime;

use manila_core::internal::crypto::{self, Hash};
use manila_core::{Error, Result};
use zeroize::Zeroizing;

use crate::audit::Details;
use crate::call::OnKey;
use crate::clock::{days_after, to_millis};
use crate::deadlines::Deadline;
use crate::error::{invalid, refused};
use crate::local_kms::LocalKms;
use crate::operation::Operation;
use crate::record::key::{Due, Key, KeyMaterial, KeyOrigin};
use crate::record::secret;
use crate::store::WriteTxn;

/// The maximum number of days until imported material expires, as on AWS.
pub(super) const MAX_VALID_DAYS: u32 = 365;
const FINGERPRINT_PURPOSE: &[u8] = b"manila local-kms imported material 1";

impl LocalKms {
    /// Imports the material of a key that was created with [`CreateKey::imported`](crate::CreateKey::imported).
    ///
    /// The material is 32 random bytes, for an HMAC key as many as its hash has, and for an asymmetric key its private
    /// key in PKCS #8 (RFC 5958), DER, unencrypted, with the seed for ML-DSA and ML-KEM. If there is an `expiry`, at
    /// most 365 days ahead, the material is removed at that time and must be imported again.
    ///
    /// Only the first import may choose the material; later imports must provide the same material, so that existing
    /// ciphertexts can be decrypted. All regions of a multi-Region key share the material of the primary key. Keep a
    /// copy of the material, and zeroize the one in memory.
    ///
    /// AWS requires the material to be wrapped under an RSA key, because it is sent over a network. Here it is passed
    /// unwrapped.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key, it is pending deletion, the
    /// caller lacks permission, or the material differs from the first (`IncorrectKeyMaterialException`);
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the length or the expiry is not valid, or the key
    /// does not take imported material (`UnsupportedOperationException`).
    pub fn import_key_material(&self, key_id: &str, material: &[u8], expiry: Option<SystemTime>) -> Result<()> {
        let request = Details::new().maybe(expiry, |details, expiry| details.time("validTo", expiry));
        self.write(Operation::ImportKeyMaterial, &OnKey::new(key_id), request, |tables, mut key, call| {
            check_external(&key)?;
            let secret = secret::of_import(key.material.spec, material)?;
            let expiry = expiry.map(to_millis);
            if expiry.is_some_and(|expiry| expiry <= call.now || expiry > days_after(call.now, MAX_VALID_DAYS)) {
                let message = format!("the expiry must be in the future, at most {MAX_VALID_DAYS} days ahead");
                return Err(invalid("ValidationException", message));
            }
            let fingerprint = fingerprint(&key.id, &secret)?;
            if !key.material.fingerprint.is_empty() && !crypto::equal(&key.material.fingerprint, &*fingerprint) {
                let message = "the material differs from what was imported first: import the same material";
                return Err(refused("IncorrectKeyMaterialException", message));
            }
            forget(tables, &mut key)?;
            key.material.fingerprint = fingerprint.to_vec();
            key.material.materials.push(KeyMaterial::first(&secret, call.now));
            if let Some(expiry) = expiry {
                key.material.expiry = Some(Due::new(call.now, expiry));
                Deadline::Expiry.set(tables, expiry, &key.id)?;
            }
            key.store(tables)
        })
    }

    /// Deletes imported material. The key cannot be used until the same material is imported again.
    ///
    /// # Errors
    /// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if there is no such key or the caller lacks permission,
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) (`UnsupportedOperationException`) if the key does
    /// not take imported material.
    pub fn delete_imported_key_material(&self, key_id: &str) -> Result<()> {
        let mut of = None;
        self.write(Operation::DeleteImportedKeyMaterial, &OnKey::new(key_id), Details::new(), |tables, mut key, _| {
            check_external(&key)?;
            forget(tables, &mut key)?;
            key.store(tables)?;
            of = Some(key.id);
            Ok(())
        })?;
        if let Some(key_id) = of {
            self.shared.key_pairs.forget(&key_id);
        }
        Ok(())
    }
}

fn forget(tables: &mut WriteTxn<'_>, key: &mut Key) -> Result<()> {
    match key.material.forget() {
        Some(expiry) => Deadline::Expiry.unset(tables, expiry.at, &key.id),
        None => Ok(()),
    }
}

fn check_external(key: &Key) -> Result<()> {
    if key.material.origin == KeyOrigin::External {
        return if key.is_primary() { Ok(()) } else { Err(of_replica()) };
    }
    let message = "the key does not take imported material: create one with CreateKey::imported";
    Err(invalid("UnsupportedOperationException", message))
}

fn of_replica() -> Error {
    let message = "a replica shares the material of its primary key: call this in the primary's region";
    invalid("UnsupportedOperationException", message)
}

/// Derives the fingerprint of imported material: one-way, so that it reveals nothing about random material.
fn fingerprint(key_id: &str, material: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    let mut fingerprint = Zeroizing::new([0; 32]);
    crypto::hkdf(Hash::Sha512, key_id.as_bytes(), material, &mut [(&[FINGERPRINT_PURPOSE], &mut *fingerprint)])?;
    Ok(fingerprint)
}
