//! The life of a key: made, used, rotated, shared, disabled, and deleted, in a store of its own.
//!
//! `cargo run --example local_kms`

use manila::keyring::KmsKeyring;
use manila::local_kms::{AuditLog, CreateGrant, CreateKey, GrantConstraint, GrantOperation, LocalKms, RootKey};
use manila::{Client, EncryptionContext};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let root_key = RootKey::create_file(path("root.key"))?;
    let kms = LocalKms::builder().audit(AuditLog::file(path("audit.jsonl"))).create(path("keys.redb"), root_key)?;

    // Made, with a name that programs use, and rotated every year by itself.
    let key = kms.create_key(CreateKey::default().alias("alias/app").tag("team", "billing").rotate_every_days(365))?;
    println!("{} is {:?}", key.arn(), key.state());
    let client = Client::new(KmsKeyring::new(kms.clone(), key.arn())?);
    let context = EncryptionContext::new([("tenant", "acme")])?;
    let message = client.encrypt(b"hello", &context)?;

    // Rotated: the same id and ARN, new material; what the old one encrypted still opens.
    kms.rotate_key_on_demand(key.arn())?;
    assert_eq!(client.decrypt(&message, &context)?.plaintext, b"hello");
    println!("rotated {} time", kms.list_key_rotations(key.arn())?.len());

    // Shared: another principal may decrypt, with this encryption context alone, until the grant is taken back.
    let auditor = "arn:aws:iam::000000000000:role/auditor";
    let only_acme = GrantConstraint::Subset(context.clone());
    let grant = CreateGrant::to(auditor).operation(GrantOperation::Decrypt).constraint(only_acme);
    let grant = kms.create_grant(key.arn(), grant)?;
    let theirs = Client::new(KmsKeyring::new(kms.as_principal(auditor)?, key.arn())?);
    assert_eq!(theirs.decrypt(&message, &context)?.plaintext, b"hello");
    kms.revoke_grant(key.arn(), &grant)?;
    println!("after the grant: {}", theirs.decrypt(&message, &context).unwrap_err());

    // Disabled: nobody opens anything, until it is enabled again.
    kms.disable_key(key.arn())?;
    println!("while disabled: {}", client.decrypt(&message, &context).unwrap_err());
    kms.enable_key(key.arn())?;

    // The alias goes to a new key; messages name the old one and open as before.
    let next = kms.create_key(CreateKey::default())?;
    kms.update_alias("alias/app", next.arn())?;
    assert_eq!(client.decrypt(&message, &context)?.plaintext, b"hello");

    // Deleted, in a week: until then that can be cancelled, and from then on nothing brings it back.
    kms.schedule_key_deletion_in(key.arn(), 7)?;
    println!("{} is {:?}", key.arn(), kms.describe_key(key.arn())?.state());

    kms.checkpoint()?;
    let report = kms.verify_audit_log(path("audit.jsonl"))?;
    println!("{} calls in the audit log, intact: {}", report.events, report.is_intact());
    Ok(())
}
