//! Entry points for fuzzers, which pass arbitrary bytes to each decoder of the embedded KMS, and counters for tests
//! (feature `testing`).

use crate::audit::Details;
use crate::blob;
use crate::builder::LocalKmsBuilder;
use crate::local_kms::LocalKms;
use crate::policy::{AccessRequest, KeyFacts, Policy, PolicyKind, Who};
use crate::record::alias::AliasRecord;
use crate::record::audit::{AuditRecord, EndRecord};
use crate::record::grant::GrantRecord;
use crate::record::identity::{IdentityRecord, SessionRecord};
use crate::record::key::{KeyRecord, MaterialRecord};
use crate::request_context::RequestContext;
use crate::root_key::RootKey;
use crate::session::OpeningMode;
use crate::store::{Seal, Store, damaged, from_cbor};
use manila_core::{EncryptionContext, Result};

/// Opens the bytes of a file of an embedded KMS.
///
/// # Errors
/// The same as [`LocalKms::open`].
pub fn open_store(file: &[u8], root_key: RootKey) -> Result<LocalKms> {
    LocalKmsBuilder::default().over(OpeningMode::InMemory, || Store::of_bytes(file, root_key))
}

/// Reads bytes as each kind of record, and returns the number of kinds that accept them.
#[must_use]
pub fn read_record(bytes: &[u8]) -> usize {
    let kinds = [
        from_cbor::<KeyRecord>(bytes).is_some(),
        from_cbor::<MaterialRecord>(bytes).is_some(),
        from_cbor::<AliasRecord>(bytes).is_some(),
        from_cbor::<String>(bytes).is_some(),
        from_cbor::<GrantRecord>(bytes).is_some(),
        from_cbor::<IdentityRecord>(bytes).is_some(),
        from_cbor::<SessionRecord>(bytes).is_some(),
        from_cbor::<AuditRecord>(bytes).is_some(),
        from_cbor::<EndRecord>(bytes).is_some(),
        from_cbor::<()>(bytes).is_some(),
        from_cbor::<u64>(bytes).is_some(),
    ];
    kinds.into_iter().filter(|read| *read).count()
}

/// Reads bytes as a ciphertext of the embedded KMS, and checks that it is written back as the same bytes.
///
/// # Errors
/// [`ErrorKind::KeyRefused`](crate::ErrorKind::KeyRefused) if they are not a ciphertext.
pub fn read_ciphertext(bytes: &[u8]) -> Result<()> {
    let read = blob::parse(bytes)?;
    if read.to_bytes()? == bytes { Ok(()) } else { Err(damaged()) }
}

/// Returns the number of records that the store of a handle has opened under its present root key.
#[must_use]
pub fn records_read(kms: &LocalKms) -> u64 {
    kms.shared.store.with_seal(Seal::opened)
}

/// Returns the number of key policies that a handle and its clones have parsed for decisions.
#[must_use]
pub fn policies_parsed(kms: &LocalKms) -> u64 {
    kms.shared.policies.parsed()
}

/// Reads a policy as one of a key, of a principal and of a role, and evaluates a request.
///
/// # Errors
/// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it is not a valid policy of a key.
pub fn read_policy(json: &str, context: &EncryptionContext) -> Result<()> {
    let parameters = Details::new().text("keyId", "1").number("pendingWindowInDays", 7_u32).flag("multiRegion", true);
    let key = KeyFacts { spec: "SYMMETRIC_DEFAULT", aliases: vec!["alias/a".to_owned()], ..KeyFacts::default() };
    let request = AccessRequest {
        principal: "arn:aws:sts::000000000000:assumed-role/app/session",
        who: &Who::default(),
        action: "kms:Decrypt",
        resource: "arn:aws:kms:local:000000000000:key/1",
        region: "local",
        account: "000000000000",
        now: 0,
        encryption_context: Some(context),
        encrypts: true,
        parameters: &parameters,
        alias: None,
        on_same_key: None,
        key: Some(&key),
        context: &RequestContext::default().multi_factor(true),
    };
    let decide = |kind| {
        Policy::parse(json, kind).map(|policy| {
            let _ = policy.decide(&request);
        })
    };
    let [of_key, _, _] = [PolicyKind::Key, PolicyKind::Identity, PolicyKind::Trust].map(decide);
    of_key
}
