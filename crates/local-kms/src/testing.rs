//! Ways in for fuzzers, arbitrary bytes as each thing that the embedded KMS decodes, and counts of its work for tests
//! (feature `testing`).

use crate::blob;
use crate::builder::LocalKmsBuilder;
use crate::key_policy::{AccessRequest, Policy};
use crate::local_kms::LocalKms;
use crate::record::alias::AliasRecord;
use crate::record::audit::{AuditRecord, EndRecord};
use crate::record::grant::GrantRecord;
use crate::record::key::{KeyRecord, MaterialRecord};
use crate::root_key::RootKey;
use crate::session::OpeningMode;
use crate::store::{Seal, Store, damaged, from_cbor};
use manila_core::{EncryptionContext, Result};

/// Opens bytes as the file of an embedded KMS.
///
/// # Errors
/// As [`LocalKms::open`].
pub fn open_store(file: &[u8], root_key: RootKey) -> Result<LocalKms> {
    LocalKmsBuilder::default().over(OpeningMode::InMemory, || Store::of_bytes(file, root_key))
}

/// Reads bytes as each kind of record, and says of how many kinds they are.
#[must_use]
pub fn read_record(bytes: &[u8]) -> usize {
    let kinds = [
        from_cbor::<KeyRecord>(bytes).is_some(),
        from_cbor::<MaterialRecord>(bytes).is_some(),
        from_cbor::<AliasRecord>(bytes).is_some(),
        from_cbor::<String>(bytes).is_some(),
        from_cbor::<GrantRecord>(bytes).is_some(),
        from_cbor::<AuditRecord>(bytes).is_some(),
        from_cbor::<EndRecord>(bytes).is_some(),
        from_cbor::<()>(bytes).is_some(),
    ];
    kinds.into_iter().filter(|read| *read).count()
}

/// Reads bytes as a ciphertext of the embedded KMS. What is read is written back to the same bytes.
///
/// # Errors
/// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if they are none.
pub fn read_ciphertext(bytes: &[u8]) -> Result<()> {
    let read = blob::parse(bytes)?;
    if read.to_bytes()? == bytes { Ok(()) } else { Err(damaged()) }
}

/// Returns how many records the store of a handle has opened since its root key was given.
#[must_use]
pub fn records_read(kms: &LocalKms) -> u64 {
    kms.shared.store.with_seal(Seal::opened)
}

/// Returns how many key policies a handle and its clones have parsed to decide by them.
#[must_use]
pub fn policies_parsed(kms: &LocalKms) -> u64 {
    kms.shared.policies.parsed()
}

/// Reads a key policy and puts a request to it.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is none.
pub fn read_policy(json: &str, context: &EncryptionContext) -> Result<()> {
    let policy = Policy::parse(json)?;
    let request = AccessRequest {
        principal: "arn:aws:sts::000000000000:assumed-role/app/session",
        action: "kms:Decrypt",
        key_arn: "arn:aws:kms:local:000000000000:key/1",
        encryption_context: Some(context),
    };
    let _ = policy.decide(&request);
    Ok(())
}
